"""What a sequential task is made of, before it is spread over a context.

    Step("The Amber fund received 40 crowns.", "the balance rises by 40 to 340")   matters to the question
    Step("The Birch fund received 12 crowns.")                                       a near miss: not in the trace

A task draws a Story from words.yaml: its steps in the order in which a reader meets them, and what is asked. The trace
goes through the steps that matter, from the first to the last, and says after each where things stand.
"""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Protocol

import yaml

from generators.long_context.answers import Value
from schemas import JsonObject


@dataclass(frozen=True, slots=True)
class Step:
    text: str
    note: str = ""
    """What the trace says when it comes to this step; "" for one that doesn't matter."""


@dataclass(frozen=True, slots=True)
class Story:
    """`start` says what the trace keeps track of, `end` what it comes to; `answer` is bare, without a format."""

    steps: list[Step]
    question: str
    answer: Value
    start: str
    end: str
    facts: JsonObject = field(default_factory=dict)


class Task(Protocol):
    """`steps` that matter, and as many near misses."""

    def __call__(self, rng: Random, steps: int) -> Story: ...


@cache
def words() -> dict[str, Any]:
    """The words and sentences of words.yaml."""
    found: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "words.yaml").read_text("utf-8"))
    return found


def interleaved(relevant: list[Step], others: list[Step], rng: Random) -> list[Step]:
    """Both in one order: the steps that matter keep theirs."""
    places = set(rng.sample(range(len(relevant) + len(others)), len(relevant)))
    first, second = iter(relevant), iter(others)
    return [next(first if place in places else second) for place in range(len(relevant) + len(others))]


def listed(parts: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`; `nothing` for none."""
    if len(parts) < 2:
        return parts[0] if parts else "nothing"
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
