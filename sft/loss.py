"""The losses, as a sum of per-target cross-entropies whose weights are fixed before the step begins.

Over one optimizer step (all ranks, all micro-batches), with n^d_c the supervised targets of conversation c at depth d,
N^d their sum, and B+ the conversations that have any:

    token   L = (1/N^0) sum_{c,t} m l^0  +  L_mtp
    sample  L = (1/B+) sum_c (1/n^0_c) sum_t m l^0  +  L_mtp          L_mtp = (scale/D) sum_d (1/N^d) sum_{c,t} m l^d

Because the counts are global, a gradient depends neither on how conversations are packed nor on how packs are spread
over ranks and micro-batches. Source: Nemotron 3 Super report, section 3.1 (the two stages of SFT).
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from schemas.sft_config import LossKernel, Trained
from sft.batches import Batch
from sft.documents import Document
from sft.experts import ExpertBalance
from sft.model import CausalLM, trunk_states

LossKind = Literal["token", "sample"]

TARGETS_AT_ONCE = 1024  # logits of so many targets exist at a time


class Objective(NamedTuple):
    """What a stage trains: `train: mtp` leaves the trunk alone and has no main loss, `train: lora` has only that."""

    loss: LossKind
    train: Trained
    kernel: LossKernel = "torch"


class Counts(NamedTuple):
    """What one optimizer step holds, over all ranks."""

    targets: list[int]  # N^0 ... N^D
    positions: list[int]  # positions that take part at each depth: sum of T_c - d
    conversations: int  # B+


def count(documents: Iterable[Document], depths: int, device: torch.device) -> Counts:
    """The counts of these documents, summed over all ranks when training is distributed."""
    numbers = [0] * (2 * depths + 3)
    for document in documents:
        for depth in range(depths + 1):
            numbers[depth] += int(document.loss_mask[depth:].sum())
            numbers[depths + 1 + depth] += max(0, len(document.input_ids) - depth)
        numbers[-1] += 1
    if dist.is_initialized():
        totals = torch.tensor(numbers, device=device)
        dist.all_reduce(totals)
        numbers = totals.tolist()
    return Counts(numbers[: depths + 1], numbers[depths + 1 : -1], numbers[-1])


def target_weights(batch: Batch, counts: Counts, depth: int, kind: LossKind) -> Tensor:
    """[rows, length] float32: the weight of the target of position t at `depth`, zero where there is none.

    Depth 0 is the main head; MTP's depths have mean weight 1/D each, before `scale`.
    """
    mask = batch.ahead(batch.loss_mask, depth).float()
    if depth > 0:
        return mask / ((len(counts.targets) - 1) * max(1, counts.targets[depth]))
    if kind == "token":
        return mask / counts.targets[0]
    of_document = batch.per_document(mask.flatten()).clamp(min=1)
    return mask / (counts.conversations * of_document[batch.document])


def document_weight(document: Document, counts: Counts, kind: LossKind) -> float:
    """What all targets of a conversation weigh together under the main head; 1 over the whole step."""
    targets = int(document.loss_mask.sum())
    return targets / counts.targets[0] if kind == "token" else (targets > 0) / counts.conversations


def target_losses(head: nn.Module, hidden: Tensor, targets: Tensor, kernel: LossKernel = "torch") -> Tensor:
    """-log softmax(head(hidden))[targets] for hidden [n, size] and targets [n]: [n], in fp32 (fp64 for fp64 input).

    The logits exist for some of the targets at a time (`TARGETS_AT_ONCE`) and are computed again in the backward pass.
    """
    if kernel == "liger" and len(targets):
        return _liger_losses(cast(Tensor, head.weight), hidden, targets)
    chunks = zip(hidden.split(TARGETS_AT_ONCE), targets.split(TARGETS_AT_ONCE), strict=True)
    return torch.cat([checkpoint(_losses, head, states, wanted, use_reentrant=False) for states, wanted in chunks])


def _losses(head: nn.Module, hidden: Tensor, targets: Tensor) -> Tensor:
    logits = head(hidden)
    return nn.functional.cross_entropy(
        logits.to(torch.promote_types(logits.dtype, torch.float32)), targets, reduction="none"
    )


def _liger_losses(weight: Tensor, hidden: Tensor, targets: Tensor) -> Tensor:
    """By Liger's fused kernel, which takes one gradient per target; its own sums are in fp32."""
    from liger_kernel.ops import LigerFusedLinearCrossEntropyFunction

    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    no_bias = no_weights = no_cap = None
    losses: tuple[Tensor, ...] = LigerFusedLinearCrossEntropyFunction.apply(
        hidden.to(dtype),
        weight.to(dtype),
        targets,
        no_bias,
        no_weights,
        -100,
        0.0,
        0.0,
        "none",
        no_cap,
        False,
        torch.float32,
    )
    return losses[0]


class BatchLoss(NamedTuple):
    """Shares of one batch in the step's loss: `main` and `mtp` (before its scale) sum to L's terms over all batches."""

    main: Tensor
    mtp: Tensor
    balance: Tensor
    by_document: Tensor  # [documents] float64, what `main` is the sum of; without gradients


def batch_loss(
    model: CausalLM, batch: Batch, counts: Counts, objective: Objective, balance: ExpertBalance
) -> BatchLoss:
    """One forward pass over the documents of `batch`: the trunk once, then the MTP head once per depth."""
    depths = range(len(counts.targets))
    trained = depths if objective.train != "mtp" else depths[1:]
    bounds = batch.bounds()
    with torch.set_grad_enabled(objective.train != "mtp"), balance.counting(batch, 0, counts.positions[0]):
        hidden = trunk_states(model, batch.input_ids, bounds)
    states, targets, weights = [], [], []
    for depth in depths:
        if depth > 0:
            with balance.counting(batch, depth, counts.positions[depth]):
                hidden = model.mtp(hidden, model.get_input_embeddings()(batch.ahead(batch.input_ids, depth)), bounds)
        if depth in trained:
            weight = target_weights(batch, counts, depth, objective.loss)
            at = weight.nonzero(as_tuple=True)
            states.append(hidden[at])
            targets.append(batch.ahead(batch.input_ids, depth + 1)[at])
            weights.append(weight[at])
    head = model.get_output_embeddings()
    losses = target_losses(head, torch.cat(states), torch.cat(targets), objective.kernel) * torch.cat(weights)
    of_main = batch.document[batch.loss_mask] if 0 in trained else batch.document.new_empty(0)
    main, mtp = losses.split([len(of_main), len(losses) - len(of_main)])
    by_document = main.new_zeros(len(batch.lengths), dtype=torch.float64).index_add(0, of_main, main.detach().double())
    return BatchLoss(main.sum(), mtp.sum(), balance.take_loss(), by_document)
