"""The generator code_concepts: both modes, every way a task can end, and the three example records."""

import ast
import asyncio
import importlib
import re
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from itertools import islice
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

import generators.code_concepts.exercises as exercises
from generators.code_concepts import CodeConcepts
from generators.code_concepts.concepts import bundled_concepts, combinations, merge
from generators.code_concepts.exercises import exercise_axes, exercise_cells, exercise_code
from generators.code_concepts.exercises.compose import Exercise, compose
from generators.code_concepts.exercises.grammar import Fold, Source, domains, grammar, pairs_of
from generators.code_concepts.exercises.inputs import make_inputs
from gristmill import Reject
from gristmill.config import load_config
from gristmill.errors import ConfigError
from gristmill.llm import Reply
from gristmill.plan import make_plan
from gristmill.sandbox import SandboxLimits
from gristmill.sandbox.pool import open_pool
from gristmill.sandbox.solutions import read_reports, snippet_of_tests
from gristmill.testing import ScriptedModel, check_generator, run_scripted
from gristmill.text.diversity import diversity, without_context
from judges.mutants import mutants
from judges.python_cleaning import clean, normalised_hash
from judges.python_problem import example_tests, read_problem
from judges.python_trials import pass_at
from judges.rewording import check_rewording, plain_words
from schemas import Message, Record, Usage
from schemas.run_config import RunConfig

ROOT = Path(__file__).parents[1]
SERVED = {"endpoint": "http://scripted.invalid/v1", "model": "scripted"}
ROLES = dict.fromkeys(("default", "paraphraser", "writer", "tester", "solver", "extractor"), SERVED)
RECIPE = ROOT / "recipes/generate/code_concepts.yaml"
CATEGORIES: Any = ["lists", "strings", "numbers", "dictionaries"]


def config(tasks: int, **params: Any) -> dict[str, Any]:
    judges = [{"name": "python_tests"}]
    return {"generator": "code_concepts", "tasks": tasks, "models": ROLES, "judges": judges, "params": params}


def records(run: Path) -> list[dict[str, Any]]:
    rows = pq.read_table(run / "records").to_pylist()
    return [{**row, "metadata": orjson.loads(row["metadata"])} for row in rows]


def rejects(run: Path) -> list[dict[str, Any]]:
    return list(pq.read_table(run / "rejects").to_pylist())


def code_of(record: dict[str, Any]) -> str:
    return str(record["messages"][-1]["content"]).removeprefix("```python\n").removesuffix("\n```")


def passed(solution: str, tests: list[str]) -> bool | None:
    """Whether it passes in the sandbox."""

    async def run() -> bool | None:
        with open_pool() as pool:
            return read_reports(
                await pool.run(snippet_of_tests(solution, tests, SandboxLimits())), solution, tests
            ).passed

    return asyncio.run(run())


# --- exercises -------------------------------------------------------------------------------------------------------


@pytest.mark.bubblewrap
def test_the_contract_by_exercises(tmp_path: Path) -> None:
    summary = check_generator(config(40, paraphrase=False), tmp_path)
    assert summary["accepted"] >= 36, summary["by_reason"]
    for record in records(tmp_path / "one"):
        metadata, solution = record["metadata"], code_of(record)
        problem = read_problem(metadata["problem"])
        assert (metadata["mode"], metadata["phrasing"], record["reasoning"]) == ("exercises", "template", "off")
        assert metadata["problem"] in record["messages"][0]["content"] and solution.startswith(metadata["problem"])
        assert metadata["code"]["entry_point"] == problem.name and len(metadata["code"]["tests"]) >= 6
        assert metadata["mutants_killed"] >= 0.8
        assert record["category"] == metadata["cell"]["category"]
        assert [verdict["passed"] for verdict in record["verdicts"]] == [True]


@pytest.mark.bubblewrap
def test_the_tests_of_an_exercise_notice_its_mutants_and_its_examples_hold(tmp_path: Path) -> None:
    run_scripted(config(12, paraphrase=False), tmp_path)
    made = killed = 0
    for record in records(tmp_path):
        solution, problem = code_of(record), read_problem(record["metadata"]["problem"])
        assert passed(solution, example_tests(problem.docstring))
        body = solution.removeprefix(problem.text)
        for mutant in mutants(problem.text.split('"""')[0] + body):
            made += 1
            killed += not passed(mutant, record["metadata"]["code"]["tests"])
    assert made > 15 and killed >= 0.8 * made


