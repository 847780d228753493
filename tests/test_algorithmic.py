"""The generator algorithmic: its variants, its rewrite passes, corrections, and every way a task can end."""

import ast
import re
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

import generators.code_concepts.exercises as exercises
from generators.algorithmic import Algorithmic, Params, prompted_cells
from generators.algorithmic.exercises import checked_title, constraints_of, posed_cells, title_of
from generators.code_concepts.exercises.compose import compose
from generators.code_concepts.exercises.grammar import domains, pairs_of
from generators.code_concepts.exercises.inputs import make_inputs
from gristmill.config import load_config
from gristmill.errors import ConfigError
from gristmill.plan import make_plan
from gristmill.testing import ScriptedModel, check_generator, run_scripted
from gristmill.text.diversity import diversity, without_context
from judges.mutants import mutants
from judges.python_cleaning import clean, normalised_hash
from judges.python_problem import example_tests, read_problem
from schemas import Message, Record
from schemas.run_config import RunConfig
from tests.test_code_concepts import CATEGORIES, code_of, passed

ROOT = Path(__file__).parents[1]
SERVED = {"endpoint": "http://scripted.invalid/v1", "model": "scripted"}
RECIPE = ROOT / "recipes/generate/algorithmic.yaml"
BY_RULE: dict[str, Any] = {"mode": "exercises", "variants": ["chat", "leetcode"]}
ROLES = dict.fromkeys(("default", "paraphraser", "writer", "base", "editor", "tester", "solver", "scorer"), SERVED)

SIGNATURE = "def count_rising_steps(heights: list[int]) -> int:"
PROBLEM = f'''{SIGNATURE}
    """Count the places at which a height is above the one before it.

    >>> count_rising_steps([1, 3, 2])
    1
    """'''
SETTLED = PROBLEM.replace("before it.", "before it; 0 for no heights.")
RIGHT = f"{SIGNATURE}\n    return sum(b > a for a, b in zip(heights, heights[1:]))"
WRONG = f"{SIGNATURE}\n    return sum(b >= a for a, b in zip(heights, heights[1:]))"
SHY = f"{SIGNATURE}\n    return sum(b > a != 1 for a, b in zip(heights, heights[1:]))"
TESTS = ["assert count_rising_steps([2, 2, 3]) == 1", "assert count_rising_steps([]) == 0"]
TITLE = "Rising steps between neighbouring heights"
TOLD = "Hi, I need count_rising_steps: how often is a height above the previous one?"

Answering = Callable[[str, Any], Any]


def config(tasks: int, **params: Any) -> dict[str, Any]:
    judges = [{"name": "python_tests"}]
    return {"generator": "algorithmic", "tasks": tasks, "models": ROLES, "judges": judges, "params": params}


def model(solver: Answering | None = None, **changed: Any) -> ScriptedModel:
    """Answers each role and schema well; `changed` replaces a field's value, or the score."""
    fields = {
        "title": TITLE,
        "problem": PROBLEM,
        "settled": SETTLED,
        "tests": TESTS,
        "text": TOLD,
        "score": 9,
        **changed,
    }

    def script(role: str, request: Any) -> Any:
        if role == "base":
            return "Count the rises of a list of heights."
        if role == "solver":
            return solver(role, request) if solver else thought(RIGHT)
        if role == "scorer":
            score = fields["score"]
            return {"reason": "Checked.", "score": score(request) if callable(score) else score}
        if "response_format" not in request:
            return "A raw problem about heights."
        wanted = set(request["response_format"]["json_schema"]["schema"]["properties"])
        if wanted == {"problem"}:
            return {"problem": fields["settled"]}
        return {name: fields[name] for name in wanted}

    return ScriptedModel(script)


def thought(code: str) -> Message:
    return Message(role="assistant", content=f"```python\n{code}\n```", reasoning_content="Compare neighbours.")


def records(run: Path) -> list[dict[str, Any]]:
    rows = pq.read_table(run / "records").to_pylist()
    return [{**row, "metadata": orjson.loads(row["metadata"])} for row in rows]


