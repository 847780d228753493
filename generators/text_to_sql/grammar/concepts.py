"""The concepts that the grammar can ask about, in three tiers: one function each, from a draw to a plan.

A concept raises Unsuited where the database (or this draw of it) has nothing of the kind; the sampler then draws again.
"""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Literal, cast

from generators.text_to_sql.grammar.catalog import Catalog, Unsuited
from generators.text_to_sql.grammar.compile import compile_plan, to_sql
from generators.text_to_sql.grammar.draw import Draw, Path, round_number
from generators.text_to_sql.grammar.plan import (
    Aggregate,
    Bucket,
    Change,
    ChildCount,
    Comparison,
    DatePart,
    Deviation,
    Filter,
    Having,
    HavingMean,
    Item,
    Key,
    Moving,
    Nested,
    Operator,
    Order,
    Partner,
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
from generators.text_to_sql.schema import ForeignKey, Table

Tier = Literal["basic", "intermediate", "advanced"]
Concept = Callable[[Catalog, Random], Plan]
CONCEPTS: dict[str, tuple[Tier, Concept]] = {}


def concept(tier: Tier) -> Callable[[Concept], Concept]:
    def register(function: Concept) -> Concept:
        CONCEPTS[function.__name__] = (tier, function)
        return function

    return register


# --- basic -----------------------------------------------------------------------------------------------------------


@concept("basic")
def select_columns(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw(catalog, rng)
    plan = Plan("select_columns", draw.subject.name, draw.outputs(2, 3))
    return _perhaps_ordered(plan, draw, 0.6)


@concept("basic")
def distinct_values(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw(catalog, rng)
    refs = [ref for ref in catalog.refs((), draw.subject, "category") if catalog.repeats(ref)]
    select = draw.some(refs or (draw.category(),), 1, 2)
    filters = (draw.filter(avoid=select),) if draw.chance(0.5) else ()
    return Plan("distinct_values", draw.subject.name, select, distinct=True, filters=filters)


@concept("basic")
def filter_equal(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw(catalog, rng)
    return _filtered("filter_equal", draw, draw.equal(catalog.refs((), draw.subject, "category")))


@concept("basic")
def filter_not_equal(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw(catalog, rng)
    return _filtered("filter_not_equal", draw, draw.unequal(catalog.refs((), draw.subject, "category")))


@concept("basic")
def filter_flag(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw(catalog, rng)
    return _filtered("filter_flag", draw, draw.flag(catalog.refs((), draw.subject, "flag")))


@concept("basic")
def filter_compare(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw(catalog, rng)
    return _filtered("filter_compare", draw, draw.compare(catalog.refs((), draw.subject, "measure"), ("measure",)))


@concept("basic")
def filter_between(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw(catalog, rng)
    return _filtered("filter_between", draw, draw.between(catalog.refs((), draw.subject, "measure", "date")))


@concept("basic")
def filter_in(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw(catalog, rng)
    refs = catalog.refs((), draw.subject, "category")
    return _filtered("filter_in", draw, draw.member(refs, negated=draw.chance(0.3)))


@concept("basic")
def filter_like(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw(catalog, rng)
    refs = catalog.refs((), draw.subject, "name", "text", "category")
    return _filtered("filter_like", draw, draw.pattern(refs, negated=draw.chance(0.25)))


@concept("basic")
def filter_null(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw(catalog, rng)
    return _filtered("filter_null", draw, draw.missing(negated=draw.chance(0.4)))


@concept("basic")
def filter_date(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw(catalog, rng)
    refs = catalog.refs((), draw.subject, "date")
    return _filtered("filter_date", draw, draw.when(refs) if draw.chance(0.4) else draw.compare(refs, ("date",)))


@concept("basic")
def filter_and(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw(catalog, rng)
    first = draw.filter()
    second = draw.filter(avoid=[_column_of(first)])
    filters: tuple[Filter, ...] = (first, second)
    if draw.chance(0.2):
        filters = (*filters, draw.filter(avoid=[_column_of(first), _column_of(second)]))
    return Plan("filter_and", draw.subject.name, draw.outputs(1, 3), filters=filters)


@concept("basic")
def order_limit(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw(catalog, rng)
    by = draw.measure() if draw.chance(0.7) else draw.date()
    select = draw.outputs(1, 3)
    select = select if by in select or draw.chance(0.3) else (*select[:2], by)
    filters = (draw.filter(avoid=[by]),) if draw.chance(0.3) else ()
    limit = rng.choice((1, 2, 3, 3, 4, 5, 5, 10)) if draw.chance(0.85) else None
    plan = Plan("order_limit", draw.subject.name, select, filters=filters, limit=limit)
    return _settled(replace(plan, order=(Order(by, draw.chance(0.65)),)), draw, required=True)


@concept("basic")
def count_rows(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw(catalog, rng)
    first = draw.filter()
    filters = (first, draw.filter(avoid=[_column_of(first)])) if draw.chance(0.35) else (first,)
    return Plan("count_rows", draw.subject.name, (Aggregate("count"),), filters=filters)


@concept("basic")
def aggregate_value(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw(catalog, rng)
    items = _aggregates(draw, 2 if draw.chance(0.3) else 1)
    filters = (draw.filter(avoid=[items[0].ref] if items[0].ref else ()),) if draw.chance(0.6) else ()
    return Plan("aggregate_value", draw.subject.name, items, filters=filters)


@concept("basic")
def count_distinct(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw(catalog, rng)
    ref = draw.category()
    filters = (draw.filter(avoid=[ref]),) if draw.chance(0.6) else ()
    return Plan("count_distinct", draw.subject.name, (Aggregate("count_distinct", ref),), filters=filters)


# --- intermediate ----------------------------------------------------------------------------------------------------


@concept("intermediate")
def group_count(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw(catalog, rng)
    return _grouped("group_count", draw, draw.category(), (Aggregate("count"),))


@concept("intermediate")
def group_aggregate(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw(catalog, rng)
    return _grouped("group_aggregate", draw, draw.category(), _aggregates(draw, 2 if draw.chance(0.25) else 1))


@concept("intermediate")
def group_having(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw(catalog, rng)
    of = Aggregate("count") if draw.chance(0.5) else _aggregates(draw, 1)[0]
    key = draw.category()
    plan = Plan("group_having", draw.subject.name, (key, of), group=(key,))
    if of.decimals is not None:
        raise Unsuited("a threshold on the exact average")
    return _perhaps_ordered(replace(plan, having=_threshold(plan, of, draw)), draw, 0.25)


@concept("intermediate")
def join_columns(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw(catalog, rng, parents=1)
    path, parent = _joined(draw, 1)
    select = (*draw.outputs(1, 2), *draw.outputs(1, 2, path=path, table=parent))
    filters = (draw.filter(),) if draw.chance(0.6) else ()
    return Plan("join_columns", draw.subject.name, select, filters=filters)


@concept("intermediate")
def join_filter(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw(catalog, rng, parents=1)
    path, parent = _joined(draw, 1)
    filters: tuple[Filter, ...] = (draw.filter(path, parent),)
    if draw.chance(0.4):
        filters = (*filters, draw.filter())
    return _perhaps_ordered(Plan("join_filter", draw.subject.name, draw.outputs(1, 3), filters=filters), draw, 0.25)


@concept("intermediate")
def join_two_hops(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw(catalog, rng, parents=2)
    path, far = _joined(draw, 2)
    if draw.chance(0.5):
        select, filters = (*draw.outputs(1, 2), *draw.outputs(1, 1, path=path, table=far)), (draw.filter(),)
    else:
        select, filters = draw.outputs(1, 2), (draw.filter(path, far),)
    return Plan("join_two_hops", draw.subject.name, select, filters=filters)


@concept("intermediate")
def join_group(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw(catalog, rng, parents=1)
    path, parent = _joined(draw, 1)
    items: tuple[Aggregate, ...] = (Aggregate("count"),) if draw.chance(0.4) else _aggregates(draw, 1)
    return _grouped("join_group", draw, draw.category(path, parent), items)


@concept("intermediate")
def join_group_rows(catalog: Catalog, rng: Random) -> Plan:
    """One group for each parent row, which need not have a unique name: the key is grouped by too."""
    draw = Draw(catalog, rng, parents=1)
    path, parent = _joined(draw, 1)
    items: tuple[Item, ...] = (Aggregate("count"),) if draw.chance(0.4) else _aggregates(draw, 1)
    labels = draw.labels(parent, path)
    plan = Plan("join_group_rows", draw.subject.name, (*labels, *items), group=_entity(parent, path, labels))
    return _perhaps_ordered(plan, draw, 0.4)


@concept("intermediate")
def count_children(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw(catalog, rng)
    child, key = draw.pick(catalog.database.children(draw.subject.name), "a table that points here")
    if child is draw.subject or catalog.key(child.name, key.column).to_column not in draw.subject.primary_key:
        raise Unsuited("another table that points to the primary key")
    labels = draw.labels()
    item = ChildCount(child.name, key.column)
    plan = Plan("count_children", draw.subject.name, (*labels, item), group=_entity(draw.subject, (), labels))
    return _perhaps_ordered(plan, draw, 0.4, by=item)


@concept("intermediate")
def anti_join(catalog: Catalog, rng: Random) -> Plan:
    draw, child, key = _with_children(catalog, rng, some_without=True)
    partner = Partner(child.name, key.column, negated=True, form="join")
    filters: tuple[Filter, ...] = (partner, draw.filter()) if draw.chance(0.25) else (partner,)
    return Plan("anti_join", draw.subject.name, draw.outputs(1, 3), filters=filters)


@concept("intermediate")
def semi_join(catalog: Catalog, rng: Random) -> Plan:
    draw, child, key = _with_children(catalog, rng)
    partner = Partner(child.name, key.column, having=_child_condition(draw, child))
    return Plan("semi_join", draw.subject.name, draw.outputs(1, 3), filters=(partner,))


@concept("intermediate")
def not_exists(catalog: Catalog, rng: Random) -> Plan:
    draw, child, key = _with_children(catalog, rng)
    partner = Partner(child.name, key.column, negated=True, having=_child_condition(draw, child))
    return Plan("not_exists", draw.subject.name, draw.outputs(1, 3), filters=(partner,))


@concept("intermediate")
def above_average(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw(catalog, rng)
    ref = _averageable(draw)
    versus = VersusAverage(ref, "gt" if draw.chance(0.65) else "lt")
    filters: tuple[Filter, ...] = (versus,)
    if draw.chance(0.25):
        filters = (versus, draw.equal(catalog.refs((), draw.subject, "category")))
    select = draw.outputs(1, 2)
    return Plan("above_average", draw.subject.name, _plus(select, ref, draw, 0.5), filters=filters)


@concept("intermediate")
def case_buckets(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw(catalog, rng)
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
    return Plan("case_buckets", draw.subject.name, (*_plus(draw.labels(), ref, draw, 0.6), bucket))


@concept("intermediate")
def date_parts(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw(catalog, rng)
    items: tuple[Aggregate, ...] = (Aggregate("count"),) if draw.chance(0.5) else _aggregates(draw, 1)
    part = DatePart(draw.date(), "year" if draw.chance(0.4) else "month")
    return _grouped("date_parts", draw, part, items)


@concept("intermediate")
def union_rows(catalog: Catalog, rng: Random) -> Plan:
    """Rows that meet one condition or another, or the values that two tables have in one column of the same name."""
    draw = Draw(catalog, rng)
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
    select = draw.outputs(1, 2)
    one = draw.filter()
    two = draw.on(draw.subject).filter(avoid=[_column_of(one)])
    first, second = (Plan("union_rows", draw.subject.name, select, filters=(f,)) for f in (one, two))
    return replace(first, union=second)


# --- advanced --------------------------------------------------------------------------------------------------------


@concept("advanced")
def top_per_group(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw(catalog, rng)
    within, by = draw.category(), draw.measure()
    return _top("top_per_group", draw, within, by, rng.choice((1, 1, 2, 2, 3)), ties=draw.chance(0.4))


@concept("advanced")
def latest_per_group(catalog: Catalog, rng: Random) -> Plan:
    """The newest row for each parent row: the last visit of every patient."""
    draw = Draw(catalog, rng, parents=1)
    path, parent = _joined(draw, 1)
    key = catalog.key(draw.subject.name, path[0])
    within = Ref(path, parent.name, key.to_column)
    by = draw.date()
    select = (*draw.labels(parent, path), *_plus(draw.outputs(1, 2), by, draw, 1.0))
    top = Top(1, within, (Order(by, True),), ties=False)
    return _broken_ties(Plan("latest_per_group", draw.subject.name, tuple(dict.fromkeys(select)), top=top), draw)


@concept("advanced")
def rank_rows(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw(catalog, rng)
    ref = draw.measure()
    within = draw.category() if draw.chance(0.4) else None
    rank = Rank(ref, draw.chance(0.7), draw.chance(0.5), within)
    select = _plus(draw.labels(), ref, draw, 1.0)
    return Plan(
        "rank_rows", draw.subject.name, (*((within,) if within and within not in select else ()), *select, rank)
    )


@concept("advanced")
def running_total(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw(catalog, rng)
    of = draw.aggregate(additive=True)
    return _over_time("running_total", draw, of, Running)


@concept("advanced")
def change_to_previous(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw(catalog, rng)
    of = Aggregate("count") if draw.chance(0.25) else draw.aggregate(additive=True)
    return _over_time("change_to_previous", draw, of, Change)


@concept("advanced")
def moving_average(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw(catalog, rng)
    of = draw.aggregate(additive=True)
    return _over_time("moving_average", draw, of, lambda item: Moving(item, rng.choice((2, 3))))


@concept("advanced")
def share_of_total(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw(catalog, rng, parents=1 if rng.random() < 0.3 else 0)
    path, table = _joined(draw, 1) if draw.chance(0.3) else ((), draw.subject)
    of = Aggregate("count") if draw.chance(0.4) else draw.aggregate(additive=True)
    share = Share(of, rng.choice((1, 2, 2)))
    items: tuple[Item, ...] = (of, share) if draw.chance(0.5) else (share,)
    return _grouped("share_of_total", draw, draw.category(path, table), items, order=0.3)


@concept("advanced")
def deviation_from_average(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw(catalog, rng)
    ref = _averageable(draw)
    within = draw.category() if draw.chance(0.7) else None
    select = _plus(draw.labels(), ref, draw, 1.0)
    select = (*((within,) if within and within not in select else ()), *select)
    return Plan("deviation_from_average", draw.subject.name, (*select, Deviation(ref, within)))


@concept("advanced")
def above_group_average(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw(catalog, rng)
    ref, within = _averageable(draw), draw.category()
    versus = VersusAverage(ref, "gt" if draw.chance(0.65) else "lt", within)
    select = _plus(_plus(draw.labels(), within, draw, 0.6), ref, draw, 0.6)
    return Plan("above_group_average", draw.subject.name, select, filters=(versus,))


@concept("advanced")
def recent_rows(catalog: Catalog, rng: Random) -> Plan:
    """Relative time, anchored to the newest date in the data."""
    draw = Draw(catalog, rng)
    ref = _event(draw)
    recent = Recent(ref, rng.choice((7, 14, 30, 30, 60, 90, 180)))
    if draw.chance(0.4):
        item = Aggregate("count") if draw.chance(0.6) else _aggregates(draw, 1)[0]
        return Plan("recent_rows", draw.subject.name, (item,), filters=(recent,))
    return _perhaps_ordered(
        Plan("recent_rows", draw.subject.name, _plus(draw.outputs(1, 2), ref, draw, 0.5), filters=(recent,)), draw, 0.2
    )


@concept("advanced")
def groups_beyond_mean(catalog: Catalog, rng: Random) -> Plan:
    """Two CTEs: a value for each group, and the mean of these values."""
    draw = Draw(catalog, rng)
    of = Aggregate("count") if draw.chance(0.4) else replace(_aggregates(draw, 1)[0], decimals=None)
    having = HavingMean(of, "gt" if draw.chance(0.65) else "lt")
    if draw.chance(0.5):
        path, parent = _joined(draw, 1)
        labels = draw.labels(parent, path)
        return Plan(
            "groups_beyond_mean", draw.subject.name, (*labels, of), group=_entity(parent, path, labels), having=having
        )
    key = draw.category()
    return Plan("groups_beyond_mean", draw.subject.name, (key, of), group=(key,), having=having)


@concept("advanced")
def average_of_totals(catalog: Catalog, rng: Random) -> Plan:
    """One CTE: a value for each parent row; outside, their average for each kind of parent or over all."""
    draw = Draw(catalog, rng, parents=1)
    path, parent = _joined(draw, 1)
    inner = Aggregate("count") if draw.chance(0.4) else draw.aggregate(additive=True)
    outer = rng.choice(("avg", "avg", "max", "min"))
    nested = Nested(outer, inner, Ref(path, parent.name, catalog.key(draw.subject.name, path[0]).to_column))  # type: ignore[arg-type]
    if draw.chance(0.6):
        key = draw.category(path, parent)
        return Plan("average_of_totals", draw.subject.name, (key, nested), group=(key,))
    return Plan("average_of_totals", draw.subject.name, (nested,))


@concept("advanced")
def rows_of_top_group(catalog: Catalog, rng: Random) -> Plan:
    """Two CTEs: a value for each group, and the group where it is highest; the query returns that group's rows."""
    draw = Draw(catalog, rng)
    group = draw.category()
    of = Aggregate("count") if draw.chance(0.4) else replace(_aggregates(draw, 1)[0], decimals=None)
    top = TopGroup(group, of, draw.chance(0.75))
    totals = Plan("", draw.subject.name, (of,), group=(group,))
    values = sorted(_run(totals, catalog), reverse=top.descending)
    if values[0] == values[1]:
        raise Unsuited("one clear winner")
    return Plan("rows_of_top_group", draw.subject.name, _plus(draw.outputs(1, 2), group, draw, 0.6), filters=(top,))


# --- parts that concepts share ---------------------------------------------------------------------------------------


def _column_of(filter_: Filter) -> Ref:
    return cast(Ref, getattr(filter_, "ref", None))


def _filtered(name: str, draw: Draw, filter_: Filter) -> Plan:
    plan = Plan(name, draw.subject.name, draw.outputs(1, 3), filters=(filter_,))
    return _perhaps_ordered(plan, draw, 0.25)


def _plus(select: tuple[Ref, ...], ref: Ref, draw: Draw, p: float) -> tuple[Ref, ...]:
    return select if ref in select or not draw.chance(p) else (*select, ref)


def _aggregates(draw: Draw, count: int) -> tuple[Aggregate, ...]:
    """Different aggregates, of one measure or several."""
    items = dict.fromkeys(draw.aggregate() for _ in range(count * 3))
    return tuple(items)[:count]


def _joined(draw: Draw, hops: int) -> tuple[Path, Table]:
    paths = [(path, table) for path, table in draw.catalog.reached(draw.subject, hops) if len(path) == hops]
    return draw.pick(paths, f"a path of {hops} joins")


def _entity(table: Table, path: Path, labels: tuple[Ref, ...]) -> tuple[Key, ...]:
    """Group keys for one group per row of `table`: its primary key, and what is shown of it."""
    if len(table.primary_key) != 1:
        raise Unsuited("a primary key of one column")
    return tuple(dict.fromkeys((Ref(path, table.name, table.primary_key[0]), *labels)))


def _averageable(draw: Draw) -> Ref:
    ref = draw.measure()
    if draw.catalog.column(ref).unit == "year":
        raise Unsuited("a measure that can be averaged")
    return ref


def _event(draw: Draw) -> Ref:
    """A date on which something happened; the birth dates of people make no time line."""
    if draw.subject.person:
        raise Unsuited("a table of events")
    return draw.date()


def _with_children(catalog: Catalog, rng: Random, some_without: bool = False) -> tuple[Draw, Table, ForeignKey]:
    """A subject that other rows point to; the draw's witness has none of them where `some_without`."""
    draw = Draw(catalog, rng)
    child, key = draw.pick(catalog.database.children(draw.subject.name), "a table that points here")
    if child is draw.subject or not child.rows:
        raise Unsuited("another table that points here")
    if some_without:
        used = set(child.values(key.column))
        place = [column.name for column in draw.subject.columns].index(key.to_column)
        draw.row = draw.pick([row for row in draw.subject.rows if row[place] not in used], "a row without partner")
    return draw, child, key


def _child_condition(draw: Draw, child: Table) -> Comparison | None:
    if draw.chance(0.2):
        return None
    over = draw.on(child)
    makers = (over.equal, over.compare, over.flag)
    return draw.rng.choice(makers)(draw.catalog.refs((), child, "category", "measure", "date", "flag"))


def _run(plan: Plan, catalog: Catalog) -> list[tuple[object, ...]]:
    return cast(list[tuple[object, ...]], catalog.execute(to_sql(compile_plan(plan, catalog))))


def _threshold(plan: Plan, of: Aggregate, draw: Draw) -> Having:
    """A bound that some groups meet and some don't."""
    values = sorted({cast(float, row[0]) for row in _run(replace(plan, select=(of,)), draw.catalog)})
    if len(values) < 2:
        raise Unsuited("groups that differ")
    op: Operator = draw.rng.choice(("gt", "gt", "ge", "lt", "le"))
    place = draw.rng.randrange(len(values) - 1)
    value = values[place + (op in ("ge", "lt"))]
    between = round_number(value)
    if not isinstance(value, int) and values[place] < between < values[place + 1]:
        value = between
    return Having(of, op, value if isinstance(value, int) else round(value, 2))


def _grouped(name: str, draw: Draw, key: Key, items: tuple[Item, ...], order: float = 0.35) -> Plan:
    own = {item.ref for item in items if isinstance(item, Aggregate) and item.ref}
    filters = (draw.filter(avoid=[*own, *([key] if isinstance(key, Ref) else [key.ref])]),) if draw.chance(0.3) else ()
    plan = Plan(name, draw.subject.name, (key, *items), filters=filters, group=(key,))
    return _perhaps_ordered(plan, draw, order, by=draw.rng.choice((key, items[-1])))


def _perhaps_ordered(plan: Plan, draw: Draw, p: float, by: Item | None = None) -> Plan:
    """Adds an order that a reader would ask for, and now and then a limit."""
    if not draw.chance(p):
        return plan
    if by is None:
        computed = [item for item in plan.select if not isinstance(item, Ref)]
        refs = [item for item in plan.select if isinstance(item, Ref) and draw.catalog.column(item).kind != "text"]
        by = draw.pick(computed or refs, "a column to order by")
    kind = draw.catalog.column(by).kind if isinstance(by, Ref) else None
    descending = draw.chance(0.15 if kind in ("name", "category", "id") else 0.65)
    limit = draw.rng.choice((1, 2, 3, 5)) if kind in ("measure", "date", None) and draw.chance(0.35) else None
    return _settled(replace(plan, order=(Order(by, descending),), limit=limit), draw)


def _settled(plan: Plan, draw: Draw, required: bool = False) -> Plan:
    """Makes the stated order total: adds a second key where rows tie on the first, or drops order and limit."""
    ties = _tie_breakers(plan, draw)
    for order in (plan.order, (*plan.order, *ties)):
        keys = tuple(by.by for by in order)
        probe = replace(plan, select=(*keys, *(i for i in plan.select if i not in keys)), order=(), limit=None)
        rows = [row[: len(keys)] for row in _run(probe, draw.catalog)]
        if len(set(rows)) == len(rows) and not any(None in row for row in rows):
            return replace(plan, order=order)
    if required:
        raise Unsuited("a total order")
    return replace(plan, order=(), limit=None)


def _tie_breakers(plan: Plan, draw: Draw) -> tuple[Order, ...]:
    keys = plan.group[-1:] if plan.group else draw.catalog.labels((), draw.subject)[-1:]
    mine = {order.by for order in plan.order}
    return tuple(Order(key) for key in keys if key not in mine)


def _broken_ties(plan: Plan, draw: Draw) -> Plan:
    """The same for the order within each group of a Top."""
    assert plan.top
    within = plan.top.within
    for extra in ((), tuple(Order(ref) for ref in draw.labels()[-1:])):
        order = (*plan.top.order, *extra)
        keys = tuple(by.by for by in order)
        rows = _run(Plan("", plan.subject, tuple(dict.fromkeys((within, *keys)))), draw.catalog)
        if len(set(rows)) == len(rows):
            return replace(plan, top=replace(plan.top, order=order))
    raise Unsuited("a total order within the groups")


def _top(name: str, draw: Draw, within: Ref, by: Ref, count: int, ties: bool) -> Plan:
    select = tuple(dict.fromkeys((within, *draw.labels(), *((by,) if draw.chance(0.7) else ()))))
    plan = Plan(name, draw.subject.name, select, top=Top(count, within, (Order(by, draw.chance(0.7)),), ties))
    return plan if ties else _broken_ties(plan, draw)


def _over_time(name: str, draw: Draw, of: Aggregate, window: Callable[[Ref | Aggregate], Item]) -> Plan:
    """A window over the months or years, or over the single rows in the order of a date."""
    date = _event(draw)
    if of.ref and draw.chance(0.4):
        plan = Plan(name, draw.subject.name, tuple(dict.fromkeys((date, *draw.labels(), of.ref, window(of.ref)))))
        return _settled(replace(plan, order=(Order(date),)), draw, required=True)
    part = DatePart(date, "year" if len({str(v)[:4] for v in draw.catalog.column(date).values}) > 3 else "month")
    if len({str(v)[: 4 if part.part == "year" else 7] for v in draw.catalog.column(date).values}) < 3:
        raise Unsuited("three months or years")
    return Plan(name, draw.subject.name, (part, of, window(of)), group=(part,), order=(Order(part),))
