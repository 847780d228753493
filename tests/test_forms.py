"""Structured answers from every kind of server: the form is found out once, and the answer is always checked."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from gristmill.errors import TooManyFailed
from gristmill.llm.forms import Forms
from gristmill.testing import Dialect, Faults, FaultServer
from schemas import JsonObject, Message
from tests.runs import rows_of, run, two_calls

ROWS = 30

SERVERS = {
    "all": (Dialect(), "json_schema"),
    "refuses json_schema": (Dialect(json_schema="refuses"), "json_object"),
    "ignores json_schema": (Dialect(json_schema="ignores"), "json_object"),
    "tools only": (Dialect(json_schema="refuses", json_object="refuses"), "tool"),
    "tools only, rest ignored": (Dialect(json_schema="ignores", json_object="ignores"), "tool"),
    "nothing": (Dialect(json_schema="refuses", json_object="refuses", tools="refuses"), "text"),
    "nothing, all ignored": (Dialect(json_schema="ignores", json_object="ignores", tools="ignores"), "text"),
}


@pytest.mark.parametrize("in_flight", [1, 16])
@pytest.mark.parametrize("name", SERVERS)
def test_the_form_is_found_out_once_and_no_row_is_lost_to_that(tmp_path: Path, name: str, in_flight: int) -> None:
    dialect, form = SERVERS[name]
    with FaultServer(Faults(latency=0.01), dialect=dialect) as server:
        summary = run(two_calls(tmp_path, server.url, ROWS, model={"max_in_flight": in_flight}), tmp_path / "run")
    assert summary["accepted"] == ROWS, summary["by_reason"]
    answers = server.forms[form] - (ROWS if form == "text" else 0)  # a question is text whatever the verdict's form
    assert answers >= ROWS - in_flight
    found_out = server.requests - 2 * ROWS
    assert found_out <= 3 * in_flight, "each call that was out learns it at most once per form"


@pytest.mark.parametrize("name", ["all", "refuses json_schema", "tools only", "nothing"])
def test_a_model_sees_the_fields_of_its_answer_in_the_order_of_the_author(tmp_path: Path, name: str) -> None:
    """It writes them in the order of the schema: a reason that comes after its score explains nothing."""
    bodies: list[str] = []

    class Reading(FaultServer):
        def _answer(self, asked: dict[str, Any], *others: Any) -> dict[str, Any]:
            bodies.append(orjson.dumps(asked).decode().replace("\\", ""))
            return super()._answer(asked, *others)

    with Reading(dialect=SERVERS[name][0]) as server:
        config = two_calls(tmp_path, server.url, 2, model={"max_in_flight": 1})
        question, verdict = config["params"]["steps"]
        fields = {"zeal": {"type": "string"}, "score": {"type": "integer"}}
        config["params"] = {**config["params"], "steps": [question, {**verdict, "schema": fields}]}
        assert run(config, tmp_path / "run")["accepted"] == 2
    told = bodies[-1]
    assert 0 < told.index('"zeal"') < told.index('"score"')


def test_a_server_that_answers_with_other_json_is_told_the_schema(tmp_path: Path) -> None:
    """It takes `json_schema` for `json_object`: what comes is JSON, but has none of the keys."""

    def script(role: str, request: JsonObject) -> Any:
        shape: Any = request.get("response_format")
        return {"score": 4} if shape else {"answer": "four"}

    with FaultServer(script=script, dialect=Dialect(json_schema="ignores")) as server:
        summary = run(two_calls(tmp_path, server.url, 4, model={"max_in_flight": 1}), tmp_path / "run")
    assert summary["accepted"] == 4 and server.forms["json_object"] == 4


def test_what_does_not_fit_is_never_a_record(tmp_path: Path) -> None:
    with FaultServer(script=lambda role, asked: {"score": 9} if "response_format" in asked else "q?") as server:
        summary = run(two_calls(tmp_path, server.url, 3), tmp_path / "run")
    assert summary["by_reason"] == {"llm/unparseable": 3} and server.requests == 3 * (1 + 4)
    assert "9 is greater than the maximum of 5" in rows_of(tmp_path / "run", "rejects")[0]["detail"]


def test_broken_json_says_nothing_about_the_form(tmp_path: Path) -> None:
    with FaultServer(Faults(malformed=0.4, seed=1)) as server:
        config = two_calls(tmp_path, server.url, ROWS)
        config["models"]["default"]["repairs"] = 12
        summary = run(config, tmp_path / "run")
        assert summary["accepted"] == ROWS and server.met["malformed"] > 5
        assert server.requests == 2 * ROWS + server.met["malformed"]
        assert set(server.forms) == {"json_schema", "text"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("trace", ["reasoning_content", "reasoning", "think"])
def test_a_trace_is_kept_apart_from_structured_content(tmp_path: Path, trace: Any, stream: bool) -> None:
    def script(role: str, request: JsonObject) -> Any:
        content = orjson.dumps({"score": 4}).decode() if "response_format" in request else "What is it?"
        return Message(role="assistant", content=content, reasoning_content='Maybe {"score": 1}? No, four.')

    with FaultServer(script=script, dialect=Dialect(trace=trace)) as server:
        config = two_calls(tmp_path, server.url, 4, model={"stream": stream}, judges=[])
        assert run(config, tmp_path / "run")["accepted"] == 4
        assert set(server.forms) == {"json_schema", "text"}, "a <think> before the JSON is no prose"
    row = rows_of(tmp_path / "run")[0]
    assert orjson.loads(row["metadata"])["verdict"] == {"score": 4} and row["messages"][0]["content"] == "What is it?"


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_with_a_comment_beside_it_is_the_answer(tmp_path: Path, stream: bool) -> None:
    class Talking(FaultServer):
        def _answer(self, *arguments: Any) -> dict[str, Any]:
            body = super()._answer(*arguments)
            message = body["choices"][0]["message"]
            if message.get("tool_calls"):
                message["content"] = "I will give the answer now."
            return body

    dialect = Dialect(json_schema="refuses", json_object="refuses")
    with Talking(dialect=dialect) as server:
        assert run(two_calls(tmp_path, server.url, 5, model={"stream": stream}), tmp_path / "run")["accepted"] == 5


@pytest.mark.parametrize("dialect", [Dialect(limit_name="max_completion_tokens"), Dialect(stream_options=False)])
def test_names_that_a_server_refuses_are_learnt_by_all_calls_that_are_out(tmp_path: Path, dialect: Dialect) -> None:
    with FaultServer(Faults(latency=0.05), dialect=dialect) as server:
        config = two_calls(tmp_path, server.url, 20, model={"max_tokens": 500, "stream": True})
        summary = run(config, tmp_path / "run")
        assert summary["accepted"] == 20 and server.met["form"] <= 20
    assert summary["tokens"]["output"] > 0, "tokens are estimated where the server doesn't tell"


def test_a_complaint_about_something_else_fails_the_task(tmp_path: Path) -> None:
    class Odd(Dialect):
        def refusal(self, asked: dict[str, Any]) -> str | None:
            return "temperature must be 1 for this model"

    with FaultServer(dialect=Odd()) as server, pytest.raises(TooManyFailed, match="llm/error 3"):
        run(two_calls(tmp_path, server.url, 3), tmp_path / "run")
    assert server.requests == 3 and "temperature must be 1" in rows_of(tmp_path / "run", "rejects")[0]["detail"]


def test_models_of_one_endpoint_are_told_apart() -> None:
    forms = Forms()
    one: JsonObject = {"model": "a", "messages": [], "response_format": {"type": "json_schema"}}
    assert forms.refused(one, forms.as_sent(one, False), "json_schema is not supported")
    assert forms.of(one) == "json_object" and forms.of({**one, "model": "b"}) == "json_schema"
