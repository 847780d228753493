"""`gristmill preview` runs a few tasks of a config and shows them in full; with `--estimate N` it says what all would
cost. Its calls are paid for like any others; with `ledger: PATH` in the config the run will find their answers."""

import tempfile
from argparse import ArgumentParser, Namespace
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from gristmill.commands import Command, add_config
from gristmill.terminal import printable, tell

if TYPE_CHECKING:
    from gristmill.ledger import Ledger


def _configure(parser: ArgumentParser) -> None:
    add_config(parser, "the run's YAML file")
    parser.add_argument("-n", type=int, default=3, help="how many tasks to show (default 3)")
    parser.add_argument("--estimate", type=int, default=0, metavar="N", help="run N tasks and forecast the whole run")


def _preview(arguments: Namespace) -> int:
    from gristmill.commands.generate import run_plan
    from gristmill.config import load_config
    from gristmill.errors import ConfigError, TooFewRecords, TooManyFailed
    from gristmill.forecast import forecast
    from gristmill.ledger import Ledger
    from gristmill.plan import make_plan
    from gristmill.runs import RunFolder
    from schemas.run_config import ExecutorConfig, QuotaConfig, RunConfig

    tasks = max(arguments.n, arguments.estimate)
    if tasks < 1 or arguments.n < 0 or arguments.estimate < 0:
        raise ConfigError("preview needs at least one task: -n 1.")
    config = load_config(arguments.config, arguments.overrides, RunConfig)
    few = {"samples": None, "max_tasks": None, "tasks": tasks, "quota": QuotaConfig(), "executor": ExecutorConfig()}
    plan = make_plan(config.model_copy(update=few))
    with tempfile.TemporaryDirectory() as temporary:
        folder = RunFolder(Path(temporary) / "preview")
        with suppress(TooManyFailed, TooFewRecords):  # a preview shows the failed tasks like all others
            run_plan(plan, folder, quiet=True)
        ledger = Ledger(folder.ledger)
        try:
            _show(ledger, plan.fingerprint, arguments.n)
            if arguments.estimate:
                tell(forecast(config, plan, ledger).table(), 14)
        finally:
            ledger.close()
    return 0


def _show(ledger: "Ledger", fingerprint: str, most: int) -> None:
    from gristmill.commands.show import conversation_text

    for outcome in islice(ledger.outcomes(fingerprint), most):
        print(f"=== task {outcome.task_id}: {outcome.status}")
        for row in outcome.rows["records"]:
            print(conversation_text(row))
        for row in outcome.rows["rejects"]:
            print(printable(f"--- {row['status']} at {row['stage']}: {row['reason']} {row['detail']}"))


command = Command(
    "run a few tasks of a config and show them in full",
    _configure,
    _preview,
    "gristmill preview my.yaml -n 1 --estimate 20",
)
