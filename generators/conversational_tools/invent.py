"""Stages one to three by a teacher: services, a policy with tools for each, and scenarios. What comes out are folders.

    artifacts/1_subdomains.json     {"banking": ["card blocking", "joint accounts", ...], ...}
    artifacts/2_domains.json        what became of each draft: {"folder": "banking_card_blocking", "rounds": 2, ...}
    artifacts/3_scenarios.json      what became of each scenario, with the reasons of those that were dropped
    artifacts/domains/NAME/         policy.md, tools.json, database.sql, scenarios.yaml: a domain like any other

Nothing of a model runs as code: tools are checked operations in SQL. A draft that a rule faults (its SQL, its tools,
where policy and tools disagree, actions that don't replay) goes back to the writer with the faults, and so does one
that the judge refuses; after `refinements` rounds it is dropped. Each call is in the ledger, so all of it resumes.

Source: Nemotron 3 Super report (arXiv 2604.12374), conversational tool use: iterative expansion to 838 subdomains,
policies and tools by self-refinement and a few-shot judge, scenarios from persona, background and inquiry.
"""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from itertools import islice
from pathlib import Path
from random import Random
from typing import Annotated, Any, TypeVar

import orjson
import yaml
from pydantic import Field

from generators.conversational_tools.domain import Domain, load_domain
from generators.conversational_tools.drafts import Draft, DraftScenario, Opinion, Services
from generators.conversational_tools.lint import lint
from generators.conversational_tools.scenario import Scenario
from gristmill import Answer, Config, Context, Reject
from gristmill.errors import GristmillError
from gristmill.personas import Persona, personas
from gristmill.walk import rounds
from schemas import JsonObject

SAME = 0.85
"""From this similarity on, two names mean one service."""

KINDS = (
    "an ordinary request that the policy allows",
    "a request that is allowed only under a condition, and here it is met",
    "a request that the policy forbids; the person accepts the refusal after asking once more",
    "a request that can be met only in part, or in another way than the person thought",
    "two matters of the same person, one after the other",
    "a question for information alone; nothing is to be changed",
    "a person who can't prove who they are, or who asks about somebody else's data",
    "a request whose amount, day or choice has to be found out with the tools first",
)

A = TypeVar("A", bound=Answer)


class Invent(Config):
    """`subdomains`: expand the bundled list (or your own `fields`) to so many; left out, it stays as it is. `domains`
    of them get a policy and tools, and `scenarios` each. `personas` as for `gristmill.personas`."""

    fields: dict[str, list[str]] = {}
    subdomains: Annotated[int, Field(ge=1)] | None = None
    domains: Annotated[int, Field(ge=1)] = 10
    scenarios: Annotated[int, Field(ge=1)] = 8
    refinements: Annotated[int, Field(ge=0, le=8)] = 3
    personas: str | None = None


async def invent_domains(params: Invent, seed: int, ctx: Context) -> list[Path]:
    """The folders of the domains that have at least one scenario. GristmillError where none has."""
    fields = params.fields or yaml.safe_load((Path(__file__).parent / "domains.yaml").read_text(encoding="utf-8"))
    fields = await expand(fields, params.subdomains, ctx) if params.subdomains else fields
    _write(ctx, "1_subdomains.json", fields)

    chosen = list(islice(_in_turn(fields), params.domains))
    fates = await ctx.gather(_domain(field, service, params.refinements, ctx) for field, service in chosen)
    _write(ctx, "2_domains.json", fates)

    folders = [ctx.artifacts / "domains" / str(fate["folder"]) for fate in fates if fate["kept"]]
    people = personas(params.personas, seed)
    cast = [list(islice(people, params.scenarios)) for _ in folders]
    written = await ctx.gather(
        _scenarios(folder, people, params.refinements, seed, ctx) for folder, people in zip(folders, cast, strict=True)
    )
    _write(ctx, "3_scenarios.json", dict(zip([folder.name for folder in folders], written, strict=True)))
    kept = [folder for folder, fates in zip(folders, written, strict=True) if any(fate["kept"] for fate in fates)]
    if not kept:
        raise GristmillError(f"no domain came out: see 2_domains.json and 3_scenarios.json in {ctx.artifacts}.")
    return kept


def _write(ctx: Context, name: str, content: Any) -> None:
    (ctx.artifacts / name).write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))


# --- one: subdomains -------------------------------------------------------------------------------------------------


async def expand(fields: Mapping[str, Sequence[str]], most: int, ctx: Context) -> dict[str, list[str]]:
    """The fields with new services, round by round, until there are `most` or a round finds no new one."""
    grown = {field: [*services] for field, services in fields.items()}
    while (before := sum(map(len, grown.values()))) < most:
        asked = (ctx.ask("writer", "subdomains", Services, field=f, known=known) for f, known in grown.items())
        replies = await ctx.gather(asked, keep_rejects=True)
        for field, reply in zip(grown, replies, strict=True):
            for service in reply.services if isinstance(reply, Services) else ():
                others = [name for names in grown.values() for name in names]
                if len(others) < most and not any(_same(service, other) for other in others):
                    grown[field].append(service)
        if sum(map(len, grown.values())) == before:
            break
    return grown


def _same(one: str, other: str) -> bool:
    """Whether two names mean one service: the same words, in whatever order and number, or nearly the same letters."""
    stems = [{word.rstrip("s") for word in re.findall(r"\w+", name.lower()) if len(word) > 3} for name in (one, other)]
    alike = SequenceMatcher(None, one.lower(), other.lower(), autojunk=False).ratio()
    return (bool(stems[0]) and stems[0] == stems[1]) or alike >= SAME


