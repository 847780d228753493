"""Whether a claimed answer is the reference, as far as code can tell: text, number and unit, LaTeX, lists.

    same("3/4", "0.75")           True      same("12 cm", "0.12 m")     True      same("x = 3 or x = 5", "5, 3")   True
    same("3/4", "0.34")           False     same("12 cm", "12 m")       False     same("(1, 2]", "[1, 2]")         False
    same("photosynthesis", "the process by which plants ...")           None: a reader has to tell

Cheapest first; `math-verify` sees only what looks like mathematics, for to it "listen" is a product of letters, and the
same as "silent". A reference with decimals is met by what rounds to it.

Source: the answer graders of MATH (arXiv 2103.03874); https://github.com/huggingface/Math-Verify.
"""

import re
import unicodedata
from functools import lru_cache

from judges.maths import same_expression
from judges.numbers import Quantity, parse_quantity, same_quantity
from judges.votes import normalised

_ONES = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_NUMBER_WORDS = {
    **{word: n for n, word in enumerate(_ONES)},
    **{ten: 10 * n for n, ten in enumerate(_TENS, start=2)},
    **{f"{ten}-{one}": 10 * n + m for n, ten in enumerate(_TENS, start=2) for m, one in enumerate(_ONES[:10]) if m},
}
_FRACTION_WORDS = {"half": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "fifth": 5, "fifths": 5}

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_FUNCTIONS = {
    "sin", "cos", "tan", "sec", "csc", "cot", "log", "ln", "exp", "sqrt", "pi", "arcsin", "arccos", "arctan", "sinh",
    "cosh", "tanh", "frac", "tfrac", "dfrac", "cdot", "times", "left", "right", "infty", "theta", "alpha", "beta",
    "binom", "mod", "pm", "cup", "cap", "in", "leq", "geq", "le", "ge", "lt", "gt", "neq",
}  # fmt: skip
_FORMULA = re.compile(r"(?:[A-Z][a-z]?\d*)+[+-]?")
_INTEGER = re.compile(r"[-+]?(?:\d+|\d{1,3}(?:[, ]\d{3})+)")
_OF_THE = re.compile(r"(?<=[\w}]) of (?:the|them|it|all|his|her|their)\b(?!.*\b(?:is|are|was|left)\b)[^\d=]*$")
_TRUTHS = {"yes", "no", "true", "false"}
_CHANGING = {"bc", "bce", "dozen", "dozens", "score", "squared", "cubed", "factorial", "times", "halves", "thirds"}
"""What may stand after a number like a unit, and makes it another number."""
_GIANT = re.compile(r"\^[\s{(]*\d+[\s{()}]*\^|\^[\s{(]*\d{4,}|\d{4,}\s*!")
"""Towers of powers, huge powers and factorials: to evaluate them takes longer than anybody has."""
_VARIABLE = re.compile(r"\d[abceiknpqrtuvwxyz]$")
_GLOSS = re.compile(r"(?P<said>.*\S) \((?P<gloss>(?!.*\b(?:or|and|not|mod|if|except|only)\b)[^()]*)\)")
_VULGAR = {"½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8"}
_LEAD = re.compile(
    r"^(?:approximately|approx\.?|about|roughly|around|exactly|equal to|equals|it is|it's|\\approx|≈|~|=)\s*",
    re.IGNORECASE,
)
_ASSIGNED = re.compile(r"^\\?[A-Za-z](?:\([a-z]\)|_\{?\w+\}?)?\s*(?:=|≈|\\approx)\s*(?=\S)")


