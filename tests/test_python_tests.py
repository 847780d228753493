"""Tests of solutions in the sandbox, the judge that runs them, and HumanEval with its mutants."""

import asyncio
import gzip
import json
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from gristmill.sandbox import SandboxLimits, SolutionReport
from gristmill.sandbox.engines import CHOICE
from gristmill.sandbox.pool import Pool
from gristmill.sandbox.solutions import read_reports, snippet_of_tests
from judges.mutants import mutants
from judges.python_cheats import cheats
from judges.python_tests import CodeUnderTest
from tests.conftest import CLI, ENGINES


async def run_tests(pool: Pool, solution: str, *tests: str, seconds: float = 5) -> SolutionReport:
    run = await pool.run(snippet_of_tests(solution, tests, SandboxLimits(seconds=seconds)))
    return read_reports(run, solution, tests)


# ---- tests of solutions


async def test_tests_are_told_apart(pool: Pool) -> None:
    tested = await run_tests(
        pool,
        "import dataclasses\n@dataclasses.dataclass\nclass Point:\n    x: int = 1\n\ndef add(a, b):\n    return a + b",
        "assert add(1, 1) == 2",
        "assert add(1, 1) == 3",
        "def test_one():\n    assert add(1, 2) == 3\n\ndef test_two():\n    assert add(2, 2) == 5, 'four'",
        "import unittest\nclass Cases(unittest.TestCase):\n    def test_it(self): self.assertEqual(add(1, 2), 4)",
        "async def test_later():\n    assert add(1, 1) == 3",
        "import solution\nfrom solution import Point\nassert Point() == solution.Point(1)",
        "add = None",
        "assert add(1, 1) == 2",
        "raise SystemExit",
    )
    assert tested.outcomes == [
        "passed", "AssertionError: assert add(1, 1) == 3", "AssertionError: four",
        "AssertionError: 3 != 4", "AssertionError: assert add(1, 1) == 3",
        "passed", "passed", "passed", "SystemExit",
    ]  # fmt: skip
    assert (tested.passed, tested.reason, tested.detail) == (False, "failed", "AssertionError: assert add(1, 1) == 3")


@pytest.mark.parametrize(
    ("solution", "reason", "detail", "outcomes"),
    [
        ("def f():", "broken", "IndentationError: expected an indented block", ["not run", "not run"]),
        ("import sys; sys.exit(0)", "broken", "SystemExit: 0", ["not run", "not run"]),
        ("import os; os._exit(0)", "exited", "exit code 0", ["exited", "not run"]),
        ("def f():\n    import os\n    os._exit(0)", "exited", "exit code 0", ["exited", "not run"]),
        ("def f():\n    while True: pass", "timeout", "", ["timeout", "not run"]),
        ("def f():\n    while True: print('x' * 9999)", "output", "", ["output", "not run"]),
        ("def f(): return 1\nif __name__ == '__main__':\n    raise ValueError", "passed", "", ["passed", "passed"]),
        ("import sys, os\nsys.stdout = None\nos.close(1)\ndef f(): return 1", "passed", "", ["passed", "passed"]),
        ("import threading, time\nthreading.Thread(target=time.sleep, args=[99]).start()\ndef f(): return 1",
         "passed", "", ["passed", "passed"]),
    ],
)  # fmt: skip
async def test_a_solution_cannot_leave_before_its_tests(
    pool: Pool, solution: str, reason: str, detail: str, outcomes: list[str]
) -> None:
    tested = await run_tests(pool, solution, "assert f() == 1", "assert f()", seconds=1)
    assert tested.reason == reason and tested.detail.startswith(detail), tested
    assert tested.outcomes == outcomes
    assert tested.passed is (reason == "passed")


