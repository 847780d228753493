"""Teacher mode: one role invents a database and a request, another answers exactly what the record shows.

    world      the writer's tables and rows, with tables and columns that nobody needs        checked by code
    question   the writer's request, and its own statement for it                             proved by the engine
    answers    the solver's, `candidates` of them, to the record's messages and no more       proved by the engine

The writer's statement is proved first, before the solver is paid; then it has one vote and each proved answer has one.
The result that leads, with two votes or more, wins, and the record takes the first of the solver's answers that gives
it, with its own trace. The solver knows neither the concept nor what is a distractor.

Source: Nemotron 3 Super report (arXiv 2604.12374), §3.1.1 (SQL), and its public recipe.
"""

import asyncio
import re
from collections import Counter
from contextlib import AbstractContextManager
from typing import Annotated, Any, Protocol

from pydantic import Field

from generators.text_to_sql.cells import Cell
from generators.text_to_sql.invented import Sizes, Tables, check_flaw, check_sizes, read_tables
from generators.text_to_sql.taxonomy import taxonomy
from gristmill import Answer, Context, Record, Reject
from gristmill.llm import Reply
from judges.sql_concepts import CONCEPTS, shows
from judges.sql_engine import Database, Limits
from judges.sql_execution import prove, query_in
from judges.sql_server import server_for
from judges.sql_text import read_query
from judges.sql_world import SAMPLE_ROWS, Dialect, Refuted, SQLProof, SQLWorld, joined, result_hash
from judges.sqlite_engine import SQLite
from schemas import Json, JsonObject, Message, user

ENGINES: dict[Dialect, str] = {"sqlite": "SQLite", "postgres": "PostgreSQL", "mysql": "MySQL"}

_SQL_WORDS = re.compile(
    r"\b(SELECT|JOIN|GROUP BY|ORDER BY|WHERE|HAVING|UNION|CTE|SQL|subquer(y|ies)|window function)\b"
)
_PRESENT = re.compile(r"\b(today|yesterday|tomorrow|right now|as of now|at the moment|current date)\b", re.IGNORECASE)


class World(Answer):
    """What the writer invents first."""

    ddl: Annotated[list[str], Field(min_length=2, max_length=12)]
    inserts: Annotated[list[str], Field(min_length=2, max_length=24)]
    distractor_tables: Annotated[list[str], Field(max_length=6)]
    distractor_columns: Annotated[list[str], Field(max_length=60)]


class Question(Answer):
    """What the writer asks of its world. `query` is its own statement: a check and a vote, never a record."""

    question: Annotated[str, Field(min_length=10, max_length=1500)]
    query: str


class Settings(Protocol):
    """What the mode takes from the parameters."""

    @property
    def candidates(self) -> int: ...
    @property
    def sizes(self) -> Sizes: ...
    @property
    def limits(self) -> Limits: ...


async def by_teacher(cell: Cell, settings: Settings, ctx: Context) -> Record:
    """The record of one cell. Rejects come from the stages world, question, execution, vote and llm."""
    world, tables = await _invent(cell, settings, ctx)
    asked, own = await _ask(cell, world, tables, settings.limits, ctx)
    message = _message(cell, world, asked.question, ctx)
    replies = await ctx.gather((ctx.chat("solver", [message]) for _ in range(settings.candidates)), keep_rejects=True)
    best, proof, votes = await _elect(replies, own, world, cell, settings.limits, ctx)
    return Record(
        messages=[message, best.message],
        category=cell.tier,
        metadata={
            "mode": "teacher",
            "question": asked.question,
            "cell": cell.point(),
            "concepts": _shown(proof, settings.limits),
            "challenge": f"{cell.data_quality}: {cell.flaw}" if cell.flaw else "none",
            "knowledge": f"{cell.knowledge}: {cell.fact}" if cell.fact else "none",
            "votes": votes,
            "sql": proof.model_dump(mode="json"),
        },
    )


# --- the database ----------------------------------------------------------------------------------------------------


async def _invent(cell: Cell, settings: Settings, ctx: Context) -> tuple[SQLWorld, Tables]:
    """A database that is as large, as linked and as flawed as it should be, and that the engine loads."""
    invented = await ctx.ask("writer", "world", World, sizes=settings.sizes, **_told(cell))
    tables = read_tables([*invented.ddl, *invented.inserts], cell.dialect)
    check_sizes(tables, invented.distractor_tables, invented.distractor_columns, settings.sizes)
    flaw = taxonomy().flaw(cell.data_quality, cell.flaw)
    if flaw is not None:
        check_flaw(tables, invented.distractor_tables, flaw)
    world = SQLWorld(
        dialect=cell.dialect,
        context=joined([*invented.ddl, *invented.inserts]),
        distractor_tables=invented.distractor_tables,
        distractor_columns=invented.distractor_columns,
        writes=cell.writes,
    )
    try:
        await _load(world, settings.limits, ctx)
    except Refuted as refuted:
        raise Reject("world", refuted.reason, refuted.detail) from None
    return world, tables


def _told(cell: Cell) -> dict[str, Any]:
    """What both of the writer's prompts say of the cell."""
    flaw = taxonomy().flaw(cell.data_quality, cell.flaw)
    return {
        "cell": cell,
        "engine": ENGINES[cell.dialect],
        "concept": CONCEPTS[cell.concept].phrase,
        "flaw": flaw.phrase if flaw else cell.flaw,
        "fact": taxonomy().fact(cell.knowledge, cell.fact),
    }


