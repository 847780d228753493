"""Drafts by the MTP head, and caches that hold what was verified and no more.

    written    ... the cat sat |           the trunk's own tokens so far
    drafts                      on the rug   the head's, depth by depth
    choices                     on the mat   the trunk's, in one pass: `on the` stand, and `mat` comes after them

The trunk chooses every token as it would have without drafts, by the same draws; a draft stands where it is that token.
So whatever the head proposes, the answer stays the same, and for a proposal without chance this is exact rejection
sampling: a draft d stands with probability p(d), and what replaces it is drawn from p without d.

A draft attends to the head's states of the verified tokens and to the drafts before it, as when it is served.
Sources: Leviathan et al. 2023 (arXiv 2211.17192); Nemotron 3 Super report, section 2 (one head, applied recursively).
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer
from transformers.models.nemotron_h.modeling_nemotron_h import NemotronHAttention, NemotronHMamba2Mixer

from sft.model import CausalLM


class Context(NamedTuple):
    """The head's keys and values of the verified tokens, both [rows, length, kv heads, head size]."""

    keys: Tensor
    values: Tensor

    @classmethod
    def of(cls, model: CausalLM, hidden: Tensor, following: Tensor) -> "Context":
        """Of positions whose trunk states are `hidden` [rows, length, size] and whose next tokens are `following`."""
        attention = model.mtp.layers[0]
        normed = attention.norm(attention.join(hidden, model.get_input_embeddings()(following)))
        return cls(*_keys_and_values(attention.mixer, normed))


def draft(model: CausalLM, hidden: Tensor, following: Tensor, context: Context, visible: Tensor, depths: int) -> Tensor:
    """The head's drafts after some places of each row: [rows, places, depths] int64.

    `hidden` [rows, places, size] are the trunk's states there and `following` [rows, places] the tokens after them,
    from which the drafts go on. `visible` [rows, places, length] says which of the context each of them sees.
    """
    attention, experts = model.mtp.layers
    drafts: list[Tensor] = []
    own = Context(*(part.new_empty(*following.shape, 0, *part.shape[2:]) for part in context))
    for depth in range(depths):
        joined = attention.join(hidden, model.get_input_embeddings()(following))
        normed = attention.norm(joined)
        if depth > 0:  # at depth 1 a place is verified, and so in the context
            made = _keys_and_values(attention.mixer, normed)
            own = Context(*(torch.cat([old, new[:, :, None]], dim=2) for old, new in zip(own, made, strict=True)))
        hidden = experts(joined + _attend(attention.mixer, normed, context, visible, own))
        following = model.get_output_embeddings()(hidden).argmax(dim=-1)
        drafts.append(following)
    return torch.stack(drafts, dim=-1)


def _keys_and_values(mixer: NemotronHAttention, normed: Tensor) -> tuple[Tensor, Tensor]:
    shape = (*normed.shape[:-1], mixer.config.num_key_value_heads, mixer.head_dim)
    return mixer.k_proj(normed).view(shape), mixer.v_proj(normed).view(shape)


def _attend(mixer: NemotronHAttention, normed: Tensor, context: Context, visible: Tensor, own: Context) -> Tensor:
    """Grouped-query attention of each place to what it sees of the context and to its own drafts."""
    length = context.keys.shape[1]
    query = mixer.q_proj(normed).view(*normed.shape[:-1], context.keys.shape[2], -1, mixer.head_dim)
    to_context = torch.einsum("rpkgs,rlks->rpkgl", query, context.keys)
    to_context = to_context.masked_fill(~visible[:, :, None, None], float("-inf"))
    to_own = torch.einsum("rpkgs,rpcks->rpkgc", query, own.keys)
    weights = torch.softmax(torch.cat([to_context, to_own], dim=-1) * mixer.scaling, dim=-1)
    from_context = torch.einsum("rpkgl,rlks->rpkgs", weights[..., :length], context.values)
    from_own = torch.einsum("rpkgc,rpcks->rpkgs", weights[..., length:], own.values)
    attended: Tensor = mixer.o_proj((from_context + from_own).flatten(2))
    return attended


# --- decoding --------------------------------------------------------------------------------------------------------


