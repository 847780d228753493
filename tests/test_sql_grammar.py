"""The grammar's queries: they run, mean something, find something, and have the order that they state."""

import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from itertools import combinations, pairwise
from random import Random
from statistics import median

import pytest

from generators.text_to_sql.grammar import (
    CONCEPTS,
    Plan,
    Query,
    Unsuited,
    query_of,
    sample_query,
    suited_concepts,
    tier_of,
)
from generators.text_to_sql.grammar.catalog import catalog_of
from generators.text_to_sql.grammar.plan import (
    Aggregate,
    Arithmetic,
    Beginning,
    BeyondCount,
    Bucket,
    Cased,
    Change,
    ChildCount,
    ChildTotal,
    Combined,
    Comparison,
    Conditional,
    Covers,
    DatePart,
    Default,
    Deviation,
    Either,
    Elapsed,
    EndValue,
    Growth,
    Having,
    HavingMean,
    Item,
    Mapped,
    Median,
    Membership,
    Missing,
    Moving,
    Nested,
    Operator,
    Order,
    Partner,
    Pattern,
    Rank,
    Recent,
    Ref,
    Renamed,
    Running,
    Share,
    Shifted,
    TextList,
    Tile,
    Top,
    TopGroup,
    VersusAverage,
    VersusNamed,
    ref_of,
)
from generators.text_to_sql.schema import Column, Database, ForeignKey, Table, Value
from tests.sql_worlds import all_worlds, comparable, connect, own_worlds

PER_CONCEPT = 8


def draws(database: Database, per_concept: int = PER_CONCEPT) -> list[Query]:
    return [
        sample_query(database, concept, Random(f"{database.name} {concept} {i}"))
        for concept in suited_concepts(database)
        for i in range(per_concept)
    ]


def test_there_are_concepts_in_three_tiers() -> None:
    tiers = Counter(tier for tier, _ in CONCEPTS.values())
    assert len(CONCEPTS) >= 80 and set(tiers) == {"basic", "intermediate", "advanced"} and min(tiers.values()) >= 10
    assert tier_of("running_total") == "advanced"


@pytest.mark.parametrize("name", sorted(all_worlds()))
def test_thousands_of_queries_run_and_find_rows(name: str) -> None:
    """On 15 databases 5000 queries: no error, nearly all non-empty, and each result independent of the stored order."""
    database = all_worlds()[name]
    forward, backward = connect(database), connect(database, reverse=True)
    queries = draws(database)
    found = 0
    for query in queries:
        rows, again = (comparable(c.execute(query.sql).fetchall()) for c in (forward, backward))
        if query.ordered:
            assert rows == again, query.sql
        else:
            assert Counter(rows) == Counter(again), query.sql
        found += any(value is not None for row in rows for value in row)
        assert "now" not in query.sql.lower().split("'")
    assert len(queries) >= 30 * PER_CONCEPT
    assert found >= 0.95 * len(queries)


def test_every_concept_suits_several_worlds_and_every_world_nearly_all_concepts() -> None:
    suited = {name: set(suited_concepts(world)) for name, world in all_worlds().items()}
    assert all(len(concepts) >= 0.93 * len(CONCEPTS) for concepts in suited.values())
    assert all(sum(concept in concepts for concepts in suited.values()) >= 5 for concept in CONCEPTS)


def test_queries_are_sensible() -> None:
    """Ids and keys are never summed or averaged, sums add up, years have no average, keys are never shown."""
    for database in all_worlds().values():
        catalog = catalog_of(database)
        for query in draws(database, 4):
            for item in (*query.plan.select, *query.plan.group):
                if isinstance(item, Ref):
                    assert catalog.column(item).kind not in ("key", "flag")
                aggregate = getattr(item, "of", getattr(item, "inner", item))
                ref = ref_of(aggregate)
                if not isinstance(aggregate, Aggregate) or ref is None or aggregate.function == "count_distinct":
                    continue
                column = catalog.column(ref)
                assert column.kind == "measure"
                assert aggregate.function != "sum" or column.additive
                assert aggregate.function not in ("avg", "sum") or column.unit != "year"


