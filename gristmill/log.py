"""The run's log: DIR/log.jsonl, one line of JSON per task when it ends.

{"time": "2026-03-01T10:22:31+00:00", "task": "9f3c...", "position": 17, "status": "rejected", "records": 0,
 "lost": ["judge/failed"], "calls": 3, "input": 812, "output": 340, "usd": 0.0002, "seconds": 4.1}
"""

from datetime import UTC, datetime
from pathlib import Path

import orjson

from gristmill.context import Task
from gristmill.ledger import Outcome


class TaskLog:
    """Appends to `path`; each line is written at once. OSError names the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)

    def write(self, outcome: Outcome, task: Task, seconds: float) -> None:
        line = {
            "time": datetime.now(UTC),
            "task": outcome.task_id,
            "position": outcome.position,
            "status": outcome.status,
            "records": len(outcome.rows["records"]),
            "lost": [f"{row['stage']}/{row['reason']}" for row in outcome.rows["rejects"]],
            "calls": len(task.calls),
            "input": task.input,
            "output": task.output,
            "usd": round(task.usd, 9),
            "seconds": round(seconds, 3),
        }
        try:
            self._file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_OMIT_MICROSECONDS))
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from None

    def close(self) -> None:
        self._file.close()
