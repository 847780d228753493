"""Defog's questions and databases, from the folder of real inputs; dates in them stand still."""

import csv
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import sqlglot
from sqlglot import exp

from judges.sql_clock import frozen
from judges.sql_engine import Limits
from judges.sql_server import Server
from judges.sql_world import Row, as_json, first_word, joined, statements

CLOCK = datetime(2024, 5, 1, 12)
LIMITS = Limits(frozen_clock=CLOCK, sensitivity=False, rows=10_000, seconds=5)


def databases(shared_data: Path, server: Server) -> dict[str, str]:
    """The six of them by name, as SQLite's statements."""
    folders = sorted((shared_data / "sql/defog/defog_data").iterdir())
    return {folder.name: converted((folder / f"{folder.name}.sql").read_text(), server) for folder in folders}


def converted(dump: str, server: Server) -> str:
    """A PostgreSQL dump as SQLite's: tables by sqlglot, rows (dates reckoned from today, and such) by PostgreSQL."""
    trees = [sqlglot.parse_one(statement, dialect="postgres") for statement in statements(dump, "postgres")]
    stopped = joined([frozen(tree, CLOCK, "postgres").sql("postgres", comments=False) for tree in trees])
    made = []
    for tree in trees:
        for named in tree.find_all(exp.Table):
            named.set("db", None)
        for constraint in list(tree.find_all(exp.DefaultColumnConstraint)):
            assert constraint.parent
            constraint.parent.pop()
        text = tree.sql("sqlite", comments=False)
        made += [text] if first_word(text, "sqlite") == "create" else []
    with server.database(stopped, LIMITS) as database:
        for table in database.tables():
            made += (f"INSERT INTO {table} VALUES ({values})" for values in _values(database.run(f"TABLE {table}")[1]))
    return joined(made)


def _values(rows: list[Row]) -> Iterator[str]:
    for row in rows:
        plain = (as_json(value) for value in row)
        yield ", ".join(exp.convert(value).sql("sqlite") for value in plain)


def cases(shared_data: Path, databases: dict[str, str]) -> Iterator[tuple[str, str]]:
    """The context and the first of the right queries of each question."""
    with (shared_data / "sql/defog/questions_gen_sqlite.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["db_name"] in databases:
                yield databases[row["db_name"]], statements(row["query"], "sqlite")[0]
