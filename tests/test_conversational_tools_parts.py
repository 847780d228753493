"""The parts of conversational_tools: operations in SQL, comparison of states, selection, invented domains."""

import asyncio
import json
import pickle
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from generators.conversational_tools import RollOut
from generators.conversational_tools.domain import Domain, Service, load_domain
from generators.conversational_tools.drafts import Draft, DraftScenario
from generators.conversational_tools.invent import KINDS
from generators.conversational_tools.operations import Operation
from generators.conversational_tools.scenario import Outcome, Scenario
from generators.conversational_tools.state import changes, make_image, open_state, read_content
from gristmill.budget import Meter
from gristmill.context import Context, Runtime, Task
from gristmill.errors import GristmillError, TaskFailed
from gristmill.ledger import Ledger
from gristmill.plan import make_plan
from gristmill.testing import ScriptedModel, run_scripted
from judges.rollouts import Params, Rollouts, different
from schemas import JsonObject, Message, Record, assistant, user
from schemas.run_config import Budget, RunConfig

# --- operations ------------------------------------------------------------------------------------------------------

LOANS = """
CREATE TABLE clock (today TEXT NOT NULL);
INSERT INTO clock VALUES ('2026-03-12');
CREATE TABLE members (card TEXT PRIMARY KEY, name TEXT NOT NULL, born TEXT NOT NULL);
INSERT INTO members VALUES ('M1', 'Ada Brook', '1980-01-02'), ('M2', 'Ben Carr', '1991-05-06');
CREATE TABLE loans (id TEXT PRIMARY KEY, card TEXT NOT NULL REFERENCES members, title TEXT NOT NULL, due TEXT NOT NULL,
                    extended INTEGER NOT NULL DEFAULT 0, note FREE TEXT);
INSERT INTO loans VALUES ('L1', 'M1', 'The Tide', '2026-03-14', 0, NULL), ('L2', 'M2', 'Moss', '2026-03-20', 1, NULL);
"""
EXTEND: dict[str, Any] = {
    "name": "extend_loan",
    "description": "Extends a loan by fourteen days.",
    "parameters": {"type": "object", "properties": {"loan": {"type": "string"}, "note": {"type": "string"}},
                   "required": ["loan"]},
    "checks": [
        {"query": "SELECT 1 FROM loans WHERE id = :loan", "refusal": "there is no such loan"},
        {"query": "SELECT 1 FROM loans WHERE id = :loan AND extended = 0", "refusal": "it was extended before"},
    ],
    "changes": ["UPDATE loans SET due = date(due, '+14 days'), extended = 1, note = :note WHERE id = :loan"],
    "result": "SELECT id, due FROM loans WHERE id = :loan",
}  # fmt: skip


def library(*operations: dict[str, Any]) -> Domain:
    tools = [Operation.model_validate(operation).as_tool() for operation in operations]
    return Domain("library", "Extend with `extend_loan`.", {t.name: t for t in tools}, make_image(LOANS), {})


ANY = Scenario(id="any", goal="You want your loan to be extended.")


def test_operation() -> None:
    assert Operation.model_validate(EXTEND).faults(make_image(LOANS)) == []
    with Service.open(library(EXTEND), ANY) as service:
        assert service.perform("extend_loan", {"loan": "L9"}) == ({"error": "there is no such loan"}, True)
        assert service.perform("extend_loan", {"loan": "L2"}) == ({"error": "it was extended before"}, True)
        assert service.changed() == []
        assert service.perform("extend_loan", {"loan": "L1"}) == ([{"id": "L1", "due": "2026-03-28"}], False)
        assert service.changed() == ['loans[L1].due: "2026-03-14" -> "2026-03-28"', "loans[L1].extended: 0 -> 1"]


def test_a_change_that_breaks_a_constraint_is_refused_as_a_whole() -> None:
    both = {**EXTEND, "changes": [*EXTEND["changes"], "INSERT INTO loans VALUES ('L1', 'M1', 'x', 'y', 0, NULL)"]}
    with Service.open(library(both), ANY) as service:
        result, refused = service.perform("extend_loan", {"loan": "L1"})
        assert refused and "UNIQUE constraint failed" in str(result) and service.changed() == []


