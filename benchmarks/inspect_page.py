"""How fast the inspect page is over a million rows: the first page, filters, a search, a conversation.

    python benchmarks/inspect_page.py [--rows 1000000]

Rows of about 600 characters in ten files, as a run would write them. Each page is asked for three times by HTTP in a
process of its own; printed are the first time (cold) and the median.
"""

import argparse
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.request import urlopen

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.arrow import RECORDS, rows_to_table

FILES = 10
WORDS = ["amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heron", "islet", "kelp", "moss", "quill"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "run" / "records", rows)
        measure(Path(folder) / "run", rows)


def write(folder: Path, rows: int) -> None:
    folder.mkdir(parents=True)
    for part in range(FILES):
        with pq.ParquetWriter(folder / f"part-{part:05d}.parquet", RECORDS, compression="zstd") as writer:
            for start in range(0, rows // FILES, 2000):
                writer.write_table(some(part * rows // FILES + start, min(2000, rows // FILES - start)))


def some(first: int, count: int) -> pa.Table:
    rng = random.Random(first)
    made = []
    for number in range(first, first + count):
        question, answer = (" ".join(rng.choices(WORDS, k=k)) for k in (25, 75))
        turns = [{"role": "user", "content": f"{number}: {question}?"}, {"role": "assistant", "content": answer}]
        verdict = {
            "name": "rubric",
            "passed": number % 3 > 0,
            "score": number % 5,
            "reason": "",
            "model": "",
            "cost": 0,
        }
        made.append(
            {"uuid": f"{rng.getrandbits(128):032x}", "generator": "g", "version": "1", "category": "abcdef"[number % 6],
             "task_id": str(number), "messages": turns, "tools": "[]", "reasoning": "off", "license": "CC0-1.0",
             "used_in": [], "metadata": "{}", "verdicts": [verdict], "provenance": "{}"}
        )  # fmt: skip
    return rows_to_table(made, RECORDS)


def measure(folder: Path, rows: int) -> None:
    command = [sys.executable, "-m", "gristmill.cli", "inspect", str(folder), "--port", "0"]
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        url = re.findall(r"http://[\d.:]+", process.stdout.readline())[0]
        print(f"{rows:,} rows; address told after {time.monotonic() - started:.2f} s")
        uuid = pq.read_table(folder / "records/part-00009.parquet", columns=["uuid"])["uuid"][-1].as_py()
        pages = {
            "first page of the table": "/rows/records",
            "a page from the middle": f"/rows/records?start={rows // 2}",
            "filter by category": "/rows/records?category=c",
            "filter by verdict": "/rows/records?verdict=rubric+failed",
            "search for a common word": "/rows/records?text=heron",
            "search for one row": f"/rows/records?text={rows - 7}%3A",
            "a conversation by its uuid": f"/row/records/{uuid}",
            "overview": "/",
        }
        for name, path in pages.items():
            times = []
            for _ in range(3):
                start = time.monotonic()
                urlopen(url + path).read()
                times.append(time.monotonic() - start)
            print(f"{name:28} first {times[0]:.2f} s, median {statistics.median(times):.2f} s")
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
