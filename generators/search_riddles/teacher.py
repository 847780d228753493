"""The question by a teacher: a draft from the walk, then the same question with everything hidden.

The walk, its constraints and the answer are the graph's. The teacher words them, and its words must keep every name
that the riddle leans on, give no other away, and stay within two sentences; else the task is lost:

    draft      invalid_path (the teacher sees no sense in the walk), answer_leak
    obfuscate  answer_leak, intermediate_leak, name_hint, lost_anchor, too_many_sentences

Source: Nemotron 3 Super report (arXiv 2604.12374), search: draft, INVALID_PATH, obfuscation.
"""

import re
from typing import Annotated

from pydantic import Field

from generators.search_riddles.names import Text
from generators.search_riddles.riddles import Riddle, leaked
from gristmill import Answer, Context, Reject

INVALID = "INVALID_PATH"
_SENTENCE_END = re.compile(r"[.!?](?=\s+[A-Z\"'“(]|\s*$)")
MOST_SENTENCES = 2


class Question(Answer):
    """A question, or INVALID_PATH."""

    question: Annotated[str, Field(min_length=1, max_length=1200)]


async def teach(ctx: Context, riddle: Riddle) -> tuple[str, str]:
    """(draft, riddle) in the words of the role `writer`."""
    facts = [fact.text for fact in riddle.facts]
    draft = (await ctx.ask("writer", "draft", Question, facts=facts, start=riddle.entities[0].label,
                           answer=riddle.answer.label)).question  # fmt: skip
    if INVALID in draft:
        raise Reject("draft", "invalid_path")
    if Text(draft).first_of([riddle.answer.label, *riddle.answer.aliases]):
        raise Reject("draft", "answer_leak", draft)
    hidden = [f"{one.label} ({one.kind})" for one in riddle.hidden]
    made = (await ctx.ask("writer", "obfuscate", Question, draft=draft, facts=facts, hidden=hidden,
                          constraints=[fact.text for fact in riddle.constraints])).question  # fmt: skip
    require_hidden(riddle, made)
    return draft, made


def require_hidden(riddle: Riddle, question: str) -> None:
    """Reject(obfuscate, ...) where the wording breaks what the graph has shown of the riddle."""
    if leak := leaked(riddle, question):
        raise Reject("obfuscate", *leak)
    text = Text(question)
    if lost := [anchor for anchor in riddle.anchors if not text.mentions(anchor)]:
        raise Reject("obfuscate", "lost_anchor", lost[0])
    if len(_SENTENCE_END.findall(question)) > MOST_SENTENCES:
        raise Reject("obfuscate", "too_many_sentences", question)
