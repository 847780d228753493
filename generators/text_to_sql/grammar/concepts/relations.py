"""Rows beside other rows: subqueries, CTEs, the table joined with itself, set operations, and division."""

from dataclasses import replace
from random import Random

from generators.text_to_sql.grammar.catalog import Catalog, Unsuited
from generators.text_to_sql.grammar.concepts.parts import (
    aggregates,
    child_condition,
    column_of,
    entity,
    joined,
    perhaps_ordered,
    run,
    threshold,
    with_children,
)
from generators.text_to_sql.grammar.concepts.registry import concept
from generators.text_to_sql.grammar.draw import Draw
from generators.text_to_sql.grammar.plan import (
    Aggregate,
    BeyondCount,
    ChildCount,
    ChildTotal,
    Covers,
    Filter,
    Nested,
    Partner,
    Plan,
    Ref,
    VersusNamed,
)


@concept("intermediate")
def in_subquery(catalog: Catalog, rng: Random) -> Plan:
    draw, child, key = with_children(catalog, rng)
    negated = draw.chance(0.35)
    if negated and not catalog.complete(Ref((), child.name, key.column)):
        raise Unsuited("a key without NULL, which NOT IN would stumble over")
    partner = Partner(child.name, key.column, negated, having=child_condition(draw, child), form="in")
    return Plan("in_subquery", draw.subject.name, draw.outputs(1, 3), filters=(partner,))


@concept("intermediate")
def scalar_subquery(catalog: Catalog, rng: Random) -> Plan:
    draw, child, key = with_children(catalog, rng)
    item = ChildCount(child.name, key.column, form="subquery")
    return Plan("scalar_subquery", draw.subject.name, (*draw.labels(), *draw.beside(), item))


@concept("intermediate")
def left_join(catalog: Catalog, rng: Random) -> Plan:
    """A total of related rows for each row, those without any included."""
    draw, child, key = with_children(catalog, rng)
    if (key.to_column,) != draw.subject.primary_key:
        raise Unsuited("another table that points to the primary key")
    measures = [c for c in child.of_kind("measure") if c.additive and catalog.complete(Ref((), child.name, c.name))]
    item = ChildTotal(child.name, key.column, draw.pick(measures, "a measure that adds up").name)
    labels = draw.labels()
    plan = Plan("left_join", draw.subject.name, (*labels, item), group=entity(draw.subject, (), labels))
    return perhaps_ordered(plan, draw, 0.3, by=labels[0])


@concept("intermediate")
def derived_table(catalog: Catalog, rng: Random) -> Plan:
    """A value for each parent row in a subquery of FROM; outside, their extreme or average."""
    draw = Draw.over(catalog, rng, parents=1)
    path, parent = joined(draw, 1)
    inner = Aggregate("count") if draw.chance(0.4) else draw.aggregate(additive=True)
    per = Ref(path, parent.name, catalog.key(draw.subject.name, path[0]).to_column)
    nested = Nested(draw.pick(("avg", "avg", "max", "min"), "an aggregate"), inner, per, form="derived")
    if draw.chance(0.5):
        key = draw.category(path, parent)
        return Plan("derived_table", draw.subject.name, (key, nested), group=(key,))
    return Plan("derived_table", draw.subject.name, (nested,))


@concept("intermediate")
def common_table(catalog: Catalog, rng: Random) -> Plan:
    """Groups in a CTE, of which the query keeps some."""
    draw = Draw.over(catalog, rng)
    of = Aggregate("count") if draw.chance(0.4) else replace(aggregates(draw, 1)[0], decimals=None)
    if draw.chance(0.4):
        path, parent = joined(draw, 1)
        labels = draw.labels(parent, path)
        plan = Plan("common_table", draw.subject.name, (*labels, of), group=entity(parent, path, labels))
    else:
        key = draw.key()
        plan = Plan("common_table", draw.subject.name, (key, of), group=(key,))
    plan = replace(plan, having=replace(threshold(plan, of, draw), form="cte"))
    return perhaps_ordered(plan, draw, 0.25, by=of)


