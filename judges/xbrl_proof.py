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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from itertools import permutations
from typing import Any, Literal, NamedTuple, Self

from judges.figures import Figure, cleaned, figures_in

Measure = Literal["money", "shares", "per_share", "ratio", "days", "number"]

_UNITS: dict[str, Measure] = {
    "percent": "ratio",
    "points": "ratio",
    "times": "ratio",
    "dollars": "ratio",
    "days": "days",
    "money": "money",
    "per_share": "per_share",
    "number": "number",
    "shares": "shares",
}
_FITTING: dict[Measure, set[str]] = {
    "money": {"money", "bare"},
    "shares": {"shares", "bare", "money"},
    "per_share": {"money", "bare"},
    "ratio": {"percent", "times", "bare", "money"},
    "days": {"days", "bare", "times"},
    "number": {"percent", "times", "bare", "days"},
}
_CONSTANTS = {0, 1, 2, 3, 4, 12, 52, 100, 360, 365, 366, 1000, 10_000}
_SLACK = Fraction(1, 2000)
"""Of a derived value: what rounding of its inputs may make."""

_UP = re.compile(
    r"\b(?:rose|rise[sn]?|rising|increas\w+|gr[eo]w\w*|growth|gain\w*|improv\w+|higher|up|expan\w+|widen\w*|climb\w*"
    r"|strengthen\w*|jump\w*|added|more)\b",
    re.IGNORECASE,
)
_DOWN = re.compile(
    r"\b(?:fell|fall\w*|decreas\w+|declin\w+|dropp?\w*|shr[aiu]nk\w*|contract(?:ed|ion|ing)|lower|down|los[ts]\w*"
    r"|reduc\w+|worsen\w*|narrow\w*|slipp?\w*|weaken\w*|less|fewer|below|negative|deficit|outflow|used|shortfall"
    r"|net cash|surplus|minus|consum\w+)\b",
    re.IGNORECASE,
)
_CHANGE = re.compile(
    rf"{_UP.pattern}|{_DOWN.pattern}"
    r"|\b(?:change[sd]?|difference|differ\w*|moved?|gap|apart|ahead|contribut\w+|versus|vs)\b",
    re.IGNORECASE,
)
_ROUGHLY = re.compile(
    r"(?:about|around|roughly|approximately|approx\.?|nearly|almost|over|more than|just under|just over|some|close to|~"
    r"|≈|less than|at least|under|above|below)\s*$",
    re.IGNORECASE,
)
_ARITHMETIC = re.compile(
    r"[=+×*÷/≈]|\s[-x]\s|\b(?:divid\w+|minus|less|plus|total\w*|sum|together|differ\w+|ratio|share|of|per|gap|apart"
    rf"|ahead|exceed\w*|average|half|multipl\w+)\b|{_CHANGE.pattern}",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z(*#$•-])|\n+")
_CLAUSE = re.compile(r";|,\s(?:and|while|but|whereas|compared|against|versus)\b|\s(?:against|versus|compared with)\s")
_CAPTION = re.compile(r"\bin (thousands|millions|billions)\b", re.IGNORECASE)
_POWERS = {"thousands": 3, "millions": 6, "billions": 9}
_WORD = re.compile(r"[a-z]{4,}")
_COMMON = {"with", "from", "that", "this", "were", "have", "total", "fiscal", "year", "years", "ended", "quarter"}
_COMMON |= {"company", "million", "thousand", "billion", "percent", "other", "which", "than", "same", "more"}


class Target(NamedTuple):
    """A value that a figure may state. `powers` are the scales in which it may stand without a word for the scale."""

    name: str
    value: Fraction
    measure: Measure
    powers: tuple[int, ...] = (0,)
    derived: bool = True
    change: bool = False


class Known(NamedTuple):
    """A fact: what it is called, whose and of which period it is, its value, and those that a restatement replaced."""

    names: tuple[str, ...]
    company: str
    period: str
    end: str
    target: Target
    others: tuple[Target, ...]

    def targets(self) -> tuple[Target, ...]:
        return self.target, *self.others


@dataclass(slots=True)
class Findings:
    """Of the figures of an answer, as texts; `contradicted` and `missing` say both figures."""

    confirmed: list[str] = field(default_factory=list)
    contradicted: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


class Proof:
    """What a record's metadata say about its figures; see `read`."""

    def __init__(self, known: list[Known], derived: list[Target], expected: list[tuple[Target, bool]]) -> None:
        self.known, self.derived, self.expected = known, derived, expected

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Self:
        """From {facts: [{names, company, period, value, unit, decimals, otherwise}], derived: [[value, dimension]],
        expected: [{name, value, unit, required}]}. ValueError, KeyError or TypeError where it is anything else."""
        known = [_known(row) for row in told["facts"]]
        powers = tuple(sorted({power for fact in known for power in fact.target.powers} | {0}))
        derived = [
            Target("a value on the way", Fraction(value), _UNITS[dimension], powers)
            for value, dimension in told["derived"]
        ]
        expected = [
            (Target(row["name"], Fraction(row["value"]), _UNITS[row["unit"]], powers,
                    change=bool(re.match(r"(?:compound )?growth|change", row["name"]))), bool(row["required"]))
            for row in told["expected"]
        ]  # fmt: skip
        return cls(known, derived, expected)

    @cached_property
    def targets(self) -> list[Target]:
        """All that a figure may state: results, facts, what lies on the way, and how a fact changed between periods."""
        return [
            *(target for target, _ in self.expected),
            *(target for fact in self.known for target in fact.targets()),
            *self.derived,
            *_changes(self.known),
        ]

    @cached_property
    def terms(self) -> list[str]:
        """Names of facts and results, the longest first."""
        names = {name for fact in self.known for name in fact.names} | {target.name for target, _ in self.expected}
        return sorted(names, key=lambda name: (-len(name), name))


def _changes(known: list[Known]) -> Iterator[Target]:
    """Differences and growth between the periods of one fact."""
    for one, other in permutations(known, 2):
        same = (one.company, one.names[0]) == (other.company, other.names[0])
        if same and one.end > other.end and other.target.value > 0:
            change = one.target.value - other.target.value
            yield Target(f"change of {one.names[0]}", change, one.target.measure, one.target.powers, change=True)
            yield Target(f"growth of {one.names[0]}", change / other.target.value, "ratio", change=True)


def _known(row: Mapping[str, Any]) -> Known:
    measure: Measure = "shares" if row["unit"] == "shares" else "per_share" if "/" in row["unit"] else "money"
    if row["unit"] == "pure":
        measure = "ratio"
    decimals = row.get("decimals")
    scale = -decimals // 3 * 3 if isinstance(decimals, int) and decimals < 0 else 0
    powers = (0,) if scale == 0 else (0, scale) if scale == 3 else (0, 3, scale)
    values = [row["value"], *row.get("otherwise", [])]
    names = tuple(name for name in (*row["names"], row.get("row", "")) if name)
    first, *others = (Target(names[0], Fraction(value), measure, powers, derived=False) for value in values)
    return Known(names, row["company"], row["period"], row.get("end", ""), first, tuple(others))


# --- one figure and one value ----------------------------------------------------------------------------------------


def states(figure: Figure, target: Target, sentence: str) -> bool:
    """Whether the figure is a rounding of the value, with the sign that the sentence gives it."""
    if figure.kind not in _FITTING[target.measure]:
        return False
    powers = (0,) if figure.scaled or target.measure in ("ratio", "number", "days", "per_share") else target.powers
    factors = [Fraction(10) ** power for power in powers]
    if target.measure in ("ratio", "number") and figure.kind == "bare":
        factors.append(Fraction(1, 100))
    return any(_rounds(figure, target, factor) for factor in factors) and _signs_agree(figure, target, sentence)


def _rounds(figure: Figure, target: Target, factor: Fraction) -> bool:
    exact, step = abs(target.value), figure.step * factor
    allowed = step / 2 + (exact * _SLACK if target.derived else 0)
    if not target.derived and step > exact / 2 and figure.value * factor != exact:
        return False
    return abs(figure.value * factor - exact) <= allowed


def _signs_agree(figure: Figure, target: Target, sentence: str) -> bool:
    up, down = bool(_UP.search(sentence)), bool(_DOWN.search(sentence))
    if target.value == 0:
        return True
    if figure.sign == -1:
        return target.value < 0 or down
    if figure.sign == 1:
        return target.value > 0
    if target.change:
        return not (up and not down) if target.value < 0 else not (down and not up)
    return target.value > 0 or figure.sign is None or down or target.derived


# --- all figures of an answer ----------------------------------------------------------------------------------------


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
            elif _supported(figure, sentence.text, proof, beside) or _follows(
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
        if figure.kind in _FITTING[target.measure] and not _constant(figure) and (amounts or not figure.scaled)
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
        figure.kind in _FITTING[target.measure] and abs(figure.value - abs(target.value)) <= abs(target.value) / 10
        for target in proof.targets
    )


def _bound_elsewhere(figure: Figure, sentence: Sentence, proof: Proof) -> str:
    """What contradicts a figure whose clause speaks of one metric, one period and no other amount, and of no change."""
    clause = _clause(sentence.text, figure)
    if figure.kind not in ("money", "shares") or "=" in clause or _CHANGE.search(clause):
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


def _follows(figure: Figure, sentence: str, before: Sequence[Figure]) -> bool:
    """Whether one operation on two earlier figures, or their sum, gives it, where the sentence speaks of one."""
    if len(before) < 2 or not _ARITHMETIC.search(sentence):
        return False
    if any(abs(figure.value - value) <= figure.step / 2 + error for value, error in _results(before)):
        return True
    total = sum((one.value for one in before), Fraction(0))
    return len(before) > 2 and abs(figure.value - total) <= figure.step / 2 + sum(one.step for one in before) / 2


def _results(before: Sequence[Figure]) -> Iterator[tuple[Fraction, Fraction]]:
    """What two figures give, and how far their rounding may carry it."""
    for one in before:
        for other in before:
            if one is other:
                continue
            a, b, half = one.value, other.value, (one.step + other.step) / 2
            yield abs(a - b), half
            yield a + b, half
            if b:
                relative = one.step / 2 / b + a * other.step / 2 / b**2
                yield a / b, relative
                yield abs(a - b) / b, relative
                yield 100 * a / b, 100 * relative
            yield a * b, a * other.step / 2 + b * one.step / 2


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
    fitting = [target for target in proof.targets if figure.kind in _FITTING[target.measure] and target.value]
    if not fitting:
        return ""
    best = min(
        ((abs(figure.value * 10**power / abs(target.value) - 1), target)
         for target in fitting for power in ((0,) if figure.scaled else target.powers)),
        key=lambda pair: pair[0],
    )[1]  # fmt: skip
    return f"{shown(best)} ({best.name})"


def shown(target: Target) -> str:
    value = float(target.value)
    if target.measure in ("ratio", "number"):
        return f"{100 * value:.2f}% = {value:.4f}"
    return f"{value:,.2f}".rstrip("0").rstrip(".")


class Beside:
    """The figures of the excerpts, and the words that stand beside each of them. A caption such as "(In thousands)"
    tells the scale of the tables that follow.
    """

    def __init__(self, excerpts: str) -> None:
        self._lines: list[tuple[set[str], list[Figure], tuple[int, ...]]] = []
        powers: tuple[int, ...] = (0, 3, 6)
        for line in excerpts.splitlines():
            if caption := _CAPTION.search(line):
                powers = (0, _POWERS[caption[1].lower()])
            if line.startswith("#"):
                powers = (0, 3, 6)
            if figures := figures_in(cleaned(line)):
                self._lines.append((_words(line.split("|")[1] if line.startswith("|") else line), figures, powers))

    def tells(self, figure: Figure, sentence: str) -> bool:
        """Whether a line that shares a word with the sentence has the figure."""
        words, down = _words(sentence), bool(_DOWN.search(sentence))
        near = (line for line in self._lines if words & line[0])
        return any(
            _same(figure, told, powers)
            for _, figures, powers in near
            for told in figures
            if figure.sign != -1 or told.sign != 0 or down  # a minus that the excerpts don't have
        )


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower())) - _COMMON


def _same(figure: Figure, told: Figure, powers: tuple[int, ...]) -> bool:
    if figure.kind != told.kind and (figure.digits < 2 or "percent" in (figure.kind, told.kind)):
        return False
    scales = (0,) if told.scaled or told.kind == "percent" else powers[1:] if figure.scaled else powers
    return any(
        abs(figure.value - told.value * 10**power) <= (figure.step / 2 if figure.step > told.step * 10**power else 0)
        for power in scales
    )
