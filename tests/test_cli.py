"""The command line against a real server: exit statuses, one sentence each, kills, secrets."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
import yaml

from gristmill.testing import Faults, FaultServer
from tests.conftest import CLI

ROWS = 40


def write_config(folder: Path, url: str, **more: Any) -> Path:
    rows = [{"text": f"fact number {n}"} for n in range(ROWS)]
    (folder / "seeds.jsonl").write_bytes(b"\n".join(orjson.dumps(row) for row in rows))
    steps = [
        {"name": "question", "role": "writer", "prompt": "Write one question about: {{ text }}"},
        {"name": "verdict", "role": "judge", "prompt": "Score {{ question }} for {{ text }}",
         "schema": {"score": {"type": "integer", "minimum": 1, "maximum": 5}}},
    ]  # fmt: skip
    turns = [{"role": "user", "content": "{{ question }}"}, {"role": "assistant", "content": "{{ text }}"}]
    config = {
        "generator": "template",
        "seeds": "seeds.jsonl",
        "models": {"default": {"endpoint": url, "model": "m", "price": {"input": 1, "output": 1}}},
        "params": {"steps": steps, "keep_if": "verdict.score >= 3", "messages": turns},
        **more,
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(config))
    return folder / "run.yaml"


def one_sentence(done: subprocess.CompletedProcess[str], status: int) -> str:
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    sentence = done.stderr.strip().splitlines()[-1]
    assert sentence.startswith("gristmill: ")
    return sentence


def test_generate_resume_and_fresh(cli: CLI, tmp_path: Path) -> None:
    with FaultServer() as server:
        write_config(tmp_path, server.url)
        first = cli("generate", "run.yaml")
        assert first.returncode == 0, first.stderr
        summary = orjson.loads((tmp_path / "runs/run/summary.json").read_bytes())
        assert summary["tasks"] == ROWS == summary["accepted"] + summary["rejected"] + summary["failed"]
        assert pq.read_table(tmp_path / "runs/run/records").num_rows == summary["records"] > 0
        assert server.requests == 2 * ROWS
        assert cli("generate", "run.yaml").returncode == 0 and server.requests == 2 * ROWS
        changed = cli("generate", "run.yaml", "params.keep_if=verdict.score >= 4")
        assert changed.returncode == 0 and server.requests == 2 * ROWS, "a changed filter asks nothing again"
        assert cli("generate", "run.yaml", "--fresh").returncode == 0 and server.requests == 4 * ROWS
        assert (tmp_path / "runs/run.1/ledger.sqlite").is_file()


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["sample=5"], "unknown key sample. Did you mean samples?"),
        (["generator=templat"], "no generator is named 'templat'. Did you mean template?"),
        (["seeds=absent.jsonl"], "seeds: absent.jsonl doesn't exist"),
        (["models.default.temperature=warm"], "models.default.temperature"),
        (["models.default.api_key_env=ABSENT_KEY"], "the environment variable ABSENT_KEY is not set"),
        (["judges=[{name: rubrik}]"], "no judge is named 'rubrik'. Did you mean rubric?"),
        (["judges=[{name: rubric, min_scor: 3}]"], "Did you mean min_score?"),
    ],
)
def test_a_wrong_config_exits_with_2(cli: CLI, tmp_path: Path, overrides: list[str], sentence: str) -> None:
    write_config(tmp_path, "http://127.0.0.1:9/v1")
    assert sentence in one_sentence(cli("generate", "run.yaml", *overrides), 2)
    assert not (tmp_path / "runs").exists()


def test_an_unreachable_endpoint_exits_with_4_within_10_seconds(cli: CLI, tmp_path: Path) -> None:
    """Also where one call is all there is, which nothing wakes while it waits to be tried again."""
    write_config(tmp_path, "http://127.0.0.1:9/v1", tasks=1)
    sentence = one_sentence(cli("generate", "run.yaml"), 4)
    assert "http://127.0.0.1:9/v1 can't be reached" in sentence
    tried = re.search(r"tried for (\d+) s", sentence)
    assert tried and int(tried[1]) <= 10


def test_an_endpoint_lost_in_mid_run_is_waited_for(cli: CLI, tmp_path: Path) -> None:
    with FaultServer(Faults(latency=0.05)) as server:
        url = server.url
        write_config(tmp_path, url, patience=3, models={"default": {"endpoint": url, "model": "m", "max_in_flight": 4}})
        process = subprocess.Popen([sys.executable, "-m", "gristmill.cli", "generate", "run.yaml"], cwd=tmp_path,
                                   stderr=subprocess.PIPE, text=True)  # fmt: skip
        while server.requests < 20:
            time.sleep(0.01)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 4 and f"{url} can't be reached" in told and "Traceback" not in told


def test_a_refused_key_is_named_and_never_shown(cli: CLI, tmp_path: Path) -> None:
    secret = "sk-planted-0123456789"
    with FaultServer(api_key="another") as server:
        write_config(tmp_path, server.url)
        done = cli("generate", "run.yaml", "models.default.api_key_env=PLANTED_KEY", env={"PLANTED_KEY": secret})
        sentence = one_sentence(done, 2)
        assert "$PLANTED_KEY" in sentence and secret not in done.stdout + done.stderr
    with FaultServer(api_key=secret) as server:
        write_config(tmp_path, server.url)
        done = cli("generate", "run.yaml", "models.default.api_key_env=PLANTED_KEY", env={"PLANTED_KEY": secret})
        assert done.returncode == 0
    for path in (tmp_path / "runs").rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes(), f"{path} holds the key"


def test_the_budget_exits_with_3_and_too_few_records_with_6(cli: CLI, tmp_path: Path) -> None:
    with FaultServer() as server:
        write_config(tmp_path, server.url)
        assert "Raise `budget`" in one_sentence(cli("generate", "run.yaml", "budget.tokens=1500"), 3)
        assert "the tasks ran out" in one_sentence(cli("generate", "run.yaml", f"samples={ROWS}"), 6)
        assert server.requests == 2 * ROWS


def test_bad_lines_exit_with_5_unless_they_are_allowed(cli: CLI, tmp_path: Path) -> None:
    with FaultServer() as server:
        write_config(tmp_path, server.url)
        with (tmp_path / "seeds.jsonl").open("a") as seeds:
            seeds.write('\n{"text": broken}\n')
        assert "1 of 41 tasks failed" in one_sentence(cli("generate", "run.yaml"), 5)
        assert cli("generate", "run.yaml", "max_failed=0.1").returncode == 0
    rejects = pq.read_table(tmp_path / "runs/run/rejects").to_pylist()
    assert [row["task_id"] for row in rejects if row["status"] == "failed"] == [f"line:{ROWS + 1}"]


def test_a_folder_that_cannot_be_written(cli: CLI, tmp_path: Path) -> None:
    write_config(tmp_path, "http://127.0.0.1:9/v1")
    (tmp_path / "file").write_text("")
    assert "not a directory" in one_sentence(cli("generate", "run.yaml", "--run", "file/run"), 1)


def test_interrupted_exits_with_130_and_resumes(cli: CLI, tmp_path: Path) -> None:
    with FaultServer(Faults(latency=0.1)) as server:
        model = {"default": {"endpoint": server.url, "model": "m", "max_in_flight": 4}}
        write_config(tmp_path, server.url, models=model)
        command = [sys.executable, "-m", "gristmill.cli", "generate", "run.yaml"]
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        while server.requests < 20:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
        assert process.returncode == 130 and "interrupted" in told and "Traceback" not in told
        assert (tmp_path / "runs/run/summary.json").is_file()
        assert cli("generate", "run.yaml").returncode == 0
        assert server.requests <= 2 * ROWS + 4


def test_killed_anywhere_gives_the_same_records(cli: CLI, tmp_path: Path) -> None:
    """SIGKILL at random points, under faults; at most the calls in flight and of the last 10 ms are asked again."""
    kills, rng = 0, random.Random(int(os.environ.get("GRISTMILL_TEST_SEED", "0")))
    faults = Faults(status_429=0.05, status_500=0.05, reset=0.05, latency=0.03)
    with FaultServer(faults) as server:
        model = {"default": {"endpoint": server.url, "model": "m", "max_in_flight": 8}}
        write_config(tmp_path, server.url, models=model)
        assert cli("generate", "run.yaml", "--run", "undisturbed").returncode == 0
        undisturbed = server.requests
        (tmp_path / "runs").mkdir(exist_ok=True)
        command = [sys.executable, "-m", "gristmill.cli", "generate", "run.yaml", "--quiet"]
        for _ in range(100):
            process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
            before = server.requests
            stop_at = rng.randint(1, 30)
            while process.poll() is None and server.requests - before < stop_at:
                time.sleep(0.002)
            if process.poll() is None:
                time.sleep(rng.random() * 0.02)
                process.kill()
                kills += 1
            if process.wait() == 0:
                break
        assert process.returncode == 0 and kills >= 3
        again = server.requests - undisturbed - undisturbed
        assert again <= kills * 2 * 8
    one = (tmp_path / "undisturbed/records/part-00000.parquet").read_bytes()
    assert (tmp_path / "runs/run/records/part-00000.parquet").read_bytes() == one


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_full_disk_is_one_sentence_and_nothing_is_lost(cli: CLI, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=640k", "tmpfs", small], check=True)
    try:
        with FaultServer(script=lambda role, asked: random.Random(str(asked)).randbytes(8000).hex()) as server:
            write_config(tmp_path, server.url)
            params = ["params.steps=[{name: question, role: w, prompt: '{{ text }}'}]", "params.keep_if=''"]
            done = cli("generate", "run.yaml", "--run", small / "run", *params)
            assert "full" in one_sentence(done, 1) or "no space" in one_sentence(done, 1)
            subprocess.run(["mount", "-o", "remount,size=64m", small], check=True)
            before = server.requests
            assert cli("generate", "run.yaml", "--run", small / "run", *params).returncode == 0
            assert before + (ROWS - before) <= server.requests < before + ROWS, "what was answered was asked again"
        assert pq.read_table(small / "run/records").num_rows == ROWS
    finally:
        subprocess.run(["umount", "--lazy", small], check=True)  # a reader may still have a file open


def test_preview_list_show_explain_and_judge(cli: CLI, tmp_path: Path) -> None:
    with FaultServer() as server:
        write_config(tmp_path, server.url)
        assert "=== task" in cli("preview", "run.yaml", "-n", "2").stdout and server.requests == 4
        assert not (tmp_path / "runs").exists()
        cli("generate", "run.yaml")
        row = pq.read_table(tmp_path / "runs/run/records").to_pylist()[0]
        told = cli("explain", "runs/run", row["uuid"][:12])
        assert told.returncode == 0 and told.stdout.count("\ncall ") == 2 and "total" in told.stdout
        assert "has no record" in one_sentence(cli("explain", "runs/run", "ffffffffffff"), 2)
        (tmp_path / "judges.yaml").write_text(
            yaml.safe_dump(
                {"judges": [{"name": "rubric"}], "models": {"judge": {"endpoint": server.url, "model": "j"}}}
            )
        )
        before = pq.read_table(tmp_path / "runs/run/records").to_pylist()
        judged = cli("judge", "runs/run", "judges.yaml", "--run", "runs/judged")
        assert judged.returncode == 0, judged.stderr
    passed = pq.read_table(tmp_path / "runs/judged/records").to_pylist()
    rejected = pq.read_table(tmp_path / "runs/judged/rejects").to_pylist()
    assert 0 < len(passed) < len(before) == len(passed) + len(rejected)
    origin = {row["uuid"]: row for row in before}
    for row in passed:
        assert row["verdicts"][-1]["name"] == "rubric" and row["provenance"] == origin[row["uuid"]]["provenance"]
    listed = cli("list").stdout
    assert "template" in listed and "rubric" in listed


def test_no_arguments_and_unknown_commands(cli: CLI) -> None:
    assert "commands:" in cli().stdout
    assert cli("generat").returncode == 2
