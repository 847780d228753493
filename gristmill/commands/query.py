"""`gristmill query DIR "SQL"`: DuckDB over a run or a blend, in memory; nothing in the folder is changed."""

import csv
import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gristmill.commands import Command
from gristmill.terminal import printable

if TYPE_CHECKING:
    from rich.table import Table

SHOWN_ROWS = 1000
SHOWN_CHARACTERS = 300
UNBOUNDED = 1_000_000  # columns

_EPILOG = (
    "Views of a run: records, rejects, calls, funnel; of a blend: samples, sources, dropped, splits. "
    "JSON columns are text: metadata ->> '$.mode' reads into them."
)


def _configure(parser: ArgumentParser) -> None:
    parser.epilog = _EPILOG
    parser.add_argument("folder", type=Path, metavar="DIR", help="a run or a blend")
    parser.add_argument("sql", metavar="SQL", help="one DuckDB query")
    parser.add_argument("--format", choices=["table", "csv", "json"], default="table", help="default: table")


def _query(arguments: Namespace) -> int:
    import duckdb

    from gristmill.errors import ConfigError
    from gristmill.views import connect, sentence

    with connect(arguments.folder) as connection:
        try:
            result = connection.sql(arguments.sql)
            if result is None:
                raise ConfigError("the SQL holds no query; give one, such as SELECT count(*) FROM records.")
            _PRINTERS[arguments.format](result.columns, result.iter_rows())
        except duckdb.Error as error:
            raise ConfigError(sentence(error)) from None
    return 0


def _print_table(columns: list[str], rows: Iterator[tuple[Any, ...]]) -> None:
    """A table; on a terminal too narrow for its numbers, a block per row, as numbers are never cut."""
    from rich.console import Console

    shown = list(islice(rows, SHOWN_ROWS))
    table = _table(columns, shown)
    unbounded = Console(width=UNBOUNDED)
    terminal = Console()
    if not terminal.is_terminal:
        unbounded.print(table)
    elif unbounded.measure(table).minimum <= terminal.width:
        terminal.print(table)
    else:
        for row in shown:
            terminal.print(_table(["", ""], list(zip(columns, row, strict=True))))
    if next(rows, None) is not None:
        print(f"The first {SHOWN_ROWS} rows; --format csv or json prints all.")


def _table(columns: list[str], rows: list[tuple[Any, ...]]) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, header_style="bold", show_header=any(columns))
    for index, column in enumerate(columns):
        numeric = any(_is_number(row[index]) for row in rows)
        table.add_column(
            Text(printable(column)), justify="right" if numeric else "left", no_wrap=numeric, overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(_cut(printable(_text(value))), style="dim" if value is None else "") for value in row))
    return table


def _print_csv(columns: list[str], rows: Iterable[tuple[Any, ...]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(["" if value is None else _text(value) for value in row] for row in rows)


def _print_json(columns: list[str], rows: Iterable[tuple[Any, ...]]) -> None:
    """An array of objects, a row a line."""
    separator = "[\n"
    for row in rows:
        sys.stdout.write(separator + _json(dict(zip(columns, row, strict=True))))
        separator = ",\n"
    sys.stdout.write("[]\n" if separator == "[\n" else "\n]\n")


def _text(value: Any) -> str:
    """A value as a cell: numbers exactly, lists and structs as JSON."""
    if value is None:
        return "NULL"
    return _json(value) if isinstance(value, list | dict | bool) else str(value)


def _json(value: Any) -> str:
    return json.dumps(_plain(value), ensure_ascii=False)


def _plain(value: Any) -> Any:
    """What JSON can hold: a number stays one where no digit is lost, what JSON has no name for becomes text."""
    match value:
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case None | bool() | int() | str():
            return value
        case float():
            return value if isfinite(value) else str(value)
        case Decimal() if Decimal(repr(float(value))) == value:
            return float(value)
        case bytes():
            return value.hex()
        case _:
            return str(value)


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


_PRINTERS = {"table": _print_table, "csv": _print_csv, "json": _print_json}
command = Command(
    "ask a run or a blend in SQL (DuckDB)",
    _configure,
    _query,
    'gristmill query runs/my "SELECT reason, count(*) FROM rejects GROUP BY 1"',
)
