"""Long texts in parts: cut at blank lines, else at lines, at ends of sentences, at blanks, and at last anywhere."""

import re

from generators.long_context.context import Piece, TokenCounter

_JOINTS = (re.compile(r"\n\n+"), re.compile(r"\n"), re.compile(r"(?<=[.!?])\s+"), re.compile(r"\s+"))

MOST_CUTS, NEAR = 8, 8
"""Tries to cut a text to a number of tokens, and how many may be left over."""


def split(text: str, tokens: int, counter: TokenCounter) -> list[Piece]:
    """Parts of at most about `tokens` tokens each, as even as their joints allow."""
    ((_, total),) = counter.pieces([text])
    parts = -(-total // tokens)
    size = len(text) // parts + 1
    cut: list[str] = []
    while text:
        head = prefix(text, size) if len(text) > 1.2 * size else text
        cut.append(head.strip())
        text = text[len(head) :]
    return counter.pieces([part for part in cut if part])


def prefix(text: str, size: int) -> str:
    """The first `size` characters or a little less, up to the best joint in their last fifth."""
    if len(text) <= size:
        return text
    for joint in _JOINTS:
        found = [match.end() for match in joint.finditer(text, int(0.8 * size), size)]
        if found:
            return text[: found[-1]]
    return text[:size]


def first_tokens(piece: Piece, tokens: int, counter: TokenCounter) -> Piece:
    """The beginning of a text that has about `tokens` tokens, never more."""
    if piece.tokens <= tokens:
        return piece
    low, high, best = 0, len(piece.text), Piece("", 0)
    guess = high * tokens // piece.tokens
    for _ in range(MOST_CUTS):
        (cut,) = counter.pieces([_words(piece.text, guess)])
        if cut.tokens <= tokens:
            low, best = guess, max(best, cut, key=lambda one: one.tokens)
            if tokens - best.tokens <= NEAR:
                break
        else:
            high = guess
        step = (tokens - cut.tokens) * max(1, guess) // max(1, cut.tokens)
        guess = min(max(guess + step - (step > 0), low + 1), high - 1)
    return best


def _words(text: str, size: int) -> str:
    """The first `size` characters, up to the last blank."""
    cut = text[:size]
    return cut[: cut.rfind(" ")] if " " in cut[-80:] else cut
