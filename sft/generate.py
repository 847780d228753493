"""Sampling from the model that is being trained: batched, cached, and seeded row by row.

Each request draws from a stream of its own, so its tokens depend neither on what it is batched with nor on drafts: a
pass of the trunk chooses one token, and one more for each draft before it that it would have chosen itself.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from sft.drafting import Drafter
from sft.model import CausalLM, has_mtp

TOKENS_AT_ONCE = 20_480  # of prompts and answers in one batch,
ROWS_AT_ONCE = 128  # and so many of them at most


class Request(NamedTuple):
    """A prompt to be answered; `stream` seeds its draws (it is ignored at temperature 0)."""

    prompt: Sequence[int]
    stream: Sequence[int] = ()


@torch.no_grad()
def generate(
    model: CausalLM, requests: Sequence[Request], end: int, temperature: float, max_tokens: int, drafts: int = 0
) -> list[list[int]]:
    """One answer per request, in their order: token ids up to and with `end`, or `max_tokens` of them.

    Temperature 0 takes the most probable token. So many `drafts` of the MTP head are verified at a time; they change
    the speed and no token.
    """
    answers: list[list[int]] = [[] for _ in requests]
    waiting = sorted(range(len(requests)), key=lambda i: len(requests[i].prompt))
    while waiting:
        longest = len(requests[waiting[-1]].prompt) + max_tokens
        rows = max(1, min(ROWS_AT_ONCE, TOKENS_AT_ONCE // longest))
        waiting, batch = waiting[:-rows], waiting[-rows:]
        written = _generate_batch(model, [requests[i] for i in batch], end, temperature, max_tokens, drafts)
        for i, answer in zip(batch, written, strict=True):
            answers[i] = answer
    return answers


def _generate_batch(
    model: CausalLM, requests: Sequence[Request], end: int, temperature: float, max_tokens: int, drafts: int
) -> list[list[int]]:
    """Prompts are padded on the left and cached; finished rows leave the batch when half of it is finished."""
    answers: list[list[int]] = [[] for _ in requests]
    draws = _uniform_draws(requests, max_tokens) if temperature > 0 else None
    tokens, mask = (tensor.to(model.device) for tensor in _padded_left([request.prompt for request in requests]))
    cache = DynamicCache(config=model.config)
    drafter = Drafter(model, cache, drafts) if drafts and has_mtp(model) else None
    rows = torch.arange(len(requests))
    drafted = tokens[:, :0]  # the last tokens of a pass, which are only proposed
    while True:
        places = drafted.shape[1] + 1
        if drafter:
            logits = drafter.verify(tokens, mask, places)
        else:
            passed = model(input_ids=tokens, attention_mask=mask, cache=cache, use_cache=True, logits_to_keep=1)
            logits = passed.logits
        choices = _choose(logits, temperature, None if draws is None else _next(draws, rows, answers, places))
        accepted = (choices[:, :-1] == drafted).int().cumprod(dim=1).sum(dim=1)
        for row, chosen, right in zip(rows.tolist(), choices.tolist(), accepted.tolist(), strict=True):
            for token in chosen[: right + 1]:
                if not _finished(answers[row], end, max_tokens):
                    answers[row].append(token)
        running = torch.tensor([not _finished(answers[row], end, max_tokens) for row in rows.tolist()])
        if not running.any():
            return answers
        following = choices.gather(1, accepted[:, None])
        if drafter:
            mask = drafter.settle(choices, places - 1 - accepted, mask)
        if int(running.sum()) * 2 <= len(rows):
            kept = running.nonzero()[:, 0].to(model.device)
            cache.reorder_cache(cast(torch.LongTensor, kept))
            rows, following, mask = rows[running], following[kept], mask[kept]
            if drafter:
                drafter.select(kept)
        drafted = drafter.draft(following, mask) if drafter else following[:, :0]
        tokens = torch.cat([following, drafted], dim=1)
        mask = torch.cat([mask, torch.ones_like(tokens)], dim=1)


def _finished(answer: Sequence[int], end: int, max_tokens: int) -> bool:
    return len(answer) >= max_tokens or (bool(answer) and answer[-1] == end)


def _padded_left(prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    longest = max(map(len, prompts))
    tokens = torch.zeros(len(prompts), longest, dtype=torch.int64)
    mask = torch.zeros_like(tokens)
    for row, prompt in enumerate(prompts):
        tokens[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    return tokens, mask


def _uniform_draws(requests: Sequence[Request], max_tokens: int) -> Tensor:
    return torch.from_numpy(np.stack([np.random.default_rng(list(r.stream)).random(max_tokens) for r in requests]))


def _next(draws: Tensor, rows: Tensor, answers: Sequence[Sequence[int]], places: int) -> Tensor:
    """Of each row those draws that its next tokens are chosen by: [rows, places]."""
    written = torch.tensor([len(answers[row]) for row in rows.tolist()])
    at = (written[:, None] + torch.arange(places)).clamp(max=draws.shape[1] - 1)
    return draws[rows].gather(1, at)


def _choose(logits: Tensor, temperature: float, draws: Tensor | None) -> Tensor:
    """The most probable token, or the one at which the cumulative probability passes the draw: int64, of the shape of
    `logits` without its last dimension."""
    if draws is None:
        return logits.argmax(dim=-1)
    cumulative = torch.softmax(logits.double() / temperature, dim=-1).cumsum(dim=-1)
    marks = draws.to(logits.device)[..., None] * cumulative[..., -1:]
    return torch.searchsorted(cumulative, marks, right=True)[..., 0].clamp(max=logits.shape[-1] - 1)
