"""OUT/metrics.jsonl: a line per optimizer step."""

from pathlib import Path

from gristmill.errors import GristmillError
from gristmill.runs import write_atomically
from schemas import Data


class StepMetrics(Data):
    """One optimizer step, over all ranks. `loss` is the main head's, `mtp_loss` the mean over depths, not scaled.

    `loss_by_source` has `loss` over the conversations of each source that the step holds: per token, or per
    conversation in a stage with `loss: sample`. {} where the data doesn't tell of sources, or only of one.
    """

    step: int
    stage: str
    loss: float | None  # null where only the MTP head trains
    loss_by_source: dict[str, float] = {}
    mtp_loss: float | None  # null without an MTP head
    tokens: int
    conversations: int
    lr: float
    grad_norm: float  # before clipping
    tokens_per_s: float


class MetricsLog:
    """metrics.jsonl: appended to after each step; a resumed run first drops the lines after its last state."""

    def __init__(self, path: Path, steps: int) -> None:
        self._path = path
        kept = [line for line in read_metrics(path) if line.step <= steps]
        write_atomically(path, "".join(line.to_json() + "\n" for line in kept))

    def append(self, line: StepMetrics) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line.to_json() + "\n")


def read_metrics(path: Path) -> list[StepMetrics]:
    """Its complete lines; a last line without an end was cut off when a run was killed."""
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else [""]
    return [_parsed(line, f"{path}, line {number}") for number, line in enumerate(lines[:-1], 1)]


def _parsed(line: str, where: str) -> StepMetrics:
    try:
        return StepMetrics.from_json(line)
    except ValueError:  # orjson's and pydantic's
        raise GristmillError(
            f"{where}: not a step of this training. Mend the line or remove it; nothing but the report reads it."
        ) from None
