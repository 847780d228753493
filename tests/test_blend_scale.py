"""A blend that is made on a Ray cluster is the same blend, and a large one is made in bounded memory."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from gristmill.errors import ConfigError, GristmillError
from gristmill.render.tokenizers import train
from schemas import Record, assistant, user
from schemas.arrow import RECORDS, records_to_table
from tests.blending import blend, parquet_bytes, write
from tests.memory import peak_of

MOST_MIB = 900
WORDS = ("harbour", "lantern", "meadow", "orchard", "pebble", "quarry", "river", "saddle", "timber", "valley")


def texts(number: int, words: int = 20) -> str:
    rng = random.Random(number)
    return " ".join(f"the {rng.choice(WORDS)} at {rng.randrange(10**6)}" for _ in range(words))


@pytest.mark.ray
def test_a_blend_on_ray_is_the_same_blend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "tokenizer"
    train("train:300", ["What is it?"]).save(folder, "")
    rows = [Record(messages=[user(f"{texts(n, 9)}?"), assistant(texts(n), reasoning="hm")]) for n in range(300)]
    rows += [Record(messages=[user(f"{texts(n, 9)}? "), assistant(texts(n) + " x")]) for n in range(40)]
    rows.append(Record(messages=[user("Mail me at a@firm.de?"), assistant("No.")]))
    config: dict[str, Any] = {
        "sources": [{"name": "a", "path": str(write(tmp_path / "a.parquet", rows)), "weight": 1}],
        "total": 30_000,
        "unit": "supervised_tokens",
        "tokenizer": str(folder),
        "gates": {
            "dedup": {"minhash": 0.8},
            "pii": {"action": "mask"},
            "languages": {"allow": ["en"], "certainty": 0.99},
        },
        "reasoning": {"off": 0.1},
    }
    made = []
    for kind, executor in (("local", {}), ("ray", {"kind": "ray", "workers": 2})):
        monkeypatch.setenv("GRISTMILL_CACHE", str(tmp_path / kind))
        made.append((blend(tmp_path, executor=executor, **config), parquet_bytes(tmp_path)))
    assert made[0] == made[1]
    assert made[0][0]["dropped"]["near_duplicate"] >= 39


def test_an_address_without_a_cluster_is_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    sources = [{"name": "a", "path": str(write(tmp_path / "a.parquet", [Record(messages=[user("q")])])), "weight": 1}]
    with pytest.raises((ConfigError, GristmillError), match=r"there is no Ray cluster at 127\.0\.0\.1:1"):
        blend(tmp_path, sources, 1, executor={"kind": "ray", "address": "127.0.0.1:1"})


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """12,000 rows more, 480 MB of text, take less memory than would hold them."""
    peaks = {}
    for parts in (2, 14):
        with pq.ParquetWriter(tmp_path / f"{parts}.parquet", RECORDS) as writer:
            for part in range(parts):
                writer.write_table(long_rows(1_000, part))
        peaks[parts] = peak_mib(tmp_path, f"{parts}.parquet", 950 * parts)
    assert peaks[14] < MOST_MIB and peaks[14] - peaks[2] < 440, peaks


def long_rows(count: int, part: int) -> pa.Table:
    """Rows of 40 kB that have nothing in common."""
    rng = random.Random(part)
    return records_to_table(
        Record(messages=[user(f"{part} {n}?"), assistant(f"{rng.getrandbits(160_000):x}")]) for n in range(count)
    )


def test_memory_hardly_grows_with_the_number_of_rows(tmp_path: Path) -> None:
    """200,000 rows more, of which a tenth are near-duplicates, take less memory than would hold them."""
    peaks = {}
    for rows in (60_000, 260_000):
        pq.write_table(short_rows(rows), tmp_path / f"{rows}.parquet")
        peaks[rows] = peak_mib(tmp_path, f"{rows}.parquet", rows)
        made = json.loads((tmp_path / "out/manifest.json").read_text())
        assert made["dropped"]["near_duplicate"] == rows // 10
    assert peaks[260_000] - peaks[60_000] < 240, peaks


def short_rows(count: int) -> pa.Table:
    """Rows of 1 kB, of which every tenth is a copy, with another end, of the one before it."""
    rng = random.Random(0)
    texts = [f"{rng.getrandbits(4_000):01000x}" for _ in range(count)]
    for number in range(9, count, 10):
        texts[number] = texts[number - 1][:980] + texts[number][980:]
    rows = (
        {
            "uuid": f"{number:032x}", "generator": "g", "version": "1", "category": "c", "task_id": f"{number}",
            "tools": "[]", "reasoning": "off", "metadata": "{}", "provenance": "{}",
            "messages": [{"role": "user", "content": f"{number}?"}, {"role": "assistant", "content": text}],
        }
        for number, text in enumerate(texts)
    )  # fmt: skip
    return pa.Table.from_pylist(list(rows), schema=RECORDS)


def peak_mib(folder: Path, source: str, total: int) -> float:
    """The largest memory of a blend's process, without the pages of files."""
    config = {
        "out": "out",
        "total": total,
        "short": "shrink",
        "sources": [{"name": "a", "path": source, "weight": 1}],
        "gates": {"dedup": {"minhash": 0.9}},
    }
    (folder / "blend.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "gristmill.cli", "blend", "blend.yaml"]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, env={"GRISTMILL_CACHE": str(folder / "cache")}
    )
    return peak_of(process)
