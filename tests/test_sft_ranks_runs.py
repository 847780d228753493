"""Whole runs on two ranks, and what ends them: resumed, resumed by one, killed, told to stop, without a number."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from gristmill.errors import GristmillError
from schemas.sft_config import SFTConfig, Stage
from sft import step as step_module
from sft import train as train_module
from sft.metrics import StepMetrics, read_metrics
from sft.prep import prepare
from sft.state import load_progress
from sft.train import Training
from sft.world import World
from tests.ranks import RANKS, on_two_ranks
from tests.test_train import Listen, Watching, assert_same, comparable, config, records, run, weights, write_blend

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def blend(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blend(tmp_path_factory.mktemp("blend"), train=records(30), valid=records(7, first=100))


def run_rank(world: World, made: SFTConfig, listen: Listen = lambda _: None) -> None:
    train_module.ACCEPTANCE_PROMPTS, train_module.ACCEPTANCE_TOKENS, train_module.SAVE_SECONDS = 3, 6, 0.0
    renderer, data = prepare(made)
    Training(made, renderer, data, world, Watching(listen)).run()


def interrupted_runs(world: World, whole: SFTConfig, parted: SFTConfig, for_one: SFTConfig) -> None:
    """One to the end; one that stops where only the second rank is told to, in every stage; one that stops for good."""
    run_rank(world, whole)

    def stop_at(step: int) -> Listen:
        def stop(metrics: StepMetrics) -> None:
            if metrics.step == step and world.rank == 1:
                os.kill(os.getpid(), signal.SIGTERM)

        return stop

    last = len(comparable(whole))
    for made, stops in ((parted, (2, 5, last - 2)), (for_one, (7,))):
        for step in stops:
            with pytest.raises(KeyboardInterrupt):
                run_rank(world, made, stop_at(step))
    run_rank(world, parted)


@pytest.fixture(scope="module")
def runs(blend: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, SFTConfig]:
    folder = tmp_path_factory.mktemp("runs")
    made = {name: config(blend, folder / name) for name in ("whole", "parted", "for one")}
    for each in made.values():
        prepare(each)
    assert on_two_ranks(interrupted_runs, *made.values()) == [0, 0]
    return made


def test_resumed_on_two_ranks_is_uninterrupted(runs: dict[str, SFTConfig]) -> None:
    """Bit for bit, in mid-stage, at a stage's end and while healing."""
    assert_same(runs["parted"], runs["whole"])


def test_two_ranks_heal_the_head_alone(runs: dict[str, SFTConfig]) -> None:
    before, after = weights(runs["whole"], "sample"), weights(runs["whole"], "heal")
    assert before.keys() == after.keys()
    changed = {name for name in before if before[name].numpy().tobytes() != after[name].numpy().tobytes()}
    assert changed and all(name.startswith("mtp.") for name in changed)


