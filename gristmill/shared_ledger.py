"""The shared ledger: what one run paid for, the others reuse (`ledger: PATH` in their configs)."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gristmill.errors import GristmillError
from gristmill.ledger_file import (
    ADD_CALL,
    CALLS_BY_KEY,
    FIND_REPLIES,
    Call,
    is_full,
    is_intact,
    ledger_error,
    open_database,
)


class SharedLedger:
    """The replies of several runs in one file.

    A reply counts for the same task, scope and request, so runs of other generators or with other prompts get none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._or_sentence():
            self._db = open_database(path)
            self._db.execute(CALLS_BY_KEY)

    def find(self, task_id: str, key: bytes) -> Call | None:
        """The call, with its reply still packed; None also where that is damaged: it is asked, and written, anew."""
        with self._or_sentence():
            row = self._db.execute("SELECT * FROM calls WHERE task_id = ? AND key = ?", (task_id, key)).fetchone()
        return Call(*row) if row and is_intact(row[-1]) else None

    def packed_replies(self, task_id: str) -> dict[bytes, bytes]:
        """All of a task that are intact, by key."""
        with self._or_sentence():
            found: list[tuple[bytes, bytes]] = self._db.execute(FIND_REPLIES, (task_id,)).fetchall()
        return {key: reply for key, reply in found if is_intact(reply)}

    def add(self, calls: Iterable[tuple[Any, ...]], statement: str = ADD_CALL) -> None:
        """GristmillError where they can't be written; the run has them all the same."""
        with self._or_sentence():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany(statement, calls)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _or_sentence(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if is_full(error):
                raise ledger_error(error, self.path) from None
            raise GristmillError(
                f"the shared ledger {self.path} can't be used ({error}); move it away, or name another with `ledger`."
            ) from None

    def close(self) -> None:
        self._db.close()