def test_same_seed_same_queries_in_any_process() -> None:
    script = (
        "from tests.test_sql_grammar import draws; from tests.sql_worlds import own_worlds; from hashlib import sha256;"
        "print(sha256(''.join(q.sql for d in own_worlds().values() for q in draws(d, 2)).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_plans_survive_json() -> None:
    for database in own_worlds().values():
        for query in draws(database, 3):
            assert Plan.from_json(query.plan.to_json()) == query.plan
            assert query_of(query.plan, database).sql == query.sql


def test_a_database_without_dates_has_no_running_total() -> None:
    table = Table(
        "city",
        "city",
        "cities",
        (Column("city_id", "INTEGER", "city number", "id", values=(1, 2)),),
        primary_key=("city_id",),
        rows=((1,), (2,)),
    )
    database = Database("atlas", "geography", (table,))
    assert "running_total" not in suited_concepts(database)
    with pytest.raises(Unsuited, match="running_total"):
        sample_query(database, "running_total", Random(0))


def test_awkward_names_are_quoted() -> None:
    order = Table(
        "order",
        "order",
        "orders",
        (
            Column("id", "INTEGER", "order number", "id", values=(1, 2, 3)),
            Column("group", "TEXT", "group", "category", values=("a b", 'c"d')),
            Column("Net Price", "REAL", "net price", "measure", unit="euros", additive=True, values=(1.5, 2.5, 3.5)),
        ),
        primary_key=("id",),
        rows=((1, "a b", 1.5), (2, "a b", 2.5), (3, 'c"d', 3.5)),
    )
    database = Database("shop", "retail", (order,))
    connection = connect(database)
    for query in draws(database, 5):
        assert connection.execute(query.sql).fetchall() is not None


# --- the meaning of single plans, against plain Python ---------------------------------------------------------------

CLINIC = own_worlds()["clinic"]
FREIGHT = own_worlds()["freight"]


def visit(column: str) -> Ref:
    return Ref((), "visit", column)


def doctor(column: str) -> Ref:
    return Ref(("doctor_id",), "doctor", column)


def shipment(column: str) -> Ref:
    return Ref((), "shipment", column)


def rows_of(table: str, database: Database = CLINIC) -> list[dict[str, Value]]:
    found = database.table(table)
    names = [column.name for column in found.columns]
    return [dict(zip(names, row, strict=True)) for row in found.rows]


def result(plan: Plan, database: Database = CLINIC) -> list[tuple[Value, ...]]:
    return comparable(connect(database).execute(query_of(plan, database).sql).fetchall())


def test_sql_reads_well() -> None:
    plan = Plan(
        "x",
        "visit",
        (visit("visit_id"), doctor("name")),
        filters=(
            Comparison(visit("fee"), "gt", 50.0),
            Membership(visit("reason"), ("rash", "fever"), negated=True),
            Pattern(doctor("name"), "starts", "A", negated=True),
        ),
        order=(Order(visit("fee"), True), Order(visit("visit_id"))),
        limit=2,
    )
    assert query_of(plan, CLINIC).sql == (
        "SELECT\n  visit.visit_id,\n  doctor.name AS doctor_name\nFROM visit\nJOIN doctor\n"
        "  ON visit.doctor_id = doctor.doctor_id\nWHERE\n  visit.fee > 50\n"
        "  AND visit.reason NOT IN ('rash', 'fever')\n  AND doctor.name NOT LIKE 'A%'\n"
        "ORDER BY\n  visit.fee DESC,\n  visit.visit_id\nLIMIT 2"
    )


def test_anti_join_and_not_exists_agree() -> None:
    number = (Ref((), "patient", "patient_id"),)
    join = Plan("x", "patient", number, filters=(Partner("visit", "patient_id", True, form="join"),))
    exists = Plan("x", "patient", number, filters=(Partner("visit", "patient_id", True),))
    visited = {row["patient_id"] for row in rows_of("visit")}
    expected = [(row["patient_id"],) for row in rows_of("patient") if row["patient_id"] not in visited]
    assert result(join) == result(exists) == expected != []


def test_a_table_joined_twice_keeps_its_roles_apart() -> None:
    origin, target = (Ref((key,), "port", "port_name") for key in ("origin_port", "destination_port"))
    ports = {row["port_code"]: row["port_name"] for row in rows_of("port", FREIGHT)}
    found = result(Plan("x", "shipment", (shipment("shipment_no"), origin, target)), FREIGHT)
    assert sorted(found) == sorted(
        (row["shipment_no"], ports[row["origin_port"]], ports[row["destination_port"]])
        for row in rows_of("shipment", FREIGHT)
    )


def test_dates_with_time_compare_by_day() -> None:
    day = "2023-12-12"  # one shipment arrived on that day at noon
    cases: tuple[tuple[Operator, bool], ...] = (("le", True), ("lt", False), ("ge", True), ("gt", False))
    for op, expected in cases:
        plan = Plan("x", "shipment", (shipment("shipment_no"),), filters=(Comparison(shipment("arrived_at"), op, day),))
        assert (("S-1010",) in result(plan, FREIGHT)) == expected


def test_windows_over_months() -> None:
    month, total = DatePart(visit("visit_date"), "month"), Aggregate("sum", visit("fee"))
    plan = Plan(
        "x",
        "visit",
        (month, total, Running(total), Change(total), Moving(total, 2)),
        group=(month,),
        order=(Order(month),),
    )
    fees: dict[str, float] = {}
    for row in rows_of("visit"):
        fees[str(row["visit_date"])[:7]] = fees.get(str(row["visit_date"])[:7], 0) + float(str(row["fee"]))
    running = 0.0
    previous: float | None = None
    expected: list[tuple[Value, ...]] = []
    for key in sorted(fees):
        running += fees[key]
        change = None if previous is None else fees[key] - previous
        moving = fees[key] if previous is None else (fees[key] + previous) / 2
        expected.append((key, fees[key], running, change, moving))
        previous = fees[key]
    assert result(plan) == comparable(expected)


def test_shares_add_up_and_deviations_cancel() -> None:
    share = Plan("x", "visit", (visit("reason"), Share(Aggregate("sum", visit("fee")), 2)), group=(visit("reason"),))
    assert sum(float(str(row[1])) for row in result(share)) == pytest.approx(100, abs=0.05)
    deviation = Plan("x", "visit", (visit("reason"), Deviation(visit("fee"), visit("reason"))))
    sums: dict[Value, float] = {}
    for reason, value in result(deviation):
        sums[reason] = sums.get(reason, 0) + float(str(value))
    assert all(abs(value) < 1e-4 for value in sums.values())


def test_ranks_with_and_without_gaps() -> None:
    durations = sorted((int(str(row["duration"])) for row in rows_of("visit")), reverse=True)
    for dense in (False, True):
        plan = Plan("x", "visit", (visit("duration"), Rank(visit("duration"), True, dense)))
        line = sorted(set(durations), reverse=True) if dense else durations
        ranks = {value: line.index(value) + 1 for value in durations}
        assert Counter(result(plan)) == Counter((value, ranks[value]) for value in durations)


def test_top_of_each_group_with_ties() -> None:
    reason, duration = visit("reason"), visit("duration")
    plan = Plan("x", "visit", (reason, visit("visit_id")), top=Top(1, reason, (Order(duration, True),), ties=True))
    best: dict[Value, int] = {}
    for row in rows_of("visit"):
        best[row["reason"]] = max(best.get(row["reason"], 0), int(str(row["duration"])))
    expected = [(r["reason"], r["visit_id"]) for r in rows_of("visit") if r["duration"] == best[r["reason"]]]
    assert Counter(result(plan)) == Counter(expected)


def test_subqueries_and_steps() -> None:
    fees = [float(str(row["fee"])) for row in rows_of("visit")]
    mean = sum(fees) / len(fees)
    above = Plan("x", "visit", (visit("fee"),), filters=(VersusAverage(visit("fee"), "gt"),))
    assert Counter(result(above)) == Counter((fee,) for fee in fees if fee > mean)

    totals: dict[Value, float] = {}
    for row in rows_of("visit"):
        totals[row["doctor_id"]] = totals.get(row["doctor_id"], 0) + float(str(row["fee"]))
    key, of = Ref(("doctor_id",), "doctor", "doctor_id"), Aggregate("sum", visit("fee"))
    nested = Plan("x", "visit", (Nested("max", of, key),))
    assert result(nested) == [(max(totals.values()),)]
    beyond = Plan("x", "visit", (doctor("name"), of), group=(key, doctor("name")), having=HavingMean(of, "gt"))
    assert len(result(beyond)) == sum(value > sum(totals.values()) / len(totals) for value in totals.values())

    top = Plan("x", "visit", (visit("visit_id"),), filters=(TopGroup(visit("reason"), Aggregate("count"), True),))
    reasons = Counter(row["reason"] for row in rows_of("visit"))
    assert len(result(top)) == max(reasons.values())

    recent = Plan("x", "visit", (visit("visit_date"),), filters=(Recent(visit("visit_date"), 60),))
    newest = max(str(row["visit_date"]) for row in rows_of("visit"))
    assert newest == "2024-03-21" and sorted(result(recent)) == [("2024-02-02",), ("2024-02-19",), (newest,)]


def test_bands_and_bounds() -> None:
    bucket = Bucket(visit("fee"), (50, 100), ("low", "medium", "high"))
    plan = Plan("x", "visit", (bucket, Aggregate("count")), group=(bucket,))
    found = {row[0]: row[1] for row in result(plan)}
    fees = [float(str(row["fee"])) for row in rows_of("visit")]
    assert found == {
        "low": sum(fee < 50 for fee in fees),
        "medium": sum(50 <= fee < 100 for fee in fees),
        "high": sum(fee >= 100 for fee in fees),
    }
    having = Plan(
        "x",
        "visit",
        (visit("reason"), Aggregate("count")),
        group=(visit("reason"),),
        having=Having(Aggregate("count"), "ge", 3),
    )
    assert all(int(str(count)) >= 3 for _, count in result(having)) and result(having)


def test_a_foreign_key_with_orphans_is_not_joined_over() -> None:
    parent = Table(
        "p", "p", "ps", (Column("id", "INTEGER", "p number", "id", values=(1,)),), primary_key=("id",), rows=((1,),)
    )
    child = Table(
        "c",
        "c",
        "cs",
        (
            Column("id", "INTEGER", "c number", "id", values=(1, 2)),
            Column("p", "INTEGER", "p number", "key", nullable=True, values=(1,)),
        ),
        primary_key=("id",),
        foreign_keys=(ForeignKey("p", "p", "id"),),
        rows=((1, 1), (2, None)),
    )
    catalog = catalog_of(Database("orphans", "nothing", (parent, child)))
    assert catalog.parents(child) == []


# --- computed columns, conditions and shapes that came later ----------------------------------------------------------


def test_columns_made_of_one_row() -> None:
    visits = rows_of("visit")
    day_of, paid_on = visit("visit_date"), visit("paid_on")
    days: tuple[Item, ...] = (visit("visit_id"), Elapsed(day_of, paid_on), Shifted(day_of, -10))
    found = result(Plan("x", "visit", days, filters=(Missing(paid_on, negated=True),)))
    dated = [(r["visit_id"], date.fromisoformat(str(r["visit_date"])[:10]), r["paid_on"]) for r in visits]
    expected = [
        (number, (date.fromisoformat(str(paid)[:10]) - day).days, str(day - timedelta(days=10)))
        for number, day, paid in dated
        if paid is not None
    ]
    assert sorted(found, key=repr) == sorted(expected, key=repr) != []

    first, last = Ref((), "patient", "first_name"), Ref((), "patient", "last_name")
    texts = (Combined(last, first, ", "), Cased(last, "upper"), Beginning(first, 2))
    assert result(Plan("x", "patient", texts)) == [
        (f"{r['last_name']}, {r['first_name']}", str(r["last_name"]).upper(), str(r["first_name"])[:2])
        for r in rows_of("patient")
    ]
    email = Ref((), "patient", "email")
    shown = result(Plan("x", "patient", (Default(email, "none"), Renamed(last, "surname"))))
    assert shown == [(r["email"] or "none", r["last_name"]) for r in rows_of("patient")]
    assert any(value == "none" for value, _ in shown)
    sql = query_of(Plan("x", "patient", (Renamed(last, "surname"),)), CLINIC).sql
    assert "last_name AS surname" in sql

    days_, dose = Ref((), "prescription", "days"), Ref((), "prescription", "daily_dose")
    both = (Arithmetic(days_, "times", dose), Arithmetic(dose, "minus", days_))
    assert result(Plan("x", "prescription", both)) == comparable(
        (float(str(r["days"])) * float(str(r["daily_dose"])), float(str(r["daily_dose"])) - float(str(r["days"])))
        for r in rows_of("prescription")
    )


def test_either_of_two_conditions_beside_another() -> None:
    either = Either(Comparison(visit("fee"), "gt", 100), Comparison(visit("reason"), "eq", "rash"))
    plan = Plan("x", "visit", (visit("visit_id"),), filters=(either, Comparison(visit("emergency"), "eq", 0)))
    expected = [
        (r["visit_id"],)
        for r in rows_of("visit")
        if (float(str(r["fee"])) > 100 or r["reason"] == "rash") and not r["emergency"]
    ]
    assert result(plan) == expected != []


def test_conditional_median_and_listed_groups() -> None:
    reason, fee = visit("reason"), visit("fee")
    emergencies = Conditional(Aggregate("count"), Comparison(visit("emergency"), "eq", 1))
    costly = Conditional(Aggregate("sum", fee), Comparison(fee, "ge", 60))
    plan = Plan("x", "visit", (reason, Aggregate("count"), emergencies, costly), group=(reason,))
    for found_reason, count, urgent, total in result(plan):
        mine = [r for r in rows_of("visit") if r["reason"] == found_reason]
        fees = [float(str(r["fee"])) for r in mine if float(str(r["fee"])) >= 60]
        assert (count, urgent) == (len(mine), sum(bool(r["emergency"]) for r in mine))
        assert total == (pytest.approx(sum(fees)) if fees else None)
    for found_reason, middle in result(Plan("x", "visit", (reason, Median(fee)), group=(reason,))):
        assert middle == pytest.approx(
            median(float(str(r["fee"])) for r in rows_of("visit") if r["reason"] == found_reason)
        )
    ((everything,),) = result(Plan("x", "visit", (Median(fee),)))
    assert everything == pytest.approx(median(float(str(r["fee"])) for r in rows_of("visit")))
    specialty, name = Ref((), "doctor", "specialty"), Ref((), "doctor", "name")
    for kind, names in result(Plan("x", "doctor", (specialty, TextList(name)), group=(specialty,))):
        assert names == ", ".join(sorted(str(r["name"]) for r in rows_of("doctor") if r["specialty"] == kind))


def test_codes_and_summary_rows() -> None:
    reason = visit("reason")
    mapped = Mapped(reason, ("rash", "fever"), ("R", "F"), "other")
    codes = {"rash": "R", "fever": "F"}
    assert result(Plan("x", "visit", (reason, mapped))) == [
        (r["reason"], codes.get(str(r["reason"]), "other")) for r in rows_of("visit")
    ]
    totals = result(Plan("x", "visit", (reason, Aggregate("count")), group=(reason,), shape="rollup"))
    counts: dict[Value, int] = dict(Counter(r["reason"] for r in rows_of("visit")))
    assert {row[0]: row[1] for row in totals} == {**counts, None: len(rows_of("visit"))}
    plan = Plan("x", "visit", (reason, Aggregate("count")), group=(reason,), shape="rollup")
    assert "".join(query_of(plan, CLINIC, "postgres").sql.split()).endswith("GROUPBYROLLUP(reason)")
    assert query_of(plan, CLINIC, "mysql").sql.endswith("WITH ROLLUP")


def test_figures_below_each_other() -> None:
    select = (visit("visit_id"), visit("fee"), visit("duration"))
    figures = result(Plan("x", "visit", select, shape="unpivot"))
    assert figures == comparable(
        (row["visit_id"], name, float(str(row[name]))) for name in ("fee", "duration") for row in rows_of("visit")
    )


def test_related_rows() -> None:
    number = (Ref((), "patient", "patient_id"),)
    visits = rows_of("visit")
    totals = result(Plan("x", "patient", (*number, ChildTotal("visit", "patient_id", "fee")), group=number))
    counts = result(Plan("x", "patient", (*number, ChildCount("visit", "patient_id", form="subquery"))))
    for (patient, total), (_, count) in zip(sorted(totals, key=repr), sorted(counts, key=repr), strict=True):
        mine = [float(str(r["fee"])) for r in visits if r["patient_id"] == patient]
        assert count == len(mine) and total == pytest.approx(sum(mine))
    assert any(total == 0 for _, total in totals)
    for negated in (False, True):
        inside = Plan("x", "patient", number, filters=(Partner("visit", "patient_id", negated, form="in"),))
        exists = Plan("x", "patient", number, filters=(Partner("visit", "patient_id", negated),))
        assert result(inside) == result(exists) != []
    key = Ref((), "doctor", "doctor_id")
    covering = result(Plan("x", "doctor", (key,), filters=(Covers("visit", "doctor_id", "emergency"),)))
    both = [r["doctor_id"] for r in rows_of("doctor")]
    both = [d for d in both if {r["emergency"] for r in visits if r["doctor_id"] == d} == {0, 1}]
    assert [doctor for (doctor,) in covering] == both != []

    name, rate = Ref((), "doctor", "name"), Ref((), "doctor", "hourly_rate")
    known = {r["name"]: r for r in rows_of("doctor")}
    someone = sorted(map(str, known), key=lambda n: float(str(known[n]["hourly_rate"])))[1]
    above = Plan("x", "doctor", (name,), filters=(VersusNamed(rate, "gt", name, someone),))
    limit = float(str(known[someone]["hourly_rate"]))
    assert (
        {n for (n,) in result(above)} == {n for n, r in known.items() if float(str(r["hourly_rate"])) > limit} != set()
    )
    alike = Plan("x", "doctor", (name,), filters=(VersusNamed(Ref((), "doctor", "specialty"), "eq", name, someone),))
    kin = {n for n, r in known.items() if r["specialty"] == known[someone]["specialty"]} - {someone}
    assert {n for (n,) in result(alike)} == kin


def test_growth_tiles_and_ends() -> None:
    total = Aggregate("sum", visit("fee"))
    month = DatePart(visit("visit_date"), "month")
    plan = Plan("x", "visit", (month, total, Growth(total, 1)), group=(month,), order=(Order(month),))
    rows = result(plan)
    for before, after in pairwise(rows):
        was, is_ = float(str(before[1])), float(str(after[1]))
        assert after[2] == pytest.approx(round(100 * (is_ - was) / was, 1), abs=0.11)
    assert rows[0][2] is None

    ref = shipment("freight")
    values = sorted((float(str(r["freight"])) for r in rows_of("shipment", FREIGHT)), reverse=True)
    tiles = result(Plan("x", "shipment", (ref, Tile(ref, True, 4))), FREIGHT)
    size, rest = divmod(len(values), 4)
    bounds = [size + (tile < rest) for tile in range(4)]
    expected = [tile + 1 for tile in range(4) for _ in range(bounds[tile])]
    assert sorted(tiles, key=lambda row: -float(str(row[0]))) == comparable(zip(values, expected, strict=True))

    ends = (visit("reason"), EndValue(visit("fee"), visit("visit_date"), visit("reason"), last=True))
    for reason, fee in result(Plan("x", "visit", ends)):
        newest = max((r for r in rows_of("visit") if r["reason"] == reason), key=lambda r: str(r["visit_date"]))
        assert fee == newest["fee"]


def test_sets_pages_and_shapes() -> None:
    reason = visit("reason")
    first = Plan("x", "visit", (reason,), filters=(Comparison(visit("fee"), "gt", 60),))
    second = Plan("x", "visit", (reason,), filters=(Comparison(visit("emergency"), "eq", 1),))
    one, two = ({value for (value,) in result(plan)} for plan in (first, second))
    assert {v for (v,) in result(replace(first, union=second, combine="intersect"))} == one & two
    assert {v for (v,) in result(replace(first, union=second, combine="except"))} == one - two
    page = Plan("x", "visit", (visit("visit_id"),), order=(Order(visit("visit_id")),), limit=3, offset=2)
    assert [number for (number,) in result(page)] == sorted(int(str(r["visit_id"])) for r in rows_of("visit"))[2:5]

    month = DatePart(visit("visit_date"), "month")
    counts = Counter(str(r["visit_date"])[:7] for r in rows_of("visit"))
    index = {m: int(m[:4]) * 12 + int(m[5:]) - 1 for m in counts}
    span = range(min(index.values()), max(index.values()) + 1)
    months = [f"{i // 12}-{i % 12 + 1:02}" for i in span]
    series = Plan("x", "visit", (month, Aggregate("count")), group=(month,), order=(Order(month),), shape="series")
    assert result(series) == [(m, counts.get(m, 0)) for m in months] and 0 in {count for _, count in result(series)}
    runs = "".join("x" if m in counts else " " for m in months)
    islands = [(months[r.start()], months[r.end() - 1], r.end() - r.start()) for r in re.finditer("x+", runs)]
    assert result(Plan("x", "visit", (), group=(month,), order=(Order(month),), shape="islands")) == islands

    per = Ref(("patient_id",), "patient", "patient_id")
    firsts: dict[Value, str] = {}
    for row in rows_of("visit"):
        firsts[row["patient_id"]] = min(firsts.get(row["patient_id"], "9"), str(row["visit_date"])[:7])
    cohort = Plan("x", "visit", (), group=(month, per), order=(Order(month),), shape="cohort")
    assert result(cohort) == sorted(Counter(firsts.values()).items())

    doctors = sorted(rows_of("doctor"), key=lambda r: int(str(r["doctor_id"])))
    specialty, name = Ref((), "doctor", "specialty"), Ref((), "doctor", "name")
    expected = [
        (a["specialty"], a["name"], b["name"]) for a, b in combinations(doctors, 2) if a["specialty"] == b["specialty"]
    ]
    assert Counter(result(Plan("x", "doctor", (name,), group=(specialty,), shape="pairs"))) == Counter(expected)


def test_parents_beyond_the_mean() -> None:
    per = Ref(("doctor_id",), "doctor", "doctor_id")
    counts = Counter(row["doctor_id"] for row in rows_of("visit"))
    mean = sum(counts.values()) / len(counts)
    for op, beyond in (("gt", sum(c > mean for c in counts.values())), ("lt", sum(c < mean for c in counts.values()))):
        item = BeyondCount(Aggregate("count"), "gt" if op == "gt" else "lt", per)
        assert result(Plan("x", "visit", (item,))) == [(beyond,)]
    of = Aggregate("count")
    shown = Plan("x", "visit", (visit("reason"), of), group=(visit("reason"),), having=Having(of, "ge", 3))
    assert (
        Counter(result(shown)) == Counter(result(replace(shown, having=Having(of, "ge", 3, form="cte")))) != Counter()
    )
