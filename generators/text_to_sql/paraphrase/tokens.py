"""Text into tokens: words with their stems, numbers and dates however they are written, quoted strings, marks.

"more than 9.9k euros before 1 May 2023"  ->  more than <9900> euros before <2023-05-01>
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

TokenKind = Literal["word", "number", "date", "month", "quote", "mark"]


@dataclass(frozen=True, slots=True)
class Token:
    """`value`: the number, the ISO date or month, or the quoted text. Words and marks have a lemma, which only joins
    plurals, and a stem, which joins more."""

    kind: TokenKind
    text: str
    lower: str
    lemma: str
    stem: str
    value: int | float | str | None = None


_MONTHS = {
    "january": 1, "february": 2, "march": 3, "april": 4, "may": 5, "june": 6, "july": 7, "august": 8, "september": 9,
    "october": 10, "november": 11, "december": 12, "jan": 1, "feb": 2, "mar": 3, "apr": 4, "jun": 6, "jul": 7,
    "aug": 8, "sep": 9, "sept": 9, "oct": 10, "nov": 11, "dec": 12,
}  # fmt: skip
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_PATTERN = re.compile(
    rf"""
      "(?P<double>[^"]*)"
    | (?<!\w)'(?P<single>(?:[^']|'(?=\w))*)'(?!\w)
    | (?P<iso>\d{{4}}-\d{{2}}-\d{{2}})(?:[ T]\d{{2}}:\d{{2}}(?::\d{{2}})?)?
    | (?P<d1>\d{{1,2}})(?:st|nd|rd|th)?(?:\ of)?\ (?P<m1>{_MONTH})\.?,?\ (?P<y1>\d{{4}})\b
    | \b(?P<m2>{_MONTH})\.?\ (?:the\ )?(?P<d2>\d{{1,2}})(?:st|nd|rd|th)?,?\ (?P<y2>\d{{4}})\b
    | (?P<d3>\d{{1,2}})\.(?P<m3>\d{{1,2}})\.(?P<y3>\d{{4}})\b
    | (?P<s1>\d{{1,2}})/(?P<s2>\d{{1,2}})/(?P<y4>\d{{4}})\b
    | (?P<ym>\d{{4}}-(?:0\d|1[0-2]))(?![\d-])
    | \b(?P<m5>{_MONTH})\.?,?\ (?:of\ )?(?P<y5>\d{{4}})\b
    | (?P<number>(?:(?<!\S)-)?\d+(?:,\d{{3}})*(?:\.\d+)?)(?P<scale>\ ?(?:k|thousand|m|million|bn|billion))?(?![\w])
    | (?P<word>\d*[^\W\d_][^\W_]*)
    | (?P<mark>->|>=|<=|<>|!=|[^\w\s]|_)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SCALES = {"k": 1000, "thousand": 1000, "m": 1_000_000, "million": 1_000_000, "bn": 10**9, "billion": 10**9}
_UNITS = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "dozen": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19,
}  # fmt: skip
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
_CONTRACTIONS = re.compile(r"(?i)(?<=[a-z])n['’]t\b")
_CLITICS = re.compile(r"(?i)(?<=\w)['’](?:s|re|ve|d|ll|m)\b")


@lru_cache(maxsize=4096)
def tokenise(text: str) -> tuple[Token, ...]:
    """The tokens of a text, number words already read as numbers."""
    text = re.sub(r"[“”„]", '"', text).replace("‘", "'").replace("’", "'").replace("–", "-").replace("—", " - ")
    text = re.sub(r"(?<=[a-z0-9])\.(?=[a-z])", " ", text)  # doctor.name is the doctor's name
    text = _CLITICS.sub("", _CONTRACTIONS.sub(" not", text).replace("cannot", "can not"))
    return tuple(_spelled([_token(match) for match in _PATTERN.finditer(text)]))


def _token(match: re.Match[str]) -> Token:
    group, text = match.groupdict(), match[0]
    for quote in ("double", "single"):
        if group[quote] is not None:
            inner = group[quote].strip()
            whole = _PATTERN.fullmatch(inner)
            plain = whole and whole.lastgroup not in ("double", "single", "word", "mark")
            return _token(whole) if whole and plain else Token("quote", inner, inner.lower(), "", "", inner)
    if group["iso"]:
        return Token("date", text, text, "", "", group["iso"])
    for day, month, year in (("d1", "m1", "y1"), ("d2", "m2", "y2")):
        if group[year]:
            return _date(text, int(group[year]), _MONTHS[group[month].lower()], int(group[day]))
    if group["y3"]:
        return _date(text, int(group["y3"]), int(group["m3"]), int(group["d3"]))
    if group["y4"]:
        return _slashed(text, int(group["s1"]), int(group["s2"]), int(group["y4"]))
    if group["ym"]:
        return Token("month", text, text, "", "", group["ym"])
    if group["y5"]:
        return Token("month", text, text, "", "", f"{group['y5']}-{_MONTHS[group['m5'].lower()]:02}")
    if group["number"]:
        value = float(group["number"].replace(",", "")) * _SCALES.get((group["scale"] or "").strip().lower(), 1)
        value = round(value, 9)
        return Token("number", text, text, "", "", int(value) if value.is_integer() else value)
    if group["word"]:
        return Token("word", text, text.lower(), lemma(text.lower()), stem(text.lower()))
    return Token("mark", text, text, text, text)