@lru_cache(maxsize=4096)
def same(reference: str, claim: str) -> bool | None:
    """Whether they are the same; None where only a reader can tell. Numbers are never left to a reader."""
    gold, found = plain(reference), _without_gloss(plain(claim), exact="." not in reference)
    if _FORMULA.fullmatch(gold) and _FORMULA.fullmatch(found) and gold.casefold() == found.casefold():
        return gold == found or gold.casefold() in ("no", "yes")  # Co is not CO
    if normalised(gold) == normalised(found) or normalised(reference) == normalised(claim):
        return True
    if _INTEGER.fullmatch(gold) and _INTEGER.fullmatch(found):
        return _digits(gold) == _digits(found)  # no tolerance: 150,000,001 is not 150,000,000
    if normalised(gold) in _TRUTHS and (said := re.match(r"(\w+)[,.;](?!.*\b(?:yes|no|true|false)\b)", found)):
        return normalised(said[1]) == normalised(gold)
    one, other = _quantity(gold), _quantity(found)
    if one and other:
        if one.unit != other.unit and {one.unit.lower(), other.unit.lower()} & _CHANGING:
            return False
        return same_quantity(one, other) or _rounds_to(gold, one, other)
    lists = _list(gold), _list(found)
    if any(len(parts) > 1 for parts in lists):
        return _same_lists(*lists)
    if looks_like_maths(gold) and looks_like_maths(found):
        return same_expression(_as_latex(gold), _as_latex(found))
    if one or other or (looks_like_maths(gold) and not gold.isalpha()):
        return False
    return None


def plain(text: str) -> str:
    """The text without LaTeX's dress, the name before an equals sign and words such as "about"."""
    text = unicodedata.normalize("NFC", text).strip()
    text = re.sub(r"\\(?:text|mathrm|mathbf|textbf|operatorname)\s*\{([^{}]*)\}", r" \1 ", text)
    text = re.sub(r"\\\(|\\\)|\\\[|\\\]|\\left|\\right|\\displaystyle", "", text).replace("\\$", "¤")
    text = text.replace("$", "" if text.count("$") % 2 == 0 else "$").replace("¤", "$")
    text = re.sub(r"\\[,;:! ]|~", " ", text).replace("{,}", ",").replace("\\%", "%").replace("−", "-")
    text = re.sub(r"\^\s*\{?\\circ\}?|\\degree|\bdegrees?\b", "°", text).replace(" °", "°")
    text = re.sub(r"[⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+", lambda m: f"^{{{m[0].translate(_SUPERSCRIPTS)}}}", text)
    text = re.sub(r"\bper hour\b", "/h", re.sub(r"\bper second\b", "/s", text)).replace(" /", "/")
    text = re.sub(r"∞|\binfinity\b", r"\\infty", text)
    for sign, fraction in _VULGAR.items():
        text = text.replace(sign, f" {fraction}")
    text = text.replace("**", "").replace("`", "").strip().rstrip(".").strip()
    for _ in range(2):
        text = _ASSIGNED.sub("", _LEAD.sub("", text).strip())
    return " ".join(text.split())


def _digits(text: str) -> int:
    return int(text.replace(",", "").replace(" ", ""))


def _without_gloss(text: str, exact: bool) -> str:
    """Oxygen (O2) is oxygen; of 2\\sqrt{5} ≈ 4.47 one side counts: the exact one, or that with decimals."""
    exactly, _, roughly = re.sub(r"\\approx", "≈", text).partition("≈")
    text = (exactly if exact or not exactly.strip() else roughly).strip() if roughly else text
    text = _OF_THE.sub("", text)
    glossed = _GLOSS.fullmatch(text)
    if glossed and (parse_quantity(glossed["said"]) or not looks_like_maths(glossed["said"])):
        return glossed["said"]
    return text


def _as_latex(text: str) -> str:
    """What is written as in a program: 5*pi, sqrt(3)."""
    text = re.sub(r"(?<![\\A-Za-z])sqrt\(([^()]*)\)", r"\\sqrt{\1}", text).replace("*", r" \cdot ")
    return re.sub(r"(?<![\\A-Za-z])(pi|sin|cos|tan|ln|log)(?![A-Za-z])", r"\\\1", text)


