"""OUT/summary.json and OUT/report.html: what the stages have come to, and how they went."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from gristmill.report import page_environment
from gristmill.runs import write_atomically
from schemas import Data
from schemas.sft_config import Trained
from sft.acceptance import Acceptance
from sft.heldout import HeldOut
from sft.loss import LossKind
from sft.metrics import StepMetrics, read_metrics
from sft.rollouts import RolloutSummary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NEUTRAL = "#808890"  # can be read on light and on dark paper
POINTS = 1000  # at most so many on a curve


class Measured(Data):
    """What a model is like; None where it can't be measured: without a valid split, or without an MTP head."""

    held_out: HeldOut | None
    acceptance: Acceptance | None


class StageResult(Measured):
    """What a stage has used, and what the model is like after it."""

    name: str
    loss: LossKind | None  # None where only the MTP head was trained
    train: Trained
    steps: int
    packs: int
    conversations: int
    rollouts: RolloutSummary | None

    def line(self) -> str:
        """The result in one line."""
        text = f"{self.name}: {self.steps} steps over {self.conversations:,} conversations"
        if self.held_out:
            text += f"; held-out loss {self.held_out.per_token:.3f} per token"
            text += f", {self.held_out.per_conversation:.3f} per conversation"
        if self.acceptance:
            text += f"; MTP acceptance {self.acceptance.rates[0]:.1%} at depth 1"
            text += f", mean accepted length {self.acceptance.mean_accepted_length:.2f}"
        return text


class Summary(Data):
    """summary.json. `start` was measured before the first step."""

    model: str
    parameters: int
    mtp_depths: int
    kernels: str  # the layout of documents, and why it is that one
    unigram_entropy: float | None  # of the held-out targets, in nats
    start: Measured | None
    stages: list[StageResult]

    def measured(self) -> list[tuple[str, Measured]]:
        """What was measured, in its order, by the name of the stage after which it was."""
        before = [("before training", self.start)] if self.start else []
        return [*before, *((stage.name, stage) for stage in self.stages)]


def write_report(out: Path, summary: Summary) -> None:
    """Writes both files; the report is one page that works offline."""
    write_atomically(out / "summary.json", summary.model_dump_json(indent=2) + "\n")
    steps = read_metrics(out / "metrics.jsonl")
    template = page_environment(Path(__file__).parent).get_template("report.html.jinja")
    page = template.render(
        name=out.name, summary=summary, steps=steps, plots=_plots(summary, steps), version=version("gristmill")
    )
    write_atomically(out / "report.html", page)


def _plots(summary: Summary, steps: list[StepMetrics]) -> list[tuple[str, str]]:
    """(title, SVG) of each plot that there is something to show in."""
    plots = [
        ("Loss per stage", _curves(steps, "loss", "nats per token", _held_out_marks(summary))),
        ("MTP loss", _curves(steps, "mtp_loss", "nats per token, mean over depths")),
        ("Learning rate", _curves(steps, "lr", "")),
        ("Tokens per second", _curves(steps, "tokens_per_s", "")),
        ("MTP acceptance by depth", _acceptance_plot(summary)),
    ]
    return [(title, svg) for title, svg in plots if svg]


def _held_out_marks(summary: Summary) -> list[tuple[int, float]]:
    """(step, held-out loss per token) before the first stage and after each."""
    steps = accumulate((stage.steps for stage in summary.stages), initial=0)
    before = summary.start.held_out if summary.start else None
    losses = [before, *(stage.held_out for stage in summary.stages)]
    return [(step, loss.per_token) for step, loss in zip(steps, losses, strict=True) if loss]


def _curves(steps: list[StepMetrics], name: str, unit: str, marks: Sequence[tuple[int, float]] = ()) -> str:
    """One curve per stage over all optimizer steps; "" where there is no value."""
    stages = list(dict.fromkeys(step.stage for step in steps))
    curves = [[(s.step, getattr(s, name)) for s in steps if s.stage == stage] for stage in stages]
    with _figure() as (figure, axes):
        for stage, curve in zip(stages, curves, strict=True):
            points = [(step, value) for step, value in curve if value is not None]
            thinned = points[:: len(points) // POINTS + 1]
            if thinned:
                axes.plot(*zip(*thinned, strict=True), label=stage, linewidth=1.2)
        if not axes.lines:
            return ""
        if marks:
            axes.plot(*zip(*marks, strict=True), "o", color=NEUTRAL, markersize=5, label="held-out")
        axes.set_xlabel("optimizer step")
        axes.set_ylabel(unit)
        axes.legend(frameon=False, labelcolor=NEUTRAL)
        return _svg(figure)


def _acceptance_plot(summary: Summary) -> str:
    measured = [(name, found.acceptance.rates) for name, found in summary.measured() if found.acceptance]
    if not measured:
        return ""
    with _figure() as (figure, axes):
        for name, rates in measured:
            axes.plot(range(1, len(rates) + 1), rates, "o-", label=name, linewidth=1.2, markersize=4)
        axes.set_xlabel("depth")
        axes.set_ylabel("share accepted")
        axes.set_ylim(0, 1)
        axes.legend(frameon=False, labelcolor=NEUTRAL)
        return _svg(figure)


@contextmanager
def _figure() -> Iterator[tuple["Figure", "Axes"]]:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "gristmill", "font.size": 9}):
        figure = Figure(figsize=(8.6, 2.9), layout="constrained")
        axes = figure.subplots()
        axes.tick_params(colors=NEUTRAL)
        axes.xaxis.label.set_color(NEUTRAL)
        axes.yaxis.label.set_color(NEUTRAL)
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(NEUTRAL)
        yield figure, axes


def _svg(figure: "Figure") -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
