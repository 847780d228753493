"""Execution as proof: a query is right about its database only if the engine says so, on a database built anew.

`prove` goes from what is cheap to what is dear, and ends at the first thing that doesn't hold:

1. the text: one statement that sqlglot parses in its dialect, that only reads, has no clock and no chance in it, and
   shows the concept that was asked for (`judges.sql_text`, `judges.sql_concepts`);
2. the names: every table and column stands in the loaded context;
3. the result: some rows, and more than a single NULL or 0;
4. chance: tables read in another order and ties broken the other way give the same rows;
5. distractors: without them the result is the same; without any table that the query uses it is not;
6. sensitivity: with other rows the result is another one.

A statement that is meant to write (`SQLWorld.writes`) is proved by the tables that it leaves behind.

The judge `sql_execution` reads `metadata.sql` of any record, see `judges.sql_world`.
Source: Nemotron 3 Super report (arXiv 2604.12374), §3.1.1, where SQL records are only parsed and read by critics.
"""

import asyncio
import re
from collections import Counter
from functools import partial

from pydantic import ValidationError

from gristmill import Context, Judge, Record, Verdict
from judges.sql_checks import Outcome, check_change, check_query
from judges.sql_concepts import CONCEPTS, shows
from judges.sql_engine import Database, Limits
from judges.sql_server import Server, server_for
from judges.sql_text import Parsed, read_query
from judges.sql_variants import check_elsewhere
from judges.sql_world import SAMPLE_ROWS, Refuted, Row, SQLProof, SQLWorld, as_json, comparable, result_hash
from judges.sqlite_engine import SQLite
from schemas import Json

_CLAIM = ("dialect", "context", "query", "distractor_tables", "distractor_columns", "writes")


async def prove(
    world: SQLWorld, query: str, ctx: Context, limits: Limits | None = None, *, concept: str = ""
) -> SQLProof:
    """The proof that `query` holds on `world` in every respect of the module's docstring; else Refuted."""
    return _proof(world, query, await _outcome(world, query, ctx, limits or Limits(), concept))


def prove_in_sqlite(world: SQLWorld, query: str, limits: Limits | None = None, *, concept: str = "") -> SQLProof:
    """`prove` where no server is needed, and so no context."""
    return _proof(world, query, _in_sqlite(world, query, limits or Limits(), concept))


def prove_on(
    server: Server, world: SQLWorld, query: str, limits: Limits | None = None, *, concept: str = ""
) -> SQLProof:
    """`prove` on a server that runs already, in this thread."""
    limits = limits or Limits()
    return _proof(world, query, _on_server(server, world, _read(world, query, limits, concept), limits, concept))


async def _outcome(world: SQLWorld, query: str, ctx: Context, limits: Limits, concept: str) -> Outcome:
    if world.dialect == "sqlite":
        return await asyncio.to_thread(_in_sqlite, world, query, limits, concept)
    parsed = _read(world, query, limits, concept)
    server = await server_for(world.dialect, limits, ctx)
    return await asyncio.wrap_future(server.workers.submit(_on_server, server, world, parsed, limits, concept))


def _on_server(server: Server, world: SQLWorld, parsed: Parsed, limits: Limits, concept: str) -> Outcome:
    """Tried again where the server broke off, which may have been another worker's fault."""
    try:
        return _once_on_server(server, world, parsed, limits, concept)
    except Refuted as refuted:
        if refuted.reason != "crashed":
            raise
    return _once_on_server(server, world, parsed, limits, concept)


def _once_on_server(server: Server, world: SQLWorld, parsed: Parsed, limits: Limits, concept: str) -> Outcome:
    with server.database(world.context, limits) as database:
        return _checked(database, world, parsed, limits, concept)


def _in_sqlite(world: SQLWorld, query: str, limits: Limits, concept: str) -> Outcome:
    parsed = _read(world, query, limits, concept)
    with SQLite(world.context, limits) as database:
        return _checked(database, world, parsed, limits, concept)


def _read(world: SQLWorld, query: str, limits: Limits, concept: str) -> Parsed:
    parsed = read_query(query, world.dialect, writes=world.writes, clock=limits.frozen_clock)
    if concept and not shows(concept, parsed.tree, world.dialect):
        raise Refuted("concept_missing", f"the query shows no {concept}")
    return parsed


def _checked(database: Database, world: SQLWorld, parsed: Parsed, limits: Limits, concept: str) -> Outcome:
    if world.writes:
        return check_change(database, world, parsed)
    may_be_empty = bool(concept) and CONCEPTS[concept].may_be_empty
    return check_query(database, world, parsed, limits, may_be_empty=may_be_empty)


def _proof(world: SQLWorld, query: str, outcome: Outcome) -> SQLProof:
    return SQLProof(
        dialect=world.dialect,
        context=world.context,
        distractor_tables=world.distractor_tables,
        distractor_columns=world.distractor_columns,
        writes=world.writes,
        query=query,
        columns=outcome.columns,
        ordered=outcome.ordered,
        row_count=len(outcome.rows),
        result=[[as_json(value) for value in row] for row in _shown(outcome)],
        hash=result_hash(outcome.rows, outcome.ordered),
        engine=outcome.engine,
    )


def _shown(outcome: Outcome) -> list[Row]:
    """The first rows; of those without an order always the same ones, in whatever order an engine gives them."""
    rows = outcome.rows if outcome.ordered else sorted(outcome.rows, key=lambda row: repr(comparable([row])))
    return rows[:SAMPLE_ROWS]


