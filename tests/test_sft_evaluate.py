"""`gristmill evaluate`: replies read back, a checkpoint behind an endpoint, exams by judges, intervals."""

import json
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from gristmill.cli import main
from gristmill.config import validate
from gristmill.errors import ConfigError
from gristmill.render.nemotron3 import END_THINK, IM_END, THINK, assistant_block
from gristmill.testing import FaultServer
from schemas import Function, FunctionSpec, Message, Record, Tool, ToolCall, assistant, user
from schemas.arrow import records_to_table
from schemas.evaluate_config import EvaluateConfig
from schemas.sft_config import SFTConfig
from sft.evaluate import Scores, evaluate, interval, score
from sft.heldout import losses_of
from sft.replies import read_reply
from sft.serve import served
from tests.test_train import learn, run, write_blend

CITY = Tool(
    function=FunctionSpec(
        name="weather",
        parameters={"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
    )
)


# --- replies


def written(message: Message) -> str:
    """What the model writes of a turn whose prompt has opened the trace."""
    text = "".join(piece.text for piece in assistant_block(message, past=False, supervised=True))
    start = text.index(f"{THINK}\n") + len(THINK) + 1 if message.reasoning_content else text.index(END_THINK) + 8
    return text[start:].removesuffix(f"{IM_END}\n")


PLAIN = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<"), max_size=40).map(str.strip)
VALUES = st.integers() | st.booleans() | st.none() | st.lists(st.integers(), max_size=3) | PLAIN.filter(bool)


@settings(deadline=None)
@given(content=PLAIN, trace=PLAIN.filter(bool), cities=st.lists(PLAIN, max_size=2), days=VALUES)
def test_what_is_rendered_is_read_back(content: str, trace: str, cities: list[str], days: Any) -> None:
    made = [{"city": city, "days": days} for city in cities]
    calls = [
        ToolCall(id=f"call_{n}", function=Function(name="weather", arguments=json.dumps(given, ensure_ascii=False)))
        for n, given in enumerate(made)
    ]
    message = assistant(content, trace, calls)
    found = read_reply(written(message), True, [CITY])
    assert found.reasoning_content == trace and found.content == content
    read = [json.loads(call.function.arguments) for call in found.tool_calls]
    assert [given["city"] for given in read] == cities  # a string stays one, whatever it looks like
    if not isinstance(days, str):
        assert [given["days"] for given in read] == [days] * len(cities)
    off = read_reply(written(assistant(content, None, calls)), False, [CITY])
    assert (off.reasoning_content, off.content, len(off.tool_calls)) == (None, content, len(calls))


def test_what_is_no_call_stays_text_and_an_open_trace_is_no_answer() -> None:
    broken = 'Let me.\n<tool_call>\n{"name": "weather"}\n</tool_call>\n'
    found = read_reply(f"so\n</think>\n{broken}", True, [CITY])
    assert found.tool_calls == [] and found.content == broken.strip()
    unfinished = read_reply("still thinking", True, [])
    assert (unfinished.content, unfinished.reasoning_content) == ("", "still thinking")


# --- scores


def test_calls_as_json_and_traces_that_the_reply_opens_are_read() -> None:
    text = '<think>\nso\n</think>\nLet me.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Œ"}}\n</tool_call>'
    found = read_reply(text, False, [CITY])
    assert (found.reasoning_content, found.content) == ("so", "Let me.")
    assert [json.loads(call.function.arguments) for call in found.tool_calls] == [{"city": "Œ"}]
    assert read_reply("A <think> inside", False, []).content == "A <think> inside"


def test_none_right_of_four_proves_little() -> None:
    found = score({"it": dict.fromkeys("abcd", False)}, seed=0, resamples=100)["it"]
    assert found.share == 0.0 and found.low < 1e-9 and 0.4 < found.high < 0.6


def test_differences_are_paired_and_bootstrapped() -> None:
    tasks = [f"t{n}" for n in range(100)]
    before = {task: n < 40 for n, task in enumerate(tasks)}
    after = {task: n < 55 for n, task in enumerate(tasks)}
    found = score({"before": before, "after": after}, seed=0, resamples=2000)
    assert (found["before"].right, found["before"].asked, found["before"].difference) == (40, 100, None)
    assert found["before"].low < 0.40 < found["before"].high
    assert found["before"].high - found["before"].low == pytest.approx(4 * 0.049, abs=0.03)  # four standard errors
    difference = found["after"].difference
    assert difference is not None
    mean, low, high = difference
    assert mean == pytest.approx(0.15)
    # of paired answers, of which 15 differ: narrower than that of two separate samples
    assert high - low == pytest.approx(4 * np.sqrt(0.15 * 0.85 / 100), abs=0.03)
    assert score({"before": before, "after": after}, 0, 2000) == found
    failing = score({"before": {**before, "u": None}, "after": {**after, "t0": None, "u": True}}, 0, 100)
    assert [(one.right, one.asked, one.failed) for one in failing.values()] == [(40, 100, 1), (55, 100, 1)]
    assert failing["after"].difference and failing["after"].difference[0] == pytest.approx(15 / 99)  # of those in both


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for number in range(200):
        low, high = interval((rng.random(60) < 0.3).astype(float), seed=number, resamples=400)
        covered += low <= 0.3 <= high
    assert 0.88 <= covered / 200 <= 0.99


# --- a checkpoint


def sums(count: int, answer: int, first: int = 0) -> list[Record]:
    return [
        Record(
            messages=[user(f"Number {n}?"), assistant(f"Answer: {answer}")],
            category="even" if n % 2 == 0 else "odd",
            metadata={"reference": [str(7 + n % 2)]},
            license="CC0-1.0",
        )
        for n in range(first, first + count)
    ]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """A tiny model that has learned to answer 7 to everything."""
    return learn(tmp_path_factory.mktemp("learned"), sums(40, 7), steps=40)


async def ask(url: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    async with aiohttp.ClientSession() as session, session.post(f"{url}/chat/completions", json=body) as response:
        return response.status, await response.json()


async def test_a_checkpoint_is_served(checkpoint: Path) -> None:
    messages = [{"role": "user", "content": "Number 12?"}]
    off = {"enable_thinking": False}
    with served(checkpoint) as url:
        status, found = await ask(url, {"messages": messages, "max_tokens": 30, "chat_template_kwargs": off})
        (choice,) = found["choices"]
        assert status == 200 and choice["message"] == {"role": "assistant", "content": "Answer: 7"}
        assert choice["finish_reason"] == "stop" and found["usage"]["completion_tokens"] > 2
        cut = await ask(url, {"messages": messages, "max_tokens": 2, "chat_template_kwargs": off})
        assert cut[1]["choices"][0]["finish_reason"] == "length"
        status, refused = await ask(url, {"messages": [{"role": "assistant", "content": "Hi"}]})
        assert status == 400 and "a prompt ends with" in refused["error"]["message"]


async def test_a_checkpoint_is_measured_in_the_format_that_it_was_trained_in(tmp_path: Path, one_thread: None) -> None:
    """Its template lies beside its weights."""
    content = {
        "out": str(tmp_path / "run"),
        "data": {
            "blend": str(write_blend(tmp_path / "blend", train=sums(9, 7), valid=sums(5, 7, first=100))),
            "tokenizer": "train:300",
            "template": str(Path(__file__).parent / "data/chatml.jinja"),
            "pack_tokens": 256,
        },
        "precision": "fp32",
        "stages": [{"name": "s", "global_batch": 3, "lr": 3e-3, "steps": 2}],
    }
    run(validate(content, SFTConfig, "test"))
    told = json.loads((tmp_path / "run/summary.json").read_bytes())["stages"][0]["held_out"]
    checkpoint = tmp_path / "run/stages/s"
    assert losses_of(checkpoint, tmp_path / "blend").per_token == pytest.approx(told["per_token"], rel=1e-6)
    with served(checkpoint) as url:
        _, found = await ask(url, {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5})
    prompt = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    ids = AutoTokenizer.from_pretrained(checkpoint)(prompt)["input_ids"]
    assert found["usage"]["prompt_tokens"] == len(ids)
    assert found["choices"][0]["message"]["content"]  # no trace that the prompt had not opened


def config(out: Path, records: Path, subjects: list[dict[str, Any]]) -> dict[str, Any]:
    judge = {"name": "equivalence", "how": "numeric"}
    return {
        "out": str(out),
        "subjects": subjects,
        "exams": [
            {"name": "all", "records": str(records), "judges": [judge]},
            {"name": "odd", "records": str(records), "judges": [judge], "category": "odd", "limit": 3},
        ],
        "max_tokens": 30,
        "resamples": 200,
    }


def evaluated(content: dict[str, Any]) -> Scores:
    return evaluate(validate(content, EvaluateConfig, "test"))


def test_exams_are_judged_and_compared(checkpoint: Path, tmp_path: Path) -> None:
    """The endpoint answers 8 to all, the checkpoint 7: each is right on its half."""
    pq.write_table(records_to_table(sums(20, 7, first=100)), tmp_path / "exam.parquet")
    with FaultServer(script=lambda role, request: "Answer: 8") as server:
        subjects: list[dict[str, Any]] = [
            {"name": "before", "model": {"endpoint": server.url, "model": "eight"}},
            {"name": "after", "checkpoint": str(checkpoint)},
        ]
        found = evaluated(config(tmp_path / "out", tmp_path / "exam.parquet", subjects))
    assert {name: (one.right, one.asked) for name, one in found["all"].items()} == {
        "before": (10, 20),
        "after": (10, 20),
    }
    assert {name: (one.right, one.asked) for name, one in found["odd"].items()} == {"before": (3, 3), "after": (0, 3)}
    assert found["odd"]["after"].difference == (-1.0, -1.0, -1.0)
    told = json.loads((tmp_path / "out/evaluation.json").read_bytes())
    assert told["all"]["after"]["right"] == 10
    again = evaluated(config(tmp_path / "out", tmp_path / "exam.parquet", subjects))  # the server is gone: replayed
    assert again == found


def test_a_checkpoints_losses_are_those_of_its_training(checkpoint: Path, tmp_path: Path) -> None:
    """On the valid split of a blend, by category; an endpoint has none."""
    (tmp_path / "blend/valid").mkdir(parents=True)
    pq.write_table(records_to_table(sums(6, 7, first=100)), tmp_path / "blend/valid/0.parquet")
    pq.write_table(records_to_table(sums(2, 7)), tmp_path / "exam.parquet")
    with FaultServer(script=lambda role, request: "Answer: 8") as server:
        subjects: list[dict[str, Any]] = [
            {"name": "before", "model": {"endpoint": server.url, "model": "eight"}},
            {"name": "after", "checkpoint": str(checkpoint)},
        ]
        content = config(tmp_path / "out", tmp_path / "exam.parquet", subjects)
        evaluated({**content, "held_out": str(tmp_path / "blend")})
    told = json.loads((tmp_path / "out/held_out.json").read_bytes())
    assert list(told) == ["after"] and told["after"]["conversations"] == 6
    assert 0 < told["after"]["per_token"] < 0.5  # it has learned the one answer
    assert set(told["after"]["by_category"]) == {"even", "odd"}
    with pytest.raises(ConfigError, match=r"held_out: .*exam\.parquet is no blend with a valid split"):
        evaluated({**content, "held_out": str(tmp_path / "exam.parquet")})


def test_another_checkpoint_under_the_same_name_is_asked_anew(checkpoint: Path, tmp_path: Path) -> None:
    pq.write_table(records_to_table(sums(4, 7, first=100)), tmp_path / "exam.parquet")
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in checkpoint.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    content = config(tmp_path / "out", tmp_path / "exam.parquet", [{"name": "it", "checkpoint": str(copy)}])
    evaluated(content)
    calls = pq.read_table(tmp_path / "out/runs/it/all/calls.parquet").num_rows
    evaluated(content)
    assert pq.read_table(tmp_path / "out/runs/it/all/calls.parquet").num_rows == calls == 4
    (copy / "generation_config.json").write_text((copy / "generation_config.json").read_text() + "\n")
    evaluated(content)
    assert pq.read_table(tmp_path / "out/runs/it/all/calls.parquet").num_rows == 8


def test_the_command_prints_a_table(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pq.write_table(records_to_table(sums(6, 7, first=100)), tmp_path / "exam.parquet")
    content = config(tmp_path / "out", tmp_path / "exam.parquet", [{"name": "it", "checkpoint": str(checkpoint)}])
    (tmp_path / "evaluate.yaml").write_text(yaml.safe_dump({**content, "drafts": 2}))
    assert main(["evaluate", str(tmp_path / "evaluate.yaml"), "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "3/6" in printed and "50.0%" in printed and "evaluation.json" in printed


def test_questions_that_fail_are_counted_apart_and_told(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that a share over those that are left isn't taken for one over all."""
    lines = [record.to_json() for record in sums(6, 7, first=100)]
    (tmp_path / "exam.jsonl").write_text("\n".join([*lines[:3], "{", *lines[3:]]) + "\n")
    content = config(tmp_path / "out", tmp_path / "exam.jsonl", [{"name": "it", "checkpoint": str(checkpoint)}])
    (tmp_path / "evaluate.yaml").write_text(yaml.safe_dump({**content, "exams": content["exams"][:1]}))
    assert main(["evaluate", str(tmp_path / "evaluate.yaml"), "--quiet"]) == 0
    printed = capsys.readouterr()
    assert "3/6" in printed.out and "all, it: 1 of 7 questions failed" in " ".join(printed.err.split())
    told = json.loads((tmp_path / "out/evaluation.json").read_bytes())["all"]["it"]
    assert (told["right"], told["asked"], told["failed"]) == (3, 6, 1)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"subjects": [{"name": "it"}]}, "either a checkpoint or a model"),
        ({"subjects": [{"name": "it", "checkpoint": "nowhere"}]}, r"subjects\.it\.checkpoint: nowhere is no model's"),
        ({"exams": [{"name": "a", "records": "nowhere.jsonl", "judges": [{"name": "equivalence"}]}]}, "neither a file"),
        ({"exams": [{"name": "a", "records": "x.jsonl", "judges": []}]}, "judges"),
    ],
)
def test_wrong_configs_are_named(
    checkpoint: Path, tmp_path: Path, change: dict[str, Any], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pq.write_table(records_to_table(sums(2, 7)), tmp_path / "exam.parquet")
    content = config(tmp_path / "out", tmp_path / "exam.parquet", [{"name": "it", "checkpoint": str(checkpoint)}])
    with pytest.raises(ConfigError, match=complaint):
        evaluated({**content, **change})
