"""Which policy a prompt calls for: rules first, then what the source says together with what the classifiers find.

    1. self-harm always wins: by phrase, by the source's category, or by the classifier
    2. a document or tool result that gives orders to the assistant: ignore_injection
    3. the classifiers' six probabilities, each weighed by how well it goes with the source's annotation
    4. what is below `min_confidence` is undecided: a model is asked where the config names a role, else Reject

Long prompts are read in windows. The first and the last carry the request; harm that stands in a window between them
makes it a request with a harmful part.

Source: Nemotron 3 Super report (arXiv 2604.12374), response policies inferred per prompt from metadata, category and
light classifiers.
"""

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from generators.safety.classifiers import Scores, classify, digest
from generators.safety.policies import POLICIES, PolicyName
from generators.safety.prompt import Prompt
from gristmill import Config, Context
from gristmill.text.unicode import plain

WINDOW = 120  # words
MOST_WINDOWS = 64
SELF_HARM = 0.5
INJECTED = 0.93
"""Of the most suspicious of a document's sentences, of which there are many."""

HIDDEN = 0.3
"""The same for what a comment hides from people."""

CERTAIN = 0.9
"""How sure a window in the middle of a long prompt has to be."""

IN_PASSING = {"supportive_resources": "supportive_resources", "refuse_briefly": "answer_benign_part"}
"""What a window in the middle calls for by itself, and what that makes of the whole."""

