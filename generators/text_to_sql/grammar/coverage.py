"""Which rows a total leaves out without a word: parents that no row of the subject points to.

"The average number of visits per doctor" is another number if doctors without a visit count as 0. SQL that groups the
visits knows nothing of them, so a question over such groups must say that they don't count.
"""

from generators.text_to_sql.grammar.catalog import Catalog
from generators.text_to_sql.grammar.plan import Aggregate, BeyondCount, HavingMean, Nested, Plan, Ref

_OF_NONE = frozenset({"count", "sum"})
"""What gives 0 for no row; the average or the highest of no row is nothing that could be left out."""


def left_out(plan: Plan, catalog: Catalog) -> Ref | None:
    """The key of the parent rows that are counted or totalled one by one, where some of them have no row."""
    for per, of in _totals(plan, catalog):
        if of.function in _OF_NONE and per.path and (plan.filters or not catalog.all_reached(plan.subject, per.path)):
            return per
    return None


def _totals(plan: Plan, catalog: Catalog) -> list[tuple[Ref, Aggregate]]:
    found = [(item.per, item.inner) for item in plan.select if isinstance(item, Nested)]
    found += [(item.per, item.of) for item in plan.select if isinstance(item, BeyondCount)]
    key = plan.group[0] if plan.group and plan.shape == "rows" else None
    if isinstance(key, Ref) and catalog.table(key.table).primary_key == (key.column,):
        found += [(key, item) for item in plan.select if isinstance(item, Aggregate)]
        found += [(key, plan.having.of)] if isinstance(plan.having, HavingMean) else []
    return found
