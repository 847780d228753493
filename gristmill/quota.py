"""Which tasks a run still needs: `samples` records in all, or per bucket where `quota: {by: [...]}` asks for it.

A bucket's share of the records is its share of the tasks, by largest remainder: so neither the speed of some tasks nor
the rejection of others changes the mix that the generator's taxonomy meant. What counts is the first records of each
bucket in task order, and no task is launched that isn't expected to be needed.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from pydantic import BaseModel

from gristmill.errors import ConfigError
from gristmill.seeds import BadSeed
from schemas import Seed

HOPELESS = 1000
LOOK_AHEAD = 20_000
"""How many tasks at most are looked at for the buckets' shares."""


class Quota:
    """Counts records and running tasks per bucket against the wanted records. Without `samples` all is wanted."""

    def __init__(self, wanted: dict[str, int] | None, by: list[str]) -> None:
        self.by = by
        self.samples = dict(wanted or {})
        self.wanted = wanted
        self.barren = 0
        self.records: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        self._ended: Counter[str] = Counter()

    def bucket_of(self, seed: Seed | BadSeed) -> str:
        """Such as "sqlite | advanced"; "" without a quota, and for a seed that can't be read."""
        return bucket_of(seed, self.by)

    def is_full(self, bucket: str) -> bool:
        return self.wanted is not None and self.records[bucket] >= self.wanted.get(bucket, 0)

    def all_full(self) -> bool:
        return self.wanted is not None and all(self.is_full(bucket) for bucket in self.wanted)

    def needs(self, bucket: str) -> bool:
        """Whether one more task of the bucket should be launched, given those that run and how many records a task of
        it gave so far."""
        if self.wanted is None:
            return True
        given = (self.records[bucket] + 1) / (self._ended[bucket] + 1)
        return self.records[bucket] + self._running[bucket] * given < self.wanted.get(bucket, 0)

    def is_hopeless(self) -> bool:
        """`HOPELESS` tasks in a row gave no record: an endless generator would spend all its budget on nothing."""
        return self.wanted is not None and self.barren >= HOPELESS

    def any_needs(self) -> bool:
        """Whether any task is worth launching."""
        if self.is_hopeless():
            return False
        return self.wanted is None or any(self.needs(bucket) for bucket in self.wanted)

    def raise_targets(self, survivors: Counter[str]) -> bool:
        """Wants more candidates of the buckets of which too few survived; False where nothing is to be gained.

        As many more as would be needed if the same share of them survived, at most as many as there were.
        """
        if self.wanted is None or not self.all_full():
            return False
        raised = False
        for bucket, samples in self.samples.items():
            missing = samples - survivors[bucket]
            if missing > 0:
                had = self.wanted[bucket]
                self.wanted[bucket] += min(had, -(-missing * had // max(1, survivors[bucket])))
                raised = True
        return raised

    def launched(self, bucket: str) -> None:
        self._running[bucket] += 1

    def landed(self, bucket: str) -> None:
        self._running[bucket] -= 1

    def ended(self, bucket: str, records: int) -> None:
        """A task has its outcome, in this session or an earlier one."""
        self._ended[bucket] += 1
        self.records[bucket] += records
        self.barren = 0 if records else self.barren + 1


def make_quota(samples: int | None, by: list[str], tasks: Callable[[], Iterable[Seed | BadSeed]]) -> Quota:
    """ConfigError where a seed lacks a field that the quota names."""
    if samples is None:
        return Quota(None, by)
    if not by:
        return Quota({"": samples}, by)
    ahead = islice(tasks(), max(LOOK_AHEAD, samples))
    shares = Counter(bucket_of(seed, by) for seed in ahead if not isinstance(seed, BadSeed))
    return Quota(divide(samples, shares), by)


def bucket_of(seed: Seed | BadSeed, by: list[str]) -> str:
    if not by or isinstance(seed, BadSeed):
        return ""
    return " | ".join(str(_field(seed, path)) for path in by)


def _field(seed: Seed, path: str) -> Any:
    value: Any = seed
    for name in path.split("."):
        fields = value if isinstance(value, dict) else {field: getattr(value, field) for field in _fields(value)}
        if name not in fields:
            known = ", ".join(fields) or "none"
            raise ConfigError(f"quota.by: the seeds have no field {path!r}; the fields there: {known}.")
        value = fields[name]
    return value


def _fields(value: Any) -> list[str]:
    """Of a pydantic model or a named tuple."""
    if isinstance(value, BaseModel):
        return [*type(value).model_fields, *(value.model_extra or {})]
    return list(getattr(value, "_fields", []))


def divide(total: int, shares: Counter[str]) -> dict[str, int]:
    """`total` in proportion to `shares`, by largest remainder."""
    tasks = shares.total()
    exact = {bucket: total * share / tasks for bucket, share in shares.items()}
    parts = {bucket: int(value) for bucket, value in exact.items()}
    by_remainder = sorted(exact, key=lambda bucket: (parts[bucket] - exact[bucket], bucket))
    for bucket in by_remainder[: total - sum(parts.values())]:
        parts[bucket] += 1
    return parts