@pytest.mark.parametrize(
    "cheat",
    [
        "import __main__\n__main__.check = lambda *a: None",
        "import sys\nsys.modules['__main__'].attempt = lambda act: ''",
        "import builtins\nbuiltins.exec = lambda *a: None",
        "import builtins\nkept = compile\nbuiltins.compile = lambda source, *a: kept('pass', *a)",
        "import json\njson.dumps = lambda value: '\"\"'",
        "import traceback\ntraceback.format_exception_only = lambda error: ['']",
        "def f():\n    import __main__\n    __main__.attempt = lambda act: ''",
    ],
)
async def test_a_solution_cannot_change_how_tests_are_run(pool: Pool, cheat: str) -> None:
    tested = await run_tests(pool, f"def f(): return 0\n{cheat}", "assert f() == 1", "assert f() == 2")
    assert tested.passed is False and tested.detail == "the solution changes how tests are run"


@pytest.mark.parametrize(
    ("solution", "found"),
    [
        ("import sys\ndef f(): return sys._getframe(1).f_code.co_consts[-1]",
         ["it uses _getframe", "it uses co_consts", "it uses f_code"]),
        ("import sys\ndef f(): return getattr(sys, '_getframe')(1)", ["it uses _getframe"]),
        ("from inspect import currentframe as here", ["it uses currentframe"]),
        ("import gc\nplan = [one for one in gc.get_objects() if 'mark' in one]", ["it uses get_objects"]),
        ("class Yes:\n    def __eq__(self, other): return True", ["__eq__ is equal to everything"]),
        ("class Yes(int):\n    __eq__ = lambda self, other: 1", ["__eq__ is equal to everything"]),
        ("def abs(x): return 0\ndef f(): return 7", ["it replaces abs, which its tests use"]),
        ("from operator import truth as abs", ["it replaces abs, which its tests use"]),
        ("class P:\n    def __eq__(self, other): return isinstance(other, P)", []),
        ("class P:\n    def __eq__(self, other): return NotImplemented", []),
        ("import gc, inspect\ngc.collect()\nif __name__ == '__main__': max = 3", []),
        ("def f(): def", []),
    ],
)  # fmt: skip
def test_cheats_are_read(solution: str, found: list[str]) -> None:
    assert cheats(solution, ["assert abs(f() - 2) < 1e-6"], "f") == found


def test_a_problem_may_ask_for_what_python_has() -> None:
    assert cheats("def abs(x): return max(x, -x)", ["assert abs(-2) == 2"], "abs") == []


async def test_a_solution_sees_neither_its_tests_nor_the_mark(pool: Pool) -> None:
    solution = "import os, sys\nseen = [open(name).read() for name in os.listdir('.')], sys.argv, dict(os.environ)"
    tested = await run_tests(
        pool, solution, "assert 'unlikely-text' not in str(seen), seen", "assert 'mark' in seen[0][0]"
    )
    assert "unlikely-text" not in tested.outcomes[0] and tested.outcomes[0] == "passed"


# ---- the judge, in a run


