"""At which similarity a text counts as a copy: a threshold means nothing without the embedder it was measured with.

    calibrate   embeds planted copies of benchmark items and texts that are copies of nothing, and takes the smallest
                threshold that flags at most 1 % of the clean ones
    resolve     the threshold that a config asks for; an embedder that was never calibrated is refused

Copies are planted in three ways: retold (question reworded by rule, solution with other names and layout), the question
alone, and the solution alone. Verbatim copies prove nothing here: the other methods find those.
"""

import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import cache
from itertools import chain
from math import ceil
from pathlib import Path
from typing import NamedTuple

import yaml

from gristmill.config import read_yaml, validate
from gristmill.decontamination.benchmarks import Benchmark, Item
from gristmill.decontamination.index import Index, items_of
from gristmill.decontamination.planting import reworded
from gristmill.decontamination.similarity import Neighbours, benchmark_passages, passage
from gristmill.errors import ConfigError
from schemas.decontamination import CALIBRATED, Calibration, Point

MOST_FLAGGED = 0.01
LEAST_CLEAN = 100  # texts: with fewer, one per cent can't be told
MOST_PLANTED = 500  # items
_BUNDLED = Path(__file__).with_name("calibrations.yaml")

Vector = list[float]
Embed = Callable[[Sequence[str]], Awaitable[list[Vector]]]


def resolve(similarity: float | str, model: str) -> Calibration:
    """The calibration of `model`, with the threshold that the config asks for. ConfigError where there is none."""
    for path in calibration_files(similarity):
        found = validate(read_yaml(path, []), Calibration, str(path))
        if known_as(found.model) != known_as(model):
            raise ConfigError(f"decontaminate.similarity: {path} calibrates {found.model}, not {model}.")
        return found
    known = _bundled().get(known_as(model))
    if known is None:
        raise ConfigError(
            f"decontaminate.similarity: the embedder {model} has no calibration, and another model's threshold means "
            "nothing for it; run `gristmill calibrate CONFIG --out FILE.yaml`, then set `similarity: FILE.yaml`."
        )
    return known if isinstance(similarity, str) else known.model_copy(update={"threshold": similarity})


def calibration_files(similarity: float | str | None) -> list[Path]:
    """The file that a config names as its calibration, if it does."""
    return [Path(similarity)] if isinstance(similarity, str) and similarity != CALIBRATED else []


def known_as(model: str) -> str:
    """A model's name without its owner: "Qwen/Qwen3-Embedding-0.6B" is served under either."""
    return model.rsplit("/", 1)[-1].lower()


@cache
def _bundled() -> dict[str, Calibration]:
    entries = yaml.safe_load(_BUNDLED.read_text(encoding="utf-8"))
    return {known_as(entry["model"]): Calibration.model_validate(entry) for entry in entries}


class _Planted(NamedTuple):
    """A copy, and the number of its item among all."""

    item: int
    way: str
    text: str


async def calibrate(
    benchmarks: Sequence[Benchmark], clean: Sequence[str] | None, model: str, embed: Embed, seed: int
) -> Calibration:
    """Measures an embedder on these benchmarks. `clean` are passages (see similarity.py) that copy nothing."""
    vectors = [await embed(benchmark_passages([benchmark])) for benchmark in benchmarks]
    copies = _plant(benchmarks, random.Random(seed))
    neighbours = Neighbours(benchmarks, list(chain.from_iterable(vectors)))
    found = neighbours.similarities(await embed([copy.text for copy in copies]), [copy.item for copy in copies])
    if clean is None:
        flagged = sorted(_scores_of_others(benchmarks, vectors))
    else:
        index = Index(benchmarks)
        texts = [text for text in clean if not index.hits([text])]
        flagged = sorted(hit.score for hit in neighbours.nearest(await embed(texts)))
    if len(flagged) < LEAST_CLEAN:
        raise ConfigError(f"calibrate: {len(flagged)} clean texts are too few; name {LEAST_CLEAN} or more by `clean`.")
    threshold = _threshold(flagged)
    scores = {way: [s for s, c in zip(found, copies, strict=True) if c.way == way] for way in {c.way for c in copies}}
    return Calibration(
        model=model,
        threshold=threshold,
        source="gristmill calibrate",
        benchmarks=[f"{benchmark.name} ({len(benchmark.items)} items)" for benchmark in benchmarks],
        planted=len(copies),
        clean=len(flagged),
        flagged=_share(flagged, threshold),
        found={way: _share(scores[way], threshold) for way in sorted(scores)},
        curve=[
            Point(threshold=at / 100, found=_share(found, at / 100), flagged=_share(flagged, at / 100))
            for at in range(50, 100, 5)
        ],
    )


def _plant(benchmarks: Sequence[Benchmark], rng: random.Random) -> list[_Planted]:
    items = [(number, item) for number, (_, item) in enumerate(items_of(benchmarks))]
    copies = []
    for number, item in rng.sample(items, min(len(items), MOST_PLANTED)):
        question, solution = reworded(item, rng)
        ways = {"retold": passage(question, solution), **_halves(item, solution)}
        copies += [_Planted(number, way, text) for way, text in ways.items() if text.strip()]
    return copies


def _halves(item: Item, solution: str) -> dict[str, str]:
    """Question or solution alone, of items that have both."""
    if not item.question or not solution:
        return {}
    return {"question": passage("\n".join((item.question, *item.choices)), ""), "solution": passage("", solution)}


def _scores_of_others(benchmarks: Sequence[Benchmark], vectors: Sequence[list[Vector]]) -> Iterator[float]:
    """How like each item is to the item of another benchmark that it is most like. What the other methods flag is left
    out: some problems are in several benchmarks."""
    for number, benchmark in enumerate(benchmarks):
        others = [other for other in range(len(benchmarks)) if other != number]
        if not others:
            return
        index = Index([benchmarks[other] for other in others])
        clean = [
            vector
            for item, vector in zip(benchmark.items, vectors[number], strict=True)
            if not index.hits([item.question, f"```\n{item.code}\n```"])
        ]
        neighbours = Neighbours(
            [benchmarks[other] for other in others], [vector for other in others for vector in vectors[other]]
        )
        yield from (hit.score for hit in neighbours.nearest(clean))


def _threshold(ascending: list[float]) -> float:
    """The smallest, in steps of a thousandth, that at most `MOST_FLAGGED` of these scores reach."""
    allowed = int(MOST_FLAGGED * len(ascending))
    return min(1.0, (int(ascending[-1 - allowed] * 1000) + 1) / 1000)


def _share(scores: Sequence[float], threshold: float) -> float:
    """Rounded up, so that a flag is never shown as none."""
    return ceil(1e4 * sum(score >= threshold for score in scores) / max(1, len(scores))) / 1e4
