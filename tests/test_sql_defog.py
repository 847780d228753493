"""Questions and queries that others wrote: defog's 115 on six databases, and sqlglot's hardest statements."""

import csv
import gzip
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from judges.sql_clock import frozen
from judges.sql_engine import Limits
from judges.sql_execution import prove_in_sqlite, prove_on
from judges.sql_server import Server
from judges.sql_text import read_query
from judges.sql_world import Dialect, Refuted, Row, SQLWorld, as_json, first_word, joined, statements
from judges.sqlite_engine import SQLite

CLOCK = datetime(2024, 5, 1, 12)
LIMITS = Limits(frozen_clock=CLOCK, sensitivity=False, rows=10_000, seconds=5)


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


@pytest.fixture(scope="module")
def databases(postgres_server: Server) -> dict[str, str]:
    import os

    folder = Path(os.environ["GRISTMILL_SHARED"]) / "sql/defog/defog_data"
    dumps = {place.name: place / f"{place.name}.sql" for place in sorted(folder.iterdir())}
    return {name: converted(path.read_text(), postgres_server) for name, path in dumps.items()}


def cases(shared_data: Path, databases: dict[str, str]) -> Iterator[tuple[str, str]]:
    """The context and the first of the right queries of each question."""
    with (shared_data / "sql/defog/questions_gen_sqlite.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["db_name"] in databases:
                yield databases[row["db_name"]], statements(row["query"], "sqlite")[0]


def plainly(context: str, query: str) -> list[Row]:
    """What the query returns without any check."""
    with SQLite(context, LIMITS) as database:
        tree = sqlglot.parse_one(query, dialect="sqlite")
        return database.run(frozen(tree, CLOCK, "sqlite").sql("sqlite"))[1]


@pytest.mark.shared
@pytest.mark.postgres
def test_the_gold_queries_of_defog(shared_data: Path, databases: dict[str, str]) -> None:
    """At least 95 % of those that return rows are proved; what isn't has a reason that a reader can follow."""
    returning = proved = asked = 0
    refused: Counter[str] = Counter()
    for context, query in cases(shared_data, databases):
        asked += 1
        rows = plainly(context, query)
        if not rows or rows in ([(None,)], [(0,)]):
            continue
        returning += 1
        try:
            prove_in_sqlite(SQLWorld(context=context), query, LIMITS)
            proved += 1
        except Refuted as refuted:
            refused[refuted.reason] += 1
            print(refuted, query, sep="\n    ")
    print(f"{asked} questions, {returning} return rows, {proved} proved, refused: {dict(refused)}")
    assert asked == 115 and returning > 60
    assert proved >= 0.95 * returning, refused


@pytest.mark.shared
def test_no_statement_breaks_the_parser_stage(shared_data: Path) -> None:
    """Each is read or refuted, in each dialect."""
    folder = shared_data / "sql/sqlglot"
    found = [line for line in (folder / "identity.sql").read_text().splitlines() if line]
    for name in ("tpc-h.sql.gz", "tpc-ds.sql.gz"):
        found += statements(gzip.decompress((folder / name).read_bytes()).decode(), "postgres")
    outcomes: Counter[str] = Counter()
    for statement in found:
        for dialect in ("sqlite", "postgres", "mysql"):
            for writes in (False, True):
                try:
                    read_query(statement, dialect, writes=writes, clock=CLOCK)
                    outcomes["read"] += 1
                except Refuted as refuted:
                    outcomes[refuted.reason] += 1
    print(dict(outcomes))
    assert len(found) > 1000 and outcomes["read"] > 2 * len(found)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("dialect", "dump", "names"),
    [
        pytest.param("postgres", "Chinook_PostgreSql", "artist.name album artist_id", marks=pytest.mark.postgres),
        pytest.param("mysql", "Chinook_MySql", "Artist.Name Album ArtistId", marks=pytest.mark.mysql),
    ],
)
def test_a_whole_dump_is_a_context(
    shared_data: Path, request: pytest.FixtureRequest, dialect: Dialect, dump: str, names: str
) -> None:
    """With its comments, its frame and 15,000 rows; and nothing but what it says."""
    server: Server = request.getfixturevalue(f"{dialect}_server")
    context = gzip.decompress((shared_data / f"sql/chinook/{dump}.sql.gz").read_bytes()).decode("utf-8-sig")
    name, album, key = names.split()
    artist = name.split(".")[0]
    query = (
        f"SELECT {name}, COUNT(*) AS albums FROM {artist} JOIN {album} ON {album}.{key} = {artist}.{key} "
        f"GROUP BY {name} ORDER BY albums DESC, {name} LIMIT 3"
    )
    proof = prove_on(server, SQLWorld(dialect=dialect, context=context), query, LIMITS)
    assert proof.result == [["Iron Maiden", 21], ["Led Zeppelin", 14], ["Deep Purple", 11]]
