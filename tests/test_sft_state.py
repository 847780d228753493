"""The state that a run resumes from: SIGKILL wherever in its writing, and a disk that is full."""

import os
import shutil
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


def test_all_of_a_state_is_on_the_disk_before_it_is_the_latest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a machine that loses its power finds it, or the one before."""
    folder = tmp_path / "state"
    events: list[tuple[str, str]] = []
    fsync, rename, replace = os.fsync, Path.rename, Path.replace

    def synced(descriptor: int) -> None:
        events.append(("synced", str(Path(f"/proc/self/fd/{descriptor}").readlink())))
        fsync(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        events.append(("renamed", str(target)))
        return rename(path, target)

    def replaced(path: Path, target: Path) -> Path:
        events.append(("replaced", str(target)))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    monkeypatch.setattr(Path, "replace", replaced)
    save(folder, 1)
    state = folder / (folder / "latest").read_text()
    named = events.index(("renamed", str(state)))
    latest = events.index(("replaced", str(folder / "latest")))
    written = {str(path) for path in state.iterdir()}
    assert {"progress.json", "rng-0.pt", ".metadata"} < {Path(path).name for path in written}
    whole = {path.replace(f"{state}.new", str(state)).removesuffix(".tmp") for _, path in events[:named]}
    assert written | {str(state)} <= whole
    assert ("synced", str(folder)) in events[named:latest] and ("synced", str(folder / "latest")) in events[latest:]


@pytest.mark.parametrize("name", ["progress.json", ".metadata", "__0_0.distcp", "rng-0.pt", "all of it"])
def test_a_damaged_state_is_one_sentence(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    save(folder, 1)
    state = folder / (folder / "latest").read_text()
    if name == "all of it":
        shutil.rmtree(state)
    else:
        (state / name).write_bytes((state / name).read_bytes()[:40])
    with pytest.raises(GristmillError, match=r"state/step-00000001-0: this state can't be read \(.*or remove") as error:
        check(folder)
    assert "\n" not in str(error.value) and error.value.exit_status == 1
