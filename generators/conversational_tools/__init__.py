"""conversational_tools: people talk to a service; its agent follows a policy and works on real state.

Record:  system     the service's policy
         user       "I'm away until the 20th. Can you keep GP-1042 till then?"
         assistant  "Of course. Which e-mail address and postcode are on your account?"   ... then, when it has them,
         assistant  find_customer({"email": "ines.okafor@post.example", "postcode": "4410"})
         tool       {"customer_id": "C-01", "name": "Ines Okafor", ...}
         ...        hold_parcel({"parcel_id": "GP-1042", "until": "2026-03-20"})
         assistant  "Done: GP-1042 stays with us until 20 March, for 2.25."
         metadata   scenario, goal, outcome (what changed), turns, models, success_rate of its scenario

Six stages: domains; a policy and tools for each; scenarios; many roll-outs of each scenario between an agent, a user
and an environment; verification; selection. A scenario has a database of its own, and a roll-out succeeds where that
ends as it should, what the user needed was said, and nothing forbidden was done. The first three stages leave folders
that can be read, corrected and used again (`invent`); a hand-written domain, a parcel service, comes with us.

Source: Nemotron 3 Super report (arXiv 2604.12374), conversational tool use: six stages, 16 roll-outs per scenario.
"""

from collections.abc import Iterator
from functools import cache
from itertools import zip_longest
from pathlib import Path
from random import Random
from typing import Annotated

import yaml
from pydantic import Field

from generators.conversational_tools.domain import FILES, Domain, Service, load_domain, opened_domain
from generators.conversational_tools.invent import Invent, invent_domains
from generators.conversational_tools.lint import errors, lint
from generators.conversational_tools.scenario import check_outcome
from gristmill import Config, Context, Generator, Record
from gristmill.errors import ConfigError
from gristmill.tools.outages import Outages, Unreliable
from gristmill.tools.simulation import Limits, UserSide, converse
from gristmill.walk import rounds
from schemas import JsonObject, Seed, system

HERE = Path(__file__).parent
SHIPPED = HERE / "domains" / "parcel_service"


class Params(Config):
    """`domains` are folders; without any, and without `invent`, the shipped parcel service is used.

    `rollouts` per scenario; `limits` of each; `outages`: the share of calls that fail, so that recovery is learnt.
    """

    domains: list[Path] = []
    invent: Invent | None = None
    rollouts: Annotated[int, Field(ge=1, le=256)] = 16
    limits: Limits = Limits()
    outages: Outages = Outages()


class RollOut(Seed):
    """One conversation of a scenario, DOMAIN/ID; its user writes in a manner of its own."""

    scenario: str
    number: int
    manner: str


class ConversationalTools(Generator[RollOut, Params]):
    name = "conversational_tools"
    version = "1"
    reads_seeds = False

    def __init__(self, params: Params, *, seed: int = 0, seeds: str | None = None) -> None:
        super().__init__(params, seed=seed, seeds=seeds)
        self._folders = [folder.resolve() for folder in params.domains] or ([] if params.invent else [SHIPPED])
        self._domains = {folder.name: _sound(folder) for folder in self._folders}
        if len(self._domains) < len(self._folders):
            raise ConfigError("params.domains: two folders have the same name; it is what tells their records apart.")

    def files(self) -> list[Path]:
        return [path for folder in self._folders for name in FILES if (path := folder / name).is_file()]

    async def prepare(self, ctx: Context) -> None:
        if self.params.invent:
            for folder in await invent_domains(self.params.invent, self.seed, ctx):
                if folder.name in self._domains:
                    raise ConfigError(f"params.domains: an invented domain is called {folder.name}, too; rename yours.")
                self._domains[folder.name] = await ctx.resource(opened_domain, folder)

    def tasks(self) -> Iterator[RollOut]:
        """The domains' scenarios in turn, so that a part of a run speaks of all domains."""
        columns = [[f"{name}/{key}" for key in domain.scenarios] for name, domain in self._domains.items()]
        for scenario in (name for row in zip_longest(*columns) for name in row if name):
            spoken = rounds(_manners(), Random(f"{self.seed}|{scenario}"))
            for number in range(self.params.rollouts):
                yield RollOut(scenario=scenario, number=number, manner=next(spoken))

    def coverage_axes(self) -> dict[str, list[str]]:
        return {"domain": [*self._domains], "manner": _manners()}

    async def run(self, seed: RollOut, ctx: Context) -> Record:
        name, _, key = seed.scenario.partition("/")
        domain = await self._domain(name, ctx)
        scenario = domain.scenarios[key]
        side = UserSide(persona=scenario.persona, goal=scenario.goal, style=seed.manner)
        with Service.open(domain, scenario) as service:
            world = Unreliable(service, self.params.outages) if self.params.outages.share else service
            made = await converse([system(domain.policy)], side, world, ctx, self.params.limits)
            outcome = check_outcome(scenario, domain.end(scenario), service.changed(), service.calls, made.messages)
        outcome.require_success(messages=[message.to_openai() for message in made.messages])
        metadata: JsonObject = {
            "scenario": seed.scenario,
            "rollout": seed.number,
            "persona": scenario.persona,
            "goal": scenario.goal,
            "manner": seed.manner,
            "outcome": outcome.model_dump(mode="json"),
            "turns": [*made.turn_verdicts()],
            "models": {role: ctx.model(role) for role in ("assistant", "user")},
            "cell": {"domain": name, "manner": seed.manner},
        }
        return Record(messages=made.messages, tools=domain.specs(), category=name, metadata=metadata)

    async def _domain(self, name: str, ctx: Context) -> Domain:
        """On a worker an invented one is read from the artifacts."""
        if name not in self._domains:
            self._domains[name] = await ctx.resource(opened_domain, ctx.artifacts / "domains" / name)
        return self._domains[name]


@cache
def _manners() -> list[str]:
    manners: list[str] = yaml.safe_load((HERE / "manners.yaml").read_text(encoding="utf-8"))
    return manners


def _sound(folder: Path) -> Domain:
    """A domain without errors; ConfigError with the first of them."""
    domain = load_domain(folder)
    if found := errors(lint(domain)):
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise ConfigError(f"params.domains: {folder}: {found[0]}{more}.")
    return domain
