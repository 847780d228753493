"""Where in long contexts the evidence stands: how many pieces lie in each tenth, for each length.

    depths = EvidenceDepths()
    depths.add({"tokens": 32768, "evidence": [812, 1903, 30110]})
    depths.figures()       {"32K": [2, 0, 0, 0, 0, 0, 0, 0, 0, 1]}

A record's `metadata.context` says how many tokens its context has and at which of them each piece of evidence begins. A
length counts under the nearest power of two.

Source: depth × length as in "needle in a haystack", https://github.com/gkamradt/LLMTest_NeedleInAHaystack.
"""

from collections import defaultdict
from collections.abc import Mapping
from math import log2
from typing import Any

DEPTHS = 10


class EvidenceDepths:
    """Counts over records."""

    def __init__(self) -> None:
        self._counts: dict[int, list[int]] = defaultdict(lambda: [0] * DEPTHS)

    def add(self, context: Mapping[str, Any]) -> None:
        """Takes a record's `metadata.context`; what has no tokens, no evidence or no place counts nothing."""
        tokens, evidence = context.get("tokens"), context.get("evidence")
        if not isinstance(tokens, int) or tokens < 1 or not isinstance(evidence, list):
            return
        row = self._counts[round(log2(tokens))]
        for place in evidence:
            if isinstance(place, int) and place >= 0:
                row[min(DEPTHS - 1, DEPTHS * place // tokens)] += 1

    def figures(self) -> dict[str, list[int]]:
        """By length, the shortest first."""
        return {_label(power): self._counts[power] for power in sorted(self._counts)}


def _label(power: int) -> str:
    return str(2**power) if power < 10 else f"{2 ** (power - 10)}K"
