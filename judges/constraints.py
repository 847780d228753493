"""Instructions that code can check, as they lie in `metadata.constraints` of a record.

    [{"kind": "length", "of": "words", "at_least": 50, "at_most": 80},
     {"kind": "format", "is": "json"},
     {"kind": "keywords", "present": ["tide"], "absent": ["ocean"], "counts": {"moon": {"at_least": 2}}},
     {"kind": "language", "is": "de"},
     {"kind": "case", "is": "lower"},
     {"kind": "start", "text": "Dear reader"},
     {"kind": "other", "text": "Write as a lighthouse keeper would."}]      what code can't check

`check(constraint, text)` says "" where the text keeps it, else what is wrong.

Source: IFEval's verifiable instructions, Zhou et al. 2023 (arXiv 2311.07911); definitions and code are ours.
"""

import re
from collections.abc import Callable
from typing import Annotated, Literal, Self
from unicodedata import normalize

import orjson
from pydantic import Field, TypeAdapter, model_validator

from gristmill.text.language_id import identify
from judges.language import Params as LanguageParams
from judges.language import certainty, judge_language
from schemas import Data

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_BETWEEN_WORDS = re.compile(r"[\s/|—–]+")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
NO_SPACES = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
"""The letters of scripts that put no space between words."""
_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)]*(?=\s|$)|[。！？।؟۔]")
_ABBREVIATION = re.compile(r"\b(?:[A-Z]|Mr|Mrs|Ms|Dr|Prof|St|vs|etc|e\.g|i\.e|No|Fig|approx)\.$")
_HALF_OF_DAY = re.compile(r"\b[ap]\.m\.$")
_BULLET = re.compile(r"^\s*[-*+•–‣◦]\s+\S")
_NUMBERED = re.compile(r"^\s*\d+[.)]\s+\S")
_HEADING = re.compile(r"^ {0,3}#{1,6}\s+\S|^\S[^\n]*\n=+[ \t]*$", re.MULTILINE)
_BREAK = re.compile(r"^\s*([-*_])(?:\s*\1){2,}\s*$", re.MULTILINE)
_TABLE = re.compile(r"^.*\|.*\n[ \t]*(?=[^\n]*\|)\|?(?:[ \t]*:?-+:?[ \t]*\|)*(?:[ \t]*:?-+:?)?[ \t]*$", re.MULTILINE)
_CODE = re.compile(r"^ *(```|~~~).*?^ *\1[`~]*[ \t]*$", re.DOTALL | re.MULTILINE)
_MARKDOWN = re.compile(
    r"^#{1,6}\s|^\s*[-*+]\s|^>\s|```|`[^`\n]+`|^\s*\|.*\|\s*$|\[[^\]]+\]\([^)]+\)"
    r"|(?<![\w*])(\*{1,3})(?=[^\s*])[^*\n]*[^\s*]\1(?![\w*])|(?<!\w)(_{1,3})(?=[^\s_])[^\n]*?[^\s_]\2(?!\w)",
    re.MULTILINE,
)


class Range(Data):
    """Both ends count; at least one of them is given."""

    at_least: Annotated[int, Field(ge=0)] | None = None
    at_most: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise ValueError("one of at_least and at_most is needed")
        return self

    def fault(self, count: int, what: str) -> str:
        if self.at_least is not None and count < self.at_least:
            return f"{count} {what}, at least {self.at_least} were asked for"
        if self.at_most is not None and count > self.at_most:
            return f"{count} {what}, at most {self.at_most} were asked for"
        return ""


class Length(Range):
    kind: Literal["length"]
    of: Literal["characters", "words", "sentences", "paragraphs", "lines", "bullets"]


class Format(Data):
    """`json`: all of it (a fence around it is fine); `plain`: no Markdown; the others: there is one."""

    kind: Literal["format"]
    is_: Annotated[
        Literal["json", "bullets", "numbered_list", "headings", "table", "code_block", "plain"], Field(alias="is")
    ]


Word = Annotated[str, Field(min_length=1)]


class Keywords(Data):
    """Whole words or phrases, whatever their case."""

    kind: Literal["keywords"]
    present: list[Word] = []
    absent: list[Word] = []
    counts: dict[Word, Range] = {}


class Language(Data):
    kind: Literal["language"]
    is_: Annotated[str, Field(alias="is", pattern=r"^[a-z]{2,3}$")]


class Case(Data):
    kind: Literal["case"]
    is_: Annotated[Literal["lower", "upper", "title"], Field(alias="is")]


class Start(Data):
    kind: Literal["start"]
    text: Annotated[str, Field(min_length=1)]


class End(Data):
    kind: Literal["end"]
    text: Annotated[str, Field(min_length=1)]


class Other(Data):
    kind: Literal["other"]
    text: Annotated[str, Field(min_length=1)]


Checkable = Length | Format | Keywords | Language | Case | Start | End
Constraint = Annotated[Checkable | Other, Field(discriminator="kind")]
CONSTRAINTS: TypeAdapter[list[Constraint]] = TypeAdapter(list[Constraint])


