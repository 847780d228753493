"""Whether a text gives a name away, token by token, without regard to case and accents.

    mentions("Which LÓDZ school ...", "Łódź")   True          mentions("Portuguese is ...", "Portugal")   False

Names of up to three characters are told apart by case: the country code NO is not the word `no`. C++ is not C.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

_WORD = re.compile(r"[^\W_]+")
_SPECIAL = str.maketrans(
    {
        "+": " plus ",
        "#": " sharp ",
        "ł": "l",
        "đ": "d",
        "ø": "o",
        "ß": "ss",
        "æ": "ae",
        "œ": "oe",
        "þ": "th",
        "ð": "d",
        "ı": "i",
    }
)
STEM = 5
"""Letters that two words share at their beginnings where one hints at the other (Mexico, Mexican)."""


def fold(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.casefold().translate(_SPECIAL))
    return "".join(letter for letter in plain if not unicodedata.combining(letter)).translate(_SPECIAL)


@lru_cache(maxsize=100_000)
def tokens(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(fold(text)))


class Text:
    """A text that is searched for many names."""

    def __init__(self, text: str) -> None:
        self._folded = f" {' '.join(tokens(text))} "
        self._exact = set(re.findall(r"[^\W_]+", unicodedata.normalize("NFC", text)))
        self.stems = {token[:STEM] for token in self._folded.split() if len(token) >= STEM}

    def mentions(self, name: str) -> bool:
        words = tokens(name)
        if not words:
            return bool(name) and name in self._exact
        if len(words) == 1 and len(words[0]) <= 3:
            return name in self._exact
        return f" {' '.join(words)} " in self._folded

    def first_of(self, names: Iterable[str]) -> str:
        """The first name that it gives away, "" where it gives none."""
        return next((name for name in names if self.mentions(name)), "")


def mentions(text: str, name: str) -> bool:
    return Text(text).mentions(name)


def stems(name: str) -> set[str]:
    """The beginnings of a name's longer words."""
    return {token[:STEM] for token in tokens(name) if len(token) >= STEM}
