"""new_plugin_readable: the answer is one that its reader can follow, by the Automated Readability Index.

The index estimates the school grade of a text: 4.71 × characters per word + 0.5 × words per sentence − 21.43. An answer
passes where that is at most `metadata.grade` + `slack`; a record without a grade is undecided, which is never a pass.

Source: Smith and Senter 1967, Automated Readability Index (AMRL-TR-66-220).
"""

import re
from typing import Annotated

from pydantic import Field

from gristmill import Config, Context, Judge, Record, Verdict

_WORD = re.compile(r"\w+(?:['’-]\w+)*")
_SENTENCE_END = re.compile(r"[.!?]+(?=\s|$)|\n+")


class Params(Config):
    slack: Annotated[float, Field(ge=0)] = 2.0


class Readable(Judge[Params]):
    name = "new_plugin_readable"

    async def judge(self, record: Record, ctx: Context) -> Verdict:
        grade = record.metadata.get("grade")
        if not isinstance(grade, int):
            return Verdict(name=self.name, passed=None, reason="the record has no metadata.grade")
        found = readability(record.messages[-1].content)
        return Verdict(
            name=self.name,
            passed=found <= grade + self.params.slack,
            score=round(found, 1),
            reason=f"a text of grade {found:.1f} for a reader of grade {grade}",
        )


def readability(text: str) -> float:
    """The school grade of a text; 0 where it has no words."""
    words = _WORD.findall(text)
    if not words:
        return 0.0
    sentences = [part for part in _SENTENCE_END.split(text) if _WORD.search(part)]
    characters = sum(len(word) for word in words)
    return max(0.0, 4.71 * characters / len(words) + 0.5 * len(words) / len(sentences) - 21.43)
