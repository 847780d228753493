"""How fast records are held against HumanEval, MBPP and CRUXEval: exact and n-gram methods, then the embedding stage.

    python benchmarks/decontaminate.py [--records 100000] [--embedded 500] [--url URL --model NAME]

Records are conversations of three kinds in equal parts (code with a question, prose, a long trace with code), 2,400
characters in the mean; one in a thousand copies an item. Printed: seconds, records per second and core and peak memory
of the index alone; what the gate adds to a blend of the same records; and texts per second of the embedded embedder, or
of an endpoint, where one is given by --url.
"""

import argparse
import asyncio
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from gristmill.decontamination import Benchmark, Index, read_benchmark
from gristmill.decontamination.planting import planted
from gristmill.embedding import Embedder
from schemas import Message, Record, user
from schemas.arrow import RECORDS, records_to_table
from schemas.run_config import ModelConfig
from tests.planted import exercises

FILES = ("HumanEval.jsonl.gz", "mbpp_1_510.jsonl", "cruxeval_0_399.jsonl")
COPIES = 1000  # one record in so many copies an item
WORDS = (Path(__file__).parents[1] / "docs/judges.md").read_text(encoding="utf-8").split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--embedded", type=int, default=500, help="texts to embed; 0 leaves that stage out")
    parser.add_argument("--url", default="embedded", help="an endpoint to embed with")
    parser.add_argument("--model", default="", help="its model")
    shared = os.environ.get("GRISTMILL_SHARED", "../shared/data")
    parser.add_argument("--benchmarks", type=Path, default=Path(shared) / "code_benchmarks")
    arguments = parser.parse_args()
    files = [str(arguments.benchmarks / name) for name in FILES]
    targets = [read_benchmark(path) for path in files]
    measure_index(targets, arguments.records)
    measure_gate(targets, files, arguments.records)
    if arguments.embedded:
        measure_embedder(arguments.url, arguments.model, arguments.embedded)


def measure_index(targets: list[Benchmark], count: int) -> None:
    started = time.monotonic()
    index = Index(targets)
    print(f"index of {sum(len(target.items) for target in targets)} items: {time.monotonic() - started:.2f} s")
    found = characters = 0
    wall = cpu = 0.0
    for batch in batched(records(targets, count), 5000):
        characters += sum(len(text) for texts in batch for text in texts)
        started, before = time.monotonic(), time.process_time()
        found += sum(bool(index.hits(texts)) for texts in batch)
        wall, cpu = wall + time.monotonic() - started, cpu + time.process_time() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{count:,} records, {characters / count:,.0f} characters each: {wall:.1f} s, {cpu:.1f} s of CPU (one core)")
    print(f"{count / cpu:,.0f} records/s and core; {found} flagged of {-(-count // COPIES)} copies; {peak:,.0f} MB")


def measure_gate(targets: list[Benchmark], files: list[str], count: int) -> None:
    """The command with and without the gate, each in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with pq.ParquetWriter(folder / "records.parquet", RECORDS) as writer:
            for batch in batched(records(targets, count), 5000):
                writer.write_table(records_to_table([conversation(texts) for texts in batch]))
        source = {"name": "all", "path": "records.parquet", "weight": 1}
        config = {"out": "out", "total": count, "short": "shrink", "sources": [source]}
        without = blend(folder, {**config, "gates": {"dedup": {"exact": False}}})
        within = blend(folder, {**config, "gates": {"dedup": {"exact": False}, "decontaminate": {"against": files}}})
    print(f"gristmill blend: {without.wall:.1f} s, with the gate {within.wall:.1f} s; ", end="")
    print(f"CPU {without.cpu:.1f} s and {within.cpu:.1f} s; memory {without.memory:,.0f} and {within.memory:,.0f} MB")


class Spent(NamedTuple):
    wall: float
    cpu: float
    memory: float


def blend(folder: Path, config: dict[str, Any]) -> Spent:
    (folder / "blend.yaml").write_text(yaml.safe_dump(config))
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "gristmill.cli", "blend", "blend.yaml"], cwd=folder, stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0, "the blend failed"
    return Spent(time.monotonic() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def conversation(texts: list[str]) -> Record:
    *trace, answer = texts[1:]
    turn = Message(role="assistant", content=answer, reasoning_content="".join(trace) or None)
    return Record(messages=[user(texts[0]), turn], generator="benchmark", metadata={}, license="CC0-1.0")


def measure_embedder(url: str, model: str, count: int) -> None:
    texts = ["\n".join(made) for made in exercises(count, seed=2)]

    async def embed() -> float:
        async with Embedder(ModelConfig(endpoint=url, model=model)) as embedder:
            await embedder.embed(texts[:8])  # loads the weights
            started = time.monotonic()
            await embedder.embed(texts)
            return time.monotonic() - started

    before = time.process_time()
    wall = asyncio.run(embed())
    cpu = time.process_time() - before
    mean = sum(map(len, texts)) / count
    print(f"embedding {count:,} texts of {mean:.0f} characters by {url}: {count / wall:.0f}/s, {cpu:.1f} s of CPU here")


def batched(rows: Iterator[list[str]], size: int) -> Iterator[list[list[str]]]:
    while batch := list(islice(rows, size)):
        yield batch


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
