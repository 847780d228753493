"""general_tools with tools of one's own: scenarios that a model writes, tools that a model plays, live servers."""

import sys
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from generators.general_tools import GeneralTools, Params
from generators.general_tools.simulated import look_up, put
from generators.general_tools.toolboxes import toolboxes
from gristmill import Reject
from gristmill.errors import ConfigError
from gristmill.testing import ScriptedModel, run_scripted
from schemas import JsonObject, assistant
from schemas.arrow import row_to_record
from tests.rule_driven import calling

TOOLS = [
    {"name": "track", "description": "Where a parcel is.", "parameters": {
        "type": "dict", "properties": {"parcel": {"type": "str", "required": True}}}},
    {"name": "redirect", "description": "Sends a parcel elsewhere.", "parameters": {
        "type": "object", "properties": {"parcel": {"type": "string"}, "to": {"type": "string"}},
        "required": ["parcel", "to"]}},
]  # fmt: skip
WORLD = {"parcels": {"P7": {"at": "Ghent depot", "to": "Lier"}}, "note": "HIDDEN-STATE"}


class Roles:
    """One conversation about a parcel. Each of the four roles' answers can be replaced."""

    def __init__(self, **answers: Any) -> None:
        self.written: Any = {
            "calls": [{"name": "track", "arguments": '{"parcel": "P7"}'}],
            "goal": "You want to know where the parcel P7 is, HIDDEN-GOAL.",
            "system": "You help at the counter of a post office.", "withheld": [],
            "world": orjson.dumps(WORLD).decode(),
        }  # fmt: skip
        self.served: Any = {
            "facts": [{"path": "/parcels/P7/at", "value": '"Ghent depot"'}], "fault": "none",
            "result": '{"at": "Ghent depot"}', "updates": [],
        }  # fmt: skip
        self.user: Any = [{"done": False, "text": "Where is my parcel P7?"}, {"done": True, "text": ""}]
        self.says: Any = [calling([("track", {"parcel": "P7"})], 0), assistant("It is in the Ghent depot.")]
        for name, answer in answers.items():
            given: Any = getattr(self, name)
            setattr(self, name, {**given, **answer} if isinstance(given, dict) else answer)

    def __call__(self, role: str, request: JsonObject) -> Any:
        if role == "writer":
            return self.written
        if role == "tool":
            return self.served.pop(0) if isinstance(self.served, list) else self.served
        lines = self.user if role == "user" else self.says
        return lines.pop(0) if len(lines) > 1 else lines[0]


def play(folder: Path, roles: Roles, **params: Any) -> tuple[Any, ScriptedModel]:
    """The row of the one record or reject of one task, and the model with what it was asked."""
    tools = folder / "post.json"
    tools.write_bytes(orjson.dumps(TOOLS))
    model = ScriptedModel(roles)
    given = {"tools": [str(tools)], "kinds": ["single_turn"], **params}
    run_scripted({"generator": "general_tools", "tasks": 1, "params": given, "max_failed": 1.0}, folder / "run", model)
    rows = pq.read_table(folder / "run/records").to_pylist() or pq.read_table(folder / "run/rejects").to_pylist()
    return rows[0], model


def test_four_roles_each_with_its_own_part(tmp_path: Path) -> None:
    row, model = play(tmp_path, Roles())
    record = row_to_record(row)
    assert [message.role for message in record.messages] == ["system", "user", "assistant", "tool", "assistant"]
    outcome: Any = record.metadata["outcome"]
    calls = [{"track": {"parcel": "P7"}}]
    assert outcome == {"checked": "calls", "changed": [], "expected_calls": calls, "told": []}
    assert record.metadata["turns"] == [{"calls": 1, "faults": []}]
    asked = {role: str(request["messages"]) for role, request in model.calls}
    persona = str(record.metadata["persona"])
    assert set(asked) == {"writer", "user", "assistant", "tool"}
    for role, sees in {
        "assistant": {"goal": False, "state": False, "persona": False},
        "user": {"goal": True, "state": False, "persona": True},
        "tool": {"goal": False, "state": True, "persona": False},
    }.items():
        seen = {"goal": "HIDDEN-GOAL" in asked[role], "state": "HIDDEN-STATE" in asked[role],
                "persona": persona in asked[role]}  # fmt: skip
        assert seen == sees, role


