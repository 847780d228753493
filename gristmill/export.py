"""From the ledger to what people read: records, rejects and calls as parquet, a summary, a card and a report.

Everything here is derived: deleting it loses nothing, and the next command that reads the run makes it again. Rows come
in task order. With `samples: N` the sums end at the task that gave the N-th record; what tasks after it gave is paid
for, so it is in the cost, and lies in surplus/.
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.ledger import Call, Ledger, Outcome
from gristmill.report import write_card, write_run_report
from gristmill.runs import RunFolder, write_atomically
from gristmill.text.diversity import DiversitySample
from schemas.arrow import CALLS, RECORDS, REJECTS
from schemas.run_config import RunConfig

BATCH = 512
ROWS_PER_FILE = 100_000


class RowWriter:
    """Streams rows into a new folder of parquet files, which replaces the old one when all are written."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self.folder = folder
        self.schema = schema
        self.rows = 0
        self._files = 0
        self._new = folder.with_name(f".{folder.name}.new")
        shutil.rmtree(self._new, ignore_errors=True)
        self._new.mkdir(parents=True)
        self._batch: list[dict[str, Any]] = []
        self._writer: pq.ParquetWriter | None = None

    def add(self, row: dict[str, Any]) -> None:
        self._batch.append(row)
        self.rows += 1
        if len(self._batch) == BATCH:
            self._write_batch()
        if self.rows % ROWS_PER_FILE == 0:
            self._end_file()

    def _write_batch(self) -> None:
        if self._writer is None:
            part = self._new / f"part-{self._files:05d}.parquet"
            self._writer = pq.ParquetWriter(part, self.schema, compression="zstd")
            self._files += 1
        self._writer.write_table(pa.Table.from_pylist(self._batch, schema=self.schema))
        self._batch = []

    def _end_file(self) -> None:
        if self._batch:
            self._write_batch()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def publish(self) -> None:
        """Replaces the old folder. An empty result is one file without rows, so that the columns are known."""
        if self.rows == 0:
            self._write_batch()
        self._end_file()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._new.rename(self.folder)


@dataclass
class Sums:
    """What the summary counts while the outcomes stream by."""

    tasks: Counter[str] = field(default_factory=Counter)
    by_reason: Counter[str] = field(default_factory=Counter)
    partial_rejects: int = 0
    categories: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    diversity: DiversitySample = field(default_factory=DiversitySample)

    def add_record(self, row: dict[str, Any]) -> None:
        self.categories[row["category"]] += 1
        self.diversity.add(row["category"], row["uuid"], row["messages"])
        for verdict in row["verdicts"]:
            found = {True: "passed", False: "failed", None: "undecided"}[verdict["passed"]]
            self.verdicts[verdict["name"], found] += 1

    def add_rejects(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            if row["status"] == "partial":
                self.partial_rejects += 1
            else:
                self.by_reason[f"{row['stage']}/{row['reason']}"] += 1


def export_run(folder: RunFolder, ledger: Ledger, config: RunConfig, fingerprint: str) -> dict[str, Any]:
    """Writes everything but the ledger anew; the summary."""
    sums = _export_outcomes(folder, ledger.outcomes(fingerprint), config.samples)
    _export_calls(folder, ledger.calls())
    summary = _summary(ledger, sums)
    write_atomically(folder.summary, orjson.dumps(summary, option=orjson.OPT_INDENT_2).decode() + "\n")
    write_card(folder, config, summary)
    write_run_report(folder, config, summary)
    ledger["exported"] = ledger.version()
    return summary


def _export_outcomes(folder: RunFolder, outcomes: Iterator[Outcome], samples: int | None) -> Sums:
    sums = Sums()
    records, rejects = RowWriter(folder.records, RECORDS), RowWriter(folder.rejects, REJECTS)
    surplus = RowWriter(folder.surplus, RECORDS)
    for outcome in outcomes:
        wanted = samples is None or records.rows < samples
        if wanted:
            sums.tasks[outcome.status] += 1
            sums.add_rejects(outcome.rows["rejects"])
            for row in outcome.rows["rejects"]:
                rejects.add(row)
        for row in outcome.rows["records"]:
            if samples is None or records.rows < samples:
                records.add(row)
                sums.add_record(row)
            else:
                surplus.add(row)
    for writer in (records, rejects, surplus):
        writer.publish()
    if surplus.rows == 0:
        shutil.rmtree(folder.surplus)
    return sums


def _export_calls(folder: RunFolder, calls: Iterator[Call]) -> None:
    new = folder.calls.with_name(".calls.parquet.new")
    with pq.ParquetWriter(new, CALLS, compression="zstd") as writer:
        batch: list[dict[str, Any]] = []
        for call in calls:
            batch.append(_call_row(call))
            if len(batch) == BATCH:
                writer.write_table(pa.Table.from_pylist(batch, schema=CALLS))
                batch = []
        writer.write_table(pa.Table.from_pylist(batch, schema=CALLS))
    new.replace(folder.calls)


def _call_row(call: Call) -> dict[str, Any]:
    reply = orjson.loads(call.reply)
    return {
        "task_id": call.task_id,
        "key": call.key.hex(),
        "scope": call.scope,
        "stage": call.stage,
        "role": call.role,
        "model": reply["model"],
        "finish_reason": reply["finish_reason"],
        "input_tokens": call.input,
        "output_tokens": call.output,
        "reasoning_tokens": call.reasoning,
        "cached_tokens": call.cached,
        "usd": call.usd,
        "seconds": call.seconds,
        "finished_at": call.finished_at,
    }


def _summary(ledger: Ledger, sums: Sums) -> dict[str, Any]:
    by_role = ledger.usage_by_role()
    total = {
        key: sum(role[key] for role in by_role.values()) for key in ("calls", "input", "output", "reasoning", "cached")
    }
    return {
        "tasks": sums.tasks.total(),
        "accepted": sums.tasks["accepted"],
        "rejected": sums.tasks["rejected"],
        "failed": sums.tasks["failed"],
        "records": sums.categories.total(),
        "partial_rejects": sums.partial_rejects,
        "by_reason": dict(sums.by_reason.most_common()),
        "by_category": dict(sorted(sums.categories.items())),
        "verdicts": {
            name: {found: sums.verdicts[name, found] for found in ("passed", "failed", "undecided")}
            for name in sorted({name for name, _ in sums.verdicts})
        },
        "calls": total.pop("calls"),
        "calls_reused": int(ledger["calls_reused"] or 0),
        "tokens": total,
        "usd": round(sum(role["usd"] for role in by_role.values()), 6),
        "by_role": by_role,
        "diversity": sums.diversity.figures(),
        "wall_s": round(float(ledger["wall_s"] or 0), 3),
        "started": ledger["started"],
        "finished": ledger["finished"],
    }


def note_session(ledger: Ledger, started: datetime, calls_reused: int) -> None:
    """Adds a session that just ended to the run's times; `calls_reused` is that of the last session."""
    now = datetime.now(UTC)
    ledger["started"] = ledger["started"] or started.isoformat(timespec="seconds")
    ledger["finished"] = now.isoformat(timespec="seconds")
    ledger["wall_s"] = str(float(ledger["wall_s"] or 0) + (now - started).total_seconds())
    ledger["calls_reused"] = str(calls_reused)
