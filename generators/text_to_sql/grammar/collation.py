"""Text that every engine treats alike, whatever its collation.

SQLite compares bytes, and LIKE ignores the case of ASCII letters; PostgreSQL goes by the locale, and LIKE minds case;
MySQL's collations ignore case and accents in both. So an order or a pattern is only asked for where none of this
matters: a question doesn't say whether "Émile" comes after "Zoé", or whether 'an' is to be found in "Anna".
"""

import unicodedata
from collections.abc import Callable, Iterable
from itertools import pairwise


def sort_alike(values: Iterable[str]) -> bool:
    """The order is the same by bytes, without case and accents, and by letters and digits alone."""
    binary = sorted(set(values))
    return all(_sorted_strictly([fold(value) for value in binary]) for fold in (folded, _letters))


def match_alike(values: Iterable[str], text: str, holds: Callable[[str, str], bool]) -> bool:
    """`holds(value, text)` (starts with, ends with, contains) of the same values with and without case and accents."""
    return all(holds(value, text) == holds(folded(value), folded(text)) for value in values)


def folded(text: str) -> str:
    """Without case and accents."""
    return "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))


def _letters(text: str) -> str:
    return "".join(c for c in folded(text) if c.isalnum())


def _sorted_strictly(values: list[str]) -> bool:
    return all(one < other for one, other in pairwise(values))
