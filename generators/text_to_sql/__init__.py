"""Text-to-SQL: a question about a database, and a query that the engine has proved to answer something.

Record:  user       "Write one SQLite query ... CREATE TABLE loan (...) ... Which three branches lent most in 2023?"
         assistant  "```sql\nSELECT branch.name, SUM(loan.principal) AS total_principal ...\n```"
         metadata   mode, question, phrasing, cell, sql (the proof: all rows, the result, the distractors)

Two modes. `grammar` samples a query over one of the bundled databases (or the user's own), puts it into words by rule,
and lets a model reword it; no trace is invented, so its records have reasoning off. `teacher` lets one role invent
database and question and another answer exactly what the record shows, by vote of `candidates` answers.
In both, the record carries the proof of `judges.sql_execution`.

Source: Nemotron 3 Super report (arXiv 2604.12374), §3.1.1 (SQL): tiers and concepts, three style axes, distractors.
"""

import re
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from generators.text_to_sql.cells import TIERS, Cell, grammar_cells, teacher_cells
from generators.text_to_sql.context import LAYOUTS, choose_context, show
from generators.text_to_sql.grammar import CONCEPTS, Query, Tier, Unsuited, sample_query
from generators.text_to_sql.load import bundled, load
from generators.text_to_sql.paraphrase import check_paraphrase
from generators.text_to_sql.schema import Database, Table
from generators.text_to_sql.verbalise import verbalise
from gristmill import Answer, Config, Context, Generator, Record, Reject
from gristmill.llm import Reply
from gristmill.seeds import BadSeed, read_rows
from judges.sql_engine import Limits
from judges.sql_execution import prove_in_sqlite, query_in
from judges.sql_world import Refuted, SQLProof, SQLWorld, joined, result_hash
from judges.sqlite_engine import SQLite
from schemas import Json, JsonObject, Message, assistant, user

DRAWS = 20
"""How often a query is drawn anew before its cell is given up."""


class Params(Config):
    """`database` is an .sqlite or .yaml file instead of the bundled ones, of which at most `max_rows` rows per table
    are used and whose trade questions call `industry`. `paraphrase` may name the role to ask; it is asked in
    `paraphrase_share` of the tasks. `candidates` counts the solver's answers in teacher mode.
    """

    mode: Literal["grammar", "teacher"] = "grammar"
    tiers: Annotated[list[Tier], Field(min_length=1)] = list(TIERS)
    database: Path | None = None
    industry: str = ""
    max_rows: Annotated[int, Field(gt=0)] = 60
    paraphrase: bool | str = True
    paraphrase_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    candidates: Annotated[int, Field(gt=0)] = 1
    limits: Limits = Limits()


class Rewording(Answer):
    text: Annotated[str, Field(max_length=600)]


class World(Answer):
    """What the writer invents."""

    ddl: Annotated[list[str], Field(min_length=2, max_length=8)]
    inserts: Annotated[list[str], Field(min_length=2)]
    distractor_tables: list[str]
    distractor_columns: list[str]
    question: str


