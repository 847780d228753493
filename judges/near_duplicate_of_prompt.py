"""near_duplicate_of_prompt: an answer that only repeats what it was given is no answer.

Word 3-grams of the answer are compared with those of each earlier message; the score is 1 minus the highest Jaccard
similarity. Answers below `min_words` are short enough to be in the question by right ("Paris or Lyon?").

Source: w-shingling, Broder 1997 (https://doi.org/10.1109/SEQUEN.1997.666900).
"""

import re
from typing import Annotated

from pydantic import Field

from gristmill import Config, Context, Judge, Record, Verdict
from judges.constraints import NO_SPACES
from judges.fields import answer, before_answer

_WORD = re.compile(rf"[{NO_SPACES}]|[^\W{NO_SPACES}]+")
"""A word; where a script puts no space between them, a character."""

Shingles = set[tuple[str, ...]]


class Params(Config):
    max_similarity: Annotated[float, Field(gt=0, le=1)] = 0.7
    min_words: Annotated[int, Field(ge=3)] = 12


class NearDuplicateOfPrompt(Judge[Params]):
    name = "near_duplicate_of_prompt"

    async def judge(self, record: Record, ctx: Context) -> Verdict:
        text = answer(record)
        if not text:
            return Verdict(name=self.name, passed=None, reason="the record has no answer")
        words = _WORD.findall(text.casefold())
        if len(words) < self.params.min_words:
            return Verdict(name=self.name, passed=True, score=1.0, reason=f"{len(words)} words only")
        own = _shingles(words)
        others = [_shingles(_WORD.findall(message.content.casefold())) for message in before_answer(record)]
        similarity = max((similar(own, other) for other in others), default=0.0)
        return Verdict(
            name=self.name,
            passed=similarity <= self.params.max_similarity,
            score=round(1 - similarity, 4),
            reason=f"similarity {similarity:.2f} to what came before",
        )


def _shingles(words: list[str]) -> Shingles:
    return set(zip(words, words[1:], words[2:], strict=False))


def similar(one: Shingles, other: Shingles) -> float:
    """Jaccard similarity."""
    return len(one & other) / len(one | other) if one and other else 0.0
