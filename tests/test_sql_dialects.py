"""One plan in three dialects: written as its users write it, and the same rows from every engine."""

from collections.abc import Iterable, Iterator
from random import Random
from typing import Any

import pytest
import sqlglot

from generators.text_to_sql.grammar import CONCEPTS, Query, query_of, sample_query, suited_concepts
from generators.text_to_sql.grammar.catalog import catalog_of
from generators.text_to_sql.grammar.collation import match_alike, sort_alike
from generators.text_to_sql.grammar.coverage import left_out
from generators.text_to_sql.grammar.plan import (
    Aggregate,
    BeyondCount,
    Comparison,
    Conditional,
    DatePart,
    Elapsed,
    Item,
    Membership,
    Nested,
    Order,
    Pattern,
    Plan,
    Recent,
    Ref,
    Shifted,
    TextList,
)
from generators.text_to_sql.grammar.sql import quoted
from generators.text_to_sql.schema import Column, Database, Dialect, ForeignKey, Table
from generators.text_to_sql.statements import ddl, inserts, type_of
from judges.sql_concepts import CONCEPTS as KNOWN
from judges.sql_concepts import DIALECTS, shows
from judges.sql_engine import Limits
from judges.sql_server import Server
from judges.sql_world import as_json, joined
from tests.sql_worlds import all_worlds, connect, own_worlds

CLINIC, FREIGHT = own_worlds()["clinic"], own_worlds()["freight"]
VISIT, MONTH = Ref((), "visit", "visit_id"), DatePart(Ref((), "visit", "visit_date"), "month")


def visit(column: str) -> Ref:
    return Ref((), "visit", column)


def text(plan: Plan, dialect: Dialect, database: Database = CLINIC) -> str:
    return " ".join(query_of(plan, database, dialect).sql.split())


def shown(item: Item, dialect: Dialect) -> str:
    """The one computed column, as it is written after the key."""
    grouped = (VISIT,) if isinstance(item, Elapsed | Shifted) else (visit("reason"),)
    group = () if isinstance(item, Elapsed | Shifted) else grouped
    sql = text(Plan("x", "visit", (*grouped, item), group=group), dialect)
    return sql.removeprefix(f"SELECT {grouped[0].column}, ").split(" FROM ")[0].rpartition(" AS ")[0]


# --- each dialect's own forms ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "written"),
    [
        (
            Elapsed(visit("visit_date"), visit("paid_on")),
            (
                "CAST(JULIANDAY(paid_on) - JULIANDAY(visit_date) AS INTEGER)",
                "paid_on - visit_date",
                "DATEDIFF(paid_on, visit_date)",
            ),
        ),
        (
            Shifted(visit("visit_date"), -30),
            (
                "DATE(visit_date, '-30 days')",
                "CAST(visit_date - INTERVAL '30 days' AS DATE)",
                "DATE_SUB(visit_date, INTERVAL 30 DAY)",
            ),
        ),
        (
            Conditional(Aggregate("count"), Comparison(visit("emergency"), "eq", 0)),
            (
                "COUNT(*) FILTER(WHERE emergency = 0)",
                "COUNT(*) FILTER(WHERE NOT emergency)",
                "SUM(CASE WHEN emergency = FALSE THEN 1 ELSE 0 END)",
            ),
        ),
    ],
)
def test_native_forms(item: Item, written: tuple[str, str, str]) -> None:
    assert tuple(shown(item, dialect) for dialect in DIALECTS) == written


def test_months_lists_flags_and_recent_days() -> None:
    months = Plan("x", "visit", (MONTH, Aggregate("count")), group=(MONTH,), order=(Order(MONTH, True),))
    for dialect, written in zip(
        DIALECTS,
        ("STRFTIME('%Y-%m', visit_date)", "TO_CHAR(visit_date, 'YYYY-MM')", "DATE_FORMAT(visit_date, '%Y-%m')"),
        strict=True,
    ):
        assert f"{written} AS month" in text(months, dialect) and text(months, dialect).endswith("ORDER BY month DESC")
    specialty = Ref((), "doctor", "specialty")
    listed = Plan("x", "doctor", (specialty, TextList(Ref((), "doctor", "name"))), group=(specialty,))
    assert "STRING_AGG(name, ', ' ORDER BY name)" in text(listed, "postgres")
    assert "GROUP_CONCAT(name ORDER BY name SEPARATOR ', ')" in text(listed, "mysql")
    assert "GROUP_CONCAT(name, ', ')" in text(listed, "sqlite") and "ORDER BY specialty, name" in text(listed, "sqlite")
    flag = Plan("x", "visit", (VISIT,), filters=(Comparison(visit("emergency"), "eq", 1),))
    assert [text(flag, dialect).split("WHERE ")[1] for dialect in DIALECTS] == [
        "emergency = 1",
        "emergency",
        "emergency = TRUE",
    ]
    recent = Plan("x", "visit", (VISIT,), filters=(Recent(visit("visit_date"), 30),))
    assert "DATE(( SELECT MAX(visit_date) FROM visit ), '-30 days')" in text(recent, "sqlite")
    assert text(recent, "postgres").endswith("( SELECT MAX(visit_date) FROM visit ) - INTERVAL '30 days'")
    assert text(recent, "mysql").endswith("( SELECT MAX(visit_date) FROM visit ) - INTERVAL 30 DAY")


