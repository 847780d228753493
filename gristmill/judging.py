"""What happens between a candidate and its acceptance: judges are asked in the config's order, each verdict is kept.

    tool_calls           passed      rules first: what they find costs nothing
    quality.rubric.try1  undecided   no verdict in the reply, so the policy `retry` asked again
    quality.rubric       passed
    quality.answerable   passed
    quality              passed      a panel: its verdict follows from those of its members

A record is lost at the first gate that it doesn't pass, and undecided is no pass. A superseded verdict stays in the
record under `.try1`, `.try2`; every verdict carries the cost of its own calls.
"""

import asyncio
import traceback
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gristmill.api import Judge, RunJudge
from gristmill.context import Context, Runtime, Task
from gristmill.errors import Fault, GristmillError, Reject, TaskFailed
from schemas import JsonObject, Record, Verdict
from schemas.run_config import ACCEPT_RULE


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A panel's rule: `all`, `mean >= 3` or `at_least 2 of 3`."""

    rule: str
    size: int

    def outcome(self, verdicts: Sequence[Verdict]) -> bool | None:
        """What follows from the members' verdicts, where those that are missing count as undecided."""
        passed = [verdict.passed for verdict in verdicts] + [None] * (self.size - len(verdicts))
        match = ACCEPT_RULE.fullmatch(self.rule)
        if match and match["mean"]:
            scores = [verdict.score for verdict in verdicts if verdict.passed is not None and verdict.score is not None]
            return sum(scores) / self.size >= float(match["mean"]) if len(scores) == self.size else None
        needed = int(match["least"]) if match and match["least"] else self.size
        if passed.count(True) >= needed:
            return True
        return False if passed.count(False) > self.size - needed else None

    def is_settled(self, verdicts: Sequence[Verdict]) -> bool:
        """Whether no further verdict could make the difference between accepted and not."""
        open_places = self.size - len(verdicts)
        if "mean" in self.rule:
            return not open_places or any(verdict.passed is None for verdict in verdicts)
        hopeful = [*verdicts, *[Verdict(name="", passed=True)] * open_places]
        return self.outcome(verdicts) is True or self.outcome(hopeful) is not True


@dataclass(frozen=True, slots=True)
class Panel:
    """Several judges with one verdict. With `early_exit` they are asked one by one until the verdict is settled."""

    members: tuple["NamedJudge", ...]
    accept: Acceptance
    early_exit: bool = True


@dataclass(frozen=True, slots=True)
class NamedJudge:
    """A judge or a panel under its name in the config, with what the config says of its verdicts."""

    name: str
    judge: Judge[Any] | RunJudge[Any] | Panel
    gate: bool = True
    retry: bool = False
    if_undecided: "NamedJudge | None" = None
    if_failed: "NamedJudge | None" = None
    warnings: tuple[str, ...] = ()

    def all_judges(self) -> Iterator[Judge[Any] | RunJudge[Any]]:
        """The judge or the panel's members, and whom they may be followed by."""
        if isinstance(self.judge, Panel):
            for member in self.judge.members:
                yield from member.all_judges()
        else:
            yield self.judge
        for second in (self.if_undecided, self.if_failed):
            if second is not None:
                yield from second.all_judges()

    def roles(self) -> list[str]:
        return [role for judge in self.all_judges() for role in judge.roles()]

    def embedders(self) -> list[str]:
        return [role for judge in self.all_judges() for role in judge.embedders()]

    def files(self) -> list[Path]:
        return [path for judge in self.all_judges() for path in judge.files()]


async def judge_records(
    runtime: Runtime, task: Task, judges: Sequence[NamedJudge], records: Sequence[Record]
) -> list[tuple[Record, Fault | None]]:
    """Each record of a task with its verdicts in it, and the gate at which it is lost, if it is."""
    return [
        (record, await _first_fault(judges, _Sitting(runtime, task, record, number)))
        for number, record in enumerate(records)
    ]


@dataclass(frozen=True, slots=True)
class _Sitting:
    """One record before its judges."""

    runtime: Runtime
    task: Task
    record: Record
    number: int


async def _first_fault(judges: Sequence[NamedJudge], sitting: _Sitting) -> Fault | None:
    for named in judges:
        if isinstance(named.judge, RunJudge):
            continue
        fault = _enter(sitting.record, named, await _decide(named, named.name, named.name, sitting))
        if fault is not None:
            return fault
    return None


def _enter(record: Record, named: NamedJudge, found: list[Verdict]) -> Fault | None:
    """Writes verdicts, of which the last decides, into the record, in the place of older ones of that judge."""
    kept = [old for old in record.verdicts if old.name != named.name and not old.name.startswith(f"{named.name}.")]
    record.verdicts = [*kept, *found]
    decision = found[-1]
    if not named.gate or decision.passed is True:
        return None
    return Fault(named.name, "undecided" if decision.passed is None else "failed", decision.reason)