def _quantity(text: str) -> Quantity | None:
    text = _powers_of_ten(_mixed(_words(text)))
    text = re.sub(r"\\[dt]?frac(\d)(\d)", r"\1/\2", text)
    if match := re.fullmatch(r"(-?)\s*\\[dt]?frac\s*\{(-?[\d.]+)\}\s*\{([\d.]+)\}\s*(.*)", text):
        sign = "-" if (match[1] == "-") != match[2].startswith("-") else ""
        text = f"{sign}{match[2].lstrip('-')}/{match[3]} {match[4]}".strip()
    text = re.sub(r"(?<=[A-Za-z])\^\{?([23])\}?$", r"\1", text)  # m^2 is a unit, 10^2 is none
    return None if _VARIABLE.search(text) else parse_quantity(text)


def _mixed(text: str) -> str:
    """2 1/2 is 5/2."""
    text = re.sub(r"^(-?\d+)\s*\\[dt]?frac\s*\{(\d+)\}\s*\{(\d+)\}", r"\1 \2/\3", text)
    match = re.match(r"(-?)(\d+)[ ]+(?:and[ ]+)?(\d+)/(\d+)(?=\s|$|[A-Za-z])", text)
    if not match:
        return text
    whole, over, under = int(match[2]), int(match[3]), int(match[4])
    return f"{match[1]}{whole * under + over}/{under}{text[match.end() :]}"


def _powers_of_ten(text: str) -> str:
    """3.2 \\times 10^{-4} is 3.2e-4."""
    return re.sub(r"\s*(?:\\times|\\cdot|×|·|\*|x)\s*10\s*\^\s*\{?\s*(-?\d{1,3})\s*\}?", r"e\1", text)


def _words(text: str) -> str:
    """Small numbers and simple fractions in words."""
    if text.lower().startswith("minus "):
        return f"-{_words(text[6:])}"
    head, _, rest = text.partition(" ")
    number = _NUMBER_WORDS.get(head.lower())
    if number is None:
        return (
            f"1/{_FRACTION_WORDS[rest.lower()]}" if head.lower() in ("a",) and rest.lower() in _FRACTION_WORDS else text
        )
    if rest.lower() in _FRACTION_WORDS:
        return f"{number}/{_FRACTION_WORDS[rest.lower()]}"
    return f"{number} {rest}".strip()


def _rounds_to(reference: str, gold: Quantity, found: Quantity) -> bool:
    """Whether the found value, rounded as the reference is, gives it: 9.8066 for 9.81, not 7.2 for 7."""
    decimals = re.fullmatch(r"\D{0,2}\d[\d,]*\.(\d+)(?:\s*\D*)", reference)
    if not decimals or (gold.unit and found.unit and gold.unit != found.unit):
        return False
    places = len(decimals[1])
    return places > 0 and round(found.written, places) == round(gold.written, places) and places >= 2


def _list(text: str) -> list[str]:
    """The parts of an unordered list: of a set, or of several solutions. Pairs and intervals are one part."""
    inner = re.fullmatch(r"\\?\{(.*?)\\?\}", text)
    if inner is None and re.search(r"[()\[\]]", text):
        return [text]
    parts = re.split(r"\s*(?:,|;|\band\b|\bor\b)\s*", inner[1] if inner else re.sub(r"(?<=\d),(?=\d{3}\b)", "", text))
    return [plain(part) for part in parts if part]


def _same_lists(gold: list[str], found: list[str]) -> bool | None:
    """Each part has its equal; None where parts are words, for "iron, and some nickel" is no list."""
    if not all(_quantity(part) or looks_like_maths(part) for part in (*gold, *found)):
        return sorted(map(normalised, gold)) == sorted(map(normalised, found)) or None
    left = list(found)
    for part in gold:
        match = next((other for other in left if same(part, other)), None)
        if match is None:
            return False
        left.remove(match)
    return not left


def looks_like_maths(text: str) -> bool:
    """Whether it is an expression: no words but the names of functions, something besides letters, no giants."""
    if _GIANT.search(text) or ":" in text:  # a ratio is no quotient
        return False
    words = re.findall(r"[A-Za-z]{2,}", text)
    if any(word.lower() not in _FUNCTIONS and (len(word) > 2 or word.isupper()) for word in words):
        return False
    return len(text) == 1 or bool(re.search(r"[\d+*/^=<>\\()\[\]-]", text))
