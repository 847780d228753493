"""One optimizer step: the documents of its packs, forward and backward in batches, one update."""

import json
import math
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn
from torch.distributed.tensor import DTensor

from gristmill.errors import GristmillError
from gristmill.runs import write_atomically
from schemas.sft_config import CLIP, SFTConfig, Stage
from sft.batches import PackFiles, batch_of, micro_batches, trainable
from sft.documents import Document
from sft.experts import ExpertBalance
from sft.loss import BatchLoss, Counts, Objective, batch_loss, count, document_weight
from sft.metrics import StepMetrics
from sft.model import CausalLM, computing, has_mtp
from sft.sharding import Shared
from sft.stages import Cursor, Plan, new_optimizer, trained_parameters
from sft.world import World

NOTHING = Document("", np.zeros(2, np.int32), np.zeros(2, np.uint8))  # supervises no token


class StageTrainer:
    """The optimizer steps of stage number `index`."""

    def __init__(
        self, shared: Shared, config: SFTConfig, index: int, packs: PackFiles, world: World, flat: bool = False
    ) -> None:
        """`flat` as `choose_kernels` has it for this model."""
        self.stage = config.stages[index]
        self.plan = Plan(self.stage, len(packs), (config.seed, index))
        self._config, self._packs, self._world, self._flat = config, packs, world, flat
        self._shared, self._model = shared, shared.model
        model: CausalLM = shared.model
        self._depths = config.model.mtp.depths if has_mtp(model) and self.stage.train != "lora" else 0
        self._objective = Objective(self.stage.loss, self.stage.train, config.loss_kernel)
        self._batch_tokens = config.tokens_at_once(self.stage)
        self._parameters = trained_parameters(model, self.stage)
        self.optimizer = new_optimizer(self._parameters)
        self._balance = ExpertBalance(_with_trained_routers(model, self.stage))

    def step(self, seen: Cursor, number: int) -> tuple[Cursor, StepMetrics]:
        """The step after `seen`, the run's `number`th. GristmillError, before any weight changes, where it can't be."""
        started = time.perf_counter()
        packs = self.plan.packs_of(seen.step)
        documents = self._share(packs)
        counts = count(documents, self._depths, self._world.device)
        if counts.targets[0] == 0:
            raise GristmillError(
                f"step {number} ({self.stage.name}): no supervised token in its packs; check the blend."
            )
        seen = Cursor(seen.step + 1, seen.packs + len(packs), seen.conversations + counts.conversations)
        lr = self.plan.learning_rate(seen)
        main, mtp, shares = self._backward(documents, counts)
        grad_norm = self._clip()
        if not math.isfinite(main + mtp + grad_norm):
            listed = self._list_documents(number, documents)
            raise GristmillError(
                f"step {number} ({self.stage.name}): the loss is no longer a number (loss {main}, mtp_loss {mtp}, "
                f"grad_norm {grad_norm}); the step's conversations are listed in {listed}. Repeat with a lower lr than "
                f"{lr:g}, or a longer warmup."
            )
        self._update(lr)
        seconds = time.perf_counter() - started
        return seen, StepMetrics(
            step=number,
            stage=self.stage.name,
            loss=main if self.stage.train != "mtp" else None,
            loss_by_source=self._by_source(shares, counts) if self.stage.train != "mtp" else {},
            mtp_loss=mtp if self._depths else None,
            tokens=counts.positions[0],
            conversations=counts.conversations,
            lr=lr,
            grad_norm=grad_norm,
            tokens_per_s=counts.positions[0] / seconds,
        )

    def _share(self, packs: list[int]) -> list[Document]:
        """This rank's documents: every size-th pack of the step."""
        mine = packs[self._world.rank :: self._world.size]
        return trainable(document for number in mine for document in self._packs.documents(number))

    def _backward(self, documents: list[Document], counts: Counts) -> tuple[float, float, list[tuple[Document, float]]]:
        """Leaves the step's mean gradients over all ranks; the step's main loss and MTP loss, and what each of this
        rank's documents has in the main loss."""
        self._model.train()
        main = mtp = 0.0
        shares: list[tuple[Document, float]] = []
        for held, balance in self._passes(documents):
            batch = batch_of(held, self._flat).to(self._world.device)
            compute = partial(batch_loss, self._model, batch, counts, self._objective, balance)
            try:
                with computing(self._config.precision, self._world.device):
                    loss: BatchLoss = self._shared(compute)
                whole = loss.main + self._config.model.mtp.scale * loss.mtp + loss.balance
                # the gradients are averaged over ranks, and the weights in the loss already count all of them
                (self._world.size * whole).backward()
            except torch.OutOfMemoryError:
                rows, length = batch.input_ids.shape
                raise GristmillError(
                    f"{self.stage.name}: the device's memory is too small for a batch of {rows} x {length} tokens; "
                    f"lower stages.{self.stage.name}.micro_tokens ({self._batch_tokens}), or pack_tokens if a single "
                    "conversation is too long."
                ) from None
            main, mtp = main + loss.main.item(), mtp + loss.mtp.item()
            shares += zip(held, loss.by_document.tolist(), strict=True)
        main, mtp = self._world.sum(main, mtp)
        return main, mtp, shares

    def _passes(self, documents: list[Document]) -> Iterator[tuple[list[Document], ExpertBalance]]:
        """The batches to learn from; then as many that teach nothing as make all ranks run equally many passes."""
        batches = micro_batches(documents, self._batch_tokens, self._flat)
        most = max(self._world.gather(len(batches)))
        yield from ((held, self._balance) for held in batches)
        for _ in range(most - len(batches)):
            yield [NOTHING], ExpertBalance(nn.Module())

    def _by_source(self, shares: Sequence[tuple[Document, float]], counts: Counts) -> dict[str, float]:
        """The main loss over each source's targets alone, which weigh among each other as they do in the step's."""
        names = self._packs.sources.names
        if len(names) < 2:
            return {}
        sums = {name: [0.0, 0.0] for name in (*names, "")}
        for document, share in shares:
            of_source = sums[document.source]
            of_source[0] += share
            of_source[1] += document_weight(document, counts, self.stage.loss)
        summed = self._world.sum(*chain.from_iterable(sums.values()))
        pairs = zip(sums, summed[::2], summed[1::2], strict=True)
        return {name: share / weight for name, share, weight in pairs if weight > 0}

    def _clip(self) -> float:
        """Clips the gradient; the norm that it had. A weight that no token reached has a gradient of zero."""
        for parameter in self._parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        norm = nn.utils.clip_grad_norm_(self._parameters, CLIP)
        return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)

    def _list_documents(self, number: int, documents: list[Document]) -> Path:
        """OUT/failed-step-N.json: the uuids of the step's conversations."""
        path = self._config.out / f"failed-step-{number}.json"
        uuids = [uuid for rank in self._world.gather([document.uuid for document in documents]) for uuid in rank]
        if self._world.leads:
            write_atomically(path, json.dumps(uuids, indent=1) + "\n")
        return path

    def _update(self, lr: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._balance.update_biases()

    def close(self) -> None:
        self._balance.close()


def _with_trained_routers(model: CausalLM, stage: Stage) -> nn.Module:
    match stage.train:
        case "all":
            return cast(nn.Module, model)
        case "mtp":
            return cast(nn.Module, model.mtp)
        case "lora":
            return nn.Module()
