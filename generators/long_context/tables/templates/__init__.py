"""The question templates, by family. Each is a function that draws an Ask, or raises Unsuited."""

from generators.long_context.tables.templates.dates import DATES
from generators.long_context.tables.templates.filters import FILTERS, NEGATIONS
from generators.long_context.tables.templates.groups import GROUPS
from generators.long_context.tables.templates.joins import JOINS
from generators.long_context.tables.templates.ranks import COMPARISONS, RANKS
from generators.long_context.tables.templates.registry import Family

FAMILIES: dict[str, Family] = {
    "filter": FILTERS, "join": JOINS, "group": GROUPS, "top": RANKS, "compare": COMPARISONS, "negation": NEGATIONS,
    "date": DATES,
}  # fmt: skip