def _date(text: str, year: int, month: int, day: int) -> Token:
    return Token("date", text, text, "", "", f"{year}-{month:02}-{day:02}")


def _slashed(text: str, first: int, second: int, year: int) -> Token:
    """03/04/2024 is two different days on two sides of an ocean: only an unmistakable one counts as a date."""
    if first > 12 or first == second:
        return _date(text, year, second, first)
    if second > 12:
        return _date(text, year, first, second)
    return Token("quote", text, text, "", "", text)


def _spelled(tokens: list[Token]) -> list[Token]:
    """Runs of number words as one number: "two hundred and fifty", "forty-five", "five thousand"."""
    result: list[Token] = []
    place = 0
    while place < len(tokens):
        end, value = _read_number(tokens, place)
        if end > place:
            text = " ".join(token.text for token in tokens[place:end])
            result.append(Token("number", text, text.lower(), "", "", value))
            place = end
        else:
            result.append(tokens[place])
            place += 1
    return result


def _read_number(tokens: list[Token], place: int) -> tuple[int, int]:
    total, part, start = 0, 0, place
    while place < len(tokens):
        word = tokens[place].lower
        if word in _UNITS or word in _TENS:
            part += _UNITS.get(word, 0) + _TENS.get(word, 0)
        elif place > start and word == "hundred":
            part *= 100
        elif place > start and word in ("thousand", "million"):
            total, part = total + part * _SCALES[word], 0
        elif not (place > start and _joins(tokens, place)):
            break
        place += 1
    return place, total + part


def _joins(tokens: list[Token], place: int) -> bool:
    """ "and" after a hundred, a hyphen after a ten, with a number word to follow."""
    following = tokens[place + 1].lower if place + 1 < len(tokens) else ""
    before = tokens[place - 1].lower
    if tokens[place].lower == "and":
        return before in ("hundred", "thousand") and (following in _UNITS or following in _TENS)
    return tokens[place].lower == "-" and before in _TENS and following in _UNITS


# --- stems -----------------------------------------------------------------------------------------------------------

_IRREGULAR = {
    "paid": "pay", "born": "birth", "built": "build", "left": "leave", "sold": "sell", "bought": "buy", "held": "hold",
    "made": "make", "began": "begin", "took": "take", "taken": "take", "given": "give", "gave": "give", "lent": "lend",
    "sent": "send", "found": "find", "has": "have", "had": "have", "note": "note", "notes": "note", "noted": "note",
    "is": "be", "are": "be", "was": "be", "were": "be", "does": "do", "did": "do", "during": "during",
}  # fmt: skip
_PLURALS = {
    "people": "person", "children": "child", "men": "man", "women": "woman", "feet": "foot", "media": "medium",
    "criteria": "criterion", "analyses": "analysis", "diagnoses": "diagnosis", "bases": "basis", "means": "means",
}  # fmt: skip
_SUFFIXES = ("ation", "ment", "ing", "ion", "ure", "ed", "al", "er", "ly", "e", "y", "i")


@lru_cache(maxsize=8192)
def lemma(word: str) -> str:
    """The singular of a plural noun, roughly."""
    if word in _PLURALS:
        return _PLURALS[word]
    if len(word) <= 3 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    return word[:-2] if re.search(r"(ss|x|z|ch|sh|tus|bus|rus|pus|nus)es$", word) else word[:-1]


@lru_cache(maxsize=8192)
def stem(word: str) -> str:
    """A rough stem that joins plurals, verb forms and the commonest nouns made of verbs: departure = departed."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    word = re.sub("mission$", "mit", lemma(word))  # admission = admitted
    for suffix in _SUFFIXES:
        if suffix == "y" and word[-2:-1] in "aeo":
            continue  # stay = stayed
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            word = word[: -len(suffix)]
            if suffix in ("ing", "ed", "er") and len(word) > 3 and word[-1] == word[-2] and word[-1] not in "ls":
                word = word[:-1]
            break
    return word[:-1] if len(word) > 3 and word[-1] in "ei" else word
