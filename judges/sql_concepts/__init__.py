"""What a query shows: 90 concepts of SQL in three tiers, each with a check on the parsed query.

    CONCEPTS["anti_join"].phrase
    "rows without a match: a LEFT JOIN and a test for NULL on its right side"
    shows("anti_join", parse_one("SELECT name FROM customer LEFT JOIN purchase ...", dialect="postgres"), "postgres")
    True

A check looks for the construction that carries the concept, wherever it stands in the query, and accepts the usual ways
to write it. It knows no schema: columns without their table's name count as columns of any table, so a tree that
went through `sqlglot.optimizer.qualify` is judged more sharply. `examples.yaml` has for each concept a query that shows
it and a near miss, per dialect where they differ; both run on `examples.sql`.

Source: Nemotron 3 Super report (arXiv 2604.12374), §3.1.1 (SQL): 90 concept buckets, from SELECT to recursive CTEs,
window functions and geospatial queries.
"""

from typing import get_args

from sqlglot import exp

from judges.sql_concepts import advanced, basic, intermediate, joins, windows
from judges.sql_concepts.registry import DIALECTS, REGISTRY, Concept, Tier
from judges.sql_world import Dialect

__all__ = ["CONCEPTS", "DIALECTS", "TIERS", "Concept", "Tier", "shows"]
__all__ += ["advanced", "basic", "intermediate", "joins", "windows"]  # each enters its own concepts

TIERS: tuple[Tier, ...] = get_args(Tier)

CONCEPTS: dict[str, Concept] = {
    name: concept for tier in TIERS for name, concept in REGISTRY.items() if concept.tier == tier
}


def shows(concept: str, tree: exp.Expr, dialect: Dialect) -> bool:
    """Whether the query uses the concept; False where the dialect doesn't have it. KeyError for an unknown concept."""
    known = CONCEPTS[concept]
    return dialect in known.dialects and known.check(tree)
