"""Whether a text has fallen into a repetition, as language models do when they lose the thread."""

TAIL = 8192
SHORTEST = 512
REPEATS = 4
NEEDLE = 24


def loops(text: str) -> bool:
    """Whether the text ends in at least four equal stretches, of at most 2,048 characters each, 512 together.

    A stretch that repeats also repeats its last 24 characters, so only the distances between those are tried.
    """
    tail = text[-TAIL:]
    end = len(tail)
    if end < SHORTEST:
        return False
    needle = tail[-NEEDLE:]
    found = tail.rfind(needle, 0, end - 1)
    while found >= 0:
        period = end - NEEDLE - found
        if period * REPEATS > end:
            return False
        stretch = max(SHORTEST, period * REPEATS)
        if tail[-stretch:-period] == tail[-stretch + period :]:
            return True
        found = tail.rfind(needle, 0, found + NEEDLE - 1)
    return False