_SELF_HARM = re.compile(
    r"\b(?:kill(?:ing)? myself|end(?:ing)? my (?:own )?life|commit(?:ting)? suicide|want(?:ed)? to die|"
    r"suicid(?:al|e note)|(?:hurt|hurting|cut|cutting|harm|harming) myself|take my own life|"
    r"don['’]?t want to (?:live|be alive|wake up))\b"
    r"(?! (?:laughing|of boredom|of embarrassment|of shame|for|shaving))",
    re.IGNORECASE,
)
_OWN_BODY = re.compile(
    r"\b(?:to|do I|can I|could I|should I|of) (?:\w+ )?(?:cut|sever|slit|slash|pierce|carv|stab|scar)\w*\b"
    r"[^.?!\n]{0,30}\bmy (?:own )?(?:\w+ )?(?:wrists?|arter(?:y|ies)|veins?|arms?|thighs?|throat|skin|body)\b",
    re.IGNORECASE,
)
_MARKERS = re.compile(
    r"<\|?/?(?:im_start|im_end|system|assistant|user|endoftext|eot_id|start_header_id)\|?>|\[/?INST\]|<</?SYS>>|"
    r"^\s*#{0,4}\s*(?:system|assistant)\s*(?:prompt|message|override)?\s*:",
    re.IGNORECASE | re.MULTILINE,
)
"""Signs of a turn that a document pretends to be. They are data to us, and a sign of an injection."""
_OVERRIDE = re.compile(
    r"\b(?:ignore|disregard|forget|override)\b[^.!?\n]{0,30}\b(?:previous|prior|earlier|above|all)\b[^.!?\n]{0,20}\b(?:instruction|"
    r"prompt|rule|order|direction)s?\b",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_HIDDEN = re.compile(r"<!--(.*?)-->", re.DOTALL)


class Thresholds(Config):
    """`min_confidence` is the probability that a policy needs; `reliability` is how far an annotation is believed."""

    min_confidence: float = 0.45
    reliability: float = 0.9


class Decision(NamedTuple):
    policy: PolicyName | None
    confidence: float
    by: str
    scores: dict[str, float]


async def infer(prompt: Prompt, thresholds: Thresholds, weights: Path, ctx: Context) -> Decision:
    """The policy; None where the light means can't tell."""
    request: Any = {"text": prompt.asked(), "documents": list(prompt.documents()), "weights": digest(weights)}

    async def perform() -> Any:
        return await asyncio.to_thread(_classified, prompt, weights)

    found: Any = await ctx.effect("classify", request, perform)
    return decide(prompt, found["prompt"], found["injected"], thresholds)


def _classified(prompt: Prompt, weights: Path) -> Any:
    scores, injected = prompt_scores(prompt.asked(), weights), injection(prompt.documents(), weights)
    return {"prompt": {name: round(score, 4) for name, score in scores.items()}, "injected": round(injected, 4)}


def decide(prompt: Prompt, scores: Scores, injected: float, thresholds: Thresholds) -> Decision:
    """The module's docstring, without its fourth step."""
    rounded = {name: round(score, 4) for name, score in scores.items()} | {"injected": injected}
    if prompt.category == "self_harm" and prompt.label != "safe":
        return Decision("supportive_resources", 1.0, "category", rounded)
    asked = plain(prompt.asked())
    if _SELF_HARM.search(asked) or _OWN_BODY.search(asked):
        return Decision("supportive_resources", 1.0, "rule", rounded)
    if scores["supportive_resources"] >= SELF_HARM and prompt.label != "safe":
        return Decision("supportive_resources", scores["supportive_resources"], "classifier", rounded)
    if prompt.annotated() == {"ignore_injection"} or injected >= INJECTED:
        by = "annotation" if injected < INJECTED else "classifier"
        return Decision("ignore_injection", injected if by == "classifier" else thresholds.reliability, by, rounded)
    believed = prompt.annotated()
    weight = {name: _weight(name, believed, thresholds.reliability) for name in scores}
    total = sum(scores[name] * weight[name] for name in scores)
    best = max(scores, key=lambda name: scores[name] * weight[name])
    confidence = round(scores[best] * weight[best] / total, 4)
    policy = next((name for name in POLICIES if name == best), None)
    by = "annotation and classifier" if believed else "classifier"
    return Decision(policy if confidence >= thresholds.min_confidence else None, confidence, by, rounded)


def _weight(name: str, believed: set[PolicyName], reliability: float) -> float:
    if not believed:
        return 1.0
    return reliability / len(believed) if name in believed else (1 - reliability) / (len(POLICIES) - len(believed))


def prompt_scores(text: str, weights: Path) -> Scores:
    """The six probabilities for a request of any length."""
    windows = _windows(plain(text))
    found = classify("prompt", windows, weights)
    ends = [found[0], found[-1]] if len(found) > 1 else found
    mean = {name: sum(scores[name] for scores in ends) / len(ends) for name in found[0]}
    for scores in found[1:-1]:
        for name, turned in IN_PASSING.items():
            if scores[name] >= CERTAIN:
                return {key: float(key == turned) * scores[name] for key in mean}
    return mean


def _windows(text: str) -> list[str]:
    """Stretches of `WINDOW` words; of a very long text as many as `MOST_WINDOWS`, evenly, both ends among them."""
    words = text.split()
    starts = list(range(0, max(len(words), 1), WINDOW))
    if len(starts) > MOST_WINDOWS:
        step = (len(starts) - 1) / (MOST_WINDOWS - 1)
        starts = [starts[round(number * step)] for number in range(MOST_WINDOWS)]
    return [" ".join(words[start : start + WINDOW]) for start in starts]


def injection(documents: Sequence[str], weights: Path) -> float:
    """How likely the documents give orders to the assistant: by sign, else by the classifier's worst sentence."""
    found = 0.0
    for document in documents:
        text = plain(document)
        if _MARKERS.search(text) or _OVERRIDE.search(text):
            return 1.0
        seen, hidden = _HIDDEN.sub("\n", text), "\n".join(_HIDDEN.findall(text))
        if any(scores["injected"] >= HIDDEN for scores in classify("passage", sentences(hidden), weights)):
            return 1.0
        found = max([found, *(scores["injected"] for scores in classify("passage", sentences(seen), weights))])
    return found


def sentences(text: str) -> list[str]:
    """Sentences of three words or more, each at most a window long, evenly thinned where there are too many."""
    short = [" ".join(part.split()[:WINDOW]) for part in _SENTENCE.split(text) if len(part.split()) > 2]
    limit = 8 * MOST_WINDOWS
    return short if len(short) <= limit else [short[number * len(short) // limit] for number in range(limit)]
