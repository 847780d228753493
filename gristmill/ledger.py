"""The ledger: every finished call and every task's outcome of a run, in one SQLite file.

A call is finished when its reply is committed, and only then does its coroutine go on; so after a crash the same
command replays every task up to the call that it was waiting for, and nothing is paid twice.

Commits are grouped: at once when the last one is more than `GROUP_SECONDS` ago, else when that time is over. WAL with
synchronous=NORMAL survives the death of the process at any moment (https://www.sqlite.org/wal.html); a power cut may
cost the last commits, never the file. What a damaged file still holds is saved by `gristmill.salvage`.
"""

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from gristmill.errors import GristmillError
from gristmill.ledger_file import (
    ADD_CALL,
    ADD_MISSING_CALL,
    CALLS_BY_KEY,
    FIND_REPLIES,
    Call,
    is_full,
    ledger_error,
    open_database,
    packed,
    unpacked,
)
from gristmill.shared_ledger import SharedLedger

GROUP_SECONDS = 0.01
_ADD_OUTCOME = "INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?)"
_FIND_REPLY = "SELECT reply FROM calls WHERE task_id = ? AND key = ?"
_PAID = Call._fields.index("paid")


class Outcome(NamedTuple):
    """How one task ended: accepted, rejected or failed. `rows` = {"records": [...], "rejects": [...]} for parquet;
    `bucket` names its place in the quota, "" without one."""

    task_id: str
    position: int
    status: str
    bucket: str
    rows: dict[str, list[dict[str, Any]]]