def test_every_pair_of_source_and_fold_composes_a_program_that_parses() -> None:
    rng = Random(7)
    for category in CATEGORIES:
        pairs = list(pairs_of(category))
        assert len(pairs) > 30
        for source, fold in pairs:
            for domain in domains()[source.domains].values():
                exercise = compose(source, fold, domain, rng)
                tree = ast.parse(f"{exercise.signature}\n{exercise.body}\n")
                assert len(tree.body) == 1
                assert "$" not in exercise.text and not re.search(r",[,.;]|  |\.\.", exercise.text), exercise.text
                if exercise.parameter:
                    assert f"`{exercise.parameter.name}`" in exercise.text


def test_all_forms_of_an_exercise_compute_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    modules: list[str] = []
    groups: list[tuple[list[str], list[Any]]] = []
    for number, (source, fold) in enumerate(pair for category in CATEGORIES for pair in pairs_of(category)):
        for draw in range(3):
            seed = f"{number}|{draw}"
            domain = Random(seed).choice(list(domains()[source.domains].values()))
            # One form at a time, and the rng draws the same plan for each.
            variants = [
                compose(source, fold.model_copy(update={"code": [form]}), domain, Random(seed)) for form in fold.code
            ]
            names = [f"f_{number}_{draw}_{form}" for form in range(len(variants))]
            for name, exercise in zip(names, variants, strict=True):
                assert exercise.text.split(".")[0] == variants[0].text.split(".")[0]
                modules.append(
                    f"{exercise.signature}\n{exercise.body}\n".replace(f"def {exercise.name}(", f"def {name}(")
                )
            groups.append((names, make_inputs(variants[0], Random(seed))))
    (tmp_path / "all_forms.py").write_text("\n\n".join(modules), encoding="utf-8")
    functions = importlib.import_module("all_forms")
    for names, inputs in groups:
        for arguments in inputs:
            results = [getattr(functions, name)(*deepcopy(arguments)) for name in names]
            assert all(result == results[0] for result in results), (names, arguments, results)
    assert sum(len(names) > 1 for names, _ in groups) > 500


def composed(seeds: int = 3) -> Iterator[Exercise]:
    """Exercises of every pair of source and fold."""
    for seed in range(seeds):
        rng = Random(seed)
        for source, fold in (pair for category in CATEGORIES for pair in pairs_of(category)):
            yield compose(source, fold, rng.choice(list(domains()[source.domains].values())), rng)


def test_every_variable_of_a_solution_is_used() -> None:
    """No loop over entries whose keys nobody reads."""
    for exercise in composed():
        names = [node for node in ast.walk(ast.parse(exercise_code(exercise))) if isinstance(node, ast.Name)]
        stored, loaded = ({n.id for n in names if isinstance(n.ctx, kind)} for kind in (ast.Store, ast.Load))
        assert stored - loaded <= {"_"}, exercise.body


def test_the_words_of_an_exercise() -> None:
    for exercise in composed():
        assert not re.search(r"\ban `[^aeiou]|\ba `[aeiou]|,[,.;:]|  ", exercise.text), exercise.text
        if exercise.source.key == "digits":
            assert "% 10" not in exercise.body, "the last digit of a digit is the digit"


