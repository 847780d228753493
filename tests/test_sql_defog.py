"""Questions and queries that others wrote: defog's 115 on six databases, and sqlglot's hardest statements."""

import gzip
import os
from collections import Counter
from pathlib import Path

import pytest
import sqlglot

from judges.sql_clock import frozen
from judges.sql_execution import prove_in_sqlite, prove_on
from judges.sql_server import Server
from judges.sql_text import read_query
from judges.sql_world import Dialect, Refuted, Row, SQLWorld, statements
from judges.sqlite_engine import SQLite
from tests import defog
from tests.defog import CLOCK, LIMITS, cases


@pytest.fixture(scope="module")
def databases(postgres_server: Server) -> dict[str, str]:
    return defog.databases(Path(os.environ["GRISTMILL_SHARED"]), postgres_server)


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