class TextToSQL(Generator[Cell, Params]):
    name = "text_to_sql"
    version = "1"
    endless = True

    def __init__(self, params: Params, *, seed: int = 0, seeds: str | None = None) -> None:
        super().__init__(params, seed=seed, seeds=seeds)
        if params.mode == "grammar" and params.database:
            _ = self.databases  # a database that can't be read is a config error now, not at the first task

    def files(self) -> list[Path]:
        return [self.params.database] if self.params.database else []

    @cached_property
    def databases(self) -> dict[str, Database]:
        if self.params.database is None:
            return bundled()
        own = load(self.params.database, self.params.max_rows, self.params.industry)
        return {own.name: own}

    def tasks(self) -> Iterator[Cell | BadSeed]:
        if self.seeds:
            return self._from_file(self.seeds)
        if self.params.mode == "teacher":
            return teacher_cells(self.folder() / "taxonomy.yaml", self.params.tiers, self.seed)
        return grammar_cells(self.databases, self.params.tiers, self.seed)

    def _from_file(self, seeds: str) -> Iterator[Cell | BadSeed]:
        """The user's own cells, a row each."""
        for where, row in read_rows(seeds):
            yield row if isinstance(row, BadSeed) else self._cell(where, row)

    def _cell(self, where: str, row: JsonObject) -> Cell | BadSeed:
        try:
            cell = Cell.model_validate(row)
        except ValidationError as error:
            return BadSeed(where, str(error))
        if self.params.mode == "grammar" and cell.database not in self.databases:
            return BadSeed(where, f"database is none of {', '.join(self.databases)}")
        if self.params.mode == "grammar" and cell.concept not in CONCEPTS:
            return BadSeed(where, f"concept is none of {', '.join(CONCEPTS)}")
        return cell

    async def run(self, seed: Cell, ctx: Context) -> Record:
        return await (self._by_grammar(seed, ctx) if self.params.mode == "grammar" else self._by_teacher(seed, ctx))

    async def _by_grammar(self, cell: Cell, ctx: Context) -> Record:
        query, tables, proof = self._draw(cell, ctx.rng)
        question, phrasing = await self._phrase(query, verbalise(query, cell.style, ctx.rng).text, cell, ctx)
        schema = show(tables, ctx.rng.choice(LAYOUTS), ctx.rng)
        return Record(
            messages=[self._asked(question, schema, ctx), assistant(f"```sql\n{query.sql}\n```")],
            category=cell.tier,
            metadata={
                "mode": "grammar",
                "question": question,
                **phrasing,
                "cell": _point(cell),
                "sql": proof.model_dump(mode="json"),
            },
        )

    def _draw(self, cell: Cell, rng: Random) -> tuple[Query, tuple[Table, ...], SQLProof]:
        """A query of the cell's concept that returns something, with the context that proves it."""
        limits = self.params.limits
        for _ in range(DRAWS):
            try:
                query = sample_query(self.databases[cell.database], cell.concept, rng)
            except Unsuited as unsuited:
                raise Reject("grammar", "unsuited", str(unsuited)) from None
            try:
                tables, world = choose_context(query.database, query.sql, rng, limits)
                proof = prove_in_sqlite(world, query.sql, limits)
            except Refuted as refuted:
                if refuted.reason in ("no_rows", "trivial_result", "insensitive"):
                    continue
                raise Reject("execution", refuted.reason, refuted.detail, query=query.sql) from None
            if not _is_trivial(query, proof, limits):
                return query, tables, proof
        raise Reject("grammar", "no_rows", f"{DRAWS} draws of {cell.concept} on {cell.database} returned nothing")

    async def _phrase(self, query: Query, template: str, cell: Cell, ctx: Context) -> tuple[str, JsonObject]:
        """The question, reworded by a model if the rewording still asks the same; and how it came about."""
        if self.params.paraphrase is False or ctx.rng.random() >= self.params.paraphrase_share:
            return template, {"phrasing": "template"}
        role = "paraphraser" if self.params.paraphrase is True else self.params.paraphrase
        try:
            text = (await ctx.ask(role, "paraphrase", Rewording, style=cell.style, question=template)).text
        except Reject as fault:
            return template, {"phrasing": "template", "paraphrase_problems": [str(fault)]}
        if text == template:
            return template, {"phrasing": "template"}
        if problems := [*_form_problems(text, template), *check_paraphrase(text, query, query.database)]:
            return template, {"phrasing": "template", "paraphrase_problems": list(problems), "paraphrase": text}
        return text, {"phrasing": "paraphrase", "template": template}

    async def _by_teacher(self, cell: Cell, ctx: Context) -> Record:
        invented = await ctx.ask("writer", "world", World, cell=cell)
        world = SQLWorld(
            context=joined([*invented.ddl, *invented.inserts]),
            distractor_tables=invented.distractor_tables,
            distractor_columns=invented.distractor_columns,
        )
        _check_loads(world, self.params.limits)
        asked = self._asked(invented.question, "\n\n".join([*invented.ddl, *invented.inserts]), ctx)
        replies = await ctx.gather(
            (ctx.chat("solver", [asked]) for _ in range(self.params.candidates)), keep_rejects=True
        )
        best, proof, votes = elect(replies, world, self.params.limits)
        return Record(
            messages=[asked, best.message],
            category=cell.tier,
            metadata={
                "mode": "teacher",
                "question": invented.question,
                "votes": votes,
                "cell": _point(cell),
                "sql": proof.model_dump(mode="json"),
            },
        )

    def _asked(self, question: str, schema: str, ctx: Context) -> Message:
        order = ctx.rng.choice(("fenced", "plain", "schema_last"))
        return user(ctx.prompt("sample", question=question, schema=schema, order=order, lead=ctx.rng.randrange(8)))


