"""What one conversation is about: the goal that only the user knows, the world behind the tools, what must come of it.

    kind: missing_information
    goal: You want a table for 4 on Friday the 13th of March at 19:00, in the name of Okafor.
    withheld: [19:00]                                        not said in the first message
    calls: [{book_table: {day: 2026-03-13, time: 19:00, guests: 4, name: Okafor}}]
    tells: [B104]                                            must be in the assistant's words

A goal of a set has rows, each a variation: `{name}` in its texts and calls stands for the row's value. The kinds:

    single_turn          one message of the user, one answer
    multi_turn           the user has a second wish when the first is settled
    multi_step           a call needs what another one gave
    parallel             independent calls that belong into one message
    missing_information  what the call needs isn't said at first: the assistant must ask
    no_tool              nothing here can do it: the assistant must say so

Source: scenario kinds of BFCL (https://gorilla.cs.berkeley.edu/leaderboard.html) and of the Nemotron 3 Super report.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from gristmill import Config
from gristmill.errors import Reject
from schemas import JsonObject, Message

Kind = Literal["single_turn", "multi_turn", "multi_step", "parallel", "missing_information", "no_tool"]
KINDS: tuple[Kind, ...] = ("single_turn", "multi_turn", "multi_step", "parallel", "missing_information", "no_tool")

ONCE: frozenset[Kind] = frozenset({"single_turn", "no_tool"})
"""Kinds in which the user speaks once."""

_DECLINES = re.compile(
    r"\b(?:can(?:no|'|’)?t|can not|unable|not able|not possible|isn['’]t possible|no way (?:for me )?to|don['’]t have"
    r"|do not have|have no|no tool|none of|not something|isn['’]t something|outside|beyond|not (?:available|supported)"
    r"|only (?:help|handle|do|look|deal))\b",
    re.IGNORECASE,
)

GoldCall = tuple[str, dict[str, Any]]
"""A tool's name and the arguments with which it should be called."""


class Scenario(Config):
    """One conversation's material. `tells` are the facts that the assistant must say, each in its ways to be written;
    `calls` lead from the world to the end state that is expected."""

    kind: Kind
    goal: str
    system: str = ""
    opening: str = ""
    withheld: list[str] = []
    world: JsonObject = {}
    calls: list[GoldCall] = []
    tells: list[list[str]] = []


class Goal(Config):
    """A goal of a set's YAML file, with slots; see the module's docstring."""

    kind: Kind
    goal: str
    openings: Annotated[list[str], Field(min_length=1)]
    withheld: list[str] = []
    calls: list[GoldCall] = []
    tells: list[str | list[str]] = []
    rows: Annotated[list[dict[str, Any]], Field(min_length=1)] = [{}]

    @field_validator("calls", mode="before")
    @classmethod
    def _pairs(cls, value: Any) -> Any:
        """`{book_table: {...}}` is a call."""
        pairs = [next(iter(one.items())) if isinstance(one, dict) and len(one) == 1 else one for one in value]
        return [(name, arguments or {}) for name, arguments in pairs]

    @model_validator(mode="after")
    def _fits_its_kind(self) -> "Goal":
        least, most = {"single_turn": (1, 1), "missing_information": (1, 9), "no_tool": (0, 0)}.get(self.kind, (2, 9))
        if not least <= len(self.calls) <= most:
            raise ValueError(f"a goal of the kind {self.kind} with {len(self.calls)} calls: {self.goal[:60]}")
        if bool(self.withheld) != (self.kind == "missing_information"):
            raise ValueError(f"`withheld` belongs to missing_information, and only there: {self.goal[:60]}")
        return self

    def scenario(self, row: int, opening: int, system: str, world: JsonObject) -> Scenario:
        """The goal with the values of one of its rows."""
        values = self.rows[row]
        return Scenario(
            kind=self.kind, goal=_filled(self.goal, values), system=system,
            opening=_filled(self.openings[opening], values), withheld=_filled(self.withheld, values), world=world,
            calls=[(name, _filled(arguments, values)) for name, arguments in self.calls],
            tells=[[*map(str, one)] if isinstance(one, list) else [str(one)] for one in _filled(self.tells, values)],
        )  # fmt: skip


def _filled(value: Any, row: dict[str, Any]) -> Any:
    """Texts with the row's values in their slots; a text that is one slot becomes the value itself."""
    if isinstance(value, dict):
        return {key: _filled(inner, row) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, row) for inner in value]
    if not isinstance(value, str):
        return value
    if (whole := re.fullmatch(r"\{(\w+)\}", value)) and whole[1] in row:
        return row[whole[1]]
    return re.sub(r"\{(\w+)\}", lambda slot: str(row[slot[1]]), value)


def require_shape(scenario: Scenario, talk: list[Message]) -> None:
    """Reject(shape, ...) where the conversation is not of the kind that its scenario asks for; Reject(user,
    told_too_much) where the first message says what it was to leave out."""
    first = next(message.content for message in talk if message.role == "user")
    for value in scenario.withheld:
        if value.casefold() in first.casefold():
            raise Reject("user", "told_too_much", f"{value} was to be left out at first")
    kind, turns = scenario.kind, _calls_by_turn(talk)
    answers = [message for message in talk if message.role == "assistant" and not message.tool_calls]
    calling = sum(bool(turn) for turn in turns)
    if kind == "no_tool":
        if calling:
            raise Reject("shape", "calls_anyway", "no tool can do this, and one was called")
        if not _DECLINES.search(answers[0].content):
            raise Reject("shape", "no_decline", answers[0].content[:200])
    elif not calling:
        raise Reject("shape", "no_calls", answers[0].content[:200])
    elif kind == "multi_turn" and calling < 2:
        raise Reject("shape", "one_turn", "only one turn needed a tool")
    elif kind == "multi_step" and max(map(len, turns)) < 2:
        raise Reject("shape", "one_step", "no turn needed a call after another one's result")
    elif kind == "parallel" and max(count for turn in turns for count in turn) < 2:
        raise Reject("shape", "not_parallel", "no message makes several calls")
    elif kind == "missing_information" and (turns[0] or "?" not in answers[0].content):
        raise Reject("shape", "did_not_ask", answers[0].content[:200])


def _calls_by_turn(talk: list[Message]) -> list[list[int]]:
    """For each message of the user, how many calls each calling message after it makes."""
    turns: list[list[int]] = []
    for message in talk:
        if message.role == "user":
            turns.append([])
        elif message.tool_calls:
            turns[-1].append(len(message.tool_calls))
    return turns
