"""Which of a run's records become the dataset: the first in task order, less what whole-run judges remove.

Whole-run judges need a set of candidates that doesn't depend on speed, and a task that is still running when enough
records are there may or may not end. So they see the first `candidates` records of each bucket in task order; where
fewer than `records` of those survive, the engine raises that number by a rule that knows only the records (see
`Quota.raise_targets`), and they look again.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import orjson

from gristmill.errors import Fault
from gristmill.judging import WholeRun
from gristmill.ledger import Outcome
from schemas import Record
from schemas.arrow import record_to_row, row_to_record

Rows = list[dict[str, Any]]


class Wanted(NamedTuple):
    """Records per bucket that the dataset takes, and candidates that whole-run judges see; None = all there are."""

    records: dict[str, int] | None = None
    candidates: dict[str, int] | None = None

    def to_json(self) -> str:
        return orjson.dumps(self._asdict()).decode()

    @classmethod
    def from_json(cls, text: str | None) -> "Wanted":
        return cls(**orjson.loads(text)) if text else cls()


class Selected(NamedTuple):
    """What becomes of one task. `counted` is False for a task that came after its bucket was full."""

    bucket: str
    status: str
    counted: bool
    records: Rows
    rejects: Rows
    surplus: Rows


def select(outcomes: Callable[[], Iterator[Outcome]], whole: WholeRun, wanted: Wanted) -> Iterator[Selected]:
    """Every task in order. `outcomes` gives them in task order, as often as it is called; `whole` is used up."""
    if whole:
        for outcome, candidates, _, within in _candidates(outcomes(), wanted.candidates):
            for row in candidates:
                whole.observe(row_to_record(row))
            if within and outcome.status != "failed":  # which is no outcome: it will be tried again
                for row in outcome.rows["rejects"]:
                    whole.observe_loss(orjson.loads(row["payload"]))
    kept: Counter[str] = Counter()
    for outcome, candidates, late, _ in _candidates(outcomes(), wanted.candidates):
        bucket, status, rejects = outcome.bucket, outcome.status, outcome.rows["rejects"]
        counted = _room(wanted.records, kept, bucket) > 0 and (bool(candidates) or not late)
        if whole and candidates:
            candidates, removed = _judged(outcome.task_id, candidates, whole)
            status = "accepted" if candidates else "rejected"
            rejects = [{**row, "status": "partial" if candidates else "rejected"} for row in [*rejects, *removed]]
        room = _room(wanted.records, kept, bucket)
        records, surplus = candidates[:room], [*candidates[room:], *late]
        kept[bucket] += len(records)
        yield Selected(bucket, status, counted, records, rejects if counted else [], surplus)


def _candidates(outcomes: Iterator[Outcome], most: dict[str, int] | None) -> Iterator[tuple[Outcome, Rows, Rows, bool]]:
    """Each outcome with those of its records that are candidates, those that come too late, and whether it came while
    candidates were wanted."""
    seen: Counter[str] = Counter()
    for outcome in outcomes:
        room = _room(most, seen, outcome.bucket)
        rows = outcome.rows["records"]
        seen[outcome.bucket] += len(rows[:room])
        yield outcome, rows[:room], rows[room:], room > 0


def _room(most: dict[str, int] | None, taken: Counter[str], bucket: str) -> int:
    return 2**62 if most is None else max(0, most.get(bucket, 0) - taken[bucket])


def _judged(task_id: str, candidates: Rows, whole: WholeRun) -> tuple[Rows, Rows]:
    """The rows that survive, with their new verdicts, and reject rows for the others."""
    kept: Rows = []
    removed: Rows = []
    for row in candidates:
        record = row_to_record(row)
        fault = whole.fault(record)
        if fault is None:
            kept.append(record_to_row(record))
        else:
            removed.append(lost(task_id, "rejected", fault, record))
    return kept, removed


def lost(task_id: str, status: str, fault: Fault, record: Record) -> dict[str, Any]:
    """A reject row for a record that a judge didn't pass."""
    payload = record.model_dump(mode="json", include={"uuid", "messages", "metadata", "verdicts"})
    return reject_row(task_id, status, *fault, payload)


def reject_row(
    task_id: str, status: str, stage: str, reason: str, detail: str, payload: dict[str, Any]
) -> dict[str, Any]:
    return {"task_id": task_id, "status": status, "stage": stage, "reason": reason, "detail": detail,
            "payload": orjson.dumps(payload, default=str, option=orjson.OPT_SORT_KEYS).decode()}  # fmt: skip