@pytest.mark.parametrize(
    ("written", "params", "reason"),
    [
        ({"calls": [{"name": "trakc", "arguments": '{"parcel": "P7"}'}]}, {}, "bad_call"),
        ({"calls": [{"name": "track", "arguments": '{"parcel": 7}'}]}, {}, "bad_call"),
        ({"calls": [{"name": "track", "arguments": "P7"}]}, {}, "bad_call"),
        ({"calls": []}, {}, "wrong_kind"),
        ({}, {"kinds": ["no_tool"]}, "wrong_kind"),
        ({}, {"kinds": ["parallel"]}, "wrong_kind"),
        ({}, {"kinds": ["missing_information"]}, "nothing_withheld"),
        ({"withheld": ["Monday"]}, {"kinds": ["missing_information"]}, "nothing_withheld"),
        ({"world": "[]"}, {}, "bad_world"),
        ({"world": "{"}, {}, "bad_world"),
    ],
)
def test_scenarios_that_are_none(written: Any, params: Any, reason: str, tmp_path: Path) -> None:
    row, model = play(tmp_path, Roles(written=written), **params)
    assert f"{row['stage']}/{row['reason']}" == f"scenario/{reason}"
    assert model.count_by_role() == {"writer": 1}


FACT = {"path": "/parcels/P7/at", "value": '"Ghent depot"'}


@pytest.mark.parametrize(
    ("served", "reason"),
    [
        ({"result": "it is in Ghent"}, "bad_result"),
        ({"facts": [{**FACT, "value": '"Lier"'}]}, "contradicts_state"),
        ({"facts": [{**FACT, "value": "Ghent depot"}]}, "bad_result"),
        ({"facts": [{"path": "/parcels/P8/at", "value": '"Lier"'}]}, "contradicts_state"),
        ({"fault": "not_found", "updates": [FACT]}, "contradicts_state"),
        ({"updates": [{"path": "/parcels/P7/at/town", "value": "1"}]}, "contradicts_state"),
        ({"updates": [{"path": "", "value": "1"}]}, "contradicts_state"),
        ({"result": orjson.dumps("x" * 100_000).decode()}, "too_long"),
    ],
)
def test_tools_that_are_played_badly(served: Any, reason: str, tmp_path: Path) -> None:
    row, _ = play(tmp_path, Roles(served=served))
    assert f"{row['stage']}/{row['reason']}" == f"tool/{reason}"
    assert "messages" in orjson.loads(row["payload"])


def test_a_changed_world_is_the_next_calls_world_and_a_repeated_call_is_not_asked_again(tmp_path: Path) -> None:
    roles = Roles()
    moved = {"facts": [], "fault": "none", "result": '{"to": "Mechelen"}', "updates": [
        {"path": "/parcels/P7/to", "value": '"Mechelen"'}]}  # fmt: skip
    seen = {"facts": [{"path": "/parcels/P7/to", "value": '"Mechelen"'}], "fault": "none",
            "result": '{"to": "Mechelen"}', "updates": []}  # fmt: skip
    denied = {"facts": [], "fault": "not_found", "result": '"there is no parcel P9"', "updates": []}
    roles.served = [roles.served, moved, seen, denied]
    roles.says = [
        calling([("track", {"parcel": "P7"})], 0),
        calling([("track", {"parcel": "P7"})], 1),
        calling([("redirect", {"parcel": "P7", "to": "Mechelen"})], 2),
        calling([("track", {"parcel": "P7"})], 3),
        calling([("track", {"parcel": "P9"})], 4),
        assistant("It goes to Mechelen."),
    ]
    row, model = play(tmp_path, roles)
    results = [message["content"] for message in row["messages"] if message["role"] == "tool"]
    assert results == [
        '{"at":"Ghent depot"}', '{"at":"Ghent depot"}', '{"to":"Mechelen"}', '{"to":"Mechelen"}',
        '{"error":{"message":"there is no parcel P9","type":"not_found"}}',
    ]  # fmt: skip
    assert model.count_by_role()["tool"] == 4
    assert orjson.loads(row["metadata"])["outcome"]["changed"] == ['parcels.P7.to: "Lier" -> "Mechelen"']
    last = [request["messages"] for role, request in model.calls if role == "tool"][-1]
    assert '"to":"Mechelen"' in str(last)


