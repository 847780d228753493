"""A run of two calls per row, a question and then a verdict of a fixed shape, for tests of the runtime."""

from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import yaml

from gristmill.commands.generate import run_plan
from gristmill.plan import make_plan
from gristmill.runs import RunFolder
from schemas.run_config import RunConfig

STEPS: list[dict[str, Any]] = [
    {"name": "question", "role": "writer", "prompt": "Write one question about: {{ text }}"},
    {"name": "verdict", "role": "judge", "prompt": "Score the question {{ question }} for the text {{ text }}",
     "schema": {"score": {"type": "integer", "minimum": 1, "maximum": 5}}},
]  # fmt: skip
TURNS = [{"role": "user", "content": "{{ question }}"}, {"role": "assistant", "content": "{{ text }}"}]


def two_calls(folder: Path, url: str | list[str], rows: int, **more: Any) -> dict[str, Any]:
    """The config of a run over `rows` seed rows, which are written to `folder`; `model` adds to the default role."""
    seeds = folder / f"seeds{rows}.jsonl"
    lines = [
        orjson.dumps({"text": f"fact {n}", "kind": "abc"[n % 3]}, option=orjson.OPT_APPEND_NEWLINE) for n in range(rows)
    ]
    seeds.write_bytes(b"".join(lines))
    model = {"endpoint": url, "model": "m", "price": {"input": 1, "output": 1}, **more.pop("model", {})}
    return {
        "generator": "template",
        "seeds": str(seeds),
        "models": {"default": model},
        "params": {"steps": STEPS, "messages": TURNS},
        **more,
    }


def run(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """`gristmill generate` in this process; the summary."""
    return run_plan(make_plan(RunConfig.model_validate(config)), RunFolder(folder), quiet=True)


def write(config: dict[str, Any], path: Path) -> Path:
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def records_file(folder: Path) -> bytes:
    return (folder / "records" / "part-00000.parquet").read_bytes()


def rows_of(folder: Path, table: str = "records") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / table).to_pylist()
    return rows
