"""MTP acceptance: how many tokens drafted by the MTP head the trunk would have written itself.

The trunk answers prompts greedily. After each token of an answer the head, fed with its own drafts, proposes the next
ones depth by depth; they are accepted up to the first that differs from the trunk's argmax, which is the answer's next
token. As when it is served, a draft attends to the head's states of the verified tokens and to the drafts before it.
Rates are over all places of the answers, so two heads on one trunk are compared on the same ones. The mean accepted
length is that of decoding: each verification yields the trunk's token and what was accepted after it (SPEED-Bench).
"""

from collections.abc import Sequence
from itertools import takewhile

import torch
from torch import Tensor
from transformers.models.nemotron_h.modeling_nemotron_h import NemotronHAttention

from schemas.base import Data
from sft.generate import Request, generate
from sft.model import CausalLM, trunk_states

QUERIES_AT_ONCE = 128


class Acceptance(Data):
    """`rates[d-1]` is the share of places, of those with d more tokens to come, whose drafts are right to depth d."""

    prompts: int
    places: int
    rates: list[float]
    mean_accepted_length: float  # tokens per verification, the trunk's own included


def measure_acceptance(
    model: CausalLM, prompts: Sequence[Sequence[int]], end: int, max_tokens: int, depths: int
) -> Acceptance:
    """Greedy answers of at most `max_tokens` to `prompts`, with drafts of `depths` tokens after each token."""
    answers = generate(model, [Request(prompt) for prompt in prompts], end, 0.0, max_tokens)
    tried, right = [0] * depths, [0] * depths
    verifications = 0
    for prompt, answer in zip(prompts, answers, strict=True):
        drafts = draft(model, torch.tensor([*prompt, *answer]), len(prompt) - 1, depths).tolist()
        accepted = [_agreement(drafts[place], answer[place + 1 :]) for place in range(len(answer))]
        for place, length in enumerate(accepted):
            for depth in range(min(depths, len(answer) - place - 1)):
                tried[depth] += 1
                right[depth] += length > depth
        place = 0
        while place < len(answer):
            verifications += 1
            place += 1 + accepted[place]
    tokens = sum(map(len, answers))
    return Acceptance(
        prompts=len(prompts),
        places=tokens,
        rates=[r / t if t else 0.0 for r, t in zip(right, tried, strict=True)],
        mean_accepted_length=tokens / verifications,
    )


def _agreement(drafts: Sequence[int], wanted: Sequence[int]) -> int:
    """How many tokens at their beginning are equal."""
    return len(list(takewhile(lambda pair: pair[0] == pair[1], zip(drafts, wanted, strict=False))))


@torch.no_grad()
def draft(model: CausalLM, tokens: Tensor, first: int, depths: int) -> Tensor:
    """Drafts made from every position t >= `first` of `tokens` [length], whose next token t + 1 is known.

    [length - 1 - first, depths] int64: column d - 1 is the draft for position t + 1 + d.
    """
    tokens = tokens.to(model.device)
    hidden = trunk_states(model, tokens[None])[:, :-1]
    embedded = model.get_input_embeddings()(tokens[None, 1:])
    attention = model.mtp.layers[0]
    verified = attention.norm(attention.join(hidden, embedded))[0]
    keys, values = attention.mixer.k_proj(verified), attention.mixer.v_proj(verified)
    states = model.mtp(hidden, embedded)[0]
    chunks = torch.arange(first, len(tokens) - 1, device=model.device).split(QUERIES_AT_ONCE)
    return torch.cat([_draft_from(model, at, states[at], keys, values, depths) for at in chunks])


def _draft_from(model: CausalLM, at: Tensor, hidden: Tensor, keys: Tensor, values: Tensor, depths: int) -> Tensor:
    """The chain of drafts of each position in `at`, whose states at depth 1 are `hidden` [n, size]."""
    head, embed = model.get_output_embeddings(), model.get_input_embeddings()
    attention = model.mtp.layers[0]
    drafts = [head(hidden).argmax(dim=-1)]
    own_keys: list[Tensor] = []
    own_values: list[Tensor] = []
    visible = torch.arange(len(keys), device=keys.device) <= at[:, None]
    for _ in range(1, depths):
        joined = attention.join(hidden, embed(drafts[-1]))
        normed = attention.norm(joined)
        own_keys.append(attention.mixer.k_proj(normed))
        own_values.append(attention.mixer.v_proj(normed))
        attended = _attend(attention.mixer, normed, visible, keys, values, own_keys, own_values)
        hidden = model.mtp.layers[1]((joined + attended)[None])[0]
        drafts.append(head(hidden).argmax(dim=-1))
    return torch.stack(drafts, dim=1)


def _attend(
    mixer: NemotronHAttention,
    normed: Tensor,
    visible: Tensor,
    keys: Tensor,
    values: Tensor,
    own_keys: list[Tensor],
    own_values: list[Tensor],
) -> Tensor:
    """Grouped-query attention of each row to the `visible` verified positions and to the row's own drafts."""
    rows, size, length = len(normed), mixer.head_dim, len(keys)
    kv_heads = mixer.config.num_key_value_heads
    query = mixer.q_proj(normed).view(rows, kv_heads, -1, size)
    context_keys, context_values = (tensor.view(length, kv_heads, size) for tensor in (keys, values))
    chain_keys, chain_values = (torch.stack(own, 1).view(rows, -1, kv_heads, size) for own in (own_keys, own_values))
    to_context = torch.einsum("nkgs,lks->nkgl", query, context_keys)
    to_context = to_context.masked_fill(~visible[:, None, None], float("-inf"))
    to_chain = torch.einsum("nkgs,ncks->nkgc", query, chain_keys)
    weights = torch.softmax(torch.cat([to_context, to_chain], dim=-1) * mixer.scaling, dim=-1)
    from_context = torch.einsum("nkgl,lks->nkgs", weights[..., :length], context_values)
    from_chain = torch.einsum("nkgc,ncks->nkgs", weights[..., length:], chain_values)
    attended: Tensor = mixer.o_proj((from_context + from_chain).flatten(1))
    return attended
