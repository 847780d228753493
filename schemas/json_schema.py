"""JSON schemas as others write them, in JSON Schema's own words: repaired where only one reading is possible.

    {"type": "dict", "properties": {"base": {"type": "float", "required": true}, "tags": {"type": "List[str]"}}}
    {"type": "object", "required": ["base"],
     "properties": {"base": {"type": "number"}, "tags": {"type": "array", "items": {"type": "string"}}}}

Refused: types that could be anything, `required` that names no property or contradicts a property's own mark, values of
an enum that aren't of its type.

Source: JSON Schema 2020-12 and its older drafts; OpenAPI 3.0 (`nullable`).
"""

import re
from typing import Any

from schemas.base import JsonObject

JSON_TYPES = {
    "dict": "object", "map": "object", "hashmap": "object", "float": "number", "double": "number", "int": "integer",
    "long": "integer", "str": "string", "char": "string", "bool": "boolean", "list": "array", "tuple": "array",
    "arraylist": "array", "set": "array", "none": "null",
}  # fmt: skip
"""Types of other languages that can only mean one of JSON's."""

STANDARD_TYPES = {"object", "array", "string", "number", "integer", "boolean", "null"}

_DROPPED = {"optional", "nullable", "$schema", "$id"}
_TEXTS = {"datetime", "date", "time", "uuid", "url", "uri"}  # in a form that the word alone doesn't tell


class Refused(ValueError):
    """A tool that can't be brought into the format without guessing."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


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
