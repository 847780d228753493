"""Tools as others write them: what is repaired, what is refused, and the real lists that the docs' table speaks of."""

import ast
import csv
import gzip
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.tools.checks import ToolSet
from schemas import Function, ToolCall
from schemas.openapi_tools import import_openapi, is_openapi
from schemas.python_tools import import_functions
from schemas.tool_formats import Imported, import_tools

DOCS = Path(__file__).parent.parent / "docs" / "general_tools.md"


def parameters(entry: Any) -> Any:
    """The parameters of the one tool that this is read as."""
    made = import_tools([entry])
    assert not made.refused, made.refused
    return made.tools[0].function.parameters


def tool(**arguments: Any) -> Any:
    return {"name": "f", "parameters": {"type": "object", "properties": arguments}}


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("string", {"type": "string"}),
        ("dict", {"type": "object"}),
        ("float", {"type": "number"}),
        ("STRING", {"type": "string"}),
        ("any", {}),
        ("List[str]", {"type": "array", "items": {"type": "string"}}),
        ("list of integers", {"type": "array", "items": {"type": "integer"}}),
        ("str[]", {"type": "array", "items": {"type": "string"}}),
        ("int or None", {"type": ["integer", "null"]}),
        ("Optional[int]", {"type": ["integer", "null"]}),
        ("str, optional", {"type": "string"}),
        (["str", "null"], {"type": ["string", "null"]}),
        ("datetime", {"type": "string"}),
    ],
)
def test_types_with_one_meaning_are_repaired(written: Any, means: Any) -> None:
    assert parameters(tool(a={"type": written}))["properties"]["a"] == means


@pytest.mark.parametrize(
    ("entry", "kind", "told"),
    [
        (tool(a={"type": "length"}), "type", "could be anything"),
        (tool(a={"type": ""}), "type", "could be anything"),
        (tool(a={"type": "integer", "enum": ["1", "2"]}), "enum", "no integer"),
        (tool(a={"type": "boolean", "enum": [1]}), "enum", "no boolean"),
        (tool(a={"type": "string", "required": "perhaps"}), "required", "perhaps"),
        (tool(a={"type": "string", "pattern": "("}), "schema", "no JSON schema"),
        (tool(a=7), "shape", "not a schema"),
        ({"name": "f", "parameters": {"type": "string"}}, "shape", "not an object"),
        ({"name": "f", "parameters": {"type": "object", "properties": {}, "required": ["a"]}}, "required", "not among"),
        ({"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "str", "optional": True}},
                                      "required": ["a"]}}, "required", "both"),
        ({"name": "f", "parameters": [{"type": "string"}]}, "shape", "no name"),
        ({"name": "f", "parameters": "{"}, "shape", "no JSON"),
        ({"name": "srv", "packages": []}, "shape", "not a tool"),
        ({"name": "§§"}, "name", "no name"),
        ({"description": "nameless"}, "shape", "no object with a name"),
        ("f", "shape", "no object with a name"),
    ],
)  # fmt: skip
def test_what_has_no_single_reading_is_refused(entry: Any, kind: str, told: str) -> None:
    made = import_tools([entry])
    assert not made.tools and [note.kind for note in made.refused] == [kind]
    assert told in str(made.refused[0])


A: Any = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


@pytest.mark.parametrize(
    "entry",
    [
        {"type": "function", "function": {"name": "f", "parameters": A}},
        {"name": "f", "input_schema": A},
        {"name": "f", "inputSchema": {"$schema": "x", **A}},
        {"name": "f", "parameters": {"a": {"type": "int", "required": True}}},
        {"name": "f", "parameters": {"properties": {"a": {"type": "int", "required": "true"}}}},
        {"name": "f", "parameters": [{"name": "a", "in": "path", "schema": {"type": "integer"}}]},
        {"name": "f", "required_parameters": [{"name": "a", "type": "int"}], "optional_parameters": []},
        {"name": "f", "parameters": json.dumps(A)},
        {"functionDeclarations": [
            {"name": "f", "parameters": {**A, "type": "OBJECT", "properties": {"a": {"type": "INTEGER"}}}}]},
    ],
)  # fmt: skip
def test_one_tool_in_the_shapes_of_many(entry: Any) -> None:
    assert parameters(entry) == A


