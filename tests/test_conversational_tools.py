"""conversational_tools end to end in the shipped domain: by rule, and with everything that goes wrong."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
import yaml

from generators.conversational_tools import SHIPPED
from generators.conversational_tools.domain import Service, load_domain
from generators.conversational_tools.invent import Invent
from generators.conversational_tools.lint import lint
from generators.conversational_tools.scenario import Action, Done, Scenario, check_outcome
from gristmill.errors import ConfigError, TooManyFailed
from gristmill.testing import ScriptedModel, check_generator, run_scripted
from gristmill.tools.checks import check_conversation
from gristmill.tools.simulation import Limits
from judges.told import is_told
from schemas import Function, JsonObject, Message, Record, ToolCall, assistant, user
from tests.conftest import CLI, ROOT
from tests.parcel_rules import MORE, call, parcel_roles, say

RECIPE: dict[str, Any] = yaml.safe_load(
    (ROOT / "recipes/generate/conversational_tools.yaml").read_text(encoding="utf-8")
)
JUDGES = [{"name": "tool_calls"}, {"name": "rollouts", "keep": 4}]


def config(**changes: Any) -> dict[str, Any]:
    return {"generator": "conversational_tools", "tasks": 320, "judges": JUDGES, **changes}


def rows(folder: Path, kind: str = "records") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(folder / kind).to_pylist()
    return found


# --- by rule ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def by_rule(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], ScriptedModel]:
    """The recipe with all its roll-outs, a user and an agent by rule."""
    folder, model = tmp_path_factory.mktemp("run"), ScriptedModel(parcel_roles, shuffle=True)
    recipe = {key: value for key, value in RECIPE.items() if key != "models"}
    return folder, run_scripted({**recipe, "tasks": 320}, folder, model), model


def test_recipe_by_rule(by_rule: tuple[Path, dict[str, Any], ScriptedModel]) -> None:
    """At least fifty conversations, of scenarios that some roll-outs solved and others did not."""
    folder, summary, _ = by_rule
    assert summary["failed"] == 0 and summary["records"] >= 50
    found = summary["selection"]["rollouts"]
    assert found["scenarios"] == 20 and found["rollouts"] == 320
    assert found["scenarios_that_all_solved"] >= 1 and found["scenarios_that_none_solved"] >= 1
    assert found["records_kept"] == summary["records"] and sum(found["scenarios_by_success_rate"].values()) == 20
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert "Selection by rollouts" in report and f">{found['successes']}<" in report

    scenarios: dict[str, list[float]] = {}
    for row in rows(folder):
        metadata = orjson.loads(row["metadata"])
        scenarios.setdefault(metadata["scenario"], []).append(metadata["success_rate"])
        assert not metadata["outcome"]["missing"] and not metadata["outcome"]["unexpected"]
        assert metadata["models"] == {"assistant": "scripted", "user": "scripted"}
        assert len(metadata["turns"]) == sum(m["role"] == "user" for m in row["messages"])
        assert row["messages"][0]["role"] == "system" and row["messages"][-1]["role"] == "assistant"
        assert any(m["reasoning_content"] for m in row["messages"])
        assert len(orjson.loads(row["tools"])) == 10
    assert all(len(rates) <= 4 and 0 < rates[0] < 1 and len(set(rates)) == 1 for rates in scenarios.values())
    assert "parcel_service/where_is_it" not in scenarios, "all solve it"
    assert "parcel_service/customs_letter" not in scenarios, "none solves it"


def test_lost_roll_outs_say_why(by_rule: tuple[Path, dict[str, Any], ScriptedModel]) -> None:
    folder, summary, _ = by_rule
    assert {"assistant/speaks_and_calls", "tools/bad_json", "tools/unknown_tool", "outcome/wrong_state",
            "outcome/forbidden_call", "outcome/not_told", "run/rollouts"} <= summary["by_reason"].keys()  # fmt: skip
    for row in rows(folder, "rejects"):
        assert orjson.loads(row["payload"])["messages"], "a lost conversation can be read"
    (wrong, *_) = [row for row in rows(folder, "rejects") if row["reason"] == "wrong_state"]
    assert "missing: handovers[C-09, customs]: absent -> " in wrong["detail"]


def test_each_role_sees_its_own_half(by_rule: tuple[Path, dict[str, Any], ScriptedModel]) -> None:
    """The user sees no policy, tools, calls or results; the agent no manner, persona, goal or expected end."""
    _, _, model = by_rule
    domain = load_domain(SHIPPED)
    hidden = [scenario.persona for scenario in domain.scenarios.values()]
    hidden += [scenario.goal.split(". ", 1)[1][:60] for scenario in domain.scenarios.values()]
    for role, request in model.calls:
        text = json.dumps(request)
        if role == "user":
            assert "tools" not in request and not any(name in text for name in domain.tools)
            assert "customer_id" not in text and "Fennick" not in text and "postcode LIKE" not in text
        else:
            messages: Any = request["messages"]
            said = json.dumps([message for message in messages if message["role"] != "user"])
            assert not any(text in said for text in hidden)
            assert "How you write" not in text and "must_tell" not in text


def test_supervised_turns_answer_the_records_messages(by_rule: tuple[Path, dict[str, Any], ScriptedModel]) -> None:
    """Each assistant message is the reply to exactly the messages before it."""
    folder, _, model = by_rule
    asked = {json.dumps(request["messages"]) for role, request in model.calls if role == "assistant"}
    for row in rows(folder):
        messages = [Message.model_validate(message) for message in row["messages"]]
        for place, message in enumerate(messages):
            if message.role == "assistant":
                assert json.dumps([before.to_openai() for before in messages[:place]]) in asked


def test_contract(tmp_path: Path) -> None:
    check_generator(config(tasks=32), tmp_path, ScriptedModel(parcel_roles, shuffle=True))


def test_again_asks_nothing(tmp_path: Path) -> None:
    run_scripted(config(tasks=32), tmp_path / "run", ScriptedModel(parcel_roles))
    first = rows(tmp_path / "run")
    changed = {**config(tasks=32), "judges": [*JUDGES, {"name": "meta_leak"}]}  # another fingerprint: all tasks again
    model = ScriptedModel(parcel_roles)
    run_scripted(changed, tmp_path / "run", model)
    assert not model.calls
    assert [row["uuid"] for row in rows(tmp_path / "run")] == [row["uuid"] for row in first]


def test_samples_are_taken_after_selection(tmp_path: Path) -> None:
    """Where selection takes many away, more roll-outs run, and the result doesn't depend on speed."""
    runs, selections = [], []
    for name in ("one", "two"):
        model = ScriptedModel(parcel_roles, shuffle=True)
        summary = run_scripted({**config(), "tasks": None, "samples": 12, "judges": JUDGES}, tmp_path / name, model)
        runs.append([row["uuid"] for row in rows(tmp_path / name)])
        assert summary["records"] == 12 and summary["selection"]["rollouts"]["rollouts"] < 320
        selections.append(summary["selection"])
    assert runs[0] == runs[1] and selections[0] == selections[1]


