"""What concepts share: filters, groups, joins, and orders that are total."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import cast

from generators.text_to_sql.grammar.catalog import Catalog, Unsuited
from generators.text_to_sql.grammar.collation import sort_alike
from generators.text_to_sql.grammar.compile import compile_plan, to_sql
from generators.text_to_sql.grammar.draw import Draw, Path, round_number
from generators.text_to_sql.grammar.plan import (
    Aggregate,
    Comparison,
    DatePart,
    Filter,
    Having,
    Item,
    Key,
    Operator,
    Order,
    Plan,
    Ref,
    Top,
)
from generators.text_to_sql.schema import ForeignKey, Table


def column_of(filter_: Filter) -> Ref:
    return cast(Ref, getattr(filter_, "ref", None))


def filtered(name: str, draw: Draw, filter_: Filter) -> Plan:
    plan = Plan(name, draw.subject.name, draw.outputs(1, 3), filters=(filter_,))
    return perhaps_ordered(plan, draw, 0.25)


def plus(select: tuple[Ref, ...], ref: Ref, draw: Draw, p: float) -> tuple[Ref, ...]:
    return select if ref in select or not draw.chance(p) else (*select, ref)


def aggregates(draw: Draw, count: int) -> tuple[Aggregate, ...]:
    """Different aggregates, of one measure or several."""
    items = dict.fromkeys(draw.aggregate() for _ in range(count * 3))
    return tuple(items)[:count]


def joined(draw: Draw, hops: int) -> tuple[Path, Table]:
    paths = [(path, table) for path, table in draw.catalog.reached(draw.subject, hops) if len(path) == hops]
    return draw.pick(paths, f"a path of {hops} joins")


def entity(table: Table, path: Path, labels: tuple[Ref, ...]) -> tuple[Key, ...]:
    """Group keys for one group per row of `table`: its primary key, and what is shown of it."""
    if len(table.primary_key) != 1:
        raise Unsuited("a primary key of one column")
    return tuple(dict.fromkeys((Ref(path, table.name, table.primary_key[0]), *labels)))


def averageable(draw: Draw) -> Ref:
    ref = draw.measure()
    if draw.catalog.column(ref).unit == "year":
        raise Unsuited("a measure that can be averaged")
    return ref


def event(draw: Draw) -> Ref:
    """A date on which something happened; the birth dates of people make no time line."""
    if draw.subject.person:
        raise Unsuited("a table of events")
    return draw.date()


def with_children(catalog: Catalog, rng: Random, some_without: bool = False) -> tuple[Draw, Table, ForeignKey]:
    """A subject that other rows point to; the draw's witness has none of them where `some_without`."""
    draw = Draw.over(catalog, rng)
    child, key = draw.pick(catalog.database.children(draw.subject.name), "a table that points here")
    if child is draw.subject or not child.rows:
        raise Unsuited("another table that points here")
    if some_without:
        used = set(child.values(key.column))
        place = [column.name for column in draw.subject.columns].index(key.to_column)
        draw.row = draw.pick([row for row in draw.subject.rows if row[place] not in used], "a row without partner")
    return draw, child, key


def child_condition(draw: Draw, child: Table) -> Comparison | None:
    if draw.chance(0.2):
        return None
    over = draw.on(child)
    makers = (over.equal, over.compare, over.flag)
    return draw.rng.choice(makers)(draw.catalog.refs((), child, "category", "measure", "date", "flag"))


def run(plan: Plan, catalog: Catalog) -> list[tuple[object, ...]]:
    return cast(list[tuple[object, ...]], catalog.execute(to_sql(compile_plan(plan, catalog))))


def threshold(plan: Plan, of: Aggregate, draw: Draw) -> Having:
    """A bound that some groups meet and some don't; of sums and averages none that one meets exactly."""
    values = sorted({cast(float, row[0]) for row in run(replace(plan, select=(of,)), draw.catalog)})
    if len(values) < 2:
        raise Unsuited("groups that differ")
    op: Operator = draw.rng.choice(("gt", "gt", "ge", "lt", "le"))
    place = draw.rng.randrange(len(values) - 1)
    low, high = values[place], values[place + 1]
    if isinstance(low, int) and isinstance(high, int):
        bound = high if op in ("ge", "lt") else low
        if bound == 1:
            raise Unsuited("a bound that isn't taken for a limit")
        return Having(of, op, bound)
    middle = (low + high) / 2
    fit = [value for value in (round_number(middle), round(middle, 2)) if low < value < high]
    return Having(of, op, draw.pick(fit, "a bound between two groups"))


