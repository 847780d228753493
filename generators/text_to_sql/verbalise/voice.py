"""One speaker for one question: picks surface forms in a register, and writes every literal the same way throughout.

A literal is kept aside while the sentence is put together and goes in last, so no tidying can touch it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Literal, get_args

import yaml

from generators.text_to_sql.schema import Column
from generators.text_to_sql.verbalise import words

Instruction = Literal["imperative", "declarative", "interrogative", "contextual", "abbreviated"]
Register = Literal["formal", "conversational", "technical", "academic", "direct"]
Politeness = Literal[0, 1, 2, 3]

PHRASES: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "phrases.yaml").read_text("utf-8"))

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}")
_KEPT = re.compile("\ue000(\\d+)\ue001")


@dataclass(frozen=True, slots=True)
class Style:
    """How a question is put: the form of the request, its register, and politeness from 0 (blunt) to 3."""

    instruction: Instruction = "imperative"
    register: Register = "direct"
    politeness: Politeness = 1

    @staticmethod
    def draw(rng: Random) -> "Style":
        """Any style, all equally likely."""
        return Style(
            rng.choice(get_args(Instruction)), rng.choice(get_args(Register)), rng.choice(get_args(Politeness))
        )


@cache
def _options(path: str, register: str) -> tuple[str, ...]:
    node: Any = PHRASES
    for step in path.split("."):
        node = node[int(step) if step.isdigit() else step]
    if isinstance(node, Mapping):
        own = node.get(register, ())
        return (*node.get("any", ()), *own, *own)
    return tuple(node)


class Voice:
    """Draws the forms of one question from `rng`."""

    def __init__(self, style: Style, rng: Random) -> None:
        self.style, self.rng = style, rng
        terse = style.register == "technical" or style.instruction == "abbreviated"
        self.mark = rng.choice(("'", "'", '"'))
        self.dates: words.DateStyle = "iso" if terse or self.chance(0.35) else rng.choice(("day_month", "month_day"))
        self.numbers: words.NumberStyle = "plain" if terse and self.chance(0.6) else "grouped"
        self.symbols = self.chance(0.35)
        self.oxford = self.chance(0.4)
        self.bare = self.chance(0.4)
        self.code = style.register == "technical" and self.chance(0.4)
        self._kept: list[str] = []

    def chance(self, p: float) -> bool:
        return self.rng.random() < p

    def options(self, key: str) -> tuple[str, ...]:
        return _options(key, self.style.register)

    def has(self, key: str) -> bool:
        try:
            return bool(self.options(key))
        except KeyError:
            return False

    def pick(self, key: str) -> str:
        """One template under the dotted `key`, its choices made, its slots still open."""
        return self.choose(self.rng.choice(self.options(key)))

    def choose(self, template: str) -> str:
        while "[" in template:
            template = _CHOICE.sub(lambda match: self.rng.choice(match[1].split("|")), template)
        return template

    def say(self, key: str, /, **slots: str) -> str:
        return fill(self.pick(key), slots)

    # --- literals ---

    def keep(self, text: str) -> str:
        """A stand-in for a literal, until `finish`."""
        self._kept.append(text)
        return f"\ue000{len(self._kept) - 1}\ue001"

    def value(self, value: int | float | str, column: Column | None = None, unit: bool = True) -> str:
        """A literal as this speaker writes it: quoted text, a date, or a number with its unit."""
        if column and column.kind == "date" and isinstance(value, str):
            return self.keep(words.day(value, self.dates))
        if isinstance(value, str):
            proper = len(value) > 3 and value.istitle() and value.replace(" ", "").isalpha() and self.bare
            return self.keep(value if proper else words.quoted(value, self.mark))
        if column is None or column.kind != "measure":
            return self.keep(words.number(value, "plain"))
        said = column.unit is not None and words.names_unit(column.words, column.unit)
        kept_unit = column.unit if column.unit == "year" or (unit and not said) else None
        return self.keep(words.quantity(value, kept_unit, self.numbers, self.symbols))

    def count(self, value: int) -> str:
        """A small number in a sentence: "three" or "3"."""
        return self.keep(
            words.spelled(value) if self.style.instruction != "abbreviated" and value <= 10 else str(value)
        )

    def listed(self, parts: list[str], last: str = "and") -> str:
        return words.listed(parts, last, self.oxford)

    def finish(self, text: str, full: bool = True) -> str:
        """Tidy spaces and marks, capital and full stop where `full`, then the literals."""
        text = words.sentence(text) if full else words.tidy(text)
        return _KEPT.sub(lambda match: self._kept[int(match[1])], text)


def fill(template: str, slots: Mapping[str, str]) -> str:
    """Each {slot} once; what comes in is not looked at again."""
    return _SLOT.sub(lambda match: slots[match[1]], template)
