"""Groups, joins, subqueries, CASE and UNION."""

from dataclasses import replace
from random import Random
from typing import cast

from generators.text_to_sql.grammar.catalog import Catalog, Unsuited
from generators.text_to_sql.grammar.concepts.parts import (
    aggregates,
    averageable,
    child_condition,
    column_of,
    entity,
    grouped,
    joined,
    perhaps_ordered,
    plus,
    threshold,
    with_children,
)
from generators.text_to_sql.grammar.concepts.registry import concept
from generators.text_to_sql.grammar.draw import Draw, round_number
from generators.text_to_sql.grammar.plan import (
    Aggregate,
    Bucket,
    ChildCount,
    DatePart,
    Filter,
    Item,
    Partner,
    Plan,
    Ref,
    VersusAverage,
)


@concept("intermediate")
def group_count(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    return grouped("group_count", draw, draw.category(), (Aggregate("count"),))


@concept("intermediate")
def group_aggregate(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    return grouped("group_aggregate", draw, draw.key(), aggregates(draw, 2 if draw.chance(0.25) else 1))


@concept("intermediate")
def group_having(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    of = Aggregate("count") if draw.chance(0.5) else aggregates(draw, 1)[0]
    key = draw.key()
    plan = Plan("group_having", draw.subject.name, (key, of), group=(key,))
    if of.decimals is not None:
        raise Unsuited("a threshold on the exact average")
    return perhaps_ordered(replace(plan, having=threshold(plan, of, draw)), draw, 0.25)


@concept("intermediate")
def join_columns(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng, parents=1)
    path, parent = joined(draw, 1)
    select = (*draw.outputs(1, 2, alone=True), *draw.outputs(1, 2, path=path, table=parent))
    filters = (draw.filter(),) if draw.chance(0.6) else ()
    return Plan("join_columns", draw.subject.name, select, filters=filters)


@concept("intermediate")
def join_filter(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng, parents=1)
    path, parent = joined(draw, 1)
    filters: tuple[Filter, ...] = (draw.filter(path, parent),)
    if draw.chance(0.4):
        filters = (*filters, draw.filter())
    select = draw.outputs(1, 3, alone=True)
    return perhaps_ordered(Plan("join_filter", draw.subject.name, select, filters=filters), draw, 0.25)


@concept("intermediate")
def join_two_hops(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng, parents=2)
    path, far = joined(draw, 2)
    if draw.chance(0.5):
        shown = (*draw.outputs(1, 2, alone=True), *draw.outputs(1, 1, path=path, table=far))
        select, filters = shown, (draw.filter(),)
    else:
        select, filters = draw.outputs(1, 2, alone=True), (draw.filter(path, far),)
    return Plan("join_two_hops", draw.subject.name, select, filters=filters)


@concept("intermediate")
def join_group(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng, parents=1)
    path, parent = joined(draw, 1)
    items: tuple[Aggregate, ...] = (Aggregate("count"),) if draw.chance(0.4) else aggregates(draw, 1)
    return grouped("join_group", draw, draw.category(path, parent), items)


@concept("intermediate")
def join_group_rows(catalog: Catalog, rng: Random) -> Plan:
    """One group for each parent row, which need not have a unique name: the key is grouped by too."""
    draw = Draw.over(catalog, rng, parents=1)
    path, parent = joined(draw, 1)
    items: tuple[Item, ...] = (Aggregate("count"),) if draw.chance(0.4) else aggregates(draw, 1)
    labels = draw.labels(parent, path)
    if labels[0].column in parent.primary_key:
        raise Unsuited("a name for the parent rows besides their key")
    plan = Plan("join_group_rows", draw.subject.name, (*labels, *items), group=entity(parent, path, labels))
    return perhaps_ordered(plan, draw, 0.4)


@concept("intermediate")
def count_children(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    child, key = draw.pick(catalog.database.children(draw.subject.name), "a table that points here")
    if child is draw.subject or catalog.key(child.name, key.column).to_column not in draw.subject.primary_key:
        raise Unsuited("another table that points to the primary key")
    labels = draw.labels()
    item = ChildCount(child.name, key.column)
    plan = Plan("count_children", draw.subject.name, (*labels, item), group=entity(draw.subject, (), labels))
    return perhaps_ordered(plan, draw, 0.4, by=item)


@concept("intermediate")
def anti_join(catalog: Catalog, rng: Random) -> Plan:
    draw, child, key = with_children(catalog, rng, some_without=True)
    partner = Partner(child.name, key.column, negated=True, form="join")
    filters: tuple[Filter, ...] = (partner, draw.filter()) if draw.chance(0.25) else (partner,)
    return Plan("anti_join", draw.subject.name, draw.outputs(1, 3), filters=filters)


@concept("intermediate")
def semi_join(catalog: Catalog, rng: Random) -> Plan:
    draw, child, key = with_children(catalog, rng)
    partner = Partner(child.name, key.column, having=child_condition(draw, child))
    return Plan("semi_join", draw.subject.name, draw.outputs(1, 3), filters=(partner,))


@concept("intermediate")
def not_exists(catalog: Catalog, rng: Random) -> Plan:
    draw, child, key = with_children(catalog, rng)
    partner = Partner(child.name, key.column, negated=True, having=child_condition(draw, child))
    return Plan("not_exists", draw.subject.name, draw.outputs(1, 3), filters=(partner,))


@concept("intermediate")
def above_average(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    ref = averageable(draw)
    versus = VersusAverage(ref, "gt" if draw.chance(0.65) else "lt")
    filters: tuple[Filter, ...] = (versus,)
    if draw.chance(0.25):
        filters = (versus, draw.equal(catalog.refs((), draw.subject, "category")))
    select = draw.outputs(1, 2)
    return Plan("above_average", draw.subject.name, plus(select, ref, draw, 0.5), filters=filters)


@concept("intermediate")
def case_buckets(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    ref = draw.measure()
    values = sorted(cast(list[float], catalog.column(ref).values))
    if len(values) < 4:
        raise Unsuited("a measure of four values")
    labels = rng.choice((("low", "high"), ("small", "large"), ("low", "medium", "high"), ("small", "medium", "large")))
    cuts = sorted({round_number(values[len(values) * i // len(labels)]) for i in range(1, len(labels))})
    if len(cuts) < len(labels) - 1 or not values[0] < cuts[0] or not cuts[-1] <= values[-1]:
        raise Unsuited("a measure that spreads")
    bucket = Bucket(ref, tuple(cuts), labels)
    if draw.chance(0.5):
        return Plan("case_buckets", draw.subject.name, (bucket, Aggregate("count")), group=(bucket,))
    return Plan("case_buckets", draw.subject.name, (*plus(draw.labels(), ref, draw, 0.6), bucket))


@concept("intermediate")
def date_parts(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    items: tuple[Aggregate, ...] = (Aggregate("count"),) if draw.chance(0.5) else aggregates(draw, 1)
    part = DatePart(draw.date(), "year" if draw.chance(0.4) else "month")
    return grouped("date_parts", draw, part, items)


@concept("intermediate")
def union_rows(catalog: Catalog, rng: Random) -> Plan:
    """Rows that meet one condition or another, or the values that two tables have in one column of the same name."""
    draw = Draw.over(catalog, rng)
    if draw.chance(0.5):
        mine = {
            c.name: c
            for c in draw.subject.of_kind("category", "name")
            if catalog.complete(Ref((), draw.subject.name, c.name))
        }
        twins = [
            (table, column)
            for table in catalog.database.tables
            if table is not draw.subject
            for column in table.of_kind("category", "name")
            if column.name in mine
            and mine[column.name].words == column.words
            and catalog.complete(Ref((), table.name, column.name))
        ]
        other, column = draw.pick(twins, "two tables with one kind of column")
        first, second = (Plan("union_rows", t.name, (Ref((), t.name, column.name),)) for t in (draw.subject, other))
        return replace(first, union=second)
    select = draw.outputs(1, 2, alone=True)
    one = draw.filter()
    two = draw.on(draw.subject).filter(avoid=[column_of(one)])
    first, second = (Plan("union_rows", draw.subject.name, select, filters=(f,)) for f in (one, two))
    return replace(first, union=second)
