"""Concepts of programming: the bundled list or those of a corpus, and their combinations.

    ["binary search"], ["stacks", "string slicing"], ["closures", "date arithmetic", "queues"], ...

Combinations come evenly and never twice, and none is kept in memory. Concepts stand in a circle; a pattern of steps
round it (say 1, 5 and the rest) is turned place by place, and each full turn holds every concept equally often.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from functools import cache
from itertools import islice
from math import comb, gcd
from pathlib import Path
from random import Random
from typing import Annotated

import orjson
import yaml
from pydantic import Field

from gristmill import Answer, Context, Reject
from gristmill.errors import ConfigError, GristmillError
from gristmill.seeds import BadSeed, read_rows
from schemas import Seed

LIST = "concepts.json"
"""What `prepare` leaves among the artifacts."""

SAME = 0.9
"""From this similarity on, two concepts differ by a slip of the pen."""

_TEXTS = ("text", "prompt", "question", "problem", "code", "solution", "canonical_solution", "answer")
_EDGE_WORDS = re.compile(
    r"^(?:the |use of |using |basic |simple |python )+|(?: in python| concepts?| techniques?| basics)+$"
)


class Combination(Seed):
    """One task: a problem of a combination; `problem` counts those of the same one."""

    concepts: list[str]
    problem: int


class Found(Answer):
    """What the extractor finds in one item of a corpus."""

    concepts: Annotated[list[Annotated[str, Field(min_length=3, max_length=60)]], Field(min_length=1, max_length=8)]


@cache
def bundled() -> dict[str, list[str]]:
    """The bundled concepts by group."""
    path = Path(__file__).parent / "concepts.yaml"
    groups: dict[str, list[str]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return groups


def bundled_concepts() -> list[str]:
    return [concept for group in bundled().values() for concept in group]


# --- combinations ----------------------------------------------------------------------------------------------------


def combinations(concepts: Sequence[str], largest: int, seed: int) -> Iterator[list[str]]:
    """Every combination of one to `largest` concepts once; the sizes in turn until one has no more."""
    rng = Random(f"{seed}|concepts")
    circle = rng.sample(concepts, len(concepts))
    walks = [_of_size(circle, size, rng.random()) for size in range(1, min(largest, len(concepts)) + 1)]
    while walks:
        for walk in list(walks):
            found = next(walk, None)
            if found is None:
                walks.remove(walk)
            else:
                yield found


def _of_size(circle: Sequence[str], size: int, start: float) -> Iterator[list[str]]:
    n = len(circle)
    patterns = comb(n - 1, size - 1)  # subsets that hold place 0
    stride = next(step for step in range(int(patterns * 0.618) + 1, 2 * patterns + 2) if gcd(step, patterns) == 1)
    for number in range(patterns):
        places = [0, *(place + 1 for place in _subset((int(start * patterns) + number * stride) % patterns, size - 1))]
        steps = [after - place for place, after in zip(places, [*places[1:], n], strict=True)]
        turns = [tuple(steps[i:] + steps[:i]) for i in range(size)]
        if tuple(steps) != min(turns):
            continue  # the same pattern, seen from another of its places
        for turn in range(n // turns.count(turns[0])):
            yield sorted(circle[(place + turn) % n] for place in places)


def _subset(rank: int, size: int) -> list[int]:
    """The subset of this size with this rank in the combinatorial number system."""
    chosen = []
    for left in range(size, 0, -1):
        place = left - 1
        while comb(place + 1, left) <= rank:
            place += 1
        chosen.append(place)
        rank -= comb(place, left)
    return chosen[::-1]


# --- extraction ------------------------------------------------------------------------------------------------------


async def extract(corpus: Path, items: int, most: int, ctx: Context) -> list[str]:
    """The concepts of a corpus of problems, the commonest first, at most `most`; listed in artifacts/concepts.json too.

    An item from which the model extracts nothing readable is passed over, and counted in that file.
    """
    texts = list(islice(_texts(corpus), items))
    if not texts:
        raise ConfigError(f"params.corpus: {corpus} has no row with a text in one of {', '.join(_TEXTS)}.")
    asked = (ctx.ask("extractor", "extract", Found, text=text, known=bundled_concepts()) for text in texts)
    replies = await ctx.gather(asked, keep_rejects=True)
    said = Counter(concept for reply in replies if not isinstance(reply, Reject) for concept in reply.concepts)
    merged = merge(said)
    kept = sorted(merged, key=lambda concept: (-sum(said[variant] for variant in merged[concept]), concept))[:most]
    if not kept:
        raise GristmillError(f"no concept could be extracted from {corpus}; look at the role `extractor`.")
    listed = {
        "concepts": [
            {"name": name, "count": sum(said[v] for v in merged[name]), "variants": merged[name]} for name in kept
        ],
        "items": len(texts),
        "unreadable": sum(isinstance(reply, Reject) for reply in replies),
    }
    (ctx.artifacts / LIST).write_bytes(orjson.dumps(listed, option=orjson.OPT_INDENT_2))
    return kept


def _texts(corpus: Path) -> Iterator[str]:
    for where, row in read_rows(str(corpus)):
        if isinstance(row, BadSeed):
            raise ConfigError(f"params.corpus: {corpus}, {where}: {row.detail}.")
        parts = [str(row[key]) for key in _TEXTS if row.get(key)]
        if parts:
            yield "\n\n".join(parts)


def merge(said: Counter[str]) -> dict[str, list[str]]:
    """{concept: what it was called}: spellings, plurals and word orders of one concept are one, and a bundled concept
    lends it its name.
    """
    known = {_key(concept): concept for concept in bundled_concepts()}
    variants: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, _ in sorted(said.items(), key=lambda item: (-item[1], item[0])):
        key = _key(name)
        if key:
            near = next((other for other in [*known, *variants] if _alike(key, other)), key)
            variants[near].append(name)
    return {known.get(key) or normalised_name(names[0]): sorted(names) for key, names in variants.items()}


def normalised_name(name: str) -> str:
    """Lower case, single spaces, without words that say nothing at either end."""
    words = re.sub(r"[^a-z0-9+ ]+", " ", name.lower().replace("'", ""))
    return _EDGE_WORDS.sub("", " ".join(words.split())).strip()


def _key(name: str) -> tuple[str, ...]:
    """The stems of its words, sorted: "List sorting" and "sorting of lists" are one."""
    words = (
        word for word in normalised_name(name).split() if word not in ("of", "and", "with", "a", "the", "in", "by")
    )
    return tuple(sorted({re.sub(r"(?:ing|es|s)$", "", word) if len(word) > 4 else word for word in words}))


def _alike(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    if one == other:
        return True
    if len(one) != len(other):
        return False
    return SequenceMatcher(None, " ".join(one), " ".join(other), autojunk=False).ratio() >= SAME


def combination_tasks(concepts: Sequence[str], largest: int, problems: int, seed: int) -> Iterator[Combination]:
    for chosen in combinations(concepts, largest, seed):
        yield from (Combination(concepts=chosen, problem=number) for number in range(problems))
