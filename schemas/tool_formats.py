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
from schemas.tools import FunctionSpec, Tool

JSON_TYPES = {
    "dict": "object", "map": "object", "hashmap": "object", "float": "number", "double": "number", "int": "integer",
    "long": "integer", "str": "string", "char": "string", "bool": "boolean", "list": "array", "tuple": "array",
    "arraylist": "array", "set": "array", "none": "null",
}  # fmt: skip
"""Types of other languages that can only mean one of JSON's."""

STANDARD_TYPES = {"object", "array", "string", "number", "integer", "boolean", "null"}

_LISTS = ("tools", "functions", "function_declarations", "functionDeclarations", "endpoints", "apis")
_PARAMETERS = (
    "parameters", "inputSchema", "input_schema", "input_parameters", "params", "args", "arguments",
    "required_parameters", "optional_parameters",
)  # fmt: skip
_DROPPED = {"optional", "nullable", "$schema", "$id"}
_TEXTS = {"datetime", "date", "time", "uuid", "url", "uri"}  # in a form that the word alone doesn't tell


class Note(NamedTuple):
    """What was done to a tool: `kind` is a short word that is counted."""

    tool: str
    kind: str
    detail: str

    def __str__(self) -> str:
        return f"{self.tool}: {self.detail}"


class Refused(ValueError):
    """A tool that can't be brought into the format without guessing."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


@dataclass
class Imported:
    """`origin` maps the names of renamed tools to what their server calls them."""

    tools: list[Tool] = field(default_factory=list)
    repairs: list[Note] = field(default_factory=list)
    refused: list[Note] = field(default_factory=list)
    origin: dict[str, str] = field(default_factory=dict)

    def outcome(self) -> dict[str, int]:
        """Counts for a table: tools as they were, repaired ones, refused ones, and the kinds of both."""
        repaired = {note.tool for note in self.repairs} & {tool.function.name for tool in self.tools}
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
        elif any(tool.function.name == allowed for tool in self.tools):
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
    if isinstance(value, str | bytes):
        value = orjson.loads(value)
    if isinstance(value, dict):
        value = value.get("result", value) if isinstance(value.get("result"), dict) else value
        held = next((value[key] for key in _LISTS if isinstance(value.get(key), list)), None)
        value = held if held is not None else [value]
    if not isinstance(value, list):
        raise ValueError("no list of tools")
    inner = [entry[key] for entry in value if isinstance(entry, dict) for key in _LISTS[2:4] if key in entry]
    return [tool for listed in inner for tool in listed] if inner else value


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


def standard_schema(schema: Any, where: str, repairs: list[tuple[str, str]]) -> JsonObject:
    """A schema in JSON Schema's own words."""
    if isinstance(schema, bool):
        return {} if schema else {"not": {}}
    if isinstance(schema, str):
        repairs.append(("shape", f"{where} is only the name of a type"))
        schema = {"type": schema}
    if not isinstance(schema, dict):
        raise Refused("shape", f"{where or 'a schema'} is {type(schema).__name__}, not a schema")
    made: dict[str, Any] = {key: value for key, value in schema.items() if key not in _DROPPED and value is not None}
    _type(made, bool(schema.get("nullable")), where, repairs)
    if isinstance(made.get("items"), list):
        repairs.append(("items", f"{where} lists its items' schemas, which is draft 7"))
        made["prefixItems"] = made.pop("items")
    for key in ("properties", "$defs", "definitions", "patternProperties"):
        if isinstance(made.get(key), dict):
            made[key] = {name: standard_schema(part, _at(where, name), repairs) for name, part in made[key].items()}
    for key in ("items", "additionalProperties", "contains", "not"):
        if isinstance(made.get(key), dict | str):
            made[key] = standard_schema(made[key], _at(where, key), repairs)
    for key in ("allOf", "anyOf", "oneOf", "prefixItems"):
        if isinstance(made.get(key), list):
            made[key] = [standard_schema(part, _at(where, key), repairs) for part in made[key]]
    _required(made, schema, where, repairs)
    _values(made, where)
    return made