def check(constraint: Checkable, text: str) -> str:
    """What is wrong with the text, "" where it keeps the constraint."""
    text = normalize("NFC", text).strip()
    match constraint:
        case Length():
            return constraint.fault(COUNTERS[constraint.of](text), constraint.of)
        case Format():
            return "" if _FORMATS[constraint.is_](text) else f"not {constraint.is_.replace('_', ' ')}"
        case Keywords():
            return _keywords_fault(constraint, text)
        case Language():
            named, parts = identify(text)[0], judge_language(text, [constraint.is_], _PARTS)
            is_kept = bool(named) and parts.passed is True and certainty(text, [constraint.is_]) >= 0.5
            return "" if is_kept else f"the language is {named or 'unknown'}: {parts.reason}"
        case Case():
            return "" if _CASES[constraint.is_](text) else f"not {constraint.is_} case"
        case Start():
            return "" if re.match(_whole(constraint.text), _folded(text)) else f"starts with {text[:40]!r}"
        case End():
            kept = re.search(rf"{_whole(constraint.text)}\Z", _folded(text))
            return "" if kept else f"ends with {text[-40:]!r}"


_PARTS = LanguageParams(short="pass")


def count_words(text: str) -> int:
    """What stands between spaces, dashes and slashes and has a letter or digit; in Chinese and Japanese, characters."""
    words = _BETWEEN_WORDS.split(_CJK.sub(" ", text))
    return sum(any(map(str.isalnum, word)) for word in words) + len(_CJK.findall(text))


def count_sentences(text: str) -> int:
    """Stretches with a word in them, up to an end mark or a blank line; abbreviations and initials end none."""
    sentences = 0
    for paragraph in re.split(r"\n\s*\n", text):
        begin = 0
        for end in _SENTENCE_END.finditer(paragraph):
            stretch = paragraph[begin : end.end()]
            goes_on = _HALF_OF_DAY.search(stretch) and paragraph[end.end() :].lstrip()[:1].islower()
            if _WORD.search(stretch) and not _ABBREVIATION.search(stretch) and not goes_on:
                sentences += 1
                begin = end.end()
        sentences += bool(_WORD.search(paragraph[begin:]))
    return sentences


def _bullets(text: str) -> int:
    return sum(bool(_BULLET.match(line) or _NUMBERED.match(line)) for line in _prose(text).splitlines())


def _prose(text: str) -> str:
    """Without blocks of code, and the lines that part sections."""
    return _BREAK.sub("", _CODE.sub("", text))


COUNTERS: dict[str, Callable[[str], int]] = {
    "characters": len,
    "words": count_words,
    "sentences": count_sentences,
    "paragraphs": lambda text: sum(bool(part.strip()) for part in re.split(r"\n\s*\n", text)),
    "lines": lambda text: sum(bool(line.strip()) for line in text.splitlines()),
    "bullets": _bullets,
}


def _is_json(text: str) -> bool:
    fenced = re.fullmatch(r"```(?:json)?\s*\n(.*)\n```", text, re.DOTALL | re.IGNORECASE)
    try:
        orjson.loads(fenced[1] if fenced else text)
    except ValueError:
        return False
    return True


def _any_line(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: any(pattern.match(line) for line in _prose(text).splitlines())


_FORMATS: dict[str, Callable[[str], bool]] = {
    "json": _is_json,
    "bullets": _any_line(_BULLET),
    "numbered_list": _any_line(_NUMBERED),
    "headings": lambda text: bool(_HEADING.search(_CODE.sub("", text))),
    "table": lambda text: bool(_TABLE.search(_CODE.sub("", text))),
    "code_block": lambda text: bool(_CODE.search(text)),
    "plain": lambda text: not _MARKDOWN.search(text),
}

_CASES: dict[str, Callable[[str], bool]] = {
    "lower": lambda text: text == text.lower(),
    "upper": lambda text: text == text.upper(),
    "title": lambda text: all(word[0].isupper() or not word[0].isalpha() for word in _WORD.findall(text)),
}


def _keywords_fault(constraint: Keywords, text: str) -> str:
    missing = [word for word in constraint.present if not _occurrences(word, text)]
    if missing:
        return f"without {', '.join(missing)}"
    forbidden = [word for word in constraint.absent if _occurrences(word, text)]
    if forbidden:
        return f"with {', '.join(forbidden)}"
    faults = (bounds.fault(_occurrences(word, text), f"times {word}") for word, bounds in constraint.counts.items())
    return next((fault for fault in faults if fault), "")


def _occurrences(word: str, text: str) -> int:
    return len(re.findall(_whole(word), _folded(text)))


def _whole(text: str) -> str:
    """A pattern for whole words in a folded text; of a sign such as a comma, or where words aren't parted, anywhere."""
    folded = _folded(text).strip() or text
    first, last = folded[0], folded[-1]
    before = r"(?<!\w)" if re.match(rf"[^\W_{NO_SPACES}]", first) else ""
    after = r"(?!\w)" if re.match(rf"[^\W_{NO_SPACES}]", last) else ""
    return before + r"\s+".join(map(re.escape, folded.split())) + after


def _folded(text: str) -> str:
    return normalize("NFC", text).casefold().replace("’", "'")
