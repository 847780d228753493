"""Grammar mode: a query is drawn over a database, put into words by rule, and reworded if its sense survives.

    cell          concept "period_growth", database "hospital", dialect "postgres", style interrogative/formal/2
    plan          admissions per month, and the growth of the total cost since the previous one in percent
    query         WITH totals AS (SELECT TO_CHAR(admitted_on, 'YYYY-MM') AS month, ...) SELECT ...
    question      "May I ask: for each month, what are the total treatment cost and its growth ...?"

Queries are drawn and sifted in SQLite, where that costs a few milliseconds. Then the plan is compiled to the cell's
dialect and proved on its engine, and both engines must give the same rows: a plan means one thing.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Protocol

from generators.text_to_sql.cells import Cell
from generators.text_to_sql.context import LAYOUTS, QueryContext, choose_context, show
from generators.text_to_sql.grammar import Query, Unsuited, query_of, sample_query
from generators.text_to_sql.paraphrase import check_paraphrase
from generators.text_to_sql.schema import Database
from generators.text_to_sql.teacher import ENGINES
from generators.text_to_sql.verbalise import verbalise
from gristmill import Context, Record, Reject
from judges.rewording import Rewords, reword
from judges.sql_concepts import CONCEPTS
from judges.sql_engine import Limits
from judges.sql_execution import prove, prove_in_sqlite
from judges.sql_world import Refuted, SQLProof
from schemas import Json, assistant, user

DRAWS = 20
"""How often a query is drawn anew before its cell is given up."""

_REDRAWN = frozenset({"no_rows", "trivial_result", "insensitive"})
"""What an engine may find wrong with a query that is right: other literals will do."""


_META = re.compile(
    r"\b(request:|reword|tone\b|json|(your|this|the) (request|task|question) is|this is a (question|request|task)|"
    r"not possible|the answer is|here is|sure,|certainly)",
    re.IGNORECASE,
)
"""How a model talks about what it was asked to do."""
_QUOTED = re.compile(r"'([^']+)'|\"([^\"]+)\"")
_DANGLING = re.compile(
    r"(\b(a|an|and|as|at|by|each|every|for|from|of|on|or|than|that|the|their|to|which|whose|with)|[-,:(])\s*$",
    re.IGNORECASE,
)
"""How no sentence ends."""


class Settings(Rewords, Protocol):
    """What the mode takes from the parameters."""

    @property
    def limits(self) -> Limits: ...


async def by_grammar(cell: Cell, databases: Mapping[str, Database], settings: Settings, ctx: Context) -> Record:
    """The record of one cell. Rejects come from the stages grammar (unsuited, no_rows) and execution."""
    query, context, proof = await _draw(cell, databases[cell.database], settings.limits, ctx)
    template = verbalise(query, cell.style, ctx.rng).text
    question, phrasing = await reword(ctx, template, settings, partial(_problems, query), style=cell.style)
    schema = show(context.tables, ctx.rng.choice(LAYOUTS), cell.dialect, ctx.rng)
    form = {"order": ctx.rng.choice(("fenced", "plain", "schema_last")), "lead": ctx.rng.randrange(8)}
    asked = ctx.prompt("sample", engine=ENGINES[cell.dialect], question=question, schema=schema, **form)
    return Record(
        messages=[user(asked), assistant(f"```sql\n{query.sql}\n```")],
        category=cell.tier,
        metadata={
            "mode": "grammar",
            "question": question,
            **phrasing,
            "cell": cell.point(),
            "sql": proof.model_dump(mode="json"),
        },
    )


# --- the query -------------------------------------------------------------------------------------------------------


async def _draw(cell: Cell, database: Database, limits: Limits, ctx: Context) -> tuple[Query, QueryContext, SQLProof]:
    """A query of the cell's concept in its dialect, that returns something, with the context that proves it."""
    for _ in range(DRAWS):
        try:
            drawn = sample_query(database, cell.concept, ctx.rng)
        except Unsuited as unsuited:
            raise Reject("grammar", "unsuited", str(unsuited)) from None
        query = drawn if cell.dialect == "sqlite" else query_of(drawn.plan, database, cell.dialect)
        context = choose_context(drawn, ctx.rng)
        own = cell.concept if "sqlite" in CONCEPTS[cell.concept].dialects else ""
        try:
            sifted = prove_in_sqlite(context.world("sqlite"), drawn.sql, limits, concept=own)
            if cell.dialect == "sqlite":
                return query, context, sifted
            proof = await prove(context.world(cell.dialect), query.sql, ctx, limits, concept=cell.concept)
        except Refuted as refuted:
            if refuted.reason in _REDRAWN:
                continue
            raise Reject("execution", refuted.reason, refuted.detail, query=query.sql) from None
        if not agree(sifted, proof, drawn.ordered):
            detail = f"SQLite {sifted.row_count} rows {sifted.result[:3]}, {proof.engine} {proof.result[:3]}"
            raise Reject("execution", "engines_disagree", detail, query=query.sql)
        return query, context, proof
    raise Reject("grammar", "no_rows", f"{DRAWS} draws of {cell.concept} on {cell.database} returned nothing to learn")


def agree(one: SQLProof, other: SQLProof, ordered: bool) -> bool:
    """Both engines give the same rows, as far as the proofs show them; decimals are exact in one of them only."""
    if one.row_count != other.row_count:
        return False
    if not ordered and one.row_count > len(one.result):
        return True  # the sample of an unordered result may be any part of it
    rows, others = (one.result, other.result) if ordered else (sorted(r.result, key=_rough) for r in (one, other))
    return all(len(row) == len(twin) and all(map(_same, row, twin)) for row, twin in zip(rows, others, strict=True))


def _same(one: Json, other: Json) -> bool:
    if isinstance(one, int | float) and isinstance(other, int | float):
        return abs(one - other) <= 1e-4 * max(1.0, abs(one))
    return one == other


def _rough(row: Sequence[Json]) -> list[str]:
    """A key that sorts rows alike whose numbers differ in their last digits."""
    return [f"{value:.4g}" if isinstance(value, int | float) else repr(value) for value in row]


# --- the question ----------------------------------------------------------------------------------------------------


def _problems(query: Query, text: str, template: str) -> list[str]:
    return [*form_problems(text, template), *check_paraphrase(text, query, query.database)]


def form_problems(text: str, template: str) -> list[str]:
    """What shows at a glance that a rewording is none, whatever it says."""
    signs = {
        "speaks of the task": _META.search(text) and not _META.search(template),
        "holds a placeholder or a line break": re.search(r"[\[\]{}\n`]", text),
        "is cut off": _is_open(text),
        "repeats itself": _repeats(text, template),
        "is much longer": len(text.split()) > 1.5 * len(template.split()) + 5,
    }
    return [problem for problem, found in signs.items() if found]


def _is_open(text: str) -> bool:
    """A bracket or a quotation mark has no partner (an apostrophe needs none), or the last word wants another one."""
    unpaired = text.count("(") != text.count(")") or text.count('"') % 2 == 1
    return unpaired or bool(_DANGLING.search(text))


def _repeats(text: str, template: str) -> bool:
    """Five words in a row, or a literal in quotes, come more often than in the wording that was reworded."""
    said, asked = (Counter(_fives(part)) for part in (text, template))
    again = any(count > max(1, asked[five]) for five, count in said.items())
    literals = {one or two for one, two in _QUOTED.findall(template)}
    return again or any(text.count(literal) > template.count(literal) for literal in literals)


def _fives(text: str) -> Iterator[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return (tuple(words[place : place + 5]) for place in range(len(words) - 4))
