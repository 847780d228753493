"""Numbers and expressions in one notation, of the many in which people and models write them.

    plain("$x = 12\\text{ cm}$")        "12 cm"         quantity("three quarters")        0.75
    plain("about 5½")                  "5 1/2"         quantity("3.2 × 10^{-4} m")       0.00032 m

Source: how answers are written in MATH (arXiv 2103.03874) and by chat models.
"""

import re
import unicodedata

from judges.numbers import Quantity, parse_quantity

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
_GLOSS = re.compile(r"(?P<said>.*\S) \((?P<gloss>(?!.*\b(?:or|and|not|mod|if|except|only)\b)[^()]*)\)")
_OF_THE = re.compile(r"(?<=[\w}]) of (?:the|them|it|all|his|her|their)\b(?!.*\b(?:is|are|was|left)\b)[^\d=]*$")
_VARIABLE = re.compile(r"\d(?:[abceiknpqrtuvwxyz]| [inxyz])$")
_FUNCTIONS = {
    "sin", "cos", "tan", "sec", "csc", "cot", "log", "ln", "exp", "sqrt", "pi", "arcsin", "arccos", "arctan", "sinh",
    "cosh", "tanh", "frac", "tfrac", "dfrac", "cdot", "times", "left", "right", "infty", "theta", "alpha", "beta",
    "binom", "mod", "pm", "cup", "cap", "in", "leq", "geq", "le", "ge", "lt", "gt", "neq",
}  # fmt: skip
_GIANT = re.compile(r"\^[\s{(]*\d+[\s{()}]*\^|\^[\s{(]*\d{4,}|\d{4,}\s*!")
"""Towers of powers, huge powers and factorials: to evaluate them takes longer than anybody has."""
_VULGAR = {"½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8"}
_UNITS = {
    "newton": "N", "joule": "J", "watt": "W", "volt": "V", "ampere": "A", "amp": "A", "pascal": "Pa", "hertz": "Hz",
    "kelvin": "K", "coulomb": "C", "mole": "mol", "ohm": "ohm", "° ?celsius": "°C", "° ?fahrenheit": "°F",
    "square met(?:er|re)": "m2", "square centimet(?:er|re)": "cm2", "square kilomet(?:er|re)": "km2",
    "cubic met(?:er|re)": "m3", "cubic centimet(?:er|re)": "cm3",
    "met(?:er|re)s?/s": "m/s", "kilomet(?:er|re)s?/h": "km/h",
}  # fmt: skip
_NAMED_UNIT = re.compile("|".join(rf"(?<=[\d ])(?P<u{n}>{name})s?$" for n, name in enumerate(_UNITS)), re.IGNORECASE)
_LEAD = re.compile(
    r"^(?:approximately|approx\.?|about|roughly|around|exactly|equal to|equals|it is|it's|\\approx|≈|~|=)\s*",
    re.IGNORECASE,
)
_ASSIGNED = re.compile(r"^\\?[A-Za-z](?:\([a-z]\)|_\{?\w+\}?)?\s*(?:=|≈|\\approx)\s*(?=\S)")


def plain(text: str) -> str:
    """The text without LaTeX's dress, the name before an equals sign and words such as "about"."""
    text = unicodedata.normalize("NFC", text).strip()
    text = re.sub(r"\\(?:text|mathrm|mathbf|textbf|operatorname)\s*\{([^{}]*)\}", r" \1 ", text)
    text = re.sub(r"(?<=[A-Za-z]) +\^", "^", text)  # \text{m/s}^2
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
    text = " ".join(text.replace("Ω", " ohm").replace("\\Omega", " ohm").split())
    return _NAMED_UNIT.sub(lambda match: list(_UNITS.values())[int((match.lastgroup or "u0")[1:])], text)


def without_gloss(text: str, exact: bool) -> str:
    """Oxygen (O2) is oxygen; of 2\\sqrt{5} ≈ 4.47 one side counts: the exact one, or that with decimals."""
    exactly, _, roughly = re.sub(r"\\approx", "≈", text).partition("≈")
    text = (exactly if exact or not exactly.strip() else roughly).strip() if roughly else text
    text = _OF_THE.sub("", text)
    glossed = _GLOSS.fullmatch(text)
    if glossed and (parse_quantity(glossed["said"]) or not looks_like_maths(glossed["said"])):
        return glossed["said"]
    return text


def as_latex(text: str) -> str:
    """What is written as in a program: 5*pi, sqrt(3)."""
    text = re.sub(r"(?<![\\A-Za-z])sqrt\(([^()]*)\)", r"\\sqrt{\1}", text).replace("*", r" \cdot ")
    return re.sub(r"(?<![\\A-Za-z])(pi|sin|cos|tan|ln|log)(?![A-Za-z])", r"\\\1", text)


def quantity(text: str) -> Quantity | None:
    """The number with its unit that the whole of a plain text is; None where it is anything else."""
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
        return f"1/{_FRACTION_WORDS[rest.lower()]}" if head.lower() == "a" and rest.lower() in _FRACTION_WORDS else text
    if rest.lower() in _FRACTION_WORDS:
        return f"{number}/{_FRACTION_WORDS[rest.lower()]}"
    return f"{number} {rest}".strip()


def looks_like_maths(text: str) -> bool:
    """Whether it is an expression: no words but the names of functions, something besides letters, no giants."""
    if _GIANT.search(text) or ":" in text or text[-1:] in tuple("+-*/=^"):  # a ratio is no quotient, 5+ no 5
        return False
    words = re.findall(r"[A-Za-z]{2,}", text)
    if any(word.lower() not in _FUNCTIONS and (len(word) > 2 or word.isupper()) for word in words):
        return False
    return len(text) == 1 or bool(re.search(r"[\d+*/^=<>\\()\[\]-]", text))
