"""Exercises: problems composed by rule, with a reference solution that is right by construction, and tests that bite.

    cell         source "items" (a list of numbers), fold "sum", domain "scores"
    problem      def total_of_squared_odd_scores(scores: list[int]) -> int: ...
    tests        assert total_of_squared_odd_scores([]) == 0, assert total_of_squared_odd_scores([3, 4]) == 9, ...

The tests' inputs are chosen in the sandbox, by the one-operator mutants of the solution that they tell from it: a
record's tests kill at least four in five. A model only rewords the description, and the rule's wording stays where the
rewording would change what is asked.
"""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Protocol

import orjson

from generators.code_concepts.exercises.compose import Exercise, compose
from generators.code_concepts.exercises.grammar import Category, domains, grammar, pairs_of
from generators.code_concepts.exercises.inputs import Arguments, make_inputs
from gristmill import Context, Record, Reject
from gristmill.errors import TaskFailed
from gristmill.walk import rounds
from judges.mutants import mutants
from judges.python_problem import read_problem
from judges.rewording import Rewords, check_rewording, reword
from schemas import Json, JsonObject, Seed, assistant, user

DRAWS = 12
"""How often an exercise is drawn anew before its cell is given up."""

TESTS = (6, 9)
"""How many tests an exercise has, at least and at most."""

KILLED = 0.8
"""The share of mutants that the tests must notice."""

LEADS = 8
WIDTH = 84

_PROBE = (Path(__file__).parent / "probe.py").read_text(encoding="utf-8")


class Exercised(Seed):
    """One task of the mode: a point of the grammar; `index` is its place in the walk."""

    category: Category
    source: str
    fold: str
    domain: str
    index: int

    def point(self) -> JsonObject:
        return self.model_dump(mode="json", exclude={"index"})


class Settings(Rewords, Protocol):
    """What the mode takes from the parameters."""

    @property
    def categories(self) -> list[Category]: ...


@dataclass(frozen=True)
class Case:
    """Arguments, the reference's result as source, and the mutants that give another."""

    arguments: Arguments = field(hash=False)
    expected: str
    kills: frozenset[int]

    def call(self, name: str) -> str:
        return f"{name}({', '.join(map(repr, self.arguments))})"

    def test(self, name: str) -> str:
        compared = "is" if self.expected in ("None", "True", "False") else "=="
        return f"assert {self.call(name)} {compared} {self.expected}"


# --- tasks -----------------------------------------------------------------------------------------------------------


def exercise_cells(categories: list[Category], seed: int) -> Iterator[Exercised]:
    """An endless walk: categories in turn; in each of them every pair of source and fold once a round, in a new order,
    and the domains of a source in rounds of their own.
    """
    rng = Random(f"{seed}|exercises")
    pairs = {category: rounds(list(pairs_of(category)), rng) for category in categories}
    subjects = {source.key: rounds(list(domains()[source.domains]), rng) for source in grammar().sources}
    index = 0
    while True:
        for category in categories:
            source, fold = next(pairs[category])
            yield Exercised(
                category=category, source=source.key, fold=fold.key, domain=next(subjects[source.key]), index=index
            )
            index += 1


def exercise_axes(categories: list[Category]) -> dict[str, list[str]]:
    """Every value that an axis of the cells can take."""
    pairs = [pair for category in categories for pair in pairs_of(category)]
    subjects = (name for source, _ in pairs for name in domains()[source.domains])
    return {
        "category": list(categories),
        "source": list(dict.fromkeys(source.key for source, _ in pairs)),
        "fold": list(dict.fromkeys(fold.key for _, fold in pairs)),
        "domain": list(dict.fromkeys(subjects)),
    }


# --- records ---------------------------------------------------------------------------------------------------------


async def by_exercise(cell: Exercised, settings: Settings, ctx: Context) -> Record:
    """The record of one cell. Reject `exercise`: unsuited."""
    exercise, cases, share = await draw_exercise(cell, ctx)
    text, phrasing = await reword(ctx, exercise.text, settings, check_rewording)
    problem = read_problem(_problem(exercise, text, shown_cases(cases, ctx.rng)))
    tests: list[Json] = [case.test(exercise.name) for case in cases]
    solution = problem.with_body(exercise.body).rstrip()
    asked = ctx.prompt("sample", lead=ctx.rng.randrange(LEADS), problem=problem.text)
    return Record(
        messages=[user(asked), assistant(f"```python\n{solution}\n```")],
        category=cell.category,
        metadata={
            "mode": "exercises",
            **phrasing,
            "cell": {**cell.point(), "operations": "+".join(exercise.operations), "form": exercise.form},
            "problem": problem.text,
            "code": {"entry_point": exercise.name, "tests": tests},
            "mutants_killed": round(share, 3),
        },
    )


