"""Whether a text tells a fact: as words, or as the same amount. No model is asked.

    is_told(["1250"], "That makes €1,250.00.")               True: the same quantity
    is_told(["5"], "It fell to -5 degrees.")                 False: a sign counts
    is_told(["T4"], "Table T40 it is.")                      False: words are whole
    is_told(["2026-06-01", "June 1"], "until 1 or June 1")   True: one way to write it is enough

Case, spaces and punctuation make no difference.
"""

import re
from collections.abc import Sequence
from unicodedata import normalize

from judges.numbers import parse_quantity, same_quantity

_AMOUNTS = ("", "%", "EUR", "USD", "GBP", "JPY")
_NUMBER = re.compile(r"(?:(?<!\w)[-−])?(?:[$€£¥]\s*)?\d[\d,.]*(?:\s*(?:[€£¥%]|EUR|USD|GBP)(?!\w))?")


def is_told(ways: Sequence[str], said: str) -> bool:
    """Whether one of the ways to write a fact stands in a text."""
    plain = f" {_words(said)} "
    quantities = [parse_quantity(found.rstrip(".,")) for found in _NUMBER.findall(said)]
    for written in ways:
        wanted = parse_quantity(written)
        if wanted is None or wanted.unit not in _AMOUNTS:
            if f" {_words(written)} " in plain:
                return True
        elif any(found is not None and same_quantity(wanted, found) for found in quantities):
            return True
    return False


def _words(text: str) -> str:
    """Its words and numbers, lower case, with single spaces between them."""
    return " ".join(re.findall(r"\w+", normalize("NFC", text).casefold()))
