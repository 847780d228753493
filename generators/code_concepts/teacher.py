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
from dataclasses import dataclass
from math import comb
from typing import Annotated, Protocol

from pydantic import Field

from generators.code_concepts.cleaning import clean, normalised_hash
from generators.code_concepts.concepts import Combination
from generators.code_concepts.exercises import LEADS
from generators.code_concepts.problem import Problem, example_tests, read_problem
from gristmill import Answer, Context, Record, Reject
from gristmill.errors import TaskFailed
from gristmill.llm import Reply
from gristmill.sandbox import SandboxLimits
from gristmill.sandbox.solutions import PASSED, SolutionReport
from schemas import Json, JsonObject, assistant, user

EMPTY = "    pass"


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


@dataclass(frozen=True)
class Solution:
    """A cleaned answer: the reply, the whole program, and how it fared."""

    reply: Reply
    program: str
    report: SolutionReport


async def by_teacher(task: Combination, settings: Settings, ctx: Context) -> list[Record]:
    """A record for each different solution that passes. Rejects: problem, cleaning, tests, llm."""
    problem = await _invent(task, settings, ctx)
    written = await ctx.ask("tester", "tests", Tests, name=problem.name, problem=problem.text)
    lead = ctx.rng.randrange(LEADS)
    asked = user(ctx.prompt("sample", lead=lead, problem=problem.text))
    replies = await ctx.gather((ctx.chat("solver", [asked]) for _ in range(settings.solutions)), keep_rejects=True)
    programs, lost = _cleaned(replies, problem, settings.max_lines)
    examples = example_tests(problem.docstring)
    tests = [*examples, *dict.fromkeys(test.strip() for test in written.tests if _calls(test, problem.name))]
    solutions = await _run(programs, tests, settings.limits, ctx)
    empty = await ctx.sandbox.run_tests(problem.with_body(EMPTY), tests, limits=settings.limits)
    kept = telling_tests(tests, [solution.report for solution in solutions], empty, len(examples))
    passing = [solution for solution in solutions if _passes(solution.report, kept)]
    if not passing:
        lost += Counter(solution.report.reason for solution in solutions)
        raise Reject("tests", "no_solution_passes", ", ".join(f"{n} {why}" for why, n in sorted(lost.items())),
                     problem=problem.text, tests=[tests[number] for number in kept])  # fmt: skip
    shared: JsonObject = {
        "mode": "teacher",
        "cell": {"concepts": list[Json](task.concepts), "size": len(task.concepts)},
        "problem": problem.text,
        "difficulty": pass_at(settings.solutions, len(passing)),
        "attempts_lost": dict[str, Json](lost),
        "tests_rejected": len(tests) - len(kept),
    }
    code: JsonObject = {"entry_point": problem.name, "tests": [tests[number] for number in kept]}
    return [
        Record(
            messages=[
                asked,
                assistant(f"```python\n{solution.program.rstrip()}\n```", solution.reply.message.reasoning_content),
            ],
            category=_category(task),
            metadata={**shared, "code": code},
        )
        for solution in unique(passing)
    ]


async def _invent(task: Combination, settings: Settings, ctx: Context) -> Problem:
    invented = await ctx.ask(
        "writer", "problem", Invented, concepts=task.concepts, number=task.problem, max_lines=settings.max_lines
    )
    return read_problem(invented.problem)


def _category(task: Combination) -> str:
    return f"{len(task.concepts)} concept{'s' if len(task.concepts) > 1 else ''}"


def _calls(test: str, name: str) -> bool:
    """A test of another function, or of none, is no test of this one."""
    return f"{name}(" in test


def _cleaned(
    replies: list[Reply | Reject], problem: Problem, max_lines: int
) -> tuple[list[tuple[Reply, str]], Counter[str]]:
    """The programs, and how many replies were lost to what; the commonest fault is raised where all were."""
    programs: list[tuple[Reply, str]] = []
    faults: list[Reject] = []
    for reply in replies:
        try:
            if isinstance(reply, Reject):
                raise reply
            programs.append((reply, problem.with_body(clean(reply.text, problem, max_lines))))
        except Reject as fault:
            faults.append(fault)
    lost = Counter(f"{fault.stage}/{fault.reason}" for fault in faults)
    if not programs:
        commonest = lost.most_common(1)[0][0]
        raise next(fault for fault in faults if f"{fault.stage}/{fault.reason}" == commonest)
    return programs, lost


async def _run(
    programs: list[tuple[Reply, str]], tests: list[str], limits: SandboxLimits, ctx: Context
) -> list[Solution]:
    reports = await ctx.gather(ctx.sandbox.run_tests(program, tests, limits=limits) for _, program in programs)
    if all(report.passed is None for report in reports):
        raise TaskFailed("sandbox", reports[0].summary)
    return [Solution(reply, program, report) for (reply, program), report in zip(programs, reports, strict=True)]


def telling_tests(tests: list[str], reports: list[SolutionReport], empty: SolutionReport, examples: int) -> list[int]:
    """The numbers of tests that some solution passes and an empty function doesn't. The first `examples` are the
    docstring's: one that no solution passes makes the problem wrong, for nobody could meet it.

    Reject `tests`: wrong_example, none_left (no test beyond the examples says anything).
    """
    passed = [any(report.outcomes[number] == PASSED for report in reports) for number in range(len(tests))]
    if not all(passed[:examples]):
        wrong = tests[passed.index(False)]
        raise Reject("tests", "wrong_example", "no solution meets an example of the docstring", test=wrong)
    kept = [number for number, good in enumerate(passed) if good and empty.outcomes[number] != PASSED]
    if not any(number >= examples for number in kept):
        raise Reject(
            "tests", "none_left", f"of {len(tests) - examples} tests none says anything", tests=tests[examples:]
        )
    return kept


def _passes(report: SolutionReport, kept: list[int]) -> bool:
    return report.passed is not None and all(report.outcomes[number] == PASSED for number in kept)


def unique(solutions: list[Solution]) -> list[Solution]:
    """The first of those that are the same after renaming."""
    return list({normalised_hash(solution.program): solution for solution in reversed(solutions)}.values())[::-1]


def pass_at(n: int, passed: int) -> JsonObject:
    """The chance that at least one of k answers passes, for each k, estimated from n (Chen et al. 2021)."""
    chances = {f"pass@{k}": round(1 - comb(n - passed, k) / comb(n, k), 4) for k in range(1, n + 1)}
    return {"attempts": n, "passed": passed, **chances}
