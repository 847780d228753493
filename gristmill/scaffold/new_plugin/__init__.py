"""new_plugin: explanations that a given reader can follow, as a readability formula shows.

Record:  user       "My son jumped into a puddle this morning, and by lunch it was gone. He asks who drank it. ..."
         assistant  "Nobody drank the puddle. The sun warmed it, and in warm water the tiniest bits move ..."
         metadata   {"cell": {"subject": "physics", "concept": "evaporation", "reader": "a child of ten", ...}, ...}

Each task is one point of taxonomy.yaml. The role `writer` invents the question. The role `solver` sees exactly what the
record shows, so its answer and its trace are those of someone who was only asked. The judge `new_plugin_readable`
measures whether the reader can follow.

Source: where your idea comes from: a paper, a URL, or "ours".
"""

from collections.abc import Iterator
from itertools import islice
from math import prod
from pathlib import Path
from random import Random
from typing import Annotated, Any

from pydantic import Field

from gristmill import Answer, Config, Context, Generator, Record, Reject, Seed
from gristmill.config import load_config
from gristmill.walk import crossed
from schemas import user


class Params(Config):
    """The `params` of a recipe. `taxonomy` is a file of your own in place of the one beside this module."""

    taxonomy: Path | None = None


class Taxonomy(Config):
    concepts: dict[str, list[str]]
    readers: dict[str, int]
    occasions: list[str]


class Cell(Seed):
    """One point of the taxonomy; the hash of its content is the task's id."""

    subject: str
    concept: str
    reader: str
    occasion: str


class Question(Answer):
    """What the writer must return; anything else is asked for again, then rejected."""

    question: Annotated[str, Field(min_length=10, max_length=300)]


class NewPlugin(Generator[Cell, Params]):
    name = "new_plugin"

    def __init__(self, params: Params, *, seed: int = 0, seeds: str | None = None) -> None:
        super().__init__(params, seed=seed, seeds=seeds)
        self.space = load_config(params.taxonomy or self.folder() / "taxonomy.yaml", [], Taxonomy)
        self.subject_of = {concept: subject for subject, named in self.space.concepts.items() for concept in named}

    def files(self) -> list[Path]:
        return [self.params.taxonomy] if self.params.taxonomy else []

    def coverage_axes(self) -> dict[str, list[Any]]:
        space = self.space
        return {"concept": list(self.subject_of), "reader": list(space.readers), "occasion": space.occasions}

    def tasks(self) -> Iterator[Cell]:
        """Every point once, and any beginning is even on each axis."""
        axes = list(self.coverage_axes().values())
        for concept, reader, occasion in islice(crossed(axes, Random(self.seed)), prod(map(len, axes))):
            yield Cell(subject=self.subject_of[concept], concept=concept, reader=reader, occasion=occasion)

    async def run(self, seed: Cell, ctx: Context) -> Record:
        asked = await ctx.ask("writer", "question", Question, cell=seed)
        if seed.concept not in asked.question.casefold():
            raise Reject("question", "off_topic", f"it doesn't name {seed.concept}", question=asked.question)
        messages = [user(ctx.prompt("sample", question=asked.question, reader=seed.reader))]
        reply = await ctx.chat("solver", messages)
        return Record(
            messages=[*messages, reply.message],
            category=seed.subject,
            metadata={"cell": seed.model_dump(), "grade": self.space.readers[seed.reader]},
        )
