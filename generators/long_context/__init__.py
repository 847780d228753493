"""Long context: questions whose answer stands in many places of a long text, with traces that go through them.

Record:  user       "... [17]\\nThe Opal account received 40 crowns from Noor.\\n\\n[18] ... (to 32,768 tokens) ...
                     What is the balance of the Opal account after the last note, in crowns? End with `Answer: ...`."
         assistant  "Answer: 1240"       reasoning_content "I book what concerns the Opal account. [17] ..."
         metadata   {"cell": {"mode": "sequential", "kind": "ledger", "length": 32768, "depth": "even"},
                     "context": {"tokens": 32768, "evidence": [812, 1903, ...]}, "hops": 14, "answer": 1240, ...}

Three modes. `sequential` follows something through a log of notes, `personas` asks about many records, with SQL as the
truth; both are made by rule, at any length, and their traces are authored. `documents` is for teachers: a writer asks
across documents of one topic, a solver answers eight times, and the majority's shortest trace is kept.

Lengths are in tokens of the target tokenizer and count the whole user turn. The context stands in it once, before the
question.

Source: Nemotron 3 Super report (arXiv 2604.12374), long context: 128K to 512K tokens, three kinds of tasks.
"""

import asyncio
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Annotated, Literal

from pydantic import Field

from generators.long_context import sequential, tables
from generators.long_context.answers import as_json
from generators.long_context.context import Depth, Fillers, TokenCounter, token_counter
from generators.long_context.documents.library import Documents, open_library
from generators.long_context.documents.questions import by_documents
from generators.long_context.sequential.fillers import make_fillers
from generators.long_context.tables.crowd import Crowd
from generators.long_context.tables.table import Table
from generators.long_context.tables.user_table import read_table
from gristmill import Config, Context, Generator, Record
from gristmill.config import require_file
from gristmill.errors import ConfigError
from gristmill.walk import crossed, rounds
from schemas import JsonObject, Seed, assistant, user

Mode = Literal["sequential", "personas", "documents"]
Task = Literal["chain", "count", "keys", "ledger", "order", "state", "update"]
FamilyName = Literal["filter", "join", "group", "top", "compare", "negation", "date"]
Length = Annotated[int, Field(ge=2048, le=1_048_576)]

TASKS: tuple[Task, ...] = ("chain", "count", "keys", "ledger", "order", "state", "update")
FAMILIES: tuple[FamilyName, ...] = ("filter", "join", "group", "top", "compare", "negation", "date")


class Params(Config):
    """`lengths` are tokens of the user turn under `tokenizer` (a folder, a hub id or `embedded`); `depths` say where
    what matters stands.

    For sequential: the `tasks`,
    and `steps` that matter at most. For personas: the `families` of questions; `people` is a
    dataset of personas (path or hf://NAME), `table` any table of yours with its `key` column and `noun` (singular and
    plural). For documents see there.
    """

    modes: Annotated[list[Mode], Field(min_length=1)] = ["sequential", "personas"]
    lengths: Annotated[list[Length], Field(min_length=1)] = [4096, 8192, 16384, 32768]
    depths: Annotated[list[Depth], Field(min_length=1)] = ["even", "start", "middle", "end"]
    tokenizer: str = "embedded"
    tasks: Annotated[list[Task], Field(min_length=1)] = [*TASKS]
    steps: Annotated[int, Field(ge=3, le=400)] = 40
    families: Annotated[list[FamilyName], Field(min_length=1)] = [*FAMILIES]
    people: str | None = None
    table: Path | None = None
    key: str | None = None
    noun: tuple[str, str] = ("row", "rows")
    documents: Documents = Documents()


class Cell(Seed):
    """One task: a point of its mode's space; `index` is its place in the walk."""

    mode: Mode
    kind: str
    length: int
    depth: Depth
    index: int


