"""Text-to-SQL: a question about a database, and a query that the engine has proved to answer something.

Record:  user       "Write one PostgreSQL statement ... CREATE TABLE loan (...) ... Which three branches lent most?"
         assistant  "```sql\nSELECT branch.name, SUM(loan.principal) AS total_principal ...\n```"
         metadata   mode, question, phrasing, cell, sql (the proof: context, result, distractors, engine)

Two modes. `grammar` samples a query over one of the bundled databases (or the user's own), puts it into words by rule,
and lets a model reword it; no trace is invented, so its records have reasoning off. `teacher` lets one role invent
database and question and another answer exactly what the record shows, by vote of `candidates` answers.
In both, the record carries the proof of `judges.sql_execution`.

Source: Nemotron 3 Super report (arXiv 2604.12374), §3.1.1 (SQL): tiers and concepts, three style axes, distractors.
"""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from generators.text_to_sql.by_grammar import by_grammar
from generators.text_to_sql.cells import Axes, Cell, grammar_axes, grammar_cells, teacher_axes, teacher_cells
from generators.text_to_sql.grammar import CONCEPTS as GRAMMAR
from generators.text_to_sql.invented import Sizes
from generators.text_to_sql.load import bundled, load
from generators.text_to_sql.schema import Database
from generators.text_to_sql.teacher import by_teacher
from gristmill import Config, Context, Generator, Record
from gristmill.errors import ConfigError
from gristmill.seeds import BadSeed, read_rows
from judges.sql_concepts import CONCEPTS, DIALECTS, TIERS, Tier
from judges.sql_engine import Limits
from judges.sql_world import Dialect
from schemas import JsonObject


class Params(Config):
    """`database` takes the place of the bundled ones: an .sqlite or .yaml file, or the name of an environment variable
    that holds the URL of a PostgreSQL or MySQL database. At most `max_rows` rows per table of it are used, and its
    trade is called `industry`. `paraphrase` may name the role to ask; it is asked in `paraphrase_share` of the tasks.

    For the teacher: `candidates` counts the solver's answers, `writes` is the share of tasks that change data, `sizes`
    says how large an invented database is.
    """

    mode: Literal["grammar", "teacher"] = "grammar"
    tiers: Annotated[list[Tier], Field(min_length=1)] = list(TIERS)
    dialects: Annotated[list[Dialect], Field(min_length=1)] = list(DIALECTS)
    database: Path | None = None
    industry: str = ""
    max_rows: Annotated[int, Field(gt=0)] = 60
    paraphrase: bool | str = True
    paraphrase_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    candidates: Annotated[int, Field(gt=0)] = 1
    writes: Annotated[float, Field(ge=0, le=1)] = 0.04
    sizes: Sizes = Sizes()
    limits: Limits = Limits()


class TextToSQL(Generator[Cell, Params]):
    name = "text_to_sql"
    version = "1"
    endless = True

    def __init__(self, params: Params, *, seed: int = 0, seeds: str | None = None) -> None:
        super().__init__(params, seed=seed, seeds=seeds)
        if params.mode == "teacher" and params.database:
            raise ConfigError("params.database: the teacher invents its own; set mode: grammar to ask about yours.")
        if params.database:
            _ = self.databases  # a database that can't be read is a config error now, not at the first task

    def files(self) -> list[Path]:
        database = self.params.database
        return [database] if database and database.is_file() else []

    @cached_property
    def databases(self) -> dict[str, Database]:
        if self.params.database is None:
            return bundled()
        own = load(self.params.database, self.params.max_rows, self.params.industry)
        return {own.name: own}

    def tasks(self) -> Iterator[Cell | BadSeed]:
        params = self.params
        if self.seeds:
            return self._from_file(self.seeds)
        if params.mode == "teacher":
            return teacher_cells(params.tiers, params.dialects, params.writes, self.seed)
        return grammar_cells(self.databases, params.tiers, params.dialects, self.seed)

    def coverage_axes(self) -> Axes:
        """Every value that an axis of the cells can take, for the run's table of coverage."""
        params = self.params
        if params.mode == "teacher":
            return teacher_axes(params.tiers, params.dialects, params.writes)
        return grammar_axes(self.databases, params.tiers, params.dialects)

    def _from_file(self, seeds: str) -> Iterator[Cell | BadSeed]:
        """The user's own cells, a row each."""
        for where, row in read_rows(seeds):
            yield row if isinstance(row, BadSeed) else self._cell(where, row)

    def _cell(self, where: str, row: JsonObject) -> Cell | BadSeed:
        try:
            cell = Cell.model_validate(row)
        except ValidationError as error:
            return BadSeed(where, str(error))
        known = [*(GRAMMAR if self.params.mode == "grammar" else CONCEPTS)]
        if self.params.mode == "grammar" and cell.database not in self.databases:
            return BadSeed(where, f"database is none of {', '.join(self.databases)}")
        if cell.concept not in known:
            return BadSeed(where, f"concept is none of {', '.join(known)}")
        if cell.dialect not in CONCEPTS[cell.concept].dialects:
            return BadSeed(where, f"{cell.dialect} doesn't have {cell.concept}")
        return cell

    async def run(self, seed: Cell, ctx: Context) -> Record:
        if self.params.mode == "teacher":
            return await by_teacher(seed, self.params, ctx)
        return await by_grammar(seed, self.databases, self.params, ctx)