def _in_turn(fields: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """(field, service): the first of each field, then the second ..."""
    for place in range(max(map(len, fields.values()), default=0)):
        yield from ((field, services[place]) for field, services in fields.items() if place < len(services))


# --- two: policies and tools -----------------------------------------------------------------------------------------


async def _domain(field: str, service: str, refinements: int, ctx: Context) -> JsonObject:
    """What became of one service; its folder is written where it is kept."""
    name = re.sub(r"\W+", "_", f"{field} {service}".lower()).strip("_")

    async def check(draft: Draft) -> list[str]:
        return draft.faults(name) or await _objections(
            ctx, "judge_domain", policy=draft.handbook, tools=draft.described(), database=draft.script
        )

    first = {"field": field, "service": service}
    draft, faults, tries = await _refined(ctx, Draft, ("domain", first), "refine_domain", check, refinements)
    if draft is not None and not faults:
        folder = ctx.artifacts / "domains" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "policy.md").write_text(draft.handbook.strip() + "\n", encoding="utf-8")
        (folder / "database.sql").write_text(draft.script.strip() + "\n", encoding="utf-8")
        operations = [operation.as_operation().model_dump(mode="json") for operation in draft.tools]
        (folder / "tools.json").write_bytes(orjson.dumps(operations, option=orjson.OPT_INDENT_2))
    return {"folder": name, "kept": draft is not None and not faults, "tries": tries, "faults": [*faults]}


async def _refined(
    ctx: Context, kind: type[A], first: tuple[str, dict[str, Any]], again: str,
    check: Callable[[A], Awaitable[list[str]]], refinements: int,
) -> tuple[A | None, list[str], int]:  # fmt: skip
    """(draft, faults, tries): asked by the prompt `first`, then by `again` with the faults, until there are none."""
    prompt, variables = first
    draft: A | None = None
    faults = ["not written"]
    tries = 0
    while faults and tries <= refinements:
        tries += 1
        try:
            if draft is None:
                draft = await ctx.ask("writer", prompt, kind, **variables)
            else:
                text = draft.model_dump_json()
                draft = await ctx.ask("writer", again, kind, draft=text, faults=faults, **variables)
        except Reject as reject:  # the draft before it, if there is one, still has its faults
            faults = faults if draft else [str(reject)]
            continue
        try:
            faults = await check(draft)
        except Reject as reject:
            return draft, [f"undecided: {reject}"], tries
    return draft, faults, tries


async def _objections(ctx: Context, prompt: str, **variables: Any) -> list[str]:
    """The judge's problems; [] where it passes the draft."""
    opinion = await ctx.ask("judge", prompt, Opinion, **variables)
    return [] if opinion.verdict else opinion.problems or ["the judge refused it without a reason"]


# --- three: scenarios ------------------------------------------------------------------------------------------------


async def _scenarios(
    folder: Path, people: Sequence[Persona], refinements: int, seed: int, ctx: Context
) -> list[JsonObject]:
    """What became of each scenario of a domain; those that are kept are in its scenarios.yaml."""
    (folder / "scenarios.yaml").unlink(missing_ok=True)
    domain = load_domain(folder, scenarios=False)
    kinds = rounds(KINDS, Random(f"{seed}|{folder.name}"))
    branches = (_scenario(domain, n, next(kinds), person, refinements, ctx) for n, person in enumerate(people))
    made = await ctx.gather(branches)
    kept: list[Scenario] = []
    fates: list[JsonObject] = []
    for scenario, faults in made:
        if scenario is not None and not faults and any(_same(scenario.goal, other.goal) for other in kept):
            faults = ["it is nearly the same as an earlier one"]
        if scenario is not None and not faults:
            kept.append(scenario)
        fates.append({"id": scenario.id if scenario else None, "kept": not faults, "faults": [*faults]})
    listed = [scenario.model_dump(mode="json", exclude_defaults=True) for scenario in kept]
    text = yaml.safe_dump(listed, sort_keys=False, allow_unicode=True, width=120)
    (folder / "scenarios.yaml").write_text(text, encoding="utf-8")
    return fates


async def _scenario(
    domain: Domain, number: int, kind: str, person: Persona, refinements: int, ctx: Context
) -> tuple[Scenario | None, list[str]]:
    """A scenario with its end, and its faults."""
    made: Scenario | None = None
    tools = "\n".join(tool.model_dump_json() for tool in domain.specs())

    async def check(draft: DraftScenario) -> list[str]:
        nonlocal made
        try:
            made = draft.as_scenario(number, person)
        except ValueError as error:
            return [" ".join(str(error).split())]
        alone = Domain(domain.name, domain.policy, domain.tools, domain.image, {made.id: made})
        if found := [finding.text for finding in lint(alone)]:
            return found
        made = made.model_copy(update={"end": domain.end(made)})
        shown = made.model_dump_json(exclude={"persona"})
        return await _objections(ctx, "judge_scenario", policy=domain.policy, tools=tools, scenario=shown)

    variables = {"policy": domain.policy, "tools": tools, "rows": _rows(domain), "kind": kind, "persona": person.text()}
    _, faults, _ = await _refined(ctx, DraftScenario, ("scenario", variables), "refine_scenario", check, refinements)
    return made, faults


def _rows(domain: Domain) -> str:
    """The data that a scenario starts from, as far as a prompt bears it."""
    lines = [f"{place} {orjson.dumps(row).decode()}" for place, row in domain.start().rows().items()]
    return "\n".join(lines[:120])