def code_record(answer: str, **code: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Write it."}, {"role": "assistant", "content": answer}]
    return {"messages": messages, "metadata": {"code": code} if code else {}}


RECORDS = [
    code_record("```python\ndef add(a, b):\n    return a + b\n```", tests="assert add(1, 1) == 2", entry_point="add"),
    code_record(
        "```python\ndef sub(a, b):\n    return a + b\n```", tests=["assert sub(0, 0) == 0", "assert sub(3, 1) == 2"]
    ),
    code_record("No code."),
    code_record("First:\n```python\nx = 1\n```\n```python\ny = 1\n```", tests="assert x"),
    code_record("    return a * b", tests="assert mul(2, 3) == 6", solution="def mul(a, b):\n    return a * b"),
    code_record("```python\ndef f(): pass\n```", tests="def check(g):\n    assert g() == 1", entry_point="f"),
    code_record("```python\ndef f(): pass\n```", tests=[]),
    code_record("```python\ndef f(): pass\n```", test="assert f"),
    code_record("```python\nwhile True: pass\n```", tests="assert 1"),
]
REASONS = {
    1: "failed: AssertionError: assert sub(3, 1) == 2", 2: "no_code: the record has no metadata.code",
    3: "no_code: 2 fenced python blocks in the answer, expected one",
    4: "other_code: metadata.code.solution is not in the last assistant message",
    5: "failed: AssertionError: assert g() == 1", 6: "no_tests: metadata.code.tests is empty",
    7: "malformed: metadata.code.tests: Field required", 8: "timeout",
}  # fmt: skip


@pytest.mark.parametrize("engine", ENGINES)
def test_records_are_judged_once_and_replayed_without_an_engine(cli: CLI, tmp_path: Path, engine: str) -> None:
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    config: dict[str, Any] = {"judges": [{"name": "python_tests", "limits": {"seconds": 1}}]}
    (tmp_path / "judges.yaml").write_text(yaml.safe_dump(config))
    done = cli("judge", "records.jsonl", "judges.yaml", "--run", "judged", env={CHOICE: engine})
    assert done.returncode == 0, done.stderr
    [passed] = pq.read_table(tmp_path / "judged/records").to_pylist()
    rejects = pq.read_table(tmp_path / "judged/rejects")
    details = rejects.column("detail").to_pylist()
    weaker = " (bubblewrap, the weaker sandbox)" if engine == "bubblewrap" else ""
    ran = {0, 1, 5, 8}
    assert details == [reason + weaker * (number in ran) for number, reason in REASONS.items()]
    assert rejects.column("reason").to_pylist() == ["undecided" if n == 2 else "failed" for n in REASONS]
    assert passed["verdicts"][0]["score"] == 1.0 and passed["verdicts"][0]["reason"] == "passed" + weaker

    # With another fingerprint every task runs again; no engine is there, and none is needed.
    (tmp_path / "judges.yaml").write_text(yaml.safe_dump({**config, "license": "CC0-1.0"}))
    offline = {CHOICE: "docker", "DOCKER_HOST": f"unix://{tmp_path}/none.sock"}
    again = cli("judge", "records.jsonl", "judges.yaml", "--run", "judged", env=offline)
    assert again.returncode == 0, again.stderr
    assert pq.read_table(tmp_path / "judged/rejects").equals(rejects)
    assert pq.read_table(tmp_path / "judged/records").to_pylist()[0]["verdicts"] == passed["verdicts"]

    (tmp_path / "judges.yaml").write_text(yaml.safe_dump({"judges": [{"name": "python_tests"}]}))  # other limits
    asked = cli("judge", "records.jsonl", "judges.yaml", "--run", "judged", env=offline)
    assert asked.returncode == 1 and "Traceback" not in asked.stderr
    assert "generated code runs in a sandbox only, and there is none here" in asked.stderr


# ---- HumanEval


@pytest.mark.slow
@pytest.mark.shared
async def test_humaneval_passes_and_its_mutants_mostly_fail(pool: Pool, shared_data: Path) -> None:
    with gzip.open(shared_data / "code_benchmarks" / "HumanEval.jsonl.gz") as lines:
        problems = [json.loads(line) for line in lines]
    assert len(problems) == 164

    async def passes(problem: dict[str, Any], solution: str) -> bool | None:
        code = CodeUnderTest(tests=problem["test"], entry_point=problem["entry_point"])
        return (await run_tests(pool, solution, *code.test_list(), seconds=2)).passed

    originals = [(problem, problem["prompt"] + problem["canonical_solution"]) for problem in problems]
    verdicts = await asyncio.gather(*(passes(*pair) for pair in originals))
    assert [problem["task_id"] for problem, passed in zip(problems, verdicts, strict=True) if not passed] == []
    changed = [(problem, mutant) for problem, solution in originals for mutant in islice(mutants(solution), 1)]
    survived = (await asyncio.gather(*(passes(*pair) for pair in changed))).count(True)
    assert len(changed) > 140 and survived / len(changed) < 0.2
