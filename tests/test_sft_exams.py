"""recipes/sft/exams.yaml: every kind of proof, on the generators' own records, by a right answer and a wrong one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from gristmill.config import validate
from gristmill.testing import FaultServer
from judges.fields import lookup
from schemas import Function, Json, Message, Record, ToolCall, assistant, user
from schemas.evaluate_config import EvaluateConfig
from sft.evaluate import evaluate, expected

ROOT = Path(__file__).parents[1]
RECIPE = yaml.safe_load((ROOT / "recipes/sft/exams.yaml").read_text(encoding="utf-8"))
KINDS = [exam["name"] for exam in RECIPE["exams"]]


def examples(generator: str, wanted: Callable[[Record], bool] = lambda record: True) -> list[Record]:
    lines = (ROOT / "generators" / generator / "examples.jsonl").read_text(encoding="utf-8").splitlines()
    return [record for record in map(Record.from_json, lines) if wanted(record)]


def asked(question: str, answer: str, *references: str) -> Record:
    listed: list[Json] = [*references]
    return Record(messages=[user(question), assistant(answer)], metadata={"reference": listed}, license="CC0-1.0")


PARIS = "Which city lies on the Seine?\n(A) Rome\n(B) Paris\n(C) Oslo"
RECORDS = {
    "sql": examples("text_to_sql", lambda record: lookup(record, "metadata.sql.dialect") == "sqlite"),
    "code": examples("code_concepts"),
    "numbers": [asked("How far is it?", "It is far.\n\nFinal answer: 1.5 km", "1500 m")],
    "tools": examples("general_tools"),
    "choice": [asked(PARIS, "It has to be in France.\n\nFinal answer: B", "B", "Paris")],
    "regression": [asked("Half of 2/3?", "\\boxed{\\frac{1}{3}}", "1/3")],
}
WRONG = {
    "sql": "```sql\nSELECT 1 AS one FROM sqlite_master\n```",
    "code": "```python\ndef solve():\n    return None\n```",
    "numbers": "Final answer: 1.5 m",
    "choice": "Final answer: C",
    "regression": "\\boxed{3}",
}


def of_question(records: list[Record]) -> dict[str, Message]:
    """By the last user message, the turn that follows it."""
    found = {}
    for record in records:
        last = max(i for i, message in enumerate(record.messages) if message.role == "user")
        found[record.messages[last].content] = record.messages[last + 1]
    return found


def refused(message: Message) -> Message:
    """The same calls, of which the last has another argument's value."""
    *kept, last = message.tool_calls
    arguments = json.loads(last.function.arguments)
    name, value = next((name, value) for name, value in arguments.items() if isinstance(value, str))
    changed = Function(name=last.function.name, arguments=json.dumps({**arguments, name: f"{value}x"}))
    return assistant(message.content, tool_calls=[*kept, ToolCall(id=last.id, function=changed)])


@pytest.mark.parametrize(
    "kind", [pytest.param(name, marks=pytest.mark.bubblewrap if name == "code" else ()) for name in KINDS]
)
def test_every_kind_of_exam_tells_right_from_wrong(kind: str, tmp_path: Path) -> None:
    records = RECORDS[kind]
    (tmp_path / "exam.jsonl").write_text("".join(f"{record.to_json()}\n" for record in records))
    right = of_question(records)

    def script(role: str, request: dict[str, Any]) -> str | Message:
        question = next(message["content"] for message in reversed(request["messages"]) if message["role"] == "user")
        answer = right[question]
        if request["model"] == "right":
            return answer.model_copy(update={"reasoning_content": None})
        return refused(answer) if answer.tool_calls else WRONG[kind]

    (exam,) = (one for one in RECIPE["exams"] if one["name"] == kind)
    with FaultServer(script=script) as server:
        content = {
            **RECIPE,
            "out": str(tmp_path / "out"),
            "subjects": [
                {"name": name, "model": {"endpoint": server.url, "model": name}} for name in ("wrong", "right")
            ],
            "exams": [{**exam, "records": str(tmp_path / "exam.jsonl")}],
        }
        scores = evaluate(validate(content, EvaluateConfig, "test"))[kind]
    assert (scores["right"].right, scores["right"].asked) == (len(records), len(records))
    assert (scores["wrong"].right, scores["wrong"].asked) == (0, len(records))
    assert scores["right"].difference == (1.0, 1.0, 1.0)  # question by question


def test_the_recipe_has_each_kind_of_proof_once_and_a_regression_set() -> None:
    judges = [(exam["judges"][0]["name"], exam["judges"][0].get("how")) for exam in RECIPE["exams"]]
    assert {name for name, _ in judges} == {"sql_execution", "python_tests", "equivalence", "tool_calls"}
    assert KINDS[-1] == "regression" and list(RECORDS) == KINDS


def test_calls_that_are_no_json_are_equal_to_none() -> None:
    broken = ToolCall(id="c", function=Function(name="book", arguments="{"))
    assert expected([assistant("", tool_calls=[broken])]) == {
        "content": "",
        "calls": [{"name": "book", "arguments": "{"}],
    }
    assert expected([user("and?")]) == {"content": "", "calls": []}
