"""How fast records are held against HumanEval, MBPP and CRUXEval: exact and n-gram methods, then the embedding stage.

    python benchmarks/decontaminate.py [--records 100000] [--embedded 2000] [--processes N] [--benchmarks FOLDER]

Records are conversations of three kinds in equal parts (code with a question, prose, a long trace with code), 1,600
characters in the mean; one in a thousand copies an item. Printed: seconds, records per second and core, peak memory of
all processes together, what was found; then texts per second of the embedded model, and of an endpoint with `--url`.
"""

import argparse
import os
import random
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from gristmill.decontamination import Benchmark, Index, read_benchmark
from tests.planted import exercises, planted

FILES = ("HumanEval.jsonl.gz", "mbpp_1_510.jsonl", "cruxeval_0_399.jsonl")
COPIES = 1000  # one record in so many copies an item
WORDS = (Path(__file__).parents[1] / "docs/judges.md").read_text(encoding="utf-8").split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000)
    shared = os.environ.get("GRISTMILL_SHARED", "../shared/data")
    parser.add_argument("--benchmarks", type=Path, default=Path(shared) / "code_benchmarks")
    arguments = parser.parse_args()
    targets = [read_benchmark(str(arguments.benchmarks / name)) for name in FILES]
    measure_index(targets, arguments.records)


def measure_index(targets: list[Benchmark], count: int) -> None:
    started = time.monotonic()
    index = Index(targets)
    ready = time.monotonic()
    print(f"index of {sum(len(target.items) for target in targets)} items: {ready - started:.2f} s")
    made = list(records(targets, count))
    characters = sum(len(text) for texts in made for text in texts)
    started, cpu = time.monotonic(), time.process_time()
    found = sum(bool(index.hits(texts)) for texts in made)
    wall, cpu = time.monotonic() - started, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{count:,} records, {characters / count:,.0f} characters each: {wall:.1f} s, {cpu:.1f} s of CPU")
    print(f"{count / cpu:,.0f} records/s and core; {found} flagged of {-(-count // COPIES)} copies; {peak:,.0f} MB")


def records(targets: list[Benchmark], count: int) -> Iterator[list[str]]:
    rng = random.Random(0)
    items = [item for target in targets for item in target.items]
    tasks = list(exercises(4000, seed=1))
    for number in range(count):
        if number % COPIES == 0:
            yield planted(rng.choice(items), rng.choice(["verbatim", "renamed"]))
            continue
        question, solution = rng.choice(tasks)
        prose = " ".join(rng.choices(WORDS, k=150 if number % 3 == 1 else 60))
        if number % 3 == 0:
            yield [question, f"{prose}\n\n{solution}\n\n{rng.choice(tasks)[1]}\n\n{rng.choice(tasks)[1]}"]
        elif number % 3 == 1:
            yield [f"{prose} {prose}?", f"{prose}\n\n{prose}"]
        else:
            trace = " ".join(rng.choices(WORDS, k=300))
            yield [question, trace, f"{prose}\n\n{solution}"]


if __name__ == "__main__":
    main()