def test_values_are_bound() -> None:
    with Service.open(library(EXTEND), ANY) as service:
        _, refused = service.perform("extend_loan", {"loan": "L1' OR 1=1; DROP TABLE loans; --"})
        assert refused and service.changed() == []


@pytest.mark.parametrize(
    ("field", "sql", "fault"),
    [
        ("result", "UPDATE loans SET due = 'x' RETURNING id", "not one of SELECT"),
        ("result", "WITH x AS (SELECT 1) UPDATE loans SET due = 'x' RETURNING id", "not authorized"),
        ("result", "SELECT load_extension('x')", "not authorized to use function: load_extension"),
        ("result", "SELECT random()", "not authorized to use function: random"),
        ("result", "SELECT date('now')", "date('now' gives another result each time"),
        ("result", "SELECT datetime()", "datetime() gives another result each time"),
        ("result", "SELECT CURRENT_TIMESTAMP", "CURRENT_TIMESTAMP gives another result each time"),
        ("result", "SELECT 1; SELECT 2", "one statement at a time"),
        ("result", "SELECT sql FROM sqlite_master", "prohibited"),
        ("result", "SELECT fee FROM loans", "no such column: fee"),
        ("result", "SELECT :other", "did not supply a value for binding"),
        ("changes", "DROP TABLE loans", "not one of INSERT, UPDATE, DELETE"),
        ("changes", "CREATE TABLE x (y)", "not one of"),
        ("changes", "CREATE TRIGGER t AFTER INSERT ON loans BEGIN SELECT 1; END", "not one of"),
        ("changes", "ATTACH 'x.db' AS x", "not one of"),
        ("changes", "PRAGMA foreign_keys = OFF", "not one of"),
        ("changes", "VACUUM INTO 'x.db'", "not one of"),
        ("changes", "DELETE FROM sqlite_master", "may not be modified"),
        ("changes", "COMMIT", "not one of"),
    ],
)
def test_what_an_operation_may_not_do(field: str, sql: str, fault: str) -> None:
    """Nothing reaches a file, the engine's own tables, chance or the clock; and each statement compiles."""
    broken = {**EXTEND, field: [sql] if field == "changes" else sql}
    (found,) = Operation.model_validate(broken).faults(make_image(LOANS))
    assert fault in found and found.startswith("extend_loan: ")


def test_a_runaway_is_stopped() -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    with (
        Service.open(library({**EXTEND, "result": endless}), ANY) as service,
        pytest.raises(TaskFailed, match="interrupted"),
    ):
        service.perform("extend_loan", {"loan": "L1"})


@pytest.mark.parametrize(
    "sql", ["SELECT zeroblob(999000000)", "SELECT replace(hex(zeroblob(400000)), '0', 'xxxxxxxx')"]
)
def test_a_result_without_measure_is_stopped(sql: str) -> None:
    with Service.open(library({**EXTEND, "result": sql}), ANY) as service, pytest.raises(TaskFailed, match="too big"):
        service.perform("extend_loan", {"loan": "L1"})


# --- states ----------------------------------------------------------------------------------------------------------

SHELF = "CREATE TABLE shelf (id INTEGER PRIMARY KEY, title TEXT, price REAL, note FREE TEXT, more JSON);"
SHELF_ROWS = st.dictionaries(
    st.integers(0, 4),
    st.tuples(
        st.none() | st.sampled_from(["a", "b"]),
        st.none() | st.sampled_from([0.1 + 0.2, 0.3, 1.0]),
        st.none() | st.sampled_from(["one way", "another way"]),
        st.none()
        | st.recursive(
            st.integers(0, 2), lambda part: st.lists(part, max_size=2) | st.dictionaries(st.sampled_from("xy"), part)
        ),
    ),
)  # fmt: skip


def shelf(rows: dict[int, Any], order: Callable[[Any], Any]) -> Any:
    db = open_state(make_image(SHELF))
    for key in order(rows):
        title, price, note, more = rows[key]
        db.execute(
            "INSERT INTO shelf VALUES (?, ?, ?, ?, ?)",
            (key, title, price, note, None if more is None else json.dumps(more)),
        )
    return read_content(db)


