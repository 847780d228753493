"""Whole runs on the embedded model: real answers, a server that dies on the way, a prompt that is too long."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest
import yaml

from gristmill.embedded import running_server

pytestmark = pytest.mark.embedded


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRISTMILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GRISTMILL_EMBEDDED_IDLE", "2")
    rows = [{"text": f"The {word} is a bird."} for word in ("heron", "wren", "kite", "swift", "rook", "crane")]
    (tmp_path / "seeds.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)))
    schema = {"question": {"type": "string", "minLength": 5, "maxLength": 80}}
    steps = [
        {"name": "asked", "role": "writer", "prompt": "{{ text }} Ask one question about it.", "schema": schema},
        {"name": "answer", "role": "writer", "prompt": "{{ text }} {{ asked.question }}"},
    ]
    turns = [{"role": "user", "content": "{{ asked.question }}"}, {"role": "assistant", "content": "{{ answer }}"}]
    content = {
        "generator": "template",
        "seeds": "seeds.jsonl",
        "models": {"default": {"endpoint": "embedded", "temperature": 0, "max_tokens": 48}},
        "params": {"steps": steps, "messages": turns},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(content))
    return tmp_path / "run.yaml"


def generate(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gristmill.cli", "generate", "run.yaml", "--quiet"]
    return subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)


def test_a_run_survives_the_death_of_the_server(config: Path) -> None:
    process = generate(config.parent)
    ledger = config.parent / "runs/run/ledger.sqlite"
    while process.poll() is None and not (ledger.exists() and (state := running_server()) and state.port):
        time.sleep(0.02)
    time.sleep(0.5)
    assert process.poll() is None and state is not None
    os.kill(state.pid, signal.SIGKILL)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    summary = orjson.loads((config.parent / "runs/run/summary.json").read_bytes())
    assert summary["tasks"] == 6 == summary["accepted"] + summary["rejected"] and summary["accepted"] > 0
    for row in pq.read_table(config.parent / "runs/run/records").to_pylist():
        assert all(message["content"].strip() for message in row["messages"])
    assert summary["tokens"]["output"] > 0 and summary["usd"] == 0


def test_a_prompt_beyond_the_context_is_the_tasks_result(config: Path) -> None:
    (config.parent / "seeds.jsonl").write_bytes(orjson.dumps({"text": "many words " * 5000}))
    process = generate(config.parent)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    (reject,) = pq.read_table(config.parent / "runs/run/rejects").to_pylist()
    assert (reject["stage"], reject["reason"]) == ("llm", "context_length")
