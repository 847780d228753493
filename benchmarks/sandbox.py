"""What a run in the sandbox costs, with each engine that this machine has.

    python benchmarks/sandbox.py [--runs 200] [--humaneval HumanEval.jsonl.gz]

Printed: seconds until the first cell is there, the median and the slowest tenth of single runs one after the other,
and runs per second with all cells at work. The floor is the same program started by `subprocess`, without any sandbox.
With HumanEval: how many canonical solutions pass their tests, and how many of their one-operator mutants don't.
"""

import argparse
import asyncio
import gzip
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from gristmill.errors import GristmillError
from gristmill.sandbox import SandboxLimits, Snippet
from gristmill.sandbox.engines import CHOICE, STRONGER, WEAKER
from gristmill.sandbox.pool import Pool, open_pool
from gristmill.sandbox.solutions import read_reports, snippet_of_tests
from judges.mutants import mutants
from judges.python_tests import CodeUnderTest

PROGRAM = "print(sum(range(100)))"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--humaneval", type=Path)
    arguments = parser.parse_args()
    print(f"{'':12}{'start s':>9}{'run ms':>9}{'p90 ms':>9}{'runs/s':>9}")
    print(f"{'no sandbox':12}{'':9}{floor(arguments.runs):>9.1f}")
    for engine in (STRONGER, WEAKER):
        os.environ[CHOICE] = engine
        try:
            asyncio.run(measure(engine, arguments.runs, arguments.humaneval))
        except GristmillError as error:
            print(f"{engine:12}{error}")


def floor(runs: int) -> float:
    """Milliseconds of the bare interpreter, as bare as the sandbox's: nothing installed."""
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-I", "-S", "-c", PROGRAM], stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


async def measure(engine: str, runs: int, humaneval: Path | None) -> None:
    started = time.perf_counter()
    with open_pool() as pool:
        start = time.perf_counter() - started
        times = []
        for _ in range(runs):
            started = time.perf_counter()
            await pool.run(Snippet(code=PROGRAM))
            times.append((time.perf_counter() - started) * 1000)
        started = time.perf_counter()
        await asyncio.gather(*(pool.run(Snippet(code=PROGRAM)) for _ in range(2 * runs)))
        rate = 2 * runs / (time.perf_counter() - started)
        deciles = statistics.quantiles(times, n=10)
        print(f"{engine:12}{start:>9.2f}{statistics.median(times):>9.1f}{deciles[-1]:>9.1f}{rate:>9.0f}", flush=True)
        if humaneval:
            await check_humaneval(pool, humaneval)


async def check_humaneval(pool: Pool, path: Path) -> None:
    with gzip.open(path) as lines:
        problems = [json.loads(line) for line in lines]

    async def reason(problem: dict[str, str], solution: str) -> str:
        tests = CodeUnderTest(tests=problem["test"], entry_point=problem["entry_point"]).test_list()
        run = await pool.run(snippet_of_tests(solution, tests, SandboxLimits(seconds=3)))
        return read_reports(run, solution, tests).reason

    originals = [(problem, problem["prompt"] + problem["canonical_solution"]) for problem in problems]
    changed = [(problem, mutant) for problem, solution in originals for mutant in mutants(solution)]
    for name, pairs in (("solutions", originals), ("mutants", changed)):
        started = time.perf_counter()
        reasons = Counter(await asyncio.gather(*(reason(*pair) for pair in pairs)))
        counts = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
        print(f"{'':12}HumanEval, {len(pairs)} {name}: {counts} ({time.perf_counter() - started:.1f} s)")


if __name__ == "__main__":
    main()