class Ledger:
    """Used from one thread, that of the event loop; `record_*` return when the row is committed."""

    def __init__(self, path: Path, shared: Path | None = None) -> None:
        self.path = path
        self._calls: list[tuple[Any, ...]] = []
        self._outcomes: list[tuple[Any, ...]] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._flush_is_due = False
        self._last_commit = 0.0
        try:
            self._db = open_database(path)
            self._replaying = self._db.execute("SELECT 1 FROM calls LIMIT 1").fetchone() is not None
            self._resuming = self._db.execute("SELECT 1 FROM outcomes LIMIT 1").fetchone() is not None
            if self._replaying:
                self.replay()
        except sqlite3.DatabaseError as error:
            if is_full(error):
                raise
            if getattr(error, "sqlite_errorname", "").startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")):
                raise GristmillError(f"{path} can't be opened ({error}); its folder has to be writable.") from None
            raise GristmillError(f"{path} is no ledger that can be read ({error}); --fresh starts a new run.") from None
        self._shared = SharedLedger(shared) if shared else None
        if self._shared and self._replaying:  # a kill may have come between the two commits
            self._shared.add(self._db.execute("SELECT * FROM calls WHERE paid"), ADD_MISSING_CALL)

    def _make_index(self) -> None:
        try:
            self._db.execute(CALLS_BY_KEY)
        except sqlite3.IntegrityError:  # a plugin that opened one scope twice: a replay finds the first reply for both
            self._db.execute(
                "DELETE FROM calls WHERE rowid NOT IN (SELECT min(rowid) FROM calls GROUP BY task_id, key)"
            )
            self._db.execute(CALLS_BY_KEY)

    # ---- calls

    def replay(self) -> None:
        """From here on this session's own calls are found as well: those that a lost worker had finished.

        Else a first session finds nothing, so it needn't keep an index of random keys up to date.
        """
        self.flush()
        self._make_index()
        self._replaying = True

    def reply(self, task_id: str, key: bytes) -> bytes | None:
        """The committed reply of a call of an earlier session or of a run with the same shared ledger, or None."""
        if self._replaying and (row := self._db.execute(_FIND_REPLY, (task_id, key)).fetchone()):
            return unpacked(row[0])
        if self._shared and (call := self._shared.find(task_id, key)):
            self._calls.append(tuple(call._replace(paid=False)))
            self._schedule()
            return unpacked(call.reply)
        return None

    def packed_replies(self, task_id: str) -> dict[bytes, bytes]:
        """All that `reply` would find for a task, by key."""
        found = self._shared.packed_replies(task_id) if self._shared else {}
        if self._replaying:
            found.update(self._db.execute(FIND_REPLIES, (task_id,)))
        return found

    async def record_call(self, call: Call) -> None:
        self._calls.append((*call[:-1], packed(call.reply)))
        await self._committed()

    async def record_packed(self, calls: list[Call]) -> None:
        """Calls whose replies are packed already."""
        self._calls += calls
        await self._committed()

    def calls(self, task_id: str | None = None) -> Iterator[Call]:
        """The finished calls, of one task or of all, in the order in which they were answered."""
        where, values = ("", ()) if task_id is None else (" WHERE task_id = ?", (task_id,))
        for row in self._db.execute(f"SELECT * FROM calls{where} ORDER BY rowid", values):
            call = Call(*row)
            yield call._replace(reply=unpacked(call.reply), paid=bool(call.paid))

    def calls_as_json(self) -> Iterator[str]:
        """All calls without their replies, each as a JSON object of what `calls.parquet` shows of it."""
        query = """SELECT json_object('task_id', task_id, 'key', lower(hex(key)), 'scope', scope, 'stage', stage,
            'role', role, 'model', model, 'finish_reason', finish_reason, 'input_tokens', input,
            'output_tokens', output, 'reasoning_tokens', reasoning, 'cached_tokens', cached, 'usd', usd,
            'seconds', seconds, 'finished_at', finished_at, 'paid', json(iif(paid, 'true', 'false')))
            FROM calls ORDER BY rowid"""
        for (line,) in self._db.execute(query):
            yield line

    def usage(self, *by: str) -> dict[tuple[str, ...], dict[str, float]]:
        """Model calls, tokens and cost that this run paid in all its sessions, grouped `by` role, stage or task_id."""
        names = ("calls", "input", "output", "reasoning", "cached", "usd", "seconds")
        sums = (
            "count(*), sum(input), sum(output), sum(reasoning), sum(cached), round(sum(usd), 9), round(sum(seconds), 3)"
        )
        groups = ", ".join(by)
        query = (
            f"SELECT {groups}, {sums} FROM calls WHERE paid AND finish_reason != '' GROUP BY {groups} ORDER BY {groups}"
        )
        return {row[: len(by)]: dict(zip(names, row[len(by) :], strict=True)) for row in self._db.execute(query)}

    def output_quantiles(self, role: str, count: int, shares: tuple[float, ...]) -> list[int]:
        """The output tokens below which these shares of a role's `count` paid calls lie."""
        query = "SELECT output FROM calls WHERE role = ? AND paid ORDER BY output LIMIT 1 OFFSET ?"
        places = (min(count - 1, int(share * count)) for share in shares)
        return [int(self._db.execute(query, (role, place)).fetchone()[0]) for place in places]

    def truncated(self, role: str) -> int:
        """How many of a role's paid answers were cut off."""
        query = "SELECT count(*) FROM calls WHERE role = ? AND paid AND finish_reason = 'length'"
        return int(self._db.execute(query, (role,)).fetchone()[0])

    # ---- outcomes

    def outcome_status(self, task_id: str, position: int, fingerprint: str) -> tuple[str, int] | None:
        """(status, records) of a task that ended under this fingerprint at this position, or None."""
        if not self._resuming:
            return None
        query = "SELECT status, records FROM outcomes WHERE fingerprint = ? AND position = ? AND task_id = ?"
        row: tuple[str, int] | None = self._db.execute(query, (fingerprint, position, task_id)).fetchone()
        return row

    async def record_outcome(self, outcome: Outcome, fingerprint: str) -> None:
        rows = packed(orjson.dumps(outcome.rows))
        self._outcomes.append(
            (outcome.task_id, outcome.position, fingerprint, outcome.status, outcome.bucket,
             len(outcome.rows["records"]), rows)
        )  # fmt: skip
        await self._committed()

    def outcomes(self, fingerprint: str) -> Iterator[Outcome]:
        """The outcomes under this fingerprint in task order."""
        query = "SELECT task_id, position, status, bucket, rows FROM outcomes WHERE fingerprint = ? ORDER BY position"
        for task_id, position, status, bucket, rows in self._db.execute(query, (fingerprint,)):
            yield Outcome(task_id, position, status, bucket, orjson.loads(unpacked(rows)))

    def version(self) -> str:
        """Changes whenever a call or an outcome was added: tells whether an export is up to date."""
        calls = self._db.execute("SELECT count(*), max(rowid) FROM calls").fetchone()
        outcomes = self._db.execute("SELECT count(*), max(rowid) FROM outcomes").fetchone()
        return ".".join(str(number or 0) for number in (*calls, *outcomes))

    # ---- meta

    def __getitem__(self, key: str) -> str | None:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def __setitem__(self, key: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    # ---- commits

    async def _committed(self) -> None:
        """Returns when what was added is committed."""
        committed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(committed)
        self._schedule()
        await committed

    def _schedule(self) -> None:
        if self._flush_is_due:
            return
        self._flush_is_due = True
        loop = asyncio.get_running_loop()
        since = time.monotonic() - self._last_commit
        if since >= GROUP_SECONDS:
            loop.call_soon(self.flush)
        else:
            loop.call_later(GROUP_SECONDS - since, self.flush)

    def flush(self) -> None:
        """Commits what waits for its group. What can't be written is kept for the next try: it was paid for."""
        self._flush_is_due = False
        waiting, self._waiting = self._waiting, []
        if not self._calls and not self._outcomes:
            return
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(ADD_CALL, self._calls)
            self._db.executemany(_ADD_OUTCOME, self._outcomes)
            self._db.execute("COMMIT")
            calls, self._calls, self._outcomes = self._calls, [], []
            if self._shared and (paid := [call for call in calls if call[_PAID]]):
                self._shared.add(paid)
        except (sqlite3.Error, GristmillError) as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            stop = ledger_error(error, self.path) if isinstance(error, sqlite3.Error) else error
            for committed in waiting:
                if not committed.done():
                    committed.set_exception(stop)
            return
        self._last_commit = time.monotonic()
        for committed in waiting:
            if not committed.done():
                committed.set_result(None)

    def close(self) -> None:
        self.flush()
        self._db.close()
        if self._shared:
            self._shared.close()
