"""How fast blends are made: near-duplicates of 200,000 texts, and a blend of a million chats.

    python benchmarks/blend.py [--texts 200000] [--rows 1000000] [--only near|blend]
    python benchmarks/blend.py --only large [--rows 1000000] [--words 97] [--gib 8]

near   texts of about 600 characters; every tenth is a copy with 2 % of its words changed. Printed: rows per second and
       core, recall of the planted copies and precision, here, by datasketch (MinHash + LSH, 128 permutations) and by
       plain polars (exact text after the same normalisation: the floor, which finds no copy).
blend  chats in two sources, 3 % copies as above: exact and near dedup, weights, splits, parquet and blend.duckdb.
       Printed: wall and CPU seconds, and the largest memory with and without the pages of files; again with other
       weights (from the cache); and plain polars that reads, drops equal rows, samples and writes the same file.
large  the first of these alone, in a process that may have so much memory of its own and no more, with the most disk
       that it took; $TMPDIR says where. 10,000,000 rows of 97 words need 25 GB there.
"""

import argparse
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from blends.executor import Local
from blends.near import find_near, losers
from blends.stage import Stage
from blends.store import Expressions, add_keys, open_store
from blends.workbench import Workbench
from schemas.arrow import MESSAGE, RECORDS

WORDS = 97  # of 5.2 letters and a blank each
CHANGED = 0.02
THRESHOLD = 0.8
AT_ONCE = 4096
VOCABULARY = 30_000
SAME: dict[str, object] = {  # in each record
    "generator": "benchmark", "version": "1", "category": "chat", "tools": "[]", "reasoning": "off",
    "license": "CC0-1.0", "used_in": [], "metadata": "{}", "verdicts": [], "provenance": "{}",
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=200_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--words", type=int, default=WORDS)
    parser.add_argument("--gib", type=float, default=8.0)
    parser.add_argument("--only", choices=["near", "blend", "large"])
    arguments = parser.parse_args()
    if arguments.only in (None, "near"):
        measure_near(arguments.texts)
    if arguments.only in (None, "blend"):
        measure_blend(arguments.rows)
    if arguments.only == "large":
        measure_large(arguments.rows, arguments.words, int(arguments.gib * 2**30))


# ---- data


class Texts(NamedTuple):
    """Some texts as the numbers of their words, and which of them are copies."""

    words: NDArray[np.uint16]
    copied: NDArray[np.bool_]


@cache
def vocabulary() -> pa.StringArray:
    rng = random.Random(0)
    return pa.array("".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 8))) for _ in range(VOCABULARY))


