"""Multi-turn: a user model asks on in a persona's voice, and each further answer is checked by itself.

    [user]       How long do lithium batteries last on a shelf?
    [assistant]  ...                                               a checked first answer
    [user]       And in a shed that freezes in winter?             the user model, as the persona
    [assistant]  ...                                               the teacher, to exactly these messages

A turn that can't be had ends the conversation with the turns before it, which are right; `metadata.ended` says why.
"""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

from pydantic import Field

from generators.refresh.attempts import Attempt, expected_language
from generators.refresh.checks import Checks, check_attempts
from generators.refresh.choosing import Choosing, choose, likeness, require_right
from generators.refresh.prompt import Prompt
from generators.refresh.sampling import sample
from gristmill import Answer, Context, Reject, Verdict
from judges.fields import read_out
from schemas import Message, Tool, user

REPEATED = 0.6
"""Likeness from which a follow-up only repeats what was said."""


class FollowUp(Answer):
    """What the user says next; `done` where this person would ask nothing more."""

    done: bool
    text: Annotated[str, Field(max_length=1200)]


class Dialogue(NamedTuple):
    messages: list[Message]
    verdicts: list[Verdict]
    ended: str


async def go_on(
    ctx: Context, messages: list[Message], tools: Sequence[Tool], persona: str, turns: int, samples: int,
    checks: Checks, choosing: Choosing, same_language: bool,
) -> Dialogue:  # fmt: skip
    """The conversation with up to `turns` assistant turns of ours after those it has."""
    verdicts: list[Verdict] = []
    for number in range(2, turns + 2):
        try:
            asked = [*messages, user(await _follow_up(ctx, messages, persona))]
            chosen = await _answer(ctx, asked, tools, samples, checks, choosing, same_language)
        except Reject as reject:
            return Dialogue(messages, verdicts, f"{reject.stage}/{reject.reason}")
        if chosen.message is None:
            raise AssertionError("a chosen attempt has a message")
        messages = [*asked, chosen.message]
        verdicts += [verdict.model_copy(update={"name": f"turn{number}.{verdict.name}"}) for verdict in chosen.verdicts]
        if chosen.message.tool_calls:
            return Dialogue(messages, verdicts, "tools/called")
    return Dialogue(messages, verdicts, "")


async def _follow_up(ctx: Context, messages: list[Message], persona: str) -> str:
    spoken = [message for message in messages if message.role in ("user", "assistant") and message.content]
    found = await ctx.ask("user", "follow_up", FollowUp, persona=persona, conversation=read_out(spoken))
    text = found.text.strip()
    if found.done or not text:
        raise Reject("user", "done")
    if any(likeness(text, message.content) > REPEATED for message in spoken):
        raise Reject("user", "repeats", text[:200])
    return text


async def _answer(
    ctx: Context, asked: list[Message], tools: Sequence[Tool], samples: int,
    checks: Checks, choosing: Choosing, same_language: bool,
) -> Attempt:  # fmt: skip
    prompt = Prompt(messages=asked, tools=list(tools))
    attempts = await sample(ctx, prompt, samples, expected_language(prompt) if same_language else "", choosing)
    await check_attempts(ctx, prompt, attempts, checks)
    require_right(attempts)
    return (await choose(ctx, asked, attempts, choosing.model_copy(update={"records": 1})))[0]