def test_lists_are_found_where_they_are_held() -> None:
    entry = {"name": "f", "parameters": {}}
    for held in ([entry], {"tools": [entry]}, {"result": {"tools": [entry]}}, {"functions": [entry]}, entry):
        for value in (held, json.dumps(held)):
            assert [tool.function.name for tool in import_tools(value).tools] == ["f"]
    with pytest.raises(ValueError, match="no list of tools"):
        import_tools(7)


def test_names_are_repaired_and_remembered_and_none_comes_twice() -> None:
    made = import_tools([{"name": "math.area"}, {"name": "math area"}, {"name": "x" * 70}])
    assert [tool.function.name for tool in made.tools] == ["math_area", "x" * 64]
    assert made.origin == {"math_area": "math.area", "x" * 64: "x" * 70}
    assert [str(note) for note in made.refused] == ["math area: another tool is named math_area"]
    assert made.outcome() == {"as is": 0, "repaired": 2, "refused": 1, "refused: name": 1, "repaired: name": 2}


def test_nested_and_older_schemas() -> None:
    made = parameters(
        tool(
            a={"properties": {"b": {"type": "int", "nullable": True}}},
            c={"type": "array", "items": [{"type": "int"}]},
            d="str",
        )
    )
    assert made["properties"] == {
        "a": {"type": "object", "properties": {"b": {"type": ["integer", "null"]}}},
        "c": {"type": "array", "prefixItems": [{"type": "integer"}]},
        "d": {"type": "string"},
    }


PETS: Any = {
    "openapi": "3.0.0",
    "paths": {
        "/pets/{petId}": {
            "parameters": [{"name": "petId", "in": "path", "required": True, "schema": {"type": "string"}}],
            "get": {"operationId": "getPet", "summary": "One pet", "parameters": [
                {"$ref": "#/components/parameters/Fields"}]},
            "put": {"operationId": "putPet", "requestBody": {"required": True, "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}}},
            "delete": {"operationId": "dropPet", "parameters": [{"name": "sid", "in": "cookie", "schema": {}}]},
        },
        "/pets": {
            "post": {"requestBody": {"content": {"multipart/form-data": {"schema": {}}}}},
            "get": {"operationId": "listPets", "parameters": [{"$ref": "other.yaml#/x"}]},
            "patch": {"operationId": "patchPets", "requestBody": {"required": True, "content": {"application/json": {
                "schema": {"type": "array", "items": {"$ref": "#/components/schemas/Pet"}}}}}},
        },
    },
    "components": {
        "parameters": {"Fields": {"name": "fields", "in": "query", "description": "Which.", "schema": {
            "type": "array", "items": {"type": "string"}}}},
        "schemas": {"Pet": {"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string"}, "mother": {"$ref": "#/components/schemas/Pet"},
            "born": {"type": "string", "format": "date", "nullable": True}}}},
    },
}  # fmt: skip


def test_an_openapi_document() -> None:
    assert is_openapi(PETS)
    made = import_openapi(PETS)
    tools: dict[str, Any] = {tool.function.name: tool.function.parameters for tool in made.tools}
    assert list(tools) == ["getPet", "putPet", "patchPets"]
    assert tools["getPet"]["required"] == ["petId"]
    assert tools["getPet"]["properties"]["fields"]["description"] == "Which."
    assert tools["putPet"]["required"] == ["petId", "name"]
    assert tools["putPet"]["properties"]["mother"] == {"$ref": "#/$defs/Pet"}
    assert tools["patchPets"]["required"] == ["body"]
    known = ToolSet(made.tools)
    assert not list(known.definitions())
    assert faults(known, "putPet", petId="1", name="Bo", mother={"name": "Jo", "mother": {"name": 3}}) == ["wrong_type"]
    assert faults(known, "patchPets", body=[{"name": "Bo", "born": None}]) == []
    assert {note.tool: note.detail for note in made.refused} == {
        "dropPet": "sid is sent as cookie",
        "listPets": "other.yaml#/x lies outside the document",
        "post_pets": "its body is multipart/form-data, not JSON",
    }