def compared(rows: dict[int, Any]) -> Any:
    return {
        key: (title, price and round(price, 6), note and "text", more)
        for key, (title, price, note, more) in rows.items()
    }


@given(SHELF_ROWS, SHELF_ROWS)
def test_states_differ_where_their_rows_do(one: dict[int, Any], other: dict[int, Any]) -> None:
    """In whatever order rows came; FREE TEXT by presence, JSON by value, numbers to a millionth."""
    found = changes(shelf(one, sorted), shelf(other, lambda rows: sorted(rows, reverse=True)))
    assert bool(found) == (compared(one) != compared(other))
    back = changes(shelf(other, sorted), shelf(one, sorted))
    assert {line.partition(":")[0] for line in found} == {line.partition(":")[0] for line in back}


def test_changes_say_where() -> None:
    one = {1: ("a", 1.0, "x", {"x": [1, {"y": 2}]}), 2: ("a", None, None, None)}
    other = {1: ("b", 1.0, None, {"x": [1, {"y": 2}], "y": 1}), 3: (None, None, "new", None)}
    assert changes(shelf(one, sorted), shelf(other, sorted)) == [
        "shelf[1].more.y: absent -> 1",
        'shelf[1].note: "(text)" -> null',
        'shelf[1].title: "a" -> "b"',
        'shelf[2]: {"id":2,"more":null,"note":null,"price":null,"title":"a"} -> absent',
        'shelf[3]: absent -> {"id":3,"more":null,"note":"(text)","price":null,"title":null}',
    ]


def test_rows_without_a_key_are_compared_as_a_bag() -> None:
    image = make_image("CREATE TABLE log (what TEXT); INSERT INTO log VALUES ('a'), ('b');")
    one, other = (
        open_state(image),
        open_state(make_image("CREATE TABLE log (what TEXT); INSERT INTO log VALUES ('b'), ('a');")),
    )
    assert changes(read_content(one), read_content(other)) == []
    other.execute("INSERT INTO log VALUES ('a')")
    assert changes(read_content(one), read_content(other)) != []


def test_a_script_reaches_no_file(tmp_path: Path) -> None:
    for statement in ("ATTACH '{}' AS x", "VACUUM INTO '{}'"):
        with pytest.raises(sqlite3.Error):
            make_image(f"CREATE TABLE a (b); {statement.format(tmp_path / 'x.db')};")
    assert not list(tmp_path.iterdir())


def test_a_script_that_never_ends_is_refused() -> None:
    counting = "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c) SELECT i FROM c"
    endless = f"CREATE TABLE n (i); INSERT INTO n {counting};"
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        make_image(endless)
    blobs = "INSERT INTO n VALUES (zeroblob(9000000));" * 9
    with pytest.raises(sqlite3.OperationalError, match="full"):
        make_image(f"CREATE TABLE n (i); {blobs}")


# --- selection -------------------------------------------------------------------------------------------------------


def rollout(scenario: str, words: str) -> Record:
    return Record(messages=[user("Hello"), assistant(words)], metadata={"scenario": scenario})


def selected(records: list[Record], losses: list[JsonObject], keep: int = 2) -> tuple[list[bool | None], JsonObject]:
    judge = Rollouts(Params(keep=keep))
    for record in records:
        judge.observe(record)
    for loss in losses:
        judge.observe_loss(loss)
    return [judge.verdict(record).passed for record in records], judge.figures()


