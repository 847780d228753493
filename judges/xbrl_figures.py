"""What gives a figure of an answer: a value that rounds to it, an operation on figures before it, or the excerpts.

"fell by 4.2%"   states a growth of -0.0419     rounded as it is, with the sign that the words give it
"$600.2 million" follows from "$1,134.5 million of revenue less $534.3 million"
"""

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction

from judges.figures import Figure, cleaned, figures_in
from judges.xbrl_facts import Measure, Target

FITTING: dict[Measure, set[str]] = {
    "money": {"money", "bare"},
    "shares": {"shares", "bare", "money"},
    "per_share": {"money", "bare"},
    "ratio": {"percent", "times", "bare", "money"},
    "days": {"days", "bare", "times"},
    "number": {"percent", "times", "bare", "days"},
}
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
CHANGE = re.compile(
    rf"{_UP.pattern}|{_DOWN.pattern}"
    r"|\b(?:change[sd]?|difference|differ\w*|moved?|gap|apart|ahead|contribut\w+|versus|vs)\b",
    re.IGNORECASE,
)
_ARITHMETIC = re.compile(
    r"[=+×*÷/≈]|\s[-x]\s|\b(?:divid\w+|minus|less|plus|total\w*|sum|together|differ\w+|ratio|share|of|per|gap|apart"
    rf"|ahead|exceed\w*|average|half|multipl\w+)\b|{CHANGE.pattern}",
    re.IGNORECASE,
)
_CAPTION = re.compile(r"\bin (thousands|millions|billions)\b", re.IGNORECASE)
_POWERS = {"thousands": 3, "millions": 6, "billions": 9}
_WORD = re.compile(r"[a-z]{4,}")
_COMMON = {"with", "from", "that", "this", "were", "have", "total", "fiscal", "year", "years", "ended", "quarter"}
_COMMON |= {"company", "million", "thousand", "billion", "percent", "other", "which", "than", "same", "more"}


def states(figure: Figure, target: Target, sentence: str) -> bool:
    """Whether the figure is a rounding of the value, with the sign that the sentence gives it."""
    if figure.kind not in FITTING[target.measure]:
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


def follows(figure: Figure, sentence: str, before: Sequence[Figure]) -> bool:
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
