"""Trials of solutions: what several answers to one problem, and tests that nobody has vouched for, say of each other.

    replies     five, of which one imports and one has another signature          three programs
    tests       ten, of which no program passes two, and `pass` passes one        seven tests
    programs    two that pass all seven, the same but for names                   one solution, pass@1 0.4

A test that no solution passes is wrong or hopeless; one that an empty function passes says nothing.

Source: pass@k by Chen et al. 2021, arXiv 2107.03374.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

from gristmill import Context, Reject
from gristmill.errors import TaskFailed
from gristmill.llm import Reply
from gristmill.sandbox import SandboxLimits
from gristmill.sandbox.solutions import PASSED, SolutionReport
from judges.python_cleaning import clean, normalised_hash
from judges.python_problem import Problem, example_tests
from schemas import JsonObject

EMPTY = "    pass"


@dataclass(frozen=True)
class Solution:
    """A cleaned answer: the reply, the whole program, and how it fared."""

    reply: Reply
    program: str
    report: SolutionReport


@dataclass(frozen=True)
class Trial:
    """Solutions and the tests that say something of them."""

    solutions: list[Solution]
    tests: list[str]
    kept: list[int]

    @property
    def kept_tests(self) -> list[str]:
        return [self.tests[number] for number in self.kept]

    @property
    def passing(self) -> list[Solution]:
        return [solution for solution in self.solutions if self.passes(solution.report)]

    @property
    def nearest(self) -> Solution:
        """The first of those that pass most of the tests."""
        return max(self.solutions, key=lambda solution: len(self.kept) - len(self.failed(solution.report)))

    def passes(self, report: SolutionReport) -> bool:
        return report.passed is not None and not self.failed(report)

    def failed(self, report: SolutionReport) -> list[int]:
        return [number for number in self.kept if report.outcomes[number] != PASSED]

    def complaint(self, report: SolutionReport) -> str:
        """The first test that it fails, and how."""
        number = next(iter(self.failed(report)), None)
        return report.summary if number is None else f"{self.tests[number]}\n{report.outcomes[number]}"


async def try_out(
    programs: list[tuple[Reply, str]],
    problem: Problem,
    written: Sequence[str] | None,
    limits: SandboxLimits,
    ctx: Context,
) -> Trial:
    """Runs the docstring's examples and the written tests on all programs and on an empty function.

    Reject `tests`: wrong_example; none_left (no test says anything, or none but the examples though some were written).
    """
    examples = example_tests(problem.docstring)
    own = dict.fromkeys(test.strip() for test in written or () if f"{problem.name}(" in test)
    tests = [*examples, *(test for test in own if test not in examples)]
    empty = problem.with_body(EMPTY)
    runs = (
        ctx.sandbox.run_tests(program, tests, limits=limits) for program in [empty, *(code for _, code in programs)]
    )
    idle, *reports = await ctx.gather(runs)
    if idle.passed is None or all(report.passed is None for report in reports):
        raise TaskFailed("sandbox", idle.summary)
    kept = telling_tests(tests, reports, idle, len(examples))
    if not any(number >= len(examples) or written is None for number in kept):
        raise Reject("tests", "none_left", f"of {len(written or ())} tests none says anything", problem=problem.text)
    solutions = [Solution(reply, code, report) for (reply, code), report in zip(programs, reports, strict=True)]
    return Trial(solutions, tests, kept)


def programs_in(
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


def telling_tests(tests: list[str], reports: list[SolutionReport], empty: SolutionReport, examples: int) -> list[int]:
    """The numbers of tests that some solution passes and an empty function doesn't. The first `examples` are the
    docstring's: one that no solution passes makes the problem wrong, for nobody could meet it.

    Reject `tests`: wrong_example.
    """
    passed = [any(report.outcomes[number] == PASSED for report in reports) for number in range(len(tests))]
    if not all(passed[:examples]):
        wrong = tests[passed.index(False)]
        raise Reject("tests", "wrong_example", "no solution meets an example of the docstring", test=wrong)
    return [number for number, good in enumerate(passed) if good and empty.outcomes[number] != PASSED]


def unique(solutions: list[Solution]) -> list[Solution]:
    """The first of those that are the same after renaming."""
    return list({normalised_hash(solution.program): solution for solution in reversed(solutions)}.values())[::-1]


def pass_at(n: int, passed: int) -> JsonObject:
    """The chance that at least one of k answers passes, for each k, estimated from n (Chen et al. 2021)."""
    chances = {f"pass@{k}": round(1 - comb(n - passed, k) / comb(n, k), 4) for k in range(1, n + 1)}
    return {"attempts": n, "passed": passed, **chances}
