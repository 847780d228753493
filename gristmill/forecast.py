"""What a whole run will take, from a few of its tasks: tasks, calls, tokens, cost and time, each with an interval.

The few tasks are resampled with replacement (bootstrap: Efron 1979): each resample gives the means per task and how
many records a task gives, and so the sums of a run that gets the wanted records. The interval holds nine resamples of
ten. It covers the chance of which tasks were drawn, not an endpoint that gets slower under load.
"""

import random
from dataclasses import dataclass
from itertools import islice
from statistics import quantiles

from gristmill.ledger import Ledger
from gristmill.plan import Plan
from gristmill.runner import PREPARE
from schemas.run_config import RunConfig

RESAMPLES = 1000
MOST_SEEN = 500  # tasks: more of them would take longer and tell no more
COLUMNS = ("calls", "input", "output", "usd", "seconds")


@dataclass(frozen=True, slots=True)
class Interval:
    low: float
    middle: float
    high: float

    def text(self, form: str) -> str:
        return f"{format(self.middle, form)}   ({format(self.low, form)} to {format(self.high, form)})"


@dataclass(frozen=True, slots=True)
class Forecast:
    """`wanted` says for how much; `sums` maps tasks, calls, input, output, usd and seconds (wall) to their intervals.

    Empty where not one of the tasks gave a record although records are wanted.
    """

    wanted: str
    tasks_seen: int
    in_flight: int
    sums: dict[str, Interval]

    def table(self) -> str:
        head = f"forecast for {self.wanted}, from {self.tasks_seen} tasks (nine times of ten):"
        if not self.sums:
            return f"{head}\n  none of them gave a record, so there is nothing to go by; try more tasks."
        lines = [
            ("tasks", self.sums["tasks"].text(",.0f")),
            ("calls", self.sums["calls"].text(",.0f")),
            ("tokens in", self.sums["input"].text(",.0f")),
            ("tokens out", self.sums["output"].text(",.0f")),
            ("USD", self.sums["usd"].text(",.4f")),
            ("seconds", self.sums["seconds"].text(",.0f") + f" with {self.in_flight} calls in flight"),
        ]
        return "\n".join([head, *(f"  {name:<12}{text}" for name, text in lines)])


def forecast(config: RunConfig, plan: Plan, ledger: Ledger) -> Forecast:
    """For `config`, from the tasks of it that `ledger` holds under the fingerprint of `plan`."""
    used = ledger.usage("task_id")
    nothing = dict.fromkeys(COLUMNS, 0.0)
    once = used.get((PREPARE,), nothing)
    outcomes = list(islice(ledger.outcomes(plan.fingerprint), MOST_SEEN))
    seen = [
        (len(outcome.rows["records"]), [used.get((outcome.task_id,), nothing)[name] for name in COLUMNS])
        for outcome in outcomes
    ]
    in_flight = plan.roles.in_flight()
    limit = config.tasks or config.max_tasks
    if config.samples is None and limit is None:
        limit = sum(1 for _ in plan.generator.tasks())
    wanted = f"{config.samples:,} records" if config.samples is not None else f"{limit:,} tasks"
    rng = random.Random(0)
    drawn = [_sums(rng.choices(seen, k=len(seen)), config.samples, limit, in_flight) for _ in range(RESAMPLES)]
    first = [0.0, *(once[name] for name in COLUMNS)]  # `prepare` is paid for once; its calls may not overlap
    sums = [[a + b for a, b in zip(row, first, strict=True)] for row in drawn if row]
    if len(sums) < RESAMPLES / 2:
        return Forecast(wanted, len(seen), in_flight, {})
    names = ("tasks", *COLUMNS)
    columns = zip(*sums, strict=True)
    return Forecast(wanted, len(seen), in_flight, dict(zip(names, map(_interval, columns), strict=True)))


def _sums(
    resample: list[tuple[int, list[float]]], samples: int | None, limit: int | None, in_flight: int
) -> list[float] | None:
    """The run's sums if tasks were like those of the resample; None where they would never give the records."""
    records = sum(given for given, _ in resample)
    if samples is None:
        tasks = float(limit or 0)
    elif records:
        tasks = min(samples * len(resample) / records, limit or float("inf"))
    else:
        return None
    columns = zip(*(row for _, row in resample), strict=True)
    *counted, seconds = (tasks * sum(column) / len(resample) for column in columns)
    return [tasks, *counted, seconds / in_flight]


def _interval(values: tuple[float, ...]) -> Interval:
    cuts = quantiles(values, n=20)
    return Interval(cuts[0], cuts[9], cuts[18])
