"""language: is the answer in the language that it should be in, all of it?

    {name: language, expected: [en, de]}      one of these
    {name: language, expected: question}      that of the question

Each paragraph with enough letters is looked at, so a switch in mid-answer is found. An answer without words (a number,
a program) is in no wrong language and passes; one with too few to tell is undecided, or passes with `short: pass`.

Source: Nemotron 3 Super report (arXiv 2604.12374), multilingual data: language filter.
"""

import re
from typing import Annotated, Literal

from pydantic import Field

from gristmill import Config, Context, Judge, Record, Verdict
from gristmill.errors import ConfigError
from judges.fields import FieldPath, lookup, question
from judges.language_id import identify, known_languages, letters, prose


class Params(Config):
    """A text is judged from `min_letters` on, and only a guess of at least `min_confidence` counts against it."""

    expected: Annotated[list[str], Field(min_length=1)] | Literal["question"] = "question"
    of: FieldPath = "answer"
    min_letters: Annotated[int, Field(ge=1)] = 20
    min_confidence: Annotated[float, Field(ge=0, le=1)] = 0.5
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
        enough = letters(prose(asked)) >= self.params.min_letters and confidence >= self.params.min_confidence
        return [language] if enough else []


def judge_language(text: str, expected: list[str], params: Params) -> Verdict:
    """The verdict on a text; its score is the confidence in the language of the whole."""
    total = letters(prose(text))
    if total == 0:
        return Verdict(name="language", passed=True, reason="no words")
    if total < params.min_letters:
        return Verdict(name="language", passed=True if params.short == "pass" else None, reason=f"{total} letters only")
    for part in [text, *re.split(r"\n\s*\n", prose(text))]:
        language, confidence = identify(part)
        if letters(prose(part)) < params.min_letters or language in expected or confidence < params.min_confidence:
            continue
        begin = " ".join(part.split())[:60]
        return Verdict(name="language", passed=False, score=0.0, reason=f"{language} ({confidence:.2f}): {begin}")
    language, confidence = identify(text)
    if language not in expected:
        return Verdict(name="language", passed=None, reason=f"perhaps {language} ({confidence:.2f})")
    return Verdict(name="language", passed=True, score=round(confidence, 4), reason=language)
