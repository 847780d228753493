"""Where in a task a call is made, which is half of its name in the ledger.

A *scope* is a stretch of a task in which calls follow one another: the task itself (path 0) and each branch of
`ctx.gather` (0.0, 0.1, ...). Each has its own rng and its own count of equal requests, so a replay finds every draw
again, in whatever order the branches were answered.

Ledger key = task id + SHA-256 over (scope path, request, how often that request occurred in the scope).
"""

import random
from collections import Counter
from hashlib import sha256


class Scope:
    """A path, a stage, an rng and counters."""

    __slots__ = ("_occurrences", "_rng", "_seed", "branches", "parent", "path", "stage", "usd")

    def __init__(self, path: str, stage: str, seed: str, parent: "Scope | None" = None) -> None:
        self.path = path
        self.stage = stage
        self.parent = parent
        self.branches = 0
        self.usd = 0.0
        self._seed = seed
        self._rng: random.Random | None = None
        self._occurrences: Counter[bytes] = Counter()

    @property
    def rng(self) -> random.Random:
        if self._rng is None:
            self._rng = random.Random(f"{self._seed}|{self.path}")
        return self._rng

    def branch(self) -> "Scope":
        """The next child; numbers go on over several gathers, so no path is used twice."""
        child = Scope(f"{self.path}.{self.branches}", self.stage, self._seed, self)
        self.branches += 1
        return child

    def call_key(self, request: bytes) -> bytes:
        """16 bytes that name the next occurrence of this request."""
        digest = sha256(request).digest()
        occurrence = self._occurrences[digest]
        self._occurrences[digest] += 1
        return sha256(b"%b|%b|%d" % (self.path.encode(), digest, occurrence)).digest()[:16]

    def spend(self, usd: float) -> None:
        scope: Scope | None = self
        while scope is not None:
            scope.usd += usd
            scope = scope.parent
