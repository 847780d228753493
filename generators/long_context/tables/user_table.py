"""A table of the user's: its columns are what their values are.

    key        the first text column whose values are all there and all different (or `key`); without one, row numbers
    category   a text or a truth value that rows share
    number     integers and decimals          date    dates and times of day on them (the day counts)

Other columns (long texts, lists) stay out.
"""

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from generators.long_context.tables.table import Cell, Column, Kind, Row, Table
from gristmill.errors import ConfigError
from gristmill.seeds import BadSeed, read_rows

LONGEST_CELL = 80
"""Characters: longer texts are no categories."""

SHARED = 0.6
"""A category has at most this many different values per row."""


def read_table(path: Path, key: str | None, noun: tuple[str, str]) -> Table:
    """The rows of a .parquet, .csv or .jsonl file. ConfigError where no question could be asked about it."""
    raw = []
    for where, row in read_rows(str(path)):
        if isinstance(row, BadSeed):
            raise ConfigError(f"params.table: {path}, {where}: {row.detail}.")
        raw.append(row)
    names = list(dict.fromkeys(name for row in raw for name in row))
    if key is not None and key not in names:
        raise ConfigError(f"params.key: {path} has no column {key} (it has {', '.join(names)}).")
    values = {name: [_cell(row.get(name)) for row in raw] for name in names}
    chosen = key or next((name for name in names if _is_key(values[name])), None)
    if chosen is None:
        chosen = "row"
        values[chosen] = [f"row {number}" for number in range(1, len(raw) + 1)]
    elif not _is_key(values[chosen]):
        raise ConfigError(f"params.key: the column {chosen} of {path} has empty or repeated values.")
    kinds = {name: kind for name in names if name != chosen and (kind := _kind(values[name])) is not None}
    if not any(kind == "category" for kind in kinds.values()) or not any(kind != "category" for kind in kinds.values()):
        raise ConfigError(
            f"params.table: questions need at least one column of categories and one of numbers or dates; {path} has "
            f"{', '.join(f'{name} ({kind})' for name, kind in kinds.items()) or 'none that can be read'}."
        )
    columns = [
        Column(chosen, "key", _label(chosen)),
        *(Column(name, kind, _label(name)) for name, kind in kinds.items()),
    ]
    rows: list[Row] = [{column.name: values[column.name][place] for column in columns} for place in range(len(raw))]
    return Table(noun[0], noun[1], columns, rows)


def _label(name: str) -> str:
    return name.replace("_", " ").strip()


def _cell(value: Any) -> Cell:
    """As a question can show it; numbers in a text (of a .csv) are numbers, and so are days."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, int | float | date):
        return None if value != value else value  # not a number
    if not isinstance(value, str) or not value.strip():
        return None
    return _from_text(" ".join(value.split()))


def _from_text(text: str) -> Cell:
    for read in (int, float, date.fromisoformat):
        try:
            found: Cell = read(text)
        except ValueError:
            continue
        return found
    return text


def _is_key(values: list[Cell]) -> bool:
    return bool(values) and len(set(values)) == len(values) and all(
        isinstance(value, str) and len(value) <= LONGEST_CELL for value in values
    )  # fmt: skip


def _kind(values: list[Cell]) -> Kind | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    if all(isinstance(value, int | float) for value in known):
        return "number"
    if all(isinstance(value, date) for value in known):
        return "date"
    short = all(isinstance(value, str) and len(value) <= LONGEST_CELL for value in known)
    return "category" if short and len(set(known)) <= max(2, SHARED * len(known)) else None
