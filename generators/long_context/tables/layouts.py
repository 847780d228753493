"""How a row is written down: as sentences, a block of fields, JSON, XML, a line of CSV or of a Markdown table.

Each layout writes a row by itself, so that records can be counted, shuffled and put anywhere. Those that need a line
with the columns' names (`csv`, `markdown`) have one, and their rows follow line by line.
"""

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

from generators.long_context.tables.table import Cell, Column, Row, Table, written


class Layout(NamedTuple):
    """`head` writes what stands before a table's rows; rows are divided by `separator`. `mixed` says that
    the records of both tables may stand among each other."""

    write: Callable[[Table, Row], str]
    head: Callable[[Table], str] | None
    separator: str
    mixed: bool


def _sentences(table: Table, row: Row) -> str:
    facts = [f"{column.label} is {written(row[column.name])}" for column in table.columns[1:]]
    middle = max(1, len(facts) // 2)
    first, second = facts[:middle], facts[middle:]
    told = f"{row[table.key]}: the {_and(first)}."
    return f"{told} The {_and(second)}." if second else told


def _and(facts: Sequence[str]) -> str:
    return facts[0] if len(facts) == 1 else f"{', the '.join(facts[:-1])}, and the {facts[-1]}"


def _block(table: Table, row: Row) -> str:
    return "\n".join(f"{column.label}: {written(row[column.name])}" for column in table.columns)


def _bulleted(table: Table, row: Row) -> str:
    lines = [f"- {column.label}: {written(row[column.name])}" for column in table.columns[1:]]
    return "\n".join([f"## {row[table.key]}", *lines])


def _json(table: Table, row: Row) -> str:
    shown = {column.label: value if isinstance(value := row[column.name], int | float) else written(value)
             for column in table.columns}  # fmt: skip
    return json.dumps(shown, ensure_ascii=False)


def _xml(table: Table, row: Row) -> str:
    fields = "".join(f"<{tag(column)}>{escape(written(row[column.name]))}</{tag(column)}>" for column in table.columns)
    return f"<{table.noun.replace(' ', '_')}>{fields}</{table.noun.replace(' ', '_')}>"


def tag(column: Column) -> str:
    """A column's label as an XML name."""
    return "".join(character if character.isalnum() else "_" for character in column.label)


def _csv_line(cells: Sequence[Cell]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([written(cell) for cell in cells])
    return line.getvalue()


def _csv(table: Table, row: Row) -> str:
    return _csv_line([row[column.name] for column in table.columns])


def _csv_head(table: Table) -> str:
    return f"{table.nouns}.csv\n" + _csv_line([column.label for column in table.columns])


def _markdown(table: Table, row: Row) -> str:
    return "| " + " | ".join(written(row[column.name]).replace("|", "\\|") for column in table.columns) + " |"


def _markdown_head(table: Table) -> str:
    labels = [column.label for column in table.columns]
    return f"### {table.nouns}\n\n| " + " | ".join(labels) + " |\n|" + "---|" * len(labels)


LAYOUTS = {
    "sentences": Layout(_sentences, None, "\n\n", True),
    "block": Layout(_block, None, "\n\n", True),
    "bulleted": Layout(_bulleted, None, "\n\n", True),
    "json": Layout(_json, None, "\n", True),
    "xml": Layout(_xml, None, "\n", True),
    "csv": Layout(_csv, _csv_head, "\n", False),
    "markdown": Layout(_markdown, _markdown_head, "\n", False),
}