def test_what_does_nothing_has_a_rival_that_computes_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Integers of a range are distinct and rise; what is above 3 has no sign to lose."""
    monkeypatch.syspath_prepend(tmp_path)
    changes = {change.key for change in grammar().changes}
    for source, name, fold, changed, rival in (
        ("span", "from_house", "unique", set[str](), -1),
        ("span", "from_house", "running_best", set[str](), -1),
        ("span", "from_house", "distinct", set[str](), -1),
        ("items", "deltas", "largest", {"magnitude"}, 1),
    ):
        domain = domains()[source_of(source).domains][name]
        drawn = (compose(source_of(source), fold_of(fold), domain, Random(seed)) for seed in range(400))
        idle = next(
            e for e in drawn if set(e.operations) & changes == changed and (not changed or "above" in e.operations)
        )
        module = "\n".join(
            f"{idle.signature}\n{body}\nf{n} = {idle.name}" for n, body in enumerate((idle.body, idle.rivals[rival]))
        )
        (tmp_path / f"idle_{fold}.py").write_text(module, encoding="utf-8")
        functions = importlib.import_module(f"idle_{fold}")
        for arguments in make_inputs(idle, Random(1)):
            assert functions.f0(*arguments) == functions.f1(*arguments)


def source_of(key: str) -> Source:
    return next(source for source in grammar().sources if source.key == key)


def fold_of(key: str) -> Fold:
    return next(fold for fold in grammar().folds if fold.key == key)


@pytest.mark.bubblewrap
def test_an_exercise_in_which_a_part_does_nothing_is_unsuited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    houses = domains()["spans"]["from_house"]
    drawn = (compose(source_of("span"), fold_of("unique"), houses, Random(seed)) for seed in range(100))
    idle = next(exercise for exercise in drawn if len(exercise.operations) == 2)  # a test and the fold
    monkeypatch.setattr(exercises, "compose", lambda *_: idle)
    assert run_scripted(config(2, paraphrase=False), tmp_path)["by_reason"] == {"exercise/unsuited": 2}


def test_no_name_of_a_domain_is_one_that_the_forms_use() -> None:
    codes = [code for fold in grammar().folds for code in fold.code] + [test.code for test in grammar().tests]
    codes += [code for change in grammar().changes for code in change.code]
    taken = {word for code in codes for word in re.findall(r"(?<![$\w.])[a-z_]+\b", code)} | {"value"}
    assert {"for", "total", "longest"} <= taken
    for domain in (domain for subjects in domains().values() for domain in subjects.values()):
        names = [name.replace(" ", "_") for name in (domain.many, domain.other, domain.one, domain.second, domain.key)]
        given = [name for name in names if name]
        assert len(set(given)) == len(given) and not taken & set(given), domain


def test_cells_are_even_and_cover_every_axis() -> None:
    cells = list(islice(exercise_cells(CATEGORIES, 3), 400))
    assert set(Counter(cell.category for cell in cells).values()) == {100}
    axes = exercise_axes(CATEGORIES)
    assert {cell.source for cell in cells} == set(axes["source"])
    assert {cell.fold for cell in cells} == set(axes["fold"])
    assert cells != list(islice(exercise_cells(CATEGORIES, 4), 400))


@pytest.mark.bubblewrap
def test_an_exercise_whose_tests_notice_too_little_is_unsuited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exercises, "KILLED", 1.1)
    summary = run_scripted(config(2, paraphrase=False), tmp_path)
    assert summary["by_reason"] == {"exercise/unsuited": 2}


@pytest.mark.bubblewrap
def test_a_rewording_replaces_the_text_only_if_it_asks_the_same(tmp_path: Path) -> None:
    def faithful(role: str, request: Any) -> Any:
        text = request["messages"][0]["content"].split("\n\n")[-1]
        return {"text": re.sub(r"\b(Return|Compute|Find|Work out|Determine|Calculate)\b", "Please give", text)}

    run_scripted(config(12), tmp_path / "good", ScriptedModel(faithful))
    reworded = [record["metadata"] for record in records(tmp_path / "good")]
    assert sum(metadata["phrasing"] == "paraphrase" for metadata in reworded) >= 5
    for metadata in reworded:
        if metadata["phrasing"] == "paraphrase":
            assert "Please give" in " ".join(metadata["problem"].split()) and metadata["template"]

    def wrong(role: str, request: Any) -> Any:
        return {"text": "Please do not do " + request["messages"][0]["content"].split("\n\n")[-1]}

    run_scripted(config(6), tmp_path / "bad", ScriptedModel(wrong))
    for record in records(tmp_path / "bad"):
        assert record["metadata"]["phrasing"] == "template" and record["metadata"]["paraphrase_problems"]


TEMPLATE = (
    "`scores` comes from a quiz. Return the largest of the squares of the scores that are above `limit`, "
    "second minus first. If there are none, the result is -1."
)


@pytest.mark.parametrize(
    ("change", "to"),
    [
        ("largest", "smallest"),  # operation
        ("above", "at least"),  # limit, taken in
        ("above", "below"),  # direction
        ("that are above", "that are not above"),  # negation
        ("`limit`", "`bound`"),  # name
        ("`limit`", "10"),
        ("-1", "1"),  # literal
        ("second minus first", "first minus second"),  # order
        ("largest of the squares", "squares of the largest"),
        ("squares of the ", ""),
        ("none", "any"),
        ("scores that", "even scores that"),
        ("largest", "two largest"),
        (" If there are none, the result is -1.", ""),
    ],
)
def test_a_rewording_that_asks_something_else_is_caught(change: str, to: str) -> None:
    assert change in TEMPLATE
    assert check_rewording(TEMPLATE.replace(change, to, 1), TEMPLATE)


@pytest.mark.parametrize(
    "rewording",
    [
        TEMPLATE,
        "`scores` comes from a quiz. Find the maximum of the squares of those scores which are above `limit`, second "
        "minus first. When there are none, give -1.",
        "If there are none, return -1. `scores` comes from a quiz. Determine the greatest of the squares of the scores "
        "above `limit`, second minus first.",
    ],
)
def test_a_rewording_that_asks_the_same_passes(rewording: str) -> None:
    assert check_rewording(rewording, TEMPLATE) == []


def test_no_word_that_says_something_can_be_left_out_or_change_its_place() -> None:
    tried = 0
    for number, cell in enumerate(islice(exercise_cells(CATEGORIES, 5), 60)):
        source, fold = next(
            (source, fold)
            for source, fold in pairs_of(cell.category)
            if (source.key, fold.key) == (cell.source, cell.fold)
        )
        text = compose(source, fold, domains()[source.domains][cell.domain], Random(number)).text
        assert check_rewording(text, text) == []
        words = text.split(" ")
        plain = [word.strip(".,;:()?").lower() for word in words]
        telling = [place for place, word in enumerate(plain) if word and word not in plain_words().empty]
        for place in telling:
            tried += 1
            assert check_rewording(" ".join(words[:place] + words[place + 1 :]), text), (words[place], text)
            if place + 1 in telling and plain[place] != plain[place + 1]:
                swapped = [*words[:place], words[place + 1], words[place], *words[place + 2 :]]
                assert check_rewording(" ".join(swapped), text), (words[place : place + 2], text)
    assert tried > 1000


@pytest.mark.bubblewrap
@pytest.mark.shared
@pytest.mark.slow
def test_the_recipe_makes_varied_exercises_of_the_length_of_mbpp(tmp_path: Path, shared_data: Path) -> None:
    recipe = load_config(RECIPE, ["params.paraphrase=false", "samples=160"], RunConfig)
    run_scripted(recipe.model_dump(mode="json", exclude_unset=True), tmp_path)
    made = records(tmp_path)
    assert len(made) == 160 and all(v["passed"] for record in made for v in record["verdicts"])
    assert len({normalised_hash(code_of(record)) for record in made}) >= 150

    def body_length(code: str) -> int:
        function = [part for part in ast.parse(code).body if isinstance(part, ast.FunctionDef)][-1]
        statements = function.body[1:] if ast.get_docstring(function) else function.body
        return len(ast.unparse(ast.Module(statements, [])))

    lines = (shared_data / "code_benchmarks/mbpp_1_510.jsonl").read_text(encoding="utf-8").splitlines()
    programs = [orjson.loads(line)["code"].replace("\r\n", "\n") for line in lines]
    theirs = median(body_length(program) for program in programs if "def " in program and parses(program))
    assert 0.5 * theirs <= median(body_length(code_of(record)) for record in made) <= 2 * theirs
    for category in CATEGORIES:
        figures = diversity([without_context(r["messages"][0]["content"]) for r in made if r["category"] == category])
        assert figures["distinct_3"] >= 0.45 and figures["self_bleu_4"] <= 0.70 and figures["neighbour"] <= 0.35


def parses(program: str) -> bool:
    try:
        ast.parse(program)
    except SyntaxError:
        return False
    return True


# --- problems and cleaning -------------------------------------------------------------------------------------------

PROBLEM = '''from math import gcd

def halve_all_values(values: list[int], by: int = 2) -> list[int]:
    """Return each value divided by `by`, rounded down.

    >>> halve_all_values([5, 2])
    [2, 1]
    >>> halve_all_values([])
    []
    """'''


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("unparseable", PROBLEM.replace("->", "=>")),
        ("several_functions", PROBLEM + "\n    pass\n\ndef other_one(): ..."),
        ("several_functions", PROBLEM + "\n\nprint(1)"),
        ("has_body", PROBLEM + "\n    return values"),
        ("vague_name", PROBLEM.replace("halve_all_values", "halve")),
        ("untyped", PROBLEM.replace("values: list[int]", "values")),
        ("untyped", PROBLEM.replace(" -> list[int]", "")),
        ("no_examples", re.sub(r">>>.*\n.*\n", "", PROBLEM)),
    ],
)
def test_what_is_no_problem(reason: str, text: str) -> None:
    with pytest.raises(Reject) as fault:
        read_problem(text)
    assert (fault.value.stage, fault.value.reason) == ("problem", reason)


def fenced(code: str) -> str:
    return f"Here you are:\n\n```python\n{code}\n```\nIt works."


SIGNATURE = "def halve_all_values(values: list[int], by: int = 2) -> list[int]:"
DONE = f"{SIGNATURE}\n    return [value // by for value in values]"


@pytest.mark.parametrize(
    ("reason", "reply"),
    [
        ("no_code", ""),
        ("no_code", fenced("x = 1") + "\n" + fenced("y = 2")),
        ("imports", fenced("import os\n" + DONE)),
        ("imports", fenced(f"{SIGNATURE}\n    from math import sqrt\n    return values")),
        ("imports", fenced(f"{SIGNATURE}\n    return __import__('os').environ")),
        ("imports", fenced("import os\n" + DONE + ")")),  # (a) comes before (c)
        ("no_function", fenced(DONE.replace("halve_all_values", "halve"))),
        ("no_function", fenced(f'{SIGNATURE}\n    """Only words."""')),
        ("unparseable", fenced(DONE + ")")),
        ("unparseable", "I can't do that."),
        ("signature", fenced(DONE.replace("by: int = 2", "by: int = 3"))),
        ("signature", fenced(DONE.replace("def ", "async def "))),
        ("signature", fenced(DONE.replace(" -> list[int]", ""))),
        ("too_long", fenced(f"{SIGNATURE}\n" + "    values = values\n" * 10 + "    return values")),
    ],
)
def test_what_cleaning_rejects(reason: str, reply: str) -> None:
    with pytest.raises(Reject) as fault:
        clean(reply, read_problem(PROBLEM), max_lines=10)
    assert (fault.value.stage, fault.value.reason) == ("cleaning", reason)


@pytest.mark.parametrize(
    ("reply", "body"),
    [
        (fenced(DONE), "    return [value // by for value in values]"),
        (DONE, "    return [value // by for value in values]"),
        (f"{SIGNATURE} return values", "    return values"),
        (f"from math import gcd\n{SIGNATURE}\n  '''Mine.'''\n  # why\n  if by:\n    pass\n  return values",
         "    # why\n    if by:\n      pass\n    return values"),
        (f"{SIGNATURE}\n\tif by:\n\t\tby = 1\n\treturn values", "    if by:\n    \tby = 1\n    return values"),
        (f"{SIGNATURE}\n    é = 'ü'; return values", "    é = 'ü'; return values"),
        (fenced("x = 1") + fenced(DONE), "    return [value // by for value in values]"),
        (f"{SIGNATURE}\n    text = 'import os'\n    return values", "    text = 'import os'\n    return values"),
    ],
)  # fmt: skip
def test_only_the_body_stays(reply: str, body: str) -> None:
    problem = read_problem(PROBLEM)
    assert clean(reply, problem, max_lines=10) == body
    assert ast.parse(problem.with_body(body))


def test_examples_become_tests() -> None:
    raising = ">>> f(-1)\nTraceback (most recent call last):\nValueError: no\n>>> f(0)\n"
    docstring = f">>> f(1)\n2.0\n>>> x = 3\n>>> f(x)\nPoint(1)\n{raising}"
    simple, built, raising = example_tests(docstring)
    assert simple == "assert (f(1)) == 2.0"
    assert built == "x = 3\nassert repr(f(x)) == 'Point(1)'"
    assert raising.startswith("x = 3\ntry:\n    f(-1)\nexcept ValueError:")


def test_programs_that_differ_in_names_are_the_same() -> None:
    one = 'def double(n: int) -> int:\n    """Doc."""\n    total = 2 * n  # twice\n    return total\n'
    assert normalised_hash(one) == normalised_hash("def twice(x):\n    y = 2*x\n    return y")
    assert normalised_hash(one) != normalised_hash("def twice(x):\n    y = x*2\n    return y")
    assert normalised_hash(one) != normalised_hash("def twice(x):\n    y = 3*x\n    return y")
    assert normalised_hash("def f(a, b): return a - b") != normalised_hash("def f(a, b): return b - a")


# --- concepts --------------------------------------------------------------------------------------------------------


def test_there_are_91_concepts() -> None:
    assert len(set(bundled_concepts())) == len(bundled_concepts()) == 91


def test_combinations_are_even_unique_and_complete() -> None:
    first = list(islice(combinations(bundled_concepts(), 4, 0), 4000))
    assert len({tuple(combination) for combination in first}) == 4000
    assert first == list(islice(combinations(bundled_concepts(), 4, 0), 4000))
    assert first != list(islice(combinations(bundled_concepts(), 4, 1), 4000))
    counts = Counter(concept for combination in first for concept in combination)
    assert len(counts) == 91 and max(counts.values()) - min(counts.values()) <= 9
    every = [tuple(combination) for combination in combinations("abcdefgh", 4, 5)]
    assert len(every) == len(set(every)) == 8 + 28 + 56 + 70


def test_spellings_of_a_concept_are_merged() -> None:
    said = Counter(
        {"Sorting lists": 3, "list sorting": 2, "Binary-searches": 1, "binry search": 1, "use of Recursion": 2}
    )
    assert merge(said) == {
        "sorting lists": ["Sorting lists", "list sorting"],
        "recursion": ["use of Recursion"],
        "binary search": ["Binary-searches", "binry search"],
    }


def test_concepts_come_from_a_corpus(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_bytes(b"\n".join(orjson.dumps({"text": f"problem {number}"}) for number in range(6)))

    def script(role: str, request: Any) -> Any:
        if role == "extractor":
            number = int(request["messages"][0]["content"].rsplit(" ", 1)[1])
            return "no JSON" if number == 5 else {"concepts": ["Stack", ["closures", "knitting patterns"][number % 2]]}
        return {"problem": "x" * 50}

    teacher = config(20, mode="teacher", corpus=str(corpus), max_concepts=2, problems=1)
    run_scripted(teacher, tmp_path / "run", ScriptedModel(script))
    listed = orjson.loads((tmp_path / "run/artifacts/concepts.json").read_bytes())
    assert [concept["name"] for concept in listed["concepts"]] == ["stacks", "closures"]
    assert (listed["items"], listed["unreadable"]) == (6, 1)
    assert len(rejects(tmp_path / "run")) == 3  # two alone, and both


@pytest.mark.parametrize(
    ("params", "said"),
    [({"corpus": "x.jsonl"}, "mode: teacher"), ({"mode": "teacher", "corpus": "absent.jsonl"}, "doesn't exist")],
)
def test_a_wrong_corpus_is_a_config_error(params: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_plan(RunConfig.model_validate(config(1, **params)))


# --- the teacher -----------------------------------------------------------------------------------------------------

GOOD = [
    "assert halve_all_values([9], 3) == [3]",
    "assert halve_all_values([7]) == [3]",
    "assert halve_all_values([-1]) == [-1]",
]
WRONG = "assert halve_all_values([4]) == [3]"
IDLE = "halve_all_values([4])"
RENAMED = f"{SIGNATURE}\n    return [number // by for number in values]"
LOOP = f"{SIGNATURE}\n    halves = []\n    for value in values:\n        halves.append(value // by)\n    return halves"
OFF = f"{SIGNATURE}\n    return [int(value / by) for value in values]"


def teaching(
    problem: str = PROBLEM, tests: list[str] | None = None, answers: tuple[Any, ...] = (DONE, RENAMED, LOOP, OFF, "?")
) -> ScriptedModel:
    turns = iter(answers * 20)

    def script(role: str, request: Any) -> Any:
        if role == "writer":
            return {"problem": problem}
        if role == "tester":
            return {"tests": tests if tests is not None else [*GOOD, WRONG, IDLE, "assert True"]}
        answer = next(turns)
        return (
            answer
            if not isinstance(answer, str)
            else Message(
                role="assistant",
                content=fenced(answer) if answer.startswith("def") else answer,
                reasoning_content="Halving.",
            )
        )

    return ScriptedModel(script)


@pytest.mark.bubblewrap
def test_the_contract_by_teacher(tmp_path: Path) -> None:
    summary = check_generator(config(3, mode="teacher"), tmp_path, teaching())
    assert summary["accepted"] == 3 and summary["records"] == 6, summary["by_reason"]
    first, second, *_ = records(tmp_path / "one")
    assert (code_of(first), code_of(second)) == tuple(PROBLEM + part.removeprefix(SIGNATURE) for part in (DONE, LOOP))
    assert first["messages"][1]["reasoning_content"] == "Halving." and first["reasoning"] == "on"
    metadata = first["metadata"]
    assert metadata["code"]["tests"] == [*example_tests(read_problem(PROBLEM).docstring), *GOOD]
    assert (
        metadata["tests_rejected"] == 2
    )  # the wrong one, and the one that says nothing; `assert True` is no test of it
    assert metadata["attempts_lost"] == {"cleaning/unparseable": 1}
    assert metadata["difficulty"] == {
        "attempts": 5, "passed": 3, "pass@1": 0.6, "pass@2": 0.9, "pass@3": 1.0, "pass@4": 1.0, "pass@5": 1.0,
    }  # fmt: skip
    assert len(metadata["cell"]["concepts"]) == metadata["cell"]["size"] == int(first["category"][0])


@pytest.mark.bubblewrap
@pytest.mark.parametrize(
    ("reason", "model"),
    [
        ("problem/has_body", teaching(problem=DONE + "\n" * 40)),
        ("tests/wrong_example", teaching(problem=PROBLEM.replace("[2, 1]", "[2, 9]"))),
        ("tests/none_left", teaching(tests=[WRONG, IDLE])),
        ("tests/no_solution_passes", teaching(tests=[GOOD[2], GOOD[2].replace("== [-1]", "== [0]")])),
        ("cleaning/imports", teaching(answers=("import os\n" + DONE,))),
        ("cleaning/signature", teaching(answers=(DONE.replace("by: int", "by"),))),
        ("cleaning/too_long", teaching(answers=(f"{SIGNATURE}\n" + "    values = values\n" * 61,))),
        ("cleaning/no_function", teaching(answers=("def other(): return 1",))),
        ("cleaning/unparseable", teaching(answers=("?",))),
        ("cleaning/no_code", teaching(answers=("```\nx\n```\n```\ny\n```",))),
        ("llm/truncated", teaching(answers=(Reply(Message(role="assistant", content="def"), "length", Usage(), "m"),))),
    ],
)  # fmt: skip
def test_every_loss_of_a_task_has_its_name(tmp_path: Path, reason: str, model: ScriptedModel) -> None:
    summary = run_scripted(config(1, mode="teacher"), tmp_path, model)
    assert summary["by_reason"] == {reason: 1}


def test_pass_at_k_is_the_unbiased_estimate() -> None:
    assert pass_at(5, 1) == {
        "attempts": 5, "passed": 1, "pass@1": 0.2, "pass@2": 0.4, "pass@3": 0.6, "pass@4": 0.8, "pass@5": 1.0,
    }  # fmt: skip


# --- the examples ----------------------------------------------------------------------------------------------------


@pytest.mark.bubblewrap
def test_the_examples_are_what_the_generator_would_keep() -> None:
    lines = (CodeConcepts.folder() / "examples.jsonl").read_bytes().splitlines()
    assert len(lines) == 3
    made = killed = 0
    for line in lines:
        record = Record.model_validate_json(line)
        problem = read_problem(str(record.metadata["problem"]))
        code: Any = record.metadata["code"]
        assert problem.text in record.messages[0].content
        body = clean(record.messages[1].content, problem, max_lines=60)
        assert record.messages[1].content == f"```python\n{problem.with_body(body).rstrip()}\n```"
        tests = code["tests"]
        assert passed(problem.with_body(body), [*example_tests(problem.docstring), *tests])
        for mutant in mutants(problem.with_body(body)):
            made += 1
            killed += not passed(mutant, tests)
    assert made > 10 and killed >= 0.8 * made


def test_a_docstring_is_the_question() -> None:
    asked = f"Could you do this?\n\n```python\n{PROBLEM}\n```"
    assert without_context(asked) == "Return each value divided by `by`, rounded down."
