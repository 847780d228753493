"""Queries that run and are right, but have a part that does nothing, are never drawn."""

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from generators.text_to_sql.context import choose_context, show
from generators.text_to_sql.grammar import query_of, sample_query, suited_concepts
from generators.text_to_sql.grammar.catalog import catalog_of
from generators.text_to_sql.grammar.idle import is_idle
from generators.text_to_sql.grammar.plan import (
    Aggregate,
    Comparison,
    Conditional,
    Default,
    Either,
    Having,
    Mapped,
    Nested,
    Order,
    Partner,
    Pattern,
    Plan,
    Rank,
    Recent,
    Ref,
    TextList,
    Top,
)
from generators.text_to_sql.load import bundled, read_yaml
from generators.text_to_sql.schema import Database
from judges.sql_engine import Limits
from judges.sqlite_engine import SQLite

TOWN = """
industry: shops
tables:
  client:
    words: [client, clients]
    columns:
      client_id: {kind: id, words: client number}
      name: {kind: name, words: name}
      city: {kind: category, words: city}
      country: {kind: category, words: country}
      phone: {kind: text, words: phone}
    rows: |
      1,Ada Stone,Bonn,Germany,55
      2,Ben Field,Bonn,Germany,56
      3,Cid Stone,Lyon,France,
  invoice:
    words: [invoice, invoices]
    columns:
      invoice_id: {kind: id, words: invoice number}
      client_id: {kind: key, of: client, words: client number}
      sent_on: {kind: date, words: date}
      amount: {kind: measure, type: REAL, words: amount, unit: euros}
      status: {kind: category, words: status}
    rows: |
      10,1,2024-01-05,50,paid
      11,2,2024-02-05,70,paid
      12,3,2024-03-05,90,open
"""


def client(column: str) -> Ref:
    return Ref((), "client", column)


def invoice(column: str) -> Ref:
    return Ref((), "invoice", column)


COUNT = Aggregate("count")
CLIENTS = Plan("x", "client", (client("name"),))
INVOICES = Plan("x", "invoice", (invoice("invoice_id"),))
GERMAN, BONN = Comparison(client("country"), "eq", "Germany"), Comparison(client("city"), "eq", "Bonn")
PER_CLIENT = Ref(("client_id",), "client", "client_id")


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Database:
    path: Path = tmp_path_factory.mktemp("town") / "town.yaml"
    path.write_text(TOWN)
    return read_yaml(path)


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(replace(CLIENTS, filters=(GERMAN, BONN)), id="one condition follows from the other"),
        pytest.param(replace(CLIENTS, filters=(Either(GERMAN, BONN),)), id="one alternative adds nothing"),
        pytest.param(replace(INVOICES, filters=(Pattern(invoice("status"), "starts", "paid"),)), id="LIKE for ="),
        pytest.param(replace(INVOICES, filters=(Recent(invoice("sent_on"), 20),)), id="only the newest day"),
        pytest.param(
            replace(CLIENTS, filters=(Partner("invoice", "client_id", having=Comparison(invoice("amount"), "gt", 1)),)),
            id="all have a partner",
        ),
        pytest.param(
            replace(CLIENTS, filters=(GERMAN,), union=replace(CLIENTS, filters=(BONN,))), id="a union that adds nothing"
        ),
        pytest.param(
            replace(CLIENTS, filters=(GERMAN,), union=replace(CLIENTS, filters=(BONN,)), combine="intersect"),
            id="an intersection that takes nothing away",
        ),
        pytest.param(
            Plan("x", "client", (client("city"), COUNT), filters=(GERMAN,), group=(client("city"),)),
            id="a single group",
        ),
        pytest.param(
            Plan("x", "client", (client("city"), COUNT), filters=(GERMAN,), group=(client("city"),), shape="rollup"),
            id="a single group and its total",
        ),
        pytest.param(
            Plan("x", "client", (client("city"), COUNT), group=(client("city"),), having=Having(COUNT, "ge", 1)),
            id="HAVING that keeps all",
        ),
        pytest.param(Plan("x", "client", (client("name"),), distinct=True), id="DISTINCT without repeats"),
        pytest.param(Plan("x", "client", (Aggregate("count_distinct", client("name")),)), id="each value once"),
        pytest.param(Plan("x", "client", (Default(client("city"), "n/a"),)), id="a default for nothing"),
        pytest.param(
            Plan("x", "invoice", (invoice("amount"), TextList(invoice("status"))), group=(invoice("amount"),)),
            id="lists of one text",
        ),
        pytest.param(Plan("x", "invoice", (Nested("avg", COUNT, PER_CLIENT),)), id="one row for each parent: counts"),
        pytest.param(
            Plan("x", "invoice", (Nested("avg", Aggregate("sum", invoice("amount")), PER_CLIENT),)),
            id="one row for each parent: totals",
        ),
        pytest.param(
            Plan(
                "x",
                "client",
                (client("city"), Conditional(COUNT, Comparison(client("country"), "eq", "Spain"))),
                group=(client("city"),),
            ),
            id="a column of zeros",
        ),
        pytest.param(
            Plan("x", "client", (client("name"), Mapped(client("city"), ("Rome",), ("R",), "other"))), id="all others"
        ),
        pytest.param(
            Plan("x", "client", (client("name"),), top=Top(2, client("city"), (Order(client("client_id")),))),
            id="the first two of two",
        ),
        pytest.param(
            Plan(
                "x",
                "client",
                (client("country"), client("name")),
                filters=(GERMAN,),
                top=Top(1, client("country"), (Order(client("client_id")),)),
            ),
            id="the first of the only group",
        ),
        pytest.param(
            Plan("x", "client", (Rank(client("client_id"), True, True, client("country")),), filters=(GERMAN,)),
            id="ranks within the only group",
        ),
        pytest.param(replace(INVOICES, order=(Order(invoice("amount")),), limit=5), id="a limit beyond the rows"),
    ],
)
def test_a_part_that_does_nothing(plan: Plan, town: Database) -> None:
    assert is_idle(plan, query_of(plan, town).sql, catalog_of(town))


