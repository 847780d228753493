"""python_tests: runs a record's tests against its code in the sandbox; passes where all of them do.

What it reads, besides the last assistant message:

    metadata.code = {"tests": ["assert add(1, 1) == 2", ...], "entry_point": "add", "solution": "def add(a, b): ..."}

The code is that of the message's one fenced python block; `solution` is for records whose answer isn't a whole program,
and must then be found in the message, for what is proven has to be what is taught. `tests` is one text or several, each
a piece of code that sees the solution's names; a text that defines `check`, as in HumanEval, is asked to check
`entry_point`. Code that outwits its tests fails (`judges.python_cheats`). Undecided: a record without `metadata.code`,
or a sandbox that failed.

    {"name": "python_tests", "passed": false, "score": 0.5, "reason": "failed: AssertionError: assert add(1, 1) == 2"}

Source: HumanEval's format, https://github.com/openai/human-eval.
"""

import re

from pydantic import ValidationError

from gristmill import Config, Context, Judge, Record, Verdict
from gristmill.sandbox import SandboxLimits
from gristmill.sandbox.solutions import PASSED
from judges.python_cheats import cheats
from schemas import Data

_BLOCK = re.compile(r"^```(?:python|py|python3)[ \t]*\n(.*?)^```[ \t]*$", re.DOTALL | re.MULTILINE | re.IGNORECASE)
_DEFINES_CHECK = re.compile(r"^def check\(", re.MULTILINE)


def python_blocks(text: str) -> list[str]:
    """The contents of the fenced python blocks of a message."""
    return _BLOCK.findall(text)


class Params(Config):
    limits: SandboxLimits = SandboxLimits()


class CodeUnderTest(Data):
    """`metadata.code` of a record."""

    tests: str | list[str]
    entry_point: str = ""
    solution: str = ""

    def test_list(self) -> list[str]:
        """The tests as the sandbox takes them: the entry point's existence first, checks called."""
        tests = [self.tests] if isinstance(self.tests, str) else self.tests
        if not self.entry_point:
            return tests
        called = [f"{test}\n\ncheck({self.entry_point})" if _DEFINES_CHECK.search(test) else test for test in tests]
        return [f"assert callable({self.entry_point})", *called]


class PythonTests(Judge[Params]):
    name = "python_tests"

    async def judge(self, record: Record, ctx: Context) -> Verdict:
        if "code" not in record.metadata:
            return self._verdict(None, "no_code: the record has no metadata.code")
        try:
            code = CodeUnderTest.model_validate(record.metadata["code"])
        except ValidationError as error:
            first = error.errors()[0]
            return self._verdict(False, f"malformed: metadata.code.{'.'.join(map(str, first['loc']))}: {first['msg']}")
        answer = next((message.content for message in reversed(record.messages) if message.role == "assistant"), "")
        blocks = python_blocks(answer)
        if code.solution and code.solution.strip() not in answer:
            return self._verdict(False, "other_code: metadata.code.solution is not in the last assistant message")
        if not code.solution and len(blocks) != 1:
            return self._verdict(False, f"no_code: {len(blocks)} fenced python blocks in the answer, expected one")
        if not (tests := code.test_list()):
            return self._verdict(False, "no_tests: metadata.code.tests is empty")
        solution = code.solution or blocks[0]
        if found := cheats(solution, tests, code.entry_point):
            return self._verdict(False, f"cheats: {'; '.join(found)}", 0.0)
        tested = await ctx.sandbox.run_tests(solution, tests, limits=self.params.limits)
        score = tested.outcomes.count(PASSED) / len(tests)
        return self._verdict(tested.passed, tested.summary, score if tested.passed is not None else None)

    def _verdict(self, passed: bool | None, reason: str, score: float | None = None) -> Verdict:
        return Verdict(name=self.name, passed=passed, score=score, reason=reason)
