"""Draws the planned rows of each source from what the gates left, in the order of a seeded hash of their uuids.

A source that is asked for more rows than it has gives all of them before any a second time.
"""

from fractions import Fraction
from math import floor

import duckdb

from blends.mix import Plan, Shortage, Supply, plan_rows
from gristmill.errors import ConfigError
from schemas.blend_config import BlendConfig, Source


def draw(store: duckdb.DuckDBPyConnection, config: BlendConfig) -> Plan:
    """Fills `drawn`, and `lost` with what is left over; ConfigError where the sources can't give the total."""
    supplies = _supplies(store, config.sources)
    try:
        plan = plan_rows(config.total, supplies, config.short)
    except Shortage as shortage:
        raise ConfigError(_explain(shortage, supplies, config.short)) from None
    store.execute(
        """
        CREATE TEMP TABLE ranked AS
        SELECT row, source, rule_made, row_number() OVER (PARTITION BY source ORDER BY draw, digest) - 1 AS number,
               row_number() OVER (PARTITION BY source, rule_made ORDER BY draw, digest) - 1 AS number_of_kind
        FROM pool
        """
    )
    store.execute("CREATE TABLE drawn(row BIGINT, copies BIGINT)")
    for index, (supply, rows) in enumerate(zip(supplies, plan.rows, strict=True)):
        rule_made = _rule_made_rows(store, index, supply, rows)
        _take(store, index, False, rows - rule_made, supply.ordinary)
        _take(store, index, True, rule_made, supply.rule_made)
    store.execute("DROP TABLE ranked")
    store.execute("INSERT INTO lost SELECT row, 'not_drawn', '' FROM pool ANTI JOIN drawn USING (row)")
    return plan


def _supplies(store: duckdb.DuckDBPyConnection, sources: list[Source]) -> list[Supply]:
    counts: dict[tuple[int, bool], int] = {
        (source, rule_made): rows
        for source, rule_made, rows in store.sql("SELECT source, rule_made, count(*) FROM pool GROUP BY ALL").fetchall()
    }
    return [
        Supply(
            name=source.name,
            weight=Fraction(str(source.weight)),
            cap=source.cap,
            ordinary=counts.get((index, False), 0),
            rule_made=counts.get((index, True), 0),
            epochs=source.epochs,
            rule_limit=Fraction(str(source.rule_made)),
        )
        for index, source in enumerate(sources)
    ]


def _rule_made_rows(store: duckdb.DuckDBPyConnection, index: int, supply: Supply, rows: int) -> int:
    """How many of the drawn rows are rule-made: as many as chance draws, at most as many as the limit allows."""
    there = supply.ordinary + supply.rule_made
    if there == 0:
        return 0
    epochs, rest = divmod(rows, there)
    by_chance = store.sql(
        "SELECT count(*) FROM ranked WHERE source = ? AND rule_made AND number < ?", params=[index, rest]
    ).fetchall()[0][0]
    return min(epochs * supply.rule_made + int(by_chance), floor(supply.rule_limit * rows))


def _take(store: duckdb.DuckDBPyConnection, index: int, rule_made: bool, rows: int, there: int) -> None:
    if rows == 0:
        return
    epochs, rest = divmod(rows, there)
    store.execute(
        """
        INSERT INTO drawn SELECT row, copies
        FROM (SELECT row, ? + (number_of_kind < ?)::BIGINT AS copies FROM ranked WHERE source = ? AND rule_made = ?)
        WHERE copies > 0
        """,
        [epochs, rest, index, rule_made],
    )


def _explain(shortage: Shortage, supplies: list[Supply], short: str) -> str:
    lacking = [
        f"source {supply.name} can give {capacity:,} of {rows:,}{_rule_made_note(supply)}"
        for supply, capacity, rows in zip(supplies, shortage.capacities, shortage.plan.rows, strict=True)
        if rows > capacity
    ] or ["every source is at its cap"]
    choices = [f"total: {shortage.feasible}"] if shortage.feasible else []
    if short == "error" and shortage.feasible:
        choices.append("short: shrink")
    if short == "error" and _can_repeat(shortage.plan, supplies):
        choices.append("short: repeat")
    way_out = f" Set {' or '.join(choices)}." if choices else ""
    return (
        f"the total of {shortage.plan.total:,} rows can't be had: {'; '.join(lacking)}. "
        f"The largest feasible total is {shortage.feasible:,}.{way_out}"
    )


def _can_repeat(plan: Plan, supplies: list[Supply]) -> bool:
    enough = all(supply.capacity(plan.total) >= rows for supply, rows in zip(supplies, plan.rows, strict=True))
    return enough and sum(plan.rows) == plan.total


def _rule_made_note(supply: Supply) -> str:
    if not supply.rule_made or supply.rule_limit == 1:
        return ""
    return (
        f" ({supply.rule_made:,} of its {supply.ordinary + supply.rule_made:,} rows are rule-made, "
        f"and rule_made lets them be {float(supply.rule_limit):.0%} of what it gives)"
    )
