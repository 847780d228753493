"""New multiple-choice questions from old ones: same format, same difficulty, another question.

    seed      Which gas makes up most of the air?  A. oxygen  B. nitrogen ...     and two more of its category
    writer    Which gas do green plants take up by day?  carbon dioxide | ...     its key is one vote, not the truth
    teacher   n independent solutions of exactly the record's prompt, options shuffled; most must agree, and on the key

What resembles a seed or a line of the files in `against` is thrown away.

Source: Nemotron 3 Super report (arXiv 2604.12374): synthetic multiple choice from seed questions, several solutions,
majority vote.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from generators.refresh.choosing import grams, likeness
from generators.refresh.prompt import Example, Prompt, listed, options_in
from gristmill import Answer, Config, Context, Reject
from gristmill.errors import ConfigError
from gristmill.seeds import BadSeed, read_rows
from judges.claims import LETTERS
from judges.votes import normalised
from schemas import user

_ALL_OF_THEM = ("all of the above", "none of the above", "both a and b", "all of these", "none of these")
LONGEST_GRAM = 13


class Bootstrap(Config):
    """`per_seed` new questions from each seed; `against` names files of questions that none may resemble; from a
    Jaccard similarity of `max_similarity` of word 3-grams on, or with 13 words in a row in common, it does."""

    per_seed: Annotated[int, Field(ge=1, le=100)] = 2
    against: list[Path] = []
    max_similarity: Annotated[float, Field(gt=0, le=1)] = 0.5


class NewQuestion(Answer):
    """`answer` is the text of the right option."""

    answer: str
    choices: Annotated[list[str], Field(min_length=2, max_length=len(LETTERS))]
    question: Annotated[str, Field(min_length=15, max_length=1500)]


class Known:
    """Texts that a new one may not resemble, found by their 3-grams."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = list(dict.fromkeys(texts))
        self._holding: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for number, text in enumerate(self._texts):
            for gram in grams(text):
                self._holding[gram].append(number)

    def nearest(self, text: str) -> tuple[float, str]:
        """(similarity, text) of the most similar one; 1.0 where they share 13 words in a row."""
        candidates = {number for gram in grams(text) for number in self._holding.get(gram, ())}
        long = grams(text, LONGEST_GRAM)
        best = (0.0, "")
        for number in sorted(candidates):
            other = self._texts[number]
            shared = len(next(iter(long), ())) == LONGEST_GRAM and not long.isdisjoint(grams(other, LONGEST_GRAM))
            best = max(best, (1.0 if shared else likeness(text, other), other))
        return best


def read_against(paths: Sequence[Path]) -> list[str]:
    """Every text of every row of the files: a benchmark's question may be in any of its columns."""
    texts = []
    for path in paths:
        for where, row in read_rows(str(path)):
            if isinstance(row, BadSeed):
                raise ConfigError(f"params.bootstrap.against: {path}, {where}: {row.detail}.")
            texts += [text for value in row.values() for text in _texts(value) if len(text.split()) >= 3]
    return texts


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for inner in value.values() for text in _texts(inner)]
    return [text for inner in value for text in _texts(inner)] if isinstance(value, list) else []


def stem(prompt: Prompt) -> str:
    """The question without its options."""
    return without_options(prompt.question)


def without_options(text: str) -> str:
    lines = [line for line in text.splitlines() if not (options_in(text) and _is_option(line))]
    return "\n".join(lines).strip()


def _is_option(line: str) -> bool:
    bare = line.strip().lstrip("(")
    return len(bare) > 2 and bare[0] in LETTERS and bare[1] in ").:"


async def new_prompt(ctx: Context, seed: Prompt, settings: Bootstrap, known: Known) -> Prompt:
    """A new question with its options shuffled and the key's letter as its reference; Reject(bootstrap, ...)."""
    written = await ctx.ask(
        "writer", "new_question", NewQuestion,
        category=seed.category or "the same field", size=len(seed.choices),
        examples=[one.to_json() for one in (Example(question=stem(seed), choices=seed.choices), *seed.examples)],
    )  # fmt: skip
    question, choices = without_options(written.question), [choice.strip() for choice in written.choices]
    names = [normalised(choice) for choice in choices]
    if len(choices) != len(seed.choices):
        raise Reject("bootstrap", "other_format", f"{len(choices)} options, the seed has {len(seed.choices)}")
    if len(set(names)) < len(names) or not all(names):
        raise Reject("bootstrap", "bad_options", f"two are the same, or one is empty: {choices}")
    if any(name in _ALL_OF_THEM for name in names):
        raise Reject("bootstrap", "bad_options", f"an option that speaks of the others can't be shuffled: {choices}")
    if names.count(normalised(written.answer)) != 1:
        raise Reject("bootstrap", "no_key", f"{written.answer!r} is none of the options")
    similarity, text = known.nearest(question)
    if similarity >= settings.max_similarity:
        raise Reject("bootstrap", "near_duplicate", f"{similarity:.2f} like {text[:120]!r}", question=question)
    right = choices[names.index(normalised(written.answer))]
    ctx.rng.shuffle(choices)
    lead = _answer_line(seed.question)
    text = f"{question}\n\n{listed(choices)}" + (f"\n\n{lead}" if lead else "")
    return Prompt(
        messages=[user(text)], reference=[LETTERS[choices.index(right)]], choices=choices, category=seed.category,
        license=seed.license, language=seed.language, id=seed.id,
    )  # fmt: skip


def require_key(solve_rate: float) -> None:
    """Reject where not most of the independent solutions give the writer's key."""
    if solve_rate <= 0.5:
        raise Reject("bootstrap", "disputed_key", f"{solve_rate:.0%} of the solutions give the writer's key")


def _answer_line(question: str) -> str:
    """What the seed says after its options, such as how to state the answer."""
    lines = question.splitlines()
    last = max((number for number, line in enumerate(lines) if _is_option(line)), default=len(lines))
    return "\n".join(lines[last + 1 :]).strip()
