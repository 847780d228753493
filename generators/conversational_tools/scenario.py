"""What a user of a service wants, what is true at the end if they were served well, and how that is checked.

    id: hold_until_back
    goal: You are Ines Okafor (ines.okafor@post.example, postcode 4410). You are away until 20 March and want parcel
      GP-1042 to wait for you.
    actions: [{name: hold_parcel, arguments: {parcel_id: GP-1042, until: "2026-03-20"}}]
    end: ['parcels[GP-1042].held_until: null -> "2026-03-20"', 'parcels[GP-1042].status: "at_depot" -> "held"']
    must_tell: ["2.25"]
    must_not_call: [{name: return_to_sender}]
    ask_first: true

`goal` is all that the user knows. `setup` changes the domain's database beforehand, in SQL. `actions` are the calls
that settle the matter; what they change is the expected end state, `end` (left out, it is found by replaying them). An
agent may go any other way, so long as it changes the same and nothing else. With `ask_first` each change takes a
question of the agent and the user's answer to it. No model is asked.

Source: outcome by database state as in tau-bench (arXiv 2406.12045).
"""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from gristmill.errors import Reject
from judges.told import is_told
from schemas import Data, JsonObject, Message


class Action(Data):
    """A call of a tool; as a pattern it means every call with at least these arguments."""

    name: str
    arguments: JsonObject = {}

    def matches(self, done: "Action") -> bool:
        return self.name == done.name and self.arguments.items() <= done.arguments.items()


def _alternatives(value: Any) -> Any:
    return value if isinstance(value, list) else [str(value)]


Fact = Annotated[list[str], BeforeValidator(_alternatives), Field(min_length=1)]
"""The ways to write one fact; a number counts however it is written."""


class Scenario(Data):
    """See the module's docstring. `persona` says who the user is beyond the goal."""

    id: Annotated[str, Field(pattern=r"^[\w.-]{1,80}$")]
    goal: Annotated[str, Field(min_length=20)]
    persona: str = ""
    setup: list[str] = []
    actions: list[Action] = []
    end: list[str] | None = None
    must_tell: list[Fact] = []
    must_not_tell: list[Fact] = []
    must_not_call: list[Action] = []
    ask_first: bool = False


class Done(Action):
    """A call that was made; `refused` where the tool said no."""

    refused: bool = False


class Outcome(Data):
    """What a roll-out came to. `missing` and `unexpected` are the differences from the expected end state."""

    changed: list[str]
    missing: list[str] = []
    unexpected: list[str] = []
    untold: list[str] = []
    disclosed: list[str] = []
    forbidden: list[str] = []
    unasked: list[str] = []

    def fault(self) -> tuple[str, str] | None:
        """(reason, detail) of the gravest fault, None for a success."""
        if self.forbidden:
            return "forbidden_call", "; ".join(self.forbidden)
        if self.disclosed:
            return "disclosed", "; ".join(self.disclosed)
        if self.unasked:
            return "unasked_change", "; ".join(self.unasked)
        if self.missing or self.unexpected:
            parts = [
                *(f"missing: {line}" for line in self.missing),
                *(f"unexpected: {line}" for line in self.unexpected),
            ]
            return "wrong_state", "; ".join(parts)
        return ("not_told", "; ".join(self.untold)) if self.untold else None

    def require_success(self, **payload: Any) -> None:
        """Reject(outcome, forbidden_call|disclosed|unasked_change|wrong_state|not_told) where it is none."""
        if fault := self.fault():
            raise Reject("outcome", *fault, outcome=self.model_dump(mode="json"), **payload)


def check_outcome(
    scenario: Scenario, expected: Sequence[str], changed: Sequence[str], calls: Sequence[Done], talk: Sequence[Message]
) -> Outcome:
    """`expected` and `changed` are lines of `state.changes`, both against the scenario's start."""
    said = "\n".join(message.content for message in talk if message.role == "assistant" and message.content)
    forbidden = [done for done in calls if not done.refused and any(p.matches(done) for p in scenario.must_not_call)]
    return Outcome(
        changed=[*changed],
        missing=sorted({*expected} - {*changed}),
        unexpected=sorted({*changed} - {*expected}),
        untold=[fact[0] for fact in scenario.must_tell if not is_told(fact, said)],
        disclosed=[fact[0] for fact in scenario.must_not_tell if is_told(fact, said)],
        forbidden=[f"{done.name} {done.arguments}" for done in forbidden],
        unasked=_unasked({action.name for action in scenario.actions}, talk) if scenario.ask_first else [],
    )


def _unasked(changing: set[str], talk: Sequence[Message]) -> list[str]:
    """Calls by which something changed without the user's word: their last message has to answer a question which the
    agent put after it had looked into the matter, and one answer is for one change."""
    refused = {one.tool_call_id for one in talk if one.role == "tool" and one.content.startswith('{"error"')}
    informed = asked = agreed = False
    found = []
    for message in talk:
        informed = informed or message.role == "tool"
        if message.role == "user":
            agreed, asked = asked, False
        elif message.role == "assistant" and not message.tool_calls:
            asked = informed and "?" in message.content
        for call in message.tool_calls:
            if call.function.name in changing and call.id not in refused:
                found += [] if agreed else [f"{call.function.name} {call.function.arguments}"]
                agreed = False
    return found
