"""One vocabulary of errors. Each that ends a command carries its exit status; the CLI prints its sentence."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, NamedTuple, Self


class GristmillError(Exception):
    """Ends a command with one clear sentence: what, where, what to do."""

    exit_status = 1


class ConfigError(GristmillError):
    """The config is wrong; also a refused key or an unknown model."""

    exit_status = 2


class BudgetReached(GristmillError):
    """The budget is used up; the run resumes with a larger one."""

    exit_status = 3


class EndpointError(GristmillError):
    """An endpoint can't be reached."""

    exit_status = 4


class TooManyFailed(GristmillError):
    """The run ended, with more failed tasks than `max_failed` allows."""

    exit_status = 5


class TooFewRecords(GristmillError):
    """The tasks ran out before `samples` records were accepted."""

    exit_status = 6


class Reject(Exception):
    """A task's negative outcome: data, not a crash. `stage` says where, `reason` is a short word that is counted."""

    def __init__(self, stage: str, reason: str, detail: str = "", **payload: Any) -> None:
        super().__init__(f"{stage}: {reason}" + (f" ({detail})" if detail else ""))
        self.stage = stage
        self.reason = reason
        self.detail = detail
        self.payload = payload


class Fault(NamedTuple):
    """A negative outcome that is noted, not raised: why one of several records or attempts is lost."""

    stage: str
    reason: str
    detail: str = ""

    @classmethod
    def of(cls, reject: Reject) -> Self:
        return cls(reject.stage, reject.reason, reject.detail)


class TaskFailed(Exception):
    """A task that broke at a boundary (llm, tool, sandbox, judge); it is counted as failed and the run goes on."""

    def __init__(self, boundary: str, detail: str) -> None:
        super().__init__(detail)
        self.boundary = boundary


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The sentence for a name that is nearly right, such as ` Did you mean rubric?`; nothing where none is near."""
    near = get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]}?" if near else ""
