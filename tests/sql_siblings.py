"""Sibling plans: the same question but for exactly one element. What a faithful paraphrase must never turn into."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any, Literal, cast

from generators.text_to_sql.grammar.catalog import Catalog
from generators.text_to_sql.grammar.plan import (
    Aggregate,
    Arithmetic,
    Beginning,
    Between,
    BeyondCount,
    Bucket,
    Cased,
    Change,
    ChildTotal,
    Combined,
    Comparison,
    Conditional,
    Covers,
    Default,
    Deviation,
    Either,
    Elapsed,
    EndValue,
    Filter,
    Function,
    Growth,
    Having,
    HavingMean,
    InPeriod,
    Item,
    Mapped,
    Median,
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
    Renamed,
    Running,
    Share,
    Shifted,
    TextList,
    Tile,
    TopGroup,
    VersusAverage,
    VersusNamed,
)

KINDS = ("literal", "column", "aggregate", "direction", "negation", "order", "limit", "form")
_OTHER_DIRECTIONS: dict[Operator, tuple[Operator, ...]] = {
    "gt": ("lt", "ge", "le"),
    "ge": ("le", "gt", "lt"),
    "lt": ("gt", "le", "ge"),
    "le": ("ge", "lt", "gt"),
}


def siblings(plan: Plan, catalog: Catalog, rng: Random) -> Iterator[tuple[str, Plan]]:
    """(kind, sibling): one of each kind that the plan allows, in the order of KINDS."""
    makers = (_literals, _columns, _aggregates, _directions, _negations, _orders, _limits, _forms)
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
            yield _swap(plan, item, replace(item, edges=edges))
        for new in _other_numbers(item, catalog, rng):
            yield _swap(plan, item, new)


def _other_numbers(item: Item, catalog: Catalog, rng: Random) -> Iterator[Item]:
    match item:
        case Moving(rows=rows):
            yield replace(item, rows=rows + 2)
        case Beginning(count=count):
            yield replace(item, count=count + rng.choice((1, 2)))
        case Shifted(days=days):
            yield replace(item, days=days + rng.choice((1, 5)) * (1 if days > 0 else -1))
        case Tile(count=count):
            yield replace(item, count=rng.choice([n for n in (2, 3, 4, 5, 10) if n != count]))
        case Default(value=value):
            yield replace(item, value=1 if value == 0 else rng.choice([v for v in ("unknown", "none") if v != value]))
        case Mapped(words=words):
            yield replace(item, words=(*words[1:], words[0]))
            yield replace(item, rest="else")
        case Renamed(name=name):
            yield replace(item, name=f"{name}_{rng.choice('xyz')}")
        case Combined(separator=separator):
            others: list[Literal[" ", ", ", " - "]] = [" ", ", ", " - "]
            yield replace(item, separator=rng.choice([s for s in others if s != separator]))
        case Conditional(condition=condition):
            for other in _other_literal(condition, catalog, rng):
                yield replace(item, condition=cast(Comparison, other))


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
        case VersusNamed(label=label, name=name):
            yield replace(filter_, name=_another(name, label, catalog, rng))
        case Either(first, second):
            yield from (replace(filter_, first=cast(Any, o)) for o in _other_literal(first, catalog, rng))
            yield from (replace(filter_, second=cast(Any, o)) for o in _other_literal(second, catalog, rng))


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
        elif not isinstance(item, Ref):
            for new in _other_column(item, catalog):
                yield _swap(plan, item, new)
    for place, filter_ in enumerate(plan.filters):
        if isinstance(filter_, Covers):
            for name in _siblings_of(filter_.table, filter_.column, catalog):
                yield _with_filter(plan, place, replace(filter_, column=name))
        if isinstance(filter_, Comparison | Between | InPeriod | Recent | Missing | VersusAverage | VersusNamed):
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
        case (
            Rank(ref=ref)
            | Deviation(ref=ref)
            | Tile(ref=ref)
            | EndValue(ref=ref)
            | Cased(ref=ref)
            | Beginning(ref=ref)
            | Default(ref=ref)
            | Shifted(ref=ref)
            | Median(ref=ref)
            | TextList(ref=ref)
            | Renamed(ref=ref)
        ):
            yield from (replace(item, ref=other) for other in _like(ref, catalog))
        case Arithmetic(right=ref) | Combined(right=ref):
            yield from (replace(item, right=other) for other in _like(ref, catalog) if other != item.left)
        case ChildTotal(table=table, column=column):
            yield from (replace(item, column=name) for name in _siblings_of(table, column, catalog))
        case Growth(of=Aggregate(ref=Ref() as ref) as of) | Conditional(of=Aggregate(ref=Ref() as ref) as of):
            yield from (replace(item, of=replace(of, ref=other)) for other in _like(ref, catalog))
        case Share(of=Aggregate(ref=Ref() as ref) as of):
            yield from (replace(item, of=replace(of, ref=other)) for other in _like(ref, catalog))
        case Running(of=Aggregate(ref=Ref() as ref) as of):
            yield from (replace(item, of=replace(of, ref=other)) for other in _like(ref, catalog))
        case Change(of=Aggregate(ref=Ref() as ref) as of):
            yield from (replace(item, of=replace(of, ref=other)) for other in _like(ref, catalog))
        case Moving(of=Aggregate(ref=Ref() as ref) as of):
            yield from (replace(item, of=replace(of, ref=other)) for other in _like(ref, catalog))


def _siblings_of(table: str, column: str, catalog: Catalog) -> list[str]:
    """Other columns of the same kind in a table of related rows."""
    kind = catalog.table(table).column(column).kind
    return [other.name for other in catalog.table(table).of_kind(kind) if other.name != column]


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
            case VersusNamed(op="gt" | "lt" as op):
                yield _with_filter(plan, place, replace(filter_, op="lt" if op == "gt" else "gt"))
    for item in plan.select:
        for new in _turned_item(item):
            yield _swap(plan, item, new)
    match plan.having:
        case Having(op=op):
            for other in _OTHER_DIRECTIONS[op]:
                yield replace(plan, having=replace(plan.having, op=other))
        case HavingMean(op=op):
            yield replace(plan, having=replace(plan.having, op="lt" if op == "gt" else "gt"))


def _turned_item(item: Item) -> Iterator[Item]:
    match item:
        case Arithmetic(left, "minus", right):
            yield replace(item, left=right, right=left)
        case Elapsed(start, end):
            yield replace(item, start=end, end=start)
        case Shifted(days=days):
            yield replace(item, days=-days)
        case Cased(case=case):
            yield replace(item, case="lower" if case == "upper" else "upper")
        case EndValue(last=last):
            yield replace(item, last=not last)
        case BeyondCount(op=op):
            yield replace(item, op="lt" if op == "gt" else "gt")
        case Combined(left, right):
            yield replace(item, left=right, right=left)
        case Conditional(condition=Comparison(op=op) as condition) if op in _OTHER_DIRECTIONS:
            yield from (replace(item, condition=replace(condition, op=o)) for o in _OTHER_DIRECTIONS[op])


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
    if plan.combine != "union":
        yield replace(plan, combine="except" if plan.combine == "intersect" else "intersect")


# --- order and limit -------------------------------------------------------------------------------------------------


def _orders(plan: Plan, catalog: Catalog, rng: Random) -> Iterator[Plan]:
    for place, order in enumerate(plan.order):
        yield replace(plan, order=(*plan.order[:place], _turned(order), *plan.order[place + 1 :]))
    if plan.top:
        yield replace(plan, top=replace(plan.top, order=(_turned(plan.top.order[0]), *plan.top.order[1:])))
    for item in plan.select:
        if isinstance(item, Rank | Tile):
            yield _swap(plan, item, replace(item, descending=not item.descending))
    for place, filter_ in enumerate(plan.filters):
        if isinstance(filter_, TopGroup):
            yield _with_filter(plan, place, replace(filter_, descending=not filter_.descending))


def _turned(order: Order) -> Order:
    return replace(order, descending=not order.descending)


def _limits(plan: Plan, catalog: Catalog, rng: Random) -> Iterator[Plan]:
    if plan.offset:
        yield replace(plan, offset=plan.offset + rng.choice((1, 2)))
        yield replace(plan, offset=0)
    if plan.limit is not None:
        yield replace(plan, limit=plan.limit + rng.choice((1, 2, 5)))
        yield replace(plan, limit=None)
    elif (
        plan.order
        and not plan.union
        and not any(isinstance(item, Running | Change | Growth | Moving) for item in plan.select)
    ):
        yield replace(plan, limit=rng.choice((1, 2, 3, 5)))
    if plan.top:
        yield replace(plan, top=replace(plan.top, count=plan.top.count + rng.choice((1, 2))))


# --- what the query does with its parts ------------------------------------------------------------------------------


def _forms(plan: Plan, catalog: Catalog, rng: Random) -> Iterator[Plan]:
    """And for or, a share for a total, all values for some, groups for what is like groups."""
    for place, filter_ in enumerate(plan.filters):
        match filter_:
            case Either(first, second):
                yield replace(plan, filters=(*plan.filters[:place], first, second, *plan.filters[place + 1 :]))
            case Covers(table, key):
                yield _with_filter(plan, place, Partner(table, key))
    for item in plan.select:
        match item:
            case Growth(of=of):
                yield _swap(plan, item, Change(of))
            case Change(of=Aggregate() as of):
                yield _swap(plan, item, Growth(of, 1))
            case Arithmetic(operator=operator):
                yield _swap(plan, item, replace(item, operator="times" if operator == "minus" else "minus"))
            case Cased(ref=ref) | Beginning(ref=ref) | Default(ref=ref) | Shifted(ref=ref):
                yield _swap(plan, item, ref)
            case Median(ref=ref):
                yield _swap(plan, item, Aggregate("avg", ref))
            case Conditional(of=of, condition=condition) if of in plan.select:
                rest = tuple(other for other in plan.select if other != item)
                yield replace(plan, select=rest, filters=(*plan.filters, condition))
    if plan.shape in ("series", "rollup", "unpivot"):
        yield replace(plan, shape="rows")
    if plan.combine != "union":
        yield replace(plan, combine="union")
