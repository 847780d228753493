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

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import DynamicCache
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
    """The head beside a batch that the trunk decodes: it drafts, and takes rejected drafts out of all caches.

    Rows end together: the caches are left-padded, whatever number of drafts was accepted in a row.
    """

    def __init__(self, model: CausalLM, cache: DynamicCache, depths: int) -> None:
        self._model, self._cache, self._depths = model, cache, depths
        self._context: Context | None = None
        self._mambas = {
            block.layer_idx: block.mixer for block in model.base_model.layers if block.block_type == "linear_attention"
        }
        self._projected: dict[int, Tensor] = {}  # what went into each Mamba layer in the last pass,
        self._before: dict[int, tuple[Tensor, Tensor]] = {}  # and its states before that

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Within it, a pass of the trunk over drafts leaves what `settle` needs to undo a part of it."""
        layers: Any = self._cache.layers
        self._before = {
            number: (layers[number].conv_states[0].clone(), layers[number].recurrent_states[0].clone())
            for number in self._mambas
        }
        hooks = [
            mixer.in_proj.register_forward_hook(
                lambda _module, _given, made, number=number: self._projected.update({number: made})
            )
            for number, mixer in self._mambas.items()
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def settle(self, hidden: Tensor, following: Tensor, rejected: Tensor, mask: Tensor) -> Tensor:
        """Takes the last `rejected` [rows] tokens of the last pass out of the caches; the mask of what stays.

        `hidden` [rows, n, size] are the trunk's states in that pass, `following` [rows, n] the tokens after them.
        """
        new = Context.of(self._model, hidden, following)
        if self._context is None:
            self._context = new
        else:
            self._context = Context(*(torch.cat(pair, dim=1) for pair in zip(self._context, new, strict=True)))
        if not rejected.any():
            return mask
        for number, mixer in self._mambas.items():
            advanced = _advance(mixer, *self._before[number], self._projected[number], hidden.shape[1] - rejected)
            layer: Any = self._cache.layers[number]
            layer.conv_states[0].copy_(advanced[0])
            layer.recurrent_states[0].copy_(advanced[1])
        length = mask.shape[1]
        sources = torch.arange(length, device=mask.device) - rejected[:, None]
        mask = mask.gather(1, sources.clamp(min=0)) * (sources >= 0)
        unused = int(mask.any(dim=0).int().argmax())
        sources = sources[:, unused:].clamp(min=0)
        for layer in self._cache.layers:
            if getattr(layer, "keys", None) is not None:
                layer.keys, layer.values = (_moved(part, sources, 2) for part in (layer.keys, layer.values))
        self._context = Context(*(_moved(part, sources, 1) for part in self._context))
        return mask[:, unused:]

    def select(self, rows: Tensor) -> None:
        """Drops the others from the head's own cache."""
        assert self._context is not None
        self._context = Context(*(part[rows] for part in self._context))

    def draft(self, hidden: Tensor, following: Tensor, mask: Tensor) -> Tensor:
        """[rows, depths]: drafts after the last verified places, whose trunk states are `hidden` [rows, size] and whose
        next tokens are `following` [rows, 1]."""
        assert self._context is not None
        visible = mask[:, None].bool()
        return draft(self._model, hidden[:, None], following, self._context, visible, self._depths)[:, 0]


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
