"""One attempt of the teacher at a prompt, and what its text alone can lose it for: no check of the answer yet.

llm        truncated, loop, no_answer, refused, content_filter, context_length   by the runtime
answer     refused, language_switch, calls_instead
tools      unknown_tool, wrong_type, missing_argument ...                          by judges.tool_calls
constraints  length, format, keywords, language, case, start, end                  by judges.constraints
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from generators.refresh.prompt import Prompt
from gristmill import Context, Reject, Verdict
from gristmill.errors import Fault
from gristmill.text.language_id import identify, letters, prose
from gristmill.tools.checks import ToolSet
from judges.constraints import Constraint, Language, Other, check
from judges.language import Params as LanguageParams
from judges.language import judge_language
from judges.refusal import phrases
from schemas import Message, Tool

_LANGUAGE = LanguageParams(expected=["en"])
_OTHER_SCRIPT = re.compile(
    r"[\u0400-\u04ff\u0590-\u06ff\u0900-\u0dff\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
)
_SPEAKS_OF_LANGUAGE = re.compile(
    r"\b(?:translat\w+|bilingual|language|english|french|german|spanish|italian|portuguese|dutch|latin|greek|russian"
    r"|polish|turkish|arabic|hebrew|hindi|chinese|mandarin|japanese|korean|swedish|danish|norwegian|finnish)\b",
    re.IGNORECASE,
)
SURE = 0.8
"""How sure the identification of a question's language must be before an answer can be in a wrong one."""
ENOUGH = 20
"""Letters: a shorter question may be in any language. So many signs of another script are a switch."""
FOREIGN_SHARE = 0.1
"""Of a trace's letters: a paragraph of formulas may look like any language."""


@dataclass(slots=True)
class Attempt:
    """`message` is None where the model gave no answer; `claim` is the final answer that it states, "" for none."""

    message: Message | None
    fault: Fault | None = None
    verdicts: list[Verdict] = field(default_factory=list)
    claim: str = ""

    @property
    def text(self) -> str:
        return self.message.content if self.message else ""

    @property
    def length(self) -> int:
        """Characters of trace and answer."""
        return len(self.text) + len((self.message.reasoning_content or "") if self.message else "")

    def lose(self, stage: str, reason: str, detail: str = "") -> None:
        self.fault = Fault(stage, reason, detail[:300])


async def attempt(
    ctx: Context, messages: Sequence[Message], tools: Sequence[Tool], constraints: Sequence[Constraint], language: str
) -> Attempt:
    """The teacher's answer to exactly these messages, with its own trace. `language` is "" where any will do."""
    try:
        reply = await ctx.chat("teacher", list(messages), tools=tools)
    except Reject as reject:
        return Attempt(None, Fault.of(reject))
    message = reply.message
    return Attempt(message, _fault(message, tools, constraints, language, messages[-1].content))


def _fault(
    message: Message, tools: Sequence[Tool], constraints: Sequence[Constraint], language: str, question: str
) -> Fault | None:
    kind, phrase = phrases(message.content)
    if kind == "refused" and not message.tool_calls:
        return Fault("answer", "refused", phrase)
    if language and (switched := language_switch(message, language, question)):
        return Fault("answer", "language_switch", switched)
    if message.tool_calls:
        known = ToolSet(tools)
        faults = [fault for call in message.tool_calls for fault in known.check(call)]
        if faults:
            return Fault("tools", faults[0].kind, faults[0].detail)
    for constraint in constraints:
        if not isinstance(constraint, Other) and (wrong := check(constraint, message.content)):
            return Fault("constraints", constraint.kind, wrong)
    return None


def expected_language(prompt: Prompt) -> str:
    """The language of the answers, where it can be told: what the row or a constraint says, else the question's."""
    asked = [one.is_ for one in prompt.rules if isinstance(one, Language)]
    if prompt.language or asked:
        return (prompt.language or asked[0]).removeprefix("any")
    if _SPEAKS_OF_LANGUAGE.search("\n".join(message.content for message in prompt.messages)):
        return ""
    language, confidence = identify(prompt.question)
    return language if confidence >= SURE and letters(prose(prompt.question)) >= ENOUGH else ""


def language_switch(message: Message, language: str, question: str) -> str:
    """Where an answer or its trace leaves the language, "" where neither does. A trace may also think in English."""
    if not _OTHER_SCRIPT.search(question) and language in _LATIN:
        for text in (message.content, message.reasoning_content or ""):
            if len(found := _OTHER_SCRIPT.findall(prose(text))) >= ENOUGH:
                return "".join(found[:ENOUGH])
    verdict = judge_language(message.content, [language], _LANGUAGE)
    if verdict.passed is False:
        return verdict.reason
    return _foreign_trace(message.reasoning_content or "", [language, "en"])


_LATIN = frozenset(
    ("en", "de", "fr", "es", "it", "pt", "nl", "sv", "da", "no", "nb", "fi", "pl", "cs", "sk", "hu", "ro", "hr", "sl",
     "et", "lv", "lt", "tr", "id", "ms", "vi", "sw", "ca", "gl", "eu", "la")
)  # fmt: skip


def _foreign_trace(trace: str, expected: list[str]) -> str:
    paragraphs = [part for part in re.split(r"\n\s*\n", trace) if letters(prose(part)) >= ENOUGH]
    foreign = [part for part in paragraphs if judge_language(part, expected, _LANGUAGE).passed is False]
    share = sum(map(len, foreign)) / max(1, len(trace))
    return f"trace: {' '.join(foreign[0].split())[:60]}" if share > FOREIGN_SHARE else ""