def _form_problems(text: str, template: str) -> list[str]:
    """What shows at a glance that a rewording is none, whatever it says."""
    signs = {
        "speaks of the task": re.search(r"\brequest:|\breword|\btone\b", text, re.IGNORECASE),
        "holds a placeholder or a line break": re.search(r"[\[\]{}\n]", text),
        "is much longer": len(text.split()) > 1.5 * len(template.split()) + 5,
    }
    return [problem for problem, found in signs.items() if found]


def elect(replies: list[Reply | Reject], world: SQLWorld, limits: Limits) -> tuple[Reply, SQLProof, dict[str, Json]]:
    """The first of the replies whose results agree most often, its proof, and the count.

    Reject `execution` (or the commonest fault) where none is proved; `vote, no_agreement` where no result leads.
    """
    proved: dict[str, list[tuple[Reply, SQLProof]]] = {}
    faults: list[Reject] = []
    for reply in replies:
        if isinstance(reply, Reject):
            faults.append(reply)
            continue
        try:
            proof = prove_in_sqlite(world, query_in(reply.text), limits)
            proved.setdefault(_rows_hash(world, proof.query, limits), []).append((reply, proof))
        except Refuted as refuted:
            faults.append(Reject("execution", refuted.reason, refuted.detail, answer=reply.text))
    if not proved:
        commonest, _ = Counter((fault.stage, fault.reason) for fault in faults).most_common(1)[0]
        raise next(fault for fault in faults if (fault.stage, fault.reason) == commonest)
    first, *others = sorted(proved.values(), key=len, reverse=True)
    if len(replies) > 1 and (len(first) == 1 or (others and len(others[0]) == len(first))):
        raise Reject("vote", "no_agreement", f"{len(proved)} results of {len(replies)} answers, none ahead")
    proven = sum(map(len, proved.values()))
    return *first[0], {"candidates": len(replies), "proved": proven, "agreeing": len(first)}


def _rows_hash(world: SQLWorld, query: str, limits: Limits) -> str:
    """Over the rows in any order: that one answer sorts them and another doesn't is no disagreement."""
    with SQLite(world.context, limits) as engine:
        return result_hash(engine.run(query)[1], ordered=False)


def _check_loads(world: SQLWorld, limits: Limits) -> None:
    try:
        with SQLite(world.context, limits):
            pass
    except Refuted as refuted:
        raise Reject("world", refuted.reason, refuted.detail) from None


def _is_trivial(query: Query, proof: SQLProof, limits: Limits) -> bool:
    """One row of zeros, or the same rows as without the outermost WHERE: neither shows that the query is right."""
    if proof.row_count == 1 and not any(proof.result[0]):
        return True
    unfiltered = query.ast.copy()
    if unfiltered.args.pop("where", None) is None:
        return False
    try:
        return _rows_hash(proof, unfiltered.sql("sqlite"), limits) == _rows_hash(proof, proof.query, limits)
    except Refuted:  # without its filter it returns too much, so the filter does something
        return False


def _point(cell: Cell) -> JsonObject:
    """The cell without the axes that its mode doesn't use."""
    return {axis: value for axis, value in cell.model_dump(mode="json").items() if value != ""}