def grouped(name: str, draw: Draw, key: Key, items: tuple[Item, ...], order: float = 0.35) -> Plan:
    own = {item.ref for item in items if isinstance(item, Aggregate) and item.ref}
    filters = (draw.filter(avoid=[*own, *([key] if isinstance(key, Ref) else [key.ref])]),) if draw.chance(0.3) else ()
    plan = Plan(name, draw.subject.name, (key, *items), filters=filters, group=(key,))
    return perhaps_ordered(plan, draw, order, by=draw.rng.choice((key, items[-1])))


def perhaps_ordered(plan: Plan, draw: Draw, p: float, by: Item | None = None) -> Plan:
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
    return settled(replace(plan, order=(Order(by, descending),), limit=limit), draw)


def settled(plan: Plan, draw: Draw, required: bool = False) -> Plan:
    """Makes the stated order total: adds a second key where rows tie on the first, or drops order and limit."""
    ties = tie_breakers(plan, draw)
    for order in (plan.order, (*plan.order, *ties)):
        keys = tuple(by.by for by in order)
        probe = replace(
            plan, select=(*keys, *(i for i in plan.select if i not in keys)), order=(), limit=None, offset=0
        )
        rows = [row[: len(keys)] for row in run(probe, draw.catalog)]
        if len(set(rows)) == len(rows) and _sort_alike(rows):
            return replace(plan, order=order)
    if required:
        raise Unsuited("a total order")
    return replace(plan, order=(), limit=None, offset=0)


def _sort_alike(rows: list[tuple[object, ...]]) -> bool:
    """No NULL, and text that no collation would put into another order."""
    if any(None in row for row in rows):
        return False
    columns = [[value for value in column if isinstance(value, str)] for column in zip(*rows, strict=True)]
    return all(map(sort_alike, columns))


def tie_breakers(plan: Plan, draw: Draw) -> tuple[Order, ...]:
    keys = plan.group[-1:] if plan.group else draw.catalog.labels((), draw.subject)[-1:]
    mine = {order.by for order in plan.order}
    return tuple(Order(key) for key in keys if key not in mine)


def broken_ties(plan: Plan, draw: Draw) -> Plan:
    """The same for the order within each group of a Top."""
    assert plan.top
    within = plan.top.within
    for extra in ((), tuple(Order(ref) for ref in draw.labels()[-1:])):
        order = (*plan.top.order, *extra)
        keys = tuple(by.by for by in order)
        rows = run(Plan("", plan.subject, tuple(dict.fromkeys((within, *keys)))), draw.catalog)
        if len(set(rows)) == len(rows) and _sort_alike(rows):
            return replace(plan, top=replace(plan.top, order=order))
    raise Unsuited("a total order within the groups")


def top(name: str, draw: Draw, within: Ref, by: Ref, count: int, ties: bool) -> Plan:
    select = tuple(dict.fromkeys((within, *draw.labels(), *((by,) if draw.chance(0.7) else ()))))
    plan = Plan(name, draw.subject.name, select, top=Top(count, within, (Order(by, draw.chance(0.7)),), ties))
    return plan if ties else broken_ties(plan, draw)


def over_time(name: str, draw: Draw, of: Aggregate, window: Callable[[Ref | Aggregate], Item]) -> Plan:
    """A window over the months or years, or over the single rows in the order of a date."""
    date = event(draw)
    if of.ref and draw.chance(0.4):
        filters = _narrowed(draw, of.ref)
        select = tuple(dict.fromkeys((date, *draw.labels(), of.ref, window(of.ref))))
        plan = Plan(name, draw.subject.name, select, filters=filters)
        return settled(replace(plan, order=(Order(date),)), draw, required=True)
    return by_period(name, draw, date, of, window(of))


def by_period(name: str, draw: Draw, date: Ref, of: Aggregate, window: Item) -> Plan:
    """An aggregate for each month or year, and a window over them."""
    part = DatePart(date, "year" if len({str(v)[:4] for v in draw.catalog.column(date).values}) > 3 else "month")
    if len({str(v)[: 4 if part.part == "year" else 7] for v in draw.catalog.column(date).values}) < 3:
        raise Unsuited("three months or years")
    filters = _narrowed(draw, of.ref)
    plan = Plan(name, draw.subject.name, (part, of, window), filters=filters, group=(part,), order=(Order(part),))
    if filters and len(run(replace(plan, select=(part,)), draw.catalog)) < 3:
        raise Unsuited("three months or years that are left")
    return plan


def _narrowed(draw: Draw, of: Ref | None) -> tuple[Filter, ...]:
    """Now and then only the rows that point to one kind of row."""
    parents = [(path, table) for path, table in draw.catalog.reached(draw.subject, 1) if path]
    if not parents or not draw.chance(0.5):
        return ()
    path, parent = draw.rng.choice(parents)
    return (draw.filter(path, parent, avoid=[of] if of else ()),)
