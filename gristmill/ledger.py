"""The ledger: every finished call and every task's outcome of a run, in one SQLite file.

A call is finished when its reply is committed, and only then does its coroutine go on; so after a crash the same
command replays every task up to the call that it was waiting for, and nothing is paid twice.

Commits are grouped: at once when the last one is more than `GROUP_SECONDS` ago, else when that time is over. WAL with
synchronous=NORMAL survives the death of the process at any moment (https://www.sqlite.org/wal.html); a power cut may
cost the last commits, never the file.
"""

import asyncio
import sqlite3
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from gristmill.errors import GristmillError

GROUP_SECONDS = 0.01

_TABLES = """
CREATE TABLE IF NOT EXISTS calls (
    task_id TEXT NOT NULL, key BLOB NOT NULL, scope TEXT NOT NULL, stage TEXT NOT NULL, role TEXT NOT NULL,
    reply BLOB NOT NULL, input INTEGER NOT NULL, output INTEGER NOT NULL, reasoning INTEGER NOT NULL,
    cached INTEGER NOT NULL, usd REAL NOT NULL, seconds REAL NOT NULL, finished_at REAL NOT NULL,
    PRIMARY KEY (task_id, key));
CREATE TABLE IF NOT EXISTS effects (
    task_id TEXT NOT NULL, key BLOB NOT NULL, scope TEXT NOT NULL, stage TEXT NOT NULL, kind TEXT NOT NULL,
    result BLOB NOT NULL, seconds REAL NOT NULL, finished_at REAL NOT NULL, PRIMARY KEY (task_id, key));
CREATE TABLE IF NOT EXISTS outcomes (
    task_id TEXT PRIMARY KEY, position INTEGER NOT NULL, fingerprint TEXT NOT NULL, status TEXT NOT NULL,
    records INTEGER NOT NULL, rows BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS outcomes_in_order ON outcomes (fingerprint, position);
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_ADD_CALL = "INSERT OR REPLACE INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_ADD_EFFECT = "INSERT OR REPLACE INTO effects VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_ADD_OUTCOME = "INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?, ?, ?)"


class Call(NamedTuple):
    """One finished call. `reply` is JSON bytes (see `gristmill.llm.Reply`), `seconds` its latency with all retries."""

    task_id: str
    key: bytes
    scope: str
    stage: str
    role: str
    reply: bytes
    input: int
    output: int
    reasoning: int
    cached: int
    usd: float
    seconds: float
    finished_at: float


class Effect(NamedTuple):
    """One finished effect that is no model call, such as code that was run. `result` is JSON bytes."""

    task_id: str
    key: bytes
    scope: str
    stage: str
    kind: str
    result: bytes
    seconds: float
    finished_at: float


class Outcome(NamedTuple):
    """How one task ended: accepted, rejected or failed. `rows` = {"records": [...], "rejects": [...]} for parquet."""

    task_id: str
    position: int
    status: str
    rows: dict[str, list[dict[str, Any]]]


class Ledger:
    """Used from one thread, that of the event loop; `record_*` return when the row is committed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._db = sqlite3.connect(path, isolation_level=None, timeout=30)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_TABLES)
            anything = "SELECT 1 FROM calls UNION ALL SELECT 1 FROM effects LIMIT 1"
            self._replaying = self._db.execute(anything).fetchone() is not None
        except sqlite3.DatabaseError as error:
            if _is_full(error):
                raise
            raise GristmillError(f"{path} is no ledger that can be read ({error}); --fresh starts a new run.") from None
        self._waiting: list[tuple[str, tuple[Any, ...], asyncio.Future[None]]] = []
        self._flush_is_due = False
        self._last_commit = 0.0

    # ---- calls

    def reply(self, task_id: str, key: bytes) -> bytes | None:
        """The committed reply of a call of an earlier session, or None if it was never answered."""
        if not self._replaying:
            return None
        row = self._db.execute("SELECT reply FROM calls WHERE task_id = ? AND key = ?", (task_id, key)).fetchone()
        return zlib.decompress(row[0]) if row else None

    async def record_call(self, call: Call) -> None:
        await self._commit(_ADD_CALL, call._replace(reply=zlib.compress(call.reply, 1)))

    def calls(self, task_id: str | None = None) -> Iterator[Call]:
        """The finished calls, of one task or of all, in the order in which they were answered."""
        where, values = ("", ()) if task_id is None else (" WHERE task_id = ?", (task_id,))
        for row in self._db.execute(f"SELECT * FROM calls{where} ORDER BY rowid", values):
            call = Call(*row)
            yield call._replace(reply=zlib.decompress(call.reply))

    def usage_by_role(self) -> dict[str, dict[str, float]]:
        """Calls, tokens and cost of each role in all sessions together."""
        query = """SELECT role, count(*), sum(input), sum(output), sum(reasoning), sum(cached), sum(usd)
                   FROM calls GROUP BY role ORDER BY role"""
        names = ("calls", "input", "output", "reasoning", "cached", "usd")
        return {role: dict(zip(names, sums, strict=True)) for role, *sums in self._db.execute(query)}

    def spent(self) -> tuple[float, int]:
        """(USD, tokens) of all sessions together."""
        usd, tokens = self._db.execute("SELECT sum(usd), sum(input + output) FROM calls").fetchone()
        return usd or 0.0, tokens or 0

    # ---- effects

    def effect(self, task_id: str, key: bytes) -> bytes | None:
        """The committed result of an effect of an earlier session, or None."""
        if not self._replaying:
            return None
        row = self._db.execute("SELECT result FROM effects WHERE task_id = ? AND key = ?", (task_id, key)).fetchone()
        return zlib.decompress(row[0]) if row else None

    async def record_effect(self, effect: Effect) -> None:
        await self._commit(_ADD_EFFECT, effect._replace(result=zlib.compress(effect.result, 1)))

    # ---- outcomes

    def outcome_status(self, task_id: str, position: int, fingerprint: str) -> tuple[str, int] | None:
        """(status, records) of a task that ended under this fingerprint at this position, or None."""
        query = "SELECT status, records FROM outcomes WHERE task_id = ? AND position = ? AND fingerprint = ?"
        row: tuple[str, int] | None = self._db.execute(query, (task_id, position, fingerprint)).fetchone()
        return row

    async def record_outcome(self, outcome: Outcome, fingerprint: str) -> None:
        rows = zlib.compress(orjson.dumps(outcome.rows), 1)
        values = (
            outcome.task_id,
            outcome.position,
            fingerprint,
            outcome.status,
            len(outcome.rows["records"]),
            rows,
        )
        await self._commit(_ADD_OUTCOME, values)

    def outcomes(self, fingerprint: str) -> Iterator[Outcome]:
        """The outcomes under this fingerprint in task order."""
        query = "SELECT task_id, position, status, rows FROM outcomes WHERE fingerprint = ? ORDER BY position"
        for task_id, position, status, rows in self._db.execute(query, (fingerprint,)):
            yield Outcome(task_id, position, status, orjson.loads(zlib.decompress(rows)))

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

    async def _commit(self, statement: str, values: tuple[Any, ...]) -> None:
        loop = asyncio.get_running_loop()
        committed: asyncio.Future[None] = loop.create_future()
        self._waiting.append((statement, values, committed))
        if not self._flush_is_due:
            self._flush_is_due = True
            since = time.monotonic() - self._last_commit
            if since >= GROUP_SECONDS:
                loop.call_soon(self.flush)
            else:
                loop.call_later(GROUP_SECONDS - since, self.flush)
        await committed

    def flush(self) -> None:
        """Commits what waits for its group; called by the loop, and when a run stops."""
        waiting, self._waiting, self._flush_is_due = self._waiting, [], False
        if not waiting:
            return
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for statement, values, _ in waiting:
                self._db.execute(statement, values)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            for _, _, committed in waiting:
                if not committed.done():
                    committed.set_exception(ledger_error(error, self.path))
            return
        self._last_commit = time.monotonic()
        for _, _, committed in waiting:
            if not committed.done():
                committed.set_result(None)

    def close(self) -> None:
        self.flush()
        self._db.close()


_FULL = ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_FSYNC")


def _is_full(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorname", "") in _FULL


def ledger_error(error: sqlite3.Error, path: Path) -> GristmillError:
    """The sentence for a ledger that can't be written."""
    if _is_full(error):
        return GristmillError(
            f"the disk is full: {path}. What was answered is kept; free some space and repeat the command."
        )
    return GristmillError(
        f"{path} can't be written: {error}. What was answered is kept; mend that and repeat the command."
    )
