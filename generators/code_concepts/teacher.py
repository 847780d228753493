"""Teacher mode: one role invents a problem for a combination of concepts, another writes tests, a third solves it.

    combination     ["sliding windows", "frequency counting"]
    problem         def longest_balanced_window(letters: str, limit: int) -> int: \"\"\"...\"\"\"
    tests           assert longest_balanced_window("aabb", 1) == 2, ...          of ten, two are wrong and rejected
    solutions       five, of which one imports, two are the same, and two pass    pass@1 0.8, one record

The tests are tested too: one that no solution passes is wrong or hopeless, one that an empty function passes says
nothing. What is left, with the docstring's examples, is what a solution must pass. A record is a problem and a solution
that does; its trace is the solver's own, for exactly the message that the record shows.
"""

from collections import Counter
from typing import Annotated, Protocol

from pydantic import Field

from generators.code_concepts.concepts import Combination
from generators.code_concepts.exercises import LEADS
from gristmill import Answer, Context, Record, Reject
from gristmill.sandbox import SandboxLimits
from judges.python_problem import Problem, read_problem
from judges.python_trials import pass_at, programs_in, try_out, unique
from schemas import Json, JsonObject, assistant, user


class Invented(Answer):
    """What the writer returns."""

    problem: Annotated[str, Field(min_length=40, max_length=6000)]


class Tests(Answer):
    """What the tester returns."""

    tests: Annotated[list[Annotated[str, Field(max_length=600)]], Field(min_length=1, max_length=20)]


class Settings(Protocol):
    """What the mode takes from the parameters."""

    @property
    def solutions(self) -> int: ...
    @property
    def max_lines(self) -> int: ...
    @property
    def limits(self) -> SandboxLimits: ...


async def by_teacher(task: Combination, settings: Settings, ctx: Context) -> list[Record]:
    """A record for each different solution that passes. Rejects: problem, cleaning, tests, llm."""
    problem = await _invent(task, settings, ctx)
    written = await ctx.ask("tester", "tests", Tests, name=problem.name, problem=problem.text)
    lead = ctx.rng.randrange(LEADS)
    asked = user(ctx.prompt("sample", lead=lead, problem=problem.text))
    replies = await ctx.gather((ctx.chat("solver", [asked]) for _ in range(settings.solutions)), keep_rejects=True)
    programs, lost = programs_in(replies, problem, settings.max_lines)
    trial = await try_out(programs, problem, written.tests, settings.limits, ctx)
    if not trial.passing:
        lost += Counter(solution.report.reason for solution in trial.solutions)
        raise Reject("tests", "no_solution_passes", ", ".join(f"{n} {why}" for why, n in sorted(lost.items())),
                     problem=problem.text, tests=trial.kept_tests)  # fmt: skip
    shared: JsonObject = {
        "mode": "teacher",
        "cell": {"concepts": list[Json](task.concepts), "size": len(task.concepts)},
        "problem": problem.text,
        "difficulty": pass_at(settings.solutions, len(trial.passing)),
        "attempts_lost": dict[str, Json](lost),
        "tests_rejected": len(trial.tests) - len(trial.kept),
    }
    code: JsonObject = {"entry_point": problem.name, "tests": list[Json](trial.kept_tests)}
    return [
        Record(
            messages=[
                asked,
                assistant(f"```python\n{solution.program.rstrip()}\n```", solution.reply.message.reasoning_content),
            ],
            category=_category(task),
            metadata={**shared, "code": code},
        )
        for solution in unique(trial.passing)
    ]


async def _invent(task: Combination, settings: Settings, ctx: Context) -> Problem:
    invented = await ctx.ask(
        "writer", "problem", Invented, concepts=task.concepts, number=task.problem, max_lines=settings.max_lines
    )
    return read_problem(invented.problem)


def _category(task: Combination) -> str:
    return f"{len(task.concepts)} concept{'s' if len(task.concepts) > 1 else ''}"
