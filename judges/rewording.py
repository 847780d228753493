"""Asks a model to reword a text, and keeps its words only if they say the same: the same things, in words that mean
the same.

    template    "Return the largest of the squares of the scores that are odd. If there are none, the result is -1."
    rewording   "Find the maximum of the squares of the scores which are odd. When there are none, give -1."    the same
                "Find the largest of the scores that are odd."                lost: square; another result for none

A sentence is read as the sequence of what it says. Words that carry nothing in its field are left out; words that mean
the same there are one; all others stand for themselves, without their endings. Numbers, quoted letters and names are
taken as they are. A rewording passes if its sentences say what the template's say, one for one in any order: so
nothing is lost, added, negated or turned round. With `in_order=False` the words of a sentence may come in another
order, but names and numbers may not: "from 2023 to 2024" is not "from 2024 to 2023". That refuses many honest
rewordings, and costs no more than the template's wording.

A vocabulary is a YAML file: `empty` words, lines of words that are the `same`, and `numbers` from zero on.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Protocol, Self

import yaml
from pydantic import Field

from gristmill import Answer, Context, Reject
from schemas import JsonObject

_TOKEN = re.compile(r'`[^`]*`|"[^"]*"|\[\]|\{\}|-?\d+|[^\W\d_]+(?:[\'’-][^\W\d_]+)*')
_SENTENCE = re.compile(r"(?<=[.!?;])\s+")
_DENIALS = {"not", "never", "without", "unless", "except", "none", "no"}


class Rewording(Answer):
    text: Annotated[str, Field(max_length=900)]


class Rewords(Protocol):
    """The parameters of a generator that has texts reworded: whether, or by which role, and how many of them."""

    @property
    def paraphrase(self) -> bool | str: ...
    @property
    def paraphrase_share(self) -> float: ...


async def reword(
    ctx: Context,
    text: str,
    settings: Rewords,
    problems: Callable[[str, str], list[str]],
    *,
    original: str = "template",
    **variables: Any,
) -> tuple[str, JsonObject]:
    """The text in a model's words, where `problems(rewording, text)` finds none; and how it came about.

    The generator's prompt `paraphrase` asks, with `text` and the other variables. The record keeps the text that was
    reworded under the key `original`.
    """
    unchanged: JsonObject = {"phrasing": "template"}
    if not settings.paraphrase or ctx.rng.random() >= settings.paraphrase_share:
        return text, unchanged
    role = "paraphraser" if settings.paraphrase is True else settings.paraphrase
    try:
        said = (await ctx.ask(role, "paraphrase", Rewording, text=text, **variables)).text.strip()
    except Reject as fault:
        return text, {**unchanged, "paraphrase_problems": [str(fault)]}
    if said == text:
        return text, unchanged
    if found := problems(said, text):
        return text, {**unchanged, "paraphrase_problems": [*found], "paraphrase": said}
    return said, {"phrasing": "paraphrase", original: text}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words of one field."""

    empty: frozenset[str]
    same: dict[str, str]
    numbers: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> Self:
        words: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        return cls(
            frozenset(words["empty"].split()),
            {word: line.split()[0] for line in words["same"] for word in line.split()},
            {word: str(number) for number, word in enumerate(words["numbers"].split())},
        )

    def differences(
        self, rewording: str, template: str, *, names: Iterable[str] = (), in_order: bool = True
    ) -> list[str]:
        """What the rewording does to the template's sense; nothing where it says the same."""
        if re.search(r"```|>>>|\n|[<>]|\bdef\b", rewording):
            return ["it holds code, markup or a line break"]
        wanted, said = (self._sentences(_quoted(text, names)) for text in (template, rewording))
        if wanted == said:
            return []
        words, others = (Counter(word for sentence in side.elements() for word in sentence) for side in (wanted, said))
        problems = [
            f"{kind}: {', '.join(sorted(difference))}"
            for kind, difference in (("lost", words - others), ("added", others - words))
            if difference
        ]
        if problems:
            return problems
        if not in_order and _fixed(wanted) == _fixed(said):
            return []
        return ["the order in which it says things is another one"]

    def _sentences(self, text: str) -> Counter[tuple[str, ...]]:
        read = (tuple(self._meanings(sentence)) for sentence in _SENTENCE.split(text))
        return Counter(meanings for meanings in read if meanings)

    def _meanings(self, sentence: str) -> list[str]:
        meanings = []
        for token in _TOKEN.findall(sentence):
            if token[0] in '`"[{-' or token[0].isdigit():
                meanings.append(token)
                continue
            word = token.lower().replace("’", "'")
            word = self.numbers.get(word, word)
            if word in self.empty:
                continue
            stem = _stem(word)
            meanings.append(self.same.get(word) or self.same.get(stem) or stem)
        return meanings


@cache
def plain_words() -> Vocabulary:
    """For plain descriptions and answers: rewording.yaml beside this module."""
    return Vocabulary.read(Path(__file__).with_suffix(".yaml"))


def check_rewording(rewording: str, template: str) -> list[str]:
    """`Vocabulary.differences` by plain words."""
    return plain_words().differences(rewording, template)


def _quoted(text: str, names: Iterable[str]) -> str:
    """Names as one token each, the longest first."""
    for name in sorted({name for name in names if name}, key=lambda name: (-len(name), name)):
        text = re.sub(rf"(?<![\w`]){re.escape(name)}(?![\w`])(?=[^`]*(?:`[^`]*`[^`]*)*$)", f"`{name.lower()}`", text,
                      flags=re.IGNORECASE)  # fmt: skip
    return text


def _fixed(sentences: Counter[tuple[str, ...]]) -> Sequence[str]:
    """Names and numbers in the order in which they come."""
    return [word for sentence in sentences.elements() for word in sentence if word[0] in '`"[{-' or word[0].isdigit()]


def _stem(word: str) -> str:
    """Without the endings of plurals and verbs: scores, scored, scoring are one."""
    if word.endswith("n't") or word in _DENIALS:
        return word
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word
