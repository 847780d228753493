"""Does a rewording ask the same? Only if it says the same things in the same order, in words that mean the same.

    template    "Return the largest of the squares of the scores that are odd. If there are none, the result is -1."
    rewording   "Find the maximum of the squares of the scores which are odd. When there are none, give -1."    the same
                "Find the largest of the scores that are odd."                lost: square; another result for none

A sentence is read as the sequence of what it says. Words that carry nothing (articles, "return", "which") are left out;
words that mean the same here are one (rewording.yaml); all others stand for themselves, without their endings. Numbers,
quoted letters and names in backticks are taken as they are. A rewording passes if its sentences say what the template's
say, one for one in any order: so nothing is lost, added, negated or turned round. That refuses many honest rewordings,
and costs no more than the template's wording.
"""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

_TOKEN = re.compile(r'`[^`]*`|"[^"]*"|\[\]|\{\}|-?\d+|[^\W\d_]+(?:[\'’-][^\W\d_]+)*')
_SENTENCE = re.compile(r"(?<=[.!?;])\s+")

_WORDS: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
EMPTY = frozenset(_WORDS["empty"].split())
_SAME = {word: words.split()[0] for words in _WORDS["same"] for word in words.split()}
_NUMBERS = {word: str(number) for number, word in enumerate(_WORDS["numbers"].split())}


def check_rewording(rewording: str, template: str) -> list[str]:
    """What the rewording does to the template's sense; nothing where it asks the same."""
    if re.search(r"```|>>>|\n|[<>]|\bdef\b", rewording):
        return ["it holds code, markup or a line break"]
    wanted, said = _sentences(template), _sentences(rewording)
    if wanted == said:
        return []
    words, others = (Counter(word for sentence in side.elements() for word in sentence) for side in (wanted, said))
    problems = [
        f"{kind}: {', '.join(sorted(difference))}"
        for kind, difference in (("lost", words - others), ("added", others - words))
        if difference
    ]
    return problems or ["the order in which it says things is another one"]


def _sentences(text: str) -> Counter[tuple[str, ...]]:
    read = (tuple(_meanings(sentence)) for sentence in _SENTENCE.split(text))
    return Counter(meanings for meanings in read if meanings)


def _meanings(sentence: str) -> list[str]:
    meanings = []
    for token in _TOKEN.findall(sentence):
        if token[0] in '`"[{-' or token[0].isdigit():
            meanings.append(token)
            continue
        word = token.lower().replace("’", "'")
        word = _NUMBERS.get(word, word)
        if word in EMPTY:
            continue
        stem = _stem(word)
        meanings.append(_SAME.get(word) or _SAME.get(stem) or stem)
    return meanings


def _stem(word: str) -> str:
    """Without the endings of plurals and verbs: scores, scored, scoring are one."""
    if word.endswith("n't") or word in ("not", "never", "without", "unless", "except", "none", "no"):
        return word
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word
