"""What the driver and a worker say to each other. Messages travel in lists: a worker's are grouped by 10 ms."""

from pathlib import Path
from typing import Any, NamedTuple

from gristmill.budget import Estimate
from gristmill.context import Task
from gristmill.errors import GristmillError
from gristmill.ledger import Outcome
from gristmill.ledger_file import Call
from gristmill.runner import Job
from schemas import Usage
from schemas.run_config import RunConfig


class Work(NamedTuple):
    """What a worker is made from.

    `plugins` is the pickle of generator and judges, read in `folder`, the driver's working directory, as they may open
    files; `code` is the digest of the driver's code, `artifacts` what `prepare` made and `prepared` the replies that it
    got, from which the judges prepare themselves again.
    """

    config: RunConfig
    plugins: bytes
    code: str
    folder: Path
    artifacts: Path
    prepared: dict[bytes, bytes]


# ---- the driver says


class Assigned(NamedTuple):
    """A job, with the replies that the ledger holds for it."""

    job: Job
    packed_replies: dict[bytes, bytes]


class Answered(NamedTuple):
    """To a message with a ticket: what was asked for, or the error that stops the run."""

    ticket: int
    answer: Estimate | GristmillError | None


Told = Assigned | Answered

# ---- a worker says


class Reserve(NamedTuple):
    """A call is about to be sent. Without a ticket, as where there is no budget, no answer is waited for."""

    ticket: int | None
    role: str
    request_bytes: int
    request: dict[str, Any]  # only what an estimate needs


class Paid(NamedTuple):
    role: str
    stage: str
    usage: Usage


class Released(NamedTuple):
    role: str
    estimate: Estimate


class Reused(NamedTuple):
    """A reply of the ledger's was the answer."""

    task_id: str
    key: bytes


class Finished(NamedTuple):
    """A call to commit; its reply is compressed."""

    ticket: int
    call: Call


class Ended(NamedTuple):
    """A job has its outcome, or an error that stops the run."""

    position: int
    outcome: tuple[Outcome, Task] | GristmillError


class Resting(NamedTuple):
    """So many calls wait before they are tried again."""

    calls: int


class Closed(NamedTuple):
    """The worker's last word."""


Said = Reserve | Paid | Released | Reused | Finished | Ended | Resting | Closed
