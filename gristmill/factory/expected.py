"""What the runs will take, before they do: tasks, calls, tokens, cost and time of each, and where that is known from.

A run that is done says what it took. Of another one the first `estimate` tasks are run, in its own folder and so for
good: nothing is paid twice. Where nothing may be bought yet (`estimate: 0`), an earlier run tells, by the record: the
one that `like` names, or what this run was by another config or code.
"""

from collections.abc import Iterable
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from rich.box import SIMPLE
from rich.table import Table

from gristmill.commands.generate import run_plan
from gristmill.errors import ConfigError, TooFewRecords, TooManyFailed
from gristmill.factory.parts import Factory, Job
from gristmill.factory.work import affordable
from gristmill.forecast import COLUMNS, Interval, forecast
from gristmill.ledger import Ledger
from gristmill.plan import make_plan
from gristmill.salvage import mend_ledger
from schemas.run_config import ExecutorConfig, QuotaConfig

SUMS = ("tasks", *COLUMNS)
_FORMS = (("calls", ",.0f"), ("input", ",.0f"), ("output", ",.0f"), ("usd", ",.2f"), ("seconds", ",.0f"))
_TITLES = {"input": "tokens in", "output": "tokens out", "usd": "USD"}


class Expected(NamedTuple):
    """`sums` are those of `gristmill.forecast`; empty where nothing is known. `known_from` says how."""

    job: Job
    known_from: str
    sums: dict[str, Interval]


def finished(job: Job) -> Expected:
    """Of a run that is done, what it took."""
    return Expected(job, "done", {name: Interval(n, n, n) for name, n in _figures(job.folder.summary).items()})


def expected(factory: Factory, job: Job) -> Expected:
    """Of a run that isn't done; its first tasks are run where that many haven't been. Raises what stops them."""
    estimate = factory.config.estimate
    enough = min(estimate, job.plan.config.tasks or estimate)
    seen = _seen(job, enough)
    if seen < enough:
        few = {
            "samples": None,
            "max_tasks": None,
            "tasks": enough,
            "quota": QuotaConfig(),
            "executor": ExecutorConfig(),
        }
        with suppress(TooManyFailed, TooFewRecords):  # the run itself will say so
            run_plan(make_plan(affordable(factory, job).model_copy(update=few)), job.folder, quiet=True)
        seen = _seen(job, enough)
    if not seen:
        earlier = job.part.like or (job.folder.path if job.folder.summary.is_file() else None)
        return _like(job, earlier) if earlier else Expected(job, "not known", {})
    with closing(Ledger(job.folder.ledger)) as ledger:
        found = forecast(job.plan.config, job.plan, ledger)
    return Expected(job, _tasks(found.tasks_seen) + ("" if found.sums else ", no record"), found.sums)


def _seen(job: Job, enough: int) -> int:
    """How many tasks have ended, counted up to `enough`."""
    if not job.folder.is_run():
        return 0
    with job.folder.lock():
        mend_ledger(job.folder.ledger)
    with closing(Ledger(job.folder.ledger)) as ledger:
        return sum(1 for _ in islice(ledger.outcomes(job.plan.fingerprint), max(enough, 1)))


def _like(job: Job, folder: Path) -> Expected:
    """By what an earlier run took per record, or per task where tasks are counted."""
    summary, config = folder / "summary.json", job.plan.config
    if not summary.is_file():
        raise ConfigError(f"source {job.part.name}: like: {folder} holds no summary.json of a run.")
    figures = _figures(summary)
    counted = orjson.loads(summary.read_bytes())["records"] if config.samples is not None else figures["tasks"]
    wanted = config.samples or config.tasks or config.max_tasks
    if not counted or wanted is None:
        return Expected(job, "not known", {})
    sums = {name: Interval(n, n, n) for name, n in ((name, n * wanted / counted) for name, n in figures.items())}
    return Expected(job, f"like {folder}", sums)


def _figures(path: Path) -> dict[str, float]:
    summary: dict[str, Any] = orjson.loads(path.read_bytes())
    tokens = summary["tokens"]
    values = (summary["calls"], tokens["input"], tokens["output"], summary["usd"], summary["wall_s"])
    return dict(zip(SUMS, map(float, (summary["tasks"], *values)), strict=True))


def expected_table(found: Iterable[Expected], rows: dict[str, int]) -> Table:
    """Each run with the rows that the blend asks of it; the sums are of the runs whose figures are known."""
    table = Table(
        title="The runs", title_justify="left", box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0), show_footer=True
    )
    found = list(found)
    table.add_column("source", footer="all", no_wrap=True)
    table.add_column("share", no_wrap=True)
    for heading in ("rows", "makes"):
        table.add_column(heading, justify="right")
    for name, form in _FORMS:
        sums = format(_total(found, name).middle, form)
        table.add_column(_TITLES.get(name, name), justify="right", footer=sums)
    table.add_column("known from", no_wrap=True)
    for one in found:
        cells = [format(one.sums[name].middle, form) if one.sums else "?" for name, form in _FORMS]
        part = one.job.part
        table.add_row(part.name, part.share, f"{rows[part.name]:,}", _makes(one.job), *cells, one.known_from)
    return table


def bounds_lines(found: Iterable[Expected]) -> list[str]:
    """The intervals of the sums (bounds added up, so wider than nine times of ten), and what isn't in them."""
    found = list(found)
    sums = {name: _total(found, name) for name in COLUMNS}
    lines = []
    if any(interval.low < interval.high for interval in sums.values()):
        shown = (
            f"{sums[name].low:{form}} to {sums[name].high:{form}} {_TITLES.get(name, name)}" for name, form in _FORMS
        )
        lines.append(f"nine times of ten: {'; '.join(shown)}")
    if unknown := [one.job.part.name for one in found if not one.sums]:
        lines.append(f"not in the sums: {', '.join(unknown)}")
    return lines


def _total(found: Iterable[Expected], name: str) -> Interval:
    known = [one.sums[name] for one in found if one.sums]
    return Interval(*(sum(getattr(each, bound) for each in known) for bound in ("low", "middle", "high")))


def _makes(job: Job) -> str:
    config = job.plan.config
    if config.samples is not None:
        return f"{config.samples:,} records"
    limit = config.tasks or config.max_tasks
    return _tasks(limit) if limit else "all tasks"


def _tasks(count: int) -> str:
    return f"{count:,} task{'s' if count > 1 else ''}"