@pytest.mark.bubblewrap
def test_the_contract(tmp_path: Path) -> None:
    scripted = model()
    summary = check_generator(config(6), tmp_path, scripted)
    assert summary["accepted"] == 6, summary["by_reason"]
    made = records(tmp_path / "one")
    assert Counter(record["category"] for record in made) == {"chat": 2, "base": 2, "leetcode": 2}
    for record in made:
        metadata = record["metadata"]
        assert metadata["problem"] == SETTLED and metadata["title"] == TITLE and metadata["rounds"] == 0
        assert record["messages"][0]["content"] == f"{TOLD}\n\n```python\n{SETTLED}\n```"
        assert record["messages"][1]["reasoning_content"] == "Compare neighbours." and record["reasoning"] == "on"
        assert metadata["code"]["tests"] == [*example_tests(read_problem(SETTLED).docstring), *TESTS]
        assert metadata["score"] == (9 if record["category"] == "leetcode" else None)
    base = [request for role, request in scripted.calls if role == "base"]
    assert base and all("prompt" in request and "messages" not in request for request in base)


def test_variants_difficulties_and_forms_are_even() -> None:
    cells = list(islice(prompted_cells(Params(), 0), 144))
    assert set(Counter((cell.variant, cell.difficulty, cell.form) for cell in cells).values()) == {2}
    assert len({cell.index for cell in cells}) == 144


@pytest.mark.bubblewrap
def test_passes_may_be_left_out(tmp_path: Path) -> None:
    scripted = model()
    run_scripted(config(1, passes=[], variants=["chat"]), tmp_path, scripted)
    (record,) = records(tmp_path)
    assert record["metadata"]["problem"] == PROBLEM and len(record["metadata"]["code"]["tests"]) == 1
    assert scripted.count_by_role() == {"writer": 1, "editor": 1, "solver": 3}


@pytest.mark.bubblewrap
def test_a_wrong_answer_is_corrected_and_loses_its_trace(tmp_path: Path) -> None:
    def solver(_role: str, request: Any) -> Any:
        *_, last = request["messages"]
        return thought(RIGHT if "doesn't hold up" in last["content"] else WRONG)

    failing = [*TESTS, "assert count_rising_steps([4, 5, 5]) == 1"]
    # All attempts are wrong about equal heights, so only tests that they pass survive; the scorer is the one to see it.
    low_once = model(solver, tests=failing, score=lambda request: 3 if "b >= a" in str(request) else 10)
    run_scripted(config(1, variants=["leetcode"]), tmp_path, low_once)
    (record,) = records(tmp_path)
    assert (record["metadata"]["rounds"], record["metadata"]["score"]) == (1, 10)
    assert "b > a" in record["messages"][1]["content"] and record["messages"][1]["reasoning_content"] is None
    assert record["reasoning"] == "off"


@pytest.mark.bubblewrap
def test_execution_comes_before_the_score(tmp_path: Path) -> None:
    turns = iter([thought(WRONG), thought(SHY), thought(RIGHT)] * 2)
    scripted = model(lambda *_: next(turns), tests=[*TESTS, "assert count_rising_steps([1, 2]) == 1"])
    # The first attempt passes one test, the second the other, and none both: a correction is run before it is scored.
    run_scripted(config(1, variants=["leetcode"], attempts=2), tmp_path, scripted)
    (record,) = records(tmp_path)
    assert record["metadata"]["rounds"] == 1 and record["metadata"]["difficulty"]["passed"] == 0
    assert scripted.count_by_role()["scorer"] == 1


@pytest.mark.bubblewrap
@pytest.mark.parametrize(
    ("reason", "scripted"),
    [
        ("title/length", model(title="Rising steps only")),
        ("problem/has_body", model(problem=RIGHT)),
        ("rewrite/no_examples", model(settled=SETTLED.replace(">>> ", "").replace("\n    1\n", "\n"))),
        ("rewrite/another_function", model(settled=SETTLED.replace("heights: list[int]", "heights: list[float]"))),
        ("rewrite/no_name", model(text="Please count how often a height is above the one before.")),
        ("rewrite/holds_code", model(text=TOLD + "\n```python\npass\n```")),
        ("cleaning/no_function", model(lambda *_: "def other(): return 1")),
        ("tests/wrong_example", model(settled=SETTLED.replace("    1\n", "    7\n"))),
        ("tests/none_left", model(tests=["assert count_rising_steps([1]) == 9"])),
        ("score/low", model(score=2)),
    ],
)
def test_every_loss_of_a_task_has_its_name(tmp_path: Path, reason: str, scripted: ScriptedModel) -> None:
    summary = run_scripted(config(1, variants=["leetcode"]), tmp_path, scripted)
    assert summary["by_reason"] == {reason: 1}


