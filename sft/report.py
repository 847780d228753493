"""OUT/summary.json and OUT/report.html: what the stages have come to, and how they went."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from itertools import accumulate, groupby
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from gristmill.report import page_environment
from gristmill.runs import RunFolder, write_atomically
from schemas import Data
from schemas.sft_config import Trained
from sft.acceptance import Acceptance
from sft.export import lineage, read_checkpoint
from sft.heldout import HeldOut
from sft.loss import LossKind
from sft.metrics import StepMetrics, read_metrics
from sft.rollouts import RolloutSummary
from sft.samples import Sample

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NEUTRAL = "#808890"  # can be read on light and on dark paper
POINTS = 1000  # at most so many on a curve,
SMOOTH_POINTS = 100  # and about so many where each is a mean
Size: TypeAlias = tuple[float, float]  # of a plot, in inches
WIDE, SMALL = (8.6, 2.9), (4.2, 2.3)


class Measured(Data):
    """What a model is like; None where it can't be measured: without a valid split, or without an MTP head. `answers`
    are to the summary's samples; a new model has none."""

    held_out: HeldOut | None
    acceptance: Acceptance | None
    answers: list[str] = []


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
    samples: list[Sample]
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
        name=out.name,
        summary=summary,
        steps=steps,
        plots=_plots(summary, steps),
        lineage=_lineage(out) if summary.stages else [],
        version=version("gristmill"),
    )
    write_atomically(out / "report.html", page)


class Origin(NamedTuple):
    """A row of the report's lineage: what a stage learned from, and where that was made."""

    stage: str
    data: str
    source: str = ""
    rows: int | None = None
    made_in: str = ""
    digests: list[str] = []
    ledger: str = ""


def _lineage(out: Path) -> list[Origin]:
    """The stages as `export` tells of them, a row per source."""
    origins: list[Origin] = []
    for stage in lineage(read_checkpoint(out))["stages"]:
        if rollouts := stage.get("rollouts"):
            origins.append(Origin(stage["name"], f"own answers to {rollouts['prompts']}", rows=rollouts["sequences"]))
            continue
        origins += [
            Origin(
                stage["name"],
                stage["blend"],
                source["name"],
                source["rows"],
                source["path"],
                [file["sha256"] or file["revision"] or "" for file in source["inputs"]],
                "there" if RunFolder(Path(source["path"])).ledger.is_file() else "not here",
            )
            for source in stage["sources"]
        ] or [Origin(stage["name"], stage["blend"], "no manifest")]
    return origins


def _plots(summary: Summary, steps: list[StepMetrics]) -> dict[str, str]:
    """The SVG of each plot; "" where there is nothing to show in it."""
    return {
        "loss": _curves(steps, "loss", "nats per token", _held_out_marks(summary)),
        "loss_by_source": _loss_by_source(steps),
        "mtp_loss": _curves(steps, "mtp_loss", "nats per token, mean over depths"),
        "by_source": _held_out_by(summary, "by_source"),
        "by_category": _held_out_by(summary, "by_category"),
        "acceptance": _acceptance_plot(summary),
        "lr": _curves(steps, "lr", "learning rate", size=SMALL),
        "grad_norm": _curves(steps, "grad_norm", "gradient norm", size=SMALL),
        "tokens_per_s": _curves(steps, "tokens_per_s", "tokens per second", size=SMALL),
    }


def _held_out(summary: Summary) -> list[tuple[int, HeldOut]]:
    """By optimizer step: what was measured before the first stage and after each."""
    steps = accumulate((stage.steps for stage in summary.stages), initial=0)
    found = [summary.start.held_out if summary.start else None, *(stage.held_out for stage in summary.stages)]
    return [(step, losses) for step, losses in zip(steps, found, strict=True) if losses]


def _held_out_marks(summary: Summary) -> list[tuple[int, float]]:
    return [(step, losses.per_token) for step, losses in _held_out(summary)]


def _held_out_by(summary: Summary, part: Literal["by_source", "by_category"]) -> str:
    """A line per source or category; "" where there is but one."""
    measured = _held_out(summary)
    names = list(getattr(measured[0][1], part)) if measured else []
    if not names or len(measured) < 2:
        return ""
    with _figure() as (figure, axes):
        for name in names:
            points = [(step, getattr(losses, part)[name]) for step, losses in measured]
            axes.plot(*zip(*points, strict=True), "o-", label=name or "(none)", linewidth=1.2, markersize=4)
        return _finished(figure, axes, "optimizer step", "held-out nats per token")


def _curves(
    steps: list[StepMetrics], name: str, unit: str, marks: Sequence[tuple[int, float]] = (), size: Size = WIDE
) -> str:
    """One curve per stage over all optimizer steps; "" where there is no value."""
    stages = list(dict.fromkeys(step.stage for step in steps))
    curves = [[(s.step, getattr(s, name)) for s in steps if s.stage == stage] for stage in stages]
    with _figure(size) as (figure, axes):
        for stage, curve in zip(stages, curves, strict=True):
            points = [(step, value) for step, value in curve if value is not None]
            thinned = points[:: len(points) // POINTS + 1]
            if thinned:
                axes.plot(*zip(*thinned, strict=True), label=stage, linewidth=1.2)
        if not axes.lines:
            return ""
        if marks:
            axes.plot(*zip(*marks, strict=True), "o", color=NEUTRAL, markersize=5, label="held-out")
        return _finished(figure, axes, "optimizer step", unit)


def _loss_by_source(steps: list[StepMetrics]) -> str:
    """A line per source, of means over some steps of a stage; "" where sources aren't told apart."""
    at_once = len(steps) // SMOOTH_POINTS + 1
    stages = [list(alike) for _, alike in groupby(steps, lambda step: step.stage)]
    bins = [stage[first : first + at_once] for stage in stages for first in range(0, len(stage), at_once)]
    with _figure() as (figure, axes):
        for name in sorted({name for step in steps for name in step.loss_by_source}):
            found = [[step for step in held if name in step.loss_by_source] for held in bins]
            points = [
                (fmean(step.step for step in held), fmean(step.loss_by_source[name] for step in held))
                for held in found
                if held
            ]
            axes.plot(*zip(*points, strict=True), label=name or "(none)", linewidth=1.2)
        return _finished(figure, axes, "optimizer step", "nats per token") if axes.lines else ""


def _acceptance_plot(summary: Summary) -> str:
    measured = [(name, found.acceptance.rates) for name, found in summary.measured() if found.acceptance]
    if not measured:
        return ""
    with _figure() as (figure, axes):
        for name, rates in measured:
            axes.plot(range(1, len(rates) + 1), rates, "o-", label=name, linewidth=1.2, markersize=4)
        axes.set_ylim(0, 1)
        return _finished(figure, axes, "depth", "share accepted")


@contextmanager
def _figure(size: Size = WIDE) -> Iterator[tuple["Figure", "Axes"]]:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "gristmill", "font.size": 9}):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        axes.tick_params(colors=NEUTRAL)
        axes.xaxis.label.set_color(NEUTRAL)
        axes.yaxis.label.set_color(NEUTRAL)
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(NEUTRAL)
        yield figure, axes


def _finished(figure: "Figure", axes: "Axes", across: str, up: str) -> str:
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.legend(frameon=False, labelcolor=NEUTRAL)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
