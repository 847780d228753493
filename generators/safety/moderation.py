"""The moderation filter on responses: a guard model, a chat model with the judge `moderation`, or the light classifier.

    moderation: {by: light}                         the default: the bundled classifier on each sentence
    moderation: {by: guard, role: moderator}        a guard model that reads a conversation and says safe or unsafe
    moderation: {by: judge, role: moderator}        any chat model, asked for the categories of judges/moderation.yaml

The light classifier was trained on a hundred and some sentences: it finds the blatant, and is no substitute for a guard
model. Its verdicts name it as their model. Replies of guards are read in four formats: `unsafe\\nS1` (Llama Guard),
{"Response Safety": "unsafe"} (Nemotron), "Harmful response: yes" (WildGuard), and "Yes"/"No" (ShieldGemma). Any other
reply is undecided, and undecided is never an accept.
"""

import asyncio
import re
from pathlib import Path
from typing import Any, Literal

from generators.safety.classifiers import classify, digest
from generators.safety.inference import sentences
from gristmill import Config, Context, Record, Reject, Verdict
from gristmill.text.unicode import plain
from judges.moderation import Moderation
from judges.moderation import Params as JudgeParams
from schemas import Message, assistant

LIGHT = "light classifier"
VIOLATING = 0.85
"""Of the worst sentence of a response."""

_JSON = re.compile(r'"(?:Response|Assistant) Safety"\s*:\s*"(safe|unsafe)"', re.IGNORECASE)
_WILD = re.compile(r"harmful response\s*:\s*(yes|no)", re.IGNORECASE)
_FIRST = re.compile(r"\W*(safe|unsafe|yes|no)\b", re.IGNORECASE)


class Moderator(Config):
    by: Literal["light", "guard", "judge"] = "light"
    role: str = "moderator"


async def moderate(ctx: Context, moderator: Moderator, talk: list[Message], response: str, weights: Path) -> Verdict:
    """The verdict on a response; `passed` is never None. Reject `moderation`: violating, undecided."""
    if moderator.by == "judge":
        judge = Moderation(JudgeParams(role=moderator.role))
        verdict = await judge.judge(Record(messages=[*talk, assistant(response)]), ctx)
    elif moderator.by == "guard":
        verdict = await _by_guard(ctx, moderator.role, talk, response)
    else:
        verdict = await _by_classifier(ctx, response, weights)
    if not verdict.passed:
        reason = "undecided" if verdict.passed is None else "violating"
        raise Reject("moderation", reason, verdict.reason, response=response)
    return verdict


async def _by_classifier(ctx: Context, response: str, weights: Path) -> Verdict:
    async def perform() -> Any:
        parts = sentences(plain(response))
        scores = await asyncio.to_thread(classify, "response", parts, weights)
        worst = max(zip((one["violating"] for one in scores), parts, strict=True), default=(0.0, ""))
        return [round(worst[0], 4), worst[1]]

    found: Any = await ctx.effect("moderate", {"text": response, "weights": digest(weights)}, perform)
    score, sentence = found
    passed = score < VIOLATING
    reason = "no sentence stands out" if passed else f"this sentence: {sentence}"
    return Verdict(name="moderation", passed=passed, score=round(1 - score, 4), reason=reason, model=LIGHT)


async def _by_guard(ctx: Context, role: str, talk: list[Message], response: str) -> Verdict:
    spoken = [message for message in talk if message.role in ("user", "assistant") and not message.tool_calls]
    reply = await ctx.chat(role, [*spoken, assistant(response)])
    passed = guard_verdict(reply.text)
    reason = " ".join(reply.text.split())[:200]
    return Verdict(name="moderation", passed=passed, reason=reason, model=ctx.model(role), cost=reply.usd)


def guard_verdict(reply: str) -> bool | None:
    """True where a guard model finds the response safe, None where its reply can't be read."""
    for pattern in (_JSON, _WILD):
        if found := pattern.search(reply):
            return found[1].lower() in ("safe", "no")
    first = _FIRST.match(reply)
    return first[1].lower() in ("safe", "no") if first else None
