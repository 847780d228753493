"""Groups in other forms: conditional and pivoted aggregates, lists, medians, equal parts, and time without gaps."""

from dataclasses import replace
from random import Random
from typing import cast

from generators.text_to_sql.grammar.catalog import Catalog, Unsuited
from generators.text_to_sql.grammar.collation import sort_alike
from generators.text_to_sql.grammar.concepts.parts import (
    averageable,
    by_period,
    event,
    joined,
    perhaps_ordered,
    plus,
    run,
)
from generators.text_to_sql.grammar.concepts.registry import concept
from generators.text_to_sql.grammar.draw import Draw
from generators.text_to_sql.grammar.plan import (
    Aggregate,
    Comparison,
    Conditional,
    DatePart,
    EndValue,
    Growth,
    Item,
    Literally,
    Median,
    Order,
    Plan,
    Ref,
    TextList,
    Tile,
)


@concept("intermediate")
def conditional_aggregate(catalog: Catalog, rng: Random) -> Plan:
    """All rows of a group beside those that meet a condition."""
    draw = Draw.over(catalog, rng)
    of = Aggregate("count") if draw.chance(0.7) else draw.aggregate(additive=True)
    key = draw.key()
    refs = [r for r in catalog.refs((), draw.subject, "category", "measure", "date") if r not in (key, of.ref)]
    makers = (draw.equal, draw.compare)
    condition = rng.choice(makers)([ref for ref in refs if catalog.complete(ref)])
    plan = Plan("conditional_aggregate", draw.subject.name, (key, of, Conditional(of, condition)), group=(key,))
    return perhaps_ordered(plan, draw, 0.2, by=key)


