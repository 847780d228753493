"""Tools of a domain: Python functions that somebody wrote (tools.py), or operations in SQL (tools.json).

    {"name": "hold_parcel", "description": "Keeps a parcel at the depot until a day.",
     "parameters": {"type": "object", "properties": {"parcel_id": {"type": "string"}, "until": {"type": "string"}},
                    "required": ["parcel_id", "until"]},
     "checks": [{"query": "SELECT 1 FROM parcels WHERE id = :parcel_id", "refusal": "there is no such parcel"}],
     "changes": ["UPDATE parcels SET status = 'held', held_until = :until WHERE id = :parcel_id"],
     "result": "SELECT id, status, held_until FROM parcels WHERE id = :parcel_id"}

An operation is what a model may write: nothing of it is run as code. Each of its statements is compiled against the
domain's tables beforehand, with leave to read and change rows and for nothing else; arguments are bound, arrays and
objects as JSON text. A check that finds no row refuses the call, and then nothing has changed.

A function takes the database first and is described by its docstring and its type hints; what it refuses, it refuses
by a ValueError with a sentence for the agent. Either way a refusal is the call's result: {"error": "..."}.
"""

import inspect
import re
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, get_type_hints

import orjson
from pydantic import Field, PydanticUserError, create_model

from generators.conversational_tools.state import READING, WRITING, guard, open_state, refuse_clock, require_kind
from gristmill.errors import ConfigError
from gristmill.tools.checks import ToolSet
from schemas import Data, FunctionSpec, Json, JsonObject, Tool

Call = Callable[[sqlite3.Connection, Mapping[str, Any]], Json]
MOST_ROWS = 50
"""Rows of an operation's result."""


@dataclass(frozen=True, slots=True)
class DomainTool:
    """A tool and what it does to a database. `run` raises ValueError where it refuses; `changes` where it is known to
    change the state."""

    tool: Tool
    run: Call
    changes: bool = False

    @property
    def name(self) -> str:
        return self.tool.function.name


class Check(Data):
    """Refuses the call unless the query gives a row."""

    query: str
    refusal: Annotated[str, Field(min_length=5, max_length=200)]


class Operation(Data):
    """A tool in SQL; see the module's docstring."""

    name: Annotated[str, Field(pattern="^[a-z][a-z0-9_]{2,63}$")]
    description: Annotated[str, Field(min_length=10, max_length=600)]
    parameters: JsonObject
    checks: list[Check] = []
    changes: list[str] = []
    result: str

    def faults(self, image: bytes) -> list[str]:
        """What is wrong with it, against the database that it is for; [] where nothing is."""
        found = [f"{self.name}: {fault.detail}" for fault in ToolSet([self.as_tool().tool]).definitions()]
        names = self.parameters.get("properties")
        arguments = dict.fromkeys(names) if isinstance(names, dict) else {}
        reading = [*(check.query for check in self.checks), self.result]
        with closing(open_state(image)) as db:
            for statements, allowed in ((reading, READING), (self.changes, WRITING)):
                guard(db, allowed)
                for statement in statements:
                    try:
                        require_kind(statement, allowed)
                        refuse_clock(statement)
                        db.execute(f"EXPLAIN {statement}", arguments)
                    except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
                        found.append(f"{self.name}: {error} in: {statement}")
        return found

    def as_tool(self) -> DomainTool:
        spec = FunctionSpec(name=self.name, description=self.description, parameters=self.parameters)
        return DomainTool(Tool(function=spec), self._run, changes=bool(self.changes))

    def _run(self, db: sqlite3.Connection, arguments: Mapping[str, Any]) -> Json:
        known = self.parameters.get("properties")
        bound = {name: _bindable(arguments.get(name)) for name in (known if isinstance(known, dict) else ())}
        for check in self.checks:
            if db.execute(check.query, bound).fetchone() is None:
                raise ValueError(check.refusal)
        for statement in self.changes:
            db.execute(statement, bound)
        return [dict(row) for row in db.execute(self.result, bound).fetchmany(MOST_ROWS)]


def _bindable(value: Any) -> Any:
    return orjson.dumps(value).decode() if isinstance(value, list | dict) else value


# --- functions -------------------------------------------------------------------------------------------------------


def function_tools(module: ModuleType) -> list[DomainTool]:
    """The public functions of a module that take a database first. ConfigError for one that can't be described."""
    found = [
        function
        for name, function in vars(module).items()
        if inspect.isfunction(function) and function.__module__ == module.__name__ and not name.startswith("_")
    ]
    return [
        _function_tool(function) for function in found if next(iter(inspect.signature(function).parameters), "") == "db"
    ]


def _function_tool(function: Callable[..., Json]) -> DomainTool:
    """Its schema is that of its parameters after `db`; `Annotated[str, Field(description=...)]` says more of one."""
    name = function.__name__
    parameters = list(inspect.signature(function).parameters.values())[1:]
    try:
        hints = get_type_hints(function, include_extras=True)
        fields: dict[str, Any] = {
            p.name: (hints[p.name], ... if p.default is p.empty else p.default) for p in parameters
        }
        schema = create_model(name, **fields).model_json_schema()
    except (KeyError, NameError, PydanticUserError) as error:
        where = Path(inspect.getfile(function))
        raise ConfigError(f"{where}: {name} has a parameter without a type that JSON knows: {error}.") from None
    spec = FunctionSpec(name=name, description=_description(function), parameters=_without_titles(schema))
    return DomainTool(Tool(function=spec), lambda db, arguments: function(db, **arguments))


def _description(function: Callable[..., Json]) -> str:
    return re.sub(r"\s+", " ", inspect.getdoc(function) or "").strip()


def _without_titles(schema: Any) -> Any:
    """pydantic names everything a second time."""
    if isinstance(schema, list):
        return [_without_titles(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if not (key == "title" and isinstance(value, str))}
    return {key: _without_titles(value) for key, value in kept.items()}
