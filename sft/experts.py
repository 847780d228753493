"""Keeping the experts of the MoE layers in balance: a small loss per document, and a bias that follows the load.

    L    += 1e-4 sum_c (T_c / sum T) sum_i f_{c,i} P_{c,i}      f_{c,i} = experts / (top-k T_c) x selections of expert i
                                                                P_{c,i} = mean normalised router score of expert i
    bias += 1e-3 sign(mean load - load)                         after each optimizer step, from the global load

Each application of a router counts, so the MTP head's once per depth; padding and positions that take no part at a
depth count nowhere. Source: DeepSeek-V3 report, section 2.1.2; Nemotron 3 Super report, section 2.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers.models.nemotron_h.modeling_nemotron_h import NemotronHTopkRouter

LOSS_SCALE = 1e-4
BIAS_RATE = 1e-3


class ExpertBalance:
    """Listens to the routers below `module` that are to be trained, while `counting`."""

    def __init__(self, module: nn.Module) -> None:
        self._routers = [child for child in module.modules() if isinstance(child, NemotronHTopkRouter)]
        self._hooks = [router.register_forward_hook(self._listen) for router in self._routers]
        self._loads = {router: torch.zeros_like(_bias(router), dtype=torch.float64) for router in self._routers}
        self._counting = False
        self._heard: list[tuple[NemotronHTopkRouter, Tensor, Tensor]] = []
        self._losses: list[Tensor] = []

    @contextmanager
    def counting(self, lengths: Tensor, positions: int) -> Iterator[None]:
        """Within it, the first `lengths` [rows] positions of each row take part; `positions` is their global sum."""
        self._counting = True
        try:
            yield
        finally:
            self._counting = False
        for router, logits, selected in self._heard:
            self._count(router, logits, selected, lengths.clamp(min=0), max(1, positions))
        self._heard.clear()

    def _listen(self, router: NemotronHTopkRouter, inputs: Any, output: tuple[Tensor, Tensor, Tensor]) -> None:
        """Only listens: a layer that is computed again for its gradients must do what it did the first time."""
        if self._counting:
            logits, _, selected = output
            self._heard.append((router, logits, selected))

    def _count(
        self, router: NemotronHTopkRouter, logits: Tensor, selected: Tensor, lengths: Tensor, positions: int
    ) -> None:
        rows, experts = len(lengths), logits.shape[-1]
        length = logits.shape[0] // rows
        counted = torch.arange(length, device=logits.device) < lengths[:, None]
        chosen = torch.zeros_like(logits).scatter_(1, selected, 1.0).view(rows, length, experts) * counted[..., None]
        selections = chosen.sum(dim=1)
        self._loads[router] += selections.detach().sum(dim=0)
        scores = logits.sigmoid()
        scores = (scores / scores.sum(dim=-1, keepdim=True)).view(rows, length, experts) * counted[..., None]
        # T_c f_c P_c with the T_c of f and of P written out: one of the three cancels
        per_document = (selections * scores.sum(dim=1)).sum(dim=1) / lengths.clamp(min=1)
        self._losses.append(LOSS_SCALE * experts / (router.top_k * positions) * per_document.sum())

    def take_loss(self) -> Tensor:
        """The balancing loss of what was heard since the last call."""
        losses, self._losses = self._losses, []
        return torch.stack(losses).sum() if losses else torch.zeros(())

    @torch.no_grad()
    def update_biases(self) -> None:
        """Moves every bias a fixed step towards the experts that were chosen less than the mean; forgets the load."""
        for router, load in self._loads.items():
            if dist.is_initialized():
                dist.all_reduce(load)
            _bias(router).add_(torch.sign(load.mean() - load), alpha=BIAS_RATE)
            load.zero_()

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()


def _bias(router: NemotronHTopkRouter) -> Tensor:
    bias: Tensor = router.e_score_correction_bias
    return bias
