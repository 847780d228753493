"""OUT/state/: what a resume needs, so that an interrupted run ends bit for bit as an uninterrupted one.

    state/step-00000120-1/   progress.json, rng-RANK.pt, and by torch.distributed.checkpoint the weights in fp32, the
                             experts' biases and the optimizer's moments: each rank writes its slices
    state/latest             the name of the newest complete one; older ones are removed

A state becomes the latest by one rename, when all of it is on the disk, so a run killed at any moment finds the last
complete one, and so does one whose machine has lost its power. It can be read by
any number of ranks.
"""

import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from pydantic import Field, JsonValue
from safetensors import SafetensorError
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from gristmill.errors import GristmillError
from gristmill.runs import write_atomically
from schemas import Data
from sft.model import CausalLM
from sft.report import Measured, StageResult
from sft.stages import Cursor
from sft.world import World


class Progress(Data):
    """How far a run has come."""

    config: dict[str, JsonValue] = Field(default_factory=dict)
    data: dict[str, str] = Field(default_factory=dict)  # the key of each stage's packs
    step: int = 0  # optimizer steps over all stages
    stage: int = 0  # the stage that runs, or comes next
    cursor: Cursor = Cursor()  # within that stage
    frozen: list[str] | None = None  # in a stage that trains a part, each rank's hash of what must not change
    start: Measured | None = None  # before the first step
    results: list[StageResult] = Field(default_factory=list)  # of the stages that are finished


def save_state(
    folder: Path, model: CausalLM, optimizer: torch.optim.Optimizer | None, progress: Progress, world: World
) -> None:
    """By all ranks together."""
    name = f"step-{progress.step:08d}-{progress.stage}"
    draft = folder / f"{name}.new"
    if _latest(folder) != folder / name:
        if world.leads:
            for leftover in (draft, folder / name):
                shutil.rmtree(leftover, ignore_errors=True)
            draft.mkdir(parents=True)
        world.wait()
        with writing(draft):
            _save(
                draft,
                {"model": _weights(model)}
                | ({"optimizer": get_optimizer_state_dict(model, optimizer)} if optimizer else {}),
            )
            torch.save(_rng_states(), draft / f"rng-{world.rank}.pt")
            _sync(draft / f"rng-{world.rank}.pt")
        world.wait()
        if world.leads:
            (draft / "progress.json").write_text(progress.to_json(), encoding="utf-8")
            _sync(draft / "progress.json")
            _sync(draft)
            draft.rename(folder / name)
            _sync(folder)
    if world.leads:
        write_atomically(folder / "latest", name)
        _sync(folder / "latest")
        _sync(folder)
        for other in folder.glob("step-*"):
            if other.name != name:
                shutil.rmtree(other)
    world.wait()


@contextmanager
def writing(draft: Path) -> Iterator[None]:
    """Within it, tensors that can't be written end the run with a sentence; what was written of them is removed."""
    try:
        yield
    except (RuntimeError, SafetensorError, CheckpointException) as error:  # what is made of a full disk
        shutil.rmtree(draft, ignore_errors=True)
        raise GristmillError(
            f"{draft.parent}: can't be written, perhaps because the disk is full ({_reason(error)}). The last state is "
            "kept; make room and repeat the command."
        ) from error


def _reason(error: BaseException) -> str:
    if isinstance(error, CheckpointException):
        error = next(iter(error.failures.values()))[0]
    return " ".join(str(error).split())


@contextmanager
def _reading(state: Path) -> Iterator[None]:
    """Within it, a state that can't be read ends the run with a sentence."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (OSError, ValueError, RuntimeError, UnpicklingError, CheckpointException) as error:
        raise GristmillError(
            f"{state}: this state can't be read ({_reason(error)}). Bring it back as it was; or remove {state.parent}, "
            "and the run begins anew."
        ) from error


def _sync(path: Path) -> None:
    """A file, or what a folder lists, is on the disk; torch.distributed.checkpoint does so with what it writes."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load_progress(folder: Path) -> Progress | None:
    """None where no state was saved yet; GristmillError where it can't be read."""
    latest = _latest(folder)
    if latest is None:
        return None
    with _reading(latest):
        return Progress.from_json((latest / "progress.json").read_bytes())


def load_weights(folder: Path, model: CausalLM) -> None:
    """The model's weights in the latest state, which must exist."""
    _load(_existing(folder), {"model": _weights(model)})


def load_optimizer(folder: Path, model: CausalLM, optimizer: torch.optim.Optimizer, world: World) -> None:
    """The optimizer's state in the latest state and, with it, that of this rank's random number generators."""
    latest = _existing(folder)
    state: dict[str, Any] = get_optimizer_state_dict(model, optimizer)
    _load(latest, {"optimizer": state})
    set_optimizer_state_dict(model, optimizer, state)
    drawn = latest / f"rng-{world.rank}.pt"
    if drawn.exists():  # not for a rank that the run did not have
        with _reading(latest):
            saved = torch.load(drawn, weights_only=True)
        torch.set_rng_state(saved[0])
        if torch.cuda.is_available():
            torch.cuda.set_rng_state(saved[1])


def _weights(model: CausalLM) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in model.state_dict().items() if name not in model.all_tied_weights_keys}


def _save(folder: Path, tensors: dict[str, Any]) -> None:
    with _alone():
        save(tensors, checkpoint_id=folder)


def _load(folder: Path, tensors: dict[str, Any]) -> None:
    """Into the tensors themselves."""
    with _alone(), _reading(folder):
        load(tensors, checkpoint_id=folder)


@contextmanager
def _alone() -> Iterator[None]:
    """Without torch's warning that a run of one process is one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        yield


def _rng_states() -> list[torch.Tensor]:
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state()] if torch.cuda.is_available() else [])]


def _latest(folder: Path) -> Path | None:
    pointer = folder / "latest"
    return folder / pointer.read_text(encoding="utf-8") if pointer.exists() else None


def _existing(folder: Path) -> Path:
    latest = _latest(folder)
    if latest is None:
        raise FileNotFoundError(folder / "latest")
    return latest
