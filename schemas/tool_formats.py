"""Tools as others write them, brought into OpenAI's function format: repaired where only one reading is possible,
refused with a reason where not.

    {"name": "math.area", "parameters": {"type": "dict", "properties": {"base": {"type": "float", "required": true}}}}

becomes the tool `math_area` whose parameters are an object with the required number `base`, with three repairs noted
(name, type, required). `{"base": {"type": "length"}}` is refused: nobody can know what a length is.

Read are lists of tools, of bare functions or of one of them, their JSON text, and objects that hold such a list
(`tools`, `functions`, `endpoints` ...): OpenAI, Anthropic and MCP (`tools/list`), arguments as a map without
`properties` or as a list of named ones. OpenAPI documents are for schemas/openapi_tools.py, Python for
schemas/python_tools.py.

Source: OpenAI API reference (function tools: names of at most 64 letters, digits, _ and -); Model Context Protocol,
tools/list (https://modelcontextprotocol.io/specification); JSON Schema 2020-12.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jsonschema_rs
import orjson

from schemas.base import JsonObject
from schemas.json_schema import Refused, standard_schema
from schemas.tools import FunctionSpec, Tool

_DECLARATIONS = ("function_declarations", "functionDeclarations")
_LISTS = ("tools", "functions", "function", *_DECLARATIONS, "endpoints", "apis")
_PARAMETERS = (
    "parameters", "inputSchema", "input_schema", "input_parameters", "params", "args", "arguments",
    "required_parameters", "optional_parameters",
)  # fmt: skip


class Note(NamedTuple):
    """What was done to a tool: `kind` is a short word that is counted."""

    tool: str
    kind: str
    detail: str

    def __str__(self) -> str:
        return f"{self.tool}: {self.detail}"


@dataclass
class Imported:
    """`origin` maps the names of renamed tools to what their server calls them."""

    tools: list[Tool] = field(default_factory=list)
    repairs: list[Note] = field(default_factory=list)
    refused: list[Note] = field(default_factory=list)
    origin: dict[str, str] = field(default_factory=dict)
    _names: set[str] = field(default_factory=set)

    def outcome(self) -> dict[str, int]:
        """Counts for a table: tools as they were, repaired ones, refused ones, and the kinds of both."""
        repaired = {note.tool for note in self.repairs} & self._names
        kinds = Counter(f"repaired: {note.kind}" for note in self.repairs if note.tool in repaired)
        kinds.update(f"refused: {note.kind}" for note in self.refused)
        whole = len(self.tools) - len(repaired)
        return {"as is": whole, "repaired": len(repaired), "refused": len(self.refused), **dict(sorted(kinds.items()))}

    def take(self, name: str, description: str, parameters: JsonObject, repairs: list[tuple[str, str]]) -> None:
        """Adds a tool under a name that the format allows; refuses a name that is taken, and what is no JSON schema."""
        allowed = re.sub(r"[^a-zA-Z0-9_-]+", "_", name.strip()).strip("_")[:64]
        fault = _schema_fault(parameters)
        if not allowed:
            self.refuse(name, "name", "has no name")
        elif allowed in self._names:
            self.refuse(name, "name", f"another tool is named {allowed}")
        elif fault:
            self.refuse(name, "schema", fault)
        else:
            if allowed != name:
                repairs = [("name", f"the name {name} is {allowed}"), *repairs]
                self.origin[allowed] = name
            self.repairs += [Note(allowed, kind, detail) for kind, detail in repairs]
            spec = FunctionSpec(name=allowed, description=description.strip(), parameters=parameters)
            self.tools.append(Tool(function=spec))
            self._names.add(allowed)

    def refuse(self, name: str, kind: str, detail: str) -> None:
        self.refused.append(Note(name or "(no name)", kind, detail))


def import_tools(value: Any) -> Imported:
    """Tools from a list, an object that holds one, or the JSON text of either. ValueError where there is no list."""
    made = Imported()
    for entry in _entries(value):
        name = ""
        try:
            name, description, written = _parts(entry)
            repairs: list[tuple[str, str]] = []
            made.take(name, description, standard_parameters(written, repairs), repairs)
        except Refused as refused:
            made.refuse(name, refused.kind, str(refused))
    return made


def _entries(value: Any) -> list[Any]:
    value = _parsed(value)
    if isinstance(value, dict):
        value = value.get("result", value) if isinstance(value.get("result"), dict) else value
        held = [listed for key in _LISTS if isinstance(listed := _parsed(value.get(key)), list)]
        value = held[0] if held else [value]
    if not isinstance(value, list):
        raise ValueError("no list of tools")
    inner = [entry[key] for entry in value if isinstance(entry, dict) for key in _DECLARATIONS if key in entry]
    return [tool for listed in inner for tool in listed] if inner else value


def _parsed(value: Any) -> Any:
    return orjson.loads(value) if isinstance(value, str | bytes) else value


def _parts(entry: Any) -> tuple[str, str, Any]:
    """Name, description and parameters as they are written."""
    if isinstance(entry, dict) and isinstance(entry.get("function"), dict):
        entry = entry["function"]
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise Refused("shape", "is no object with a name")
    if unusable := next((key for key in ("packages", "remotes", "repository") if key in entry), None):
        raise Refused("shape", f"is a server or package, not a tool (it has `{unusable}`)")
    written: Any = None
    for key in _PARAMETERS:
        if entry.get(key) is None:
            continue
        if isinstance(written, list) and isinstance(entry[key], list):  # required and optional ones apart
            written = [*written, *entry[key]]
        elif key in ("required_parameters", "optional_parameters") and isinstance(entry[key], list):
            written = [{**one, "required": key.startswith("required")} for one in entry[key] if isinstance(one, dict)]
        else:
            written = entry[key]
    return entry["name"], str(entry.get("description") or ""), written


def standard_parameters(written: Any, repairs: list[tuple[str, str]]) -> JsonObject:
    """The arguments' JSON schema of type object; `repairs` gets (kind, detail) for each change. Refused where they have
    no single reading."""
    if isinstance(written, str | bytes):
        written = _json(written)
    if written is None or written == {} or written == []:
        return {"type": "object", "properties": {}}
    if isinstance(written, list):
        repairs.append(("shape", "the arguments are a list"))
        written = {"type": "object", "properties": dict(map(_named, written))}
    if not isinstance(written, dict):
        raise Refused("shape", f"the arguments are {type(written).__name__}, not an object")
    holds_properties = isinstance(written.get("properties"), dict)
    if not holds_properties and not isinstance(written.get("type"), str) and "$ref" not in written:
        repairs.append(("shape", "the arguments are a map without `properties`"))
        written = {"type": "object", "properties": written}
    schema = standard_schema(written, "", repairs)
    if schema.get("type", "object") not in ("object", ["object"]):
        raise Refused("shape", f"the arguments are of type {schema['type']}, not an object")
    return {"type": "object", "properties": {}, **schema}


def _json(text: str | bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise Refused("shape", "the arguments are no JSON") from None


def _named(argument: Any) -> tuple[str, Any]:
    """An argument of a list: its name, and its schema with what stands beside it."""
    if not isinstance(argument, dict) or not isinstance(argument.get("name"), str):
        raise Refused("shape", "an argument in a list has no name")
    inner = argument["schema"] if isinstance(argument.get("schema"), dict) else {}
    place = argument.get("in")
    beside = {key: value for key, value in argument.items() if key not in ("name", "in", "schema")}
    if place in ("path", "optional"):  # a path can't be formed without its parts
        beside["required"] = place == "path"
    return argument["name"], {**inner, **beside}


def _schema_fault(parameters: JsonObject) -> str:
    try:
        jsonschema_rs.Draft202012Validator(parameters, offline=True)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        return f"the arguments are no JSON schema: {str(error).splitlines()[0]}"
    return ""
