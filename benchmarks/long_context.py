"""How fast long contexts are made, and in how much memory: documents, sequential tasks, records.

    python benchmarks/long_context.py [--documents 100000] [--words 150] [--contexts 200] [--only library,contexts,...]

Each stage runs in a process of its own, so that its peak of memory is its own; times are of the process's CPU and of
the wall. `library` reads, cleans, counts and clusters invented documents, `contexts` puts 128K tokens of them together,
`sequential` and `records` make whole records (without storing them), `longest` one of 512K tokens of each.
"""

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

from generators.long_context import tables
from generators.long_context.context import token_counter
from generators.long_context.documents.contexts import open_shelf
from generators.long_context.documents.library import FILE, Builder, Documents
from generators.long_context.sequential import TASKS, tell
from generators.long_context.sequential.fillers import make_fillers
from generators.long_context.tables.crowd import Crowd
from generators.long_context.tables.templates import FAMILIES

os.environ["TOKENIZERS_PARALLELISM"] = "true"
TOKENIZER = "embedded"
LENGTHS = (4096, 32_768, 131_072, 524_288)
TOPICS, VOCABULARY = 40, 4000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--words", type=int, default=150, help="of a document, in the mean")
    parser.add_argument("--contexts", type=int, default=200, help="of 128K tokens")
    parser.add_argument("--only", default="library,contexts,sequential,records,longest")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stages: dict[str, Callable[[], None]] = {
            "library": lambda: library(Path(folder), arguments.documents, arguments.words),
            "contexts": lambda: contexts(Path(folder), arguments.contexts),
            "sequential": sequential, "records": records, "longest": longest,
        }  # fmt: skip
        for name in arguments.only.split(","):
            process = multiprocessing.get_context("fork").Process(target=measured, args=(name, stages[name]))
            process.start()
            process.join()


def measured(name: str, stage: Callable[[], None]) -> None:
    stage()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"  {name}: peak memory {peak:,.0f} MiB", flush=True)


def corpus(path: Path, documents: int, words: int) -> None:
    """Documents of forty topics: half of a text's words are its topic's."""
    rng = Random(0)
    letters = "abdefghiklmnoprstuvz"
    stock = ["".join(rng.choices(letters, k=rng.randint(4, 9))) for _ in range(VOCABULARY)]
    own = [rng.sample(stock, 60) for _ in range(TOPICS)]
    with path.open("w", encoding="utf-8") as lines:
        for number in range(documents):
            topic = own[number % TOPICS]
            drawn = [
                rng.choice(topic if rng.random() < 0.5 else stock) for _ in range(int(rng.gauss(words, words / 4)))
            ]
            text = " ".join(drawn)
            lines.write(json.dumps({"title": f"Document {number}", "text": text}) + "\n")


def library(folder: Path, documents: int, words: int) -> None:
    source = folder / "corpus.jsonl"
    corpus(source, documents, words)
    builder = Builder(folder / FILE, Documents(sources=[str(source)]), token_counter(TOKENIZER))
    read = clocked(builder.read)
    clustered = clocked(lambda: builder.cluster(131_072, None))
    builder.finish("benchmark")
    million = builder.tokens / 1e6
    print(f"library: {builder.documents:,} documents, {million:.1f}M tokens")
    print(f"  read and counted: {read[0]:.0f} s ({read[1]:.0f} s of CPU), {million / read[1]:.2f}M tokens/s")
    print(f"  topics: {clustered[0]:.0f} s ({clustered[1]:.0f} s of CPU)")


def contexts(folder: Path, count: int) -> None:
    counter = token_counter(TOKENIZER)
    with open_shelf(str(folder / FILE)) as shelf:
        sizes: list[int] = []

        def put_together() -> None:
            for number in range(count):
                bundle = shelf.bundle(number % len(shelf.topics), 131_072, counter, Random(number))
                sizes.append(bundle.tokens)

        wall, cpu = clocked(put_together)
    print(f"contexts of 128K: {count} in {wall:.1f} s, {1000 * cpu / count:.1f} ms of CPU each")
    print(f"  1,000 of them: {1000 * cpu / count:.0f} s of CPU; {min(sizes):,} to {max(sizes):,} tokens")


def sequential() -> None:
    counter = token_counter(TOKENIZER)
    fillers = make_fillers(0, max(LENGTHS), counter)
    for length in LENGTHS:
        rates = []
        for number in range(20 * len(TASKS)):
            task = list(TASKS)[number % len(TASKS)]
            _, cpu = clocked(partial(tell, task, length, "even", 40, fillers, counter, Random(number)))
            rates.append(length / cpu)
        print(
            f"sequential, {length:,} tokens: {median(rates) / 1e6:.1f}M tokens per CPU second (median of {len(rates)})"
        )


def records() -> None:
    counter, crowd = token_counter(TOKENIZER), Crowd(None, 0, 32_768)
    for length in LENGTHS[:2]:
        seconds = []
        for number in range(6 * len(FAMILIES)):
            family = list(FAMILIES)[number % len(FAMILIES)]
            _, cpu = clocked(partial(tables.ask, family, length, "even", crowd, counter, Random(number)))
            seconds.append(cpu)
        print(f"records, {length:,} tokens: {1000 * median(seconds):.0f} ms of CPU each (median of {len(seconds)})")


def longest() -> None:
    counter = token_counter(TOKENIZER)
    fillers = make_fillers(0, 524_288, counter)
    _, cpu = clocked(lambda: tell("ledger", 524_288, "even", 60, fillers, counter, Random(0)))
    print(f"one sequential context of 512K: {1000 * cpu:.0f} ms of CPU")
    crowd = Crowd(None, 0, 524_288)
    _, cpu = clocked(lambda: tables.ask("join", 524_288, "even", crowd, counter, Random(0)))
    print(f"one context of records of 512K: {1000 * cpu:.0f} ms of CPU")


def clocked(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the wall and of CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    main()
