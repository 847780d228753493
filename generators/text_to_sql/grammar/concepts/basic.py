"""One table: columns, filters, order and limit, and aggregates of the whole."""

from dataclasses import replace
from random import Random

from generators.text_to_sql.grammar.catalog import Catalog
from generators.text_to_sql.grammar.concepts.parts import aggregates, column_of, filtered, perhaps_ordered, settled
from generators.text_to_sql.grammar.concepts.registry import concept
from generators.text_to_sql.grammar.draw import Draw
from generators.text_to_sql.grammar.plan import (
    Aggregate,
    Filter,
    Order,
    Plan,
)


@concept("basic")
def select_columns(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    plan = Plan("select_columns", draw.subject.name, draw.outputs(2, 3, alone=True))
    return perhaps_ordered(plan, draw, 0.6)


@concept("basic")
def distinct_values(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    refs = [ref for ref in catalog.refs((), draw.subject, "category") if catalog.repeats(ref)]
    select = draw.some(refs or (draw.category(),), 1, 2)
    filters = (draw.filter(avoid=select),) if draw.chance(0.5) else ()
    return Plan("distinct_values", draw.subject.name, select, distinct=True, filters=filters)


@concept("basic")
def filter_equal(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    return filtered("filter_equal", draw, draw.equal(catalog.refs((), draw.subject, "category")))


@concept("basic")
def filter_not_equal(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    return filtered("filter_not_equal", draw, draw.unequal(catalog.refs((), draw.subject, "category")))


@concept("basic")
def filter_flag(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    return filtered("filter_flag", draw, draw.flag(catalog.refs((), draw.subject, "flag")))


@concept("basic")
def filter_compare(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    return filtered("filter_compare", draw, draw.compare(catalog.refs((), draw.subject, "measure"), ("measure",)))


@concept("basic")
def filter_between(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    return filtered("filter_between", draw, draw.between(catalog.refs((), draw.subject, "measure", "date")))


@concept("basic")
def filter_in(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    refs = catalog.refs((), draw.subject, "category")
    return filtered("filter_in", draw, draw.member(refs, negated=draw.chance(0.3)))


@concept("basic")
def filter_like(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    refs = catalog.refs((), draw.subject, "name", "text", "category")
    return filtered("filter_like", draw, draw.pattern(refs, negated=draw.chance(0.25)))


@concept("basic")
def filter_null(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    return filtered("filter_null", draw, draw.missing(negated=draw.chance(0.4)))


@concept("basic")
def filter_date(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    refs = catalog.refs((), draw.subject, "date")
    return filtered("filter_date", draw, draw.when(refs) if draw.chance(0.4) else draw.compare(refs, ("date",)))


@concept("basic")
def filter_and(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    first = draw.filter()
    second = draw.filter(avoid=[column_of(first)])
    filters: tuple[Filter, ...] = (first, second)
    if draw.chance(0.2):
        filters = (*filters, draw.filter(avoid=[column_of(first), column_of(second)]))
    return Plan("filter_and", draw.subject.name, draw.outputs(1, 3), filters=filters)


@concept("basic")
def order_limit(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    by = draw.measure() if draw.chance(0.7) else draw.date()
    select = draw.outputs(1, 3)
    select = select if by in select or draw.chance(0.3) else (*select[:2], by)
    filters = (draw.filter(avoid=[by]),) if draw.chance(0.3) else ()
    limit = rng.choice((1, 2, 3, 3, 4, 5, 5, 10))
    plan = Plan("order_limit", draw.subject.name, select, filters=filters, limit=limit)
    return settled(replace(plan, order=(Order(by, draw.chance(0.65)),)), draw, required=True)


@concept("basic")
def count_rows(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    first = draw.filter()
    filters = (first, draw.filter(avoid=[column_of(first)])) if draw.chance(0.35) else (first,)
    return Plan("count_rows", draw.subject.name, (Aggregate("count"),), filters=filters)


@concept("basic")
def aggregate_value(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    items = aggregates(draw, 2 if draw.chance(0.3) else 1)
    filters = (draw.filter(avoid=[items[0].ref] if items[0].ref else ()),) if draw.chance(0.6) else ()
    return Plan("aggregate_value", draw.subject.name, items, filters=filters)


@concept("basic")
def count_distinct(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    ref = draw.category()
    filters = (draw.filter(avoid=[ref]),) if draw.chance(0.6) else ()
    return Plan("count_distinct", draw.subject.name, (Aggregate("count_distinct", ref),), filters=filters)
