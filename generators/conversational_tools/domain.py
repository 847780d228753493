"""A domain is a folder: what a service may do, with which tools, on which data, and what people want of it.

    policy.md          what its agents must do and must not do; the system turn of every conversation
    tools.py           functions on the database, or tools.json: a list of operations in SQL (see operations.py)
    database.sql       CREATE TABLE and INSERT statements; a table `clock` if anything depends on the day
    scenarios.yaml     a list of scenarios (see scenario.py)

Hand-written and generated domains have the same shape, so a generated one can be corrected by hand and used again.
"""

import importlib.util
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import orjson
import yaml
from pydantic import TypeAdapter, ValidationError

from generators.conversational_tools.operations import DomainTool, Operation, function_tools
from generators.conversational_tools.scenario import Done, Scenario
from generators.conversational_tools.state import (
    WRITING,
    Content,
    changes,
    guard,
    make_image,
    open_state,
    read_content,
    refuse_clock,
    require_kind,
)
from gristmill.context import Context
from gristmill.errors import ConfigError, TaskFailed
from gristmill.judging import where
from schemas import Json, JsonObject, Tool, ToolCall, canonical_json

FILES = ("policy.md", "tools.py", "tools.json", "database.sql", "scenarios.yaml")
SHAPE = "policy.md, tools.py or tools.json, database.sql and scenarios.yaml"


@dataclass(frozen=True)
class Domain:
    """A loaded domain. `image` is its database before any scenario."""

    name: str
    policy: str
    tools: Mapping[str, DomainTool]
    image: bytes
    scenarios: Mapping[str, Scenario]
    _ends: dict[str, list[str]] = field(default_factory=dict, repr=False, compare=False)

    def specs(self) -> list[Tool]:
        return [tool.tool for tool in self.tools.values()]

    def start(self, scenario: Scenario | None = None) -> Content:
        """What the database holds at the start, of a scenario or of them all."""
        return start_of(self.image, tuple(scenario.setup) if scenario else ())[1]

    def end(self, scenario: Scenario) -> list[str]:
        """What has to have changed at the end: what the scenario says, else what its actions change."""
        if scenario.end is not None:
            return scenario.end
        if scenario.id not in self._ends:
            with Service.open(self, scenario) as service:
                for action in scenario.actions:
                    service.perform(action.name, action.arguments)
                self._ends[scenario.id] = service.changed()
        return self._ends[scenario.id]


class Service:
    """The tools of a domain at work on one scenario's copy of the database: the environment of a conversation."""

    def __init__(self, domain: Domain, db: sqlite3.Connection, start: Content) -> None:
        self.calls: list[Done] = []
        self._domain = domain
        self._db = db
        self._start = start
        self._untouched = db.total_changes
        self._tools = domain.specs()

    @classmethod
    @contextmanager
    def open(cls, domain: Domain, scenario: Scenario) -> Iterator["Service"]:
        image, start = start_of(domain.image, tuple(scenario.setup))
        db = open_state(image)
        try:
            yield cls(domain, db, start)
        finally:
            db.close()

    @property
    def tools(self) -> list[Tool]:
        return self._tools

    async def call(self, call: ToolCall, ctx: Context) -> str:
        name = call.function.name
        result, _ = self.perform(name, orjson.loads(call.function.arguments or "{}"))
        try:
            return canonical_json(result).decode()
        except TypeError as error:
            raise TaskFailed("tool", f"{self._domain.name}.{name} gives what JSON can't hold: {error}") from None

    def perform(self, name: str, arguments: JsonObject) -> tuple[Json, bool]:
        """(result, whether it was refused). A refused call has changed nothing. TaskFailed(tool) for a bug in it."""
        self._db.execute("SAVEPOINT call")
        try:
            result, refused = self._domain.tools[name].run(self._db, arguments), False
        except (ValueError, sqlite3.IntegrityError) as refusal:
            self._db.execute("ROLLBACK TO call")
            result, refused = {"error": str(refusal)}, True
        except Exception as error:
            raise TaskFailed("tool", f"{self._domain.name}.{name}: {where(error)}") from error
        self._db.execute("RELEASE call")
        self.calls.append(Done(name=name, arguments=arguments, refused=refused))
        return result, refused

    def changed(self) -> list[str]:
        """What is not as it was at the scenario's start."""
        return (
            changes(self._start, read_content(self._db, self._start))
            if self._db.total_changes > self._untouched
            else []
        )


@lru_cache(maxsize=256)
def start_of(image: bytes, setup: tuple[str, ...]) -> tuple[bytes, Content]:
    """The database at a scenario's start, and its content."""
    db = open_state(image)
    try:
        if setup:
            guard(db, WRITING)
            for statement in setup:
                require_kind(statement, WRITING)
                refuse_clock(statement)
                db.execute(statement)
            guard(db, None)
            image = db.serialize()
        return image, read_content(db)
    finally:
        db.close()


# --- from files ------------------------------------------------------------------------------------------------------


def load_domain(folder: Path, *, scenarios: bool = True) -> Domain:
    """ConfigError that names the file and what is wrong with it. `scenarios=False`: they needn't be there yet."""
    policy = _read(folder / "policy.md").strip()
    if not policy:
        raise ConfigError(f"{folder / 'policy.md'} is empty; it is the system turn of every conversation.")
    script = folder / "database.sql"
    try:
        image = make_image(_read(script))
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise ConfigError(f"{script}: {error}.") from None
    tools = _load_tools(folder, image)
    return Domain(folder.name, policy, tools, image, _load_scenarios(folder) if scenarios else {})


@contextmanager
def opened_domain(folder: Path) -> Iterator[Domain]:
    """`load_domain` as a resource of a run."""
    yield load_domain(folder)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} can't be read ({error.strerror}); a domain has {SHAPE}.") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no UTF-8 text: {error.reason} at byte {error.start}.") from None


def _load_tools(folder: Path, image: bytes) -> dict[str, DomainTool]:
    path = folder / "tools.py"
    tools = function_tools(_module(path)) if path.is_file() else operations(folder / "tools.json", image)
    if not tools:
        raise ConfigError(f"{folder} has no tools: tools.py needs public functions whose first parameter is `db`.")
    if bare := [tool.name for tool in tools if not tool.tool.function.description]:
        raise ConfigError(f"{path}: {', '.join(bare)} has no docstring; it is what the agent reads of a tool.")
    return {tool.name: tool for tool in tools}


def _module(path: Path) -> ModuleType:
    """The user's own code, trusted like any plugin."""
    name = f"gristmill_domain_{path.parent.name}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # type hints are looked up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(f"{path} can't be imported: {where(error)}.") from error
    return module


def operations(path: Path, image: bytes) -> list[DomainTool]:
    try:
        found = TypeAdapter(list[Operation]).validate_json(_read(path))
    except ValidationError as error:
        raise ConfigError(f"{path}: {_first(error)}.") from None
    if faults := [fault for operation in found for fault in operation.faults(image)]:
        raise ConfigError(f"{path}: {faults[0]}.")
    return [operation.as_tool() for operation in found]


def _load_scenarios(folder: Path) -> dict[str, Scenario]:
    path = folder / "scenarios.yaml"
    try:
        found = TypeAdapter(list[Scenario]).validate_python(yaml.safe_load(_read(path)))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is no YAML: {' '.join(str(error).split())}.") from None
    except ValidationError as error:
        raise ConfigError(f"{path}: {_first(error)}.") from None
    named = {scenario.id: scenario for scenario in found}
    if not found or len(named) < len(found):
        raise ConfigError(f"{path} needs at least one scenario, each with an id of its own.")
    return named


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
