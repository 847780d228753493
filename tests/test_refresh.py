"""refresh with a scripted teacher: every check, every reason for a loss, selection, dialogue, new questions, resume."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from generators.refresh import Refresh
from gristmill.errors import ConfigError
from gristmill.llm import Reply
from gristmill.testing import FaultServer, ScriptedModel, check_generator, judge_scripted, run_scripted
from schemas import Function, Message, Record, ToolCall, Usage, assistant
from schemas.arrow import row_to_record
from tests.conftest import CLI, ROOT
from tests.runs import records_file, rows_of, write

Row = dict[str, Any]
LONG = "A long answer about the harbour, its boats, the old crane and the people who work there every day of the week."


def config(folder: Path, rows: list[Row], **params: Any) -> Row:
    seeds = folder / "seeds.jsonl"
    seeds.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    return {"generator": "refresh", "seeds": str(seeds), "params": {"samples": 4, **params}}


def script(replies: list[Any], **others: Any) -> ScriptedModel:
    """Gives the replies in turn to the teacher's calls; `others` say what another role answers."""
    left = {
        "teacher": list(replies),
        **{role: [*given] if isinstance(given, list) else [] for role, given in others.items()},
    }

    def answer(role: str, request: Row) -> Any:
        if role in others and not isinstance(others[role], list):
            return others[role](request) if callable(others[role]) else others[role]
        return left[role].pop(0)

    return ScriptedModel(answer)


def run(
    folder: Path, row: Row, replies: list[Any], params: Row | None = None, **others: Any
) -> tuple[list[Row], list[Row]]:
    """(records, rejects) of a run over one prompt."""
    folder.mkdir(exist_ok=True)
    run_scripted(
        config(folder, [row], samples=len(replies), **(params or {})), folder / "run", script(replies, **others)
    )
    tables = [rows_of(folder / "run", name) for name in ("records", "rejects")]
    for found, column in zip(tables, ("metadata", "payload"), strict=True):
        for one in found:
            one[column] = orjson.loads(one[column])
    return tables[0], tables[1]


def lost(folder: Path, row: Row, replies: list[Any], params: Row | None = None, **others: Any) -> str:
    records, (reject,) = run(folder, row, replies, params, **others)
    assert not records
    return f"{reject['stage']}/{reject['reason']}"


def thought(text: str, trace: str = "Let me see what is asked here and count.") -> Message:
    return assistant(text, trace)


def cut(text: str, finish: str) -> Reply:
    return Reply(assistant(text), finish, Usage(output=9), "scripted")


def calling(arguments: str, name: str = "get_forecast") -> Message:
    return assistant("", "I need the forecast.", [ToolCall(id="c1", function=Function(name=name, arguments=arguments))])


