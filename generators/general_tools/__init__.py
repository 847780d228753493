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
from typing import Annotated, Any, Literal

import orjson
import yaml
from pydantic import Field

from generators.general_tools.cells import Cell, GoalAt, cells, has_goals
from generators.general_tools.live import LiveTools, live_toolboxes
from generators.general_tools.outcome import changes, require_called, require_changes, require_told
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
from gristmill.tools.simulation import Limits, UserSide, converse, keeping
from schemas import JsonObject, Message, Tool, system

World = PythonTools | SimulatedTools | LiveTools


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


class GeneralTools(Generator[Cell, Params]):
    name = "general_tools"
    version = "1"
    endless = True
    reads_seeds = False

    def __init__(self, params: Params, *, seed: int = 0, seeds: str | None = None) -> None:
        super().__init__(params, seed=seed, seeds=seeds)
        self._live: dict[str, Toolbox] = {}
        if both := self.boxes.keys() & params.servers.keys():
            raise ConfigError(f"params.servers: a set and a server are both named {min(both)}.")
        written = params.scenarios == "written"
        if not params.servers and not any(
            has_goals(k, box, written) for k in params.kinds for box in self.boxes.values()
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
        names = [*(name for name, box in self.boxes.items() if box.tools), *self.params.servers]
        return {"kind": self.params.kinds, "toolbox": names, "style": [*self.styles]}

    async def prepare(self, ctx: Context) -> None:
        """Asks the servers for their tools, writes down what the importers made of all tools, and sees whether those
        with code can be loaded where they will run."""
        boxes = await self._sets(ctx)
        (ctx.artifacts / "tools.json").write_bytes(orjson.dumps(import_report(boxes), option=orjson.OPT_INDENT_2))
        for name, box in boxes.items():
            if box.source and not self.params.simulate:
                try:
                    await play(box.source, box.state, [], ctx)
                except Reject as reject:
                    raise ConfigError(
                        f"params.tools: {name}.py can't be loaded in the sandbox: {reject.detail}."
                    ) from None

    async def _sets(self, ctx: Context) -> dict[str, Toolbox]:
        """All sets. On another machine the servers' tools come from the run's artifacts."""
        if self.params.servers and not self._live:
            self._live = await live_toolboxes(self.params.servers, ctx)
        return {**self.boxes, **self._live}

    def tasks(self) -> Iterator[Cell]:
        own = self.params.personas
        return cells(
            {**self.boxes, **self._live}, self.params.kinds, [*self.styles],
            cycle(read_personas(own)) if own else invented_personas(self.seed),
            self.params.offer, self.params.scenarios == "written", self.seed,
        )  # fmt: skip

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
            outcome = await self._outcome(box, scenario, world, told.messages, ctx)
        return Record(
            messages=told.messages, tools=tools, category=seed.kind, metadata={
                "cell": {"kind": seed.kind, "toolbox": seed.toolbox, "style": seed.style},
                "goal": scenario.goal, "persona": seed.persona, "ended": told.ended, "turns": [*told.turn_verdicts()],
                "outages": [*environment.failed], "outcome": outcome,
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

    async def _outcome(
        self, box: Toolbox, scenario: Scenario, world: World, talk: list[Message], ctx: Context
    ) -> JsonObject:
        """What came of it, for the metadata. Reject where it isn't what the scenario asks for."""
        require_shape(scenario, talk)
        changed = [] if isinstance(world, LiveTools) else changes(scenario.world, world.state, box.about.ignored)
        if isinstance(world, PythonTools):
            expected = (await play(box.source, scenario.world, scenario.calls, ctx)).state
            require_changes(changes(scenario.world, expected, box.about.ignored), changed)
        else:
            require_called([name for name, _ in scenario.calls], talk)
        require_told(scenario.tells, talk)
        return {
            "checked": "state" if isinstance(world, PythonTools) else "calls", "changed": [*changed],
            "expected_calls": [{name: arguments} for name, arguments in scenario.calls],
            "told": [ways[0] for ways in scenario.tells],
        }  # fmt: skip


def bundled_scenario(box: Toolbox, goal: GoalAt) -> Scenario:
    """A goal of the set, with one of its rows and one of its wordings."""
    number, row, opening = goal
    return box.about.goals[number].scenario(row, opening, box.about.system, box.state)