async def draw_exercise(cell: Exercised, ctx: Context) -> tuple[Exercise, list[Case], float]:
    """An exercise whose tests are worth something; the literals, operations and forms are drawn until one is."""
    source = next(source for source in grammar().sources if source.key == cell.source)
    fold = next(fold for fold in grammar().folds if fold.key == cell.fold)
    domain = domains()[source.domains][cell.domain]
    fault = ""
    for _ in range(DRAWS):
        exercise = compose(source, fold, domain, ctx.rng)
        changed = list(mutants(exercise_code(exercise)))
        rivals = [exercise_code(replace(exercise, body=body)) for body in exercise.rivals]
        cases = await _probe(exercise, [*changed, *rivals], ctx)
        if fault := _shallow(exercise, cases, len(changed)):
            continue
        chosen = choose(cases, len(changed), ctx.rng)
        noticed = frozenset[int]().union(*(case.kills for case in chosen))
        killed = sum(number < len(changed) for number in noticed)
        share = killed / len(changed)
        if share >= KILLED and len(noticed) == killed + len(rivals):
            return exercise, chosen, share
        idle = killed + len(rivals) - len(noticed)
        fault = f"tests notice {share:.0%} of the mutants, and {idle} parts of the exercise do nothing"
    raise Reject("exercise", "unsuited", f"{DRAWS} draws, the last one: {fault}")


def exercise_code(exercise: Exercise) -> str:
    """The function without its docstring: what is run and mutated."""
    return f"{exercise.signature}\n{exercise.body}\n"


async def _probe(exercise: Exercise, changed: list[str], ctx: Context) -> list[Case]:
    """Inputs with the reference's results; an input that it can't take is left out."""
    inputs = make_inputs(exercise, ctx.rng)
    plan = {"name": exercise.name, "inputs": [repr(arguments) for arguments in inputs], "mutants": len(changed)}
    files = {"reference.py": exercise_code(exercise), "plan.json": orjson.dumps(plan).decode()}
    files |= {f"mutant_{number}.py": mutant for number, mutant in enumerate(changed)}
    run = await ctx.sandbox.run(_PROBE, files=files)
    if run.status != "ok":
        raise TaskFailed("sandbox", f"{run.status}: {run.complaint()}")
    found = orjson.loads(run.stdout)
    return [
        Case(arguments, value, frozenset(n for n, kills in enumerate(found["kills"]) if number in kills))
        for number, (arguments, (kind, value)) in enumerate(zip(inputs, found["expected"], strict=True))
        if kind == "ok"
    ]


def _shallow(exercise: Exercise, cases: list[Case], made: int) -> str:
    """What makes an exercise too poor: nothing to get wrong, or nearly always the same result."""
    results = [case.expected for case in cases]
    wanted = 2 if exercise.signature.endswith("bool:") else 4
    if not made:
        return "no operator that could be changed"
    if len(set(results)) < wanted or max(map(results.count, set(results))) > 0.8 * len(results):
        return "nearly the same result for all inputs"
    return ""


def choose(cases: list[Case], made: int, rng: Random) -> list[Case]:
    """The first case (the smallest input), then always the one that notices most mutants that no chosen one does;
    filled up with cases whose results are new.
    """
    least, most = TESTS
    chosen, rest = cases[:1], cases[1:]
    while rest and len(chosen) < most:
        noticed = frozenset[int]().union(*(case.kills for case in chosen))
        known = {case.expected for case in chosen}
        best = max(rest, key=lambda case: (len(case.kills - noticed), case.expected not in known, len(case.kills)))
        if len(chosen) >= least and not best.kills - noticed:
            break
        rest.remove(best)
        chosen.append(best)
    return chosen


# --- the problem -----------------------------------------------------------------------------------------------------


def shown_cases(cases: list[Case], rng: Random) -> list[Case]:
    """Two or three cases for the docstring: a short one, one of middling length, and sometimes the smallest input.

    Their results differ where they can, and None isn't among them, for Python's prompt shows nothing for it.
    """
    by_result: dict[str, Case] = {}
    for case in sorted(cases[1:], key=lambda case: len(repr(case.arguments))):
        if case.expected != "None":
            by_result.setdefault(case.expected, case)
    telling = [case for case in by_result.values() if case.expected != cases[0].expected] or list(by_result.values())
    shown = list(dict.fromkeys([telling[0], telling[len(telling) // 2]]))
    with_edge = cases[0].expected != "None" and (rng.random() < 0.4 or len(shown) < 2)
    return [*shown, cases[0]] if with_edge else shown


def _problem(exercise: Exercise, text: str, shown: list[Case]) -> str:
    """The signature with its docstring: the text, wrapped, and the examples."""
    wrapped = textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False)
    examples = [line for case in shown for line in (f">>> {case.call(exercise.name)}", case.expected)]
    docstring = "\n".join(f"    {line}" if line else "" for line in [*wrapped, "", *examples])
    return f'{exercise.signature}\n    """{docstring.lstrip()}\n    """'