def test_an_older_openapi_document() -> None:
    pet = {"type": "object", "properties": {"name": {"type": "string"}}}
    document: Any = {"swagger": "2.0", "definitions": {"Pet": pet}, "paths": {
        "/pets": {"post": {"operationId": "add", "parameters": [
            {"name": "dry", "in": "query", "type": "boolean"},
            {"name": "pet", "in": "body", "required": True, "schema": {"$ref": "#/definitions/Pet"}}]}}}}  # fmt: skip
    (made,) = import_openapi(document).tools
    assert made.function.parameters["properties"] == {"dry": {"type": "boolean"}, "name": {"type": "string"}}


def faults(known: ToolSet, name: str, /, **arguments: Any) -> list[str]:
    call = ToolCall(id="c", function=Function(name=name, arguments=json.dumps(arguments)))
    return [fault.kind for fault in known.check(call)]


FUNCTIONS = '''
from typing import Annotated, Literal, Optional
import datetime

def find(origin: str, day: datetime.date, seats: int = 1, fare: Literal["saver", "flex"] = "flex", *,
         via: Optional[list[str]] = None, limits: dict[str, float] = {}) -> list[dict]:
    """Find trains on a day.

    They are sorted.

    Args:
        origin: Where the journey begins,
            as people say it.
        day (date): When.

    Returns:
        trains: what there is
    """

def numpy(a: "int | str", b: Annotated[bool, "Whether."], c: tuple[int, str], d: set[int]):
    """Do it.

    Parameters
    ----------
    a : int
        The a.

    Returns
    -------
    x : int
    """

async def sphinx(a: int | None):
    """Do it.

    :param a: The a.
    :returns: nothing
    """

def untyped(a): ...
def anything(**kwargs: int): ...
def strange(a: Socket): ...
def _private(a): ...
'''


def test_python_functions() -> None:
    made = import_functions(FUNCTIONS)
    find, numpy, sphinx = (tool.function for tool in made.tools)
    assert find.description == "Find trains on a day. They are sorted."
    assert find.parameters == {
        "type": "object",
        "properties": {
            "origin": {"type": "string", "description": "Where the journey begins, as people say it."},
            "day": {"type": "string", "format": "date", "description": "When."},
            "seats": {"type": "integer", "default": 1},
            "fare": {"enum": ["saver", "flex"], "default": "flex"},
            "via": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]},
            "limits": {"type": "object", "additionalProperties": {"type": "number"}, "default": {}},
        },
        "required": ["origin", "day"],
    }
    assert numpy.parameters["properties"] == {
        "a": {"type": ["integer", "string"], "description": "The a."},
        "b": {"type": "boolean", "description": "Whether."},
        "c": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2, "maxItems": 2},
        "d": {"type": "array", "items": {"type": "integer"}, "uniqueItems": True},
    }
    assert sphinx.parameters["properties"] == {"a": {"type": ["integer", "null"], "description": "The a."}}
    assert {note.tool: note.kind for note in made.refused} == {
        "untyped": "type",
        "anything": "shape",
        "strange": "type",
    }
    assert not list(ToolSet(made.tools).definitions())
    with pytest.raises(ValueError, match="no Python"):
        import_functions("def f(:")


WORDS = st.sampled_from(
    ["name", "type", "properties", "required", "items", "enum", "parameters", "function", "in", "schema", "$ref",
     "object", "string", "array", "path", "#/x", "anyOf", "additionalProperties", "description", "requestBody",
     "content", "optional", "application/json", "operationId", "get", "tools", "", "a"]
)  # fmt: skip
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=25,
)