def test_selection() -> None:
    """Of a mixed scenario the first and the most different, of one that all solved nothing; all losses count."""
    same = "the parcel will come on Monday morning before ten"
    records = [
        rollout("mixed", same), rollout("mixed", same + " o'clock"), rollout("mixed", "nothing can be done about it"),
        rollout("easy", "yes of course"), rollout("easy", "no problem at all"),
    ]  # fmt: skip
    losses: list[JsonObject] = [
        {"seed": {"scenario": "mixed", "number": 3}}, {"metadata": {"scenario": "hard"}, "messages": []},
        {"seed": {"scenario": "hard"}}, {"detail": "of something else"},
    ]  # fmt: skip
    passed, figures = selected(records, losses)
    assert passed == [True, False, True, False, False]
    assert records[0].metadata["success_rate"] == 0.75
    assert figures == {
        "scenarios": 3, "rollouts": 8, "successes": 5, "scenarios_that_all_solved": 1, "scenarios_that_none_solved": 1,
        "scenarios_kept": 1, "records_kept": 2,
        "scenarios_by_success_rate": {
            "none": 1, "below 25 %": 0, "25 to 50 %": 0, "50 to 75 %": 0, "75 % and more": 1, "all": 1,
        },
    }  # fmt: skip


def test_the_same_conversation_is_kept_once() -> None:
    passed, figures = selected(
        [rollout("s", "the same words"), rollout("s", "the same words")], [{"seed": {"scenario": "s"}}]
    )
    assert passed == [True, False] and figures["successes"] == 2


@given(st.lists(st.frozensets(st.integers(0, 40), min_size=1), min_size=1, max_size=8), st.integers(1, 8))
def test_different(sketches: list[frozenset[int]], most: int) -> None:
    named = {str(number): sketch for number, sketch in enumerate(sketches)}
    chosen = different(named, most)
    assert chosen[0] == "0" and len(chosen) == len(set(chosen)) == min(most, len(named))


# --- invented domains ------------------------------------------------------------------------------------------------

POLICY = """# Library desk

Identify the member with `find_member` by card number and birth date. A loan may be extended once, by fourteen days,
with `extend_loan`; say the new day. Loans that were extended before are not extended again. List a member's loans with
`list_loans`. You may only speak of the loans of the member whom you identified. Fees are never waived, and nothing else
can be done at this desk."""


def parameter(name: str, description: str, *, required: bool = True) -> dict[str, Any]:
    return {"name": name, "type": "string", "description": description, "allowed": [], "required": required}


DRAFT: dict[str, Any] = {
    "handbook": POLICY,
    "script": LOANS,
    "tools": [
        {"name": "find_member", "description": "Finds a member by card and birth date.", "checks": [], "changes": [],
         "parameters": [parameter("card", "Such as M1."), parameter("born", "A day.")],
         "result": "SELECT card, name FROM members WHERE card = :card AND born = :born"},
        {"name": "list_loans", "description": "Lists the loans of a member.", "checks": [], "changes": [],
         "parameters": [parameter("card", "Such as M1.")],
         "result": "SELECT id, title, due, extended FROM loans WHERE card = :card"},
        {**EXTEND, "parameters": [parameter("loan", "Such as L1."), parameter("note", "Anything.", required=False)]},
    ],
}  # fmt: skip
PLAN: dict[str, Any] = {
    "title": "Extend The Tide",
    "concern": "You are Ada Brook, card M1, born 1980-01-02. You want loan L1 to be extended and to know until when.",
    "data": ["INSERT INTO loans VALUES ('L3', 'M1', 'Fern', '2026-03-30', 0, NULL)"],
    "expected_calls": [{"name": "extend_loan", "arguments": '{"loan": "L1"}'}],
    "must_tell": [["2026-03-28", "28 March", "March 28"]], "must_not_tell": [], "must_not_call": [], "ask_first": False,
}  # fmt: skip
OPINION = {"problems": [], "verdict": True}
INVENT = {"fields": {"library": ["loans", "reading rooms"]}, "domains": 2, "scenarios": 2, "refinements": 2}


def first_text(request: JsonObject) -> str:
    messages: Any = request["messages"]
    return str(messages[0]["content"])


def asked_for(request: JsonObject) -> str:
    """Which of the prompts a request is."""
    text = first_text(request)
    for start, name in {
        "People write to services": "subdomains", "Design a customer": "domain", "A customer service": "refine_domain",
        "You check customer": "judge_domain", "You write a scenario": "scenario", "A scenario for": "refine_scenario",
        "You check a scenario": "judge_scenario", "You play a person": "user",
    }.items():  # fmt: skip
        if text.startswith(start):
            return name
    return "assistant"