@pytest.mark.parametrize(
    "plan",
    [
        replace(CLIENTS, filters=(GERMAN,)),
        replace(CLIENTS, filters=(Pattern(client("name"), "ends", "Stone"),)),
        replace(INVOICES, filters=(Recent(invoice("sent_on"), 40),)),
        Plan("x", "client", (client("city"), COUNT), group=(client("city"),)),
        Plan("x", "client", (Default(client("phone"), "n/a"),)),
        Plan("x", "invoice", (invoice("status"), TextList(invoice("status"))), group=(invoice("status"),)),
        replace(INVOICES, order=(Order(invoice("amount")),), limit=2),
    ],
)
def test_a_part_that_does_something(plan: Plan, town: Database) -> None:
    assert not is_idle(plan, query_of(plan, town).sql, catalog_of(town))


@pytest.mark.parametrize("concept", ["filter_and", "filter_or", "semi_join", "set_overlap", "average_of_totals"])
def test_none_is_drawn(concept: str) -> None:
    for database in bundled().values():
        if concept in suited_concepts(database):
            for seed in range(3):
                query = sample_query(database, concept, Random(seed))
                assert not is_idle(query.plan, query.sql, catalog_of(database)), query.sql


# --- what a query needs not read -------------------------------------------------------------------------------------


def test_the_key_of_a_parent_needs_no_join(town: Database) -> None:
    """The subject points to it already; it is read from the parent only where that is joined for something else."""
    shown = query_of(replace(INVOICES, select=(invoice("invoice_id"), PER_CLIENT)), town)
    assert shown.sql == "SELECT\n  invoice_id,\n  client_id\nFROM invoice"
    counted = query_of(Plan("x", "invoice", (Nested("avg", COUNT, PER_CLIENT),)), town)
    assert "JOIN" not in counted.sql
    named = query_of(replace(INVOICES, select=(PER_CLIENT, Ref(("client_id",), "client", "name"))), town)
    assert "client.client_id" in named.sql and named.sql.count("JOIN") == 1


def test_the_rows_of_a_prompt_load_as_they_stand() -> None:
    """Every foreign key of a shown row finds the row that it points to."""
    for turn, database in enumerate(bundled().values()):
        for concept in ("join_two_hops", "count_children", "pair_occurrence"):
            if concept not in suited_concepts(database):
                continue
            rng = Random(turn)
            context = choose_context(sample_query(database, concept, rng), rng)
            statements = show(context.tables, "ddl_inserts", "sqlite", rng)
            with SQLite(statements, Limits()) as engine:  # which checks foreign keys
                assert all(engine.run(f"SELECT COUNT(*) FROM {table.name}")[1][0][0] for table in context.tables)
