"""Which figures of an answer the tagged facts confirm, which they contradict, and which they say nothing about.

    facts       revenue of fiscal 2024: 1,134,471,000 USD, told in thousands; gross profit ...
    expected    gross margin: 0.471
    answer      "Gross profit of $534.3 million on revenue of $1.13bn: 47.1%."     three figures, all confirmed
                "... on revenue of $1.31bn: 47.1%."                     contradicted: 1.31bn, the facts: 1.13bn

A figure is right where the exact value rounds to it. It may quote a fact, state a result or a value on the way to
it, stand in the excerpts beside the same words, or follow by one operation from figures before it in its sentence.
Where a clause speaks of one metric, one period and one amount, it must be that fact.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from judges.figures import Figure, cleaned, figures_in
from judges.xbrl_facts import Proof, Target, shown
from judges.xbrl_figures import CHANGE, FITTING, Beside, follows, states

_CONSTANTS = {0, 1, 2, 3, 4, 12, 52, 100, 360, 365, 366, 1000, 10_000}
_ROUGHLY = re.compile(
    r"(?:about|around|roughly|approximately|approx\.?|nearly|almost|over|more than|just under|just over|some|close to|~"
    r"|≈|less than|at least|under|above|below)\s*$",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z(*#$•-])|\n+")
_CLAUSE = re.compile(r";|,\s(?:and|while|but|whereas|compared|against|versus)\b|\s(?:against|versus|compared with)\s")


@dataclass(slots=True)
class Findings:
    """Of the figures of an answer, as texts; `contradicted` and `missing` say both figures."""

    confirmed: list[str] = field(default_factory=list)
    contradicted: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


class Sentence(NamedTuple):
    text: str
    figures: list[Figure]


def sentences_of(text: str) -> Iterator[Sentence]:
    for part in _SENTENCE.split(cleaned(text)):
        if part.strip():
            yield Sentence(part, figures_in(part))


def check(answer: str, excerpts: str, proof: Proof) -> Findings:
    """Every figure of the answer, and every result that it must give."""
    findings, sentences = Findings(), list(sentences_of(answer))
    beside = Beside(excerpts)
    before: list[Figure] = []
    for sentence in sentences:
        supported: list[Figure] = []
        for figure in sentence.figures:
            if _constant(figure):
                continue
            if wrong := _bound_elsewhere(figure, sentence, proof):
                findings.contradicted.append(wrong)
            elif _supported(figure, sentence.text, proof, beside) or follows(
                figure, sentence.text, [*before, *supported]
            ):
                supported.append(figure)
                findings.confirmed.append(figure.text)
            elif not _roughly(figure, sentence.text, proof):
                _unsupported(figure, sentence.text, proof, findings)
        before = supported or before
    for target, required in proof.expected:
        if required and not any(states(figure, target, one.text) for one in sentences for figure in one.figures):
            findings.missing.append(_missing(target, [figure for one in sentences for figure in one.figures]))
    return findings


def _missing(target: Target, said: Sequence[Figure]) -> str:
    """With the figure that comes nearest to the one that is missing."""
    amounts = target.measure in ("money", "shares")
    fitting = [
        figure
        for figure in said
        if figure.kind in FITTING[target.measure] and not _constant(figure) and (amounts or not figure.scaled)
    ]
    if not fitting:
        return f"{target.name} of {shown(target)} is not among its figures"
    nearest = min(fitting, key=lambda figure: abs(figure.value - abs(target.value)))
    return f"says {nearest.text}, the facts say {shown(target)} ({target.name})"


def _constant(figure: Figure) -> bool:
    return figure.kind in ("bare", "days", "times") and figure.value in _CONSTANTS and figure.step == 1


def _supported(figure: Figure, sentence: str, proof: Proof, beside: "Beside") -> bool:
    return any(states(figure, target, sentence) for target in proof.targets) or beside.tells(figure, sentence)


def _roughly(figure: Figure, sentence: str, proof: Proof) -> bool:
    """ "About $1 billion" is an approximation of what lies within a tenth; it proves and contradicts nothing."""
    if not _ROUGHLY.search(sentence[: figure.at[0]]) or figure.digits > 2:
        return False
    return any(
        figure.kind in FITTING[target.measure] and abs(figure.value - abs(target.value)) <= abs(target.value) / 10
        for target in proof.targets
    )


def _bound_elsewhere(figure: Figure, sentence: Sentence, proof: Proof) -> str:
    """What contradicts a figure whose clause speaks of one metric, one period and no other amount, and of no change."""
    clause = _clause(sentence.text, figure)
    if figure.kind not in ("money", "shares") or "=" in clause or CHANGE.search(clause):
        return ""
    if len([one for one in figures_in(clause) if one.kind == figure.kind]) != 1:
        return ""
    named = list(_mentions(clause, proof.terms))
    periods = {fact.period for fact in proof.known if re.search(rf"{re.escape(fact.period)}\b", clause)}
    if len(named) != 1 or len(periods) != 1:
        return ""
    everyone = {fact.company for fact in proof.known}
    companies = {one for one in everyone if one in clause} or {one for one in everyone if one in sentence.text}
    facts = [
        fact for fact in proof.known
        if named[0] in fact.names and fact.period in periods and (not companies or fact.company in companies)
    ]  # fmt: skip
    if len({fact.target.value for fact in facts}) != 1:
        return ""
    if any(states(figure, target, sentence.text) for fact in facts for target in fact.targets()):
        return ""
    return f"says {figure.text} for {named[0]} of {facts[0].period}, the facts say {shown(facts[0].target)}"


def _clause(sentence: str, figure: Figure) -> str:
    cuts = [0, *(match.start() for match in _CLAUSE.finditer(sentence)), len(sentence)]
    start = max(cut for cut in cuts if cut <= figure.at[0])
    return sentence[start : min(cut for cut in cuts if cut >= figure.at[1])]


def _mentions(clause: str, terms: Sequence[str]) -> Iterator[str]:
    """Names that stand for themselves, not inside a longer one ("revenue" in "cost of revenue")."""
    rest = clause
    for term in terms:
        for match in re.finditer(rf"(?<![\w-]){re.escape(term)}(?![\w-])", rest, re.IGNORECASE):
            if not re.search(
                r"\b(?:of|on|per|to|in|deferred|cost|other|less|excluding)\s*$", rest[: match.start()], re.IGNORECASE
            ):
                yield term
        rest = re.sub(rf"(?<![\w-]){re.escape(term)}(?![\w-])", "·", rest, flags=re.IGNORECASE)


def _unsupported(figure: Figure, sentence: str, proof: Proof, findings: Findings) -> None:
    """A figure that nothing gives. It contradicts the facts where it is about one of them, or where the question has a
    formula, so that all figures of its answer should be known; else nobody can tell."""
    named = any(re.search(rf"\b{re.escape(term)}\b", sentence, re.IGNORECASE) for term in proof.terms)
    if proof.expected or (named and figure.digits > 1):
        nearest = _nearest(figure, proof)
        findings.contradicted.append(
            f"says {figure.text}, the facts say {nearest}" if nearest else f"says {figure.text}"
        )
    else:
        findings.unknown.append(figure.text)


def _nearest(figure: Figure, proof: Proof) -> str:
    fitting = [target for target in proof.targets if figure.kind in FITTING[target.measure] and target.value]
    if not fitting:
        return ""
    best = min(
        ((abs(figure.value * 10**power / abs(target.value) - 1), target)
         for target in fitting for power in ((0,) if figure.scaled else target.powers)),
        key=lambda pair: pair[0],
    )[1]  # fmt: skip
    return f"{shown(best)} ({best.name})"