def test_not_stands_before_in_and_like_in_every_dialect() -> None:
    filters = (
        Membership(visit("reason"), ("rash", "it's"), negated=True),
        Pattern(Ref(("doctor_id",), "doctor", "name"), "starts", "A", negated=True),
    )
    for dialect in DIALECTS:
        sql = text(Plan("x", "visit", (VISIT,), filters=filters), dialect)
        assert "visit.reason NOT IN ('rash', 'it''s')" in sql and "doctor.name NOT LIKE 'A%'" in sql


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("loan", ("loan", "loan", "loan")),
        ("order", ('"order"', '"order"', "`order`")),
        ("rank", ("rank", "rank", "`rank`")),
        ("user", ("user", '"user"', "user")),
        ("InvoiceLine", ("InvoiceLine", '"InvoiceLine"', "InvoiceLine")),
        ("net price", ('"net price"', '"net price"', "`net price`")),
        ('a"b`c', ('"a""b`c"', '"a""b`c"', '`a"b``c`')),
    ],
)
def test_only_what_the_dialect_would_misread_is_quoted(name: str, written: tuple[str, str, str]) -> None:
    assert tuple(quoted(name, dialect) for dialect in DIALECTS) == written
    for dialect in DIALECTS:
        tree = sqlglot.parse_one(f"SELECT {quoted(name, dialect)} FROM t", dialect=dialect)
        assert tree.expressions[0].name == name


def test_types_are_native() -> None:
    assert "emergency BOOLEAN NOT NULL" in ddl(CLINIC.tables, "postgres")[-2]
    columns = {
        "whole": Column("a", "INTEGER", "a", "measure", values=(1, 2)),
        "large": Column("a", "INTEGER", "a", "measure", values=(3_000_000_000,)),
        "price": Column("a", "REAL", "a", "measure", values=(1.5, 12345.25)),
        "rate": Column("a", "REAL", "a", "measure", values=(0.03125,)),
        "tiny": Column("a", "REAL", "a", "measure", values=(1e-7,)),
        "day": Column("a", "DATE", "a", "date", values=("2024-03-01",)),
        "moment": Column("a", "DATE", "a", "date", values=("2024-03-01 10:00:00",)),
        "word": Column("a", "TEXT", "a", "category", values=("open", "paid")),
        "essay": Column("a", "TEXT", "a", "text", values=("x" * 90,)),
        "flag": Column("a", "INTEGER", "a", "flag", values=(0, 1)),
    }
    assert {name: type_of(column, "postgres") for name, column in columns.items()} == {
        "whole": "INTEGER", "large": "BIGINT", "price": "NUMERIC(10, 2)", "rate": "NUMERIC(10, 5)",
        "tiny": "NUMERIC(10, 7)", "day": "DATE", "moment": "TIMESTAMP", "word": "VARCHAR(20)", "essay": "TEXT",
        "flag": "BOOLEAN",
    }  # fmt: skip
    assert (type_of(columns["moment"], "mysql"), type_of(columns["price"], "mysql")) == ("DATETIME", "DECIMAL(10, 2)")
    assert all(type_of(column, "sqlite") == column.type for column in columns.values())


def test_a_key_to_a_column_that_is_not_unique_is_left_out_where_it_would_not_load() -> None:
    parent = Table("p", "p", "ps", (Column("code", "TEXT", "code", "category", values=("a",)),), rows=(("a",),))
    child = Table(
        "c", "c", "cs", (Column("code", "TEXT", "code", "key", values=("a",)),),
        foreign_keys=(ForeignKey("code", "p", "code"),), rows=(("a",),),
    )  # fmt: skip
    assert "REFERENCES" in ddl((parent, child), "sqlite")[1]
    assert "REFERENCES" not in ddl((parent, child), "postgres")[1] + ddl((parent, child), "mysql")[1]


def test_literals_of_each_dialect() -> None:
    table = Table(
        "t", "t", "ts",
        (
            Column("a", "TEXT", "a", "text", values=("it's a \\ sign",)),
            Column("b", "INTEGER", "b", "flag", values=(1,)),
        ),
        rows=(("it's a \\ sign", 1), (None, 0)),
    )  # fmt: skip
    assert inserts((table,), "sqlite") == ["INSERT INTO t VALUES\n('it''s a \\ sign', 1),\n(NULL, 0);"]
    assert inserts((table,), "postgres") == ["INSERT INTO t VALUES\n('it''s a \\ sign', TRUE),\n(NULL, FALSE);"]
    assert inserts((table,), "mysql") == ["INSERT INTO t VALUES\n('it''s a \\\\ sign', TRUE),\n(NULL, FALSE);"]


