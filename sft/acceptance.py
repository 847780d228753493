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

from schemas.base import Data
from sft.drafting import Context, draft
from sft.generate import Request, generate
from sft.model import CausalLM, trunk_states

PLACES_AT_ONCE = 128


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
        drafts = drafts_of(model, torch.tensor([*prompt, *answer]), len(prompt) - 1, depths).tolist()
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
def drafts_of(model: CausalLM, tokens: Tensor, first: int, depths: int) -> Tensor:
    """Drafts made from every position t >= `first` of `tokens` [length], whose next token t + 1 is known.

    [length - 1 - first, depths] int64: column d - 1 is the draft for position t + 1 + d.
    """
    tokens = tokens.to(model.device)
    hidden, following = trunk_states(model, tokens[None])[:, :-1], tokens[None, 1:]
    context = Context.of(model, hidden, following)
    positions = torch.arange(len(tokens) - 1, device=model.device)
    return torch.cat(
        [
            draft(model, hidden[:, at], following[:, at], context, positions <= at[None, :, None], depths)[0]
            for at in positions[first:].split(PLACES_AT_ONCE)
        ]
    )
