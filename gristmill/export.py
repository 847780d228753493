"""From the ledger to what people read: records, rejects and calls as parquet, a summary, a card and a report.

Everything here is derived: deleting it loses nothing, and the next command that reads the run makes it again. Rows come
in task order. With `samples: N` the sums end at the task that gave the N-th record (of its bucket, with a quota); what
tasks after it gave is paid for, so it is in the cost, and lies in surplus/.
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.audit import Reviews, Side, audit_figures, stratum_of
from gristmill.bench import make_run_judges
from gristmill.judging import WholeRun
from gristmill.ledger import Ledger
from gristmill.report import write_card, write_run_report
from gristmill.runs import RunFolder, write_atomically
from gristmill.selection import Selected, Wanted, select
from gristmill.text.coverage import Coverage
from gristmill.text.diversity import DiversitySample
from gristmill.verdicts import VerdictSums
from schemas import JsonObject
from schemas.arrow import CALLS, RECORDS, REJECTS, lines_to_table, rows_to_table
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
        self._writer.write_table(rows_to_table(self._batch, self.schema))
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
    buckets: Counter[str] = field(default_factory=Counter)
    categories: Counter[str] = field(default_factory=Counter)
    strata: Counter[tuple[Side, str]] = field(default_factory=Counter)
    verdicts: VerdictSums = field(default_factory=VerdictSums)
    diversity: DiversitySample = field(default_factory=DiversitySample)
    coverage: Coverage = field(default_factory=Coverage)
    selection: dict[str, JsonObject] = field(default_factory=dict)

    def add(self, task: Selected) -> None:
        if task.counted:
            self.tasks[task.status] += 1
        self.buckets[task.bucket] += len(task.records)
        for row in task.records:
            self._add_record(row)
        self._add_rejects(task.rejects)

    def _add_record(self, row: dict[str, Any]) -> None:
        self.categories[row["category"]] += 1
        self.strata["accepted", stratum_of(row)] += 1
        self.diversity.add(row["category"], row["uuid"], row["messages"])
        self.verdicts.add(row["uuid"], row["messages"], row["verdicts"])
        cell = orjson.loads(row["metadata"]).get("cell")
        if isinstance(cell, dict):
            self.coverage.add(cell)

    def _add_rejects(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            self.strata["rejected", stratum_of(row)] += row["status"] != "failed"
            if row["status"] == "partial":
                self.partial_rejects += 1
            else:
                self.by_reason[f"{row['stage']}/{row['reason']}"] += 1
            lost = orjson.loads(row["payload"])
            if lost.get("verdicts"):
                self.verdicts.add(lost.get("uuid", ""), lost["messages"], lost["verdicts"])


def export_run(folder: RunFolder, ledger: Ledger, config: RunConfig, fingerprint: str) -> dict[str, Any]:
    """Writes everything but the ledger anew; the summary."""
    wanted = Wanted.from_json(ledger["wanted"])
    sums = Sums(coverage=Coverage(orjson.loads(ledger["axes"] or "{}") or None))
    whole = WholeRun(make_run_judges(config))
    _export_tasks(folder, select(lambda: ledger.outcomes(fingerprint), whole, wanted), sums)
    _export_calls(folder, ledger)
    sums.selection = whole.figures()
    summary = _summary(ledger, sums, wanted.records, folder.reviews)
    write_atomically(folder.summary, orjson.dumps(summary, option=orjson.OPT_INDENT_2).decode() + "\n")
    write_card(folder, config, summary)
    write_run_report(folder, config, summary)
    ledger["exported"] = ledger.version()
    return summary


def _export_tasks(folder: RunFolder, tasks: Iterator[Selected], sums: Sums) -> None:
    records, rejects = RowWriter(folder.records, RECORDS), RowWriter(folder.rejects, REJECTS)
    surplus = RowWriter(folder.surplus, RECORDS)
    for task in tasks:
        sums.add(task)
        for writer, rows in ((records, task.records), (rejects, task.rejects), (surplus, task.surplus)):
            for row in rows:
                writer.add(row)
    for writer in (records, rejects, surplus):
        writer.publish()
    if surplus.rows == 0:
        shutil.rmtree(folder.surplus)


def _export_calls(folder: RunFolder, ledger: Ledger) -> None:
    new = folder.calls.with_name(".calls.parquet.new")
    with pq.ParquetWriter(new, CALLS, compression="zstd") as writer:
        lines = ledger.calls_as_json()
        while batch := "\n".join(islice(lines, BATCH)):
            writer.write_table(lines_to_table(batch.encode(), CALLS))
    new.replace(folder.calls)


def _summary(ledger: Ledger, sums: Sums, wanted: dict[str, int] | None, reviews: Path) -> dict[str, Any]:
    by_role = {role: _with_tokens(ledger, role, sums_) for (role,), sums_ in ledger.usage("role").items()}
    total = {
        key: sum(role[key] for role in by_role.values()) for key in ("calls", "input", "output", "reasoning", "cached")
    }
    usd, records = sum(role["usd"] for role in by_role.values()), sums.categories.total()
    return {
        "tasks": sums.tasks.total(),
        "accepted": sums.tasks["accepted"],
        "rejected": sums.tasks["rejected"],
        "failed": sums.tasks["failed"],
        "records": records,
        "partial_rejects": sums.partial_rejects,
        "by_reason": dict(sums.by_reason.most_common()),
        "by_category": dict(sorted(sums.categories.items())),
        "verdicts": sums.verdicts.counts(),
        "scores": sums.verdicts.scores(),
        "agreement": sums.verdicts.agreement(),
        "near_threshold": sums.verdicts.near_threshold(),
        "selection": sums.selection,
        "audit": audit_figures(Reviews(reviews), sums.strata),
        "length_bias": sums.verdicts.length_bias(),
        "calls": total.pop("calls"),
        "calls_reused": int(ledger["calls_reused"] or 0),
        "tokens": total,
        "usd": round(usd, 6),
        "usd_per_record": round(usd / records, 9) if records else None,
        "by_role": by_role,
        "by_stage": {
            stage: {key: used[key] for key in ("calls", "input", "output", "usd")}
            for (stage,), used in ledger.usage("stage").items()
        },
        "diversity": sums.diversity.figures(),
        "coverage": sums.coverage.figures(),
        "quota": _quota(sums, wanted or {}),
        "wall_s": round(float(ledger["wall_s"] or 0), 3),
        "started": ledger["started"],
        "finished": ledger["finished"],
    }


def _quota(sums: Sums, wanted: dict[str, int]) -> dict[str, dict[str, int]]:
    """Per bucket; empty for a run without a quota, whose one bucket has no name."""
    named = sorted(bucket for bucket in wanted if bucket)
    return {bucket: {"wanted": wanted[bucket], "records": sums.buckets[bucket]} for bucket in named}


def _with_tokens(ledger: Ledger, role: str, sums: dict[str, float]) -> dict[str, Any]:
    """A role's sums, with how long its answers were and how many were cut off."""
    calls = int(sums["calls"])
    p50, p95, longest = ledger.output_quantiles(role, calls, (0.5, 0.95, 1.0))
    lengths = {"p50": p50, "p95": p95, "max": longest}
    return {**sums, "output_tokens": lengths, "truncated_share": round(ledger.truncated(role) / calls, 4)}


def note_session(ledger: Ledger, started: datetime, calls_reused: int) -> None:
    """Adds a session that just ended to the run's times; `calls_reused` is that of the last session."""
    now = datetime.now(UTC)
    ledger["started"] = ledger["started"] or started.isoformat(timespec="seconds")
    ledger["finished"] = now.isoformat(timespec="seconds")
    ledger["wall_s"] = str(float(ledger["wall_s"] or 0) + (now - started).total_seconds())
    ledger["calls_reused"] = str(calls_reused)
