"""general_tools: conversations in which an assistant works with tools, played by separate roles and checked by rules.

Record:  system     "You take bookings for the café Linden. Today is Thursday, 12 March 2026."
         user       "table for 4 tomorrow at seven pls, name is Okafor"
         assistant  find_tables({"day": "2026-03-13", "time": "19:00", "guests": 4})        reasoning_content: its own
         tool       [{"table": "T4", "seats": 4}]
         assistant  book_table({"table": "T4", ...})  ->  {"booking": "B104"}
         assistant  "Done: table T4 for four at 19:00, booking B104."
         metadata   cell (kind, toolbox, style), goal, persona, turns, outcome, ended

Three roles share the talk and see different parts of it: `user` knows persona and goal and hears what is spoken;
`assistant` sees the record's own messages and the tools; the world is behind the tools, as Python functions with state
in the sandbox, or played by the role `tool`. Every call is checked by rules before it is carried out. At the end the
conversation must be of the kind that was asked for, the state must be the expected one, and the user must have been
told what matters. Scenarios come with the bundled sets, or the role `writer` invents them for your own tools.

Source: Nemotron 3 Super report (arXiv 2604.12374), general-purpose tool calling.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal

import orjson
import yaml
from pydantic import Field

from generators.general_tools.live import LiveTools, live_toolboxes
from generators.general_tools.outcome import require_state, require_told
from generators.general_tools.scenario import KINDS, ONCE, Kind, Scenario, require_shape
from generators.general_tools.simulated import SimulatedTools
from generators.general_tools.toolboxes import Toolbox, import_report, tool_files, toolboxes
from generators.general_tools.writer import write_scenario
from gristmill import Config, Context, Generator, Record, Reject
from gristmill.errors import ConfigError
from gristmill.personas import invented_personas, read_personas
from gristmill.tools.mcp import McpConfig
from gristmill.tools.outages import Outages, Unreliable
from gristmill.tools.python_environment import PythonTools, play
from gristmill.tools.simulation import Conversation, Limits, UserSide, converse, keeping
from gristmill.walk import crossed, rounds
from schemas import JsonObject, Seed, Tool, system

World = PythonTools | SimulatedTools | LiveTools

_CHECKED: dict[type[World], str] = {PythonTools: "equal", SimulatedTools: "simulated", LiveTools: "live"}
"""What `metadata.outcome.state` says: only of Python functions is the end state known."""


class Params(Config):
    """`tools` are files and folders, `servers` MCP servers by name; with neither the bundled sets are used. At most
    `offer` of a set's tools go into one conversation. Goals that come with a set are played unless `scenarios` is
    `written`; `openings: bundled` takes the first message from the set as well. With `simulate` the role `tool` plays
    tools that have code or a server. `personas` is a file or hub id of people, in place of invented ones."""

    tools: list[Path] = []
    servers: dict[str, McpConfig] = {}
    kinds: Annotated[list[Kind], Field(min_length=1)] = list(KINDS)
    offer: Annotated[int, Field(ge=1)] = 12
    scenarios: Literal["bundled", "written"] = "bundled"
    openings: Literal["user", "bundled"] = "user"
    simulate: bool = False
    personas: str | None = None
    limits: Limits = Limits()
    outages: Outages = Outages()


class Cell(Seed):
    """One task. `goal` is a goal of the set with its row and its wording, None where the scenario is written; `offered`
    names the tools where the set has too many."""

    kind: Kind
    toolbox: str
    style: str
    persona: str
    goal: tuple[int, int, int] | None = None
    offered: list[str] = []
    index: int = 0


class GeneralTools(Generator[Cell, Params]):
    name = "general_tools"
    version = "1"
    endless = True

    def __init__(self, params: Params, *, seed: int = 0, seeds: str | None = None) -> None:
        super().__init__(params, seed=seed, seeds=seeds)
        if seeds:
            raise ConfigError("seeds: general_tools takes its tools from `params.tools`.")
        self._live: dict[str, Toolbox] = {}
        if both := self.boxes.keys() & params.servers.keys():
            raise ConfigError(f"params.servers: a set and a server are both named {min(both)}.")
        if not params.servers and not any(
            self._goals(kind, box) for kind in params.kinds for box in self.boxes.values()
        ):
            raise ConfigError(f"params.kinds: no set has a goal of the kinds {', '.join(params.kinds)}.")

    @cached_property
    def boxes(self) -> dict[str, Toolbox]:
        """The sets that come from files."""
        return toolboxes(self.params.tools) if self.params.tools or not self.params.servers else {}

    @cached_property
    def styles(self) -> dict[str, str]:
        found: dict[str, str] = yaml.safe_load((self.folder() / "styles.yaml").read_text("utf-8"))
        return found

    def files(self) -> list[Path]:
        own = tool_files(self.params.tools) if self.params.tools else []
        beside = [path.with_suffix(".yaml") for path in own if path.suffix == ".py"]
        return [*own, *(path for path in beside if path.is_file())]

    def coverage_axes(self) -> dict[str, list[Any]]:
        names = [*self.boxes, *self.params.servers]
        return {"kind": self.params.kinds, "toolbox": names, "style": [*self.styles]}

    async def prepare(self, ctx: Context) -> None:
        """Asks the servers for their tools, and writes down what the importers made of all tools."""
        report = orjson.dumps(import_report(await self._sets(ctx)), option=orjson.OPT_INDENT_2)
        (ctx.artifacts / "tools.json").write_bytes(report)

    async def _sets(self, ctx: Context) -> dict[str, Toolbox]:
        """All sets. On another machine the servers' tools come from the run's artifacts."""
        if self.params.servers and not self._live:
            self._live = await live_toolboxes(self.params.servers, ctx)
        return {**self.boxes, **self._live}

    def tasks(self) -> Iterator[Cell]:
        """Endless: kinds and sets crossed, each pair going through its goals in rounds."""
        boxes = {**self.boxes, **self._live}
        rng = Random(f"general_tools|{self.seed}")
        own = self.params.personas
        people = cycle(read_personas(own)) if own else invented_personas(self.seed)
        styles = rounds([*self.styles], Random(f"styles|{self.seed}"))
        goals = {
            (kind, name): rounds(found, Random(f"{kind}|{name}|{self.seed}"))
            for kind in self.params.kinds
            for name, box in boxes.items()
            if (found := self._goals(kind, box))
        }
        axes: list[list[Any]] = [[*self.params.kinds], [*boxes]]
        walk = (pair for pair in crossed(axes, rng) if pair in goals)
        for index, ((kind, name), person) in enumerate(zip(walk, people, strict=False)):
            yield Cell(
                kind=kind, toolbox=name, style=next(styles), persona=person.text(), goal=next(goals[kind, name]),
                offered=self._offered(boxes[name], rng), index=index,
            )  # fmt: skip

    def _goals(self, kind: Kind, box: Toolbox) -> list[tuple[int, int, int] | None]:
        """All goals of the kind with their rows and wordings; [None] where a scenario is to be written."""
        if self.params.scenarios == "written" or not box.about.goals:
            return [None]
        return [
            (number, row, opening)
            for number, goal in enumerate(box.about.goals)
            if goal.kind == kind
            for row in range(len(goal.rows))
            for opening in range(len(goal.openings))
        ]

    def _offered(self, box: Toolbox, rng: Random) -> list[str]:
        names = [tool.function.name for tool in box.tools]
        return [] if len(names) <= self.params.offer else sorted(rng.sample(names, self.params.offer), key=names.index)

    async def run(self, seed: Cell, ctx: Context) -> Record:
        box = (await self._sets(ctx))[seed.toolbox]
        tools = [tool for tool in box.tools if not seed.offered or tool.function.name in seed.offered]
        scenario = await self._scenario(seed, box, tools, ctx)
        world = self._world(box, tools, scenario)
        environment = Unreliable(world, self.params.outages)
        opening = [system(scenario.system)] if scenario.system else []
        side = self._side(seed, scenario)
        told = await converse(opening, side, environment, ctx, self.params.limits, once=seed.kind in ONCE)
        with keeping(told.messages):
            await self._require_outcome(box, scenario, world, told, ctx)
        return Record(
            messages=told.messages, tools=tools, category=seed.kind, metadata={
                "cell": {"kind": seed.kind, "toolbox": seed.toolbox, "style": seed.style},
                "goal": scenario.goal, "persona": seed.persona, "ended": told.ended, "turns": [*told.turn_verdicts()],
                "outages": [*environment.failed],
                "outcome": {
                    "state": _CHECKED[type(world)],
                    "expected_calls": [{name: arguments} for name, arguments in scenario.calls],
                    "told": [one if isinstance(one, str) else one[0] for one in scenario.tells],
                },
            },
        )  # fmt: skip

    async def _scenario(self, cell: Cell, box: Toolbox, tools: list[Tool], ctx: Context) -> Scenario:
        """One of the set's goals, or one that is written for its tools."""
        if cell.goal is not None:
            return bundled_scenario(box, cell.goal)
        if self.params.simulate:
            box = replace(box, server=None)
        return await write_scenario(box, tools, cell.kind, cell.persona, ctx)

    def _world(self, box: Toolbox, tools: list[Tool], scenario: Scenario) -> World:
        if self.params.simulate:
            return SimulatedTools(tools, scenario.world)
        if box.server:
            return LiveTools(tools, box.server, box.imported.origin)
        return PythonTools(box.source, tools, scenario.world) if box.source else SimulatedTools(tools, scenario.world)

    def _side(self, cell: Cell, scenario: Scenario) -> UserSide:
        opening = scenario.opening if self.params.openings == "bundled" else ""
        goal = scenario.goal
        if scenario.withheld:
            goal += f"\nYou forget to say this in your first message: {', '.join(scenario.withheld)}."
        return UserSide(cell.persona, goal, self.styles[cell.style], opening)

    async def _require_outcome(
        self, box: Toolbox, scenario: Scenario, world: World, told: Conversation, ctx: Context
    ) -> None:
        """Reject(shape, ...) or Reject(outcome, ...) where the talk isn't what its scenario asks for."""
        first = next(message.content for message in told.messages if message.role == "user")
        for value in scenario.withheld:
            if value.casefold() in first.casefold():
                raise Reject("user", "told_too_much", f"{value} was to be left out at first")
        require_shape(scenario.kind, told.messages)
        if isinstance(world, PythonTools):
            expected: JsonObject = (await play(box.source, scenario.world, scenario.calls, ctx)).state
            require_state(expected, world.state, box.about.ignored)
        called = {call.function.name for message in told.messages for call in message.tool_calls}
        for name, _ in scenario.calls:
            if not isinstance(world, PythonTools) and name not in called:
                raise Reject("outcome", "tool_not_called", f"{name} is never called")
        require_told(scenario.tells, told.messages)


def bundled_scenario(box: Toolbox, goal: tuple[int, int, int]) -> Scenario:
    """A goal of the set, with one of its rows and one of its wordings."""
    number, row, opening = goal
    return box.about.goals[number].scenario(row, opening, box.about.system, box.state)
