"""What is measured: a line per optimizer step in OUT/metrics.jsonl, and the losses on conversations held out."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from gristmill.runs import write_atomically
from schemas.base import Data
from sft.batches import Document, padded_batches
from sft.loss import target_losses
from sft.model import CausalLM, trunk_states
from sft.mtp import shift


class StepMetrics(Data):
    """One optimizer step, over all ranks. `loss` is the main head's, `mtp_loss` the mean over depths, not scaled."""

    step: int
    stage: str
    loss: float | None  # null where only the MTP head trains
    mtp_loss: float | None  # null without an MTP head
    tokens: int
    conversations: int
    lr: float
    grad_norm: float  # before clipping
    tokens_per_s: float


class MetricsLog:
    """metrics.jsonl: appended to after each step; a resumed run first drops the lines after its last state."""

    def __init__(self, path: Path, steps: int) -> None:
        self._path = path
        kept = [line for line in read_metrics(path) if line.step <= steps]
        write_atomically(path, "".join(line.to_json() + "\n" for line in kept))

    def append(self, line: StepMetrics) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line.to_json() + "\n")


def read_metrics(path: Path) -> list[StepMetrics]:
    """Its complete lines; a last line without an end was cut off when a run was killed."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [StepMetrics.from_json(line) for line in lines if line.endswith("\n")]


class HeldOut(Data):
    """Main-head losses on held-out conversations, in nats per supervised token."""

    conversations: int
    tokens: int
    per_token: float
    per_conversation: float  # mean of each conversation's mean
    per_conversation_shortest_third: float  # the same on the third with the fewest supervised tokens


class ConversationLoss(NamedTuple):
    targets: int
    loss: float  # summed over its targets


@torch.no_grad()
def held_out(model: CausalLM, documents: Sequence[Document], tokens_at_once: int) -> HeldOut:
    """Measured over `documents`, which all have supervised tokens."""
    each: list[ConversationLoss] = []
    for batch in padded_batches(documents, tokens_at_once):
        batch = batch.to(model.device)
        at = batch.loss_mask.nonzero(as_tuple=True)
        states = trunk_states(model, batch.input_ids)
        losses = target_losses(model.get_output_embeddings(), states[at], shift(batch.input_ids, 1)[at])
        sums = torch.zeros(len(batch.lengths), dtype=torch.float64, device=losses.device)
        sums.index_add_(0, at[0], losses.double())
        counts = batch.loss_mask.sum(dim=1).tolist()
        each += map(ConversationLoss, counts, sums.tolist())
    each.sort()
    return HeldOut(
        conversations=len(each),
        tokens=sum(one.targets for one in each),
        per_token=sum(one.loss for one in each) / sum(one.targets for one in each),
        per_conversation=_mean_of_means(each),
        per_conversation_shortest_third=_mean_of_means(each[: math.ceil(len(each) / 3)]),
    )


def _mean_of_means(conversations: Sequence[ConversationLoss]) -> float:
    return sum(one.loss / one.targets for one in conversations) / len(conversations)


def unigram_entropy(documents: Iterable[Document]) -> float:
    """The entropy, in nats, of the supervised tokens' own distribution: the best loss without any context."""
    seen: Counter[int] = Counter()
    for document in documents:
        seen.update(document.input_ids[1:][document.loss_mask[:-1].astype(np.bool_)].tolist())
    total = sum(seen.values())
    return -sum(n / total * math.log(n / total) for n in seen.values())
