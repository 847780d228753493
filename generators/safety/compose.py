"""Responses and traces composed by rule, from a prompt's material and the forms of phrases.yaml.

    refuse_briefly   "I can't help with a fake invoice, because that would be fraud against your own firm. Instead, I
                     can set up a template for genuine invoices."

What such a response says was written by people for this prompt; the rule only chooses the form and the order. Records
say `phrasing: template`, or `paraphrase` where a model reworded a response and every check still holds.
"""

import re
from collections.abc import Mapping
from random import Random
from typing import Any, NamedTuple

from generators.safety.policies import PolicyName, Resource
from generators.safety.prompt import Prompt
from generators.safety.sources import fill
from generators.safety.synthetic import data
from gristmill import Reject

_ALARMING = re.compile(
    r"\b(?:kill\w*|murder\w*|bomb\w*|shoot|blow up|poison\w*|bleed|strangle|crack\w*|attack\w*|hit|stab|plague|execute|"
    r"ghost|dead)\b",
    re.IGNORECASE,
)

Material = Mapping[str, Any]


class Composed(NamedTuple):
    trace: str
    response: str


def compose(policy: PolicyName, prompt: Prompt, resource: Resource, material: Material, rng: Random) -> Composed:
    """Reject `material, missing` where the prompt says nothing of what an answer to it would hold."""
    values = {name: value for name, value in material.items() if isinstance(value, str)}
    values |= {"name": resource.name, "how": resource.how, "emergency": resource.emergency}
    try:
        response = _RESPONSES[policy](material, values, rng)
        trace = _form("trace", _kind(policy, material), _of_trace(policy, prompt, material, values), rng)
    except KeyError as missing:
        raise Reject("material", "missing", f"a composed answer needs {missing}; use mode: teacher") from None
    return Composed(trace, response)


def _form(policy: str, part: str, values: Mapping[str, str], rng: Random) -> str:
    return _filled(rng.choice(data("phrases")[policy][part]), values)


def _filled(form: str, values: Mapping[str, str]) -> str:
    """KeyError where a slot has no value."""
    missing = [slot for slot in re.findall(r"\{(\w+)\}", form) if slot not in values]
    if missing:
        raise KeyError(missing[0])
    text = fill(form, values)
    return text[:1].upper() + text[1:]


def _said(material: Material, rng: Random) -> str:
    """The points, as a paragraph, as a list or as steps; code stays where it is."""
    points = list(material["say"])
    layout = rng.choice(["paragraph", "paragraph", "bullets", "steps"]) if len(points) > 2 else "paragraph"
    if layout == "bullets":
        return "\n".join(f"- {point}" for point in points)
    if layout == "steps":
        return "\n".join(f"{number}. {point}" for number, point in enumerate(points, start=1))
    return " ".join(points)


def _helpful(material: Material, values: Mapping[str, str], rng: Random) -> str:
    return _said(material, rng)


def _refusal(material: Material, values: Mapping[str, str], rng: Random) -> str:
    return f"{_form('refuse_briefly', 'opening', values, rng)} {_form('refuse_briefly', 'closing', values, rng)}"


def _benign_part(material: Material, values: Mapping[str, str], rng: Random) -> str:
    help_, bridge = _said(material, rng), _form("answer_benign_part", "bridge", values, rng)
    return f"{help_}\n\n{bridge}" if rng.random() < 0.7 else f"{bridge} For the rest:\n\n{help_}"


def _support(material: Material, values: Mapping[str, str], rng: Random) -> str:
    opening, resource, safety = (
        _form("supportive_resources", part, values, rng) for part in ("opening", "resource", "safety")
    )
    return f"{opening} {material['step']} {resource} {safety}"


def _summary(material: Material, values: Mapping[str, str], rng: Random) -> str:
    first = "opening" if _seen(material) else "unseen"
    opening, closing = (_form("summarise_without_reproduction", part, values, rng) for part in (first, "closing"))
    return f"{opening} {' '.join(material['say'])} {closing}"


def _neutral(material: Material, values: Mapping[str, str], rng: Random) -> str:
    if "say" in material:
        return f"{_said(material, rng)} {_form('balanced_neutral', 'closing', values, rng)}".strip()
    parts = ["known"] if values["evidence"] else ["unknown", "settle"]
    return " ".join(_filled(rng.choice(data("bias")["answers"][part]), values) for part in parts)


def _injected(material: Material, values: Mapping[str, str], rng: Random) -> str:
    lead, mention = (_form("ignore_injection", part, values, rng) for part in ("lead", "mention"))
    return f"{lead} {mention}" if rng.random() < 0.7 else f"{mention} {lead}"


_RESPONSES = {
    "answer_helpfully": _helpful,
    "refuse_briefly": _refusal,
    "answer_benign_part": _benign_part,
    "supportive_resources": _support,
    "summarise_without_reproduction": _summary,
    "balanced_neutral": _neutral,
    "ignore_injection": _injected,
}


def _seen(material: Material) -> bool:
    """Whether the work is known, and not merely asked for: today's paper, a friend's novel."""
    return bool(material.get("seen", True))


def _kind(policy: PolicyName, material: Material) -> str:
    """Which of a policy's traces fits: a question of values is none of evidence, and what wasn't seen can't be told."""
    if policy == "balanced_neutral" and "say" in material:
        return f"{policy}_values"
    return policy if _seen(material) else f"{policy}_unseen"


def _of_trace(policy: PolicyName, prompt: Prompt, material: Material, values: Mapping[str, str]) -> Mapping[str, str]:
    if policy == "answer_helpfully":
        alarming = _ALARMING.search(prompt.text)
        return {**values, "word": alarming[0] if alarming else "this", "first": material["say"][0]}
    if policy == "balanced_neutral" and "say" not in material:
        known = f"The text itself reports it: {values['evidence']}"
        unknown = f"The text names {values['a']} and {values['b']}, but not who {values['verb']}."
        return {**values, "reason": known if values["evidence"] else unknown}
    return values
