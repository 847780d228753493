"""Where a domain's parts disagree: what its policy promises and its tools can do, what its scenarios ask for and allow.

    error    policy.md:14 names `refund_fee`, which is no tool (did you mean `refund_charge`?)
    error    policy.md says nothing on when to use return_to_sender, which changes the state
    error    scenario hold_until_back: open_claim is refused: {"error": "the parcel is not delivered yet"}
    error    scenario wrong_house: its actions leave another end than it says; missing: ...
    warning  scenario new_flat: nobody tells the agent the value "14 Weir Street" of change_address

A domain with an error isn't run: an agent that keeps the policy could not succeed, or nobody would notice its failure.
Warnings may be meant, such as a value that has to be computed.
"""

import re
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from datetime import date
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Literal

from generators.conversational_tools.domain import Domain, Service, start_of
from generators.conversational_tools.scenario import Action, Scenario
from gristmill.errors import TaskFailed
from gristmill.tools.checks import ToolSet
from judges.told import is_told
from schemas import Data, Function, ToolCall, canonical_json


class Finding(Data):
    severity: Literal["error", "warning"]
    text: str


def lint(domain: Domain) -> list[Finding]:
    """All findings: the policy's, then those of each scenario in order."""
    changing = {name for name, tool in domain.tools.items() if tool.changes}
    found: list[Finding] = []
    for scenario in domain.scenarios.values():
        try:
            domain.start(scenario)
        except sqlite3.Error as error:
            found.append(Finding(severity="error", text=f"scenario {scenario.id}: its setup fails: {error}"))
            continue
        for severity, text in _scenario(domain, scenario, changing):
            found.append(Finding(severity=severity, text=f"scenario {scenario.id}: {text}"))
    return [*_policy(domain, changing), *found]


def errors(findings: Collection[Finding]) -> list[str]:
    return [finding.text for finding in findings if finding.severity == "error"]


# --- the policy and the tools ----------------------------------------------------------------------------------------

_NAMED = re.compile(r"`([a-z][a-z0-9]*(?:_[a-z0-9]+)+)(?:\(\))?`")


def _policy(domain: Domain, changing: Collection[str]) -> Iterator[Finding]:
    known = {*domain.tools, *_vocabulary(domain)}
    lines = domain.policy.splitlines()
    for number, line in enumerate(lines, start=1):
        for name in _NAMED.findall(line):
            if name not in known:
                text = f"policy.md:{number} names `{name}`, which is no tool{_meant(name, domain.tools)}"
                yield Finding(severity="error", text=text)
    for name in sorted(changing):
        if name in domain.tools and not any(_speaks_of(line, name) for line in lines):
            text = f"policy.md says nothing on when to use {name}, which changes the state"
            yield Finding(severity="error", text=text)


def _vocabulary(domain: Domain) -> Iterator[str]:
    """What may stand in backticks without being a tool: arguments, their values, tables, columns and what they hold."""
    for tool in domain.tools.values():
        yield from re.findall(r"\w+", canonical_json(tool.tool.function.parameters).decode())
    content = domain.start()
    for table in content.tables.values():
        yield from (table.name, *table.types)
        yield from (value for row in table.rows for value in row if isinstance(value, str))


def _speaks_of(line: str, name: str) -> bool:
    """Whether the words of a tool's name stand in a line, in whatever form; one of four or more may be missing."""
    words = re.findall(r"\w+", line.lower())
    stems = [part.rstrip("s")[:5] for part in name.split("_") if len(part) > 2]
    met = sum(any(part.startswith(stem) for word in words for part in word.split("_")) for stem in stems)
    return met >= len(stems) - (len(stems) > 3)


def _meant(name: str, known: Collection[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f" (did you mean `{near[0]}`?)" if near else ""


# --- scenarios -------------------------------------------------------------------------------------------------------

Found = Iterator[tuple[Literal["error", "warning"], str]]


def _scenario(domain: Domain, scenario: Scenario, changing: set[str]) -> Found:
    """Its findings; the tools of its actions that change something are added to `changing`."""
    unknown = [action for action in [*scenario.actions, *scenario.must_not_call] if action.name not in domain.tools]
    if unknown:
        yield from (("error", f"{a.name} is no tool{_meant(a.name, domain.tools)}") for a in unknown)
        return
    rules = ToolSet(domain.specs())
    faults = [str(fault) for action in scenario.actions for fault in rules.check(_as_call(action))]
    forbidden = [a.name for a in scenario.actions if any(p.matches(a) for p in scenario.must_not_call)]
    faults += (f"{name} is one of its actions, and forbidden" for name in forbidden)
    yield from (("error", fault) for fault in faults or _replayed(domain, scenario, changing))
    for fact in scenario.must_tell:
        if is_told(fact, scenario.goal):
            yield "warning", f"the user knows {fact[0]!r} from the beginning, so telling it proves nothing"
    yield from _ungrounded(domain, scenario)


def _as_call(action: Action) -> ToolCall:
    return ToolCall(
        id="call_0", function=Function(name=action.name, arguments=canonical_json(action.arguments).decode())
    )


def _replayed(domain: Domain, scenario: Scenario, changing: set[str]) -> Iterator[str]:
    """What goes wrong when its actions are carried out."""
    changed: list[str] = []
    with Service.open(domain, scenario) as service:
        for action in scenario.actions:
            before = changed
            try:
                result, refused = service.perform(action.name, action.arguments)
            except TaskFailed as failure:
                yield f"{action.name} breaks: {failure}"
                return
            if refused:
                yield f"{action.name} is refused: {canonical_json(result).decode()}"
            changed = service.changed()
            changing |= {action.name} if changed != before else set()
    if scenario.end is not None and changed != scenario.end:
        differences = [f"missing: {line}" for line in scenario.end if line not in changed]
        differences += [f"unexpected: {line}" for line in changed if line not in scenario.end]
        yield "its actions leave another end than it says; " + "; ".join(differences)


def _ungrounded(domain: Domain, scenario: Scenario) -> Found:
    """Arguments that an agent could only guess: neither the user nor the data nor the schema holds them."""
    stored = _values(domain.image, tuple(scenario.setup))
    for action in scenario.actions:
        schema = canonical_json(domain.tools[action.name].tool.function.parameters).decode()
        for value in _leaves(action.arguments):
            text = str(value)
            said = is_told(_ways(text), scenario.goal)
            if not (said or value in stored or f'"{text}"' in schema or isinstance(value, bool)):
                yield "warning", f"nobody tells the agent the value {canonical_json(value).decode()} of {action.name}"


@lru_cache(maxsize=16)
def _values(image: bytes, setup: tuple[str, ...]) -> frozenset[Any]:
    """All values that the data holds at a scenario's start."""
    content = start_of(image, setup)[1]
    return frozenset(value for row in content.rows().values() for value in _leaves(row))


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _leaves(part)
    elif value is not None:
        yield value


def _ways(text: str) -> list[str]:
    """How people write a value: a day also as "20 March" and "March 20"."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return [text]
    return [text, f"{day.day} {day:%B}", f"{day:%B} {day.day}", f"{day:%B} {day.day}th"]
