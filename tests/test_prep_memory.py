"""`gristmill prep` reads a blend in bounded memory."""

import random
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from gristmill.render.tokenizers import train
from schemas import Record, assistant, user
from schemas.arrow import RECORDS, records_to_table
from tests.memory import peak_of

GROUP_ROWS = 500  # of 40 kB each
GROWTH = 1.3
PREP = """
from gristmill.cli import main
from sft import rendering
rendering.SHARD_BYTES = 2**21  # so that as many shards as ever are on their way with either blend
raise SystemExit(main(["prep", "prep.yaml"]))
"""


def write_blend(folder: Path, groups: int) -> Path:
    """Row groups of 20 MB that don't compress well. Most of a row is metadata, which is read but not tokenised."""
    (folder / "train").mkdir(parents=True)
    (folder / "valid").mkdir()
    with pq.ParquetWriter(folder / "train/0.parquet", RECORDS) as writer:
        for group in range(groups):
            rng = random.Random(group)
            writer.write_table(
                records_to_table(
                    Record(
                        messages=[user(f"{group} {n}?"), assistant("Yes.")],
                        metadata={"x": f"{rng.getrandbits(160_000):x}"},
                    )
                    for n in range(GROUP_ROWS)
                )
            )
    return folder


def peak_mib(folder: Path, groups: int) -> float:
    """The largest memory of the process that reads, without the pages of files."""
    blend = write_blend(folder / f"blend{groups}", groups)
    config = {
        "out": f"out{groups}",
        "data": {"blend": str(blend), "tokenizer": "tokenizer", "pack_tokens": 256},
        "stages": [{"name": "only", "global_batch": 1, "lr": 1e-3, "steps": 1}],
    }
    (folder / "prep.yaml").write_text(yaml.safe_dump(config))
    process = subprocess.Popen([sys.executable, "-c", PREP], cwd=folder, stdout=subprocess.DEVNULL)
    return peak_of(process)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read from /proc")
def test_memory_does_not_grow_with_the_blend(tmp_path: Path) -> None:
    """Six times the rows, 120 MB then, take about the memory that a sixth of them takes."""
    train("train:300", ["Yes. Is it so?"]).save(tmp_path / "tokenizer", "{{ messages }}")
    few, many = peak_mib(tmp_path, 1), peak_mib(tmp_path, 6)
    assert many < GROWTH * few, f"{few:.0f} MiB for {GROUP_ROWS} rows, {many:.0f} for {6 * GROUP_ROWS}"
