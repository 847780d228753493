"""A simulated conversation in which tools are called: who speaks, what each of them sees, and where it ends.

    user       "My parcel GM-2041 can't come on Monday."           sees persona, goal and what was spoken
    assistant  find_parcel({"number": "GM-2041"})                  sees exactly the record's messages, and the tools
    tool       {"status": "in depot", "day": "2026-03-02"}         the environment, which alone holds the state
    assistant  "It can come on Tuesday or Wednesday. Which one?"
    user       "Tuesday." ...                                      until the user is done

`converse` plays a whole conversation, `user_turn` and `assistant_turn` one turn of it. The assistant's messages are the
role's replies to the messages before them, with their native traces. Each call is checked by the rules of
`gristmill.tools.checks` before the environment sees it; a faulty one gets an error as its result while `limits.faulty`
allows it, so that recovery is learnt, else the conversation is lost.

Reject(stage, reason), each with the conversation so far as `messages` in its payload:

    assistant  speaks_and_calls, call_in_text, too_many_parallel, too_many_calls, too_many_steps, loop, too_long
    tools      the fault of a call: unknown_tool, bad_json, missing_argument, wrong_type, ...
    tool       too_long
    user       no_question, no_answer, repeats, never_done

Source: roles with separate knowledge as in tau-bench (arXiv 2406.12045); Nemotron 3 Super report (arXiv 2604.12374),
general-purpose tool calling.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, NamedTuple, Protocol

from pydantic import Field

from gristmill.context import Context
from gristmill.errors import Reject
from gristmill.llm import answer_shape
from gristmill.prompts import PromptFolder
from gristmill.tools.checks import CallFault, ToolSet
from schemas import Answer, Config, JsonObject, Message, Tool, ToolCall, canonical_json, tool, user

_PROMPTS = PromptFolder(Path(__file__).parent / "prompts")

Most = Annotated[int, Field(ge=1)]


class Limits(Config):
    """Where a conversation is given up.

    `turns` of the user, `steps` (messages) of the assistant until it speaks, calls in one message (`parallel`) and in
    all, the same call with the same result in one turn (`repeats`), characters of a result, tokens that the assistant
    reads and writes in one call. `beside` characters may be said beside a call; `faulty` calls of a turn may be
    answered with an error, the next one ends the conversation.
    """

    turns: Most = 12
    steps: Most = 12
    parallel: Most = 8
    calls: Most = 40
    repeats: Most = 3
    result: Most = 8000
    tokens: Most = 32768
    beside: Annotated[int, Field(ge=0)] = 0
    faulty: Annotated[int, Field(ge=0)] = 0


class Environment(Protocol):
    """What the tools act on; one object is one conversation's world."""

    @property
    def tools(self) -> list[Tool]: ...

    async def call(self, call: ToolCall, ctx: Context) -> str:
        """The result of a call that the rules have passed: the tool turn's content. A tool's own error is a result."""
        ...


@dataclass(frozen=True)
class UserSide:
    """What the user role knows. With `opening` that is its first message, and nobody is asked for it."""

    persona: str
    goal: str
    style: str = "plain and short"
    opening: str = ""


class Said(Answer):
    """The user's next message; `done` where there is none, because this person has what they came for."""

    done: bool
    text: Annotated[str, Field(max_length=1200)]


class Turn(NamedTuple):
    """What an assistant's turn adds to the talk: calls and results, and last what it says. `faults` are those of calls
    that were answered with an error."""

    messages: list[Message]
    faults: list[CallFault]


@dataclass
class Conversation:
    """A finished talk, the assistant's turns in it, and how it ended: `done` by the user, or `asked` once only."""

    messages: list[Message]
    turns: list[Turn] = field(default_factory=list)
    ended: str = "done"

    def turn_verdicts(self) -> list[JsonObject]:
        """One entry per assistant turn, for a record's metadata."""
        return [
            {"calls": sum(len(m.tool_calls) for m in turn.messages), "faults": [str(fault) for fault in turn.faults]}
            for turn in self.turns
        ]


async def converse(
    opening: Sequence[Message], side: UserSide, environment: Environment, ctx: Context, limits: Limits,
    *, once: bool = False,
) -> Conversation:  # fmt: skip
    """The talk that follows `opening` (system turns, perhaps earlier ones) until the user is done.

    With `once` the user speaks once, and the assistant's answer ends it.
    """
    made = Conversation([*opening])
    while (text := await user_turn(made.messages, side, ctx)) is not None:
        if len(made.turns) == limits.turns:
            with keeping(made.messages):
                raise Reject("user", "never_done", text[:200])
        made.messages.append(user(text))
        turn = await assistant_turn(made.messages, environment, ctx, limits)
        made.messages += turn.messages
        made.turns.append(turn)
        if once:
            made.ended = "asked"
            break
    return made


