"""An assistant and a user that go by the scenarios' own calls, in place of models: they know what nobody may know.

They prove the pipeline's logic: an assistant that does everything right is accepted, one with a fault is not.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq

from generators.general_tools import GeneralTools, Params, bundled_scenario
from generators.general_tools.cells import Cell
from generators.general_tools.scenario import Scenario
from gristmill.commands.generate import run_plan
from gristmill.llm import Roles as RoleSet
from gristmill.plan import Plan
from gristmill.runs import RunFolder
from gristmill.testing import ScriptedModel
from schemas import Function, JsonObject, Message, ToolCall, assistant
from schemas.run_config import ModelConfig, RunConfig


def scenarios_by_opening(generator: GeneralTools) -> dict[tuple[str, str], Scenario]:
    """Each scenario of the bundled goals, by its system turn and its first message."""
    found = {}
    for box in generator.boxes.values():
        for number, goal in enumerate(box.about.goals):
            for row in range(len(goal.rows)):
                for opening in range(len(goal.openings)):
                    scenario = bundled_scenario(box, (number, row, opening))
                    found[scenario.system, scenario.opening] = scenario
    return found


class RuleDriven:
    """A script for both roles. Its methods are the assistant's steps, so that a subclass can do one of them wrong."""

    def __init__(self, generator: GeneralTools) -> None:
        self.scenarios = scenarios_by_opening(generator)

    def __call__(self, role: str, request: JsonObject) -> Any:
        messages: Any = request["messages"]
        return self.user(messages[0]["content"]) if role == "user" else self.assistant(messages)

    def user(self, prompt: str) -> Any:
        """Answers a question with its goal, brings up a second wish once, and is done."""
        goal = prompt.partition("all that you know about it:\n")[2].partition("\n")[0]
        dialogue = prompt.partition("So far:\n")[2].partition("\n\nWrite your next message.")[0]
        asked = dialogue.splitlines()[-1].endswith("?")
        if asked or (goal.startswith("First") and dialogue.count("You: ") == 1):
            return {"done": False, "text": goal}
        return {"done": True, "text": ""}

    def assistant(self, messages: Any) -> Message:
        users = [message["content"] for message in messages if message["role"] == "user"]
        results = [message["content"] for message in messages if message["role"] == "tool"]
        scenario = self.scenarios[messages[0]["content"], users[0]]
        if scenario.kind == "no_tool":
            return self.decline(scenario)
        if scenario.kind == "missing_information" and len(users) == 1:
            return self.ask_back(scenario)
        return self.call(scenario, len(users), len(results)) or self.answer(scenario, results)

    def decline(self, scenario: Scenario) -> Message:
        return assistant("I'm sorry, I can't do that: none of my tools is made for it.")

    def ask_back(self, scenario: Scenario) -> Message:
        return assistant("One detail is missing. What is it?")

    def call(self, scenario: Scenario, users: int, done: int) -> Message | None:
        """The next message of calls; None where there is nothing left to call in this turn."""
        calls = self.calls(scenario)
        if scenario.kind == "parallel":
            return None if done else calling(calls, 0)
        if done >= len(calls) or (scenario.kind == "multi_turn" and users == 1 and done):
            return None
        return calling(calls[done : done + 1], done)

    def calls(self, scenario: Scenario) -> list[tuple[str, Any]]:
        return scenario.calls

    def answer(self, scenario: Scenario, results: list[str]) -> Message:
        told = [ways[0] for ways in scenario.tells]
        return assistant(f"That is done: {', '.join(told) or 'everything as you wished'}.", "The results say so.")


def calling(calls: list[tuple[str, Any]], done: int) -> Message:
    return assistant(
        reasoning="This tool does it.",
        tool_calls=[
            ToolCall(id=f"call_{done + n}", function=Function(name=name, arguments=orjson.dumps(arguments).decode()))
            for n, (name, arguments) in enumerate(calls)
        ],
    )


class Spoken:
    """The assistant and the user say these messages in order."""

    def __init__(self, assistant_says: list[Message], user_says: list[str]) -> None:
        self.assistant_says = [*assistant_says]
        self.user_says = [*user_says]

    def __call__(self, role: str, request: JsonObject) -> Any:
        if role == "assistant":
            return self.assistant_says.pop(0)
        return {"done": False, "text": self.user_says.pop(0)} if self.user_says else {"done": True, "text": ""}


def run_cell(cell: Cell, script: Any, folder: Path) -> dict[str, Any]:
    """The row of the record, or of the reject, that one cell gives."""

    class One(GeneralTools):
        def tasks(self) -> Iterator[Cell]:
            yield cell

        @classmethod
        def folder(cls) -> Path:
            return GeneralTools.folder()

    roles = RoleSet({"default": ModelConfig(endpoint="http://scripted.invalid/v1", model="scripted")})
    plan = Plan(RunConfig(generator="general_tools", tasks=1, max_failed=1.0), One(Params()), [], roles, "fingerprint")
    run_plan(plan, RunFolder(folder), transport=ScriptedModel(script), quiet=True)
    rows: list[dict[str, Any]] = pq.read_table(folder / "records").to_pylist()
    return rows[0] if rows else pq.read_table(folder / "rejects").to_pylist()[0]
