"""What a query leaves out without a word: parents that no row of the subject points to, and months without any row.

"The average number of visits per doctor" is another number if doctors without a visit count as 0. SQL that groups the
visits knows nothing of them, so a question over such groups must say that they don't count. Nor does it know of a month
without visits: LAG looks at the month before in the list, which the question must not call the previous one.
"""

from itertools import pairwise

from generators.text_to_sql.grammar.catalog import Catalog
from generators.text_to_sql.grammar.compile import compile_plan, to_sql
from generators.text_to_sql.grammar.plan import (
    Aggregate,
    BeyondCount,
    Change,
    DatePart,
    Growth,
    HavingMean,
    Moving,
    Nested,
    Order,
    Plan,
    Ref,
)

_OF_NONE = frozenset({"count", "sum"})
"""What gives 0 for no row; the average or the highest of no row is nothing that could be left out."""


def left_out(plan: Plan, catalog: Catalog) -> Ref | None:
    """The key of the parent rows that are counted or totalled one by one, where some of them have no row."""
    for per, of in _totals(plan, catalog):
        if of.function in _OF_NONE and per.path and (plan.filters or not catalog.all_reached(plan.subject, per.path)):
            return per
    return None


def passed_over(plan: Plan, catalog: Catalog) -> DatePart | None:
    """The month or year of which some have no row, where a window goes from one to the one before."""
    part = plan.group[0] if plan.group else None
    if not isinstance(part, DatePart) or not any(isinstance(item, Change | Growth | Moving) for item in plan.select):
        return None
    periods = Plan("", plan.subject, (part,), filters=plan.filters, group=(part,), order=(Order(part),))
    found = [_number(period) for (period,) in catalog.execute(to_sql(compile_plan(periods, catalog), "sqlite"))]
    return part if any(later - earlier > 1 for earlier, later in pairwise(found)) else None


def _number(period: object) -> int:
    """A year as it is; months counted through."""
    year, _, month = str(period).partition("-")
    return int(year) * 12 + int(month) if month else int(year)


def _totals(plan: Plan, catalog: Catalog) -> list[tuple[Ref, Aggregate]]:
    found = [(item.per, item.inner) for item in plan.select if isinstance(item, Nested)]
    found += [(item.per, item.of) for item in plan.select if isinstance(item, BeyondCount)]
    key = plan.group[0] if plan.group and plan.shape == "rows" else None
    if isinstance(key, Ref) and catalog.table(key.table).primary_key == (key.column,):
        found += [(key, item) for item in plan.select if isinstance(item, Aggregate)]
        found += [(key, plan.having.of)] if isinstance(plan.having, HavingMean) else []
    return found
