"""Sequential tasks: answers are found anew in the context's text, and traces go through it from left to right."""

import re
from collections import Counter
from random import Random
from typing import Any

import pytest

from generators.long_context.answers import as_json, draw_format, plain, write_answer
from generators.long_context.context import Depth, Fillers, TokenCounter, token_counter
from generators.long_context.sequential import TASKS, Told, steps_for, tell
from generators.long_context.sequential.fillers import make_fillers
from generators.long_context.sequential.story import words
from tests.long_context_solvers import notes_of, read, solve

pytestmark = pytest.mark.embedded  # its tokenizer

LENGTHS = (2048, 4096, 9000)
RUNS = 60


@pytest.fixture(scope="module")
def counter() -> TokenCounter:
    return token_counter("embedded")


@pytest.fixture(scope="module")
def fillers(counter: TokenCounter) -> Fillers:
    return make_fillers(0, 16_384, counter)


@pytest.fixture(scope="module")
def told(counter: TokenCounter, fillers: Fillers) -> dict[str, list[tuple[int, Told]]]:
    return {
        kind: [
            (length, tell(kind, length, "even", 40, fillers, counter, Random(f"{kind}{number}")))
            for number in range(RUNS)
            for length in (LENGTHS[number % len(LENGTHS)],)
        ]
        for kind in TASKS
    }


def asked_of(one: Told) -> str:
    return f"{one.lead}\n\n{one.context.text}\n\n{one.question}"


@pytest.mark.parametrize("kind", TASKS)
def test_answers_are_those_of_an_independent_reader(kind: str, told: dict[str, list[tuple[int, Told]]]) -> None:
    for _, one in told[kind]:
        facts: Any = one.story.facts
        assert solve(kind, facts, list(notes_of(asked_of(one)).values())) == as_json(one.story.answer), one.question
    variants = {str(one.story.facts.get("variant", "")) for _, one in told[kind]}
    asked = words().get(f"{kind}_questions")
    assert not isinstance(asked, dict) or variants == set(asked)


@pytest.mark.parametrize("kind", TASKS)
def test_lengths_are_exact(kind: str, counter: TokenCounter, told: dict[str, list[tuple[int, Told]]]) -> None:
    for length, one in told[kind]:
        assert abs(counter.count(asked_of(one)) - length) <= length // 100
        assert abs(counter.count(one.context.text) - one.context.tokens) <= 3


@pytest.mark.parametrize("kind", TASKS)
def test_the_trace_quotes_notes_from_left_to_right(kind: str, told: dict[str, list[tuple[int, Told]]]) -> None:
    for _, one in told[kind]:
        notes = notes_of(asked_of(one))
        lines = one.trace.split("\n")[1:-1]
        numbers = []
        for line in lines:
            found = re.match(r"\D*?(\d+)\D", line)
            quote = re.search(r"“(.+)”", line)
            assert found and quote and notes[int(found[1])] == quote[1], line
            numbers.append(int(found[1]))
        assert numbers == sorted(set(numbers)) and len(numbers) == len(one.evidence)
        assert plain(one.story.answer) in one.trace or kind in ("keys", "update")


@pytest.mark.parametrize("kind", TASKS)
def test_no_constant_answer_is_often_right(kind: str, told: dict[str, list[tuple[int, Told]]]) -> None:
    answers = Counter(plain(one.story.answer) for _, one in told[kind])
    assert answers.most_common(1)[0][1] <= 0.1 * RUNS, answers.most_common(3)


def test_evidence_lies_where_it_is_wanted_and_offsets_are_right(counter: TokenCounter, fillers: Fillers) -> None:
    bands: dict[Depth, tuple[float, float]] = {"start": (0, 0.36), "middle": (0.3, 0.7), "end": (0.64, 1)}
    for depth, (low, high) in bands.items():
        for number in range(4):
            one = tell("ledger", 8192, depth, 20, fillers, counter, Random(number))
            assert all(low <= offset / one.context.tokens <= high for offset in one.evidence), (depth, one.evidence)
            numbers = [int(found) for found in re.findall(r"\D*?(\d+)\D.*“", one.trace)]
            for offset, note in zip(one.evidence, numbers, strict=True):
                before = one.context.text.partition(f"[{note}]\n")[0]
                assert abs(counter.count(before) - offset) <= 3


def test_most_of_a_context_means_nothing_and_near_misses_are_among_it(told: dict[str, list[tuple[int, Told]]]) -> None:
    for kind in TASKS:
        length, one = max(told[kind], key=lambda pair: pair[0])
        notes = list(notes_of(asked_of(one)).values())
        assert len(one.evidence) <= steps_for(length, 40) * 2 and len(notes) > 2 * len(one.evidence)
    near = [step for one in told["ledger"] for step in one[1].story.steps if not step.note]
    assert near and all(any(read(frames, step.text) for frames in words()["entries"].values()) for step in near)


@pytest.mark.parametrize("value", [12, "mill", ["a", "b", "c"], {"fee": 20, "day": "Monday"}])
def test_answers_keep_their_format(value: Any) -> None:
    seen = set()
    for number in range(60):
        name, instruction = draw_format(value, Random(number))
        seen.add(name)
        text = write_answer(value, name)
        assert instruction and "[" not in instruction.replace("[...]", "") and "{{" not in instruction, instruction
        match name:
            case "json":
                assert text == ('{"answer": 12}' if value == 12 else '{"answer": "mill"}')
            case "boxed":
                assert text == f"\\boxed{{{value}}}"
            case "bullets":
                assert len(text.split("\n")) == len(value) and all(line.startswith("- ") for line in text.split("\n"))
            case "table":
                assert text.split("\n")[2:] == ["| fee | 20 |", "| day | Monday |"]
    assert len(seen) == (6 if isinstance(value, int | str) else 3)
