"""Algorithmic problems by rule: the exercises of code_concepts, asked for without a stub.

    chat        Python: longest_run_of_odd_ages(ages), where `ages` is a list of integers. Return the length of the
                longest ... For instance, longest_run_of_odd_ages([7, 9, 2]) gives 2.
    leetcode    # Longest run of odd ages       a title, the call with its bounds, the task and its examples
    assistant   def longest_run_of_odd_ages(ages: list[int]) -> int: ...
    metadata    mode, title, cell (variant, difficulty, operations ...), code (tests, entry point), mutants_killed

Drawing an exercise, proving it, choosing its tests and checking a rewording are code_concepts'. What is told here are
name, parameters, task and examples, in prose. The constraints hold for every test and are wider than any of them.
"""

import ast
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Literal

from generators.code_concepts.exercises import (
    Case,
    Exercised,
    Settings,
    draw_exercise,
    exercise_cells,
    exercise_code,
    shown_cases,
)
from generators.code_concepts.exercises.compose import Exercise
from generators.code_concepts.exercises.grammar import Category
from generators.code_concepts.exercises.words import LONGEST_TITLE
from gristmill import Context, Record, Reject
from judges.rewording import check_rewording, reword
from schemas import Json, JsonObject, assistant, user

TITLE_WORDS = (5, LONGEST_TITLE)

MANNERS = 8
"""How many manners of asking each of the two prompts has."""

_WHERE = {
    "numbers": "in a list", "twins": "across two lists", "words": "in a list", "texts": "in a text",
    "tables": "in a dictionary", "integers": "of an integer", "spans": "in a range",
}  # fmt: skip
_TYPES = {
    "int": "an integer", "str": "a string", "list[int]": "a list of integers", "list[str]": "a list of strings",
    "dict[str, int]": "a dictionary from strings to integers",
}  # fmt: skip


class Posed(Exercised):
    """One task of the mode: an exercise, and the way of asking for it."""

    variant: Literal["chat", "leetcode"]


def posed_cells(categories: list[Category], variants: Sequence[str], seed: int) -> Iterator[Posed]:
    """code_concepts' walk; the variant changes with each round of the categories."""
    for cell in exercise_cells(categories, seed):
        variant = variants[cell.index // len(categories) % len(variants)]
        yield Posed.model_validate({**cell.model_dump(), "variant": variant})


async def by_rule(cell: Posed, settings: Settings, ctx: Context) -> Record:
    """The record of one cell. Rejects: `exercise: unsuited`."""
    exercise, cases, share = await draw_exercise(cell, ctx)
    title = title_of(exercise)
    text, phrasing = await reword(ctx, exercise.text, settings, check_rewording)
    difficulty = difficulty_of(exercise)
    parameters = parameters_of(exercise)
    limits = {"constraints": constraints_of(exercise, cases)} if cell.variant == "leetcode" else {}
    asked = ctx.prompt(
        cell.variant + "_exercise",
        manner=ctx.rng.randrange(MANNERS),
        title=title,
        difficulty=difficulty if ctx.rng.random() < 0.5 else "",
        call=f"{exercise.name}({', '.join(name for name, _ in parameters)})",
        takes=" and ".join(f"`{name}` is {type_}" for name, type_ in parameters),
        text=text,
        examples=[_example(exercise, case) for case in shown_cases(cases, ctx.rng)],
        **limits,
    )
    tests: list[Json] = [case.test(exercise.name) for case in cases]
    operations: JsonObject = {"operations": "+".join(exercise.operations), "form": exercise.form}
    return Record(
        messages=[user(asked), assistant(f"```python\n{exercise_code(exercise).rstrip()}\n```")],
        category=cell.variant,
        metadata={
            "mode": "exercises",
            "title": title,
            **phrasing,
            "cell": {**cell.point(), "difficulty": difficulty, **operations},
            "code": {"entry_point": exercise.name, "tests": tests},
            "mutants_killed": round(share, 3),
        },
    )


# --- the title -------------------------------------------------------------------------------------------------------


def title_of(exercise: Exercise) -> str:
    """The exercise's heading, and where a short one looks: "Longest of trimmed rivers in a list"."""
    title = exercise.title
    return title if len(title.split()) >= TITLE_WORDS[0] else f"{title} {_WHERE[exercise.source.domains]}"


def checked_title(title: str) -> str:
    """The title with single spaces. Reject `title`: length."""
    least, most = TITLE_WORDS
    words = title.split()
    if not least <= len(words) <= most:
        raise Reject("title", "length", f"{len(words)} words, {least} to {most} are wanted", title=title)
    return " ".join(words)


def difficulty_of(exercise: Exercise) -> str:
    """By size: what needs a test, a change and a fold, or more than six lines, isn't easy any more."""
    large = len(exercise.operations) > 2 or exercise.body.count("\n") >= 6
    return "medium" if large else "easy"


# --- what the stub would have said -----------------------------------------------------------------------------------


def parameters_of(exercise: Exercise) -> list[tuple[str, str]]:
    """Names with their types in words: [("ages", "a list of integers"), ("limit", "an integer")]."""
    (function,) = ast.parse(exercise_code(exercise)).body
    assert isinstance(function, ast.FunctionDef)
    return [
        (argument.arg, _TYPES[ast.unparse(argument.annotation)])
        for argument in function.args.args
        if argument.annotation is not None
    ]


def _example(exercise: Exercise, case: Case) -> dict[str, Any]:
    given = [f"{name} = {value!r}" for (name, _), value in zip(parameters_of(exercise), case.arguments, strict=True)]
    return {"call": case.call(exercise.name), "given": ", ".join(given), "result": case.expected}


def constraints_of(exercise: Exercise, cases: list[Case]) -> list[str]:
    """A bound for each parameter: "`ages` has at most 100 items, each from 0 to 1000"."""
    columns = zip(*(case.arguments for case in cases), strict=True)
    named = zip(parameters_of(exercise), columns, strict=True)
    return [f"`{name}` {_bound(exercise, name, list(column))}" for (name, _), column in named]


def _bound(exercise: Exercise, name: str, values: list[Any]) -> str:
    added = exercise.parameter is not None and name == exercise.parameter.name
    low = 1 if added else min(exercise.domain.low, 0)
    match values[0]:
        case int():
            return f"is {_range(values, low)}"
        case str():
            return "is one lower-case letter" if added else "has at most 1000 characters"
        case dict():
            inner = chain.from_iterable(value.values() for value in values)
            return f"has at most 100 entries, each value {_range(list(inner), low)}"
        case _:
            items = list(chain.from_iterable(values))
            if isinstance(items[0], str):
                return "has at most 100 strings of at most 100 characters"
            return f"has at most 100 items, each {_range(items, low)}"


def _range(numbers: list[int], low: int) -> str:
    """Round numbers around all of them; below zero only where the domain or one of them is."""
    most = max(1000, 10 ** len(str(max(map(abs, numbers)))))
    return f"from {-most if min(low, *numbers) < 0 else low} to {most}"
