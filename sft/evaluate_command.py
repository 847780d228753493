"""`gristmill evaluate` asks models for the answers of records, and has them proved."""

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from gristmill.commands import Command, add_config, check_extra
from gristmill.terminal import warn

if TYPE_CHECKING:
    from sft.evaluate import Scores


def _configure(parser: ArgumentParser) -> None:
    add_config(parser, "a YAML file with `subjects` and `exams`")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def _run(arguments: Namespace) -> int:
    from gristmill.config import load_config
    from schemas.evaluate_config import EvaluateConfig

    config = load_config(arguments.config, arguments.overrides, EvaluateConfig)
    check_extra("sft")
    from sft.evaluate import evaluate

    scores = evaluate(config, quiet=arguments.quiet)
    _print(scores)
    for exam, subjects in scores.items():
        for name, one in subjects.items():
            if one.failed:
                folder = f"{config.out}/runs/{name}/{exam}"
                warn(
                    f"{exam}, {name}: {one.failed} of {one.asked + one.failed} questions failed and don't count; "
                    f"{folder}/rejects says why. The same command asks them again."
                )
    files = "evaluation.json and held_out.json" if config.held_out else "evaluation.json"
    print(f"{config.out}/{files}; the answers: {config.out}/runs")
    return 0


def _print(scores: "Scores") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("exam", "subject", "right", "share", "95 %", "difference", "95 %"):
        table.add_column(heading, justify="left" if heading in ("exam", "subject") else "right")
    for exam, subjects in scores.items():
        for name, one in subjects.items():
            cells = [f"{one.right}/{one.asked}", f"{one.share:.1%}", f"{one.low:.1%} to {one.high:.1%}"]
            if one.difference:
                mean, low, high = one.difference
                cells += [f"{mean:+.1%}", f"{low:+.1%} to {high:+.1%}"]
            table.add_row(exam, name, *cells)
    Console(highlight=False, soft_wrap=True).print(table)


evaluate_command = Command(
    "ask a model records' questions and prove its answers",
    _configure,
    _run,
    "gristmill evaluate recipes/sft/evaluate.yaml",
)