def teacher(**changed: Any) -> ScriptedModel:
    """A teacher whose drafts are right; `changed` answers some prompts otherwise: by a value, or from the text."""
    answers: dict[str, Any] = {"domain": DRAFT, "refine_domain": DRAFT, "scenario": PLAN, "refine_scenario": PLAN,
                               "judge_domain": OPINION, "judge_scenario": OPINION, **changed}  # fmt: skip

    def script(role: str, request: JsonObject) -> Any:
        name = asked_for(request)
        if name == "user":
            return {
                "done": "Assistant:" in first_text(request),
                "text": "Please extend loan L1 of card M1, born 1980-01-02.",
            }
        if name == "assistant":
            return librarian(request["messages"])
        answer = answers[name]
        return answer(first_text(request)) if callable(answer) else answer

    return ScriptedModel(script)


def librarian(messages: Any) -> Message:
    from tests.parcel_rules import call, say

    if messages[-1]["role"] == "user":
        return call("extend_loan", loan="L1")
    return say(f"It is extended until {orjson.loads(messages[-1]['content'])[0]['due']}.")


def run(folder: Path, model: ScriptedModel, **changes: Any) -> dict[str, Any]:
    config = {
        "generator": "conversational_tools",
        "tasks": 4,
        "params": {"invent": {**INVENT, **changes}, "rollouts": 1},
    }
    return run_scripted(config, folder, model)


def fates(folder: Path, name: str) -> Any:
    return orjson.loads((folder / "artifacts" / name).read_bytes())


def test_an_invented_scenario_may_want_the_persons_yes(tmp_path: Path) -> None:
    """The librarian of these tests acts at once."""
    plan = {**PLAN, "ask_first": True}
    summary = run(tmp_path, teacher(scenario=plan, refine_scenario=plan))
    assert summary["by_reason"] == {"outcome/unasked_change": 2}


def test_invented_domains(tmp_path: Path) -> None:
    """All stages: folders that load as domains, conversations on them, and nothing asked twice."""
    run_folder, model = tmp_path / "run", teacher(scenario=distinct, refine_scenario=distinct)
    summary = run(run_folder, model)
    assert summary["accepted"] == summary["tasks"] == 4
    assert fates(run_folder, "1_subdomains.json") == {"library": ["loans", "reading rooms"]}
    assert [fate["kept"] for fate in fates(run_folder, "2_domains.json")] == [True, True]
    folder = run_folder / "artifacts" / "domains" / "library_loans"
    domain = load_domain(folder)
    assert len(domain.scenarios) == 2 and set(domain.tools) == {"find_member", "list_loans", "extend_loan"}
    scenario = next(iter(domain.scenarios.values()))
    assert scenario.end == ['loans[L1].due: "2026-03-14" -> "2026-03-28"', "loans[L1].extended: 0 -> 1"]
    assert scenario.persona, "each has a person"

    again = teacher()
    changed = {"generator": "conversational_tools", "tasks": 4, "judges": [{"name": "tool_calls"}],
               "params": {"invent": INVENT, "rollouts": 1}}  # fmt: skip
    assert run_scripted(changed, run_folder, again)["accepted"] == 4
    assert not again.calls, "every stage is resumed from the ledger"

    own = {"generator": "conversational_tools", "tasks": 2, "params": {"domains": [str(folder)], "rollouts": 1}}
    assert run_scripted(own, tmp_path / "own", teacher())["accepted"] == 2


def distinct(prompt: str) -> dict[str, Any]:
    """Another goal for each kind of scenario: two that are nearly the same are one."""
    kind = next(kind for kind in KINDS if f"The kind of scenario: {kind}" in prompt)
    return {**PLAN, "title": kind[:40], "concern": f"{PLAN['concern']} It is {kind}."}


def broken(**changes: Any) -> dict[str, Any]:
    return {**DRAFT, **changes}


