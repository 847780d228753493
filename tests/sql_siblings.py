"""Sibling plans: the same question but for exactly one element. What a faithful paraphrase must never turn into."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any, Literal, cast

from generators.text_to_sql.grammar.catalog import Catalog
from generators.text_to_sql.grammar.plan import (
    Aggregate,
    Between,
    Bucket,
    Change,
    Comparison,
    Deviation,
    Filter,
    Function,
    Having,
    HavingMean,
    InPeriod,
    Item,
    Membership,
    Missing,
    Moving,
    Nested,
    Operator,
    Order,
    Partner,
    Pattern,
    Plan,
    Rank,
    Recent,
    Ref,
    Running,
    Share,
    TopGroup,
    VersusAverage,
)

KINDS = ("literal", "column", "aggregate", "direction", "negation", "order", "limit")
_OTHER_DIRECTIONS: dict[Operator, tuple[Operator, ...]] = {
    "gt": ("lt", "ge", "le"),
    "ge": ("le", "gt", "lt"),
    "lt": ("gt", "le", "ge"),
    "le": ("ge", "lt", "gt"),
}


def siblings(plan: Plan, catalog: Catalog, rng: Random) -> Iterator[tuple[str, Plan]]:
    """(kind, sibling): one of each kind that the plan allows, in the order of KINDS."""
    makers = (_literals, _columns, _aggregates, _directions, _negations, _orders, _limits)
    for kind, maker in zip(KINDS, makers, strict=True):
        found = [other for other in maker(plan, catalog, rng) if other != plan]
        if found:
            yield kind, rng.choice(found)


def _with_filter(plan: Plan, place: int, filter_: Filter) -> Plan:
    return replace(plan, filters=(*plan.filters[:place], filter_, *plan.filters[place + 1 :]))


# --- literals --------------------------------------------------------------------------------------------------------


def _literals(plan: Plan, catalog: Catalog, rng: Random) -> Iterator[Plan]:
    for place, filter_ in enumerate(plan.filters):
        for other in _other_literal(filter_, catalog, rng):
            yield _with_filter(plan, place, other)
    if isinstance(plan.having, Having):
        yield replace(plan, having=replace(plan.having, value=plan.having.value + rng.choice((1, 2, 10))))
    for item in plan.select:
        if isinstance(item, Bucket):
            edges = (*item.edges[:-1], item.edges[-1] + rng.choice((1, 5, 100)))
            new = replace(item, edges=edges)
            yield _swap(plan, item, new)
        if isinstance(item, Moving):
            yield _swap(plan, item, replace(item, rows=item.rows + 2))


def _other_literal(filter_: Filter, catalog: Catalog, rng: Random) -> Iterator[Filter]:
    match filter_:
        case Comparison(ref=ref, value=value) if catalog.column(ref).kind != "flag":
            yield replace(filter_, value=_another(value, ref, catalog, rng))
        case Between(ref, low, high):
            yield replace(filter_, low=_another(low, ref, catalog, rng))
            yield replace(filter_, high=_another(high, ref, catalog, rng))
        case Membership(ref, values):
            rest = [v for v in catalog.column(ref).values if v not in values and v is not None]
            if rest:
                yield replace(filter_, values=(rng.choice(rest), *values[1:]))
        case Pattern(text=text):
            yield replace(filter_, text=text + rng.choice("aeiou"))
        case InPeriod(period=int(year)):
            yield replace(filter_, period=year + rng.choice((-1, 1)))
        case InPeriod(period=str(month)):
            yield replace(filter_, period=f"{month[:5]}{int(month[5:]) % 12 + 1:02}")
        case Recent(days=days):
            yield replace(filter_, days=days + rng.choice((1, 5, 15)))
        case Partner(having=Comparison() as having):
            for other in _other_literal(having, catalog, rng):
                yield replace(filter_, having=cast(Comparison, other))


def _another(value: Any, ref: Ref, catalog: Catalog, rng: Random) -> Any:
    if isinstance(value, str):
        day = catalog.column(ref).kind == "date"
        known = {str(v)[:10] if day else v for v in catalog.column(ref).values} - {value}
        return rng.choice(sorted(known, key=str)) if known else f"{value}x"
    return value + rng.choice((1, 2, 10, 100))


# --- columns ---------------------------------------------------------------------------------------------------------


def _columns(plan: Plan, catalog: Catalog, rng: Random) -> Iterator[Plan]:
    """One column in one place: shown, filtered, grouped or ordered by, or aggregated."""
    for place, item in enumerate(plan.select):
        if isinstance(item, Ref) and item not in plan.group and not (plan.top and item == plan.top.within):
            for other in _other_refs(item, catalog, ("category", "measure", "date", "text", "name")):
                if other not in plan.select:
                    yield replace(plan, select=(*plan.select[:place], other, *plan.select[place + 1 :]))
        elif isinstance(item, Aggregate | Share | Running | Change | Moving | Rank | Deviation | Nested):
            for new in _other_column(item, catalog):
                yield _swap(plan, item, new)
    for place, filter_ in enumerate(plan.filters):
        if isinstance(filter_, Comparison | Between | InPeriod | Recent | Missing | VersusAverage):
            for other in _like(filter_.ref, catalog):
                yield _with_filter(plan, place, replace(filter_, ref=other))
    if len(plan.group) == 1 and isinstance(plan.group[0], Ref):
        key = plan.group[0]
        for other in _other_refs(key, catalog, ("category",)):
            yield _swap(plan, key, other)
    if plan.order and isinstance(plan.order[0].by, Ref) and not plan.group:
        for other in _other_refs(plan.order[0].by, catalog, (catalog.column(plan.order[0].by).kind,)):
            yield replace(plan, order=(replace(plan.order[0], by=other), *plan.order[1:]))


def _other_column(item: Item, catalog: Catalog) -> Iterator[Item]:
    match item:
        case Aggregate(ref=Ref() as ref):
            yield from (replace(item, ref=other) for other in _like(ref, catalog))
        case Rank(ref=ref):
            yield from (replace(item, ref=other) for other in _like(ref, catalog))
        case Deviation(ref=ref):
            yield from (replace(item, ref=other) for other in _like(ref, catalog))
        case Share(of=Aggregate(ref=Ref() as ref) as of):
            yield from (replace(item, of=replace(of, ref=other)) for other in _like(ref, catalog))
        case Running(of=Aggregate(ref=Ref() as ref) as of):
            yield from (replace(item, of=replace(of, ref=other)) for other in _like(ref, catalog))
        case Change(of=Aggregate(ref=Ref() as ref) as of):
            yield from (replace(item, of=replace(of, ref=other)) for other in _like(ref, catalog))
        case Moving(of=Aggregate(ref=Ref() as ref) as of):
            yield from (replace(item, of=replace(of, ref=other)) for other in _like(ref, catalog))


def _like(ref: Ref, catalog: Catalog) -> list[Ref]:
    """Other columns of the table that could stand in: of the same kind, and a year only for a year."""
    column = catalog.column(ref)
    return [
        other
        for other in _other_refs(ref, catalog, (column.kind,))
        if (catalog.column(other).unit == "year") == (column.unit == "year")
    ]


def _other_refs(ref: Ref, catalog: Catalog, kinds: tuple[Any, ...]) -> list[Ref]:
    return [other for other in catalog.refs(ref.path, catalog.table(ref.table), *kinds) if other != ref]


def _swap(plan: Plan, old: Any, new: Any) -> Plan:
    """`new` wherever `old` stands in what is shown, grouped, ordered or bounded."""
    return replace(
        plan,
        select=tuple(_inside(item, old, new) for item in plan.select),
        group=tuple(new if key == old else key for key in plan.group),
        order=tuple(replace(order, by=_inside(order.by, old, new)) for order in plan.order),
        having=replace(plan.having, of=new) if plan.having and plan.having.of == old else plan.having,
    )


def _inside(item: Any, old: Any, new: Any) -> Any:
    if item == old:
        return new
    return replace(item, of=new) if getattr(item, "of", None) == old else item


# --- aggregates, directions, negations -------------------------------------------------------------------------------


_FUNCTIONS: tuple[Function, ...] = ("avg", "min", "max", "sum")
_OUTER: tuple[Literal["avg", "min", "max"], ...] = ("avg", "min", "max")


def _aggregates(plan: Plan, catalog: Catalog, rng: Random) -> Iterator[Plan]:
    shown = [item for item in plan.select if isinstance(item, Aggregate)]
    used = {(item.function, item.ref) for item in shown}
    for item in dict.fromkeys([*shown, *([plan.having.of] if plan.having else [])]):
        if item.ref is None or item.function == "count_distinct":
            continue
        for function in _FUNCTIONS:
            fits = function != "sum" or catalog.column(item.ref).additive
            if fits and (function, item.ref) not in used | {(item.function, item.ref)}:
                yield _swap(plan, item, Aggregate(function, item.ref))
    for nested in plan.select:
        if isinstance(nested, Nested):
            yield from (_swap(plan, nested, replace(nested, outer=outer)) for outer in _OUTER)


def _directions(plan: Plan, catalog: Catalog, rng: Random) -> Iterator[Plan]:
    for place, filter_ in enumerate(plan.filters):
        match filter_:
            case Comparison(op=op) if op in _OTHER_DIRECTIONS:
                for other in _OTHER_DIRECTIONS[op]:
                    yield _with_filter(plan, place, replace(filter_, op=other))
            case VersusAverage(op=op):
                yield _with_filter(plan, place, replace(filter_, op="lt" if op == "gt" else "gt"))
            case Partner(having=Comparison(op=op) as having) if op in _OTHER_DIRECTIONS:
                for other in _OTHER_DIRECTIONS[op]:
                    yield _with_filter(plan, place, replace(filter_, having=replace(having, op=other)))
    match plan.having:
        case Having(op=op):
            for other in _OTHER_DIRECTIONS[op]:
                yield replace(plan, having=replace(plan.having, op=other))
        case HavingMean(op=op):
            yield replace(plan, having=replace(plan.having, op="lt" if op == "gt" else "gt"))


def _negations(plan: Plan, catalog: Catalog, rng: Random) -> Iterator[Plan]:
    for place, filter_ in enumerate(plan.filters):
        match filter_:
            case Comparison(ref, op, value) if catalog.column(ref).kind == "flag":
                yield _with_filter(plan, place, replace(filter_, value=1 - int(value)))
            case Comparison(op="eq" | "ne" as op):
                yield _with_filter(plan, place, replace(filter_, op="ne" if op == "eq" else "eq"))
            case (
                Membership(negated=negated)
                | Pattern(negated=negated)
                | Missing(negated=negated)
                | Partner(negated=negated)
            ):
                yield _with_filter(plan, place, replace(filter_, negated=not negated))


# --- order and limit -------------------------------------------------------------------------------------------------


def _orders(plan: Plan, catalog: Catalog, rng: Random) -> Iterator[Plan]:
    for place, order in enumerate(plan.order):
        yield replace(plan, order=(*plan.order[:place], _turned(order), *plan.order[place + 1 :]))
    if plan.top:
        yield replace(plan, top=replace(plan.top, order=(_turned(plan.top.order[0]), *plan.top.order[1:])))
    for item in plan.select:
        if isinstance(item, Rank):
            yield _swap(plan, item, replace(item, descending=not item.descending))
    for place, filter_ in enumerate(plan.filters):
        if isinstance(filter_, TopGroup):
            yield _with_filter(plan, place, replace(filter_, descending=not filter_.descending))


def _turned(order: Order) -> Order:
    return replace(order, descending=not order.descending)


def _limits(plan: Plan, catalog: Catalog, rng: Random) -> Iterator[Plan]:
    if plan.limit is not None:
        yield replace(plan, limit=plan.limit + rng.choice((1, 2, 5)))
        yield replace(plan, limit=None)
    elif plan.order and not plan.union and not any(isinstance(item, Running | Change | Moving) for item in plan.select):
        yield replace(plan, limit=rng.choice((1, 2, 3, 5)))
    if plan.top:
        yield replace(plan, top=replace(plan.top, count=plan.top.count + rng.choice((1, 2))))
