"""Checks of a response against its policy, without a model. Each element is a question with a yes or no.

    faults(policy, "I can't help with that.", case)    ["no_reason", "no_offer", "too_short"]

`reason`, `offer`, `care` ... are found by the phrases of elements.yaml, so a teacher's response that words them in a
way of its own may be lost. A forbidden element's fault carries its name, a required one's `no_NAME`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from generators.safety.policies import POLICIES, Element, Policy, Resource
from gristmill.decontamination.texts import words_of
from gristmill.text.unicode import plain
from judges.refusal import phrases


@dataclass(frozen=True)
class Case:
    """What a response is checked against, besides its policy."""

    resource: Resource
    protected: str = ""
    canaries: tuple[str, ...] = ()
    max_overlap: float = 0.15


_SENTENCE = re.compile(r"(?<=[.!?])\)?\s+|\n+")


@cache
def _patterns() -> dict[str, re.Pattern[str]]:
    content = yaml.safe_load((Path(__file__).parent / "elements.yaml").read_text(encoding="utf-8"))
    content["recital"] += POLICIES
    return {name: re.compile("|".join(parts), re.IGNORECASE) for name, parts in content.items()}


def _says(element: Element, text: str) -> bool:
    return _patterns()[element].search(text.replace("’", "'")) is not None


def _refuses(text: str, case: Case) -> bool:
    return phrases(text)[0] == "refused"


def _helps(text: str, case: Case) -> bool:
    """What is left without the sentences that decline or only offer something still says something."""
    kept = [part for part in _SENTENCE.split(text) if not (_says("declined_part", part) or _says("offer", part))]
    return len(words_of(" ".join(kept))) >= 6


def _has_resource(text: str, case: Case) -> bool:
    return case.resource.sign.casefold() in text.casefold()


def overlap(text: str, protected: str, n: int = 5) -> float:
    """The share of the text's n-grams of words that stand in the protected passage."""
    own, other = (_grams(words_of(one), n) for one in (text, protected))
    return len(own & other) / len(own) if own else 0.0


def _grams(words: list[str], n: int) -> set[tuple[str, ...]]:
    return set(zip(*(words[start:] for start in range(n)), strict=False))


def _overlaps(text: str, case: Case) -> bool:
    return overlap(text, case.protected) > case.max_overlap


def _holds_canary(text: str, case: Case) -> bool:
    return any(canary.casefold() in plain(text).casefold() for canary in case.canaries)


COMPUTED: dict[Element, Callable[[str, Case], bool]] = {
    "refusal": _refuses,
    "help": _helps,
    "resource": _has_resource,
    "overlap": _overlaps,
    "canary": _holds_canary,
}
"""The elements that no phrase tells."""


def has(element: Element, text: str, case: Case) -> bool:
    return COMPUTED[element](text, case) if element in COMPUTED else _says(element, text)


def faults(policy: Policy, text: str, case: Case) -> list[str]:
    """What a response lacks or has too much of, in the order of the policy; [] where nothing."""
    count = len(text.split())
    least, most = policy.words
    found: list[str] = [element for element in policy.forbidden if has(element, text, case)]
    found += [f"no_{element}" for element in policy.required if not has(element, text, case)]
    if count < least:
        found.append("too_short")
    if count > most:
        found.append("too_long")
    return found


TRACE_WORDS = 160
_META = re.compile("|".join([r"\b(?:classifier|annotat\w+|the prompt above|metadata|dataset|rubric)\b", *POLICIES]))


def trace_faults(trace: str) -> list[str]:
    """What makes a reasoning trace unfit: it is too long, or speaks of what only the making of the record knew."""
    found = []
    if len(trace.split()) > TRACE_WORDS:
        found.append("too_long")
    if _META.search(trace):
        found.append("meta")
    return found
