"""general_tools: a rule-driven assistant is accepted in every kind of scenario, and each of its faults is found."""

import re
from collections import Counter
from copy import deepcopy
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
import yaml

from generators.general_tools import GeneralTools, Params
from generators.general_tools.cells import Cell
from generators.general_tools.outcome import changes, require_changes, require_told
from generators.general_tools.scenario import KINDS, Kind, Scenario
from gristmill import Reject
from gristmill.commands.generate import run_plan
from gristmill.plan import make_plan
from gristmill.runs import RunFolder
from gristmill.testing import ScriptedModel, check_generator, run_scripted
from gristmill.tools.checks import ToolSet, check_conversation
from judges.told import is_told
from schemas import Function, Message, Record, ToolCall, assistant, user
from schemas.arrow import row_to_record
from schemas.run_config import RunConfig
from tests.rule_driven import RuleDriven, Spoken, run_cell

ROOT = Path(__file__).parents[1]
SETS = 8
ALL = SETS * len(KINDS)


@pytest.fixture(scope="module")
def bundled() -> GeneralTools:
    return GeneralTools(Params())


def config(**more: Any) -> dict[str, Any]:
    params = {"openings": "bundled", **more.pop("params", {})}
    return {"generator": "general_tools", "tasks": ALL, "params": params, "max_failed": 1.0, **more}


def rejects(folder: Path) -> list[str]:
    return [f"{row['stage']}/{row['reason']}" for row in pq.read_table(folder / "rejects").to_pylist()]


def test_the_bundled_sets(bundled: GeneralTools) -> None:
    assert len(bundled.boxes) == SETS
    assert sum(len(box.tools) for box in bundled.boxes.values()) >= 40
    for box in bundled.boxes.values():
        assert not box.imported.refused and not box.imported.repairs
        assert {goal.kind for goal in box.about.goals} == set(KINDS)
        for tool in box.tools:
            properties: Any = tool.function.parameters["properties"]
            assert tool.function.description and len(tool.function.description) < 200
            assert not [name for name, part in properties.items() if not part], "an argument without a type"


def every_scenario(generator: GeneralTools) -> list[tuple[str, Scenario]]:
    return [
        (name, goal.scenario(row, opening, box.about.system, box.state))
        for name, box in generator.boxes.items()
        for goal in box.about.goals
        for row in range(len(goal.rows))
        for opening in range(len(goal.openings))
    ]


def test_every_goal_says_what_it_needs_and_hides_what_it_withholds(bundled: GeneralTools) -> None:
    scenarios = every_scenario(bundled)
    assert len(scenarios) > 350
    openings = Counter((name, scenario.opening) for name, scenario in scenarios)
    assert max(openings.values()) == 1, openings.most_common(3)
    for name, scenario in scenarios:
        assert "{" not in scenario.opening + scenario.goal, scenario
        known = ToolSet(bundled.boxes[name].tools)
        for tool, arguments in scenario.calls:
            call = ToolCall(id="c", function=Function(name=tool, arguments=orjson.dumps(arguments).decode()))
            assert known.check(call) == [], scenario.goal
        for value in scenario.withheld:
            assert value in scenario.goal and value not in scenario.opening


def test_every_goal_is_reached_by_its_calls_and_notices_when_it_is_not(bundled: GeneralTools) -> None:
    """No call fails; what must be told comes from results or arguments; without the calls something is missing."""
    for name, scenario in every_scenario(bundled):
        module: Any = import_module(f"generators.general_tools.sets.{name}")
        module.STATE = deepcopy(scenario.world)
        results = [getattr(module, tool)(**arguments) for tool, arguments in scenario.calls]
        source = orjson.dumps([results, scenario.calls]).decode()
        for ways in scenario.tells:
            assert is_told(ways, source), (scenario.goal, ways)
        assert scenario.tells or scenario.kind == "no_tool" or scenario.world != module.STATE, scenario.goal


