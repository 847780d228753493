"""The bundled prompts: every reference that code can check is checked, and every prompt reads back as it is meant."""

from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from generators.refresh import Params, Refresh
from generators.refresh.checks import kind_of
from generators.refresh.prompt import Prompt, options_in, read_prompt
from gristmill import Record
from gristmill.seeds import BadSeed
from gristmill.testing import ScriptedModel, judge_scripted, run_scripted
from gristmill.text.diversity import diversity
from judges.claims import LETTERS
from judges.constraints import Other, check
from judges.sameness import same
from schemas import JsonObject, assistant
from tests.refresh_proofs import PROOFS
from tests.runs import rows_of

DATA = Path(__file__).parent / "data"


def load(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DATA / f"refresh_{name}.yaml").read_text("utf-8"))
    return found


def bundled() -> list[Prompt]:
    prompts = list(Refresh(Params()).tasks())
    assert not [prompt for prompt in prompts if isinstance(prompt, BadSeed)]
    return [prompt for prompt in prompts if isinstance(prompt, Prompt)]


PROMPTS = {prompt.id: prompt for prompt in bundled()}


def test_there_are_enough_of_every_kind() -> None:
    rows = (Refresh.folder() / "prompts.jsonl").read_bytes().splitlines()
    assert len(PROMPTS) == len(rows) >= 150, "an id twice"
    kinds = Counter(name.partition("-")[0] for name in PROMPTS)
    assert min(kinds.values()) >= 20 and set(kinds) == {"maths", "mcq", "science", "follow", "code", "chat"}
    checked = Counter(kind_of(prompt, []) for prompt in PROMPTS.values())
    assert set(checked) >= {"reference", "choice", "constraints", "tests"}
    assert all(prompt.license and prompt.category for prompt in PROMPTS.values())
    assert any(prompt.tools for prompt in PROMPTS.values()) and any(len(p.messages) > 2 for p in PROMPTS.values())


def test_every_number_is_recomputed() -> None:
    open_ended = {name for name, p in PROMPTS.items() if p.reference and not p.choices}
    assert PROOFS.keys() == {n for n in open_ended if any(sign.isdigit() for sign in PROMPTS[n].reference[0])}
    for name, value in PROOFS.items():
        assert all(
            same(reference, repr(float(value))) or same(reference, str(value)) for reference in PROMPTS[name].reference
        ), name


def test_every_option_is_listed_and_the_key_is_spread() -> None:
    choosing = [prompt for prompt in PROMPTS.values() if prompt.choices]
    assert all(options_in(prompt.question) == prompt.choices for prompt in choosing)
    keys = Counter(prompt.reference[0] for prompt in choosing)
    assert set(keys) == set(LETTERS[:4]) and max(keys.values()) < len(choosing) / 2


def test_every_constraint_can_be_kept_and_missed() -> None:
    kept = load("kept")
    assert kept.keys() == {name for name, prompt in PROMPTS.items() if prompt.constraints}
    for name, answer in kept.items():
        constraints = [one for one in PROMPTS[name].rules if not isinstance(one, Other)]
        assert [check(one, answer) for one in constraints] == [""] * len(constraints), name
        assert any(check(one, "Of course! Here you go") for one in constraints), name


@pytest.mark.bubblewrap
def test_every_solution_passes_its_tests(tmp_path: Path) -> None:
    solutions = load("solutions")
    assert solutions.keys() == {name for name, prompt in PROMPTS.items() if prompt.tests}
    near_misses = load("near_misses")
    assert near_misses.keys() <= solutions.keys()
    records, wanted = [], []
    for name, solution in solutions.items():
        prompt = PROMPTS[name]
        code: JsonObject = {"tests": list(prompt.tests), "entry_point": prompt.entry_point}
        wrong = [f"def {prompt.entry_point}(*_, **__):\n    return None\n"]
        wrong += [near_misses[name]] if name in near_misses else []
        wanted += ["accepted", *["rejected"] * len(wrong)]
        for text in (solution, *wrong):
            answer = assistant(f"```python\n{text}```")
            records.append(Record(messages=[*prompt.messages, answer], metadata={"code": code}))
    judged = judge_scripted([{"name": "python_tests"}], records, tmp_path)
    assert [one.status for one in judged] == wanted


def test_questions_are_varied() -> None:
    figures = diversity([prompt.question for prompt in PROMPTS.values()])
    assert figures["distinct_3"] >= 0.45 and figures["self_bleu_4"] <= 0.70, figures
    assert figures["neighbour"] <= 0.35 and figures["opening_share"] <= 0.1, figures


def read(row: dict[str, Any], **fields: str) -> Prompt:
    found = read_prompt("line:1", row, fields, "last")
    assert isinstance(found, Prompt), found
    return found


def refused(row: dict[str, Any]) -> str:
    found = read_prompt("line:1", row, {}, "last")
    assert isinstance(found, BadSeed)
    return found.detail


