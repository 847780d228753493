"""`gristmill generate` runs a config; again = resume."""

import asyncio
import gc
import signal
from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gristmill.commands import Command, add_config
from gristmill.terminal import tell, warn

if TYPE_CHECKING:
    from gristmill.ledger import Ledger
    from gristmill.llm import Transport
    from gristmill.plan import Plan
    from gristmill.runs import RunFolder

_SHOWN = 200  # characters of what went wrong


def _configure(parser: ArgumentParser) -> None:
    add_config(parser, "the run's YAML file")
    parser.add_argument("--run", type=Path, metavar="DIR", help="the run's folder (default: runs/<config stem>)")
    parser.add_argument("--fresh", action="store_true", help="move an earlier run in DIR to DIR.1 and start anew")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def _generate(arguments: Namespace) -> int:
    from gristmill.config import load_config
    from gristmill.plan import make_plan
    from gristmill.runs import RunFolder
    from schemas.run_config import RunConfig

    plan = make_plan(load_config(arguments.config, arguments.overrides, RunConfig))
    folder = RunFolder(arguments.run or Path("runs") / arguments.config.stem)
    if arguments.fresh:
        folder.move_aside()
    summary = run_plan(plan, folder, quiet=arguments.quiet)
    tell(result_table(summary, folder.path), 10)
    return 0


def run_plan(
    plan: "Plan", folder: "RunFolder", *, transport: "Transport | None" = None, quiet: bool = False
) -> dict[str, Any]:
    """Runs (or resumes) a plan in a folder and exports it; the summary. Raises what stopped it, after the export."""
    from gristmill.export import export_run
    from gristmill.ledger import Ledger
    from gristmill.salvage import mend_ledger

    terminated = signal.getsignal(signal.SIGTERM)
    for named in plan.judges:
        for warning in named.warnings:
            warn(warning)
    with folder.lock():
        folder.artifacts.mkdir(exist_ok=True)
        folder.write_config(plan)
        if sentence := mend_ledger(folder.ledger):
            warn(sentence)
        ledger = Ledger(folder.ledger, Path(plan.config.ledger) if plan.config.ledger else None)
        try:
            try:
                asyncio.run(_drive(plan, folder, ledger, transport, quiet))
            finally:
                signal.signal(signal.SIGTERM, terminated or signal.SIG_DFL)  # asyncio forgets whose it was
                summary = export_run(folder, ledger, plan.config, plan.fingerprint)
        finally:
            ledger.close()
    check_result(plan, summary, folder)
    return summary


async def _drive(
    plan: "Plan", folder: "RunFolder", ledger: "Ledger", transport: "Transport | None", quiet: bool
) -> None:
    from gristmill.engine import Engine
    from gristmill.export import note_session
    from gristmill.llm import Network
    from gristmill.log import TaskLog
    from gristmill.progress import progress

    main = asyncio.current_task()
    assert main is not None
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        interrupted = True
        main.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, interrupt)
    started = datetime.now(UTC)
    gc.freeze()  # what was imported stays; the collector need not look at it again and again
    log = TaskLog(folder.log)
    engine = Engine(plan, ledger, transport or Network(plan.config.patience), folder.artifacts, log)
    try:
        async with progress(engine.tally, engine.meter, samples=plan.config.samples is not None, quiet=quiet):
            await engine.run()
    except asyncio.CancelledError:
        if interrupted:
            raise KeyboardInterrupt from None
        raise
    finally:
        log.close()
        note_session(ledger, started, engine.meter.calls_reused)


def check_result(plan: "Plan", summary: dict[str, Any], folder: "RunFolder") -> None:
    """Raises where the run ended but not as its config wants."""
    from gristmill.errors import ConfigError, TooFewRecords, TooManyFailed

    config = plan.config
    if config.seeds and not summary["tasks"]:
        raise ConfigError(f"seeds: {config.seeds} holds no rows, so there is nothing to do.")
    if summary["failed"] > config.max_failed * summary["tasks"]:
        raise TooManyFailed(
            f"{summary['failed']} of {summary['tasks']} tasks failed, more than max_failed = {config.max_failed:g} "
            f"allows: {_reasons(summary)}; for example {_failed_example(folder)}. See rejects/; repeating the command "
            "tries them again."
        )
    if config.samples is not None and summary["records"] < config.samples:
        raise TooFewRecords(
            f"the tasks ran out at {summary['records']} of {config.samples} records ({summary['tasks']} tasks; lost: "
            f"{_reasons(summary) or 'nothing'}). Raise max_tasks or add seeds and repeat the command."
        )


def _failed_example(folder: "RunFolder") -> str:
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    failed = ds.dataset(folder.rejects).head(1, columns=["task_id", "detail"], filter=pc.field("status") == "failed")
    [row] = failed.to_pylist()
    return f"task {row['task_id']}, {' '.join(row['detail'].split())[:_SHOWN]}".rstrip(".")


def _reasons(summary: dict[str, Any]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in summary["by_reason"].items())


def result_table(summary: dict[str, Any], path: Path) -> str:
    """What came out, for the terminal."""
    tokens = summary["tokens"]
    lines = [
        f"tasks     {summary['tasks']:,}: {summary['accepted']:,} accepted, {summary['rejected']:,} rejected, "
        f"{summary['failed']:,} failed",
        f"records   {summary['records']:,} in {path}/records",
        f"lost      {_reasons(summary) or 'nothing'}",
        f"calls     {summary['calls']:,} paid; {summary['calls_reused']:,} answered by the ledger in this session",
        f"tokens    {tokens['input']:,} in, {tokens['output']:,} out ({tokens['reasoning']:,} of them reasoning); "
        f"{summary['usd']:.4f} USD",
        f"time      {summary['wall_s']:.1f} s",
        f"report    {path}/report.html",
    ]
    return "\n".join(lines)


command = Command(
    "generate a dataset from a config; again = resume",
    _configure,
    _generate,
    "gristmill generate recipes/generate/text_to_sql.yaml samples=100",
)
