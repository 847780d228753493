"""`ctx.sandbox`: code that a task runs. Each run is an effect: once in the ledger, it is never run again.

await ctx.sandbox.run("print(input()[::-1])", stdin="abc")                  Run: status "ok", stdout "cba\\n"
await ctx.sandbox.run_tests("double = lambda n: 2 * n", ["assert double(2) == 4"])      SolutionReport: passed True
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gristmill.sandbox.model import Run, SandboxLimits, Snippet
from gristmill.sandbox.pool import open_pool
from gristmill.sandbox.solutions import SolutionReport, read_reports, snippet_of_tests
from schemas import Json

if TYPE_CHECKING:
    from gristmill.context import Context

DEFAULT = SandboxLimits()
NO_FILES: Mapping[str, str] = {}


class TaskSandbox:
    """The run's pool of cells, seen from one task."""

    def __init__(self, ctx: "Context") -> None:
        self._ctx = ctx

    async def run(
        self, code: str, *, files: Mapping[str, str] = NO_FILES, stdin: str = "", limits: SandboxLimits = DEFAULT
    ) -> Run:
        """How a program ends that finds `files` beside it and `stdin` on its input."""
        return await self._run(Snippet(code=code, files=dict(files), stdin=stdin, limits=limits))

    async def run_tests(
        self, solution: str, tests: Sequence[str], *, limits: SandboxLimits = DEFAULT
    ) -> SolutionReport:
        """Which of `tests`, each a piece of code that sees the solution's names, run through; `limits` for all."""
        run = await self._run(snippet_of_tests(solution, tests, limits))
        return read_reports(run, solution, tests)

    async def _run(self, snippet: Snippet) -> Run:
        async def perform() -> Json:
            pool = await self._ctx.resource(open_pool)
            return (await pool.run(snippet)).model_dump(mode="json")

        return Run.model_validate(await self._ctx.effect("sandbox", snippet.model_dump(mode="json"), perform))
