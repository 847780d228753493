'''code_concepts: Python problems, and solutions that tests in the sandbox have passed.

Record:  user       "Complete this Python function. ```python
                     def total_of_squared_odd_scores(scores: list[int]) -> int:
                         """`scores` lists the points of every team in a pub quiz. Compute the sum of the squares of
                         the scores that are odd. If there are none, the result is 0.

                         >>> total_of_squared_odd_scores([3, 4])
                         9
                         """```"
         assistant  the whole function: the problem as it was set, and a body
         metadata   mode, problem, cell, code (tests and entry point, as the judge python_tests reads them)

Two modes. `exercises` composes problems by rule, with reference solutions; a model only rewords descriptions, and no
trace is invented, so its records have reasoning off. `teacher` combines up to four of 91 concepts (or of a corpus's
own): one role invents a problem, one writes tests, one solves it several times; cleaning keeps the solution's body
alone, and what passes becomes a record, with pass@k as its difficulty.

Source: Nemotron 3 Super report (arXiv 2604.12374), code concepts: 91 concepts, 4 per problem, 5 solutions, 60 lines.
'''

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from generators.code_concepts.concepts import Combination, bundled_concepts, combination_tasks, extract
from generators.code_concepts.exercises import Exercised, by_exercise, exercise_axes, exercise_cells
from generators.code_concepts.exercises.grammar import Category
from generators.code_concepts.teacher import by_teacher
from gristmill import Config, Context, Generator, Record
from gristmill.config import require_file
from gristmill.errors import ConfigError
from gristmill.sandbox import SandboxLimits
from schemas import Seed


class Params(Config):
    """For exercises: `paraphrase` may name the role to ask, and it is asked in `paraphrase_share` of the tasks.

    For the teacher: problems per combination of up to `combine` concepts, `solutions` per problem, lines of a body.
    With `corpus` (a .jsonl, .parquet or .csv file of problems) the concepts are those that the role `extractor` finds
    in its first `corpus_items` rows, at most `max_concepts`.
    """

    mode: Literal["exercises", "teacher"] = "exercises"
    categories: Annotated[list[Category], Field(min_length=1)] = ["lists", "strings", "numbers", "dictionaries"]
    paraphrase: bool | str = True
    paraphrase_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    combine: Annotated[int, Field(ge=1, le=4)] = 4
    problems: Annotated[int, Field(ge=1, le=5)] = 5
    solutions: Annotated[int, Field(ge=1, le=16)] = 5
    max_lines: Annotated[int, Field(gt=0)] = 60
    limits: SandboxLimits = SandboxLimits(seconds=5)
    corpus: Path | None = None
    corpus_items: Annotated[int, Field(gt=0)] = 500
    max_concepts: Annotated[int, Field(gt=0)] = 91


class CodeConcepts(Generator[Seed, Params]):
    name = "code_concepts"
    version = "1"
    endless = True
    reads_seeds = False

    def __init__(self, params: Params, *, seed: int = 0, seeds: str | None = None) -> None:
        super().__init__(params, seed=seed, seeds=seeds)
        if params.corpus and params.mode == "exercises":
            raise ConfigError("params.corpus: exercises have no concepts; set mode: teacher to extract them.")
        if params.corpus:
            require_file(params.corpus, "params.corpus")
        self._concepts = bundled_concepts()

    def files(self) -> list[Path]:
        return [self.params.corpus] if self.params.corpus else []

    async def prepare(self, ctx: Context) -> None:
        if self.params.corpus:
            self._concepts = await extract(self.params.corpus, self.params.corpus_items, self.params.max_concepts, ctx)

    def tasks(self) -> Iterator[Seed]:
        params = self.params
        if params.mode == "exercises":
            return exercise_cells(params.categories, self.seed)
        return combination_tasks(self._concepts, params.combine, params.problems, self.seed)

    def coverage_axes(self) -> dict[str, list[str]]:
        """Every value that an axis of the cells can take, for the run's table of coverage."""
        return exercise_axes(self.params.categories) if self.params.mode == "exercises" else {}

    async def run(self, seed: Seed, ctx: Context) -> Record | list[Record]:
        if isinstance(seed, Exercised):
            return await by_exercise(seed, self.params, ctx)
        assert isinstance(seed, Combination)
        return await by_teacher(seed, self.params, ctx)
