"""A stage's own responses as its data: the preceding checkpoint answers prompts, and the answers become packs.

The tokens are kept as the model wrote them, never rendered again. Source: Nemotron 3 Super report, section 3.1 (MTP
healing on the model's own responses; budget control, where some traces are cut at a random budget).
"""

from collections.abc import Sequence

import numpy as np


def cut_trace(answer: Sequence[int], think_end: Sequence[int], rng: np.random.Generator) -> list[int]:
    """The answer with its trace cut at a random budget, so that thinking ends early and the same reply follows.

    Unchanged where it has no closed trace of at least two tokens; `think_end` are the tokens of `</think>`.
    """
    closing = next((i for i in range(len(answer)) if tuple(answer[i : i + len(think_end)]) == tuple(think_end)), 0)
    if closing < 2:
        return list(answer)
    budget = int(rng.integers(1, closing))
    return [*answer[:budget], *answer[closing:]]