@concept("advanced")
def chained_ctes(catalog: Catalog, rng: Random) -> Plan:
    """How many parent rows are beyond the mean of all: totals, their mean, and those beyond it."""
    draw = Draw.over(catalog, rng, parents=1)
    path, parent = joined(draw, 1)
    of = Aggregate("count") if draw.chance(0.45) else replace(draw.aggregate(), decimals=None)
    if of.ref and catalog.column(of.ref).unit == "year":
        raise Unsuited("a measure that can be averaged")
    per = Ref(path, parent.name, catalog.key(draw.subject.name, path[0]).to_column)
    item = BeyondCount(of, "gt" if draw.chance(0.65) else "lt", per)
    filters = (draw.filter(avoid=[of.ref] if of.ref else ()),) if draw.chance(0.3) else ()
    return Plan("chained_ctes", draw.subject.name, (item,), filters=filters)


# --- the table with itself -------------------------------------------------------------------------------------------


@concept("intermediate")
def self_join(catalog: Catalog, rng: Random) -> Plan:
    """The rows that share a value with one that is called by its name."""
    draw = Draw.over(catalog, rng)
    return _versus_named("self_join", draw, draw.category(), "eq")


@concept("intermediate")
def non_equi_join(catalog: Catalog, rng: Random) -> Plan:
    """The rows with a higher or lower value than one that is called by its name."""
    draw = Draw.over(catalog, rng)
    by = draw.measure() if draw.chance(0.8) else draw.date()
    return _versus_named("non_equi_join", draw, by, "gt" if draw.chance(0.6) else "lt")


def _versus_named(name: str, draw: Draw, ref: Ref, op: str) -> Plan:
    labels = [label for label in draw.catalog.refs((), draw.subject, "name") if draw.catalog.complete(label)]
    label = draw.pick(labels, "a name for the rows")
    names = draw.subject.values(label.column)
    plain = [n for n in map(str, names) if names.count(n) == 1 and any(c.isalpha() for c in n) and "'" not in n]
    whom = draw.pick(plain, "a name that only one row has")
    if len(draw.subject.primary_key) != 1 or ref == label:
        raise Unsuited("a primary key of one column")
    filter_ = VersusNamed(ref, "eq" if op == "eq" else "gt" if op == "gt" else "lt", label, whom)
    select = tuple(dict.fromkeys((*draw.labels(), *((ref,) if op != "eq" and draw.chance(0.5) else ()))))
    return Plan(name, draw.subject.name, select, filters=(filter_,))


@concept("advanced")
def pair_occurrence(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    shared = draw.category()
    labels = draw.labels()
    if len(draw.subject.primary_key) != 1 or len(labels) > 1 or shared in labels:
        raise Unsuited("rows with one name and one key")
    values = draw.subject.values(shared.column)
    count = sum(values.count(value) * (values.count(value) - 1) // 2 for value in set(values))
    if not 1 <= count <= 60:
        raise Unsuited("a handful of pairs")
    return Plan("pair_occurrence", draw.subject.name, labels, group=(shared,), shape="pairs")


# --- sets ------------------------------------------------------------------------------------------------------------


@concept("intermediate")
def set_overlap(catalog: Catalog, rng: Random) -> Plan:
    """The values of one column that occur under both of two conditions, or under the first alone."""
    draw = Draw.over(catalog, rng)
    column = draw.category()
    one = _positive(draw, (column,))
    two = _positive(draw.on(draw.subject), (column, column_of(one)))
    first, second = (Plan("set_overlap", draw.subject.name, (column,), filters=(f,)) for f in (one, two))
    return replace(first, union=second, combine="intersect" if draw.chance(0.6) else "except")


def _positive(draw: Draw, avoid: tuple[Ref, ...]) -> Filter:
    """A condition in which no word can be taken for the set's own "not" or "or"."""
    filter_ = draw.filter(avoid=avoid)
    if draw.catalog.column(column_of(filter_)).kind == "flag":
        raise Unsuited("a condition without a negation")
    return filter_


@concept("advanced")
def relational_division(catalog: Catalog, rng: Random) -> Plan:
    """The rows whose related rows have every value that occurs at all."""
    draw, child, key = with_children(catalog, rng)
    columns = [
        c for c in child.of_kind("category") if 2 <= len(c.values) <= 5 and catalog.repeats(Ref((), child.name, c.name))
    ]
    covers = Covers(child.name, key.column, draw.pick(columns, "a category of few values").name)
    plan = Plan("relational_division", draw.subject.name, draw.outputs(1, 2), filters=(covers,))
    if not run(plan, catalog):
        raise Unsuited("a row whose partners have every value")
    return plan
