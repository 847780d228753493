"""Tests of a solution in the sandbox: what is run (harness.py) and what its reports mean."""

import json
from collections.abc import Sequence
from importlib.resources import files

from gristmill.sandbox.engines import is_weaker
from gristmill.sandbox.harness import PLAN, SOLUTION
from gristmill.sandbox.model import Run, SandboxLimits, Snippet
from schemas import Data, canonical_json, content_hash

PASSED = "passed"
NOT_RUN = "not run"


class SolutionReport(Data):
    """Whether a solution passes all its tests; `passed` None where the sandbox failed, not the code.

    `reason`: passed, failed (a test), broken (the solution can't be loaded), timeout, memory, output, exited (the
    process ended before the tests did) or killed. `outcomes` has for each test `passed`, what was raised, the reason
    for which it didn't end, or `not run`.
    """

    passed: bool | None
    reason: str
    detail: str
    outcomes: list[str]
    run: Run

    @property
    def summary(self) -> str:
        """For a verdict: the reason, the detail, and that the sandbox was the weaker one."""
        told = f"{self.reason}: {self.detail}" if self.detail else self.reason
        return f"{told} ({self.run.engine}, the weaker sandbox)" if is_weaker(self.run.engine) else told


def snippet_of_tests(solution: str, tests: Sequence[str], limits: SandboxLimits) -> Snippet:
    plan = {"mark": _mark(solution, tests), "tests": list(tests)}
    return Snippet(
        code=files("gristmill.sandbox").joinpath("harness.py").read_text(),
        files={SOLUTION: solution, PLAN: canonical_json(plan).decode()},
        limits=limits,
    )


def read_reports(run: Run, solution: str, tests: Sequence[str]) -> SolutionReport:
    """What a run of `snippet_of_tests` found."""
    mark = _mark(solution, tests)
    lines = run.stdout.split("\n")
    reports = [report for line in lines if (report := _report(line, mark)) is not None]
    loaded, outcomes = reports[:1], [problem or PASSED for problem in reports[1:]]
    own_output = "\n".join(line for line in lines if not line.startswith(mark))
    run = run.model_copy(update={"stdout": own_output.strip("\n")})
    if loaded and loaded[0]:
        return SolutionReport(passed=False, reason="broken", detail=loaded[0], outcomes=[NOT_RUN] * len(tests), run=run)
    if loaded and len(outcomes) == len(tests) and run.status == "ok":
        failed = [outcome for outcome in outcomes if outcome != PASSED]
        reason, detail = ("failed", failed[0]) if failed else (PASSED, "")
        return SolutionReport(passed=not failed, reason=reason, detail=detail, outcomes=outcomes, run=run)
    reason = "exited" if run.status in ("ok", "error") else run.status
    outcomes += [reason, *[NOT_RUN] * len(tests)]
    passed = None if run.status == "killed" else False
    return SolutionReport(passed=passed, reason=reason, detail=_how(run), outcomes=outcomes[: len(tests)], run=run)


def _report(line: str, mark: str) -> str | None:
    """None for a line that is no report, or one that the limit of output has cut."""
    if not line.startswith(mark):
        return None
    try:
        report: str = json.loads(line.removeprefix(mark))
    except json.JSONDecodeError:
        return None
    return report


def _how(run: Run) -> str:
    if run.status in ("ok", "error"):
        return run.complaint() or f"exit code {run.exit_code}"
    return run.stderr if run.status == "killed" else ""


def _mark(solution: str, tests: Sequence[str]) -> str:
    """Unknown to who wrote the solution, and the same each time."""
    return f"test-{content_hash([solution, list(tests)])}:"
