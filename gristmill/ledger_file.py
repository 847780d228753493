"""A ledger's file: its tables, the row of a call, and how replies and outcomes are packed."""

import sqlite3
import zlib
from pathlib import Path
from typing import NamedTuple

from gristmill.errors import GristmillError

VERSION = 4
"""Of the tables and of how a call's key is made; a ledger with others is refused."""

SMALL = 2048  # bytes
CHECKSUM = 4  # bytes
_ZLIB = b"\x78"  # how a zlib stream begins, and no JSON does

TABLES = f"""
CREATE TABLE IF NOT EXISTS calls (
    task_id TEXT NOT NULL, key BLOB NOT NULL, scope TEXT NOT NULL, stage TEXT NOT NULL, role TEXT NOT NULL,
    model TEXT NOT NULL, finish_reason TEXT NOT NULL, input INTEGER NOT NULL, output INTEGER NOT NULL,
    reasoning INTEGER NOT NULL, cached INTEGER NOT NULL, usd REAL NOT NULL, seconds REAL NOT NULL,
    finished_at REAL NOT NULL, paid INTEGER NOT NULL, reply BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS outcomes (
    task_id TEXT NOT NULL, position INTEGER NOT NULL, fingerprint TEXT NOT NULL, status TEXT NOT NULL,
    bucket TEXT NOT NULL, records INTEGER NOT NULL, rows BLOB NOT NULL, PRIMARY KEY (fingerprint, position));
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
PRAGMA user_version = {VERSION};
"""
CALLS_BY_KEY = "CREATE UNIQUE INDEX IF NOT EXISTS calls_by_key ON calls (task_id, key)"
ADD_CALL = "INSERT OR REPLACE INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
ADD_MISSING_CALL = ADD_CALL.replace("OR REPLACE", "OR IGNORE")
FIND_REPLIES = "SELECT key, reply FROM calls WHERE task_id = ?"


class Call(NamedTuple):
    """One finished call. `reply` is JSON bytes (see `gristmill.llm.Reply`), `seconds` its latency with all retries.

    `paid` is False for a call that another run had paid for (see `SharedLedger`). An effect other than a model call has
    its kind as role, no model and no tokens.
    """

    task_id: str
    key: bytes
    scope: str
    stage: str
    role: str
    model: str
    finish_reason: str
    input: int
    output: int
    reasoning: int
    cached: int
    usd: float
    seconds: float
    finished_at: float
    paid: bool
    reply: bytes


def open_database(path: Path) -> sqlite3.Connection:
    """A connection with our tables. GristmillError where the file is a ledger of another version;
    sqlite3.DatabaseError where it can't be read."""
    db = sqlite3.connect(path, isolation_level=None, timeout=30)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute("PRAGMA wal_autocheckpoint=8000")  # pages; each checkpoint waits for the disk
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version not in (0, VERSION) or (version == 0 and db.execute("SELECT 1 FROM sqlite_master").fetchone()):
            raise GristmillError(
                f"{path} was written by another version of Gristmill; finish that run with it, or start anew: --fresh."
            )
        db.executescript(TABLES)
    except BaseException:
        db.close()
        raise
    return db


def packed(json: bytes) -> bytes:
    """Compressed where it pays (the compressor takes as long to start as for a few kilobytes), with a checksum: SQLite
    has none, so a bad block could change what a model said."""
    kept = zlib.compress(json, 1) if len(json) > SMALL else json
    return kept + zlib.crc32(kept).to_bytes(CHECKSUM)


def unpacked(kept: bytes) -> bytes:
    return zlib.decompress(kept[:-CHECKSUM]) if kept[:1] == _ZLIB else kept[:-CHECKSUM]


def is_intact(kept: bytes) -> bool:
    """Whether these are the bytes that `packed` gave."""
    return zlib.crc32(kept[:-CHECKSUM]).to_bytes(CHECKSUM) == kept[-CHECKSUM:]


_FULL = ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_FSYNC")


def is_full(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorname", "") in _FULL


def ledger_error(error: sqlite3.Error, path: Path) -> GristmillError:
    """The sentence for a ledger that can't be written."""
    if is_full(error):
        return GristmillError(
            f"the disk is full: {path}. What was answered is kept; free some space and repeat the command."
        )
    return GristmillError(
        f"{path} can't be written: {error}. What was answered is kept; mend that and repeat the command."
    )