@concept("advanced")
def group_rollup(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    of = Aggregate("count") if draw.chance(0.5) else draw.aggregate()
    key = draw.key()
    filters = (draw.filter(avoid=[key, *([of.ref] if of.ref else [])]),) if draw.chance(0.3) else ()
    return Plan("group_rollup", draw.subject.name, (key, of), filters=filters, group=(key,), shape="rollup")


@concept("advanced")
def unpivot_rows(catalog: Catalog, rng: Random) -> Plan:
    """Two measures of each row below each other instead of side by side."""
    draw = Draw.over(catalog, rng)
    measures = [ref for ref in catalog.refs((), draw.subject, "measure") if catalog.complete(ref)]
    if len(measures) < 2:
        raise Unsuited("two measures")
    chosen = rng.sample(measures, 2)
    if any(catalog.column(ref).unit == "year" or "'" in catalog.column(ref).words for ref in chosen):
        raise Unsuited("measures that are no years")
    filters = (draw.filter(avoid=chosen),) if draw.chance(0.75) else ()
    select = (draw.labels()[0], *chosen)
    return Plan("unpivot_rows", draw.subject.name, select, filters=filters, shape="unpivot")


@concept("advanced")
def pivot_columns(catalog: Catalog, rng: Random) -> Plan:
    """One column for each of two or three values."""
    draw = Draw.over(catalog, rng)
    of = Aggregate("count") if draw.chance(0.7) else draw.aggregate(additive=True)
    key, across = draw.key(), draw.category()
    values = sorted(str(value) for value in catalog.column(across).values if isinstance(value, str))
    if key == across or len(values) < 2:
        raise Unsuited("two categories")
    chosen = rng.sample(values, min(len(values), rng.choice((2, 2, 3))))
    columns = tuple(Conditional(of, Comparison(across, "eq", cast(Literally, value))) for value in chosen)
    plan = Plan("pivot_columns", draw.subject.name, (key, *columns), group=(key,))
    names = {value.lower() for value in chosen}
    if len(names) < len(chosen):
        raise Unsuited("values with names of their own")
    return perhaps_ordered(plan, draw, 0.2, by=key)


@concept("intermediate")
def group_concat(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    labels = [ref for ref in catalog.refs((), draw.subject, "name") if catalog.complete(ref)]
    text = draw.pick(labels, "a name for the rows")
    key = draw.key()
    if key == text or not sort_alike([str(value) for value in catalog.column(text).values]):
        raise Unsuited("names that sort alike everywhere")
    filters = (draw.filter(avoid=[key, text]),) if draw.chance(0.35) else ()
    return Plan("group_concat", draw.subject.name, (key, TextList(text)), filters=filters, group=(key,))


@concept("advanced")
def median_value(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    median = Median(averageable(draw))
    if draw.chance(0.5):
        key = draw.key()
        plan = Plan("median_value", draw.subject.name, (key, median), group=(key,))
        return perhaps_ordered(plan, draw, 0.25, by=key)
    filters = (draw.filter(avoid=[median.ref]),) if draw.chance(0.7) else ()
    return Plan("median_value", draw.subject.name, (median,), filters=filters)


@concept("advanced")
def quantile_groups(catalog: Catalog, rng: Random) -> Plan:
    """Only by a measure without equal values, as else chance would divide them."""
    draw = Draw.over(catalog, rng)
    ref = draw.measure()
    values = draw.subject.values(ref.column)
    count = rng.choice((2, 3, 4, 4, 4, 5, 10))
    if len(set(values)) < len(values) or len(values) < 2 * count:
        raise Unsuited("a measure without equal values")
    tile = Tile(ref, draw.chance(0.6), count)
    select = (*draw.labels(), *draw.beside())
    return Plan("quantile_groups", draw.subject.name, (*plus(select, ref, draw, 0.7), tile))


@concept("advanced")
def first_last_value(catalog: Catalog, rng: Random) -> Plan:
    """Beside each row the value of the earliest or latest one of its kind."""
    draw = Draw.over(catalog, rng)
    by, within = event(draw), draw.category()
    shown = [ref for ref in catalog.refs((), draw.subject, "measure") if catalog.complete(ref)]
    ref = draw.pick(shown, "a measure without NULL")
    rows = run(Plan("", draw.subject.name, (within, by)), catalog)
    if len(set(rows)) < len(rows) or catalog.column(by).has_time:
        raise Unsuited("one row for each date")
    select: tuple[Item, ...] = tuple(dict.fromkeys((*draw.labels(), within, ref)))
    return Plan("first_last_value", draw.subject.name, (*select, EndValue(ref, by, within, draw.chance(0.5))))


# --- time ------------------------------------------------------------------------------------------------------------


@concept("advanced")
def period_growth(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    of = Aggregate("count") if draw.chance(0.3) else draw.aggregate(additive=True)
    plan = by_period("period_growth", draw, event(draw), of, Growth(of, rng.choice((1, 1, 2))))
    if any(row[1] in (0, None) for row in run(replace(plan, select=(plan.select[0], of)), catalog)):
        raise Unsuited("no month without a value")
    return plan


@concept("advanced")
def recursive_series(catalog: Catalog, rng: Random) -> Plan:
    """Every month between the first and the last, those without any row with 0."""
    draw, part = _months(catalog, rng)
    count = Aggregate("count")
    return Plan(
        "recursive_series", draw.subject.name, (part, count), group=(part,), order=(Order(part),), shape="series"
    )


@concept("advanced")
def gaps_and_islands(catalog: Catalog, rng: Random) -> Plan:
    draw, part = _months(catalog, rng)
    filters = (draw.equal(catalog.refs((), draw.subject, "category")),) if draw.chance(0.35) else ()
    plan = Plan(
        "gaps_and_islands", draw.subject.name, (), filters=filters, group=(part,), order=(Order(part),), shape="islands"
    )
    runs = run(plan, catalog)
    if len(runs) < 2 or all(row[2] == 1 for row in runs):
        raise Unsuited("runs of months with gaps between them")
    return plan


def _months(catalog: Catalog, rng: Random) -> tuple[Draw, DatePart]:
    """A date whose months leave gaps, though not too many."""
    draw = Draw.over(catalog, rng)
    date = event(draw)
    months = {str(value)[:7] for value in catalog.column(date).values}
    first, last = min(months), max(months)
    between = (int(last[:4]) - int(first[:4])) * 12 + int(last[5:]) - int(first[5:]) + 1
    if len(draw.subject.primary_key) != 1 or not len(months) < between <= 60:
        raise Unsuited("months with gaps between them")
    return draw, DatePart(date, "month")


@concept("advanced")
def cohort_by_first(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng, parents=1)
    path, parent = joined(draw, 1)
    date = event(draw)
    per = Ref(path, parent.name, catalog.key(draw.subject.name, path[0]).to_column)
    part = DatePart(date, "year" if len({str(v)[:4] for v in catalog.column(date).values}) > 3 else "month")
    plan = Plan("cohort_by_first", draw.subject.name, (), group=(part, per), order=(Order(part),), shape="cohort")
    if len(run(plan, catalog)) < 2:
        raise Unsuited("first dates in several months")
    return plan
