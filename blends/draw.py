"""Draws the planned rows of each source from what the gates left, in the order of a seeded hash of their uuids.

A row counts as one, or as its supervised tokens, by the blend's unit; a source's last row is taken if that brings it
nearer to its share. A source that is asked for more than it has gives all its rows before any a second time.
"""

from fractions import Fraction
from math import floor

import duckdb
import pyarrow as pa

from blends.mix import Plan, Shortage, Stock, Supply, make_plan
from blends.store import registered
from gristmill.errors import ConfigError
from schemas.blend_config import BlendConfig, Source

# `before` is what comes before a row in its bucket, `before_of_kind` among the rule-made or the other rows of it.
_RANKED = """
    CREATE TEMP TABLE ranked AS
    SELECT row, source, stock, rule_made, size,
           sum(size) OVER (PARTITION BY source, stock ORDER BY draw, digest ROWS UNBOUNDED PRECEDING) - size AS before,
           sum(size) OVER (PARTITION BY source, stock, rule_made ORDER BY draw, digest ROWS UNBOUNDED PRECEDING)
               - size AS before_of_kind
    FROM (SELECT pool.*, stocks.stock, {size} AS size FROM pool
          JOIN stocks ON stocks.source = pool.source AND (stocks.bucket IS NULL OR stocks.bucket = pool.bucket) {sizes})
"""
_NOT_DRAWN = """
    INSERT INTO lost SELECT row, 'not_drawn', if(ranked.row IS NULL, 'in no bucket of the quota', '')
    FROM (FROM pool ANTI JOIN drawn USING (row)) LEFT JOIN ranked USING (row)
"""
_UNITS = {"rows": ("1", ""), "supervised_tokens": ("supervised_tokens", "JOIN size USING (row)")}
_NEXT = "2 * {before} + size <= 2 * {wanted}"  # the row is taken: without it the count would be farther away


def draw(store: duckdb.DuckDBPyConnection, config: BlendConfig) -> Plan:
    """Fills `drawn`, and `lost` with what is left over; ConfigError where the sources can't give the total."""
    size, sizes = _UNITS[config.unit]
    with registered(store, "stocks", _stocks(config.sources)):
        store.execute(_RANKED.format(size=size, sizes=sizes))
    supplies = _supplies(store, config)
    try:
        plan = make_plan(config.total, supplies, config.short)
    except Shortage as shortage:
        raise ConfigError(_explain(shortage, supplies, config) + _losses(store)) from None
    store.execute("CREATE TABLE drawn(row BIGINT, copies BIGINT)")
    for source, (supply, count) in enumerate(zip(supplies, plan.counts, strict=True)):
        for place, (stock, part) in enumerate(zip(supply.stocks, supply.divided(count), strict=True)):
            rule_made = _rule_made(store, source, place, stock, part, supply.rule_limit)
            _take(store, source, place, False, part - rule_made, stock.ordinary)
            _take(store, source, place, True, rule_made, stock.rule_made)
    store.execute(_NOT_DRAWN)
    store.execute("DROP TABLE ranked")
    return plan


def _stocks(sources: list[Source]) -> pa.Table:
    """The buckets of each source; a source without a quota has one, whose name is NULL."""
    rows = [
        {"source": number, "stock": place, "bucket": bucket}
        for number, source in enumerate(sources)
        for place, bucket in enumerate(source.quota.shares if source.quota else [None])
    ]
    schema = pa.schema([("source", pa.int32()), ("stock", pa.int32()), ("bucket", pa.string())])
    return pa.Table.from_pylist(rows, schema=schema)


def _supplies(store: duckdb.DuckDBPyConnection, config: BlendConfig) -> list[Supply]:
    query = "SELECT source, stock, rule_made, sum(size) FROM ranked GROUP BY ALL"
    there = {(source, stock, kind): int(size) for source, stock, kind, size in store.sql(query).fetchall()}
    return [
        Supply(
            name=source.name,
            weight=weight,
            cap=source.cap,
            stocks=[
                Stock(there.get((number, place, False), 0), there.get((number, place, True), 0), Fraction(str(share)))
                for place, share in enumerate(source.quota.shares.values() if source.quota else [1])
            ],
            epochs=source.epochs,
            rule_limit=Fraction(str(source.rule_made)),
        )
        for number, (source, weight) in enumerate(zip(config.sources, weights(config), strict=True))
    ]