def test_the_docs_count_the_sets_and_name_every_reason(bundled: GeneralTools) -> None:
    page = (ROOT / "docs/general_tools.md").read_text("utf-8")
    told = re.findall(r"<!-- (?:sets|scenarios) -->(\d+)", page)
    scenarios = str(len(every_scenario(bundled)))
    assert told == [str(sum(len(box.tools) for box in bundled.boxes.values())), scenarios, scenarios]
    assert all(f"`{name}`" in page for name in bundled.boxes)
    for path in [*(ROOT / "generators/general_tools").glob("*.py"), *(ROOT / "gristmill/tools").glob("*.py")]:
        for stage, reason in re.findall(r'Reject\("(\w+)", "(\w+)"', path.read_text("utf-8")):
            rows = re.findall(rf"^\| `{stage}` \|.*$", page, re.MULTILINE)
            assert any(f"`{reason}`" in row for row in rows), f"{stage}/{reason} of {path.name}"
    for name in Params.model_fields:
        assert f"`{name}`" in page, f"the parameter {name}"


@pytest.mark.bubblewrap
def test_a_rule_driven_assistant_is_accepted_in_every_kind(bundled: GeneralTools, tmp_path: Path) -> None:
    model = ScriptedModel(RuleDriven(bundled))
    summary = run_scripted(config(), tmp_path, model)
    assert rejects(tmp_path) == [] and summary["accepted"] == ALL
    records = [row_to_record(row) for row in pq.read_table(tmp_path / "records").to_pylist()]
    assert Counter(record.category for record in records) == dict.fromkeys(KINDS, SETS)
    assert Counter(cell_of(record)["toolbox"] for record in records) == dict.fromkeys(bundled.boxes, len(KINDS))
    for record in records:
        assert check_conversation(record.messages, record.tools) == []
        assert record.messages[0].role == "system" and record.messages[-1].role == "assistant"
    hidden_from_others(records, model)
    report = orjson.loads((tmp_path / "artifacts/tools.json").read_bytes())
    assert report["cafe"]["as is"] == 7 and report["cafe"]["refused"] == 0


def cell_of(record: Record) -> Any:
    return record.metadata["cell"]


def hidden_from_others(records: list[Record], model: ScriptedModel) -> None:
    """The user never sees calls, results, traces or the system turn; the assistant never sees goal, persona, state."""
    goals = {str(record.metadata["goal"]) for record in records}
    personas = {str(record.metadata["persona"]) for record in records}
    results = {m.content for record in records for m in record.messages if m.role == "tool" and len(m.content) > 12}
    systems = {record.messages[0].content for record in records}
    for role, request in model.calls:
        sent: Any = request["messages"]
        text = "\n".join(message["content"] for message in sent)
        if role == "user":
            assert any(goal in text for goal in goals) and [set(message) for message in sent] == [{"role", "content"}]
            assert not any(hidden in text for hidden in [*results, *systems, "This tool does it.", "call_"])
        else:
            told = [message["content"] for message in sent if message["role"] == "user"][1:]
            assert not any(persona in text for persona in personas)
            assert not any(goal in text for goal in goals if goal not in told)


class Lazy(RuleDriven):
    def call(self, scenario: Scenario, users: int, done: int) -> Message | None:
        return None


class Forgets(RuleDriven):
    """Leaves out the last call."""

    def calls(self, scenario: Scenario) -> list[tuple[str, Any]]:
        return scenario.calls[:-1] if len(scenario.calls) > 1 else scenario.calls


class Tells(RuleDriven):
    def answer(self, scenario: Scenario, results: list[str]) -> Message:
        return assistant("All of it is settled.")


class Eager(RuleDriven):
    """Calls something in any case."""

    def decline(self, scenario: Scenario) -> Message:
        return assistant("Of course, consider it done!")

    def ask_back(self, scenario: Scenario) -> Message:
        return assistant("That is done.")


class OneByOne(RuleDriven):
    def call(self, scenario: Scenario, users: int, done: int) -> Message | None:
        return super().call(scenario.model_copy(update={"kind": "multi_step"}), users, done)


class AllAtOnce(RuleDriven):
    def call(self, scenario: Scenario, users: int, done: int) -> Message | None:
        return super().call(scenario.model_copy(update={"kind": "parallel"}), users, done)


