"""Whether a claimed answer is the reference, as far as code can tell: text, number and unit, LaTeX, lists.

    same("3/4", "0.75")           True      same("12 cm", "0.12 m")     True      same("x = 3 or x = 5", "5, 3")   True
    same("3/4", "0.34")           False     same("12 cm", "12 m")       False     same("(1, 2]", "[1, 2]")         False
    same("photosynthesis", "the process by which plants ...")           None: a reader has to tell
    answers("22.5", "22.5 h", "After how many minutes ...?")            False

Cheapest first; `math-verify` sees only what looks like mathematics, for to it "listen" is a product of letters, and the
same as "silent". A reference with decimals is met by what rounds to it.

Source: the answer graders of MATH (arXiv 2103.03874); https://github.com/huggingface/Math-Verify.
"""

import re
from functools import lru_cache

from judges.maths import same_expression
from judges.notation import as_latex, looks_like_maths, plain, quantity, without_gloss
from judges.numbers import Quantity, same_quantity
from judges.votes import normalised

_FORMULA = re.compile(r"(?:[A-Z][a-z]?\d*)+[+-]?")
_INTEGER = re.compile(r"[-+]?(?:\d+|\d{1,3}(?:[, ]\d{3})+)")

_ASKED = re.compile(r"\b(?:how many|in) (?P<unit>[A-Za-zµ°%][\wµ°/²³^]*(?: per [a-z]+)?)", re.IGNORECASE)
_UNITS = {"m", "g", "s", "l", "byte", "%", "N", "J", "W", "V", "A", "Pa", "Hz", "K", "C", "mol", "ohm", "°", "°C", "°F"}
_NUMBERS = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:/\d+)?(?: ?[A-Za-zµ°%][\wµ°/²³^]*)?")
_HEDGED = re.compile(
    r"n't\b|\b(?:not|no|never|least|most|more|less|than|over|under|or|between|if|unless|instead|wrong|earlier|later)\b"
    r"|\d\D* (?:is|are|was|were|would|could)\b",
    re.IGNORECASE,
)
_OF_WHAT = re.compile(r"(?P<said>.*\S) of (?!.*\bper\b)[a-z ]{2,40}")
_TRUTHS = {"yes", "no", "true", "false"}


def answers(reference: str, claim: str, question: str) -> bool | None:
    """`same`, where a number without a unit has the one that the question asks for: after "how many minutes", 22.5 is
    not 22.5 hours, and "They meet after 22.5 minutes" is it. A unit that isn't known decides nothing.
    """
    gold, asked = quantity(plain(reference)), _asked(question)
    if not asked or not gold or gold.unit:
        return same(reference, claim)
    said = _measured(plain(claim))
    if not quantity(said) and len(amounts := _NUMBERS.findall(said)) == 1 and not _HEDGED.search(said):
        said = amounts[0]  # of a whole sentence
    found = quantity(said)
    measured = found is not None and _kind(found.unit) == _kind(_unit(asked))
    return same(f"{reference} {asked}", said) if measured else same(reference, claim)


def _asked(question: str) -> str:
    """The only unit that the question asks for, or ""."""
    asked = {match["unit"] for match in _ASKED.finditer(question) if _kind(_unit(match["unit"]))}
    return asked.pop() if len(asked) == 1 else ""


def _unit(text: str) -> str:
    one = quantity(plain(f"1 {text}"))
    return one.unit if one else ""


def _kind(unit: str) -> str:
    """What is one unit can't be mistaken for what is one per another, and neither for an unknown one."""
    return "per" if "/" in unit else "simple" if unit in _UNITS or (unit[:1] in "kMmµnG" and unit[1:] in _UNITS) else ""


@lru_cache(maxsize=4096)
def same(reference: str, claim: str) -> bool | None:
    """Whether they are the same; None where only a reader can tell. Numbers are never left to a reader."""
    gold, found = plain(reference), _measured(without_gloss(plain(claim), exact="." not in reference))
    if _FORMULA.fullmatch(gold) and _FORMULA.fullmatch(found) and gold.casefold() == found.casefold():
        return gold == found or gold.casefold() in ("no", "yes")  # Co is not CO
    if normalised(gold) == normalised(found) or normalised(reference) == normalised(claim):
        return True
    if _INTEGER.fullmatch(gold) and _INTEGER.fullmatch(found):
        return _digits(gold) == _digits(found)  # no tolerance: 150,000,001 is not 150,000,000
    if normalised(gold) in _TRUTHS and (said := re.match(r"(\w+)[,.;](?!.*\b(?:yes|no|true|false)\b)", found)):
        return normalised(said[1]) == normalised(gold)
    one, other = quantity(gold), quantity(found)
    if one and other:
        return same_quantity(one, other) or _rounds_to(gold, one, other)
    lists = _list(gold), _list(found)
    if any(len(parts) > 1 for parts in lists):
        return _same_lists(*lists)
    if looks_like_maths(gold) and looks_like_maths(found):
        return same_expression(as_latex(gold), as_latex(found))
    if one or other or (looks_like_maths(gold) and not gold.isalpha()):
        return False
    return None


def _measured(text: str) -> str:
    """8 litres of pure water are 8 litres."""
    match = _OF_WHAT.fullmatch(text)
    return match["said"] if match and (one := quantity(match["said"])) and _kind(one.unit) else text


def _digits(text: str) -> int:
    return int(text.replace(",", "").replace(" ", ""))


def _rounds_to(reference: str, gold: Quantity, found: Quantity) -> bool:
    """Whether the found value, rounded as the reference is, gives it: 9.8066 for 9.81, not 7.2 for 7."""
    decimals = re.fullmatch(r"\D{0,2}\d[\d,]*\.(\d+)(?:\s*\D*)", reference)
    if not decimals or (gold.unit and found.unit and gold.unit != found.unit):
        return False
    places = len(decimals[1])
    return places >= 2 and round(found.written, places) == round(gold.written, places)


def _list(text: str) -> list[str]:
    """The parts of an unordered list: of a set, or of several solutions. Pairs and intervals are one part."""
    inner = re.fullmatch(r"\\?\{(.*?)\\?\}", text)
    if inner is None and re.search(r"[()\[\]]", text):
        return [text]
    parts = re.split(r"\s*(?:,|;|\band\b|\bor\b)\s*", inner[1] if inner else re.sub(r"(?<=\d),(?=\d{3}\b)", "", text))
    return [plain(part) for part in parts if part]


def _same_lists(gold: list[str], found: list[str]) -> bool | None:
    """Each part has its equal; None where parts are words, for "iron, and some nickel" is no list."""
    if not all(quantity(part) or looks_like_maths(part) for part in (*gold, *found)):
        return sorted(map(normalised, gold)) == sorted(map(normalised, found)) or None
    left = list(found)
    for part in gold:
        match = next((other for other in left if same(part, other)), None)
        if match is None:
            return False
        left.remove(match)
    return not left