def test_one_process_goes_on_where_two_have_stopped(
    runs: dict[str, SFTConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the very weights and moments: the next step has the loss and the gradient that two ranks would have had."""
    monkeypatch.setattr(train_module, "ACCEPTANCE_PROMPTS", 3)
    monkeypatch.setattr(train_module, "ACCEPTANCE_TOKENS", 6)
    shutil.copytree(runs["for one"].out, tmp_path / "out")
    made = runs["for one"].model_copy(update={"out": tmp_path / "out"})
    run(made)
    found, expected = comparable(made), comparable(runs["whole"])
    assert found[:7] == expected[:7] and found[7] != expected[7]
    for key in ("loss", "mtp_loss", "grad_norm"):
        assert found[7][key] == pytest.approx(expected[7][key], rel=1e-6)
    assert [line["step"] for line in found] == [line["step"] for line in expected]


def endless(blend: Path, out: Path) -> SFTConfig:
    long = Stage(name="long", global_batch=4, lr=1e-3, steps=100_000)
    return config(blend, out, stages=[long.model_dump()])


def run_out_of_memory(world: World, made: SFTConfig) -> None:
    def too_small(*_: object) -> None:
        raise torch.OutOfMemoryError

    with patch.object(step_module, "batch_loss", too_small) if world.rank == 1 else nullcontext():
        try:
            run_rank(world, made)
        except GristmillError as error:
            (made.out / f"said-by-{world.rank}").write_text(str(error))
            raise


def test_a_rank_that_is_out_of_memory_ends_the_other_and_alone_says_why(blend: Path, tmp_path: Path) -> None:
    made = endless(blend, tmp_path / "out")
    prepare(made)
    assert on_two_ranks(run_out_of_memory, made) == [1, 1]
    assert "lower stages.long.micro_tokens" in (made.out / "said-by-1").read_text()
    assert not (made.out / "said-by-0").exists()


# --- by the command


def command(made: SFTConfig, folder: Path, *options: str) -> subprocess.Popen[str]:
    path = folder / "sft.yaml"
    path.write_text(made.model_dump_json(exclude_none=True))
    arguments = [sys.executable, "-m", "gristmill.cli", "sft", str(path), "--nproc", str(RANKS), *options]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_two_steps(made: SFTConfig, running: subprocess.Popen[str]) -> None:
    while len(read_metrics(made.out / "metrics.jsonl")) < 2:
        assert running.poll() is None
        time.sleep(0.05)


def sentences(stderr: str) -> list[str]:
    assert "Traceback" not in stderr
    return [line for line in stderr.splitlines() if line.startswith("gristmill: ")]


def test_a_rank_that_dies_ends_the_other_with_one_sentence(blend: Path, tmp_path: Path) -> None:
    made = endless(blend, tmp_path / "out")
    running = command(made, tmp_path)
    wait_for_two_steps(made, running)
    ranks = [int(pid) for pid in Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()]
    second = [pid for pid in ranks if b"RANK=1" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")]
    assert len(ranks) == RANKS and len(second) == 1
    os.kill(second[0], signal.SIGKILL)
    _, stderr = running.communicate(timeout=900)
    (sentence,) = sentences(stderr)
    assert running.returncode == 1 and re.search("a process of this run has died", sentence)


def test_told_to_stop_two_ranks_go_on_from_their_state(blend: Path, tmp_path: Path) -> None:
    made = endless(blend, tmp_path / "out")
    running = command(made, tmp_path)
    wait_for_two_steps(made, running)
    running.terminate()
    _, stderr = running.communicate(timeout=900)
    assert running.returncode == 130 and len(sentences(stderr)) == 1
    progress = load_progress(made.out / "state")
    lines = read_metrics(made.out / "metrics.jsonl")
    assert progress is not None and progress.step == len(lines) >= 2
    stages = [
        Stage(name="long", global_batch=4, lr=1e-3, steps=2),
        Stage(name="next", global_batch=4, lr=1e-3, steps=1),
    ]
    going_on = command(made.model_copy(update={"stages": stages}), tmp_path, "--reset-optimizer")
    stdout, stderr = going_on.communicate(timeout=900)
    assert going_on.returncode == 0 and sentences(stderr) == []
    assert f"Resumed after step {len(lines)}." in stderr and "Held-out losses" in stdout
    found = read_metrics(made.out / "metrics.jsonl")
    assert [line.step for line in found] == list(range(1, len(lines) + 4))
    assert [line.stage for line in found[len(lines) :]] == ["long", "long", "next"]
    assert weights(made, "next").keys() == weights(made, "long").keys()


def test_a_loss_that_is_no_number_ends_both_with_one_sentence(blend: Path, tmp_path: Path) -> None:
    hot = Stage(name="hot", global_batch=4, lr=1e30, steps=9)
    made = config(blend, tmp_path / "out", stages=[hot.model_dump()])
    running = command(made, tmp_path)
    _, stderr = running.communicate(timeout=900)
    (sentence,) = sentences(stderr)
    assert running.returncode == 1 and "step 2 (hot): the loss is no longer a number" in sentence
    listed = json.loads((made.out / "failed-step-2.json").read_text())
    assert len(listed) == len(set(listed)) > 1
