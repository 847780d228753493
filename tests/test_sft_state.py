"""The state that a run resumes from: SIGKILL wherever in its writing, and a disk that is full."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from gristmill.errors import GristmillError
from schemas.sft_config import Stage
from sft.model import CausalLM, Vocabulary, load_model
from sft.stages import new_optimizer, trained_parameters
from sft.state import Progress, load_optimizer, load_progress, load_weights, save_state
from sft.world import World
from tests.ranks import PROCESSES

WORLD = World(0, 1, torch.device("cpu"))
STAGE = Stage(name="s", global_batch=1, lr=1.0, steps=1)

pytestmark = pytest.mark.usefixtures("one_thread")


def model_and_optimizer() -> tuple[CausalLM, torch.optim.Optimizer]:
    model = load_model("tiny", Vocabulary(60, 1, 0), seed=0)[0]
    return model, new_optimizer(trained_parameters(model, STAGE))


def save(folder: Path, step: int) -> None:
    """A state whose every weight, and every moment, is the number of the step."""
    model, optimizer = model_and_optimizer()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(step)
            for moment in ("exp_avg", "exp_avg_sq"):
                optimizer.state[parameter][moment].fill_(step)
    save_state(folder, model, optimizer, Progress(step=step), WORLD)


def check(folder: Path) -> int:
    """The step of the latest state, of which nothing may be another's."""
    progress = load_progress(folder)
    assert progress is not None
    model, optimizer = model_and_optimizer()
    load_weights(folder, model)
    load_optimizer(folder, model, optimizer, WORLD)
    for parameter in model.parameters():
        held = [parameter.detach(), *(optimizer.state[parameter][moment] for moment in ("exp_avg", "exp_avg_sq"))]
        assert all(torch.equal(tensor, torch.full_like(tensor, progress.step)) for tensor in held)
    return progress.step


def save_until_killed(folder: Path, touch: int) -> None:
    """SIGKILL at the `touch`th time that something in the folder is opened to be written, made, renamed or removed."""
    torch.set_num_threads(1)
    touched = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal touched
        changes = event in {"os.mkdir", "os.rename", "os.remove", "os.rmdir"}
        if (changes or (event == "open" and "r" not in str(arguments[1]))) and str(folder) in str(arguments[0]):
            touched += 1
            if touched == touch:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    save(folder, touch)


def test_sigkill_wherever_in_a_write_leaves_a_whole_state(tmp_path: Path) -> None:
    """Each attempt finds what the one before has left."""
    folder = tmp_path / "state"
    save(folder, 0)
    found: list[int] = []
    while True:
        process = PROCESSES.Process(target=save_until_killed, args=(folder, len(found) + 1))
        process.start()
        process.join()
        found.append(check(folder))
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
    assert found == sorted(found) and found.count(0) > 4 and found[-1] == len(found)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_full_disk_is_one_sentence_and_keeps_the_state_before(tmp_path: Path) -> None:
    """Room for one state, but not for two."""
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", small], check=True)
    try:
        save(small / "state", 1)
        with pytest.raises(GristmillError, match="state: can't be written, perhaps because the disk is full") as error:
            save(small / "state", 2)
        assert "\n" not in str(error.value)
        assert check(small / "state") == 1
        subprocess.run(["mount", "-o", "remount,size=64m", small], check=True)
        save(small / "state", 3)
        assert check(small / "state") == 3
    finally:
        subprocess.run(["umount", "--lazy", small], check=True)