def test_tools_that_fail_now_and_then(tmp_path: Path) -> None:
    """An agent that tries again recovers; the state is as if nothing had happened."""

    def patient(role: str, request: JsonObject) -> Any:
        messages: Any = request["messages"]
        kept: Any = []
        for message in messages:  # what failed might as well not have been tried
            if message["role"] == "tool" and "nothing was changed" in message["content"]:
                kept.pop()
            else:
                kept.append(message)
        return parcel_roles(role, {**request, "messages": kept})

    params = {"outages": {"share": 0.3}}
    summary = run_scripted(config(tasks=64, params=params, judges=[]), tmp_path, ScriptedModel(patient))
    assert summary["accepted"] > 20
    assert any("nothing was changed" in m["content"] for row in rows(tmp_path) for m in row["messages"])


def in_text(message: Message) -> str:
    """A message in the lines of the text protocol."""
    lines = [f"Thought: {message.reasoning_content}"] if message.reasoning_content else []
    for made in message.tool_calls:
        lines += [f"Action: {made.function.name}", f"Action Input: {made.function.arguments}"]
    return "\n".join([*lines, f"Answer: {message.content}"] if message.content else lines)


def test_calls_as_text(tmp_path: Path) -> None:
    """For an endpoint without tool calls: the same roll-outs end in the same states, and the records are alike."""

    def by_text(role: str, request: JsonObject) -> Any:
        messages: Any = request["messages"]
        if role == "user":
            return parcel_roles(role, request)
        assert "tools" not in request and "find_customer" in messages[0]["content"]
        native = []
        for message in messages:
            kind, _, text = message["content"].partition(": ")
            known = {"User": {"role": "user", "content": text}, "Observation": {"role": "tool", "content": text}}
            native.append(known.get(kind, message) if message["role"] == "user" else message)
        return in_text(parcel_roles(role, {**request, "messages": native}))

    scripted = {"endpoint": "http://scripted.invalid/v1", "model": "scripted"}
    models = {"default": {**scripted, "tool_calls": "text"}}
    run_scripted(config(tasks=64, judges=[], models=models), tmp_path / "text", ScriptedModel(by_text))
    run_scripted(config(tasks=64, judges=[]), tmp_path / "native", ScriptedModel(parcel_roles))
    said = [
        [
            (m["content"], [c["function"] for c in m["tool_calls"]])
            for row in rows(tmp_path / name)
            for m in row["messages"]
        ]
        for name in ("text", "native")
    ]
    assert said[0] == said[1] and len(said[0]) > 200


