"""Where each module of concepts enters its own."""

from collections.abc import Callable
from random import Random
from typing import Literal

from generators.text_to_sql.grammar.catalog import Catalog
from generators.text_to_sql.grammar.plan import Plan

Tier = Literal["basic", "intermediate", "advanced"]
Concept = Callable[[Catalog, Random], Plan]
REGISTRY: dict[str, tuple[Tier, Concept]] = {}


def concept(tier: Tier) -> Callable[[Concept], Concept]:
    """Registers the function under its own name, which is also its plans' `concept`."""

    def register(function: Concept) -> Concept:
        REGISTRY[function.__name__] = (tier, function)
        return function

    return register
