"""tool_calls: gold calls of a public benchmark pass, and every planted fault is found under its own name."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gristmill.tools.checks import ToolSet, check_conversation
from schemas import Function, FunctionSpec, Message, Tool, ToolCall, assistant, tool, user

BOOK = Tool(
    function=FunctionSpec(
        name="book",
        parameters={
            "type": "object",
            "properties": {
                "guests": {"type": "integer", "minimum": 1, "maximum": 8},
                "city": {"type": "string", "enum": ["Ghent", "Bruges"]},
                "day": {"type": "string", "format": "date"},
                "code": {"type": "string", "pattern": "^[A-Z]{2}$"},
                "note": {"type": "string", "maxLength": 5},
                "host": {
                    "type": "object",
                    "properties": {"name": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string"}}},
                    "required": ["name"],
                },
                "pay": {"anyOf": [{"type": "object", "properties": {"card": {"type": "string"}}}, {"type": "null"}]},
                "extra": {"type": "object", "additionalProperties": {"type": "integer"}},
                "ratio": {"type": "float"},
            },
            "required": ["guests", "city"],
        },
    )
)


def call(arguments: Any, name: str = "book", identity: str = "c1") -> ToolCall:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return ToolCall(id=identity, function=Function(name=name, arguments=text))


def kinds(arguments: Any, name: str = "book") -> list[str]:
    return [fault.kind for fault in ToolSet([BOOK]).check(call(arguments, name))]


GOOD = {"guests": 2, "city": "Ghent"}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"day": "2026-02-28", "code": "AB", "note": "quiet"[:5]},
        {"host": {"name": "Bo", "tags": ["vip"]}},
        {"pay": None},
        {"pay": {"card": "1"}},
        {"extra": {"anything": 3}},
        {"ratio": 1},
    ],
)
def test_valid_calls_pass(more: dict[str, Any]) -> None:
    assert kinds({**GOOD, **more}) == []


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"city": "Ghent"}, "missing_argument"),
        ({**GOOD, "host": {"tags": []}}, "missing_argument"),
        ({**GOOD, "guest": 2}, "unknown_argument"),
        ({**GOOD, "host": {"name": "Bo", "age": 3}}, "unknown_argument"),
        ({**GOOD, "pay": {"card": "1", "pin": "2"}}, "unknown_argument"),
        ({**GOOD, "guests": "2"}, "wrong_type"),
        ({**GOOD, "guests": 2.0}, "wrong_type"),
        ({**GOOD, "guests": True}, "wrong_type"),
        ({**GOOD, "guests": None}, "wrong_type"),
        ({**GOOD, "host": {"name": "Bo", "tags": [1]}}, "wrong_type"),
        ({**GOOD, "host": '{"name": "Bo"}'}, "wrong_type"),
        ({**GOOD, "extra": {"anything": "3"}}, "wrong_type"),
        ({**GOOD, "ratio": "0.5"}, "wrong_type"),
        ({**GOOD, "city": "ghent"}, "not_allowed"),
        ({**GOOD, "guests": 9}, "out_of_range"),
        ({**GOOD, "note": "too long"}, "wrong_length"),
        ({**GOOD, "code": "abc"}, "pattern"),
        ({**GOOD, "day": "2026-02-30"}, "format"),
        ("{'guests': 2}", "bad_json"),
        ('{"guests": 2, "guests": 3, "city": "Ghent"}', "bad_json"),
        ('{"guests": NaN, "city": "Ghent"}', "bad_json"),
        ("[1]", "bad_json"),
        (r'{"guests": 2, "city": "\ud800"}', "bad_json"),
        ("[" * 100_000, "bad_json"),
        ({**GOOD, "guests": 10**40}, "out_of_range"),
    ],
)
def test_each_fault_has_its_name(arguments: Any, kind: str) -> None:
    assert kinds(arguments) == [kind]


def test_unknown_tools_and_bad_tools() -> None:
    assert kinds({}, "boook") == ["unknown_tool"]
    broken = Tool(function=FunctionSpec(name="x", parameters={"type": "object", "properties": {"a": {"minimum": "0"}}}))
    assert [fault.kind for fault in ToolSet([broken]).definitions()] == ["bad_tool"]
    assert [fault.kind for fault in ToolSet([BOOK, BOOK]).definitions()] == ["bad_tool"]
    assert list(ToolSet([BOOK]).definitions()) == []


@pytest.mark.parametrize(
    "parameters",
    [
        {"properties": {"a": None}},
        {"anyOf": {}},
        {"properties": {"a": {"$ref": "http://x.invalid/schema"}}},
        {"properties": {"a": {"$ref": "#/$defs/absent"}}},
        {"properties": {"a": {"pattern": "(a+)+$("}}},
    ],
)
def test_schemas_in_the_wild_never_break_the_judge(parameters: dict[str, Any]) -> None:
    tools = ToolSet([Tool(function=FunctionSpec(name="x", parameters=parameters))])
    assert [fault.kind for fault in tools.definitions()] == ["bad_tool"] and tools.check(call({}, "x")) == []


def test_other_ways_to_write_a_schema() -> None:
    parameters: dict[str, Any] = {
        "type": None,
        "properties": {"a": {"type": "any"}, "b": {"type": "Tuple", "items": [{"type": "int"}, {"type": "str"}]},
                       "c": {"type": "string", "nullable": True, "required": True}, "d": {"$ref": "#"}},
    }  # fmt: skip
    tools = ToolSet([Tool(function=FunctionSpec(name="x", parameters=parameters))])
    assert not list(tools.definitions())
    assert not tools.check(call({"a": [1], "b": [1, "x"], "c": None, "d": {"a": 2}}, "x"))
    assert [fault.kind for fault in tools.check(call({"b": ["x", 1]}, "x"))] == ["wrong_type", "wrong_type"]
    assert [fault.kind for fault in tools.check(call({"d": {"e": 1}}, "x"))] == ["unknown_argument"]


def test_unknown_arguments_may_be_allowed() -> None:
    assert ToolSet([BOOK], unknown_arguments=True).check(call({**GOOD, "guest": 2})) == []


def conversation(*turns: Message) -> list[str]:
    return [fault.kind for fault in check_conversation([user("?"), *turns], [BOOK])]


ONE, TWO = call(GOOD, identity="c1"), call(GOOD, identity="c2")


def test_ids_join_calls_and_results() -> None:
    both = assistant(tool_calls=[ONE, TWO])
    assert conversation(both, tool("b", "c2"), tool("a", "c1", "book"), assistant("done")) == []
    assert conversation(both) == [], "a record may end with its calls"
    assert conversation(both, tool("a", "c1"), assistant("done")) == ["no_result"]
    assert conversation(both, tool("a", "c1")) == ["no_result"]
    assert conversation(both, tool("a", "c1"), tool("a", "c1"), tool("b", "c2")) == ["orphan_result"]
    assert conversation(both, tool("a", "c1"), tool("b", "c9"), tool("b", "c2")) == ["orphan_result"]
    assert conversation(both, tool("a", "c1", "cook"), tool("b", "c2")) == ["orphan_result"]
    assert conversation(assistant(tool_calls=[ONE, ONE])) == ["bad_id"]
    assert conversation(assistant(tool_calls=[call(GOOD, identity=" ")])) == ["bad_id"]
    assert conversation(tool("a", "c1")) == ["orphan_result"]


# --- a public benchmark ---


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def first_choice(value: Any) -> Any:
    """A gold value: each possible answer is a list of accepted values, also inside objects."""
    if isinstance(value, dict):
        return {key: first_choice(options[0]) for key, options in value.items() if options and options[0] != ""}
    if isinstance(value, list):
        return [first_choice(one) for one in value]
    return value


def gold(folder: Path) -> list[tuple[list[Tool], ToolCall]]:
    found = []
    for name in ("simple_python", "multiple"):
        answers = {row["id"]: row["ground_truth"] for row in lines(folder / f"possible_answer/BFCL_v4_{name}.json")}
        for row in lines(folder / f"BFCL_v4_{name}.json"):
            tools = [Tool(function=FunctionSpec(**function)) for function in row["function"]]
            for answer in answers[row["id"]]:
                ((function, arguments),) = answer.items()
                given = {key: first_choice(options[0]) for key, options in arguments.items() if options[0] != ""}
                found.append((tools, call(given, function)))
    return found


@pytest.mark.shared
def test_gold_calls_pass_and_planted_faults_are_found(shared_data: Path) -> None:
    calls = gold(shared_data / "tools/bfcl")
    assert len(calls) > 500
    refused = [(one.function, faults) for tools, one in calls if (faults := ToolSet(tools).check(one))]
    # One gold call of the benchmark leaves out an argument that its schema requires.
    assert [(function.name, [fault.kind for fault in faults]) for function, faults in refused] == [
        ("calculate_emissions", ["missing_argument"])
    ]
    found, planted = Counter[str](), Counter[str]()
    for tools, one in calls:
        for kind, mutant in mutants(tools, one):
            planted[kind] += 1
            found[kind] += kind in {fault.kind for fault in ToolSet(tools).check(mutant)}
    assert found == planted and set(planted) == {
        "unknown_tool", "bad_json", "missing_argument", "unknown_argument", "wrong_type", "not_allowed",
    }, (planted - found)  # fmt: skip
    assert planted.total() > 3000


def mutants(tools: list[Tool], one: ToolCall) -> list[tuple[str, ToolCall]]:
    function = one.function
    arguments: dict[str, Any] = json.loads(function.arguments)
    spec: Any = next(tool.function.parameters for tool in tools if tool.function.name == function.name)
    changed = [
        ("unknown_tool", call(arguments, f"{function.name}_now")),
        ("bad_json", call(function.arguments[:-1], function.name)),
        ("bad_json", call(function.arguments.replace('"', "'"), function.name)),
        ("unknown_argument", call({**arguments, "verbose_mode": True}, function.name)),
    ]
    for key in spec.get("required", []):
        without = {name: value for name, value in arguments.items() if name != key}
        changed.append(("missing_argument", call(without, function.name)))
    for key, value in arguments.items():
        kind = spec["properties"][key].get("type")
        if kind != "any":
            wrong = str(value) if not isinstance(value, str) else [value]
            changed.append(("wrong_type", call({**arguments, key: wrong}, function.name)))
        if "enum" in spec["properties"][key]:
            changed.append(("not_allowed", call({**arguments, key: "none of these"}, function.name)))
    return changed


@pytest.mark.shared
def test_faults_of_the_remaining_kinds_are_found_as_well(shared_data: Path) -> None:
    """The benchmark knows no ranges, lengths, patterns and formats: they are added, so that a value breaks them; and
    each call is put into conversations whose ids or results don't fit."""
    found, planted = Counter[str](), Counter[str]()
    for tools, one in gold(shared_data / "tools/bfcl"):
        if ToolSet(tools).check(one):
            continue
        for kind, tool_set in tightened(tools, one):
            planted[kind] += 1
            found[kind] += [fault.kind for fault in ToolSet(tool_set).check(one)] == [kind]
        for kind, messages in torn(one):
            planted[kind] += 1
            found[kind] += kind in {fault.kind for fault in check_conversation(messages, tools)}
    assert found == planted, planted - found
    assert set(planted) == {
        "out_of_range", "wrong_length", "pattern", "format", "not_allowed", "invalid",
        "no_result", "orphan_result", "bad_id", "wrong_role",
    }  # fmt: skip
    assert planted.total() > 5000


