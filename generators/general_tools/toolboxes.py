"""Sets of tools: the bundled ones, and those of the user's files.

    cafe.py        functions and their STATE: real tools, run in the sandbox
    cafe.yaml      beside it: what the set is about, its system turn, goals with the calls that reach them
    tools.json     a list in any shape that schemas/tool_formats.py reads, or an OpenAPI document (also .yaml)
    tools.jsonl    a list per line, or rows with a column `tools` or `functions`

A folder is all such files in it. Tools without code are simulated. What was repaired or refused is written to
`artifacts/tools.json`. A file without any tool that can be used is an error, a row without one a set that isn't used.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import yaml

from generators.general_tools.scenario import Goal
from gristmill import Config
from gristmill.config import load_config
from gristmill.errors import ConfigError
from gristmill.seeds import BadSeed, read_rows
from gristmill.tools.checks import ToolSet
from gristmill.tools.mcp import McpConfig
from gristmill.tools.python_environment import initial_state
from schemas import JsonObject, Tool
from schemas.openapi_tools import import_openapi, is_openapi
from schemas.python_tools import import_functions
from schemas.tool_formats import Imported, import_tools

BUNDLED = Path(__file__).parent / "sets"
_KINDS = (".py", ".json", ".yaml", ".yml", ".jsonl", ".parquet")


class SetFile(Config):
    """The YAML file beside a set's functions. Keys of the state in `ignored` hold free text, which isn't compared."""

    about: str
    system: str = ""
    ignored: list[str] = []
    goals: list[Goal] = []


@dataclass(frozen=True)
class Toolbox:
    """A set of tools. `source` is their code, `server` where they are called; with neither they are simulated."""

    name: str
    tools: list[Tool]
    about: SetFile = field(default_factory=lambda: SetFile(about=""))
    source: str = ""
    state: JsonObject = field(default_factory=dict)
    server: McpConfig | None = None
    imported: Imported = field(default_factory=Imported)


def toolboxes(paths: list[Path]) -> dict[str, Toolbox]:
    """The sets of these files and folders by name, or the bundled ones. ConfigError where a file has no tool."""
    found: dict[str, Toolbox] = {}
    for path in tool_files(paths or [BUNDLED]):
        for box in _read(path):
            if box.name in found:
                raise ConfigError(f"params.tools: two sets are named {box.name}; rename one of the files.")
            found[box.name] = box
    return found


def tool_files(paths: list[Path]) -> list[Path]:
    """All files that the paths lead to."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            held = sorted(one for one in path.iterdir() if one.suffix in _KINDS and not one.stem.startswith("__"))
            files += [one for one in held if one.suffix not in (".yaml", ".yml") or not _is_beside(one)]
        elif path.is_file() and path.suffix in _KINDS:
            files.append(path)
        else:
            raise ConfigError(f"params.tools: {path} is no folder and no file of the kinds {', '.join(_KINDS)}.")
    if not files:
        raise ConfigError(f"params.tools: no tools in {', '.join(map(str, paths))}.")
    return files


def _is_beside(path: Path) -> bool:
    return path.with_suffix(".py").is_file()


def _read(path: Path) -> Iterator[Toolbox]:
    try:
        if path.suffix == ".py":
            yield _of_code(path)
        elif path.suffix in (".jsonl", ".parquet"):
            rows = [_of_row(path.stem, where, row) for where, row in read_rows(str(path))]
            _require(path, next((box.imported for box in rows if box.tools), rows[0].imported if rows else Imported()))
            yield from rows
        else:
            text = path.read_text("utf-8")
            box = _of_list(path.stem, orjson.loads(text) if path.suffix == ".json" else yaml.safe_load(text))
            _require(path, box.imported)
            yield box
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"params.tools: {path}: {str(error).splitlines()[0]}.") from None


def _of_code(path: Path) -> Toolbox:
    source = path.read_text("utf-8")
    imported = import_functions(source)
    beside = path.with_suffix(".yaml")
    about = load_config(beside, [], SetFile) if beside.is_file() else SetFile(about=path.stem.replace("_", " "))
    _require(path, imported)
    known = {tool.function.name for tool in imported.tools}
    for name in (name for goal in about.goals for name, _ in goal.calls):
        if name not in known:
            raise ConfigError(f"{beside}: a goal calls {name}; {path.name} has {', '.join(sorted(known))}.")
    return Toolbox(path.stem, imported.tools, about, source, initial_state(source), imported=imported)


def _of_row(stem: str, where: str, row: dict[str, Any] | BadSeed) -> Toolbox:
    name = f"{stem}:{where.partition(':')[2]}"
    if isinstance(row, dict):
        try:
            return _of_list(name, row)
        except ValueError as error:
            row = BadSeed(where, str(error))
    imported = Imported()
    imported.refuse(name, "shape", row.detail)
    return Toolbox(name, [], imported=imported)


def _of_list(name: str, value: Any) -> Toolbox:
    imported = import_openapi(value) if is_openapi(value) else import_tools(value)
    info = value.get("info") if isinstance(value, dict) else None
    about = str(info.get("title", "")) if isinstance(info, dict) else ""
    return Toolbox(name, imported.tools, SetFile(about=about), imported=imported)


def _require(path: Path, imported: Imported) -> None:
    if not imported.tools:
        why = f": {imported.refused[0]}" if imported.refused else ""
        raise ConfigError(f"params.tools: {path} has no tool that can be used{why}.")
    fault = next(ToolSet(imported.tools).definitions(), None)
    if fault:
        raise ConfigError(f"params.tools: {path}: {fault.detail}.")


def import_report(boxes: dict[str, Toolbox]) -> dict[str, Any]:
    """For each set what became of its tools."""
    return {
        name: {
            **box.imported.outcome(),
            "repairs": [str(note) for note in box.imported.repairs],
            "refusals": [str(note) for note in box.imported.refused],
        }
        for name, box in boxes.items()
    }
