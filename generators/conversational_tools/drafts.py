"""What a teacher writes for an invented domain, and how it becomes the files of one.

    {"handbook": "# Library desk ...", "script": "CREATE TABLE loans ...", "tools": [{"name": "extend_loan", ...}]}
    {"concern": "You are Ada Brook ...", "expected_calls": [{"name": "extend_loan", "arguments": "{...}"}], ...}

Models write the keys of an answer in the order of the alphabet, so the names put the rules before the data, and what
the person wants before how it ends. Parameters come as a list, because not every endpoint can be asked for an object
whose keys are free.
"""

import re
import sqlite3
from typing import Annotated, Literal

import orjson
from pydantic import Field, ValidationError

from generators.conversational_tools.domain import Domain
from generators.conversational_tools.lint import errors, lint
from generators.conversational_tools.operations import Check, Operation
from generators.conversational_tools.scenario import Scenario
from generators.conversational_tools.state import make_image
from gristmill import Answer
from gristmill.personas import Persona
from schemas import JsonObject

Ways = Annotated[list[str], Field(min_length=1)]


class Services(Answer):
    """More services of a field."""

    services: Annotated[list[Annotated[str, Field(min_length=4, max_length=60)]], Field(min_length=1, max_length=12)]


class DraftParameter(Answer):
    """`allowed`: the only values, [] for any."""

    name: Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")]
    type: Literal["string", "integer", "number", "boolean"]
    description: str
    allowed: list[str] = []
    required: bool = True

    def as_schema(self) -> JsonObject:
        limits: JsonObject = {"enum": [*self.allowed]} if self.allowed and self.type == "string" else {}
        return {"type": self.type, "description": self.description, **limits}


class DraftOperation(Answer):
    """An operation (see operations.py), its parameters in a list."""

    name: str
    description: str
    parameters: list[DraftParameter]
    checks: list[Check] = []
    changes: list[str] = []
    result: str

    def as_operation(self) -> Operation:
        schema: JsonObject = {
            "type": "object",
            "properties": {parameter.name: parameter.as_schema() for parameter in self.parameters},
            "required": [parameter.name for parameter in self.parameters if parameter.required],
        }
        return Operation(**{**self.model_dump(exclude={"parameters"}), "parameters": schema})


class Draft(Answer):
    """A service: its policy (Markdown), the script that makes its database, its tools."""

    handbook: Annotated[str, Field(min_length=300)]
    script: Annotated[str, Field(min_length=100)]
    tools: Annotated[list[DraftOperation], Field(min_length=3, max_length=20)]

    def faults(self, name: str) -> list[str]:
        """What the rules find wrong with it; [] where nothing is."""
        try:
            image = make_image(self.script)
        except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
            return [f"script: {error}"]
        found: list[str] = []
        tools = {}
        for written in self.tools:
            try:
                operation = written.as_operation()
            except ValidationError as error:
                found += [f"{written.name}: {problem['loc']}: {problem['msg']}" for problem in error.errors()]
                continue
            found += operation.faults(image)
            tools[operation.name] = operation.as_tool()
        if len(tools) < len(self.tools) and not found:
            found.append("two tools have the same name")
        return found or errors(lint(Domain(name, self.handbook, tools, image, {})))

    def described(self) -> str:
        """The tools, for a judge."""
        lines = []
        for operation in self.tools:
            arguments = ", ".join(f"{p.name}: {p.allowed or p.type}" for p in operation.parameters)
            lines.append(f"{operation.name}({arguments}): {operation.description}")
            lines += [f"  refuses unless {check.query}: {check.refusal}" for check in operation.checks]
            lines += [f"  does {statement}" for statement in operation.changes]
        return "\n".join(lines)


class Opinion(Answer):
    """A judge's; `problems` say what has to be changed."""

    problems: Annotated[list[str], Field(max_length=8)]
    verdict: bool


class DraftAction(Answer):
    """`arguments` is the text of a JSON object."""

    name: str
    arguments: str


class DraftScenario(Answer):
    """A scenario (see scenario.py): its goal is the concern, its setup the data, its actions the expected calls."""

    ask_first: bool
    concern: Annotated[str, Field(min_length=40, max_length=1500)]
    data: Annotated[list[str], Field(max_length=12)]
    expected_calls: Annotated[list[DraftAction], Field(max_length=8)]
    must_not_call: Annotated[list[str], Field(max_length=8)]
    must_not_tell: Annotated[list[Ways], Field(max_length=5)]
    must_tell: Annotated[list[Ways], Field(max_length=5)]
    title: Annotated[str, Field(min_length=4, max_length=60)]

    def as_scenario(self, number: int, persona: Persona) -> Scenario:
        """ValueError where the arguments are no JSON."""
        slug = re.sub(r"\W+", "_", self.title.lower()).strip("_")[:50]
        return Scenario.model_validate(
            {
                "id": f"{number:02d}_{slug}",
                "goal": self.concern,
                "persona": persona.text(),
                "setup": self.data,
                "actions": [
                    {"name": call.name, "arguments": orjson.loads(call.arguments or "{}")}
                    for call in self.expected_calls
                ],
                "must_tell": self.must_tell,
                "must_not_tell": self.must_not_tell,
                "must_not_call": [{"name": name} for name in self.must_not_call],
                "ask_first": self.ask_first,
            }
        )
