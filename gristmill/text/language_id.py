"""Which language a text is in, by `py3langid` (97 languages, 0.1 ms a sentence, a model of 5 MB).

    identify("Das Meer war ruhig.")     ("de", 0.99)

Code, formulas, addresses and markup are not language and are left out first.

Source: langid, Lui and Baldwin 2012 (https://aclanthology.org/P12-3005).
"""

import re
from functools import cache
from typing import Any

from gristmill.errors import ConfigError

_NO_PROSE = re.compile(
    r"```.*?(?:```|\Z) | `[^`\n]*` | \$\$.*?\$\$ | \\\[(?:(?!\\\[).)*?\\\] | \$[^$\n]+\$ | "
    r"https?://\S+ | <[^<>\n]*> | \\\w+",
    re.DOTALL | re.VERBOSE,
)


def prose(text: str) -> str:
    """The text without what is in no language."""
    return _NO_PROSE.sub(" ", text)


def letters(text: str) -> int:
    return sum(character.isalpha() for character in text)


def identify(text: str) -> tuple[str, float]:
    """(ISO 639-1 code, confidence); ("", 0.0) for a text without letters. ConfigError without the extra."""
    text = prose(text)
    if not letters(text):
        return "", 0.0
    language, confidence = _identifier().classify(text)
    return str(language), float(confidence)


def likelihoods(text: str) -> dict[str, float]:
    """The share of each language, as if all were equally common; without `zxx`, which means none. {} for no letters."""
    text = prose(text)
    if not letters(text):
        return {}
    return {str(language): float(share) for language, share in _identifier().rank(text) if language != "zxx"}


@cache
def _identifier() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError:
        raise ConfigError("to tell languages apart needs the extra: pip install 'gristmill[judges]'.") from None
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@cache
def known_languages() -> frozenset[str]:
    return frozenset(_identifier().labels)
