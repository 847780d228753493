"""Small factories, for tests: runs over facts, a blend of them, and a training of a few steps."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from gristmill.config import laid_over
from tests.runs import two_calls, write

STAGES = [
    {"name": "token", "global_batch": 4, "lr": 1e-3, "steps": 3},
    {"name": "sample", "loss": "sample", "global_batch": 4, "lr": 1e-3, "steps": 2},
    {"name": "heal", "train": "mtp", "global_batch": 4, "lr": 1e-3, "steps": 2,
     "data": {"rollouts": {"max_tokens": 4}}},
]  # fmt: skip
TRAINING = {"data": {"tokenizer": "train:300", "pack_tokens": 256}, "precision": "fp32", "stages": STAGES}


def run_config(folder: Path, name: str, url: str, rows: int, **more: Any) -> Path:
    """A run over `rows` facts that no other run has."""
    (folder / name).mkdir()
    config = two_calls(folder / name, url, rows, **more)
    seeds = Path(config["seeds"])
    seeds.write_text(seeds.read_text("utf-8").replace("fact", f"{name} fact"), "utf-8")
    return write(config, folder / f"{name}.yaml")


def factory_config(folder: Path, url: str, **more: Any) -> Path:
    """Three shares of 100 rows: 40 have no source, 36 and 24 are made from 60 and 40 facts."""
    sources = [
        {"name": "code", "share": "reasoning", "run": run_config(folder, "code", url, 60).name},
        {"name": "talk", "share": "chat", "run": run_config(folder, "talk", url, 40).name},
        {"name": "shell", "share": "agent"},
    ]
    content = {
        "out": "out",
        "shares": {"agent": 40, "reasoning": 36, "chat": 24},
        "sources": sources,
        "blend": {"total": 100, "splits": {"train": 0.8, "valid": 0.2}},
    }
    return write(laid_over(content, more), folder / "factory.yaml")


def digests(out: Path) -> dict[str, str]:
    """Of everything that must be the same after any interruption."""
    files = [
        *out.glob("runs/*/records/*"),
        *out.glob("blend/*/*.parquet"),
        *out.glob("training/stages/*/*.safetensors"),
    ]
    found = {str(file.relative_to(out)): sha256(file.read_bytes()).hexdigest() for file in files}
    assert found
    return found


def summary_of(out: Path) -> dict[str, Any]:
    content = orjson.loads((out / "summary.json").read_bytes())
    return {share["name"]: share for share in content["shares"]}
