"""OUT/state/: what a resume needs, so that an interrupted run ends bit for bit as an uninterrupted one.

    state/step-00000120-1/   model.safetensors (fp32, with the expert biases), optimizer.pt (and RNGs), progress.json
    state/latest             the name of the newest complete one; older ones are removed

A state becomes the latest by one rename, so a run killed at any moment finds the last complete one.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, JsonValue
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from gristmill.errors import GristmillError
from gristmill.runs import write_atomically
from schemas import Data
from sft.report import Measured, StageResult
from sft.stages import Cursor


class Progress(Data):
    """How far a run has come."""

    config: dict[str, JsonValue] = Field(default_factory=dict)
    data: dict[str, str] = Field(default_factory=dict)  # the key of each stage's packs
    step: int = 0  # optimizer steps over all stages
    stage: int = 0  # the stage that runs, or comes next
    cursor: Cursor = Cursor()  # within that stage
    frozen: str | None = None  # in a stage that trains a part, the hash of every tensor that must not change
    start: Measured | None = None  # before the first step
    results: list[StageResult] = Field(default_factory=list)  # of the stages that are finished


def save_state(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None, progress: Progress) -> None:
    name = f"step-{progress.step:08d}-{progress.stage}"
    if _latest(folder) != folder / name:
        draft = folder / f"{name}.new"
        for leftover in (draft, folder / name):
            shutil.rmtree(leftover, ignore_errors=True)
        draft.mkdir(parents=True)
        with writing(draft):
            save_model(model, str(draft / "model.safetensors"))
            moments = optimizer.state_dict() if optimizer else None
            torch.save({"optimizer": moments, "rng": _rng_states()}, draft / "optimizer.pt")
        (draft / "progress.json").write_text(progress.to_json(), encoding="utf-8")
        draft.rename(folder / name)
    write_atomically(folder / "latest", name)
    for other in folder.glob("step-*"):
        if other.name != name:
            shutil.rmtree(other)


@contextmanager
def writing(draft: Path) -> Iterator[None]:
    """Within it, tensors that can't be written end the run with a sentence; what was written of them is removed."""
    try:
        yield
    except (RuntimeError, SafetensorError) as error:  # what torch and safetensors make of a full disk
        shutil.rmtree(draft, ignore_errors=True)
        raise GristmillError(
            f"{draft.parent}: can't be written, perhaps because the disk is full ({' '.join(str(error).split())}). The "
            "last state is kept; make room and repeat the command."
        ) from error


def load_progress(folder: Path) -> Progress | None:
    """None where no state was saved yet."""
    latest = _latest(folder)
    return Progress.from_json((latest / "progress.json").read_bytes()) if latest else None


def load_weights(folder: Path, model: nn.Module) -> None:
    """The model's weights in the latest state, which must exist."""
    load_model(model, str(_existing(folder) / "model.safetensors"))


def load_optimizer(folder: Path, optimizer: torch.optim.Optimizer) -> None:
    """The optimizer's state in the latest state and, with it, those of the random number generators."""
    saved: dict[str, Any] = torch.load(_existing(folder) / "optimizer.pt", weights_only=True)
    optimizer.load_state_dict(saved["optimizer"])
    torch.set_rng_state(saved["rng"][0])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all(saved["rng"][1:])


def _rng_states() -> list[torch.Tensor]:
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [])]


def _latest(folder: Path) -> Path | None:
    pointer = folder / "latest"
    return folder / pointer.read_text(encoding="utf-8") if pointer.exists() else None


def _existing(folder: Path) -> Path:
    latest = _latest(folder)
    if latest is None:
        raise FileNotFoundError(folder / "latest")
    return latest
