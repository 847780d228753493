"""`gristmill sft` trains the stages of a config; the same command again goes on where it stopped."""

import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from gristmill.commands import Command

if TYPE_CHECKING:
    from rich.progress import TaskID

    from sft.metrics import StepMetrics
    from sft.report import StageResult, Summary

PLAIN_SECONDS = 10.0

Say = Callable[[str], None]
Listen = Callable[["StepMetrics", int, int], None]


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("config", type=Path, help="the training's YAML file")
    parser.add_argument("overrides", nargs="*", metavar="a.b=v", help="keys of the config with another value")


def _run(arguments: Namespace) -> int:
    from gristmill.config import load_config
    from gristmill.runs import RunFolder
    from schemas.sft_config import SFTConfig

    config = load_config(arguments.config, arguments.overrides, SFTConfig)
    from sft.command import reading
    from sft.prep import prepare
    from sft.train import Training
    from sft.world import join_world

    with join_world() as world, RunFolder(config.out).lock() if world.leads else nullcontext():
        if world.leads:
            with reading() as watch:
                prepare(config, watch)
        world.wait()
        renderer, data = prepare(config)
        with _showing() if world.leads else nullcontext((_silent, _silent)) as (say, listen):
            summary = Training(config, renderer, data, world, say).run(listen)
        if world.leads:
            _print_results(summary, config.out)
    return 0


def _silent(*_: object) -> None:
    """What the ranks other than the first say."""


def step_line(metrics: "StepMetrics", done: int, total: int) -> str:
    """One optimizer step for people."""
    losses = {"loss": metrics.loss, "mtp_loss": metrics.mtp_loss}
    shown = [f"{name} {value:.4f}" for name, value in losses.items() if value is not None]
    shown += [f"lr {metrics.lr:.2e}", f"{metrics.tokens_per_s:,.0f} tokens/s"]
    return f"{metrics.stage}: step {done:,} of {total:,}, {', '.join(shown)}"


@contextmanager
def _showing() -> Iterator[tuple[Say, Listen]]:
    """A bar on a terminal, a plain line every 10 seconds elsewhere; all of it on stderr."""
    if not sys.stderr.isatty():
        yield _plain()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (BarColumn(bar_width=24), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def draw(metrics: "StepMetrics", done: int, total: int) -> None:
            if metrics.stage not in tasks:
                tasks[metrics.stage] = bars.add_task(metrics.stage, total=total)
            bars.update(tasks[metrics.stage], completed=done, description=step_line(metrics, done, total))

        yield lambda text: console.print(text, highlight=False, markup=False), draw


def _plain() -> tuple[Say, Listen]:
    shown = time.monotonic()

    def write(metrics: "StepMetrics", done: int, total: int) -> None:
        nonlocal shown
        if time.monotonic() - shown >= PLAIN_SECONDS or done == total:
            shown = time.monotonic()
            _say(step_line(metrics, done, total))

    return _say, write


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _print_results(summary: "Summary", out: Path) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE, pad_edge=False)
    headings = ("stage", "steps", "per token", "per conversation", "shortest third", "MTP depth 1", "accepted length")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left")
    for stage in summary.stages:
        table.add_row(*_cells(stage))
    console = Console()
    console.print("Held-out losses in nats, and acceptance of MTP drafts:")
    console.print(table)
    if summary.unigram_entropy is not None:
        console.print(f"Unigram entropy of the held-out targets: {summary.unigram_entropy:.3f} nats.")
    console.print(f"{out}/report.html shows more.", highlight=False)


def _cells(stage: "StageResult") -> list[str]:
    held, accepted = stage.held_out, stage.acceptance
    losses = [held.per_token, held.per_conversation, held.per_conversation_shortest_third] if held else []
    rates = [f"{accepted.rates[0]:.1%}", f"{accepted.mean_accepted_length:.2f}"] if accepted else ["", ""]
    return [stage.name, f"{stage.steps:,}", *([f"{loss:.3f}" for loss in losses] or ["", "", ""]), *rates]


sft_command = Command("train a model on a blend, stage by stage", _configure, _run)