def weights(config: BlendConfig) -> list[Fraction]:
    """The sources' weights; where `reasoning.low` is set, those of low effort have that share of the whole."""
    given = [Fraction(str(source.weight)) for source in config.sources]
    low = config.reasoning.low
    if low is None or not any(source.effort for source in config.sources):
        return given
    whole = {
        effort: sum((w for w, s in zip(given, config.sources, strict=True) if s.effort == effort), Fraction(0))
        for effort in ("low", None)
    }
    share = {"low": Fraction(str(low)), None: 1 - Fraction(str(low))}
    return [
        weight * share[source.effort] / whole[source.effort]
        for weight, source in zip(given, config.sources, strict=True)
    ]


def _rule_made(
    store: duckdb.DuckDBPyConnection, source: int, place: int, stock: Stock, wanted: int, limit: Fraction
) -> int:
    """How much of what is drawn is rule-made: as much as chance draws, at most as much as the limit allows."""
    there = stock.ordinary + stock.rule_made
    if there == 0:
        return 0
    epochs, rest = divmod(wanted, there)
    by_chance = store.sql(
        "SELECT coalesce(sum(size), 0) FROM ranked WHERE source = $1 AND stock = $2 AND rule_made AND "
        + _NEXT.format(before="before", wanted="$3"),
        params=[source, place, rest],
    ).fetchall()[0][0]
    return min(epochs * stock.rule_made + int(by_chance), floor(limit * wanted))


def _take(store: duckdb.DuckDBPyConnection, source: int, place: int, rule_made: bool, wanted: int, there: int) -> None:
    if wanted == 0:
        return
    epochs, rest = divmod(wanted, there)
    store.execute(
        f"""
        INSERT INTO drawn SELECT row, copies FROM (
            SELECT row, $1 + ({_NEXT.format(before="before_of_kind", wanted="$2")})::BIGINT AS copies
            FROM ranked WHERE source = $3 AND stock = $4 AND rule_made = $5)
        WHERE copies > 0
        """,
        [epochs, rest, source, place, rule_made],
    )


def _explain(shortage: Shortage, supplies: list[Supply], config: BlendConfig) -> str:
    what = config.unit.replace("_", " ")
    lacking = [
        f"source {supplies[index].name} can give {capacity:,} of {shortage.plan.counts[index]:,}"
        f"{_note(supplies[index], config.sources[index], what)}"
        for index, capacity in shortage.capacities.items()
    ] or ["every source is at its cap"]
    choices = [f"total: {shortage.feasible}"] if shortage.feasible else []
    if config.short == "error" and shortage.feasible:
        choices.append("short: shrink")
    if config.short == "error" and _can_repeat(shortage.plan, supplies):
        choices.append("short: repeat")
    way_out = f" Set {' or '.join(choices)}." if choices else ""
    return (
        f"the total of {shortage.plan.total:,} {what} can't be had: {'; '.join(lacking)}. "
        f"The largest feasible total is {shortage.feasible:,}.{way_out}"
    )


def _losses(store: duckdb.DuckDBPyConnection) -> str:
    """What the gates have left out, which may be why a source has too little."""
    losses = store.sql("SELECT reason, count(*) FROM lost GROUP BY ALL ORDER BY ALL").fetchall()
    return f" Left out before: {', '.join(f'{reason} {rows:,}' for reason, rows in losses)}." if losses else ""


def _can_repeat(plan: Plan, supplies: list[Supply]) -> bool:
    enough = all(supply.can_give(count, plan.total) for supply, count in zip(supplies, plan.counts, strict=True))
    return enough and sum(plan.counts) == plan.total


def _note(supply: Supply, source: Source, what: str) -> str:
    """Why a source gives less than it has."""
    notes = []
    rule_made = sum(stock.rule_made for stock in supply.stocks)
    if rule_made and supply.rule_limit < 1:
        whole = rule_made + sum(stock.ordinary for stock in supply.stocks)
        limit = f"{float(supply.rule_limit):.0%}"
        notes.append(
            f"{rule_made:,} of its {whole:,} {what} are rule-made, and rule_made lets them be {limit} of what it gives"
        )
    if source.quota:
        has = ", ".join(
            f"{bucket} {stock.ordinary + stock.rule_made:,}"
            for bucket, stock in zip(source.quota.shares, supply.stocks, strict=True)
        )
        notes.append(f"its buckets have {has}")
    return f" ({'; '.join(notes)})" if notes else ""