@pytest.mark.parametrize(
    ("answers", "params", "reason"),
    [
        ({"says": [assistant("I don't know.")]}, {}, "shape/no_calls"),
        ({"says": [calling([("redirect", {"parcel": "P7", "to": "x"})], 0), assistant("Done.")]}, {},
         "outcome/tool_not_called"),
        ({"written": {"withheld": ["P7"]}}, {"kinds": ["missing_information"]}, "user/told_too_much"),
    ],
)  # fmt: skip
def test_other_ways_to_fail(answers: Any, params: Any, reason: str, tmp_path: Path) -> None:
    row, _ = play(tmp_path, Roles(**answers), **params)
    assert f"{row['stage']}/{row['reason']}" == reason


COUNTER = '''
STATE = {"count": 1}

def add(n: int) -> int:
    """Add to the counter."""
    if n > 100:
        raise ValueError("too much")
    STATE["count"] += n
    return STATE["count"]
'''


@pytest.mark.bubblewrap
@pytest.mark.parametrize(
    ("n", "made", "end"), [(2, 2, ""), (2, 3, "outcome/wrong_state"), (101, 2, "scenario/calls_fail")]
)
def test_a_written_scenario_for_functions_is_run_before_it_is_played(
    n: int, made: int, end: str, tmp_path: Path
) -> None:
    (tmp_path / "counter.py").write_text(COUNTER)
    written = {"calls": [{"name": "add", "arguments": f'{{"n": {n}}}'}], "goal": f"You want {n} added."}
    roles = Roles(written=written, says=[calling([("add", {"n": made})], 0), assistant("Done.")])
    row, model = play(tmp_path, roles, tools=[str(tmp_path / "counter.py")])
    assert (f"{row['stage']}/{row['reason']}" if "stage" in row else "") == end
    assert '{"count":1}' in str(model.calls[0][1]["messages"]), "the writer sees the state"


@pytest.mark.mcp
def test_a_live_server(tmp_path: Path) -> None:
    server = {"command": [sys.executable, str(Path(__file__).with_name("mcp_server.py"))], "timeout": 5}
    written = {"calls": [{"name": "search", "arguments": '{"query": "moss"}'}], "world": "{}"}
    says = [calling([("search", {"query": "moss", "count": 1})], 0), calling([("fail", {})], 1), assistant("One page.")]
    row, model = play(tmp_path, Roles(written=written, says=says), tools=[], servers={"web": server})
    record = row_to_record(row)
    results = [message.content for message in record.messages if message.role == "tool"]
    assert '"title"' in results[0] and "moss" in results[0] and "fail" in orjson.loads(results[1])["error"]
    cell: Any = record.metadata["cell"]
    assert cell["toolbox"] == "web"
    assert {tool.function.name for tool in record.tools} >= {"search", "sleep", "fail"}
    assert "The tools are live" in str(model.calls[0][1]["messages"])
    assert "search" in orjson.loads((tmp_path / "run/artifacts/servers.json").read_bytes())["web"][0]["name"]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("x.txt", "", "no folder and no file of the kinds"),
        ("x.json", "{", "x.json"),
        ("x.json", "[]", "has no tool that can be used"),
        ("x.json", '[{"name": "f", "parameters": {"a": {"type": "length"}}}]', "could be anything"),
        ("x.py", "def f(:", "no Python"),
        ("x.py", "def f(a): ...", "a has no type"),
        ("x.py", "STATE = {1: 2}\ndef f() -> int: ...", "STATE"),
        ("x.jsonl", "{]", "not valid JSON"),
        ("x.jsonl", "", "has no tool that can be used"),
    ],
)
def test_files_without_tools(name: str, text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=told):
        toolboxes([tmp_path / name])