# --- what goes wrong -------------------------------------------------------------------------------------------------

Script = Callable[[list[dict[str, Any]]], Message]


def many(messages: list[dict[str, Any]]) -> Message:
    calls = [
        ToolCall(id=f"c{n}", function=Function(name="track_parcel", arguments='{"parcel_id": "GP-1101"}'))
        for n in range(50)
    ]
    return Message(role="assistant", tool_calls=calls)


def raw(name: str, arguments: str) -> Message:
    return Message(role="assistant", tool_calls=[ToolCall(id="c", function=Function(name=name, arguments=arguments))])


BAD: dict[str, tuple[Script, str]] = {
    "prose": (lambda m: say(f"Your parcel will surely come soon. {MORE}"), "outcome/not_told"),
    "a call as text": (lambda m: say('track_parcel({"parcel_id": "GP-1101"})'), "assistant/call_in_text"),
    "an invented tool": (lambda m: call("refund_everything"), "tools/unknown_tool"),
    "broken JSON": (lambda m: raw("track_parcel", '{"parcel_id": "GP-1101"'), "tools/bad_json"),
    "a wrong type": (lambda m: raw("track_parcel", '{"parcel_id": 1101}'), "tools/wrong_type"),
    "an argument too many": (
        lambda m: call("track_parcel", parcel_id="GP-1101", fast=True), "tools/unknown_argument"),
    "a missing argument": (lambda m: raw("track_parcel", "{}"), "tools/missing_argument"),
    "a loop": (lambda m: call("track_parcel", parcel_id="GP-1101"), "assistant/loop"),
    "words and a call": (
        lambda m: call("track_parcel", parcel_id="GP-1101").model_copy(update={"content": "One moment, please."}),
        "assistant/speaks_and_calls"),
    "fifty calls at once": (many, "assistant/too_many_parallel"),
    "an empty answer": (lambda m: Message(role="assistant"), "llm/no_answer"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_assistants(case: str, tmp_path: Path) -> None:
    """The trajectory is rejected with its reason, and the run goes on."""
    script, reason = BAD[case]

    def roles(role: str, request: JsonObject) -> Any:
        messages: Any = request["messages"]
        bad = role == "assistant" and "GP-1101" in messages[1]["content"]
        return script(messages) if bad else parcel_roles(role, request)

    summary = run_scripted(config(tasks=4, params={"rollouts": 2}, judges=[]), tmp_path, ScriptedModel(roles))
    assert summary["tasks"] == 4 and summary["failed"] == 0
    lost = [(row["stage"], row["reason"]) for row in rows(tmp_path, "rejects") if "GP-1101" in row["payload"]]
    assert lost == [tuple(reason.split("/"))] * 2


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (lambda n: {"done": False, "text": f"And what about parcel GP-1101? ({n})"}, "user/never_done"),
        (lambda n: {"done": False, "text": "Where is parcel GP-1101?"}, "user/repeats"),
        (lambda n: {"done": True, "text": ""}, "user/no_question"),
        (lambda n: "I am not JSON", "llm/unparseable"),
    ],
)
def test_bad_users(said: Callable[[int], Any], reason: str, tmp_path: Path) -> None:
    count = iter(range(1000))

    def roles(role: str, request: JsonObject) -> Any:
        return said(next(count)) if role == "user" else say("I can't tell.")

    summary = run_scripted(config(tasks=1, judges=[]), tmp_path, ScriptedModel(roles))
    assert summary["by_reason"] == {reason: 1}


