"""MTP acceptance: how many tokens drafted by the MTP head the trunk would have written itself.

The trunk answers prompts greedily. After each token of an answer the head, fed with its own drafts, proposes the next
ones depth by depth; they are accepted up to the first that differs from the trunk's argmax, which is the answer's next
token. As when it is served, a draft attends to the head's states of the verified tokens and to the drafts before it.
Rates are over all places of the answers, so two heads on one trunk are compared on the same ones. The mean accepted
length is that of decoding: each verification yields the trunk's token and what was accepted after it (SPEED-Bench).
"""

from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from schemas.base import Data
from sft.drafting import Context, draft
from sft.generate import Request, generate
from sft.model import CausalLM, trunk_states
from sft.sharding import divided
from sft.world import World

PLACES_AT_ONCE = 128


class Acceptance(Data):
    """`rates[d-1]` is the share of places, of those with d more tokens to come, whose drafts are right to depth d."""

    prompts: int
    places: int
    rates: list[float]
    mean_accepted_length: float  # tokens per verification, the trunk's own included


class Tally(NamedTuple):
    """Of one answer; `tried` and `right` by depth."""

    tokens: int
    tried: list[int]
    right: list[int]
    verifications: int


def measure_acceptance(
    model: CausalLM, prompts: Sequence[Sequence[int]], end: int, max_tokens: int, depths: int, world: World
) -> Acceptance:
    """Greedy answers of at most `max_tokens` to `prompts`, with drafts of `depths` tokens after each token. Each rank
    takes its share of the prompts."""

    def answer(asked: Sequence[Sequence[int]]) -> list[Tally]:
        answers = generate(model, [Request(prompt) for prompt in asked], end, 0.0, max_tokens)
        return [_tally(model, prompt, answer, depths) for prompt, answer in zip(asked, answers, strict=True)]

    tallies = divided(model, world, prompts, answer)
    tokens = sum(tally.tokens for tally in tallies)
    tried, right = (np.sum([getattr(tally, name) for tally in tallies], axis=0) for name in ("tried", "right"))
    return Acceptance(
        prompts=len(prompts),
        places=tokens,
        rates=(right / np.maximum(tried, 1)).tolist(),
        mean_accepted_length=tokens / sum(tally.verifications for tally in tallies),
    )


def _tally(model: CausalLM, prompt: Sequence[int], answer: Sequence[int], depths: int) -> Tally:
    drafts = drafts_of(model, torch.tensor([*prompt, *answer]), len(prompt) - 1, depths).tolist()
    accepted = [_agreement(drafts[place], answer[place + 1 :]) for place in range(len(answer))]
    place = verifications = 0
    while place < len(answer):
        verifications += 1
        place += 1 + accepted[place]
    tried = [max(0, len(answer) - 1 - depth) for depth in range(depths)]
    right = [sum(length > depth for length in accepted) for depth in range(depths)]
    return Tally(len(answer), tried, right, verifications)


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
