"""Databases from files: the bundled ones in `databases/`, a file like them, or an SQLite file.

One YAML file is one database. Words, kinds and rows lie together, so that it reads like the thing itself:

    industry: retail banking
    tables:
      branch:
        words: [branch, branches]
        columns:
          branch_id: {kind: id, words: branch number}
          city: {kind: category, words: city}
        rows: |
          1,Ghent
          2,Lille
      loan:
        words: [loan, loans]
        columns:
          loan_id: {kind: id, words: loan number}
          branch_id: {kind: key, words: branch number, of: branch}
          amount: {kind: measure, type: REAL, words: amount, unit: euros, additive: true}
        rows: |
          7,2,1500.0

`words` of a table are its singular and its plural. `rows` are CSV lines in the order of the columns; an empty field is
NULL. A column's type follows from its kind unless it is given. The primary key is the first column if that is an id,
else `primary_key`. `of` names the table that a key points to; `role` says in which role, where that isn't plain.
"""

import csv
import os
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field

from generators.text_to_sql.introspect import read_sqlite
from generators.text_to_sql.introspect_server import dialect_of, read_server
from generators.text_to_sql.schema import Column, Database, ForeignKey, Kind, Table, Value, distinct
from gristmill.config import load_config, require_file
from gristmill.errors import ConfigError
from schemas import Config

FOLDER = Path(__file__).parent / "databases"

_TYPES: dict[Kind, str] = {"id": "INTEGER", "key": "INTEGER", "flag": "INTEGER", "measure": "REAL", "date": "DATE"}


class ColumnFile(Config):
    kind: Kind
    words: str
    type: str | None = None
    unit: str | None = None
    additive: bool = False
    of: str | None = None
    role: str | None = None


class TableFile(Config):
    words: tuple[str, str]
    person: bool = False
    columns: Annotated[dict[str, ColumnFile], Field(min_length=1)]
    primary_key: tuple[str, ...] = ()
    rows: str


class DatabaseFile(Config):
    industry: str
    tables: Annotated[dict[str, TableFile], Field(min_length=1)]


@cache
def bundled() -> dict[str, Database]:
    """The databases that come with Gristmill, by name."""
    return {path.stem: read_yaml(path) for path in sorted(FOLDER.glob("*.yaml"))}


def load(path: Path, max_rows: int, industry: str = "") -> Database:
    """The database in a .yaml file like the bundled ones, or about `max_rows` rows per table of an SQLite file or of
    the server whose URL the environment variable of this name holds."""
    if (url := os.environ.get(str(path))) and dialect_of(url):
        return read_server(url, max_rows, industry)
    require_file(path, "params.database")
    return read_yaml(path) if path.suffix in (".yaml", ".yml") else read_sqlite(path, max_rows, industry)


def read_yaml(path: Path) -> Database:
    content = load_config(path, [], DatabaseFile)
    tables = tuple(_table(name, table, content.tables, path) for name, table in content.tables.items())
    return Database(path.stem, content.industry, tables)


def _table(name: str, file: TableFile, tables: dict[str, TableFile], path: Path) -> Table:
    where = f"{path}: table {name}"
    if unknown := [c.of for c in file.columns.values() if c.of and c.of not in tables]:
        raise ConfigError(f"{where}: a key points to {unknown[0]}, which is no table of this file.")
    types = {column: c.type or _TYPES.get(c.kind, "TEXT") for column, c in file.columns.items()}
    rows = []
    for line, fields in enumerate(csv.reader(file.rows.splitlines()), start=1):
        if len(fields) != len(types):
            raise ConfigError(f"{where}: row {line} has {len(fields)} fields for {len(types)} columns.")
        try:
            rows.append(tuple(_value(text, sql_type) for text, sql_type in zip(fields, types.values(), strict=True)))
        except ValueError as error:
            raise ConfigError(f"{where}: row {line}: {error}.") from None
    return Table(
        name,
        *file.words,
        columns=tuple(
            Column(
                column,
                types[column],
                c.words,
                c.kind,
                unit=c.unit,
                additive=c.additive,
                nullable=any(row[index] is None for row in rows),
                values=distinct([row[index] for row in rows]),
            )
            for index, (column, c) in enumerate(file.columns.items())
        ),
        primary_key=_primary_key(file),
        foreign_keys=tuple(
            ForeignKey(column, c.of, _primary_key(tables[c.of])[0], c.role)
            for column, c in file.columns.items()
            if c.of
        ),
        rows=tuple(rows),
        person=file.person,
    )


def _primary_key(file: TableFile) -> tuple[str, ...]:
    first, column = next(iter(file.columns.items()))
    return file.primary_key or ((first,) if column.kind == "id" else ())


def _value(text: str, sql_type: str) -> Value:
    if not text:
        return None
    if sql_type == "INTEGER":
        return int(text)
    return float(text) if sql_type == "REAL" else text
