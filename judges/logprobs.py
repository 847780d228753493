"""The expected score instead of the sampled one, where an endpoint tells the probabilities of its tokens.

The reply says `"score": 4`; at that token the model also gave 3 a probability of .30 and 5 one of .10. Then the score
is 3.8: finer than five steps, and the same on every draw.

Source: G-Eval, Liu et al. 2023 (arXiv 2303.16634), §2; OpenAI API reference, `logprobs` and `top_logprobs`.
"""

import math
import re
from collections.abc import Sequence
from typing import Any, TypeVar

from gristmill import Context
from gristmill.llm import Shape
from schemas import Message

T = TypeVar("T")

TOP = 20
_SCORE = re.compile(rb'"score"\s*:\s*(-?\d+)')  # inside of texts quotes are escaped, so this is never a text


async def answer_with_logprobs(
    ctx: Context, role: str, messages: list[Message], shape: Shape[T]
) -> tuple[T, Sequence[Any]]:
    """A structured answer and its tokens; no tokens where the endpoint gives none, or had to be asked again."""
    reply = await ctx.chat(role, messages, response_format=shape.response_format(), logprobs=True, top_logprobs=TOP)
    try:
        return shape.parse(reply.structured_text), reply.logprobs or []
    except ValueError:
        return await ctx.answer(role, messages, shape), []


def expected_scores(tokens: Sequence[Any], low: int, high: int) -> list[float | None]:
    """The expected value of each `"score": N` in the order of the reply; None where the tokens don't tell.

    A number of several tokens is left as it was sampled.
    """
    pieces = [_bytes(token) for token in tokens]
    text = b"".join(pieces)
    starts = [0]
    for piece in pieces:
        starts.append(starts[-1] + len(piece))
    return [
        _expected(tokens[index], low, high) if index is not None else None
        for match in _SCORE.finditer(text)
        for index in [_token_of(match.start(1), match.end(1), starts)]
    ]


def _bytes(token: Any) -> bytes:
    raw = token.get("bytes")
    return bytes(raw) if raw else str(token.get("token", "")).encode()


def _token_of(begin: int, end: int, starts: list[int]) -> int | None:
    """The one token that holds the whole number."""
    return next((n for n, start in enumerate(starts[:-1]) if start <= begin and end <= starts[n + 1]), None)


def _expected(token: Any, low: int, high: int) -> float | None:
    """Over all alternatives that are scores, as if there were no others."""
    weights: dict[int, float] = {}
    for choice in token.get("top_logprobs") or []:
        number = re.fullmatch(r"[\s:]*(-?\d+)\s*", str(choice["token"]))
        if number and low <= int(number[1]) <= high:
            weights[int(number[1])] = weights.get(int(number[1]), 0.0) + math.exp(choice["logprob"])
    total = sum(weights.values())
    return sum(score * weight for score, weight in weights.items()) / total if total else None
