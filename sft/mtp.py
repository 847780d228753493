"""The multi-token prediction head: one attention block and one MoE block, applied once per depth with shared weights.

    u^d_t = W_eh [RMSNorm_e(E[x_{t+d}]) ; RMSNorm_h(h^{d-1}_t)]        h^0 = the trunk's output after its final norm
    h^d_t = RMSNorm_f(MoE(Attention(u^d)))_t                           predicts x_{t+d+1} with the trunk's output head

Both blocks are the trunk's pre-norm residual blocks. The names are the released checkpoints': `layers.0` holds `enorm`,
`hnorm`, `eh_proj`, `norm` and the attention `mixer`, `layers.1` holds `norm`, the MoE `mixer` and `final_layernorm`.
Source: Nemotron 3 Super report, section 2 (shared-weight MTP); DeepSeek-V3 report, section 2.2 (the chain of depths).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from transformers import NemotronHConfig
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.models.nemotron_h.modeling_nemotron_h import NemotronHAttention, NemotronHMoE, NemotronHRMSNorm


class AttentionLayer(GradientCheckpointingLayer):
    """Joins the next token's embedding to the hidden state before it, then attends causally."""

    def __init__(self, config: NemotronHConfig) -> None:
        super().__init__()
        size, eps = config.hidden_size, config.layer_norm_epsilon
        self.enorm = NemotronHRMSNorm(size, eps=eps)
        self.hnorm = NemotronHRMSNorm(size, eps=eps)
        self.eh_proj = nn.Linear(2 * size, size, bias=False)
        self.norm = NemotronHRMSNorm(size, eps=eps)
        self.mixer = NemotronHAttention(config, layer_idx=0)

    def join(self, hidden: Tensor, embedded: Tensor) -> Tensor:
        joined: Tensor = self.eh_proj(torch.cat([self.enorm(embedded), self.hnorm(hidden)], dim=-1))
        return joined

    def forward(self, hidden: Tensor, embedded: Tensor, bounds: Mapping[str, Any]) -> Tensor:
        joined = self.join(hidden, embedded)
        attended: Tensor = self.mixer(self.norm(joined), **bounds)[0]
        return joined + attended


class ExpertLayer(GradientCheckpointingLayer):
    """The MoE block and the head's final norm."""

    def __init__(self, config: NemotronHConfig) -> None:
        super().__init__()
        size, eps = config.hidden_size, config.layer_norm_epsilon
        self.norm = NemotronHRMSNorm(size, eps=eps)
        self.mixer = NemotronHMoE(config)
        self.final_layernorm = NemotronHRMSNorm(size, eps=eps)

    def forward(self, hidden: Tensor) -> Tensor:
        normed: Tensor = self.final_layernorm(hidden + self.mixer(self.norm(hidden)))
        return normed


class MTP(nn.Module):
    """One depth maps hidden states and embeddings, both [rows, length, hidden], to the next depth's hidden states.

    `bounds` are those of documents that share a row (`Batch.bounds`).
    """

    def __init__(self, config: NemotronHConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList([AttentionLayer(config), ExpertLayer(config)])

    def forward(self, hidden: Tensor, embedded: Tensor, bounds: Mapping[str, Any] = MappingProxyType({})) -> Tensor:
        deeper: Tensor = self.layers[1](self.layers[0](hidden, embedded, bounds))
        return deeper