def spoken(talk: Sequence[Message]) -> list[Message]:
    """What the user has said and heard: no system turn, no call, no result, no trace."""
    heard = [message for message in talk if message.role in ("user", "assistant") and message.content]
    return [Message(role=message.role, content=message.content) for message in heard]


async def user_turn(talk: Sequence[Message], side: UserSide, ctx: Context) -> str | None:
    """What the role `user` says next, knowing its side and what was spoken; None where it is done."""
    heard = spoken(talk)
    if not heard and side.opening:
        return side.opening
    names = {"user": "You", "assistant": "Assistant"}
    dialogue = "\n".join(f"{names[message.role]}: {message.content}" for message in heard)
    prompt = ctx.render(
        _PROMPTS["user"], {"persona": side.persona, "goal": side.goal, "style": side.style, "dialogue": dialogue}
    )
    with keeping(talk):
        said: Said = await ctx.answer("user", [user(prompt)], answer_shape(Said))
        text: str = said.text.strip()
        if said.done and heard:
            return None
        if not text:
            raise Reject("user", "no_answer" if heard else "no_question")
        if any(message.role == "user" and _same(message.content, text) for message in heard):
            raise Reject("user", "repeats", text[:200])
    return text


def _same(one: str, other: str) -> bool:
    return one.casefold().split() == other.casefold().split()


async def assistant_turn(talk: Sequence[Message], environment: Environment, ctx: Context, limits: Limits) -> Turn:
    """Asks the role `assistant` with the talk's messages, and gives it its calls' results, until it speaks."""
    talk, start = [*talk], len(talk)
    known = ToolSet(environment.tools)
    faults: list[CallFault] = []
    refused, outcomes = 0, Counter[bytes]()
    with keeping(talk):
        for _ in range(limits.steps):
            reply = await ctx.chat("assistant", talk, tools=environment.tools)
            talk.append(reply.message)
            if reply.usage.input + reply.usage.output > limits.tokens:
                raise Reject("assistant", "too_long", f"more than {limits.tokens} tokens in one call")
            if not reply.message.tool_calls:
                _require_prose(reply.message.content, environment.tools)
                return Turn(talk[start:], faults)
            _require_within(talk, limits)
            for call in talk[-1].tool_calls:
                found = known.check(call)
                refused += bool(found)
                if refused > limits.faulty:
                    raise Reject("tools", found[0].kind, found[0].detail)
                faults += found
                result = _refusal(found) if found else await environment.call(call, ctx)
                talk.append(tool(result, call.id, call.function.name))
                _require_progress(call, result, outcomes, limits)
        raise Reject("assistant", "too_many_steps", f"{limits.steps} messages without a word to the user")


def _require_within(talk: list[Message], limits: Limits) -> None:
    message = talk[-1]
    beside, parallel = len(message.content.strip()), len(message.tool_calls)
    if beside > limits.beside:
        raise Reject("assistant", "speaks_and_calls", message.content[:200])
    if parallel > limits.parallel:
        raise Reject("assistant", "too_many_parallel", f"{parallel} calls in one message, {limits.parallel} at most")
    if sum(len(one.tool_calls) for one in talk) > limits.calls:
        raise Reject("assistant", "too_many_calls", f"more than {limits.calls} calls in the conversation")


def _require_progress(call: ToolCall, result: str, outcomes: Counter[bytes], limits: Limits) -> None:
    if len(result) > limits.result:
        raise Reject("tool", "too_long", f"{call.function.name} gave {len(result)} characters, {limits.result} at most")
    outcome = canonical_json([call.function.name, call.function.arguments, result])
    outcomes[outcome] += 1
    if outcomes[outcome] > limits.repeats:
        raise Reject("assistant", "loop", f"{call.function.name}({call.function.arguments[:200]}) again and again")


def _require_prose(text: str, tools: Sequence[Tool]) -> None:
    """A call that is written as text does nothing."""
    for name in (offered.function.name for offered in tools):
        written = rf"(?<!\w){re.escape(name)}\((?:\w+ ?=|[{{\"'\[]|\d)|[\"']name[\"']: ?[\"']{re.escape(name)}[\"']"
        if re.search(written, text):
            raise Reject("assistant", "call_in_text", text[:200])
    if "<tool_call>" in text or "<function=" in text:
        raise Reject("assistant", "call_in_text", text[:200])


def _refusal(faults: Sequence[CallFault]) -> str:
    """What a careful server answers to a call that doesn't fit its schema."""
    return canonical_json({"error": "invalid call: " + "; ".join(fault.detail for fault in faults[:3])}).decode()


@contextmanager
def keeping(talk: Sequence[Message]) -> Iterator[None]:
    """A reject from inside carries the conversation so far, as `messages` in its payload."""
    try:
        yield
    except Reject as reject:
        reject.payload.setdefault("messages", [message.to_openai() for message in talk])
        raise
