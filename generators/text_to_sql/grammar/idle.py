"""Does every part of a query do something? Plans that ask for less, and signs that a result has nothing to show.

    cinemas in Germany or in Berlin           "or in Berlin" adds no row
    urgency LIKE 'planned%'                   an equality, if every such urgency is "planned"
    the average number of bills per site      no average, if every site has one bill

Such a query runs and is right, but teaches that a condition, a step or a group doesn't matter.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from generators.text_to_sql.grammar.catalog import Catalog, Row
from generators.text_to_sql.grammar.compile import compile_plan, to_sql
from generators.text_to_sql.grammar.plan import (
    Aggregate,
    Bucket,
    Comparison,
    Conditional,
    Default,
    Deviation,
    Either,
    EndValue,
    Filter,
    Item,
    Mapped,
    Nested,
    Partner,
    Pattern,
    Plan,
    Rank,
    Recent,
    Ref,
    TextList,
)
from judges.sql_world import comparable


def is_idle(plan: Plan, sql: str, catalog: Catalog) -> bool:
    """The rows of `sql`, which the plan is in SQLite, show nothing, or are the same without one of its parts."""
    rows = catalog.execute(sql)
    if _shows_nothing(plan, rows):
        return True
    found = Counter(comparable(rows))
    simpler = (to_sql(compile_plan(less, catalog), "sqlite") for less in _simpler(plan))
    return any(found == Counter(comparable(catalog.execute(less))) for less in simpler)


# --- what shows in the rows ------------------------------------------------------------------------------------------


def _shows_nothing(plan: Plan, rows: Sequence[Row]) -> bool:
    """No row, one row of zeros, one group where groups are compared, or a computed column that is empty or constant."""
    if not any(value is not None for row in rows for value in row) or (len(rows) == 1 and not any(rows[0])):
        return True
    groups = len(rows) - (plan.shape == "rollup")
    if plan.group and plan.shape in ("rows", "rollup") and not (plan.having or plan.limit) and groups == 1:
        return True
    if plan.top and plan.top.within in plan.select:
        place = plan.select.index(plan.top.within)
        if len({row[place] for row in rows}) == 1:
            return True
    if plan.shape not in ("rows", "rollup"):
        return False
    columns = zip(plan.select, zip(*rows, strict=True), strict=True)
    return any(_is_flat(item, values) for item, values in columns if not isinstance(item, Ref))


def _is_flat(item: Item, values: Sequence[object]) -> bool:
    match item:
        case Mapped() | Bucket() | Rank():
            return len(values) > 1 and len(set(values)) == 1
        case Nested(inner=Aggregate("count")):
            return set(values) == {1}
        case _:
            return not any(values)


# --- what can be left out --------------------------------------------------------------------------------------------


def _simpler(plan: Plan) -> Iterator[Plan]:
    """Plans with one part less, whose rows must differ from the plan's own."""
    for place, filter_ in enumerate(plan.filters):
        for less in (None, *_weaker(filter_)):
            others = () if less is None else (less,)
            yield replace(plan, filters=(*plan.filters[:place], *others, *plan.filters[place + 1 :]))
    for place, item in enumerate(plan.select):
        if plain := _plainer(item):
            yield replace(plan, select=(*plan.select[:place], plain, *plan.select[place + 1 :]))
    if plan.union:
        yield replace(plan, union=None)
        if plan.combine != "except":
            yield plan.union
    if plan.having:
        yield replace(plan, having=None)
    if plan.top:
        yield replace(plan, top=None)
    if plan.limit:
        yield replace(plan, limit=None, offset=0)
    if plan.distinct:
        yield replace(plan, distinct=False)


def _weaker(filter_: Filter) -> Iterator[Filter]:
    """Conditions that ask for less than this one, or say it in a simpler way."""
    match filter_:
        case Either(first, second):
            yield from (first, second)
        case Pattern(ref, _, text, negated):
            yield Comparison(ref, "ne" if negated else "eq", text)
        case Recent():
            yield replace(filter_, days=0)
        case Partner(having=having) if having:
            yield replace(filter_, having=None)


def _plainer(item: Item) -> Item | None:
    """What would show the same if the item had nothing to do."""
    match item:
        case Aggregate("count_distinct"):
            return Aggregate("count")
        case Conditional(of=of):
            return of
        case TextList(ref):
            return Aggregate("max", ref)
        case Nested(outer=outer, inner=Aggregate(ref=Ref() as ref)):
            return Aggregate(outer, ref)
        case Default(ref=ref) | EndValue(ref=ref):
            return ref
        case Rank(within=Ref()) | Deviation(within=Ref()):
            return replace(item, within=None)
    return None
