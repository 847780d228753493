"""Many wordings from one line.

    vary("[How many|What number of] notes [report|mention] a leak?", rng)     "What number of notes report a leak?"

Brackets hold alternatives, divided by bars; they may be nested, and an alternative may be empty. Slots in braces are
filled before or afterwards with `str.format`.
"""

import re
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import yaml

_CHOICE = re.compile(r"\[([^\[\]]*\|[^\[\]]*)\]")
_SPACES = re.compile(r" {2,}| (?=[,;:?]|\.(?!\.))")
ASIDE_SHARE = 0.7


@cache
def wordings() -> dict[str, Any]:
    """What wording.yaml holds."""
    found: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "wording.yaml").read_text("utf-8"))
    return found


def vary(text: str, rng: Random) -> str:
    """One of the wordings; brackets without a bar stay."""
    while (found := _CHOICE.search(text)) is not None:
        text = text[: found.start()] + rng.choice(found[1].split("|")) + text[found.end() :]
    return _SPACES.sub(lambda gap: " " if gap[0] != " " else "", text).strip()


def asked(question: str, instruction: str, rng: Random) -> str:
    """A question as somebody asks it: perhaps with a remark before it, and the format before or after it."""
    parts = [question, instruction] if rng.random() < 0.75 else [instruction, question]
    if rng.random() < ASIDE_SHARE:
        stock = wordings()
        names = {slot: rng.choice(stock[slot]) for slot in ("who", "where", "when", "paper")}
        parts.insert(0, vary(rng.choice(stock["asides"]), rng).format(**names))
    return " ".join(part[0].upper() + part[1:] for part in parts)
