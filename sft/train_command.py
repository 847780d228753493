"""`gristmill sft` trains the stages of a config; the same command again goes on where it stopped."""

import logging
import os
import signal
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from gristmill.commands import INTERRUPTED, PLAIN_SECONDS, Command, add_config, check_extra
from gristmill.errors import GristmillError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from schemas.sft_config import SFTConfig
    from sft.metrics import StepMetrics
    from sft.report import Measured, Summary

STOP_SECONDS = 600  # for processes that are told to stop: an optimizer step, and writing the state


def _configure(parser: ArgumentParser) -> None:
    add_config(parser, "the training's YAML file")
    parser.add_argument("--plan", action="store_true", help="pack the data, say what the run will do, and stop")
    parser.add_argument("--nproc", type=int, default=1, metavar="N", help="train in N processes, one per GPU")
    parser.add_argument(
        "--reset-optimizer",
        action="store_true",
        help="begin the running stage anew, with the weights as they are; then its keys may have changed",
    )


def _run(arguments: Namespace) -> int:
    from gristmill.config import load_config
    from gristmill.runs import RunFolder
    from schemas.sft_config import SFTConfig

    config = load_config(arguments.config, arguments.overrides, SFTConfig)
    check_extra("sft")
    # The tiny model's operations are too small to share: 4,800 tokens/s with one thread, 3,000 with two that don't
    # spin, 100 with two that do beside one busy process.
    single = config.model.init == "tiny" and "OMP_NUM_THREADS" not in os.environ
    if single:
        os.environ["OMP_NUM_THREADS"] = "1"
    from sft.command import reading
    from sft.prep import prepare

    if arguments.plan:
        return _plan(config, int(os.environ.get("WORLD_SIZE", arguments.nproc)))
    if arguments.nproc > 1 and "RANK" not in os.environ:
        with RunFolder(config.out).lock(), reading() as watch:
            prepare(config, watch)  # what is wrong with the data is said once, and not by every process
        flags = ["--reset-optimizer"] if arguments.reset_optimizer else []
        return _launch(arguments.nproc, "sft", str(arguments.config), *flags, *arguments.overrides)
    import torch

    from sft.train import Training
    from sft.world import join_world

    if single:
        torch.set_num_threads(1)  # for a process that had torch before, such as a factory's
    with join_world() as world, RunFolder(config.out).lock() if world.leads else nullcontext():
        with reading() if world.leads else nullcontext() as watch:
            renderer, data = world.of_first(prepare(config, watch) if watch else None)
        with _display() if world.leads else nullcontext(SilentDisplay()) as display:
            try:
                summary = Training(config, renderer, data, world, display, arguments.reset_optimizer).run()
            except torch.OutOfMemoryError:  # outside a forward or backward pass, of which a step says more
                raise GristmillError(
                    "the device's memory is too small for the weights, gradients and moments (gristmill sft --plan "
                    "estimates them), or for the valid split, of which data.pack_tokens are measured at a time. Train "
                    "on more devices, or lower that."
                ) from None
        if world.leads:
            _print_results(summary, config.out)
    return 0


def _launch(processes: int, *command: str) -> int:
    """Runs the command in so many processes of this machine; the exit status of the first that failed."""
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the processes say what there is to say
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    signal.signal(signal.SIGINT, lambda *_: None)  # a terminal's Ctrl-C comes to the processes themselves
    settings = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        signals_to_handle="SIGTERM",
        shutdown_timeout=STOP_SECONDS,
    )
    try:
        elastic_launch(settings, sys.executable)("-m", "gristmill.cli", *command)
    except ChildFailedError as error:
        return max(1, error.get_first_failure()[1].exitcode)
    except SignalException:
        return INTERRUPTED
    return 0