@pytest.mark.bubblewrap
@pytest.mark.parametrize(
    ("assistant_type", "kind", "reasons", "least"),
    [
        (Lazy, "single_turn", {"shape/no_calls"}, 8),
        (Lazy, "multi_turn", {"shape/no_calls"}, 8),
        (Eager, "no_tool", {"shape/no_decline"}, 8),
        (Eager, "missing_information", {"shape/no_calls"}, 8),
        (OneByOne, "parallel", {"shape/not_parallel"}, 8),
        (AllAtOnce, "multi_step", {"shape/one_step"}, 8),
        (AllAtOnce, "multi_turn", {"shape/one_turn"}, 8),
        (Forgets, "multi_step", {"shape/one_step", "outcome/wrong_state"}, 8),
        (Tells, "single_turn", {"outcome/not_told"}, 6),  # some goals are to do something, and nothing is to be told
    ],
)
def test_each_fault_of_an_assistant_is_found(
    assistant_type: type[RuleDriven], kind: Kind, reasons: set[str], least: int, bundled: GeneralTools, tmp_path: Path
) -> None:
    run = config(tasks=SETS, params={"kinds": [kind]})
    run_scripted(run, tmp_path, ScriptedModel(assistant_type(bundled)))
    found = rejects(tmp_path)
    assert found and set(found) <= reasons and len(found) >= least


@pytest.mark.bubblewrap
def test_a_changed_argument_changes_the_state(bundled: GeneralTools, tmp_path: Path) -> None:
    class Wrong(RuleDriven):
        def calls(self, scenario: Scenario) -> list[tuple[str, Any]]:
            changed = {"guests": 1, "portions": 9}
            return [(name, {key: changed.get(key, value) for key, value in arguments.items()})
                    for name, arguments in scenario.calls]  # fmt: skip

    run = config(tasks=SETS, params={"kinds": ["multi_step"], "tools": [str(SET / "cafe.py")]})
    run_scripted(run, tmp_path, ScriptedModel(Wrong(bundled)))
    assert Counter(rejects(tmp_path)) == {"outcome/wrong_state": SETS}
    details = [row["detail"] for row in pq.read_table(tmp_path / "rejects").to_pylist()]
    assert all(detail.startswith("missing: bookings.B10") and "; unexpected: " in detail for detail in details)


SET = GeneralTools.folder() / "sets"


@pytest.mark.bubblewrap
def test_outages_are_survived_by_an_assistant_that_tries_again(bundled: GeneralTools, tmp_path: Path) -> None:
    class Persistent(RuleDriven):
        def assistant(self, messages: Any) -> Message:
            sound = [m for m in messages if not (m["role"] == "tool" and '"error":{' in m["content"])]
            return super().assistant(sound)

    run = config(
        tasks=ALL // 2, params={"outages": {"share": 0.4}, "kinds": ["single_turn", "multi_step", "multi_turn"]}
    )
    summary = run_scripted(run, tmp_path, ScriptedModel(Persistent(bundled)))
    assert summary["accepted"] == ALL // 2, rejects(tmp_path)
    records = [row_to_record(row) for row in pq.read_table(tmp_path / "records").to_pylist()]
    failed = [record for record in records if record.metadata["outages"]]
    assert len(failed) > ALL / 6
    for record in failed:
        errors = [m for m in record.messages if m.role == "tool" and '"error":{' in m.content]
        assert [m.name for m in errors] == record.metadata["outages"]
    assert all(check_conversation(record.messages, record.tools) == [] for record in failed)


@pytest.mark.bubblewrap
def test_the_contract_of_generators(bundled: GeneralTools, tmp_path: Path) -> None:
    summary = check_generator(config(tasks=6), tmp_path, ScriptedModel(RuleDriven(bundled)))
    assert summary["accepted"] == 6


def test_tasks_are_even_and_go_on_without_end(bundled: GeneralTools) -> None:
    cells = list(islice(bundled.tasks(), 4 * ALL))
    assert Counter((cell.kind, cell.toolbox) for cell in cells) == {
        (kind, name): 4 for kind in KINDS for name in bundled.boxes
    }
    assert len({cell.persona for cell in cells}) > 0.95 * len(cells)
    assert max(Counter(cell.style for cell in cells).values()) <= 4 * ALL / len(bundled.styles) + 1
    goals = [(cell.toolbox, cell.goal) for cell in cells if cell.kind == "single_turn"]
    assert len(set(goals)) == len(goals), "a goal, row and wording comes again before all others have come"


