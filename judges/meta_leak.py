"""meta_leak: a trace must not speak of what only the making of the record knew.

    "The schema wants a `reason` field first."              of the output's schema
    "According to the rubric this should score 4."          of the rubric
    "The task is to write a synthetic user question."       of the generation prompt
    "The hidden answer is Lake Constance, so I'll hint."    of hidden facts

A phrase counts only where the conversation before it doesn't speak of the same thing: who was asked for a format may
reason about it. `hidden` names fields whose values the reader can't know, such as `metadata.walk`; a trace that
names one before the conversation does is a leak as well. With a role, a model reads the traces that the rules pass.

Source: ours; reasoning that refers to its own prompt is what users of distilled traces find first.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from gristmill import Answer, Config, Context, Judge, Record, Verdict
from judges.asking import Reason, ask
from judges.fields import FieldPath, lookup, read_out

_SUBJECTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "schema": (
        ("schema", "json", "format"),
        (
            r"(?:the|this|required|given|output|response|json) schema (?:requires|wants|says|asks|needs|expects)",
            r"(?:follow|match|fit|obey)(?:ing)? the (?:json |output |given |required |response )*schema\b",
            r"(?:required|expected) (?:json|output|response) (?:format|schema|structure)\b",
            r"(?:output|return|respond with|produce) (?:only )?(?:a )?(?:valid )?json (?:object )?(?:with|matching|as)",
        ),
    ),
    "rubric": (
        ("rubric", "grad", "judge", "evaluat", "score", "marks"),
        (
            r"(?:the|this|a|grading|scoring|evaluation) rubric\b",
            r"(?:the )?(?:grader|evaluator|judge) (?:will|would|wants|expects|checks|is looking)",
            r"(?:full|maximum|high) (?:score|marks|credit) (?:for|from|on)",
            r"for (?:the )?(?:full|maximum|highest) (?:score|marks|credit)",
        ),
    ),
    "prompt": (
        ("prompt", "synthetic", "training", "fine-tun", "role-play", "role play"),
        (
            r"(?:the|this|my) (?:system )?prompt (?:says|asks|tells|wants|requires|instructs|states|specifies)",
            r"(?:writ|creat|generat|produc|invent)(?:e|ing)(?: an?| some)? (?:synthetic|training) \w+",
            r"synthetic (?:example|record|dialogue|conversation)s?\b",
            r"(?:as|for) (?:training|fine-?tuning) (?:data|example|sample)s?\b",
            r"as (?:instructed|specified|required) (?:by|in) the (?:prompt|task description)",
            r"(?:the )?(?:persona|role)[- ]?play(?:ing)? (?:instructions?|prompt)",
        ),
    ),
    "answer": (
        ("answer", "ground truth", "ground-truth", "label", "solution"),
        (
            r"(?:the )?(?:hidden|reference|gold(?:en)?) (?:answer|solution|label)",
            r"(?:the )?ground[- ]truth\b",
            r"(?:the )?answer key\b",
        ),
    ),
    "distractor": (("distract",), (r"(?:the |a )?distractors?\b",)),
}
"""What is spoken of, the words in a conversation that excuse it, and how it is spoken of."""

_PHRASES = [
    (re.compile(rf"\b{pattern}", re.IGNORECASE), subject, excuses)
    for subject, (excuses, patterns) in _SUBJECTS.items()
    for pattern in patterns
]


class Params(Config):
    role: str | None = None
    hidden: list[FieldPath] = []
    min_length: Annotated[int, Field(ge=1)] = 4  # of a hidden value; shorter ones occur by chance


class Label(Answer):
    reason: Reason
    verdict: Literal["clean", "leaks"]


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
        for phrase, subject, excuses in _PHRASES:
            found = phrase.search(trace)
            if found and not any(word in before for word in excuses):
                yield f"{subject}: {_around(trace, found.start())}"
        for value in hidden:
            named = re.search(rf"(?<!\w){re.escape(value)}(?!\w)", trace, re.IGNORECASE)
            if named and value.casefold() not in before:
                yield f"hidden: {_around(trace, named.start())}"
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