@pytest.mark.parametrize(
    ("draft", "fault"),
    [
        (broken(script=LOANS + "CREATE TABEL x"), "script: near"),
        (broken(script=LOANS + "CREATE TABLE x (y DEFAULT CURRENT_DATE);"), "script: CURRENT_DATE gives another"),
        (broken(handbook=POLICY.replace("`list_loans`", "`show_loans`")), "names `show_loans`, which is no tool"),
        (broken(handbook=POLICY.replace("`extend_loan`", "care").replace("extended", "made longer")),
         "nothing on when to use extend_loan"),
        (broken(tools=[*DRAFT["tools"], DRAFT["tools"][0]]), "two tools have the same name"),
        (broken(tools=[{**DRAFT["tools"][0], "name": "Find Member"}, *DRAFT["tools"][1:]]), "pattern"),
        (broken(tools=[{**DRAFT["tools"][0], "result": "SELECT x FROM members"}, *DRAFT["tools"][1:]]),
         "find_member: no such column: x"),
    ],
)  # fmt: skip
def test_a_faulty_draft_is_refined(draft: dict[str, Any], fault: str, tmp_path: Path) -> None:
    """The writer is told what the rules found, and the next draft counts."""
    model = teacher(domain=draft)
    run(tmp_path, model, domains=1, scenarios=1)
    told = [json.dumps(request) for _, request in model.calls if asked_for(request) == "refine_domain"]
    assert len(told) == 1 and fault in told[0]
    assert fates(tmp_path, "2_domains.json")[0] == {"folder": "library_loans", "kept": True, "tries": 2, "faults": []}


def test_what_stays_faulty_is_dropped(tmp_path: Path) -> None:
    """A domain that the judge never passes, while another one passes."""

    def judge(prompt: str) -> dict[str, Any]:
        bad = "Marker" in prompt
        return {"problems": ["No tool shows the fees."] if bad else [], "verdict": not bad}

    def writer(prompt: str) -> dict[str, Any]:
        return broken(handbook=POLICY + (" Marker." if '"reading rooms"' in prompt else ""))

    model = teacher(domain=writer, refine_domain=writer, judge_domain=judge)
    summary = run(tmp_path, model, scenarios=1)
    kept, dropped = fates(tmp_path, "2_domains.json")
    assert kept["kept"] and dropped == {
        "folder": "library_reading_rooms",
        "kept": False,
        "tries": 3,
        "faults": ["No tool shows the fees."],
    }
    assert not (tmp_path / "artifacts" / "domains" / "library_reading_rooms").exists()
    assert summary["accepted"] == summary["tasks"] == 1


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"expected_calls": [{"name": "extend_loan", "arguments": '{"loan": "L2"}'}]}, "extend_loan is refused"),
        (
            {"expected_calls": [{"name": "extend", "arguments": "{}"}]},
            "extend is no tool (did you mean `extend_loan`?)",
        ),
        ({"expected_calls": [{"name": "extend_loan", "arguments": '{"loan": 1}'}]}, "wrong_type: extend_loan.loan"),
        ({"expected_calls": [{"name": "extend_loan", "arguments": "{loan"}]}, "unexpected"),
        (
            {"expected_calls": [{"name": "extend_loan", "arguments": '{"loan": "L1", "note": "soon"}'}]},
            "nobody tells the agent",
        ),
        ({"data": ["DELETE FROM sqlite_master"]}, "its setup fails"),
        ({"data": ["INSERT INTO loans VALUES ('L1', 'M1', 'x', 'y', 0, NULL)"]}, "its setup fails: UNIQUE"),
        ({"must_tell": [["L1"]]}, "the user knows 'L1' from the beginning"),
        ({"must_not_call": ["extend_loan"]}, "extend_loan is one of its actions, and forbidden"),
    ],
)
def test_a_faulty_scenario_is_refined(changes: dict[str, Any], fault: str, tmp_path: Path) -> None:
    model = teacher(scenario={**PLAN, **changes})
    assert run(tmp_path, model, domains=1, scenarios=1)["accepted"] == 1
    told = [json.dumps(request) for _, request in model.calls if asked_for(request) == "refine_scenario"]
    assert len(told) == 1 and json.dumps(fault)[1:-1] in told[0]


