"""What it costs to read filings: seconds of processor time and memory, per document, beside a bare parse of its HTML.

    python -P benchmarks/financial_qa.py [FOLDER]          (left out: the bundled filings)

Each document is read in a process of its own, so that its memory is its own: the peak above that of the imports. Times
are medians of five; `ratio` is to lxml's parse of the same bytes.
"""

import argparse
import gzip
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from generators.financial_qa import BUNDLED
from generators.financial_qa.filings.html import parse
from generators.financial_qa.filings.read import parse_filing
from generators.financial_qa.library import files_in

ROUNDS = 5


class Cost(NamedTuple):
    name: str
    megabytes: float
    facts: int
    seconds: float
    parsing: float
    peak: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=BUNDLED)
    files = [file for file in files_in(parser.parse_args().folder) if ".json" not in file.suffixes]
    print(f"{'':32}{'MB':>6}{'facts':>7}{'seconds':>9}{'ratio':>7}{'peak MB':>9}")
    costs = []
    for file in files:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            cost = pool.apply(measure, (file,))
        costs.append(cost)
        ratio = cost.seconds / cost.parsing
        print(f"{cost.name:32}{cost.megabytes:>6.1f}{cost.facts:>7}{cost.seconds:>9.2f}{ratio:>7.1f}{cost.peak:>9.0f}")
    print(f"{'median':32}{'':>13}{statistics.median(cost.seconds for cost in costs):>9.2f}"
          f"{statistics.median(cost.seconds / cost.parsing for cost in costs):>7.1f}"
          f"{statistics.median(cost.peak for cost in costs):>9.0f}")  # fmt: skip
    print(
        f"{'most':32}{'':>13}{max(cost.seconds for cost in costs):>9.2f}{'':>7}{max(cost.peak for cost in costs):>9.0f}"
    )


def measure(file: Path) -> Cost:
    raw = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    parse(b"<p>warm</p>", "warm")
    before = peak()
    filing = parse_filing(raw, file.name)
    used = peak() - before
    seconds = timed(lambda: parse_filing(raw, file.name))
    return Cost(file.name, len(raw) / 1e6, len(filing.facts), seconds, timed(lambda: parse(raw, file.name)), used)


def timed(work: Callable[[], object]) -> float:
    rounds = []
    for _ in range(ROUNDS):
        started = time.process_time()
        work()
        rounds.append(time.process_time() - started)
    return statistics.median(rounds)


def peak() -> float:
    """Megabytes that the process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