def planted(count: int, every: int, seed: int = 1, words: int = WORDS) -> Iterator[Texts]:
    """Texts of random words. Every `every`th copies an earlier one, any seventh, with some words changed."""
    rng = np.random.default_rng(seed)
    kept = np.empty((count // 7 + 1, words), np.uint16)
    filled = 0
    for first in range(0, count, AT_ONCE):
        numbers = np.arange(first, min(first + AT_ONCE, count))
        said = rng.integers(VOCABULARY, size=(len(numbers), words), dtype=np.uint16)
        copied = numbers % every == every - 1
        seventh = (numbers % 7 == 0) & ~copied
        there = filled + np.cumsum(seventh)  # so many can be copied by each
        kept[filled : there[-1]] = said[seventh]
        copies = kept[rng.integers(there[copied])]
        places = np.argsort(rng.random(copies.shape), axis=1)[:, : round(CHANGED * words)]
        np.put_along_axis(copies, places, rng.integers(VOCABULARY, size=places.shape, dtype=np.uint16), axis=1)
        said[copied] = copies
        filled = there[-1]
        yield Texts(said, copied)


def joined(words: NDArray[np.uint16]) -> pa.StringArray:
    """A text for each row of numbers."""
    rows, each = words.shape
    said = vocabulary().take(pa.array(words.reshape(-1)))
    return pc.binary_join(pa.ListArray.from_arrays(np.arange(0, rows * each + 1, each, dtype=np.int32), said), " ")


def chats(texts: Iterable[Texts], prefix: str) -> Iterator[pa.Table]:
    """Tables of records whose first quarter of words is asked and the rest answered."""
    first = 0
    for words, _ in texts:
        rows, each = words.shape
        names = [f"{prefix}{number:031x}" for number in range(first, first + rows)]
        content = pa.concat_arrays([joined(words[:, : each // 4]), joined(words[:, each // 4 :])])
        turns = {
            "role": pa.array(["user", "assistant"] * rows),
            "content": content.take(pa.array(np.arange(2 * rows).reshape(2, rows).T.reshape(-1))),
        }
        columns = {
            "uuid": pa.array(names),
            "task_id": pa.array(names),
            "messages": pa.ListArray.from_arrays(
                np.arange(0, 2 * rows + 1, 2, dtype=np.int32),
                pa.StructArray.from_arrays(
                    [turns.get(field.name, pa.nulls(2 * rows, field.type)) for field in MESSAGE], fields=list(MESSAGE)
                ),
            ),
            **{name: pa.repeat(pa.scalar(value, RECORDS.field(name).type), rows) for name, value in SAME.items()},
        }
        yield pa.table([columns[name] for name in RECORDS.names], schema=RECORDS)
        first += rows


# ---- near-duplicates


def measure_near(count: int) -> None:
    parts = list(planted(count, every=10))
    texts = [text for part in parts for text in joined(part.words).to_pylist()]
    truth = set(np.flatnonzero(np.concatenate([part.copied for part in parts])).tolist())
    mean = sum(map(len, texts)) / count
    print(f"{count:,} texts of {mean:.0f} characters, {len(truth):,} of them copies with {CHANGED:.0%} changed words")
    for name, measured in (("gristmill", ours), ("datasketch", datasketch), ("polars, exact", polars_exact)):
        cpu, wall, found = measured(texts)
        recall = len(found & truth) / len(truth)
        precision = len(found & truth) / len(found) if found else 1.0
        print(
            f"{name:<14} {count / cpu:>9,.0f} rows/s and core; {wall:6.1f} s, {cpu:6.1f} s of CPU; "
            f"recall {recall:.4f}, precision {precision:.4f}",
            flush=True,
        )


class Clock:
    """CPU and wall seconds since it was made."""

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.monotonic()

    def read(self) -> tuple[float, float]:
        return time.process_time() - self._cpu, time.monotonic() - self._wall


def ours(texts: list[str]) -> tuple[float, float, set[int]]:
    """The gate itself, from rows that lie in the stage to those that it drops."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        stage, store = Stage(folder / "rows"), open_store(folder / "store")
        for table in chats(planted(len(texts), every=10), "a"):
            add_keys(store, table, stage.rows, 0, Expressions(preference="-row"), 0)
            stage.add(table)
        bench = Workbench(store, stage, folder, Local(), lambda line: None)
        clock = Clock()
        near = find_near(bench, THRESHOLD)
        lost = losers(len(texts), 0, *(near[side].to_numpy() for side in ("first", "second")))
        cpu, wall = clock.read()
        store.close()
    return cpu, wall, {row for row, best in enumerate(lost) if best >= 0}


def datasketch(texts: list[str]) -> tuple[float, float, set[int]]:
    from datasketch import MinHash, MinHashLSH

    clock = Clock()
    index = MinHashLSH(threshold=THRESHOLD, num_perm=128)
    found = set()
    for number, text in enumerate(texts):
        signature = MinHash(num_perm=128)
        data = text.encode()
        signature.update_batch({data[start : start + 5] for start in range(len(data) - 4)})
        if index.query(signature):
            found.add(number)
        else:
            index.insert(number, signature)
    return *clock.read(), found


def polars_exact(texts: list[str]) -> tuple[float, float, set[int]]:
    import polars as pl

    clock = Clock()
    frame = pl.DataFrame({"text": texts}).with_row_index()
    kept = frame.unique(pl.col("text").str.to_lowercase().str.replace_all(r"\s+", " "), keep="first")
    found = set(range(len(texts))) - set(kept["index"].to_list())
    return *clock.read(), found


# ---- a whole blend


class Spent(NamedTuple):
    wall: float
    cpu: float
    resident: float  # MiB
    private: float
    disk: int  # bytes


def measure_blend(rows: int) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        config = prepare(folder, rows, WORDS)
        show("gristmill blend", rows, blend(folder, config))
        config["sources"][1]["weight"] = 0.9
        show("other weights", rows, blend(folder, config))
        show("plain polars", rows, watched([sys.executable, "-c", POLARS, str(int(0.8 * rows))], folder))


def measure_large(rows: int, words: int, most: int) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        spent = blend(folder, prepare(folder, rows, words), most)
        show("gristmill blend", rows, spent)
        print(f"at most {spent.disk / 2**30:,.1f} GiB on disk beside the sources")


def prepare(folder: Path, rows: int, words: int) -> dict[str, Any]:
    """Writes two sources with so many rows together; the config of their blend."""
    held = 0
    for source, share, seed in (("a", 0.7, 1), ("b", 0.3, 2)):
        with pq.ParquetWriter(folder / f"{source}.parquet", RECORDS, compression="zstd") as writer:
            for table in chats(planted(int(share * rows), 33, seed, words), source):
                held += table.nbytes
                writer.write_table(table)
    print(f"{rows:,} chats, {held / 2**20:,.0f} MiB, {on_disk(folder) / 2**20:,.0f} MiB of them as parquet", flush=True)
    return {
        "out": "out",
        "total": int(0.8 * rows),
        "sources": [{"name": n, "path": f"{n}.parquet", "weight": w} for n, w in (("a", 2), ("b", 1))],
        "gates": {"dedup": {"minhash": THRESHOLD}},
    }


def on_disk(folder: Path) -> int:
    """Bytes of the files in a folder that others may be writing."""
    sizes = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                sizes += Path(place, name).stat().st_size
    return sizes


POLARS = """
import sys, polars as pl
rows = pl.read_parquet(["a.parquet", "b.parquet"]).unique("messages", keep="first", maintain_order=True)
rows = rows.sample(min(int(sys.argv[1]), rows.height), shuffle=True, seed=0)
rows.write_parquet("polars.parquet", compression="zstd")
"""


def blend(folder: Path, config: dict[str, Any], most: int = resource.RLIM_INFINITY) -> Spent:
    (folder / "blend.yaml").write_text(yaml.safe_dump(config))
    return watched([sys.executable, "-m", "gristmill.cli", "blend", "blend.yaml"], folder, most)


def watched(command: list[str], folder: Path, most: int = resource.RLIM_INFINITY) -> Spent:
    """Runs a command in a folder; it fails where it wants more than `most` bytes of memory of its own."""
    started, before = time.monotonic(), on_disk(folder)
    cache = {"GRISTMILL_CACHE": str(folder / "cache")}
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        env={**os.environ, **cache},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (most, most)),
    )
    private = disk = 0
    while True:
        done, status, used = os.wait4(process.pid, os.WNOHANG)
        if done:
            break
        told = Path(f"/proc/{process.pid}/status").read_text()
        private = max(private, int(told.split("RssAnon:")[1].split()[0]) if "RssAnon:" in told else 0)
        disk = max(disk, on_disk(folder) - before)
        time.sleep(0.05)
    assert status == 0, f"{command} failed"
    taken = time.monotonic() - started
    return Spent(taken, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, private / 1024, disk)


def show(name: str, rows: int, spent: Spent) -> None:
    print(
        f"{name:<16} {spent.wall:6.1f} s, {spent.cpu:6.1f} s of CPU, {rows / spent.cpu:,.0f} rows/s and core; "
        f"{spent.resident:,.0f} MiB, {spent.private:,.0f} of them not pages of files",
        flush=True,
    )


if __name__ == "__main__":
    main()
