"""Unicode tricks taken out of a text before it is classified; the record keeps the text as it came.

    plain("h\\u043ew d\\u200bo I ｋill it")        "how do I kill it"
    tricks("h\\u043ew d\\u200bo I")               {"homoglyphs": 1, "invisible": 1}

- compatibility forms (full width, ligatures, mathematical letters) become plain letters: NFKC
- invisible characters go: zero-width, soft hyphens, bidirectional controls, variation selectors, other format
  characters; tag characters spell hidden ASCII, so they become it (those of a flag, such as Scotland's, go)
- Cyrillic and Greek letters that look like Latin ones become Latin, in words that mix scripts; a word that is
  Cyrillic throughout is Russian, say, and stays
- piles of accents are thinned to two; vowel signs and points of other scripts are no accents

Source: Unicode Technical Standard 39, Security Mechanisms (https://www.unicode.org/reports/tr39/): confusables,
mixed-script detection; the table is a small part of it.
"""

import re
from unicodedata import category, combining, normalize

_LOOKALIKES = dict(
    zip(
        "АВЕЗІКМНОРСТУХЅЈԛԝаеорсухіѕјһӏԁѵΑΒΕΖΗΙΚΜΝΟΡΤΥΧαενορτυχιɡɩ",
        "ABE3IKMHOPCTYXSJqwaeopcyxisjhldvABEZHIKMNOPTYXaevoptuxigi",
        strict=True,
    )
)
_SMALL_CAPITALS = dict(zip("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ", "abcdefghijklmnoprstuvwyz", strict=True))
_WORD = re.compile(r"\w+")
_BIDI = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_TAGS = range(0xE0020, 0xE007F)
_FLAG = re.compile("(?<=\U0001f3f4)[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f")
_SELECTORS = (range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))
_SPACES = re.compile(r"[ \t\u00a0]+")
MARKS = 2
"""How many accents a letter may carry."""

_ACCENT = 200
"""Canonical combining classes from here on are of marks around a letter; smaller ones belong to a script's spelling."""

IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U000323af"
"""Chinese, Japanese and Korean characters, for a class of a regular expression: nothing divides their words."""


def plain(text: str) -> str:
    """The text as a reader sees it, in plain letters; line breaks stay."""
    return _SPACES.sub(" ", _read(text)[0]).strip()


def tricks(text: str) -> dict[str, int]:
    """How many characters of each kind of trick the text holds; {} for an honest text."""
    return {name: count for name, count in _read(text)[1].items() if count}


def _read(text: str) -> tuple[str, dict[str, int]]:
    if text.isascii():
        return text, {}
    found = dict.fromkeys(("homoglyphs", "invisible", "bidi", "tags", "compatibility", "marks"), 0)
    composed = normalize("NFKC", _FLAG.sub("", text))
    found["compatibility"] = sum(1 for one in text if ord(one) > 0x2000 and _is_styled(one))
    kept: list[str] = []
    marks = 0
    for one in composed:
        if " " <= one <= "~":
            marks = 0
            kept.append(one)
            continue
        code = ord(one)
        marks = marks + (combining(one) >= _ACCENT) if combining(one) else 0
        if code in _TAGS:
            found["tags"] += 1
            kept.append(chr(code - 0xE0000))
        elif one in _BIDI:
            found["bidi"] += 1
        elif any(code in selectors for selectors in _SELECTORS):
            continue  # emoji have them
        elif category(one) in ("Cf", "Cc") and one not in "\n\t\r":
            found["invisible"] += one != "\u200d"  # emoji and Indic scripts join with it
        elif marks > MARKS:
            found["marks"] += 1
        else:
            kept.append(one)

    def latin(word: re.Match[str]) -> str:
        letters = word[0].translate(_TABLE_SMALL)
        mixed = any(letter.isascii() and letter.isalpha() for letter in letters)
        changed = letters.translate(_TABLE) if mixed else letters
        found["homoglyphs"] += sum(one != other for one, other in zip(word[0], changed, strict=True))
        return changed

    return _WORD.sub(latin, "".join(kept)), found


def _is_styled(one: str) -> bool:
    """Whether it is a letter or digit in another dress: mathematical, circled, full width."""
    changed = normalize("NFKC", one)
    return changed != one and changed.isascii() and changed.isalnum()


_TABLE = str.maketrans(_LOOKALIKES)
_TABLE_SMALL = str.maketrans(_SMALL_CAPITALS)