CHINESE = "因为月亮的引力使海水上涨所以每天有两次潮汐这是常识"
VAGUE = "Seventeen apples lie beside pears.\n\nThat is all, and they are ripe, as one sees."
FORECAST = [{"type": "function", "function": {"name": "get_forecast", "parameters": {
    "type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}}}]  # fmt: skip
SUM: Row = {"question": "What is 17 + 25?", "answer": "42"}
CHOICE: Row = {
    "question": "Which gas is most of the air?",
    "choices": ["oxygen", "nitrogen", "argon"],
    "answer": "nitrogen",
}
CODE: Row = {
    "prompt": "Write double(n).",
    "tests": ["assert double(2) == 4", "assert double(0) == 0"],
    "entry_point": "double",
}
LOWER: Row = {"prompt": "Say hello.", "constraints": [{"kind": "case", "is": "lower"}]}
BRIEF: Row = {"prompt": "Greet me.", "constraints": [{"kind": "length", "of": "words", "at_most": 2}]}
OPEN: Row = {"prompt": "Tell me something about harbours, please, in a few friendly sentences."}
ORGAN: Row = {"question": "What makes energy in a cell?", "answer": "the mitochondrion"}


def fenced(code: str) -> str:
    return f"```python\n{code}\n```"


RIGHT, WRONG_CODE = fenced("def double(n):\n    return 2 * n"), fenced("def double(n):\n    return n + 2")


@pytest.mark.bubblewrap
@pytest.mark.parametrize(("row", "reply", "kind"), [
    (SUM, "17 + 25 = 42\n\nAnswer: 42", "reference"),
    (CHOICE, "It is nitrogen.\n\nAnswer: B", "choice"),
    (CODE, f"Here:\n\n{RIGHT}", "tests"),
    (LOWER, "hello there", "constraints"),
    (OPEN, LONG, "open"),
])  # fmt: skip
def test_a_right_answer_is_kept_with_its_trace_and_proof(tmp_path: Path, row: Row, reply: str, kind: str) -> None:
    (record,), rejects = run(tmp_path, row, [thought(reply)] * 2)
    assert not rejects and record["metadata"]["check"] == kind and record["metadata"].get("solve_rate", 1) == 1
    assert record["messages"][-1]["content"] == reply
    assert record["messages"][-1]["reasoning_content"].startswith("Let me see") and record["reasoning"] == "on"
    assert [verdict["passed"] for verdict in record["verdicts"]] == [True] * (kind != "open")


def test_messages_are_what_the_teacher_saw(tmp_path: Path) -> None:
    given: Row = {"messages": [
        {"role": "system", "content": "Be {{ brief }}."}, {"role": "user", "content": "Is it windy in Bergen?"},
        {"role": "assistant", "content": "Which day?"}, {"role": "user", "content": "Today, please."},
        {"role": "assistant", "content": "An old answer, which goes."}], "tools": FORECAST}  # fmt: skip
    model = script([calling('{"place": "Bergen"}')])
    run_scripted(config(tmp_path, [given], samples=1), tmp_path / "run", model)
    (record,) = rows_of(tmp_path / "run")
    ours, request = row_to_record(record), model.calls[0][1]
    assert [message.to_openai() for message in ours.messages[:-1]] == request["messages"] == given["messages"][:4]
    assert [tool.model_dump(mode="json") for tool in ours.tools] == request["tools"]
    assert ours.messages[-1].tool_calls[0].function.name == "get_forecast"


@pytest.mark.parametrize(("extra", "reasoning"), [
    ({"reasoning_effort": "low"}, "low"), ({"reasoning_effort": "high"}, "on"), ({}, "on"),
    ({"extra_body": {"chat_template_kwargs": {"reasoning_effort": "low"}}}, "low"),
    ({"extra_body": {"reasoning": {"effort": "low"}}}, "low"),
])  # fmt: skip
def test_low_effort_marks_the_record(tmp_path: Path, extra: Row, reasoning: str) -> None:
    models = {"teacher": {"endpoint": "http://scripted.invalid/v1", "model": "m", **extra}}
    model = script([thought("Answer: 42")])
    run_scripted({**config(tmp_path, [SUM], samples=1), "models": models}, tmp_path / "run", model)
    assert [row["reasoning"] for row in rows_of(tmp_path / "run")] == [reasoning]
    assert all(model.calls[0][1][key] == value for key, value in extra.items() if key == "reasoning_effort")


def no(request: Row) -> Row:
    return {"reason": "they differ", "same": False}


def yes(request: Row) -> Row:
    return {"reason": "they agree", "same": True}


OTHER: Row = {"prompt": "Greet me.", "constraints": [{"kind": "other", "text": "as a pirate would"}]}
QUESTION = "How do the tides come about, and why are there two of them each day on most coasts?"
GERMAN = "Die Gezeiten entstehen durch die Anziehung des Mondes, und auf der anderen Seite bleibt das Wasser zurück."


LOSSES: list[tuple[str, Row, list[Any], Row]] = [
    ("llm/truncated", SUM, [cut("17 + 2", "length")], {}),
    ("llm/content_filter", SUM, [cut("x", "content_filter")], {}),
    ("llm/no_answer", SUM, [""], {}),
    ("llm/loop", SUM, [cut("no no no", "loop")], {}),
    ("answer/refused", OPEN, ["I'm sorry, but I can't help with that."], {}),
    ("answer/language_switch", {"prompt": QUESTION}, [GERMAN], {}),
    ("answer/language_switch", {"prompt": QUESTION}, [f"{LONG} {CHINESE}"], {}),
    ("answer/language_switch", {"prompt": QUESTION}, [thought(LONG, CHINESE)], {}),
    ("answer/calls_instead", {**SUM, "tools": FORECAST}, [calling('{"place": "Rome"}')], {}),
    ("tools/missing_argument", {**OPEN, "tools": FORECAST}, [calling("{}")], {}),
    ("tools/unknown_tool", {**OPEN, "tools": FORECAST}, [calling("{}", "get_news")], {}),
    ("constraints/case", LOWER, ["Hello"], {}),
    ("constraints/length", BRIEF, [LONG], {}),
    ("constraints/other", OTHER, ["Good day."], {"judge": {"reason": "no pirate", "satisfied": [False]}}),
    ("constraints/undecided", OTHER, ["Good day."], {"judge": "I can't say"}),
    ("reference/wrong", SUM, ["Answer: 43"], {}),
    ("reference/no_final_answer", SUM, [VAGUE], {}),
    ("reference/wrong", ORGAN, ["Answer: the cell wall"], {"judge": no}),
    ("reference/undecided", ORGAN, ["Answer: the cell wall"], {"judge": "I can't say"}),
    ("reference/suspected_wrong", SUM, ["Answer: 41", "Answer: 41.0", "The answer is 41.", "Answer: 42"], {}),
    ("choice/wrong", CHOICE, ["Answer: A"], {}),
    ("choice/no_final_answer", CHOICE, ["Answer: A or B"], {}),
    ("choice/suspected_wrong", CHOICE, ["Answer: A", "(A)", "The answer is A."], {}),
    ("python_tests/failed", CODE, [WRONG_CODE], {}),
    ("python_tests/no_code", CODE, ["Multiply by two."], {}),
    ("python_tests/broken", CODE, [fenced("def double(n) return n")], {}),
    ("python_tests/exited", CODE, [fenced("import os\nos._exit(0)")], {}),
    ("python_tests/suspected_wrong", {**CODE, "tests": [*CODE["tests"], "assert double(1) == 3"]}, [RIGHT] * 3, {}),
    ("vote/no_majority", {"prompt": "How many moons?"}, ["Answer: 1", "Answer: 2", "Answer: 3", "Answer: 4"], {}),
    ("vote/no_majority", {"prompt": "How many moons?"}, ["Answer: 1", "Answer: 1", "Answer: 2", "Answer: 2"], {}),
    ("vote/no_final_answer", {"prompt": "Which?\nA. x\nB. y"}, [VAGUE] * 2, {}),
    ("solve_rate/too_easy", SUM, ["Answer: 42"] * 2, {"params": {"choose": {"at_most": 0.99}}}),
    ("solve_rate/too_hard", SUM, ["Answer: 42", "Answer: 1", "Answer: 2"], {"params": {"choose": {"at_least": 0.5}}}),
]  # fmt: skip


@pytest.mark.bubblewrap
@pytest.mark.parametrize(("expected", "row", "replies", "others"), LOSSES)
def test_every_reason_for_a_loss(tmp_path: Path, expected: str, row: Row, replies: list[Any], others: Row) -> None:
    assert lost(tmp_path, row, replies, **others) == expected


def test_a_suspected_reference_keeps_both_answers(tmp_path: Path) -> None:
    _, (reject,) = run(tmp_path, SUM, ["Answer: 41"] * 3)
    payload = reject["payload"]
    assert payload["reference"] == ["42"] and payload["majority"] == "41" and payload["agreement"] == 1
    assert payload["messages"][0]["content"] == SUM["question"] and payload["answer"] == "Answer: 41"


def test_two_alike_or_a_split_are_no_suspicion(tmp_path: Path) -> None:
    assert lost(tmp_path / "two", SUM, ["Answer: 41"] * 2) == "reference/wrong"
    (record,), _ = run(tmp_path / "split", SUM, ["Answer: 41", "Answer: 41", "Answer: 42", "Answer: 40"])
    assert record["metadata"]["solve_rate"] == 0.25 and record["metadata"]["faults"] == {"reference/wrong": 3}


def test_what_code_cannot_tell_is_asked_once_per_claim_in_both_orders(tmp_path: Path) -> None:
    replies = ["Answer: the powerhouse", "Answer: the powerhouse", "Answer: the mitochondrion"]
    model = script(replies, judge=yes)
    run_scripted(config(tmp_path, [ORGAN], samples=3), tmp_path / "run", model)
    assert model.count_by_role() == {"teacher": 3, "judge": 2} and len(rows_of(tmp_path / "run")) == 1
    assert lost(tmp_path / "off", ORGAN, replies[:2], {"checks": {"ask_judge": False}}) == "reference/undecided"


def test_what_nothing_checks_is_asked_once(tmp_path: Path) -> None:
    model = script([LONG])
    run_scripted(config(tmp_path, [OPEN], samples=4, choose={"at_most": 0.9}), tmp_path / "run", model)
    (record,) = rows_of(tmp_path / "run")
    assert len(model.calls) == 1 and "solve_rate" not in record["metadata"]
    records, _ = run(tmp_path / "again", OPEN, [cut("x", "length"), LONG, LONG])
    assert records[0]["metadata"]["faults"] == {"llm/truncated": 1}


def test_a_vote_keeps_the_majority(tmp_path: Path) -> None:
    row = {"prompt": "How many moons has Mars?"}
    (record,), _ = run(tmp_path, row, ["Answer: 2", "Answer: 1", "The answer is two.", "Answer: 2.0 "])
    assert record["metadata"]["check"] == "vote" and record["metadata"]["solve_rate"] == 0.75
    assert record["verdicts"][0]["score"] == 0.75 and record["metadata"]["faults"] == {"vote/minority": 1}


def test_a_vote_over_words_asks_the_judge(tmp_path: Path) -> None:
    row, replies = {"prompt": "What makes energy in cells?"}, ["Answer: the mitochondrion", "Answer: the powerhouse"]
    (record,), _ = run(tmp_path / "yes", row, replies, judge=yes)
    assert record["metadata"]["solve_rate"] == 1
    assert lost(tmp_path / "no", row, replies, judge=no) == "vote/no_majority"


def test_the_shortest_right_attempt_is_kept(tmp_path: Path) -> None:
    replies = [thought("Answer: 42", "a long trace " * 3), thought("Answer: 42", "short"), thought("Answer: 4", "")]
    (record,), _ = run(tmp_path, SUM, replies)
    assert record["messages"][-1]["reasoning_content"] == "short"


def test_the_best_is_chosen_by_a_judge(tmp_path: Path) -> None:
    def best(request: Row) -> Row:
        shown = request["messages"][0]["content"]
        return {"reason": "clear", "winner": 1 + (shown.index("Seventeen") > shown.index("17 + 25 = 42"))}

    replies = ["17 + 25 = 42. Answer: 42", "Seventeen and twenty-five make it.\n\nAnswer: 42"]
    (record,), _ = run(tmp_path, SUM, replies, {"choose": {"how": "best"}}, judge=best)
    assert record["messages"][-1]["content"].startswith("Seventeen")


def test_several_records_only_where_they_differ(tmp_path: Path) -> None:
    replies = [
        LONG,
        LONG + " Indeed.",
        "Boats come and go, gulls cry, and nets dry in the wind while the tide turns slowly.",
    ]
    records, _ = run(tmp_path, OPEN, replies, {"choose": {"records": 3}})
    assert sorted(record["messages"][-1]["content"] for record in records) == sorted([LONG, replies[2]])


def test_what_is_neither_too_easy_nor_too_hard_stays(tmp_path: Path) -> None:
    right, wrong = "Answer: 42", "Answer: 40"
    assert run(tmp_path / "kept", SUM, [right, wrong], {"choose": {"at_least": 0.5, "at_most": 0.99}})[0]


def test_several_blocks_are_tested_by_their_entry_point(tmp_path: Path) -> None:
    (record,), _ = run(tmp_path, CODE, [f"{RIGHT}\n\nFor example:\n\n{fenced('print(double(3))')}"])
    again = judge_scripted(
        [{"name": "python_tests"}],
        [row_to_record({**record, "metadata": orjson.dumps(record["metadata"]).decode()})],
        tmp_path,
    )
    assert again[0].status == "accepted" and record["metadata"]["code"]["solution"].startswith("def double")


def test_names_of_languages_in_a_prompt_allow_any(tmp_path: Path) -> None:
    assert run(
        tmp_path / "asked", {"prompt": "Please translate this into German: the tide comes in twice a day."}, [GERMAN]
    )[0]
    assert run(tmp_path / "off", {"prompt": QUESTION}, [GERMAN], {"same_language": False})[0]
    assert run(tmp_path / "row", {"prompt": QUESTION, "language": "de"}, [GERMAN])[0]


# Multi-turn


def follow_up(text: str, done: bool = False) -> Row:
    return {"done": done, "text": text}


def test_a_user_model_asks_on_and_each_answer_is_checked(tmp_path: Path) -> None:
    row = {**SUM, "persona": "a mason who counts bricks"}
    replies = [
        "Answer: 42",
        "Answer: 42",
        "Answer: 84",
        "Answer: 85",
        "Answer: 84",
        "I'm sorry, but I can't help with that.",
    ]
    asked = [follow_up("And twice as much?"), follow_up("And what is it in dozens, roughly?")]
    model = script([replies[0], replies[1], replies[2], replies[4], replies[5], replies[5]], user=asked)
    run_scripted(config(tmp_path, [row], samples=2, turns=4), tmp_path / "run", model)
    (record,) = rows_of(tmp_path / "run")
    metadata = orjson.loads(record["metadata"])
    assert [message["role"] for message in record["messages"]] == ["user", "assistant"] * 2
    assert record["messages"][2]["content"] == "And twice as much?" and record["messages"][3]["content"] == "Answer: 84"
    assert metadata["ended"] == "answer/refused" and metadata["persona"] == row["persona"]
    assert metadata["first_turn"] == {"reference": ["42"]} and "reference" not in metadata
    assert [verdict["name"] for verdict in record["verdicts"]] == ["reference", "turn2.vote"]
    seen = [request["messages"] for role, request in model.calls if role == "teacher"][2]
    assert seen == [message.to_openai() for message in row_to_record(record).messages[:3]]
    shown: Row = next(request for role, request in model.calls if role == "user")
    assert "mason" in shown["messages"][0]["content"]


@pytest.mark.parametrize(("asked", "ended"), [
    (follow_up("", True), "user/done"), (follow_up(QUESTION), "user/repeats"), ("no JSON", "llm/unparseable"),
])  # fmt: skip
def test_a_conversation_ends_where_the_user_does(tmp_path: Path, asked: Any, ended: str) -> None:
    (record,), _ = run(tmp_path, {"prompt": QUESTION}, [LONG], {"turns": 3}, user=asked)
    assert record["metadata"]["ended"] == ended and len(record["messages"]) == 2


# New multiple-choice questions

NEW = {"question": "Which gas do green plants take up by day?", "choices": ["helium", "carbon dioxide", "neon"],
       "answer": "carbon dioxide"}  # fmt: skip


def new_questions(
    tmp_path: Path, written: Row, reply: Callable[[Row], str], **bootstrap: Any
) -> tuple[list[Row], list[Row]]:
    model = script([], writer=written, teacher=reply)
    run_config = config(tmp_path, [CHOICE], mode="bootstrap", samples=3, bootstrap={"per_seed": 1, **bootstrap})
    run_scripted(run_config, tmp_path / "run", model)
    return rows_of(tmp_path / "run"), rows_of(tmp_path / "run", "rejects")


def letter_of(text: str) -> Callable[[Row], str]:
    def answer(request: Row) -> str:
        line = next(line for line in request["messages"][0]["content"].splitlines() if line.endswith(text))
        return f"Answer: {line[0]}"

    return answer


def test_a_new_question_is_kept_where_solutions_and_key_agree(tmp_path: Path) -> None:
    (record,), _ = new_questions(tmp_path, NEW, letter_of("carbon dioxide"))
    metadata = orjson.loads(record["metadata"])
    key = metadata["reference"][0]
    assert f"{key}. carbon dioxide" in record["messages"][0]["content"] and metadata["check"] == "choice"
    assert (
        sorted(metadata["choices"]) == sorted(NEW["choices"]) and record["messages"][1]["content"] == f"Answer: {key}"
    )


def test_options_are_shuffled(tmp_path: Path) -> None:
    rows = [{**CHOICE, "question": f"{CHOICE['question']} ({n})"} for n in range(12)]
    model = script([], writer=NEW, teacher=letter_of("carbon dioxide"))
    run_scripted(
        config(tmp_path, rows, mode="bootstrap", samples=1, bootstrap={"per_seed": 1}), tmp_path / "run", model
    )
    keys = {orjson.loads(record["metadata"])["reference"][0] for record in rows_of(tmp_path / "run")}
    assert keys == {"A", "B", "C"}


NEW_LOSSES: list[tuple[Row, str, str]] = [
    ({**NEW, "choices": NEW["choices"][:2]}, "helium", "bootstrap/other_format"),
    ({**NEW, "choices": ["helium", "Helium.", "carbon dioxide"]}, "helium", "bootstrap/bad_options"),
    ({**NEW, "choices": ["helium", "All of the above", "carbon dioxide"]}, "helium", "bootstrap/bad_options"),
    ({**NEW, "answer": "radon"}, "helium", "bootstrap/no_key"),
    ({**NEW, "question": CHOICE["question"]}, "helium", "bootstrap/near_duplicate"),
    (NEW, "helium", "choice/suspected_wrong"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "right", "expected"), NEW_LOSSES)
def test_new_questions_that_are_thrown_away(tmp_path: Path, written: Row, right: str, expected: str) -> None:
    records, (reject,) = new_questions(tmp_path, written, letter_of(right))
    assert not records and f"{reject['stage']}/{reject['reason']}" == expected


def test_a_key_that_most_solutions_dispute_is_thrown_away(tmp_path: Path) -> None:
    said = iter(["carbon dioxide", "helium", "neon"])
    _, (reject,) = new_questions(tmp_path, NEW, lambda request: letter_of(next(said))(request))
    assert (reject["stage"], reject["reason"]) == ("bootstrap", "disputed_key")


def test_the_page_names_every_reason() -> None:
    page = (ROOT / "docs/refresh.md").read_text("utf-8")
    lost_for = page[page.index("## Why a task is lost") :]
    for expected in {one[0] for one in LOSSES} | {one[2] for one in NEW_LOSSES} | {"bootstrap/disputed_key"}:
        stage, reason = expected.split("/")
        row = next(
            line for line in lost_for.splitlines() if line.startswith("| ") and f"`{stage}`" in line.split("|")[1]
        )
        assert f"`{reason}`" in row or stage in ("tools", "constraints"), expected
    count = len((Refresh.folder() / "prompts.jsonl").read_bytes().splitlines())
    assert f"<!-- count -->{count}<!-- end -->" in page


def test_questions_of_a_benchmark_are_thrown_away(tmp_path: Path) -> None:
    against = tmp_path / "bench.jsonl"
    against.write_bytes(orjson.dumps({"item": {"stem": "Which gas do green plants take up by day, mostly?"}, "n": 3}))
    _, (reject,) = new_questions(tmp_path, NEW, letter_of("carbon dioxide"), against=[str(against)])
    assert reject["reason"] == "near_duplicate"
    with pytest.raises(ConfigError, match="doesn't exist"):
        new_questions(tmp_path, NEW, letter_of("carbon dioxide"), against=["absent.jsonl"])


# The contract, the examples, a killed run

EXAMPLES = [
    Record.model_validate_json(line) for line in (Refresh.folder() / "examples.jsonl").read_bytes().splitlines()
]


@pytest.mark.bubblewrap
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.metadata["id"])
def test_each_example_is_what_the_generator_makes_of_its_answers(tmp_path: Path, example: Record) -> None:
    prompts = (Refresh.folder() / "prompts.jsonl").read_bytes().splitlines()
    row = next(row for row in map(orjson.loads, prompts) if row["id"] == example.metadata["id"])
    answers = [message for message in example.messages if message.role == "assistant"]
    asked = [follow_up(message.content) for message in example.messages if message.role == "user"][1:]
    (record,), _ = run_turns(tmp_path, row, answers, asked)
    assert row_to_record(record).messages == example.messages and record["uuid"] == example.uuid
    told = orjson.loads(record["metadata"])
    assert told["check"] == example.metadata["check"] and example.metadata["trace"] == "authored"
    assert all(message.reasoning_content for message in answers)


def run_turns(folder: Path, row: Row, answers: list[Any], asked: list[Row]) -> tuple[list[Row], list[Row]]:
    """A run with one attempt per turn, and one turn per answer."""
    run_config = config(folder, [row], samples=1, turns=len(answers))
    run_scripted(run_config, folder / "run", script(answers, user=asked))
    return rows_of(folder / "run"), rows_of(folder / "run", "rejects")


@pytest.mark.bubblewrap
def test_the_contract(tmp_path: Path) -> None:
    summary = check_generator({"generator": "refresh", "tasks": 60, "params": {"samples": 2, "turns": 2}}, tmp_path)
    assert summary["accepted"] > 0 and summary["rejected"] > 0 and summary["failed"] == 0, summary["by_reason"]


def test_the_contract_for_new_questions(tmp_path: Path) -> None:
    def answer(role: str, request: Row) -> Any:
        number = len(str(request)) % 97
        options = ["a red kite", "a grey heron", "a snow bunting", "a tree creeper"]
        return "Answer: B" if role == "teacher" else {
            "question": f"Which bird of list {number} nests near lake number {number * 31}?",
            "choices": options, "answer": options[number % 4],
        }  # fmt: skip

    params = {"mode": "bootstrap", "samples": 2}
    summary = check_generator({"generator": "refresh", "params": params}, tmp_path, ScriptedModel(answer))
    assert summary["tasks"] == 64 and summary["failed"] == 0 and summary["accepted"] > 5
    assert set(summary["by_reason"]) == {"choice/wrong"}


def test_a_row_that_says_nothing_is_a_failed_task(tmp_path: Path) -> None:
    summary = run_scripted(
        {**config(tmp_path, [{"x": 1}, SUM], samples=1), "max_failed": 1.0}, tmp_path / "run", script(["Answer: 42"])
    )
    assert summary["failed"] == 1 and summary["accepted"] == 1


def test_a_killed_run_of_many_prompts_gives_the_same_records(cli: CLI, tmp_path: Path) -> None:
    """SIGKILL at several points of a run against a stub; the records are those of an undisturbed run."""
    count = int(os.environ.get("GRISTMILL_REFRESH_PROMPTS", "400"))
    rows = [{"question": f"What is {n} + {n * 7 % 113}?", "answer": str(n + n * 7 % 113)} for n in range(count)]
    one, other = config(tmp_path, rows, samples=2), tmp_path / "two"

    def stub(role: str, request: Row) -> Message:
        first, second = (
            int(word.strip("?")) for word in request["messages"][0]["content"].split() if word[0].isdigit()
        )
        return thought(f"Answer: {first + second + (first % 5 == 0)}")

    with FaultServer(script=stub) as server:
        path = write({**one, "models": {"default": {"endpoint": server.url, "model": "m"}}}, tmp_path / "run.yaml")
        assert cli("generate", path, "--run", "one", "--quiet", timeout=600).returncode == 0
        command = [sys.executable, "-m", "gristmill.cli", "generate", str(path), "--run", str(other), "--quiet"]
        undisturbed, kills = server.requests, 0
        for share in (0.2, 0.5, 0.8):
            process = subprocess.Popen(command, cwd=tmp_path)
            while process.poll() is None and server.requests - undisturbed < share * 2 * count:
                time.sleep(0.005)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                kills += 1
            process.wait()
        assert kills == 3 and cli("generate", path, "--run", other, "--quiet", timeout=600).returncode == 0
        assert server.requests - undisturbed <= 2 * count + kills * 128
    assert records_file(other) == records_file(tmp_path / "one")
    assert pq.read_table(other / "records").num_rows == sum(n % 5 != 0 for n in range(count))
