"""language: is the answer in the language that it should be in, all of it?

    {name: language, expected: [en, de]}      one of these
    {name: language, expected: question}      that of the question

Each line and each sentence with enough letters is looked at, so a switch in mid-answer is found. What is expected is
taken to be likelier beforehand than each of the other 96 languages, so a short English phrase is not called Latin for a
name in it.
An answer without words (a number, a program) is in no wrong language and passes; one with too few letters to tell is
undecided, or passes with `short: pass`.

Source: Nemotron 3 Super report (arXiv 2604.12374), multilingual data: language filter.
"""

import re
from typing import Annotated, Literal

from pydantic import Field

from gristmill import Config, Context, Judge, Record, Verdict
from gristmill.errors import ConfigError
from gristmill.text.language_id import identify, known_languages, letters, likelihoods, prose
from judges.fields import FieldPath, lookup, question

_SENTENCE = re.compile(r"(?<=[.!?।؟])\s+|(?<=[。！？])|\s*\n\s*")
PRIOR = 20
"""How much likelier an expected language is beforehand than each other one."""


class Params(Config):
    """A text is judged from `min_letters` on. It fails where another language is at least `min_confidence` certain."""

    expected: Annotated[list[str], Field(min_length=1)] | Literal["question"] = "question"
    of: FieldPath = "answer"
    min_letters: Annotated[int, Field(ge=1)] = 20
    min_confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.9
    short: Literal["undecided", "pass"] = "undecided"


class Language(Judge[Params]):
    name = "language"

    def __init__(self, params: Params) -> None:
        super().__init__(params)
        languages = known_languages()  # where the extra is missing, this says so before the run begins
        if isinstance(params.expected, list):
            unknown = sorted(set(params.expected) - languages)
            if unknown:
                raise ConfigError(f"judges.language.expected: no such language: {', '.join(unknown)} (en, de, zh ...).")

    async def judge(self, record: Record, ctx: Context) -> Verdict:
        text = lookup(record, self.params.of)
        if not isinstance(text, str):
            return Verdict(name=self.name, passed=None, reason=f"the record has no {self.params.of}")
        expected = self._expected(record)
        if not expected:
            return Verdict(name=self.name, passed=None, reason="the question is too short to tell its language")
        return judge_language(text, expected, self.params).model_copy(update={"name": self.name})

    def _expected(self, record: Record) -> list[str]:
        if isinstance(self.params.expected, list):
            return self.params.expected
        asked = question(record) or ""
        language, confidence = identify(asked)
        enough = letters(prose(asked)) >= self.params.min_letters and confidence >= 0.5
        return [language] if enough else []


def judge_language(text: str, expected: list[str], params: Params) -> Verdict:
    """The verdict on a text; its score is how certain the expected languages are for the whole."""
    total = letters(prose(text))
    if total == 0:
        return Verdict(name="language", passed=True, reason="no words")
    if total < params.min_letters:
        return Verdict(name="language", passed=True if params.short == "pass" else None, reason=f"{total} letters only")
    whole = certainty(text, expected)
    for part in [text, *_SENTENCE.split(prose(text))]:
        if letters(prose(part)) >= params.min_letters and certainty(part, expected) <= 1 - params.min_confidence:
            begin = " ".join(part.split())[:60]
            return Verdict(name="language", passed=False, score=0.0, reason=f"{identify(part)[0]}: {begin}")
    passed = True if whole >= 0.5 else None
    return Verdict(
        name="language", passed=passed, score=round(whole, 4), reason=f"perhaps {identify(text)[0]}" * (not passed)
    )


def certainty(text: str, expected: list[str]) -> float:
    """How likely it is that a text is in one of the expected languages, which are PRIOR times as common as others."""
    shares = likelihoods(text)
    wanted = PRIOR * sum(shares.get(language, 0.0) for language in expected)
    others = sum(share for language, share in shares.items() if language not in expected)
    return wanted / (wanted + others) if wanted + others else 1.0
