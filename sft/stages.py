"""A stage's plan: which packs make each optimizer step, at which learning rate, and which weights they train.

Everything here is a pure function of the config and of how far the stage has come, which is why a resumed run needs
no more than a `Cursor`.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from schemas.sft_config import BETAS, WEIGHT_DECAY, Stage, Trained


class Cursor(NamedTuple):
    """How far a stage has come: optimizer steps done, packs and conversations seen in them."""

    step: int = 0
    packs: int = 0
    conversations: int = 0


class Plan:
    """The optimizer steps of `stage` over `packs` packs, which are shuffled anew in each epoch."""

    def __init__(self, stage: Stage, packs: int, seed: tuple[int, int]) -> None:
        self.stage = stage
        self._packs, self._seed = packs, seed
        self.steps_per_epoch = math.ceil(packs / stage.global_batch)
        self.steps = stage.steps or (stage.epochs or 1) * self.steps_per_epoch
        self._order = lru_cache(maxsize=1)(self._shuffled)

    def packs_of(self, step: int) -> list[int]:
        """The packs of a step, counted from 0; an epoch's last step may hold fewer than `global_batch`."""
        epoch, within = divmod(step, self.steps_per_epoch)
        first = within * self.stage.global_batch
        numbers: list[int] = self._order(epoch)[first : first + self.stage.global_batch].tolist()
        return numbers

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng([*self._seed, epoch]).permutation(self._packs)

    def learning_rate(self, seen: Cursor) -> float:
        """The rate of a step, `seen` including what that step holds: a linear warm-up times the schedule.

        The cosine runs from 1 at the stage's first step to 0 after its last.
        """
        count, unit = self.stage.warmup.count, self.stage.warmup.unit
        warmed = min(1.0, (seen.packs if unit == "packs" else seen.conversations) / count) if count else 1.0
        cosine = 0.5 * (1 + math.cos(math.pi * (seen.step - 1) / self.steps))
        return self.stage.lr * warmed * (cosine if self.stage.schedule == "cosine" else 1.0)


def is_adapter(name: str) -> bool:
    """Whether a weight is LoRA's, by peft's name for it."""
    return ".lora_" in name


def is_trained(name: str, train: Trained) -> bool:
    """Whether a stage trains the weight of this name; LoRA's adapters train in their own stages only."""
    match train:
        case "all":
            return not is_adapter(name)
        case "mtp":
            return name.startswith("mtp.")
        case "lora":
            return is_adapter(name)


def trained_parameters(model: nn.Module, stage: Stage) -> list[nn.Parameter]:
    """The parameters that the stage trains; all others are set to need no gradient."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(is_trained(name, stage.train))
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def new_optimizer(parameters: Sequence[nn.Parameter]) -> torch.optim.AdamW:
    """AdamW; norms, biases and the other vectors (Mamba's A, D and time steps) are not decayed."""
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=BETAS, fused=True)
