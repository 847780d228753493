"""Teacher mode: a model answers the question several times, a larger one chooses the best answer (GenSelect).

    question    a template for one filing, or one of its rewordings that asks the same
    candidates  five replies of the role `solver` to exactly the record's messages, each from a seed of its own
    chosen      the one that the role `selector` finds best on figures, method and logic; its native trace stays with it

The order of the candidates is shuffled. With `reconfirm` the choice is asked for again in another order, and a question
on which the two disagree is lost. Where the template has a formula, the record carries what the formula gives, so that
the judge xbrl can hold the answer against it; else it carries the facts tagged in the excerpts.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Protocol

from pydantic import Field

from generators.financial_qa.computed import about, names_of, proof, question, tellings, vocabulary
from generators.financial_qa.excerpts import Excerpt, excerpt
from generators.financial_qa.formulas import NotComputable
from generators.financial_qa.library import Library
from generators.financial_qa.metrics import fits, metrics
from generators.financial_qa.solve import solve
from generators.financial_qa.tasks import Asked
from generators.financial_qa.telling import Telling, scale_of
from generators.financial_qa.templates import Template
from generators.financial_qa.work import Solution, Used
from gristmill import Answer, Context, Record, Reject
from gristmill.llm import Reply
from judges.genselect import select
from schemas import Json, JsonObject, Message, assistant, system, user

CRITERIA = (
    "First numerical accuracy: every figure must be the filing's, with its period, unit and sign, and the arithmetic "
    "must be right. Then sound financial method, then logic from figures to conclusion. Length earns nothing."
)


class Reworded(Answer):
    questions: Annotated[list[Annotated[str, Field(min_length=10, max_length=600)]], Field(min_length=1, max_length=3)]


class Settings(Protocol):
    """What the mode takes from the parameters."""

    @property
    def candidates(self) -> int: ...
    @property
    def reconfirm(self) -> bool: ...
    @property
    def rewordings(self) -> int: ...
    @property
    def context_tokens(self) -> int: ...


async def by_teacher(
    task: Asked, template: Template, library: Library, settings: Settings, ctx: Context
) -> list[Record]:
    """A record for the question and one for each rewording. Rejects: facts (missing), select (no_agreement), llm."""
    told = tellings(task, library, ctx.rng.randrange(3))
    solution = worked_out(template, told, ctx)
    excerpts = [
        excerpt(one.filing, solution.of(one.company), template.sections, settings.context_tokens // len(told))
        for one in told
    ]
    asked = question(template, told, task.wording)
    questions = [asked, *await reworded(asked, names_of(template, told), settings.rewordings, ctx)]
    checked = (
        proof(solution, library.restated(task.key, solution.of(told[0].company)))
        if solution.expected
        else facts_known(told, excerpts)
    )
    shared: JsonObject = {"mode": "teacher", **about(task, template, told, excerpts), "xbrl": checked}
    introduced = system(ctx.prompt("instructions", excerpts=[one.text for one in excerpts]).strip())
    records = await ctx.gather(
        (_record([introduced, user(text)], text, asked, template, shared, settings, ctx) for text in questions),
        keep_rejects=True,
    )
    made = [record for record in records if isinstance(record, Record)]
    if not made:
        raise next(record for record in records if isinstance(record, Reject))
    return made


async def reworded(text: str, names: list[str], number: int, ctx: Context) -> list[str]:
    """Up to `number` rewordings that ask the same."""
    if not number:
        return []
    try:
        replied = await ctx.ask("paraphraser", "reformulate", Reworded, text=text, number=number)
    except Reject:
        return []
    distinct = dict.fromkeys(one.strip() for one in replied.questions)
    kept = [
        one for one in distinct if one != text and not vocabulary().differences(one, text, names=names, in_order=False)
    ]
    return kept[:number]


def worked_out(template: Template, told: Sequence[Telling], ctx: Context) -> Solution:
    """The formula's own solution; an empty one where there is no formula, or the facts don't give it."""
    if not template.computable:
        return Solution()
    try:
        return solve(template, told[0], told[1:], ctx.rng)
    except NotComputable:
        return Solution()


async def _record(
    messages: list[Message],
    text: str,
    asked: str,
    template: Template,
    shared: JsonObject,
    settings: Settings,
    ctx: Context,
) -> Record:
    replies = await ctx.gather(
        (ctx.chat("solver", messages, seed=ctx.rng.randrange(2**31)) for _ in range(settings.candidates)),
        keep_rejects=True,
    )
    given = [reply for reply in replies if not isinstance(reply, Reject)]
    if not given:
        raise next(reply for reply in replies if isinstance(reply, Reject))
    chosen, reason = await _choose("\n\n".join(message.content for message in messages), given, settings.reconfirm, ctx)
    return Record(
        messages=[*messages, assistant(chosen.message.content, chosen.message.reasoning_content)],
        category=template.group,
        metadata={
            **shared, "question": text, "phrasing": "template" if text == asked else "paraphrase",
            "candidates": list[Json](dict.fromkeys(reply.message.content for reply in given if reply is not chosen)),
            "chosen_for": reason,
        },
    )  # fmt: skip


async def _choose(shown: str, replies: list[Reply], reconfirm: bool, ctx: Context) -> tuple[Reply, str]:
    texts = [reply.message.content for reply in replies]
    chosen = await select(ctx, shown, texts, role="selector", criteria=CRITERIA)
    if reconfirm:
        again = await select(ctx, shown, texts, role="selector", criteria=CRITERIA)
        if texts[again.position] != texts[chosen.position]:
            raise Reject(
                "select", "no_agreement", f"first {chosen.position + 1}, then {again.position + 1}", candidates=texts
            )
    return replies[chosen.position], chosen.reason


def facts_known(told: Sequence[Telling], excerpts: Sequence[Excerpt]) -> JsonObject:
    """The companies' own facts of the period and the two before it, as the judge xbrl reads them: those that metrics
    name, wherever the filing tells them, and others where the excerpts do.
    """
    by_concept = {concept: metric.names for metric in metrics().values() for concept in metric.concepts}
    solution = Solution()
    for one, shown in zip(told, excerpts, strict=True):
        telling = replace(one, scale=scale_of(one.filing.facts))
        for fact in one.filing.facts:
            label = (fact.label,) if fact.label and fact.block in shown.blocks else ()
            names = by_concept.get(fact.concept, label)
            years = next((n for n in (0, -1, -2) if fits(one.filing, fact, fact.days > 0, n)), None)
            if names and years is not None and not fact.dimensions:
                solution.used.append(Used(one.company, names, one.period(years), fact, telling.figure(fact)))
    return proof(solution, {})