# --- the judge -------------------------------------------------------------------------------------------------------


class SQLExecution(Judge[Limits]):
    """Proves `metadata.sql` of a record again; undecided where there is none."""

    name = "sql_execution"

    async def judge(self, record: Record, ctx: Context) -> Verdict:
        if "sql" not in record.metadata:
            return Verdict(name=self.name, passed=None, reason="no_proof: the record has no metadata.sql")
        try:
            engine = await check_record(record, ctx, self.params)
        except Refuted as refuted:
            return Verdict(name=self.name, passed=False, score=0.0, reason=str(refuted))
        return Verdict(name=self.name, passed=True, score=1.0, reason=f"proved on {engine}")


async def check_record(record: Record, ctx: Context, limits: Limits) -> str:
    """The engine that proved the record's answer. Refuted where it isn't what `metadata.sql` says.

    A record with a recorded result has its query in the one sql block of its last assistant message. A record of others
    may have none; then the query of `metadata.sql` is proved. A block that differs from that query must give the same
    rows, also with other data (`judges.sql_variants`).
    """
    claim, concept = _claim(record.metadata["sql"]), _concept_of(record)
    world: SQLWorld
    blocks = _last_blocks(record)
    if isinstance(claim, SQLProof):
        world, query, answer = claim, claim.query, _only(blocks)
        outcome = await _outcome(world, answer, ctx, limits, concept)
        proof, recorded = claim, f"recorded {claim.row_count} rows {claim.result[:3]}"
    else:
        world, query = claim
        outcome = await _outcome(world, query, ctx, limits, concept)
        proof, recorded = _proof(world, query, outcome), f"metadata.sql.query {outcome.rows[:3]}"
        answer = blocks[0] if len(blocks) == 1 else query
        if not _is_same_text(answer, query):
            outcome = await _outcome(world, answer, ctx, limits, concept)
    if not _gives(outcome, proof):
        raise Refuted("wrong_result", f"the answer gives {len(outcome.rows)} rows {outcome.rows[:3]}, {recorded}")
    if not world.writes and not _is_same_text(answer, query):
        await _check_elsewhere(world, query, answer, proof.ordered, ctx, limits)
    return outcome.engine


def _is_same_text(answer: str, query: str) -> bool:
    return answer.strip("; \n") == query.strip("; \n")


async def _check_elsewhere(
    world: SQLWorld, query: str, answer: str, ordered: bool, ctx: Context, limits: Limits
) -> None:
    reference, given = (_read(world, one, limits, "") for one in (query, answer))
    check = partial(check_elsewhere, world=world, reference=reference, answer=given, ordered=ordered)
    if world.dialect == "sqlite":
        return await asyncio.to_thread(check, partial(SQLite, limits=limits))
    server = await server_for(world.dialect, limits, ctx)
    return await asyncio.wrap_future(server.workers.submit(check, partial(server.database, limits=limits)))


def _concept_of(record: Record) -> str:
    """The concept that the record was made for, `metadata.cell.concept`, where it is one of ours."""
    cell = record.metadata.get("cell")
    concept = cell.get("concept") if isinstance(cell, dict) else None
    return concept if isinstance(concept, str) and concept in CONCEPTS else ""


def _claim(stated: Json) -> SQLProof | tuple[SQLWorld, str]:
    """A proof where there is a whole one, else the world and the query."""
    try:
        if isinstance(stated, dict) and "hash" in stated:
            return SQLProof.model_validate(stated)
        kept = {key: stated[key] for key in _CLAIM if key in stated} if isinstance(stated, dict) else {}
        query = kept.pop("query", None)
        if not isinstance(query, str):
            raise Refuted("malformed", "metadata.sql.query: a string is missing")
        return SQLWorld.model_validate(kept), query
    except ValidationError as error:
        first = error.errors()[0]
        raise Refuted("malformed", f"metadata.sql.{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _gives(outcome: Outcome, claim: SQLProof) -> bool:
    """The recorded count, hash and sample are those of the rows, in their order where they have one."""
    if claim.ordered and not outcome.ordered and claim.row_count > 1:
        return False
    if result_hash(outcome.rows, claim.ordered) != claim.hash or claim.row_count != len(outcome.rows):
        return False
    shown, rows = comparable(claim.result), comparable(outcome.rows)
    if len(shown) != min(len(rows), SAMPLE_ROWS):
        return False
    return shown == rows[: len(shown)] if claim.ordered else Counter(shown) <= Counter(rows)


def _last_blocks(record: Record) -> list[str]:
    replies = [message.content for message in record.messages if message.role == "assistant"]
    return _sql_blocks(replies[-1]) if replies else []


def query_in(reply: str) -> str:
    """The query of the one fenced ```sql block in a reply."""
    return _only(_sql_blocks(reply))


def _sql_blocks(reply: str) -> list[str]:
    fence = r"^```(?:sql|sqlite|postgres(?:ql)?|mysql|mariadb)[ \t]*\n(.*?)^```[ \t]*$"
    found: list[str] = re.findall(fence, reply, re.DOTALL | re.MULTILINE | re.IGNORECASE)
    return [block.strip() for block in found]


def _only(blocks: list[str]) -> str:
    if len(blocks) != 1:
        raise Refuted("several_queries" if blocks else "no_query", f"{len(blocks)} fenced sql blocks, expected one")
    return blocks[0]