def _at(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _type(made: dict[str, Any], nullable: bool, where: str, repairs: list[tuple[str, str]]) -> None:
    written = made.pop("type", None)
    if written is None and "properties" not in made:
        return
    if isinstance(written, str) and written in STANDARD_TYPES:
        found: JsonObject = {"type": written}
    elif written is None:
        repairs.append(("type", f"{where or 'the schema'} has properties and no type"))
        found = {"type": "object"}
    else:
        found = _read_type(written, where)
        if found.get("type") != written:
            repairs.append(("type", f"{where or 'the schema'}: the type {written!r} is {found.get('type', 'any')!r}"))
    kinds = found.get("type")
    if nullable and kinds:
        repairs.append(("type", f"{where} is nullable"))
        found["type"] = [*(kinds if isinstance(kinds, list) else [kinds]), "null"]
    for key, value in found.items():
        made.setdefault(key, value)


_OPTIONAL = re.compile(r",\s*optional$|\s*\(optional\)$|\?$")
_GENERIC = re.compile(r"(?P<outer>list|array|sequence|set|tuple|optional|dict|map)\s*[\[<]\s*(?P<inner>.+?)\s*[\]>]")
_ARRAY_OF = re.compile(r"(?:list|array)s? of (?P<inner>\w+?)s?|(?P<short>\w+)\[\]")


def _read_type(written: Any, where: str) -> JsonObject:
    """A type's words as a schema: "float", "List[str]", "int or None", ["str", "null"]."""
    if isinstance(written, list):
        return _union([_read_type(part, where) for part in written], where)
    text = _OPTIONAL.sub("", str(written).strip().lower())
    if text in STANDARD_TYPES or text in JSON_TYPES:
        return {"type": JSON_TYPES.get(text, text)}
    if text in ("any", "typing.any"):
        return {}
    if text in _TEXTS:
        return {"type": "string"}
    if generic := _GENERIC.fullmatch(text):
        outer, inner = generic["outer"], generic["inner"]
        if outer == "optional":
            return _union([_read_type(inner, where), {"type": "null"}], where)
        if outer in ("dict", "map"):
            return {"type": "object"}
        return {"type": "array"} if "," in inner else {"type": "array", "items": _read_type(inner, where)}
    if of := _ARRAY_OF.fullmatch(text):
        return {"type": "array", "items": _read_type(of["inner"] or of["short"], where)}
    parts = re.split(r"\s*\|\s*|\s+or\s+", text)
    if len(parts) > 1:
        return _union([_read_type(part, where) for part in parts], where)
    raise Refused("type", f"{where or 'the schema'} has the type {written!r}, which could be anything")


def _union(parts: list[JsonObject], where: str) -> JsonObject:
    if any(part.keys() - {"type", "items"} or "type" not in part for part in parts):
        raise Refused("type", f"{where} has alternatives that can't be written as types")
    kinds: list[Any] = []
    for part in parts:
        kinds += part["type"] if isinstance(part["type"], list) else [part["type"]]
    items = [part["items"] for part in parts if "items" in part]
    return {"type": list(dict.fromkeys(kinds)), **({"items": items[0]} if items else {})}


def _required(made: dict[str, Any], schema: JsonObject, where: str, repairs: list[tuple[str, str]]) -> None:
    """The required properties as a list of the object: other formats mark each property."""
    flag = made.pop("required", []) if not isinstance(made.get("required", []), list) else None
    if flag is not None and not isinstance(flag, bool) and str(flag).lower() not in ("true", "false"):
        raise Refused("required", f"{where or 'the schema'}: `required` is {flag!r}")
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return
    required = [name for name in made.get("required", []) if isinstance(name, str)]
    for name in required:
        if name not in properties:
            raise Refused("required", f"{_at(where, name)} is required and not among the properties")
    for name, part in properties.items():
        marked = _mark(part)
        if marked and name not in required:
            repairs.append(("required", f"{_at(where, name)} is marked as required itself"))
            required.append(name)
        elif marked is False and name in required:
            raise Refused("required", f"{_at(where, name)} is both required and optional")
    made.pop("required", None)
    if required:
        made["required"] = required


def _mark(part: Any) -> bool | None:
    """Whether a property says of itself that it is required; None where it says nothing."""
    if not isinstance(part, dict):
        return None
    required, optional = part.get("required"), part.get("optional")
    if not isinstance(required, list | None):
        return str(required).lower() == "true"
    if isinstance(optional, bool) and optional:
        return False
    written = part.get("type")
    return False if isinstance(written, str) and _OPTIONAL.search(written.strip().lower()) else None


_PYTHON_TYPES = {
    "string": str, "integer": int, "number": int | float, "boolean": bool, "null": type(None), "array": list,
    "object": dict,
}  # fmt: skip


def _values(made: dict[str, Any], where: str) -> None:
    """An enum whose values aren't of the type lets no value pass."""
    kinds = made.get("type")
    options = made.get("enum")
    if not kinds or not isinstance(options, list):
        return
    allowed = [_PYTHON_TYPES[kind] for kind in (kinds if isinstance(kinds, list) else [kinds])]
    for option in options:
        if not any(isinstance(option, kind) and (kind is bool or not isinstance(option, bool)) for kind in allowed):
            raise Refused("enum", f"{where}: {option!r} is among the values, but no {kinds}")


def _schema_fault(parameters: JsonObject) -> str:
    try:
        jsonschema_rs.Draft202012Validator(parameters, offline=True)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        return f"the arguments are no JSON schema: {str(error).splitlines()[0]}"
    return ""