@pytest.mark.bubblewrap
def test_code_that_cannot_be_loaded_ends_the_run_before_it_begins(tmp_path: Path) -> None:
    (tmp_path / "counter.py").write_text("import a_package_that_is_not_there\n" + COUNTER)
    params = {"tools": [str(tmp_path / "counter.py")]}
    run: dict[str, Any] = {"generator": "general_tools", "tasks": 1, "params": params}
    with pytest.raises(ConfigError, match=r"counter.py can't be loaded in the sandbox: ModuleNotFoundError"):
        run_scripted(run, tmp_path / "run")
    simulated = {**params, "simulate": True}
    assert run_scripted({**run, "params": simulated}, tmp_path / "played")["tasks"] == 1


def test_sets_whose_goals_and_tools_disagree(tmp_path: Path) -> None:
    (tmp_path / "counter.py").write_text(COUNTER)
    goal: Any = {"kind": "single_turn", "goal": "You want 2.", "openings": ["2"], "calls": [{"sub": {"n": 2}}]}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({}, "a goal calls sub; counter.py has add"),
        ({"calls": []}, "with 0 calls"),
        ({"withheld": ["2"]}, "withheld"),
        ({"kind": "single"}, "kind"),
    ]
    for changed, told in wrong:
        text = orjson.dumps({"about": "", "goals": [{**goal, **changed}]}).decode()
        (tmp_path / "counter.yaml").write_text(text)
        with pytest.raises(ConfigError, match=told):
            toolboxes([tmp_path])


def test_files_of_many_kinds(tmp_path: Path) -> None:
    (tmp_path / "post.json").write_bytes(orjson.dumps(TOOLS))
    rows = [{"tools": [TOOLS[0]]}, {"functions": orjson.dumps([TOOLS[1]]).decode()}, {"tools": [{"name": 7}]}]
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join([*map(orjson.dumps, rows), b"{", orjson.dumps({"tools": "["})]))
    (tmp_path / "pets.yaml").write_text(
        "openapi: 3.0.0\ninfo: {title: Pets}\npaths: {/pets: {get: {operationId: listPets}}}\n"
    )
    boxes = toolboxes([tmp_path])
    assert {name: [tool.function.name for tool in box.tools] for name, box in boxes.items()} == {
        "pets": ["listPets"], "post": ["track", "redirect"], "rows:1": ["track"], "rows:2": ["redirect"],
        "rows:3": [], "rows:4": [], "rows:5": [],
    }  # fmt: skip
    assert boxes["pets"].about.about == "Pets"
    assert [len(boxes[f"rows:{n}"].imported.refused) for n in (3, 4, 5)] == [1, 1, 1]
    generator = GeneralTools(Params(tools=[tmp_path]))
    used = {cell.toolbox for cell, _ in zip(generator.tasks(), range(48), strict=False)}
    assert used == {"pets", "post", "rows:1", "rows:2"} == set(generator.coverage_axes()["toolbox"])
    assert boxes["post"].imported.outcome() == {
        "as is": 1, "repaired": 1, "refused": 0, "repaired: required": 1, "repaired: type": 2,
    }  # fmt: skip
    with pytest.raises(ConfigError, match="two sets are named post"):
        toolboxes([tmp_path, tmp_path / "post.json"])


def test_only_some_tools_of_a_large_set_are_offered(tmp_path: Path) -> None:
    many = [{"name": f"tool{n}", "parameters": {}} for n in range(40)]
    (tmp_path / "many.json").write_bytes(orjson.dumps(many))
    generator = GeneralTools(Params(tools=[tmp_path / "many.json"], offer=5))
    cells = [cell for cell, _ in zip(generator.tasks(), range(20), strict=False)]
    assert all(len(set(cell.offered)) == 5 for cell in cells) and len({tuple(cell.offered) for cell in cells}) == 20
    assert generator.files() == [tmp_path / "many.json"]


def test_pointers() -> None:
    world: Any = {"a/b": [{"c": 1}]}
    assert look_up(world, "/a~1b/0/c") == 1
    put(world, "/a~1b/-", 2)
    put(world, "/new/deep", 3)
    put(world, "/a~1b/0", 4)
    assert world == {"a/b": [4, 2], "new": {"deep": 3}}
    with pytest.raises(Reject):
        put(world, "/a~1b/9", 1)