def _plan(config: "SFTConfig", ranks: int) -> int:
    from rich.console import Console

    from gristmill.runs import RunFolder
    from sft.command import reading
    from sft.forecast import forecast, print_forecast
    from sft.model import vocabulary_of
    from sft.prep import prepare

    with RunFolder(config.out).lock(), reading() as watch:
        renderer, data = prepare(config, watch)
    print_forecast(
        Console(highlight=False, soft_wrap=True), forecast(config, vocabulary_of(renderer.tokenizer), data, ranks)
    )
    return 0


def step_line(metrics: "StepMetrics", done: int, total: int) -> str:
    """One optimizer step for people."""
    losses = {"loss": metrics.loss, "mtp_loss": metrics.mtp_loss}
    shown = [f"{name} {value:.4f}" for name, value in losses.items() if value is not None]
    shown += [f"lr {metrics.lr:.2e}", f"{metrics.tokens_per_s:,.0f} tokens/s"]
    return f"{metrics.stage}: step {done:,} of {total:,}, {', '.join(shown)}"


class SilentDisplay:
    """What the ranks other than the first show, and tests."""

    def say(self, text: str) -> None: ...

    def step(self, metrics: "StepMetrics", done: int, total: int) -> None: ...

    def rows(self, label: str, done: int, total: int) -> None: ...


class PlainDisplay:
    """A line every 10 seconds, and one for a stage's last step."""

    def __init__(self) -> None:
        self._shown = time.monotonic()

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def step(self, metrics: "StepMetrics", done: int, total: int) -> None:
        if self._due() or done == total:
            self.say(step_line(metrics, done, total))

    def rows(self, label: str, done: int, total: int) -> None:
        if self._due():
            self.say(f"{label}: {done:,} of {total:,}")

    def _due(self) -> bool:
        due = time.monotonic() - self._shown >= PLAIN_SECONDS
        if due:
            self._shown = time.monotonic()
        return due


class LiveDisplay:
    """A bar for each stage, on a terminal."""

    def __init__(self, bars: "Progress") -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def say(self, text: str) -> None:
        self._bars.console.print(text, highlight=False, markup=False)

    def step(self, metrics: "StepMetrics", done: int, total: int) -> None:
        self._draw(metrics.stage, step_line(metrics, done, total), done, total)

    def rows(self, label: str, done: int, total: int) -> None:
        self._draw(label, f"{label}: {done:,} of {total:,}", done, total)

    def _draw(self, bar: str, text: str, done: int, total: int) -> None:
        if bar not in self._tasks:
            self._tasks[bar] = self._bars.add_task(text, total=total)
        self._bars.update(self._tasks[bar], completed=done, description=text)


@contextmanager
def _display() -> Iterator[PlainDisplay | LiveDisplay]:
    """Everything goes to stderr."""
    if not sys.stderr.isatty():
        yield PlainDisplay()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(bar_width=24), TextColumn("{task.description}", markup=False), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        yield LiveDisplay(bars)


def _print_results(summary: "Summary", out: Path) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE, pad_edge=False)
    headings = ("after", "per token", "per conversation", "shortest third", "MTP depth 1", "accepted length")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    for name, found in summary.measured():
        table.add_row(name, *_cells(found))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 100
    console.print("Held-out losses in nats, and how many MTP drafts the model accepts:")
    console.print(table)
    if summary.unigram_entropy is not None:
        console.print(f"Unigram entropy of the held-out targets: {summary.unigram_entropy:.3f} nats.")
    console.print(f"{out}/report.html shows more.")


def _cells(found: "Measured") -> list[str]:
    held, drafts = found.held_out, found.acceptance
    losses = [held.per_token, held.per_conversation, held.per_conversation_shortest_third] if held else []
    rates = [f"{drafts.rates[0]:.1%}", f"{drafts.mean_accepted_length:.2f}"] if drafts else ["", ""]
    return [*([f"{loss:.3f}" for loss in losses] or ["", "", ""]), *rates]


sft_command = Command(
    "train a model on a blend, stage by stage",
    _configure,
    _run,
    "gristmill sft recipes/sft/two_stage.yaml --plan",
)
