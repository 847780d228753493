"""The rule check of calls: every call against its tool's schema, every result against its call. No model is asked.

    {"name": "book_table", "arguments": "{\"guests\": \"2\", \"citty\": \"Ghent\"}"}

    wrong_type: book_table.guests: "2" is not of type "integer"
    unknown_argument: book_table: Additional properties are not allowed ('citty' was unexpected)
    missing_argument: book_table: "city" is a required property

Nothing is coerced: "2" is no integer, and neither is 2.0. Arguments that the schema doesn't name are faults, at every
depth, unless it allows them (`additionalProperties`). Types as other formats write them (dict, float, tuple, any) are
read as what they mean. Ids: unique, each result belongs to one open call, each call has its result before anybody else
speaks; calls of one turn may be answered in any order, and the last turn of a record may leave its calls open.

Source: JSON Schema 2020-12; the call errors that BFCL (https://gorilla.cs.berkeley.edu/leaderboard.html) looks for.
"""

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jsonschema_rs
import orjson

from schemas import JsonObject, Message, Tool, ToolCall, canonical_json
from schemas.json_schema import JSON_TYPES, STANDARD_TYPES


class CallFault(NamedTuple):
    """`kind` is a short word that is counted; `detail` says where and what."""

    kind: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}"


def check_conversation(
    messages: Sequence[Message], tools: Sequence[Tool], *, unknown_arguments: bool = False
) -> list[CallFault]:
    """All faults of all calls and results, in their order."""
    known = ToolSet(tools, unknown_arguments=unknown_arguments)
    return [
        *known.definitions(),
        *(fault for m in messages for call in m.tool_calls for fault in known.check(call)),
        *_unmatched(messages),
    ]


class ToolSet:
    """The tools of one conversation, ready to check calls."""

    def __init__(self, tools: Sequence[Tool], *, unknown_arguments: bool = False) -> None:
        self._tools = tools
        self._unknown_arguments = unknown_arguments
        self._parameters = {tool.function.name: canonical_json(tool.function.parameters) for tool in tools}

    def definitions(self) -> Iterator[CallFault]:
        """What is wrong with the tools themselves."""
        if len(self._parameters) < len(self._tools):
            yield CallFault("bad_tool", "two tools have one name")
        for name, parameters in self._parameters.items():
            validator = _validator(parameters, self._unknown_arguments)
            if isinstance(validator, str):
                yield CallFault("bad_tool", f"{name}: {validator}")

    def check(self, call: ToolCall) -> list[CallFault]:
        """The faults of one call."""
        name, text = call.function.name, call.function.arguments
        if name not in self._parameters:
            offered = ", ".join(sorted(self._parameters)) or "none"
            return [CallFault("unknown_tool", f"{name} is not among the tools ({offered[:200]})")]
        try:
            arguments = _parsed(text or "{}")
        except (ValueError, RecursionError) as error:
            return [CallFault("bad_json", f"{name}: {error}")]
        if not isinstance(arguments, dict):
            return [CallFault("bad_json", f"{name}: the arguments are no object")]
        validator = _validator(self._parameters[name], self._unknown_arguments)
        if isinstance(validator, str):
            return []  # told by `definitions`
        return [_fault(name, error) for error in validator.iter_errors(arguments)]


def arguments_of(call: ToolCall) -> JsonObject:
    """The arguments of a call that the rules have passed."""
    arguments: JsonObject = orjson.loads(call.function.arguments or "{}")
    return arguments


_KINDS = {
    "required": "missing_argument", "dependentRequired": "missing_argument", "type": "wrong_type",
    "strictInteger": "wrong_type", "additionalProperties": "unknown_argument",
    "unevaluatedProperties": "unknown_argument", "enum": "not_allowed", "const": "not_allowed",
    "minimum": "out_of_range", "maximum": "out_of_range", "exclusiveMinimum": "out_of_range",
    "exclusiveMaximum": "out_of_range", "multipleOf": "out_of_range", "minLength": "wrong_length",
    "maxLength": "wrong_length", "minItems": "wrong_length", "maxItems": "wrong_length",
    "minProperties": "wrong_length", "maxProperties": "wrong_length", "pattern": "pattern", "format": "format",
}  # fmt: skip
"""JSON Schema's keywords under the words that are counted; any other is `invalid`."""


def _fault(name: str, error: jsonschema_rs.ValidationError) -> CallFault:
    place = ".".join([name, *map(str, error.instance_path)])
    keyword = next((str(part) for part in reversed(error.schema_path) if isinstance(part, str)), "")
    return CallFault(_KINDS.get(keyword, "invalid"), f"{place}: {error.message[:200]}")


def _parsed(text: str) -> Any:
    """JSON, and nothing that a lenient reader would let pass: no NaN, no key twice, no half of a surrogate pair.
    ValueError where it isn't."""
    orjson.loads(text)
    return _UNIQUE_KEYS.decode(text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"one of {', '.join(found)} comes twice")
    return found


_UNIQUE_KEYS = json.JSONDecoder(object_pairs_hook=_unique)