@pytest.mark.bubblewrap
def test_a_task_ends_where_corrections_fail(tmp_path: Path) -> None:
    turns = iter([thought(WRONG), *[thought(SHY)] * 9])
    scripted = model(lambda *_: next(turns), tests=[*TESTS, "assert count_rising_steps([1, 2]) == 1"])
    summary = run_scripted(config(1, variants=["chat"], attempts=2, rounds=2), tmp_path, scripted)
    assert summary["by_reason"] == {"tests/no_solution_passes": 1}
    assert scripted.count_by_role()["solver"] == 4


@pytest.mark.bubblewrap
def test_titles_are_unique_over_a_run(tmp_path: Path) -> None:
    wanted = {**config(4, variants=["chat"]), "judges": [{"name": "duplicates", "of": "metadata.title"}]}
    assert run_scripted(wanted, tmp_path, model())["by_reason"] == {"run/duplicates": 3}


# --- by rule ---------------------------------------------------------------------------------------------------------


@pytest.mark.bubblewrap
def test_the_contract_by_rule(tmp_path: Path) -> None:
    summary = check_generator(config(24, paraphrase=False, **BY_RULE), tmp_path)
    assert summary["accepted"] >= 21, summary["by_reason"]
    made = records(tmp_path / "one")
    assert {record["category"] for record in made} == {"chat", "leetcode"}
    for record in made:
        metadata, asked, solution = record["metadata"], record["messages"][0]["content"], code_of(record)
        assert (metadata["mode"], metadata["phrasing"], record["reasoning"]) == ("exercises", "template", "off")
        assert metadata["cell"]["variant"] == record["category"] and metadata["cell"]["difficulty"] in (
            "easy",
            "medium",
        )
        assert not re.search(r"```|>>>|\bdef\b|->.*:$|\{\{|\{%", asked, re.MULTILINE), asked
        (function,) = ast.parse(solution).body
        assert isinstance(function, ast.FunctionDef) and ast.get_docstring(function) is None
        called = f"`{function.name}({', '.join(argument.arg for argument in function.args.args)})`"
        assert called in asked and metadata["code"]["entry_point"] == function.name
        assert 5 <= len(metadata["title"].split()) <= 8
        assert metadata["title"] in asked or record["category"] == "chat"
        assert metadata["mutants_killed"] >= 0.8 and len(metadata["code"]["tests"]) >= 6
        assert [verdict["passed"] for verdict in record["verdicts"]] == [True]


@pytest.mark.bubblewrap
def test_the_tests_of_a_posed_exercise_notice_its_mutants(tmp_path: Path) -> None:
    run_scripted(config(8, paraphrase=False, **BY_RULE), tmp_path)
    made = killed = 0
    for record in records(tmp_path):
        for mutant in mutants(code_of(record)):
            made += 1
            killed += not passed(mutant, record["metadata"]["code"]["tests"])
    assert made > 10 and killed >= 0.8 * made


@pytest.mark.bubblewrap
def test_the_recipe_keeps_one_of_each_title_and_no_rewording_that_asks_something_else(tmp_path: Path) -> None:
    sent: list[str] = []

    def script(role: str, request: Any) -> Any:
        assert role == "paraphraser"
        sent.append(request["messages"][-1]["content"].rsplit("\n\n", 1)[1].strip())
        honest = sent[-1].replace(" the ", " ", 1)
        return {"text": honest if len(sent) % 2 else f"{sent[-1]} Ignore the last element."}

    recipe = load_config(RECIPE, ["samples=16", "params.paraphrase_share=1"], RunConfig)
    summary = run_scripted(recipe.model_dump(mode="json", exclude_unset=True), tmp_path, ScriptedModel(script))
    made = records(tmp_path)
    assert len(made) == summary["accepted"] == 16 and len({record["metadata"]["title"] for record in made}) == 16
    assert Counter(verdict["name"] for record in made for verdict in record["verdicts"]) == {
        "python_tests": 16,
        "duplicates": 16,
    }
    phrasings = Counter(record["metadata"]["phrasing"] for record in made)
    assert phrasings["paraphrase"] >= 4 and phrasings["template"] >= 6
    for record in made:
        asked, metadata = record["messages"][0]["content"], record["metadata"]
        assert "Ignore the last element" not in asked
        if metadata["phrasing"] == "paraphrase":
            assert metadata["template"] in sent and metadata["template"] not in asked
        else:
            assert any(text in asked for text in sent)


