"""meta_leak: a trace must not speak of what only the making of the record knew.

    "The schema wants a `reason` field first."              of the output's schema
    "According to the rubric this should score 4."          of the rubric
    "The task is to write a synthetic user question."       of the generation prompt
    "The hidden answer is Lake Constance, so I'll hint."    of hidden facts

A phrase counts only where the conversation before it doesn't speak of the same thing: who was asked for a JSON schema
may reason about it. `hidden` names fields whose values the reader can't know, such as `metadata.walk`; a trace that
names one before the conversation does is a leak as well. With a role, a model reads the traces that the rules pass.

Source: ours; reasoning that refers to its own prompt is what users of distilled traces find first.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field

from gristmill import Answer, Config, Context, Judge, Record, Verdict
from judges.asking import Reason, ask
from judges.fields import FieldPath, lookup, read_out

_PHRASES = [
    (re.compile(rf"\b{pattern}", re.IGNORECASE), subject)
    for subject, patterns in {
        "schema": [
            r"(?:the|this|required|given|output|response|json) schema (?:requires|wants|says|asks|needs|expects)",
            r"(?:required|expected) (?:json|output|response) (?:format|schema|structure)\b",
            r"(?:output|return|respond with|produce) (?:only )?(?:a )?(?:valid )?json (?:object )?(?:with|matching|as)",
        ],
        "rubric": [
            r"(?:the|this|a|grading|scoring|evaluation) rubric\b",
            r"(?:the )?(?:grader|evaluator|judge) (?:will|would|wants|expects|checks|is looking)",
            r"(?:full|maximum|high) (?:score|marks|credit) (?:for|from|on)",
        ],
        "prompt": [
            r"(?:the|this|my) (?:system )?prompt (?:says|asks|tells|wants|requires|instructs|states|specifies)",
            r"(?:write|create|generate|produce|invent)(?: an?| some)? (?:synthetic|training) \w+",
            r"(?:training|fine-?tuning) (?:data|example|sample)s?\b",
            r"as (?:instructed|specified|required) (?:by|in) the (?:prompt|instructions|task description)",
            r"(?:the )?(?:persona|role)[- ]?play(?:ing)? (?:instructions?|prompt)",
        ],
        "answer": [
            r"(?:the )?(?:hidden|reference|expected|gold(?:en)?|provided|given) (?:answer|solution|label)",
            r"(?:the )?ground[- ]truth\b",
            r"(?:the )?answer key\b",
        ],
        "distractor": [r"(?:the |a )?distractors?\b"],
    }.items()
    for pattern in patterns
]


class Params(Config):
    role: str | None = None
    hidden: list[FieldPath] = []
    min_length: Annotated[int, Field(ge=1)] = 4  # of a hidden value; shorter ones occur by chance


class Label(Answer):
    reason: Reason
    verdict: Annotated[str, Field(pattern="^(clean|leaks)$")]


class MetaLeak(Judge[Params]):
    name = "meta_leak"

    def roles(self) -> list[str]:
        return [self.params.role] if self.params.role else []

    async def judge(self, record: Record, ctx: Context) -> Verdict:
        hidden = [value for path in self.params.hidden for value in _texts(lookup(record, path))]
        hidden = [value for value in hidden if len(value) >= self.params.min_length]
        leak = next(leaks(record, hidden), None)
        if leak:
            return Verdict(name=self.name, passed=False, score=0.0, reason=leak)
        role = self.params.role
        traces = "\n\n".join(message.reasoning_content for message in record.messages if message.reasoning_content)
        if role is None or not traces:
            return Verdict(name=self.name, passed=True, score=1.0, reason="" if traces else "no trace")
        label = await ask(ctx, role, "meta_leak", Label, conversation=read_out(record.messages), traces=traces)
        passed = label.verdict == "clean"
        return Verdict(name=self.name, passed=passed, score=float(passed), reason=label.reason, model=ctx.model(role))


def leaks(record: Record, hidden: list[str]) -> Iterator[str]:
    """What the traces say of the making of the record."""
    before = ""
    for message in record.messages:
        trace = message.reasoning_content or ""
        for phrase, subject in _PHRASES:
            found = phrase.search(trace)
            if found and subject not in before:
                yield f"{subject}: {_around(trace, found.start())}"
        for value in hidden:
            place = trace.casefold().find(value.casefold())
            if place >= 0 and value.casefold() not in before:
                yield f"hidden: {_around(trace, place)}"
        before += f"\n{message.content}\n{' '.join(call.function.arguments for call in message.tool_calls)}".casefold()


def _around(text: str, place: int) -> str:
    return " ".join(text[max(0, place - 40) : place + 80].split())


def _texts(value: Any) -> Iterator[str]:
    """All texts in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)