class LongContext(Generator[Cell, Params]):
    name = "long_context"
    version = "1"
    endless = True
    reads_seeds = False

    def __init__(self, params: Params, *, seed: int = 0, seeds: str | None = None) -> None:
        super().__init__(params, seed=seed, seeds=seeds)
        if "documents" in params.modes and not params.documents.sources:
            raise ConfigError("params.documents.sources: the mode documents needs files, folders or hf:// names.")
        if params.tokenizer.startswith("train:"):
            raise ConfigError("params.tokenizer: nothing to train one on; name a folder, a hub id or embedded.")
        for key, path in (("table", params.table), ("people", self._people_file())):
            if path is not None:
                require_file(path, f"params.{key}")

    def files(self) -> list[Path]:
        named = (self._people_file(), self.params.table)
        return [*(path for path in named if path is not None), *self.params.documents.files()]

    def _people_file(self) -> Path | None:
        people = self.params.people
        return Path(people) if people and not people.startswith("hf://") else None

    async def prepare(self, ctx: Context) -> None:
        """Makes the library of documents. A wrong tokenizer, table or dataset of people ends the run here."""
        await asyncio.to_thread(lambda: self._counter)
        if "personas" in self.params.modes:
            await asyncio.to_thread(lambda: self._rows)
        if "documents" in self.params.modes:
            await open_library(ctx, self.params.documents, self.params.tokenizer, max(self.params.lengths))

    # --- tasks --------------------------------------------------------------------------------------------------------

    def tasks(self) -> Iterator[Cell]:
        """The modes in turn; in each every kind, length and depth as evenly as can be."""
        walks = {mode: self._walk(mode) for mode in self.params.modes}
        for index, mode in enumerate(rounds(self.params.modes, Random(f"{self.seed}|long_context"))):
            kind, length, depth = next(walks[mode])
            yield Cell(mode=mode, kind=kind, length=length, depth=depth, index=index)

    def _walk(self, mode: Mode) -> Iterator[tuple[str, int, Depth]]:
        lengths, depths = self.params.lengths, self.params.depths
        kinds = self._kinds(mode)
        places = crossed([range(len(kinds)), range(len(lengths)), range(len(depths))], Random(f"{self.seed}|{mode}"))
        return ((kinds[kind], lengths[length], depths[depth]) for kind, length, depth in places)

    def _kinds(self, mode: Mode) -> list[str]:
        if mode == "documents":
            return ["multi_document"]
        return [*self.params.tasks] if mode == "sequential" else [*self.params.families]

    def coverage_axes(self) -> dict[str, list[str]]:
        params = self.params
        return {
            "mode": [*params.modes],
            "kind": [kind for mode in params.modes for kind in self._kinds(mode)],
            "length": [str(length) for length in params.lengths],
            "depth": [*params.depths],
        }

    # --- what tasks share ---------------------------------------------------------------------------------------------

    @cached_property
    def _counter(self) -> TokenCounter:
        return token_counter(self.params.tokenizer)

    @cached_property
    def _fillers(self) -> Fillers:
        return make_fillers(self.seed, max(self.params.lengths), self._counter)

    @cached_property
    def _rows(self) -> Table | Crowd:
        params = self.params
        if params.table:
            return read_table(params.table, params.key, params.noun)
        return Crowd(params.people, self.seed, max(params.lengths))

    # --- records ------------------------------------------------------------------------------------------------------

    async def run(self, seed: Cell, ctx: Context) -> Record:
        if seed.mode == "documents":
            return await by_documents(seed, self.params.documents, self._counter, ctx)
        make = self._sequential if seed.mode == "sequential" else self._records
        return await asyncio.to_thread(make, seed, Random(ctx.rng.random()))

    def _sequential(self, cell: Cell, rng: Random) -> Record:
        told = sequential.tell(
            cell.kind, cell.length, cell.depth, self.params.steps, self._fillers, self._counter, rng
        )  # fmt: skip
        return _record(
            cell, f"{told.lead}\n\n{told.context.text}\n\n{told.question}", told.answer, told.trace,
            tokens=told.context.tokens, evidence=told.evidence,
            more={"format": told.format, "answer": as_json(told.story.answer), **told.story.facts},
        )  # fmt: skip

    def _records(self, cell: Cell, rng: Random) -> Record:
        told = tables.ask(cell.kind, cell.length, cell.depth, self._rows, self._counter, rng)
        return _record(
            cell, f"{told.lead}\n\n{told.context}\n\n{told.question}", told.answer, told.trace,
            tokens=told.tokens, evidence=told.offsets, more=told.metadata(),
        )  # fmt: skip


def _record(
    cell: Cell, asked: str, answer: str, trace: str, *, tokens: int, evidence: list[int], more: JsonObject
) -> Record:
    """A record made by rule."""
    return Record(
        messages=[user(asked), assistant(answer, trace)],
        category=f"{cell.mode}/{cell.kind}",
        metadata={
            "mode": cell.mode, "trace": "authored", "cell": cell.model_dump(mode="json", exclude={"index"}),
            "context": {"tokens": tokens, "evidence": [*evidence]}, "hops": len(evidence), **more,
        },
    )  # fmt: skip
