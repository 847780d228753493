"""Orders planted in the slots of AgentDojo's documents, each with a canary; other prompts pass through."""

from collections.abc import Iterable, Iterator
from random import Random
from typing import Any

from generators.safety.prompt import Prompt
from generators.safety.sources import fill
from generators.safety.synthetic import data
from gristmill.seeds import BadSeed
from gristmill.walk import rounds


def planted(prompts: Iterable[Prompt | BadSeed], seed: int) -> Iterator[Prompt | BadSeed]:
    """Of each prompt with slots one more, whose slots hold an order."""
    rng = Random(f"{seed}|planted")
    orders, canaries = rounds(data("documents")["orders"], rng), rounds(data("documents")["canaries"], rng)
    for prompt in prompts:
        yield prompt
        if isinstance(prompt, Prompt) and "template" in prompt.material:
            material: Any = prompt.material
            canary = next(canaries)
            order = fill(next(orders), {"canary": canary})
            document = fill(material["template"], dict.fromkeys(material["slots"], order))
            yield prompt.model_copy(
                update={
                    "text": prompt.text.replace(prompt.documents_in[0], document),
                    "documents_in": [document],
                    "canaries": [canary],
                    "category": "injection",
                    "policy": "ignore_injection",
                }
            )
