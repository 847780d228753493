"""rollouts: of many roll-outs of one scenario, keeps a few different successes, and none where all or none succeeded.

    {name: rollouts, keep: 4}                               scenarios by metadata.scenario
    {name: rollouts, keep: 2, scenario: metadata.riddle}    any other field that the tasks' seeds have, too

A roll-out is a task, and what was lost on its way (rejected by its generator or by a judge) is a failure. What every
roll-out of a scenario masters teaches nothing, and where none succeeded nobody knows whether anybody could. Of the
others the first success is kept, then again and again the one least like those that are kept, by the word trigrams of
what was said and called, until there are `keep`. The record learns its scenario's `metadata.success_rate`.

Source: Nemotron 3 Super report (arXiv 2604.12374), conversational tool use: scenarios that all or none of the roll-outs
solve are dropped. Sketches: Cohen and Kaplan, Summarizing data using bottom-k sketches (PODC 2007).
"""

import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Mapping
from heapq import nsmallest
from typing import Annotated
from zlib import crc32

from pydantic import Field

from gristmill import Config, Record, RunJudge, Verdict
from judges.fields import FieldPath, lookup
from schemas import JsonObject

SKETCH = 64
"""Trigrams that are kept of a conversation: enough to tell similarities apart by 0.1, in a quarter of a kilobyte."""

_RATES = ("none", "below 25 %", "25 to 50 %", "50 to 75 %", "75 % and more", "all")


class Params(Config):
    keep: Annotated[int, Field(ge=1)] = 4
    scenario: FieldPath = "metadata.scenario"


class Rollouts(RunJudge[Params]):
    name = "rollouts"

    def __init__(self, params: Params) -> None:
        super().__init__(params)
        self._failures: Counter[str] = Counter()
        self._successes: Counter[str] = Counter()
        self._sketches: dict[str, dict[str, array[int]]] = defaultdict(dict)
        self._chosen: dict[str, set[str]] = {}
        self._kept: Counter[str] = Counter()

    def observe(self, record: Record) -> None:
        scenario = self._scenario_of(record)
        self._successes[scenario] += 1
        self._sketches[scenario][record.uuid] = _sketch(record)

    def observe_loss(self, payload: JsonObject) -> None:
        """The seed names its scenario in a field of the same name as the metadata."""
        field = self.params.scenario.removeprefix("metadata.")
        for place in (payload.get("metadata"), payload.get("seed")):
            if isinstance(place, dict) and field in place:
                self._failures[str(place[field])] += 1
                return

    def verdict(self, record: Record) -> Verdict:
        scenario = self._scenario_of(record)
        successes, attempts = self._successes[scenario], self._successes[scenario] + self._failures[scenario]
        rate = round(successes / attempts, 4)
        record.metadata["success_rate"] = rate
        reason = f"{successes} of {attempts} roll-outs succeeded"
        if successes == attempts:
            return Verdict(name=self.name, passed=False, score=rate, reason=f"{reason}, too easy")
        if scenario not in self._chosen:
            sketches = {uuid: frozenset(sketch) for uuid, sketch in self._sketches.pop(scenario).items()}
            self._chosen[scenario] = {*different(sketches, self.params.keep)}
        passed = record.uuid in self._chosen[scenario]
        self._chosen[scenario].discard(record.uuid)  # the same conversation is kept once
        self._kept[scenario] += passed
        return Verdict(name=self.name, passed=passed, score=rate, reason=reason + ", others are kept" * (not passed))

    def figures(self) -> JsonObject:
        """How many scenarios all, some or none of the roll-outs solved, and what was kept of them."""
        attempts = self._successes + self._failures
        by_rate: dict[str, int] = dict.fromkeys(_RATES, 0)
        for scenario, count in attempts.items():
            rate = self._successes[scenario] / count
            by_rate[_RATES[0] if rate == 0 else _RATES[-1] if rate == 1 else _RATES[1 + int(rate * 4)]] += 1
        return {
            "scenarios": len(attempts),
            "rollouts": attempts.total(),
            "successes": self._successes.total(),
            "scenarios_that_all_solved": by_rate[_RATES[-1]],
            "scenarios_that_none_solved": by_rate[_RATES[0]],
            "scenarios_kept": sum(count > 0 for count in self._kept.values()),
            "records_kept": self._kept.total(),
            "scenarios_by_success_rate": {**by_rate},
        }

    def _scenario_of(self, record: Record) -> str:
        return str(lookup(record, self.params.scenario))


def different(sketches: Mapping[str, frozenset[int]], most: int) -> list[str]:
    """The first, then the one least like its nearest among those that are chosen; ties by order."""
    chosen: list[str] = []
    nearest = dict.fromkeys(sketches, 0.0)
    while nearest and len(chosen) < most:
        following = min(nearest, key=lambda name: nearest[name])
        del nearest[following]
        chosen.append(following)
        for name in nearest:
            nearest[name] = max(nearest[name], similarity(sketches[name], sketches[following]))
    return chosen


def similarity(one: frozenset[int], other: frozenset[int]) -> float:
    """The Jaccard similarity of the two sets of trigrams, estimated."""
    lowest = nsmallest(SKETCH, one | other)
    return sum(gram in one and gram in other for gram in lowest) / len(lowest) if lowest else 1.0


def _sketch(record: Record) -> "array[int]":
    """Of what both sides said and which calls were made; results are the environment's."""
    said: list[str] = []
    for message in record.messages:
        if message.role in ("user", "assistant"):
            calls = (f"{call.function.name} {call.function.arguments}" for call in message.tool_calls)
            said += [message.content, *calls]
    words = re.findall(r"\w+", " ".join(said).lower())
    grams = {crc32(" ".join(words[start : start + 3]).encode()) for start in range(len(words) - 2)}
    return array("I", nsmallest(SKETCH, grams))