def test_changes_are_found_at_every_depth() -> None:
    before: Any = {"a": {"b": [1, {"c": 2}], "note": "x"}, "d": 1, "e": [1]}
    after: Any = {"a": {"b": [1, {"c": 3.0}], "note": "y"}, "e": [1, 2], "f": {"note": "z", "g": None}}
    assert changes(before, before) == []
    assert changes(before, after, ["note"]) == [
        "a.b.1.c: 2 -> 3", "d: 1 -> absent", "e: [1] -> [1,2]", 'f: absent -> {"g":null}',
    ]  # fmt: skip
    assert changes({"celsius": 22}, {"celsius": 22.0}) == []
    require_changes(changes(before, after), changes(before, after)[::-1])
    with pytest.raises(Reject, match=r"missing: d: 1 -> absent; unexpected: x"):
        require_changes(["d: 1 -> absent"], ["x"])


@pytest.mark.parametrize(
    ("text", "said", "told"),
    [
        ("T4", "Table T4 it is.", True),
        ("T4", "Table T40 it is.", False),
        ("12.5", "It is 12.50 euros.", True),
        ("1250", "That makes €1,250.00", True),
        ("12", "It is 12.5", False),
        ("leek  soup", "Leek soup", True),
    ],
)
def test_what_counts_as_told(text: str, said: str, told: bool) -> None:
    assert is_told([text], said) is told


RECIPE: dict[str, Any] = yaml.safe_load((ROOT / "recipes/generate/general_tools.yaml").read_text("utf-8"))


@pytest.mark.bubblewrap
def test_the_recipe_runs_with_a_scripted_model(bundled: GeneralTools, tmp_path: Path) -> None:
    recipe = {key: value for key, value in RECIPE.items() if key != "models"}
    summary = run_scripted(recipe, tmp_path, ScriptedModel(RuleDriven(bundled)))
    assert summary["accepted"] == RECIPE["tasks"] and summary["verdicts"]["tool_calls"]["passed"] == RECIPE["tasks"]
    records = [row_to_record(row) for row in pq.read_table(tmp_path / "records").to_pylist()]
    assert {len(record.tools) for record in records} == {3}


@pytest.mark.embedded
@pytest.mark.bubblewrap
def test_the_recipe_runs_with_the_embedded_model(tmp_path: Path) -> None:
    models = {**RECIPE["models"], "assistant": {**RECIPE["models"]["assistant"], "max_tokens": 32}}
    config = RunConfig.model_validate({**RECIPE, "models": models, "tasks": 1})
    summary = run_plan(make_plan(config), RunFolder(tmp_path), quiet=True)
    assert summary["tasks"] == 1 and summary["failed"] == 0 and summary["by_role"]["assistant"]["calls"] >= 1


def test_the_teachers_recipe_is_sound() -> None:
    loaded = yaml.safe_load((ROOT / "recipes/generate/general_tools_teacher.yaml").read_text("utf-8"))
    plan = make_plan(RunConfig.model_validate(loaded))
    assert [judge.name for judge in plan.judges] == ["tool_calls", "meta_leak", "turns", "rubric", "duplicates"]


EXAMPLES = [
    Record.model_validate_json(line) for line in (GeneralTools.folder() / "examples.jsonl").read_bytes().splitlines()
]


@pytest.mark.bubblewrap
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.category)
def test_each_example_is_what_the_generator_makes_of_its_words(example: Record, tmp_path: Path) -> None:
    says = [message for message in example.messages if message.role == "assistant"]
    asks = [message.content for message in example.messages if message.role == "user"]
    row = run_cell(Cell.model_validate(example.metadata["task"]), Spoken(says, asks), tmp_path)
    record = row_to_record(row)
    assert record.messages == example.messages and record.uuid == example.uuid
    assert {**example.metadata, **record.metadata} == example.metadata and example.metadata["trace"] == "authored"
    assert all(message.reasoning_content for message in says)
    assert check_conversation(example.messages, example.tools) == []


