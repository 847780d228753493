"""`gristmill prep` renders and packs a blend for the stages of a config."""

import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gristmill.commands import PLAIN_SECONDS, Command, add_config, check_extra
from sft.train_command import sft_command as sft_command

if TYPE_CHECKING:
    from sft.prep import StageSummary


def _configure_prep(parser: ArgumentParser) -> None:
    add_config(parser, "the training's YAML file")
    parser.add_argument("--show", metavar="UUID", help="print a conversation's tokens, the supervised ones in colour")


def _prep(arguments: Namespace) -> int:
    from gristmill.config import load_config
    from gristmill.runs import RunFolder
    from schemas.sft_config import SFTConfig

    config = load_config(arguments.config, arguments.overrides, SFTConfig)
    check_extra("sft")
    from sft.prep import prepare, prepare_renderer

    if arguments.show is not None:
        from rich.console import Console

        from sft.show import find_record, show_record

        found = find_record([config.stage_data(stage).blend for stage in config.stages], arguments.show)
        with RunFolder(config.out).lock(), reading() as watch:
            renderer = prepare_renderer(config, watch)
        show_record(Console(highlight=False, markup=False), renderer, found, config.data.pack_tokens)
        return 0
    with RunFolder(config.out).lock(), reading() as watch:
        _, stages = prepare(config, watch)
    for stage in config.stages:
        print(_line(stages[stage.name].summary) if stage.name in stages else f"{stage.name}: learns from roll-outs")
    return 0


def _line(summary: "StageSummary") -> str:
    train = summary.train
    lost = {
        "unreadable": len(train.unreadable),
        "without output": len(train.without_output),
        f"over-long ({summary.over_long})": len(train.over_long),
    }
    losses = "".join(f"; {count:,} {what}" for what, count in lost.items() if count)
    return (
        f"{summary.stage}: {train.conversations:,} conversations, {train.sequences:,} sequences, {train.packs:,} packs "
        f"of {summary.pack_tokens:,} tokens ({train.utilisation:.2%} full); {train.supervised_tokens:,} of "
        f"{train.tokens:,} tokens supervised; valid: {summary.valid.sequences:,} sequences{losses}"
    )


@contextmanager
def reading() -> Iterator[Callable[[str, int, int], None]]:
    """Shows how far the reading of rows has come: a bar on a terminal, a plain line every 10 seconds elsewhere."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress, TaskID

        with Progress(console=Console(stderr=True)) as bars:
            tasks: dict[str, TaskID] = {}

            def draw(label: str, done: int, total: int) -> None:
                if label not in tasks:
                    tasks[label] = bars.add_task(label, total=total)
                bars.update(tasks[label], completed=done)

            yield draw
        return
    shown = time.monotonic()

    def write(label: str, done: int, total: int) -> None:
        nonlocal shown
        if time.monotonic() - shown >= PLAIN_SECONDS:
            shown = time.monotonic()
            print(f"{label}: {done:,} of {total:,} conversations", file=sys.stderr, flush=True)

    yield write


prep_command = Command(
    "render and pack a blend for training",
    _configure_prep,
    _prep,
    "gristmill prep recipes/sft/demo.yaml",
)
