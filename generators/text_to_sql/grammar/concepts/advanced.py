"""Window functions, time series, and steps that build on each other (CTEs)."""

from dataclasses import replace
from random import Random
from typing import Literal

from generators.text_to_sql.grammar.catalog import Catalog, Unsuited
from generators.text_to_sql.grammar.concepts.parts import (
    aggregates,
    averageable,
    broken_ties,
    entity,
    event,
    grouped,
    joined,
    over_time,
    perhaps_ordered,
    plus,
    run,
    top,
)
from generators.text_to_sql.grammar.concepts.registry import concept
from generators.text_to_sql.grammar.draw import Draw
from generators.text_to_sql.grammar.plan import (
    Aggregate,
    Change,
    Deviation,
    HavingMean,
    Item,
    Moving,
    Nested,
    Order,
    Plan,
    Rank,
    Recent,
    Ref,
    Running,
    Share,
    Top,
    TopGroup,
    VersusAverage,
)

_OUTER: tuple[Literal["avg", "min", "max"], ...] = ("avg", "avg", "max", "min")


@concept("advanced")
def top_per_group(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    within, by = draw.key(), draw.measure()
    return top("top_per_group", draw, within, by, rng.choice((1, 1, 2, 2, 3)), ties=draw.chance(0.4))


@concept("advanced")
def latest_per_group(catalog: Catalog, rng: Random) -> Plan:
    """The newest row for each parent row: the last visit of every patient."""
    draw = Draw.over(catalog, rng, parents=1)
    path, parent = joined(draw, 1)
    key = catalog.key(draw.subject.name, path[0])
    within = Ref(path, parent.name, key.to_column)
    by = event(draw)
    select = (*draw.labels(parent, path), *plus(draw.outputs(1, 2), by, draw, 1.0))
    top = Top(1, within, (Order(by, True),), ties=False)
    return broken_ties(Plan("latest_per_group", draw.subject.name, tuple(dict.fromkeys(select)), top=top), draw)


@concept("advanced")
def rank_rows(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    ref = draw.measure()
    within = draw.key() if draw.chance(0.4) else None
    rank = Rank(ref, draw.chance(0.7), draw.chance(0.5), within)
    select = plus(draw.labels(), ref, draw, 1.0)
    return Plan(
        "rank_rows", draw.subject.name, (*((within,) if within and within not in select else ()), *select, rank)
    )


@concept("advanced")
def running_total(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    of = draw.aggregate(additive=True)
    return over_time("running_total", draw, of, Running)


@concept("advanced")
def change_to_previous(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    of = Aggregate("count") if draw.chance(0.25) else draw.aggregate(additive=True)
    return over_time("change_to_previous", draw, of, Change)


@concept("advanced")
def moving_average(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    of = draw.aggregate(additive=True)
    return over_time("moving_average", draw, of, lambda item: Moving(item, rng.choice((2, 3))))


@concept("advanced")
def share_of_total(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng, parents=1 if rng.random() < 0.3 else 0)
    path, table = joined(draw, 1) if draw.chance(0.3) else ((), draw.subject)
    of = Aggregate("count") if draw.chance(0.4) else draw.aggregate(additive=True)
    share = Share(of, rng.choice((1, 2, 2)))
    items: tuple[Item, ...] = (of, share) if draw.chance(0.5) else (share,)
    return grouped("share_of_total", draw, draw.category(path, table), items, order=0.3)


@concept("advanced")
def deviation_from_average(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    ref = averageable(draw)
    within = draw.key() if draw.chance(0.7) else None
    select = plus(draw.labels(), ref, draw, 1.0)
    select = (*((within,) if within and within not in select else ()), *select)
    return Plan("deviation_from_average", draw.subject.name, (*select, Deviation(ref, within)))


@concept("advanced")
def above_group_average(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    ref, within = averageable(draw), draw.category()
    versus = VersusAverage(ref, "gt" if draw.chance(0.65) else "lt", within)
    select = plus(plus(draw.labels(), within, draw, 0.6), ref, draw, 0.6)
    return Plan("above_group_average", draw.subject.name, select, filters=(versus,))


@concept("advanced")
def recent_rows(catalog: Catalog, rng: Random) -> Plan:
    """Relative time, anchored to the newest date in the data."""
    draw = Draw.over(catalog, rng)
    ref = event(draw)
    recent = Recent(ref, rng.choice((7, 14, 30, 30, 60, 90, 180)))
    if draw.chance(0.4):
        item = Aggregate("count") if draw.chance(0.6) else aggregates(draw, 1)[0]
        return Plan("recent_rows", draw.subject.name, (item,), filters=(recent,))
    return perhaps_ordered(
        Plan("recent_rows", draw.subject.name, plus(draw.outputs(1, 2), ref, draw, 0.5), filters=(recent,)), draw, 0.2
    )


@concept("advanced")
def groups_beyond_mean(catalog: Catalog, rng: Random) -> Plan:
    """Two CTEs: a value for each group, and the mean of these values."""
    draw = Draw.over(catalog, rng)
    of = Aggregate("count") if draw.chance(0.4) else replace(aggregates(draw, 1)[0], decimals=None)
    having = HavingMean(of, "gt" if draw.chance(0.65) else "lt")
    if draw.chance(0.5):
        path, parent = joined(draw, 1)
        labels = draw.labels(parent, path)
        return Plan(
            "groups_beyond_mean", draw.subject.name, (*labels, of), group=entity(parent, path, labels), having=having
        )
    key = draw.key()
    return Plan("groups_beyond_mean", draw.subject.name, (key, of), group=(key,), having=having)


@concept("advanced")
def average_of_totals(catalog: Catalog, rng: Random) -> Plan:
    """One CTE: a value for each parent row; outside, their average for each kind of parent or over all."""
    draw = Draw.over(catalog, rng, parents=1)
    path, parent = joined(draw, 1)
    inner = Aggregate("count") if draw.chance(0.4) else draw.aggregate(additive=True)
    per = Ref(path, parent.name, catalog.key(draw.subject.name, path[0]).to_column)
    nested = Nested(rng.choice(_OUTER), inner, per)
    if draw.chance(0.6):
        key = draw.category(path, parent)
        return Plan("average_of_totals", draw.subject.name, (key, nested), group=(key,))
    return Plan("average_of_totals", draw.subject.name, (nested,))


@concept("advanced")
def rows_of_top_group(catalog: Catalog, rng: Random) -> Plan:
    """Two CTEs: a value for each group, and the group where it is highest; the query returns that group's rows."""
    draw = Draw.over(catalog, rng)
    group = draw.category()
    of = Aggregate("count") if draw.chance(0.4) else replace(aggregates(draw, 1)[0], decimals=None)
    top = TopGroup(group, of, draw.chance(0.75))
    totals = Plan("", draw.subject.name, (of,), group=(group,))
    values = sorted(run(totals, catalog), reverse=top.descending)
    if values[0] == values[1]:
        raise Unsuited("one clear winner")
    return Plan("rows_of_top_group", draw.subject.name, plus(draw.outputs(1, 2), group, draw, 0.6), filters=(top,))