def test_the_examples_are_of_three_kinds() -> None:
    assert len({example.category for example in EXAMPLES}) == len(EXAMPLES) == 3


OWN = '''
STATE = {"count": 1}

def add(n: int) -> dict:
    """Add to the counter."""
    STATE["count"] += n
    print("noise on standard output")
    if n < 0:
        raise ValueError("only forwards")
    if n == 13:
        raise KeyError("n")
    if n == 99:
        while True: pass
    return {"count": STATE["count"]}
'''
OWN_GOALS = {
    "about": "a counter",
    "system": "You keep a counter.",
    "goals": [
        {"kind": "single_turn", "goal": "You want 2 added.", "openings": ["Add {n}."], "calls": [{"add": {"n": "{n}"}}],
         "tells": ["{sum}"], "rows": [{"n": n, "sum": 1 + n} for n in (2, -1, 13, 99)]},
    ],
}  # fmt: skip


@pytest.mark.bubblewrap
def test_own_functions_that_fail_leave_the_state_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "counter.py").write_text(OWN)
    (tmp_path / "counter.yaml").write_text(orjson.dumps(OWN_GOALS).decode())
    tools = [str(tmp_path / "counter.py")]
    script = RuleDriven(GeneralTools(Params.model_validate({"tools": tools})))
    run = config(tasks=4, params={"tools": tools, "kinds": ["single_turn"]})
    summary = run_scripted(run, tmp_path / "run", ScriptedModel(script))
    rows = {row["reason"]: row for row in pq.read_table(tmp_path / "run/rejects").to_pylist()}
    assert summary["by_reason"] == {"tool/timeout": 1} and list(rows) == ["timeout"]
    results = {
        row["messages"][1]["content"]: [m["content"] for m in row["messages"] if m["role"] == "tool"]
        for row in pq.read_table(tmp_path / "run/records").to_pylist()
    }
    assert results == {
        "Add 2.": ['{"count":3}'],
        "Add -1.": ['{"error":"only forwards"}'],
        "Add 13.": ['{"error":"KeyError: \'n\'"}'],
    }


def test_what_is_asked_for_must_be_told_of_each_call(bundled: GeneralTools) -> None:
    """Of calls that belong together each gives a fact that the assistant has to tell; one of two days isn't enough."""
    for name, box in bundled.boxes.items():
        module = import_module(f"generators.general_tools.sets.{name}")
        for goal in (goal for goal in box.about.goals if goal.kind == "parallel" and goal.tells):
            for row in range(len(goal.rows)):
                scenario = goal.scenario(row, 0, "", box.state)
                module.STATE.clear()
                module.STATE.update(deepcopy(box.state))
                results = [orjson.dumps(getattr(module, call)(**given)).decode() for call, given in scenario.calls]
                silent = [result for result in results if not any(is_told(ways, result) for ways in scenario.tells)]
                assert not silent, scenario.goal


def test_what_is_said_before_it_is_known_is_a_guess() -> None:
    call = ToolCall(id="c1", function=Function(name="exchange_rate", arguments="{}"))
    result = Message(role="tool", content='{"rate":0.0893}', tool_call_id="c1", name="exchange_rate")
    guess = assistant("5600, and back it is 0.0893.")
    talk = [user("500 euros in kronor?"), guess, user("And back?"), assistant(tool_calls=[call]), result]
    with pytest.raises(Reject, match="not_told"):
        require_told([["0.0893"]], [*talk, assistant("As I said.")])
    require_told([["0.0893"]], [*talk, assistant("One krona is 0.0893 euros.")])
    require_told([["blue"]], [user("?"), assistant("Blue.")])  # no tool gives it: it is worked out


def test_goals_speak_to_the_user(bundled: GeneralTools) -> None:
    for _, scenario in every_scenario(bundled):
        told = scenario.goal.replace("our dinner", "").replace("my nap", "")
        assert not re.search(r"\b(?:my|I|me|our|us)\b|\(s\)", told), scenario.goal