@settings(max_examples=150)
@given(ANYTHING, ANYTHING, ANYTHING)
def test_whatever_comes_is_read_or_refused(one: Any, two: Any, three: Any) -> None:
    """No importer breaks, and what it lets through is a tool that calls can be checked against."""
    for value in (one, [{"name": "f", "parameters": one}], [{"name": "f", "parameters": {"properties": {"a": one}}}]):
        try:
            made = import_tools(value)
        except ValueError:
            continue
        assert not list(ToolSet(made.tools).definitions())
    document = {"openapi": "3", "x": three, "paths": {"/a": {"get": one, "parameters": two}, "/b": {"put": {
        "parameters": [two], "requestBody": one}}, "/c": two}}  # fmt: skip
    assert not list(ToolSet(import_openapi(document).tools).definitions())


def in_the_wild(data: Path) -> dict[str, list[Imported]]:
    """Each collection of real tools, as it is imported."""
    bfcl = [json.loads(line)["function"] for path in sorted((data / "bfcl").glob("*.json")) for line in path.open()]
    return {
        "BFCL v4 (simple, multiple, irrelevance)": [import_tools(value) for value in bfcl],
        "ToolEyes": [import_tools(path.read_text()) for path in sorted((data / "tooleyes").rglob("config_gpt4.json"))],
        "AutoTools": [import_tools(gzip.decompress(p.read_bytes())) for p in sorted((data / "autotools").glob("*.gz"))],
        "API-Bank": [import_tools(api_bank(data / "api_bank/all_apis.csv"))],
        "MCP registry": [import_tools(gzip.decompress(p.read_bytes())) for p in (data / "mcp_registry").glob("*.gz")],
    }


def api_bank(path: Path) -> list[Any]:
    """Its cells are Python assignments: description, input_parameters, output_parameters."""
    entries = []
    for row in csv.DictReader(path.open(encoding="utf-8")):
        try:
            body = ast.parse(row["api_info"]).body
        except SyntaxError:
            entries.append({"description": row["api_info"]})
            continue
        cell = {ast.unparse(n.targets[0]): ast.literal_eval(n.value) for n in body if isinstance(n, ast.Assign)}
        entries.append({"name": row["类名"], **cell})
    return entries


@pytest.mark.shared
def test_the_table_of_the_docs_is_what_happens_to_real_lists(shared_data: Path) -> None:
    found = {}
    for name, imports in in_the_wild(shared_data / "tools").items():
        for made in imports:
            assert not list(ToolSet(made.tools).definitions()), name
        total = sum((Counter(made.outcome()) for made in imports), Counter[str]())
        found[name] = [len(imports), total["as is"], total["repaired"], total["refused"]]
    rows = re.findall(r"^\| ([^|]+?) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|", DOCS.read_text("utf-8"), re.MULTILINE)
    assert found == {name: [int(cell) for cell in cells] for name, *cells in rows}
    assert found["BFCL v4 (simple, multiple, irrelevance)"][3] == 1


@pytest.mark.shared
def test_repaired_tools_check_calls_as_the_originals_do(shared_data: Path) -> None:
    """The gold calls of BFCL pass under the repaired schemas as under those in the wild."""
    passed = 0
    for kind in ("simple_python", "multiple"):
        questions = (shared_data / "tools/bfcl" / f"BFCL_v4_{kind}.json").read_text().splitlines()
        answers = (shared_data / "tools/bfcl/possible_answer" / f"BFCL_v4_{kind}.json").read_text().splitlines()
        for question, answer in zip(map(json.loads, questions), map(json.loads, answers), strict=True):
            made = import_tools(question["function"])
            known, renamed = ToolSet(made.tools), {old: new for new, old in made.origin.items()}
            for gold in answer["ground_truth"]:
                ((name, options),) = gold.items()
                arguments = {key: plain(values[0]) for key, values in options.items() if values[0] != ""}
                passed += not faults(known, renamed.get(name, name), **arguments)
    assert passed >= 598  # of 600; one leaves out an argument that its schema requires


def plain(value: Any) -> Any:
    """A possible answer lists the choices at each depth of an object; the first one."""
    if isinstance(value, dict):
        return {key: plain(choices[0]) for key, choices in value.items() if choices[0] != ""}
    return [plain(one) for one in value] if isinstance(value, list) else value