async def _load(world: SQLWorld, limits: Limits, ctx: Context) -> None:
    """Refuted where the engine doesn't load the context."""
    if world.dialect == "sqlite":
        await asyncio.to_thread(_enter, SQLite(world.context, limits))
    else:
        server = await server_for(world.dialect, limits, ctx)
        await asyncio.wrap_future(server.workers.submit(lambda: _enter(server.database(world.context, limits))))


def _enter(database: AbstractContextManager[Database]) -> None:
    with database:
        pass


# --- the request -----------------------------------------------------------------------------------------------------


async def _ask(cell: Cell, world: SQLWorld, tables: Tables, limits: Limits, ctx: Context) -> tuple[Question, SQLProof]:
    """A request in words, and the proof of the writer's own statement for it. Reject `question` where either fails."""
    unneeded = ", ".join([*world.distractor_tables, *world.distractor_columns])
    asked = await ctx.ask("writer", "question", Question, context=world.context, unneeded=unneeded, **_told(cell))
    _check_words(asked.question, tables)
    try:
        return asked, await prove(world, asked.query, ctx, limits, concept=cell.concept)
    except Refuted as refuted:
        raise Reject("question", refuted.reason, refuted.detail, question=asked.question, query=asked.query) from None


def _check_words(question: str, tables: Tables) -> None:
    """Reject `question`: speaks_sql, relative_to_now or names_schema."""
    if found := _SQL_WORDS.search(question):
        raise Reject("question", "speaks_sql", f"it says {found[0]}", question=question)
    if found := _PRESENT.search(question):
        raise Reject("question", "relative_to_now", f"it says {found[0]}", question=question)
    names = {name for table in tables.values() for name in (table.name, *table.columns) if "_" in name}
    if said := sorted(names & set(re.findall(r"\w+", question.lower()))):
        raise Reject("question", "names_schema", f"it says {', '.join(said)}", question=question)


def _message(cell: Cell, world: SQLWorld, question: str, ctx: Context) -> Message:
    """All that the solver, and later the trained model, sees."""
    form = {"order": ctx.rng.choice(("fenced", "plain", "schema_last")), "lead": ctx.rng.randrange(8)}
    return user(ctx.prompt("sample", engine=ENGINES[cell.dialect], question=question, schema=world.context, **form))


# --- the answers -----------------------------------------------------------------------------------------------------


async def _elect(
    replies: list[Reply | Reject], own: SQLProof, world: SQLWorld, cell: Cell, limits: Limits, ctx: Context
) -> tuple[Reply, SQLProof, JsonObject]:
    """The first of the answers whose result leads, its proof, and the count; the writer's own statement has a vote.

    Reject `execution` or `llm` with the commonest fault where no answer is proved; `vote, no_agreement` where no result
    leads with two votes.
    """
    proved: list[tuple[Reply, SQLProof]] = []
    faults: list[Reject] = []
    for reply in replies:
        try:
            proved.append(await _proved(reply, world, cell, limits, ctx))
        except Reject as fault:
            faults.append(fault)
    if not proved:
        commonest, _ = Counter((fault.stage, fault.reason) for fault in faults).most_common(1)[0]
        raise next(fault for fault in faults if (fault.stage, fault.reason) == commonest)
    votes = Counter([_ballot(own), *(_ballot(proof) for _, proof in proved)])
    (winner, most), *others = votes.most_common(2)
    if most < 2 or (others and others[0][1] == most):
        detail = f"{len(votes)} results of {len(proved)} answers and the writer's own, none ahead"
        raise Reject("vote", "no_agreement", detail, own=own.query, answers=[proof.query for _, proof in proved])
    best, proof = next((reply, proof) for reply, proof in proved if _ballot(proof) == winner)
    count: JsonObject = {
        "candidates": len(replies),
        "proved": len(proved),
        "agreeing": sum(_ballot(proof) == winner for _, proof in proved),
        "writer_agrees": _ballot(own) == winner,
    }
    return best, proof, count


async def _proved(
    reply: Reply | Reject, world: SQLWorld, cell: Cell, limits: Limits, ctx: Context
) -> tuple[Reply, SQLProof]:
    """The answer with its proof; Reject where it is no answer or isn't proved."""
    if isinstance(reply, Reject):
        raise reply
    try:
        return reply, await prove(world, query_in(reply.text), ctx, limits, concept=cell.concept)
    except Refuted as refuted:
        raise Reject("execution", refuted.reason, refuted.detail, answer=reply.text) from None


def _ballot(proof: SQLProof) -> str:
    """Equal for equal rows in any order, as far as the proof has them all: that one answer sorts is no disagreement."""
    rows = [tuple(row) for row in proof.result]
    return result_hash(rows, ordered=False) if proof.row_count <= SAMPLE_ROWS else proof.hash


def _shown(proof: SQLProof, limits: Limits) -> list[Json]:
    """All concepts that the query uses."""
    tree = read_query(proof.query, proof.dialect, writes=proof.writes, clock=limits.frozen_clock).tree
    return [name for name in CONCEPTS if shows(name, tree, proof.dialect)]