class Drafter:
    """The head beside a batch that the trunk decodes with `cache`: it drafts `depths` tokens at a time, and takes
    rejected ones out of all caches.

    A round is `verify`, `settle` and `draft`. Rows end together, as without drafts: whatever number of drafts stood in
    a row, its cache is padded on the left.
    """

    def __init__(self, model: CausalLM, cache: DynamicCache, depths: int) -> None:
        self._model, self._cache, self._depths = model, cache, depths
        blocks = [block for block in model.base_model.layers if block.block_type == "linear_attention"]
        self._mambas: list[tuple[NemotronHMamba2Mixer, Any]] = [
            (block.mixer, cache.layers[block.layer_idx]) for block in blocks
        ]
        empty = torch.empty(0)
        self._tokens = self._hidden = empty  # of the last pass,
        self._last = empty  # and the trunk's states [rows, size] at the last token that stood
        self._context: Context | None = None
        self._before: list[tuple[Tensor, Tensor]] = []  # Mamba's states before the last pass,
        self._projected: list[Tensor] = []  # and what went into them, layer by layer

    def verify(self, tokens: Tensor, mask: Tensor, places: int) -> Tensor:
        """A pass of the trunk over `tokens` [rows, n], whose last `places` - 1 are drafts; the last places' logits."""
        if places > 1:
            self._before = [
                (layer.conv_states[0].clone(), layer.recurrent_states[0].clone()) for _, layer in self._mambas
            ]
        self._projected = []
        hooks = [
            mixer.in_proj.register_forward_hook(lambda _module, _given, made: self._projected.append(made))
            for mixer, _ in self._mambas
        ]
        try:
            passed = self._model.base_model(input_ids=tokens, attention_mask=mask, cache=self._cache, use_cache=True)
        finally:
            for hook in hooks:
                hook.remove()
        self._tokens, self._hidden = tokens, passed[0]
        logits: Tensor = self._model.get_output_embeddings()(self._hidden[:, -places:])
        return logits

    def settle(self, choices: Tensor, rejected: Tensor, mask: Tensor) -> Tensor:
        """Takes the last `rejected` [rows] tokens of the last pass out of the caches; the mask of what stays.

        `choices` [rows, places] are what the trunk chose after the last places: the drafts that stand, then another.
        """
        known = self._tokens[:, 1 : self._tokens.shape[1] - choices.shape[1] + 1]
        new = Context.of(self._model, self._hidden, torch.cat([known, choices], dim=1))
        old = self._context or Context(new.keys[:, :0], new.values[:, :0])
        context = Context(*(torch.cat(pair, dim=1) for pair in zip(old, new, strict=True)))
        kept = self._hidden.shape[1] - rejected
        self._last = self._hidden[torch.arange(len(kept), device=kept.device), kept - 1]
        if not rejected.any():
            self._context = context
            return mask
        for (mixer, layer), before, projected in zip(self._mambas, self._before, self._projected, strict=True):
            conv, state = _advance(mixer, *before, projected, kept)
            layer.conv_states[0].copy_(conv)
            layer.recurrent_states[0].copy_(state)
        sources = torch.arange(mask.shape[1], device=mask.device) - rejected[:, None]
        mask = mask.gather(1, sources.clamp(min=0)) * (sources >= 0)
        unused = int(mask.any(dim=0).int().argmax())
        sources = sources[:, unused:].clamp(min=0)
        for layer in self._cache.layers:
            if isinstance(layer, DynamicLayer) and layer.keys is not None and layer.values is not None:
                layer.keys, layer.values = _moved(layer.keys, sources, 2), _moved(layer.values, sources, 2)
        self._context = Context(*(_moved(part, sources, 1) for part in context))
        return mask[:, unused:]

    def select(self, rows: Tensor) -> None:
        """Drops the others; the trunk's cache is the caller's."""
        assert self._context is not None
        self._context, self._last = Context(*(part[rows] for part in self._context)), self._last[rows]

    def draft(self, following: Tensor, mask: Tensor) -> Tensor:
        """[rows, depths]: drafts after `following` [rows, 1], the trunk's next tokens."""
        assert self._context is not None
        return draft(self._model, self._last[:, None], following, self._context, mask[:, None].bool(), self._depths)[
            :, 0
        ]


def _moved(cached: Tensor, sources: Tensor, dim: int) -> Tensor:
    """`cached` with position `sources[row, j]` of each row moved to j; positions are its dimension `dim`."""
    shape = [len(sources), *(sources.shape[1] if d == dim else 1 for d in range(1, cached.ndim))]
    wanted = [*(sources.shape[1] if d == dim else size for d, size in enumerate(cached.shape))]
    return cached.gather(dim, sources.view(shape).expand(wanted))


def _advance(
    mixer: NemotronHMamba2Mixer, conv: Tensor, state: Tensor, projected: Tensor, kept: Tensor
) -> tuple[Tensor, Tensor]:
    """A Mamba layer's two states after the first `kept` [rows] of the tokens whose projections are `projected`
    [rows, n, ...]. The others get a time step of 0, which neither decays a state nor adds to it."""
    _, inputs, steps = projected.split([mixer.intermediate_size, mixer.conv_dim, mixer.num_heads], dim=-1)
    window = torch.cat([conv, inputs.transpose(1, 2).to(conv.dtype)], dim=-1)
    last = kept[:, None] + torch.arange(conv.shape[-1], device=kept.device)
    weight, bias = mixer.conv1d.weight.to(conv.dtype), mixer.conv1d.bias
    bias = None if bias is None else bias.to(conv.dtype)
    convolved = nn.functional.conv1d(window[..., 1:], weight, bias, groups=mixer.conv_dim)
    shape = [mixer.intermediate_size, *2 * [mixer.n_groups * mixer.ssm_state_size]]
    x, b, _ = mixer.act(convolved).float().transpose(1, 2).split(shape, dim=-1)
    x = x.unflatten(-1, (mixer.num_heads, -1))
    b = b.unflatten(-1, (mixer.n_groups, -1)).repeat_interleave(mixer.num_heads // mixer.n_groups, dim=2)
    taken = torch.arange(projected.shape[1], device=kept.device) < kept[:, None]
    steps = nn.functional.softplus(steps + mixer.dt_bias).float().clamp(*mixer.time_step_limit) * taken[..., None]
    decayed = (-mixer.A_log.float().exp() * steps).cumsum(dim=1)  # logarithms
    weights = steps * (decayed[:, -1:] - decayed).exp()
    added = torch.einsum("rnh,rnhp,rnhs->rhps", weights, x, b)
    return (
        window.gather(2, last[:, None].expand(-1, mixer.conv_dim, -1)),
        state * decayed[:, -1].exp()[..., None, None] + added,
    )