def test_a_judge_that_gives_no_verdict_accepts_nothing(tmp_path: Path) -> None:
    """And the writer isn't told of it."""
    model = teacher(judge_scenario="I like it.")
    with pytest.raises(GristmillError, match="no domain came out"):
        run(tmp_path, model, domains=1, scenarios=1)
    ((fate,),) = fates(tmp_path, "3_scenarios.json").values()
    assert fate["faults"][0].startswith("undecided: llm: unparseable")
    assert not [request for _, request in model.calls if asked_for(request) == "refine_scenario"]


def test_a_writer_that_gives_no_draft_is_asked_again(tmp_path: Path) -> None:
    nothing = iter(["no JSON"] * 4)  # with its three repairs
    model = teacher(domain=lambda prompt: next(nothing, DRAFT))
    run(tmp_path, model, domains=1, scenarios=1)
    assert fates(tmp_path, "2_domains.json")[0]["tries"] == 2


def test_no_domain_at_all(tmp_path: Path) -> None:
    refused = {"problems": ["Not believable."], "verdict": False}
    with pytest.raises(GristmillError, match=r"no domain came out: see 2_domains\.json"):
        run(tmp_path, teacher(judge_scenario=refused), domains=1, scenarios=1)
    ((fate,),) = fates(tmp_path, "3_scenarios.json").values()
    assert fate == {"id": "00_extend_the_tide", "kept": False, "faults": ["Not believable."]}


def test_subdomains_grow_to_their_number(tmp_path: Path) -> None:
    """New names only: another spelling or order of a known one isn't one; and an exhausted writer ends it."""
    rounds = iter([["Loan", "rooms for reading", "story hours", "story hour"], ["map room visits", "e-book licences"]])
    model = teacher(subdomains=lambda prompt: {"services": next(rounds, ["Reading  room", "loans"])})
    run(tmp_path, model, subdomains=9, domains=1, scenarios=1)
    assert fates(tmp_path, "1_subdomains.json") == {
        "library": ["loans", "reading rooms", "story hours", "map room visits", "e-book licences"]
    }
    assert sum(asked_for(request) == "subdomains" for _, request in model.calls) == 3


def test_nearly_the_same_scenario_is_dropped(tmp_path: Path) -> None:
    run(tmp_path, teacher(), domains=1, scenarios=2)
    ((first, second),) = fates(tmp_path, "3_scenarios.json").values()
    assert first["kept"] and second["faults"] == ["it is nearly the same as an earlier one"]


def test_drafts_are_what_the_prompts_ask_for() -> None:
    """The examples of this file are valid answers: else the tests above would prove nothing."""
    Draft.model_validate(DRAFT)
    DraftScenario.model_validate(PLAN)


def test_a_worker_reads_invented_domains_from_the_artifacts(tmp_path: Path) -> None:
    """Another process gets the generator as it was before `prepare`."""
    run(tmp_path, teacher(), domains=1, scenarios=1)
    models = {"default": {"endpoint": "http://scripted.invalid/v1", "model": "scripted"}}
    config = {"generator": "conversational_tools", "params": {"invent": INVENT}, "models": models}
    plan = make_plan(RunConfig.model_validate(config))
    there = pickle.loads(pickle.dumps(plan.generator))
    seed = RollOut(scenario="library_loans/00_extend_the_tide", number=0, manner="brief")

    async def on_a_worker() -> Record:
        ledger = Ledger(tmp_path / "worker.sqlite")
        runtime = Runtime(0, ledger, plan.roles, teacher(), Meter(Budget()), tmp_path / "artifacts")
        ctx = Context(runtime, Task("task"), there.prompts)
        with ctx.scope("0", "generate"):
            record: Record = await there.run(seed, ctx)
        await runtime.resources.close()
        ledger.close()
        return record

    record = asyncio.run(on_a_worker())
    assert record.metadata["scenario"] == seed.scenario and record.metadata["outcome"] == {
        **Outcome(changed=['loans[L1].due: "2026-03-14" -> "2026-03-28"', "loans[L1].extended: 0 -> 1"]).model_dump()
    }