def test_rows_of_public_shapes() -> None:
    gsm8k = read({"question": "How many?", "answer": "3 and 4 are <<3+4=7>>7 in all.\nSo there are seven.\n#### 7"})
    assert gsm8k.reference == ["7"] and gsm8k.question == "How many?"
    maths = read(
        {"problem": "Find x.", "answer": "We see that $x=3$, so $\\boxed{\\frac{3}{4}}$ is what was wanted here."}
    )
    assert maths.reference == ["\\frac{3}{4}"]
    mmlu = read({"question": "Which?", "choices": ["a cat", "a dog", "an owl", "a bee"], "answer": 2})
    assert mmlu.reference == ["C"] and mmlu.question.endswith("A. a cat\nB. a dog\nC. an owl\nD. a bee")
    arc = read({"question": "Which?", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "2"})
    assert arc.reference == ["B"] and arc.choices == ["x", "y"]
    shown = read({"prompt": "Which?\nA) one\nB) two\nC) three", "answer": "(b)"})
    assert shown.reference == ["B"] and shown.choices == ["one", "two", "three"]
    alpaca = read({"instruction": "Shorten.", "input": "A long text."})
    assert alpaca.question == "Shorten.\n\nA long text."
    sharegpt = read({"system": "Be kind.", "conversations": [
        {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}, {"from": "human", "value": "Why?"},
        {"from": "gpt", "value": "Because."}]})  # fmt: skip
    assert [message.role for message in sharegpt.messages] == ["system", "user", "assistant", "user"]
    text = orjson.dumps([{"role": "user", "content": "Hi"}]).decode()
    assert read({"messages": text, "constraints": [{"kind": "case", "is": "lower"}]}).constraints
    assert read({"ask": "What?", "gold": "4"}, prompt="ask", reference="gold").reference == ["4"]
    flat = read(
        {
            "question": "Which?",
            "choices": '["x", "y"]',
            "answer": "y",
            "constraints": '[{"kind": "start", "text": "a"}]',
        }
    )
    assert flat.choices == ["x", "y"] and flat.reference == ["B"] and flat.constraints[0]["kind"] == "start"
    mbpp = read({"text": "Write f.", "test_list": ["assert f() == 1"]})
    assert mbpp.tests == ["assert f() == 1"]


def test_cut_first_leaves_no_turn_of_another() -> None:
    turns = [{"role": r, "content": r} for r in ("system", "user", "assistant", "user", "assistant")]
    found = read_prompt("line:1", {"messages": turns}, {}, "first")
    assert isinstance(found, Prompt) and [message.role for message in found.messages] == ["system", "user"]


def test_rows_that_say_nothing_are_failed_with_a_sentence() -> None:
    assert "holds a prompt" in refused({"x": 1})
    assert "no user turn" in refused({"messages": [{"role": "assistant", "content": "Hi"}]})
    assert "none of the choices" in refused({"question": "Which?", "choices": ["a", "b"], "answer": "z"})
    assert "rhyme" in refused({"question": "Which?", "constraints": [{"kind": "rhyme"}]})
    assert "image" in refused({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]})


def half_right(prompt: Prompt, number: int) -> tuple[str, bool]:
    """(a teacher's reply to a bundled prompt, whether it is right), by the proofs where there are any."""
    right = number % 2 == 0
    if prompt.tests:
        code = load("solutions")[prompt.id] if right else f"def {prompt.entry_point}(*_, **__):\n    return None\n"
        return f"```python\n{code}```", right
    if prompt.constraints:
        return (load("kept")[prompt.id] if right else "Of course! Here you go"), right
    if prompt.choices:
        letter = prompt.reference[0] if right else next(one for one in LETTERS if one != prompt.reference[0])
        return f"I weighed all of them.\n\nThe answer is {letter}.", right
    if prompt.id in PROOFS:
        value = PROOFS[prompt.id] if right else PROOFS[prompt.id] + 1
        return f"First 3 + 4 = 7.\n\n\\boxed{{{value}}}", right
    return f"Answer: {prompt.reference[0] if right else 'the moon'}", right


@pytest.mark.bubblewrap
def test_of_answers_half_of_which_are_right_exactly_these_are_accepted(tmp_path: Path) -> None:
    checkable = {name: prompt for name, prompt in PROMPTS.items() if kind_of(prompt, []) != "open"}
    replies = {prompt.question: half_right(prompt, n) for n, prompt in enumerate(checkable.values())}

    def teacher(role: str, request: dict[str, Any]) -> str:
        assert role == "teacher", "the judge is not to be asked"
        return replies.get(request["messages"][-1]["content"], ("I'm sorry, but I can't help with that.", False))[0]

    params = {"samples": 1, "checks": {"ask_judge": False}}
    run_scripted({"generator": "refresh", "params": params}, tmp_path, ScriptedModel(teacher))
    accepted = {record["messages"][-2]["content"] for record in rows_of(tmp_path)}
    assert accepted == {question for question, (_, right) in replies.items() if right}
    assert len(accepted) >= 75