def own_domain(folder: Path, **files: str) -> Path:
    """A small domain with a tool of each kind of trouble; `files` replace its own, named without their suffix's dot."""
    content = {
        "policy.md": "Look up a locker with `find_locker`. Lockers are opened with `open_locker` for their owner.",
        "database.sql": "CREATE TABLE lockers (id TEXT PRIMARY KEY, owner TEXT, open INTEGER);"
        "INSERT INTO lockers VALUES ('L1', 'Ada', 0), ('L2', 'Bo', 0);",
        "tools.py": '''
from sqlite3 import Connection
def find_locker(db: Connection, owner: str) -> str:
    """The locker of an owner."""
    if owner == "everybody":
        return "x" * 100_000
    if owner == "nobody":
        raise RuntimeError("a bug")
    row = db.execute("SELECT id FROM lockers WHERE owner = ?", (owner,)).fetchone()
    if row is None:
        raise ValueError("no such owner")
    return row["id"]
def open_locker(db: Connection, locker: str) -> str:
    """Opens a locker."""
    db.execute("UPDATE lockers SET open = 1 WHERE id = ?", (locker,))
    if locker == "L9":
        raise ValueError("L9 is sealed")
    return "open"
''',
        "scenarios.yaml": """
- id: open_it
  goal: You are Ada and want your locker to be opened.
  actions: [{name: open_locker, arguments: {locker: L1}}]
""",
    }
    folder.mkdir(parents=True)
    for name, text in {**content, **{key.replace("_", "."): value for key, value in files.items()}}.items():
        if text:
            (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("owner", "reason"), [("everybody", "tool/too_long"), ("nobody", "tool/error"), ("Zoe", "outcome/wrong_state")]
)
def test_bad_tools(owner: str, reason: str, tmp_path: Path) -> None:
    """100 kB are too long, a bug is a failed task that names its place, a refusal is a result."""

    def roles(role: str, request: JsonObject) -> Any:
        messages: Any = request["messages"]
        if role == "user":
            return {"done": "Assistant:" in messages[0]["content"], "text": "Open my locker, please."}
        return call("find_locker", owner=owner) if messages[-1]["role"] == "user" else say("That is all.")

    params = {"domains": [str(own_domain(tmp_path / "lockers"))]}
    run = config(tasks=1, params=params, judges=[], max_failed=1.0)
    summary = run_scripted({**run, "judges": JUDGES}, tmp_path / "run", ScriptedModel(roles))
    assert summary["by_reason"] == {reason: 1}
    (reject,) = rows(tmp_path / "run", "rejects")
    attempts = summary["selection"]["rollouts"]["rollouts"]
    assert attempts == (0 if owner == "nobody" else 1), "what failed is no attempt: it is tried again"
    if owner == "nobody":
        assert "lockers.find_locker: RuntimeError: a bug (tools.py:" in reject["detail"]
        with pytest.raises(TooManyFailed):
            run_scripted({**run, "max_failed": 0}, tmp_path / "again", ScriptedModel(roles))