async def _decide(named: NamedJudge, name: str, path: str, sitting: _Sitting) -> list[Verdict]:
    """What led to the verdict, then the verdict that counts. Each try is a scope of its own, so it draws anew."""
    final = await _ask(named, name, path, sitting)
    superseded: list[Verdict] = []
    tries = 1

    async def try_again(judge: NamedJudge) -> None:
        nonlocal final, tries
        for verdict in final:
            verdict.name = f"{name}.try{tries}{verdict.name.removeprefix(name)}"
        superseded.extend(final)
        tries += 1
        final = await _ask(judge, name, f"{path}.try{tries}", sitting)

    if named.retry and final[-1].passed is None:
        await try_again(named)
    second = {None: named.if_undecided, False: named.if_failed}.get(final[-1].passed)
    if second is not None:
        await try_again(second)
    return [*superseded, *final]


async def _ask(named: NamedJudge, name: str, path: str, sitting: _Sitting) -> list[Verdict]:
    """One judge's verdict after those on its parts, or a panel's after its members'."""
    if isinstance(named.judge, Panel):
        return await _convene(named.judge, name, path, sitting)
    if isinstance(named.judge, RunJudge):
        raise TypeError(f"{name} judges whole runs")
    ctx = Context(sitting.runtime, sitting.task, named.judge.prompts)
    with ctx.scope(f"judge.{path}.{sitting.number}", path) as scope:
        try:
            verdict = await named.judge.judge(sitting.record, ctx)
        except Reject as reject:  # such as an answer that was no answer: the judge could not decide
            verdict = Verdict(name=name, passed=None, reason=f"{reject.reason}: {reject.detail}")
        except (TaskFailed, GristmillError):
            raise
        except Exception as error:
            raise TaskFailed("judge", f"{name}: {where(error)}") from error
        verdict.cost = round(scope.usd, 9)
    verdict.name = name
    return [*(part.model_copy(update={"name": f"{name}.{part.name}"}) for part in verdict.parts), verdict]


async def _convene(panel: Panel, name: str, path: str, sitting: _Sitting) -> list[Verdict]:
    """The members' verdicts, then the panel's."""

    def ask(member: NamedJudge) -> Coroutine[Any, Any, list[Verdict]]:
        return _decide(member, f"{name}.{member.name}", f"{path}.{member.name}", sitting)

    found: list[list[Verdict]] = []
    if panel.early_exit:
        for member in panel.members:
            found.append(await ask(member))
            if panel.accept.is_settled([verdicts[-1] for verdicts in found]):
                break
    else:
        found = await _together(ask(member) for member in panel.members)
    return [*(v for verdicts in found for v in verdicts), _summed(panel, name, [verdicts[-1] for verdicts in found])]


async def _together(branches: Iterable[Coroutine[Any, Any, list[Verdict]]]) -> list[list[Verdict]]:
    """All results; where one raises, when all have ended."""
    results = await asyncio.gather(*branches, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


def _summed(panel: Panel, name: str, verdicts: list[Verdict]) -> Verdict:
    scores = [verdict.score for verdict in verdicts if verdict.score is not None]
    against = [f"{v.name.removeprefix(f'{name}.')}: {v.reason}" for v in verdicts if v.passed is not True]
    passed = sum(verdict.passed is True for verdict in verdicts)
    return Verdict(
        name=name,
        passed=panel.accept.outcome(verdicts),
        score=sum(scores) / len(scores) if len(scores) == len(verdicts) else None,
        reason="; ".join([f"{passed} of {len(verdicts)} passed", *against]),
    )


class WholeRun:
    """The judges that see all candidates of a run: `observe` each, then ask `fault` for each, both in task order."""

    def __init__(self, judges: Sequence[NamedJudge]) -> None:
        self._judges = [
            (named, type(named.judge)(named.judge.params)) for named in judges if isinstance(named.judge, RunJudge)
        ]

    def __bool__(self) -> bool:
        return bool(self._judges)

    def observe(self, record: Record) -> None:
        for _, judge in self._judges:
            judge.observe(record)

    def observe_loss(self, payload: JsonObject) -> None:
        for _, judge in self._judges:
            judge.observe_loss(payload)

    def figures(self) -> dict[str, JsonObject]:
        """By judge, of those that have any."""
        return {named.name: found for named, judge in self._judges if (found := judge.figures())}

    def fault(self, record: Record) -> Fault | None:
        """Stage `run`, and the judge's name as the reason, where a gate removes the record; its verdicts are in it."""
        for named, judge in self._judges:
            verdict = judge.verdict(record).model_copy(update={"name": named.name})
            fault = _enter(record, named, [verdict])
            if fault is not None:
                return Fault("run", named.name, fault.detail)
        return None


def where(error: Exception) -> str:
    """The error with the place where it was raised: what one needs to find it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"
