"""The concepts that the grammar can ask about, in three tiers: one function each, from a draw to a plan.

A concept raises Unsuited where the database (or this draw of it) has nothing of the kind; the sampler then draws again.
"""

from typing import get_args

from generators.text_to_sql.grammar.concepts import advanced, basic, computed, intermediate, relations, summaries
from generators.text_to_sql.grammar.concepts.registry import REGISTRY, Concept, Tier

__all__ = ["CONCEPTS", "Tier", "advanced", "basic", "computed", "intermediate", "relations", "summaries"]

CONCEPTS: dict[str, tuple[Tier, Concept]] = {
    name: (tier, function) for wanted in get_args(Tier) for name, (tier, function) in REGISTRY.items() if tier == wanted
}