def tightened(tools: list[Tool], one: ToolCall) -> Iterator[tuple[str, list[Tool]]]:
    """The tools with one more rule for one argument, which the call's value breaks."""
    arguments: dict[str, Any] = json.loads(one.function.arguments)
    for key, value in arguments.items():
        for kind, rule in broken_rules(value):
            spec: Any = next(t.function.parameters for t in tools if t.function.name == one.function.name)
            properties = {**spec["properties"], key: {**spec["properties"][key], **rule}}
            parameters = {**spec, "properties": properties}
            yield kind, [Tool(function=FunctionSpec(name=one.function.name, parameters=parameters))]


def broken_rules(value: Any) -> list[tuple[str, dict[str, Any]]]:
    match value:
        case bool():
            return [("not_allowed", {"const": not value})]
        case int() | float():
            return [("out_of_range", {"maximum": value - 1}), ("out_of_range", {"exclusiveMinimum": value}),
                    ("not_allowed", {"enum": [value + 1]})]  # fmt: skip
        case str():
            return [("wrong_length", {"minLength": len(value) + 1}), ("pattern", {"pattern": "^never$"}),
                    ("format", {"format": "ipv4"}), ("invalid", {"not": {"type": "string"}})]  # fmt: skip
        case list():
            return [("wrong_length", {"minItems": len(value) + 1})]
    return []


def torn(one: ToolCall) -> Iterator[tuple[str, list[Message]]]:
    """Conversations in which the call is sound and something around it isn't."""
    asked, calls, done = user("?"), assistant(tool_calls=[one]), assistant("Done.")
    result = tool("{}", one.id)
    yield "no_result", [asked, calls, done]
    yield "orphan_result", [asked, calls, result, result, done]
    yield "orphan_result", [asked, calls, tool("{}", f"{one.id}x"), done]
    yield "orphan_result", [asked, calls, tool("{}", one.id, "another_tool"), done]
    yield "bad_id", [asked, assistant(tool_calls=[one, one]), result, done]
    yield "bad_id", [asked, calls, result, calls, result, done]
    yield "bad_id", [asked, assistant(tool_calls=[one.model_copy(update={"id": ""})]), tool("{}", ""), done]
    yield "wrong_role", [Message(role="user", tool_calls=[one]), result, done]
