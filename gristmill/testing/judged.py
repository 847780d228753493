"""Judges in a test: records in, what the whole engine makes of them out, with a script in place of the models."""

from pathlib import Path
from typing import Any, NamedTuple

import orjson

from gristmill.commands.generate import run_plan
from gristmill.commands.judge import judge_plan
from gristmill.ledger import Ledger
from gristmill.llm import Transport
from gristmill.runs import RunFolder
from gristmill.testing.scripted import ScriptedModel
from schemas import Record, Verdict
from schemas.arrow import record_to_row

MODELS = {"default": {"endpoint": "http://scripted.invalid/v1", "model": "scripted"}}


class Judged(NamedTuple):
    """One record's end: `status` accepted, rejected or failed; `fault` is "stage/reason", "" where it was accepted."""

    status: str
    fault: str
    detail: str
    verdicts: dict[str, Verdict]
    metadata: dict[str, Any]


def judge_scripted(
    judges: list[dict[str, Any]],
    records: list[Record],
    folder: Path,
    model: Transport | None = None,
    models: dict[str, Any] | None = None,
) -> list[Judged]:
    """`gristmill judge` in process, on records that differ; what became of each, in their order."""
    source = folder / "judged.jsonl"
    source.write_bytes(b"\n".join(orjson.dumps(record_to_row(record)) for record in records))
    plan = judge_plan({"judges": judges, "models": models or MODELS, "max_failed": 1.0}, source, "judges")
    run = RunFolder(folder / "judged")
    run_plan(plan, run, transport=model or ScriptedModel(), quiet=True)
    ledger = Ledger(run.ledger)
    try:
        return [_judged(outcome.status, outcome.rows) for outcome in ledger.outcomes(plan.fingerprint)]
    finally:
        ledger.close()


def _judged(status: str, rows: dict[str, list[dict[str, Any]]]) -> Judged:
    if rows["records"]:
        (row,) = rows["records"]
        metadata = orjson.loads(row["metadata"])
        return Judged(status, "", "", {v["name"]: Verdict(**v) for v in row["verdicts"]}, metadata)
    (reject,) = rows["rejects"]
    payload = orjson.loads(reject["payload"])
    verdicts = {v["name"]: Verdict(**v) for v in payload.get("verdicts", [])}
    fault = f"{reject['stage']}/{reject['reason']}"
    return Judged(status, fault, reject["detail"], verdicts, payload.get("metadata", {}))