# --- what no engine may decide by itself -----------------------------------------------------------------------------


def test_text_that_every_collation_sorts_alike() -> None:
    assert sort_alike(["Anna", "Ben", "Zoe"])
    assert not sort_alike(["Zofia", "Zoë"]), "bytes put the accent last"
    assert not sort_alike(["PayPal", "card"]), "bytes put capitals first"
    assert not sort_alike(["O'Neill", "Olsen"]), "some locales skip the apostrophe"
    assert not sort_alike(["open", "Open"]), "some engines can't tell them apart"


def test_patterns_that_find_the_same_with_and_without_case() -> None:
    assert match_alike(["Anna", "Hanna"], "nn", str.__contains__)
    assert not match_alike(["Anna", "Hanna"], "an", str.__contains__)
    assert not match_alike(["Cafe", "Café"], "fe", str.endswith)
    for database in all_worlds().values():
        for seed in range(5):
            plan = sample_query(database, "filter_like", Random(seed)).plan
            pattern = next(f for f in plan.filters if isinstance(f, Pattern))
            values = [str(value) for value in catalog_of(database).column(pattern.ref).values]
            exact = [v for v in values if pattern.text in v]
            assert [v for v in values if pattern.text.lower() in v.lower()] == exact or pattern.how != "contains"


def test_rows_without_any_partner_are_spoken_of() -> None:
    """Not every patient has a visit: their average number of visits depends on whether these count."""
    per = Ref(("patient_id",), "patient", "patient_id")
    catalog = catalog_of(CLINIC)
    for item in (Nested("avg", Aggregate("count"), per), BeyondCount(Aggregate("count"), "gt", per)):
        assert left_out(Plan("x", "visit", (item,)), catalog) == per
    assert left_out(Plan("x", "visit", (Nested("avg", Aggregate("max", visit("fee")), per),)), catalog) is None
    some = Ref(("visit_id",), "visit", "visit_id")
    assert left_out(Plan("x", "prescription", (Nested("avg", Aggregate("count"), some),)), catalog) == some


# --- all concepts ----------------------------------------------------------------------------------------------------


def draws(database: Database, per_concept: int) -> Iterator[Query]:
    for concept in suited_concepts(database):
        for number in range(per_concept):
            yield sample_query(database, concept, Random(f"{database.name} {concept} {number}"))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_query_shows_its_concept(dialect: Dialect) -> None:
    seen = set()
    for database in all_worlds().values():
        for query in draws(database, 1):
            if dialect in KNOWN[query.concept].dialects:
                sql = query_of(query.plan, database, dialect).sql
                assert shows(query.concept, sqlglot.parse_one(sql, dialect=dialect), dialect), sql
                seen.add(query.concept)
    assert seen == {name for name in CONCEPTS if dialect in KNOWN[name].dialects}


def rows_of(found: Iterable[Any]) -> list[tuple[Any, ...]]:
    plain = (tuple(as_json(value) for value in row) for row in found)
    return [tuple(int(value) if isinstance(value, bool) else value for value in row) for row in plain]


def rough(row: tuple[Any, ...]) -> list[str]:
    return [f"{value:.5g}" if isinstance(value, int | float) else repr(value) for value in row]


def same(one: Any, other: Any) -> bool:
    """Exact decimals of one engine and floats of another; MySQL divides to four digits."""
    if isinstance(one, int | float) and isinstance(other, int | float):
        return abs(one - other) <= 1e-4 * max(1.0, abs(one))
    return bool(one == other)


SERVED = [pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("postgres", "mysql")]


@pytest.mark.parametrize("dialect", SERVED)
def test_every_engine_gives_the_same_rows(dialect: Dialect, request: pytest.FixtureRequest) -> None:
    """More than a thousand queries on fifteen databases, each on SQLite and on the server."""
    server: Server = request.getfixturevalue(f"{dialect}_server")
    asked = 0
    for database in all_worlds().values():
        lite, context = connect(database), joined([*ddl(database.tables, dialect), *inserts(database.tables, dialect)])
        with server.database(context, Limits()) as other:
            for query in draws(database, 1):
                expected = rows_of(lite.execute(query.sql).fetchall())
                native = query_of(query.plan, database, dialect).sql
                found = rows_of(other.run(native)[1])
                if not query.ordered:
                    expected, found = sorted(expected, key=rough), sorted(found, key=rough)
                assert len(expected) == len(found), native
                assert all(all(map(same, *pair)) for pair in zip(expected, found, strict=True)), native
                asked += 1
    assert asked >= 1000