def test_constraints_hold_for_every_input_and_titles_have_their_length() -> None:
    rng = Random(11)
    for source, fold in (pair for category in CATEGORIES for pair in pairs_of(category)):
        exercise = compose(source, fold, rng.choice(list(domains()[source.domains].values())), rng)
        inputs = make_inputs(exercise, rng)
        cases = [exercises.Case(arguments, "0", frozenset()) for arguments in inputs]
        said = constraints_of(exercise, cases)
        assert len(said) == len(inputs[0])
        for number, constraint in enumerate(said):
            for arguments in inputs:
                assert within(arguments[number], constraint), (arguments[number], constraint)
        title = title_of(exercise)
        assert checked_title(title) == title and title[0].isupper() and "_" not in title


def within(value: Any, constraint: str) -> bool:
    """Whether a constraint's words are true of the value."""
    numbers = [int(number) for number in re.findall(r"-?\d+", constraint.split("` ")[1])]
    match value:
        case str() if "one lower-case letter" in constraint:
            return len(value) == 1 and value.islower()
        case int():
            low, high = numbers
            return low <= value <= high
        case str():
            return len(value) <= numbers[0]
        case _:
            items = list(value.values()) if isinstance(value, dict) else value
            inner = constraint.replace(f"at most {numbers[0]}", "", 1)
            return len(items) <= numbers[0] and all(within(item, inner) for item in items)


@pytest.mark.bubblewrap
def test_losses_by_rule_have_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exercises, "KILLED", 1.1)
    lost = run_scripted(config(2, paraphrase=False, **BY_RULE), tmp_path / "exercise")["by_reason"]
    assert lost == {"exercise/unsuited": 2}


def test_exercises_have_no_base_model() -> None:
    with pytest.raises(ConfigError, match="variants"):
        make_plan(RunConfig.model_validate(config(1, mode="exercises")))


def test_both_variants_come_for_every_category() -> None:
    cells = list(islice(posed_cells(CATEGORIES, ["chat", "leetcode"], 0), 400))
    counts = Counter((cell.category, cell.variant) for cell in cells)
    assert len(counts) == 8 and set(counts.values()) == {50}
    axes = Algorithmic(Params.model_validate(BY_RULE)).coverage_axes()
    assert all(getattr(cell, axis) in axes[axis] for cell in cells for axis in axes)


@pytest.mark.bubblewrap
@pytest.mark.slow
def test_the_recipe_makes_varied_problems(tmp_path: Path) -> None:
    recipe = load_config(RECIPE, ["params.paraphrase=false", "samples=160"], RunConfig)
    run_scripted(recipe.model_dump(mode="json", exclude_unset=True), tmp_path)
    made = records(tmp_path)
    assert len(made) == 160 and all(v["passed"] for record in made for v in record["verdicts"])
    assert len({normalised_hash(code_of(record)) for record in made}) >= 150
    for variant in ("chat", "leetcode"):
        asked = [record["messages"][0]["content"] for record in made if record["category"] == variant]
        figures = diversity([without_context(text) for text in asked])
        assert figures["distinct_3"] >= 0.45 and figures["self_bleu_4"] <= 0.70 and figures["neighbour"] <= 0.35


# --- recipes and examples --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", ["algorithmic", "algorithmic_teacher", "code_concepts", "code_concepts_teacher"])
def test_recipes_are_valid(recipe: str) -> None:
    assert make_plan(load_config(ROOT / f"recipes/generate/{recipe}.yaml", [], RunConfig)).judges


@pytest.mark.bubblewrap
def test_the_examples_are_what_the_generator_would_keep() -> None:
    lines = (Algorithmic.folder() / "examples.jsonl").read_bytes().splitlines()
    assert len(lines) == 3
    made = killed = 0
    for line in lines:
        record = Record.model_validate_json(line)
        problem = read_problem(str(record.metadata["problem"]))
        assert problem.text in record.messages[0].content
        assert 5 <= len(str(record.metadata["title"]).split()) <= 8
        body = clean(record.messages[1].content, problem, max_lines=80)
        code: Any = record.metadata["code"]
        assert passed(problem.with_body(body), [*example_tests(problem.docstring), *code["tests"]])
        for mutant in mutants(problem.with_body(body)):
            made += 1
            killed += not passed(mutant, code["tests"])
    assert made > 10 and killed >= 0.8 * made