FAULTY: dict[str, tuple[dict[str, str], str]] = {
    "no policy": ({"policy_md": ""}, "policy.md can't be read"),
    "an empty policy": ({"policy_md": " \n"}, "policy.md is empty"),
    "no database": ({"database_sql": ""}, "database.sql can't be read"),
    "broken SQL": ({"database_sql": "CREATE TABEL x"}, 'near "TABEL": syntax error'),
    "a file attached": ({"database_sql": "ATTACH '/tmp/x.db' AS x;"}, "not authorized"),
    "a clock": ({"database_sql": "CREATE TABLE x (day TEXT DEFAULT CURRENT_DATE);"}, "CURRENT_DATE gives another"),
    "an orphan": (
        {"database_sql": "CREATE TABLE a (id TEXT PRIMARY KEY); CREATE TABLE b (a TEXT REFERENCES a);"
         "INSERT INTO b VALUES ('x');"},
        "row 1 of b points to no row of a"),
    "no tools": ({"tools_py": "x = 1"}, "tools.py needs public functions whose first parameter is `db`"),
    "no file of tools": ({"tools_py": ""}, "tools.json can't be read"),
    "a syntax error": ({"tools_py": "def f(:"}, "can't be imported: SyntaxError"),
    "no docstring": ({"tools_py": "def f(db, x: str) -> str:\n    return x"}, "f has no docstring"),
    "no type": ({"tools_py": 'def f(db, x) -> str:\n    """X."""'}, "f has a parameter without a type"),
    "a strange type": (
        {"tools_py": 'class T: pass\ndef f(db, x: T) -> str:\n    """X."""'}, "f has a parameter without a type"),
    "scenarios that are no YAML": ({"scenarios_yaml": "- {id: [}"}, "scenarios.yaml is no YAML"),
    "no scenario": ({"scenarios_yaml": "[]"}, "needs at least one scenario"),
    "an unknown key": (
        {"scenarios_yaml": "- {id: a, goal: You want your locker to be opened., acts: []}"}, "0.acts: Extra inputs"),
    "a tool that only the policy knows": (
        {"policy_md": "Use `open_locker` and `close_locker`, and `find_locker`."},
        "policy.md:1 names `close_locker`, which is no tool (did you mean `open_locker`?)"),
    "a tool that the policy forgets": (
        {"policy_md": "Look up an owner with `find_locker`."},
        "policy.md says nothing on when to use open_locker, which changes the state"),
    "an action without a tool": (
        {"scenarios_yaml": "- {id: a, goal: You want locker L1 to be opened., actions: [{name: unlock}]}"},
        "scenario a: unlock is no tool"),
    "an action with faults": (
        {"scenarios_yaml": "- {id: a, goal: You want locker L1 to be opened., "
         "actions: [{name: open_locker, arguments: {locker: 1}}]}"},
        "scenario a: wrong_type: open_locker.locker"),
    "an action that is refused": (
        {"scenarios_yaml": "- {id: a, goal: You want locker L9 to be opened., "
         "actions: [{name: open_locker, arguments: {locker: L9}}]}"},
        'scenario a: open_locker is refused: {"error":"L9 is sealed"}'),
    "another end": (
        {"scenarios_yaml": "- {id: a, goal: You want locker L1 to be opened., "
         "actions: [{name: open_locker, arguments: {locker: L1}}], end: ['lockers[L2].open: 0 -> 1']}"},
        "its actions leave another end than it says; missing: lockers[L2].open: 0 -> 1; unexpected: lockers[L1].open"),
    "an action that is forbidden": (
        {"scenarios_yaml": "- {id: a, goal: You want locker L1 to be opened., must_not_call: [{name: open_locker}], "
         "actions: [{name: open_locker, arguments: {locker: L1}}]}"},
        "open_locker is one of its actions, and forbidden"),
    "an action that breaks": (
        {"scenarios_yaml": "- {id: a, goal: You are nobody and want your locker to be opened., "
         "actions: [{name: find_locker, arguments: {owner: nobody}}]}"},
        "scenario a: find_locker breaks: lockers.find_locker: RuntimeError: a bug (tools.py:"),
    "a setup that fails": (
        {"scenarios_yaml": "- {id: a, goal: You want locker L1 to be opened., setup: [DROP TABLE lockers]}"},
        "scenario a: its setup fails: not one of INSERT"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTY)
def test_faulty_domains(case: str, tmp_path: Path) -> None:
    """One sentence that says what is wrong, before anything is asked."""
    files, message = FAULTY[case]
    folder = own_domain(tmp_path / "lockers", **files)
    with pytest.raises(ConfigError) as raised:
        run_scripted(config(tasks=1, params={"domains": [str(folder)]}), tmp_path / "run")
    assert message in str(raised.value) and "lockers" in str(raised.value)
    assert not (tmp_path / "run" / "ledger.sqlite").exists()


def test_two_folders_of_one_name(tmp_path: Path) -> None:
    folders = [str(own_domain(tmp_path / place / "lockers")) for place in ("a", "b")]
    with pytest.raises(ConfigError, match="two folders have the same name"):
        run_scripted(config(params={"domains": folders}), tmp_path / "run")


def test_a_refused_call_changes_nothing(tmp_path: Path) -> None:
    domain = load_domain(own_domain(tmp_path / "lockers"))
    with Service.open(domain, domain.scenarios["open_it"]) as service:
        assert service.perform("open_locker", {"locker": "L9"}) == ({"error": "L9 is sealed"}, True)
        assert service.changed() == []
        assert service.perform("open_locker", {"locker": "L1"}) == ("open", False)
        assert service.changed() == ["lockers[L1].open: 0 -> 1"] == domain.end(domain.scenarios["open_it"])


# --- outcomes --------------------------------------------------------------------------------------------------------


def test_shipped_domain_is_sound() -> None:
    """Twenty scenarios; what each changes is written down and is what its actions do."""
    domain = load_domain(SHIPPED)
    assert len(domain.scenarios) == 20 and len(domain.tools) == 10
    assert not [finding for finding in lint(domain) if finding.severity == "error"]
    assert all(scenario.end is not None for scenario in domain.scenarios.values())
    assert {action.name for s in domain.scenarios.values() for action in s.actions} >= {
        "change_address", "send_to_pickup_point", "return_to_sender", "hold_parcel", "book_delivery_slot", "open_claim",
        "hand_over",
    }  # fmt: skip


SCENARIO = Scenario(
    id="s", goal="You want to know what it costs.", must_tell=[["4.50"], ["16 March", "March 16"]],
    must_not_tell=[["Larch Grove"]], must_not_call=[Action(name="hand_over", arguments={"topic": "legal"})],
)  # fmt: skip
TOLD = "It costs 4.50 and comes on March 16."


@pytest.mark.parametrize(
    ("changed", "said", "calls", "fault"),
    [
        (["a: 0 -> 1"], TOLD, [], None),
        ([], TOLD, [], ("wrong_state", "missing: a: 0 -> 1")),
        (["a: 0 -> 2"], TOLD, [], ("wrong_state", "missing: a: 0 -> 1; unexpected: a: 0 -> 2")),
        (["a: 0 -> 1", "b: 0 -> 1"], TOLD, [], ("wrong_state", "unexpected: b: 0 -> 1")),
        (["a: 0 -> 1"], "It costs 4.60 and comes on March 16.", [], ("not_told", "4.50")),
        (["a: 0 -> 1"], TOLD + " To Larch  grove?", [], ("disclosed", "Larch Grove")),
        (["a: 0 -> 1"], TOLD, [Done(name="hand_over", arguments={"topic": "legal", "note": "x"})],
         ("forbidden_call", "hand_over {'topic': 'legal', 'note': 'x'}")),
        (["a: 0 -> 1"], TOLD, [Done(name="hand_over", arguments={"topic": "customs"})], None),
        (["a: 0 -> 1"], TOLD, [Done(name="hand_over", arguments={"topic": "legal"}, refused=True)], None),
    ],
)  # fmt: skip
def test_outcome(changed: list[str], said: str, calls: list[Done], fault: tuple[str, str] | None) -> None:
    outcome = check_outcome(SCENARIO, ["a: 0 -> 1"], changed, calls, [assistant(said)])
    assert outcome.fault() == fault


ASKING = Scenario(
    id="s", goal="You want your parcels to be held.", actions=[Action(name="hold_parcel")], ask_first=True
)


def step(name: str, number: int, **arguments: Any) -> list[Message]:
    """A call and its result."""
    made = ToolCall(id=f"c{number}", function=Function(name=name, arguments=json.dumps(arguments)))
    return [assistant(tool_calls=[made]), Message(role="tool", content="{}", tool_call_id=made.id, name=name)]


@pytest.mark.parametrize(
    ("talk", "unasked"),
    [
        (["Hold it.", step("find", 1), "Until the 20th, for 2.25?", "Yes.", step("hold_parcel", 2), "Done."], 0),
        (["Hold it.", step("find", 1), step("hold_parcel", 2), "Done."], 1),
        (["Hold it.", "Your postcode?", "4410.", step("find", 1), step("hold_parcel", 2), "Done."], 1),
        (["Hold it.", step("find", 1), "It is here.", "Good.", step("hold_parcel", 2), "Done."], 1),
        (["Both.", step("find", 1), "Both?", "Yes.", step("hold_parcel", 2), step("hold_parcel", 3), "Done."], 1),
        (["Both.", step("find", 1), "One?", "Yes.", step("hold_parcel", 2), "And two?", "Yes.",
          step("hold_parcel", 3), "Done."], 0),
    ],
)  # fmt: skip
def test_a_change_takes_the_users_word(talk: list[Any], unasked: int) -> None:
    """Words are the user's and the agent's in turn; a call comes before the agent's words."""
    messages: list[Message] = []
    for part in talk:
        speaks = not messages or (messages[-1].role == "assistant" and not messages[-1].tool_calls)
        messages += part if isinstance(part, list) else [user(part) if speaks else assistant(part)]
    outcome = check_outcome(ASKING, [], [], [], messages)
    assert len(outcome.unasked) == unasked
    assert outcome.fault() == (("unasked_change", "; ".join(outcome.unasked)) if unasked else None)
    assert check_outcome(ASKING.model_copy(update={"ask_first": False}), [], [], [], messages).fault() is None


def test_a_refused_change_needs_no_word() -> None:
    call, result = step("hold_parcel", 1)
    refusal = result.model_copy(update={"content": '{"error":"the parcel is delivered"}'})
    assert not check_outcome(ASKING, [], [], [], [user("Hold it."), call, refusal, assistant("I can't.")]).unasked


@pytest.mark.parametrize(
    ("fact", "said", "told"),
    [
        ("4.50", "that is €4.50.", True),
        ("4.50", "that is 4.5 euros", True),
        ("4.50", "that is 14.50", False),
        ("4.50", "on 4.5.2026", False),
        ("160", "up to 1,160 euros", False),
        ("160", "**160.00**!", True),
        ("160 euros", "€160", True),
        ("14 days", "on March 14", False),
        ("14 days", "for 14 days", True),
        ("CL-1203", "your claim CL-1203.", True),
        ("CL-1203", "your claim CL-12034.", False),
        ("express", "Express parcels can't", True),
        ("express", "expressly", False),
        ("can't be undone", "it can’t be undone", True),
        ("5", "It fell to -5 degrees.", False),
        ("-5", "It fell to −5 degrees.", True),
        ("10", "within 8-10 days", True),
        ("1250", "1.250,00 €", True),
        ("café", "the cafe\u0301", True),
    ],
)
def test_told(fact: str, said: str, told: bool) -> None:
    assert is_told([fact], said) is told


# --- the examples, and the embedded model ----------------------------------------------------------------------------


def test_the_examples_are_what_the_generator_would_keep() -> None:
    """Their calls give the results that they show, and they end as their scenarios want."""
    domain = load_domain(SHIPPED)
    lines = (SHIPPED.parents[1] / "examples.jsonl").read_bytes().splitlines()
    assert len(lines) == 3
    for line in lines:
        record = Record.model_validate_json(line)
        scenario = domain.scenarios[str(record.metadata["scenario"]).partition("/")[2]]
        assert record.messages[0].content == domain.policy and record.tools == domain.specs()
        assert check_conversation(record.messages, record.tools) == []
        with Service.open(domain, scenario) as service:
            results = {message.tool_call_id: message.content for message in record.messages if message.role == "tool"}
            for made in (made for message in record.messages for made in message.tool_calls):
                result, _ = service.perform(made.function.name, orjson.loads(made.function.arguments))
                assert orjson.loads(results[made.id]) == result
            outcome = check_outcome(scenario, domain.end(scenario), service.changed(), service.calls, record.messages)
        assert outcome.fault() is None and outcome.model_dump(mode="json") == record.metadata["outcome"]


@pytest.mark.embedded
def test_recipe_with_the_embedded_model(cli: CLI, tmp_path: Path) -> None:
    """Every stage runs; what such a small model yields is stated in the docs."""
    recipe = ROOT / "recipes/generate/conversational_tools.yaml"
    small = (
        f"params.domains=[{own_domain(tmp_path / 'lockers')}]"  # 2,500 tokens of policy and tools would take minutes
    )
    short = ("tasks=1", small, "params.limits.turns=1", "params.limits.steps=2", "models.default.max_tokens=100")
    made = cli("generate", recipe, *short, "--run", tmp_path / "run", "--quiet", timeout=300)
    assert made.returncode == 0, made.stderr
    summary = orjson.loads((tmp_path / "run" / "summary.json").read_bytes())
    assert summary["tasks"] == summary["accepted"] + summary["rejected"] == 1
    assert "user" in summary["by_role"]


# --- the docs --------------------------------------------------------------------------------------------------------


def test_docs_say_what_the_code_does() -> None:
    """Counts, defaults and reasons."""
    docs = (ROOT / "docs/conversational_tools.md").read_text(encoding="utf-8")
    services = yaml.safe_load((SHIPPED.parents[1] / "domains.yaml").read_text(encoding="utf-8"))
    assert (
        f"<!-- count -->{sum(map(len, services.values()))}<!-- end --> bundled services in {len(services)} fields"
        in docs
    )
    limits = {name: field.default for name, field in Limits.model_fields.items()}
    written = dict(re.findall(r"`(\w+)` = (\d+)", docs[docs.index("| `limits` |") : docs.index("| `outages` |")]))
    assert {name: str(default) for name, default in limits.items()} == written
    invent = {name: str(field.default) for name, field in Invent.model_fields.items()}
    row = docs[docs.index("| `invent` |") : docs.index("| `rollouts` | 16")]
    assert all(invent[name] == number for name, number in re.findall(r"`(\w+)` = (\d+)", row))
    assert set(re.findall(r"`(\w+)`", row)) >= invent.keys()
    both = docs + (ROOT / "docs/judges.md").read_text(encoding="utf-8")
    assert all(f"`{reason.split('/')[1]}`" in both for _, reason in BAD.values())
    assert (SHIPPED / "scenarios.yaml").read_text(encoding="utf-8").find(docs.split("```yaml\n")[1].split("```")[0]) > 0
