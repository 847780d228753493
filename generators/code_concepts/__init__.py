"""code_concepts: Python problems, and solutions that tests in the sandbox have passed.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from generators.code_concepts.exercises import Exercised, by_exercise, exercise_cells
from generators.code_concepts.exercises.grammar import Category
from gristmill import Config, Context, Generator, Record


class Params(Config):
    """For exercises: `paraphrase` may name the role to ask, and it is asked in `paraphrase_share` of the tasks."""

    mode: Literal["exercises", "teacher"] = "exercises"
    categories: Annotated[list[Category], Field(min_length=1)] = ["lists", "strings", "numbers", "dictionaries"]
    paraphrase: bool | str = True
    paraphrase_share: Annotated[float, Field(ge=0, le=1)] = 1.0


class CodeConcepts(Generator[Exercised, Params]):
    name = "code_concepts"
    version = "1"
    endless = True

    def tasks(self) -> Iterator[Exercised]:
        return exercise_cells(self.params.categories, self.seed)

    async def run(self, seed: Exercised, ctx: Context) -> Record:
        return await by_exercise(seed, self.params, ctx)