class _StrictInteger:
    """2.0 is an integer for JSON Schema; a function that wants an int gets a float."""

    def __init__(self, parent: Any, value: Any, path: Any) -> None:
        return None

    def validate(self, instance: Any) -> None:
        if isinstance(instance, float):
            raise ValueError(f"{instance} is not written as an integer")


@lru_cache(maxsize=8192)
def _validator(parameters: bytes, unknown_arguments: bool) -> "jsonschema_rs.Draft202012Validator | str":
    """A compiled schema, or what is wrong with it."""
    schema = json.loads(parameters) or {"type": "object", "properties": {}}
    try:
        return jsonschema_rs.Draft202012Validator(
            plain_schema(schema, closed=not unknown_arguments),
            validate_formats=True,
            offline=True,
            keywords={"strictInteger": _StrictInteger},
        )
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        return f"not a JSON schema: {str(error).splitlines()[0]}"


_FOREIGN = {"optional", "nullable", "$schema", "$id"}


def plain_schema(schema: JsonObject, *, closed: bool = True, inside: bool = False) -> JsonObject:
    """The schema in JSON Schema's own words; `closed` objects take no argument that they don't name.

    `inside` is a part of a combination (anyOf ...), whose names only count together with those of its siblings.
    """
    plain: dict[str, Any] = {key: value for key, value in schema.items() if key not in _FOREIGN}
    if not isinstance(plain.get("required", []), list):
        del plain["required"]  # draft 3 marks each property so
    if isinstance(plain.get("items"), list):
        plain["prefixItems"] = plain.pop("items")  # up to draft 7
    _translate_type(plain, bool(schema.get("nullable")))
    for key in ("properties", "$defs", "definitions", "patternProperties"):
        if isinstance(plain.get(key), dict):
            plain[key] = {name: _inner(part, closed) for name, part in plain[key].items()}
    for key in ("items", "additionalProperties", "contains", "propertyNames"):
        plain.update({key: _inner(plain[key], closed)} if key in plain else {})
    for key in ("allOf", "anyOf", "oneOf", "prefixItems"):
        if isinstance(plain.get(key), list):
            plain[key] = [_inner(part, closed, inside=key != "prefixItems") for part in plain[key]]
    if closed and not inside:
        _close(plain)
    return plain


def _inner(part: Any, closed: bool, *, inside: bool = False) -> Any:
    return plain_schema(part, closed=closed, inside=inside) if isinstance(part, dict) else part


def _translate_type(plain: dict[str, Any], nullable: bool) -> None:
    written = plain.pop("type", None) or []
    names = [str(name).lower() for name in (written if isinstance(written, list) else [written])]
    kinds = [
        kind for name in names if (kind := JSON_TYPES.get(name, name)) in STANDARD_TYPES
    ]  # "any", classes: no limit
    if kinds:
        plain["type"] = [*kinds, "null"] if nullable else kinds
    if "integer" in kinds and "number" not in kinds:
        plain["strictInteger"] = True


def _close(plain: dict[str, Any]) -> None:
    """Forbids what the object doesn't name, where it names something and doesn't say itself what else it takes."""
    parts = [plain, *(part for key in ("allOf", "anyOf", "oneOf") for part in plain.get(key, ()))]
    if "additionalProperties" in plain or not any(isinstance(part, dict) and "properties" in part for part in parts):
        return
    combined = len(parts) > 1 or "$ref" in plain
    plain.setdefault("unevaluatedProperties" if combined else "additionalProperties", False)


def _unmatched(messages: Sequence[Message]) -> Iterator[CallFault]:
    """Calls without a result, results without a call, ids that don't identify."""
    open_calls: dict[str, str] = {}
    seen: set[str] = set()
    for message in messages:
        if message.role == "tool":
            yield from _result_faults(message, open_calls, seen)
            continue
        yield from _still_open(open_calls)
        for call in message.tool_calls:
            if message.role != "assistant":
                yield CallFault("wrong_role", f"a {message.role} message calls {call.function.name}")
            if not call.id.strip():
                yield CallFault("bad_id", f"the call of {call.function.name} has no id")
            elif call.id in seen:
                yield CallFault("bad_id", f"{call.id} is the id of two calls")
            open_calls[call.id] = call.function.name
            seen.add(call.id)
    if messages and messages[-1].role == "tool":
        yield from _still_open(open_calls)


def _still_open(open_calls: dict[str, str]) -> Iterator[CallFault]:
    for identity, name in open_calls.items():
        yield CallFault("no_result", f"the call {identity} of {name} has no result")
    open_calls.clear()


def _result_faults(message: Message, open_calls: dict[str, str], seen: set[str]) -> Iterator[CallFault]:
    identity = message.tool_call_id or ""
    if identity not in open_calls:
        again = "is answered twice" if identity in seen else "is no call's"
        yield CallFault("orphan_result", f"a result for {identity or 'no id'}, which {again}")
        return
    called = open_calls.pop(identity)
    if message.name and message.name != called:
        yield CallFault("orphan_result", f"the result of {message.name} answers a call of {called}")
