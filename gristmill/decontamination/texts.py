"""What is compared: the texts of a conversation, their words, and the Python code in them.

    "(A) Which *gas*,\n`H2` or N2?"    ->  which gas h2 or n2

Words are runs of letters and digits after case folding and Unicode's compatibility composition; a Chinese, Japanese or
Korean character is a word of its own, because nothing divides it from the next. Punctuation and layout don't count, nor
do characters without a width (soft hyphens, joiners) and single Latin letters: they are articles and the labels of
choices.
"""

import ast
import re
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from unicodedata import normalize

import orjson

from gristmill.text.unicode import IDEOGRAPHS

LONGEST_CODE = 100_000  # characters; what is longer is data rather than a program

_WORD = re.compile(rf"[{IDEOGRAPHS}]|[^\W_{IDEOGRAPHS}]{{2,}}|[^\W_{IDEOGRAPHS}a-z]")
_NO_WIDTH = re.compile("[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]")
_ASCII_WORD = re.compile(r"[a-z0-9]{2,}|[0-9]")
_TOKEN = re.compile(r"\w+|[^\w\s]")
_REMARK = re.compile(r"(\"\"\"|''').*?\1|#[^'\"\n]*$", re.DOTALL | re.MULTILINE)
_FENCE = re.compile(r"```([\w+-]*)[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL)
_PYTHON = {"", "py", "python", "python3"}
_OPENING = re.compile(r"^[ \t]*(?:def |class |async def |@\w|import |from \w[\w.]* import )", re.MULTILINE)


def words_of(text: str) -> list[str]:
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    return _WORD.findall(normalize("NFKC", _NO_WIDTH.sub("", text)).casefold())


def code_tokens(code: str) -> list[str]:
    """Names, numbers and single signs, without docstrings and comments; case counts."""
    return _TOKEN.findall(_REMARK.sub("", code))


def record_texts(messages: Iterable[Mapping[str, Any]]) -> list[str]:
    """Every text of a conversation that a model would be trained on or shown: contents, traces, arguments of calls."""
    texts = []
    for message in messages:
        texts += [message.get("content"), message.get("reasoning_content")]
        for call in message.get("tool_calls") or []:
            texts += _strings(_parsed(call["function"]["arguments"]))
    return [text for text in texts if text]


def _parsed(arguments: Any) -> Any:
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)


def code_in(text: str) -> Iterator[str]:
    """The pieces of a text that may be Python: its fenced blocks, else what begins like a program."""
    if "```" in text:
        for language, block in _FENCE.findall(text):
            if language.lower() in _PYTHON:
                yield block
        return
    opening = _OPENING.search(text)
    if opening:
        yield text[opening.start() :]


def parse(code: str) -> ast.Module | None:
    """The syntax tree; of a program with prose after it, the program's. None where there is no such thing."""
    if len(code) > LONGEST_CODE:
        return None
    if code[:1].isspace():
        code = textwrap.dedent(code)
    tree, broken_line = _try_parse(code)
    if tree is None and broken_line > 1:
        tree, _ = _try_parse("".join(code.splitlines(keepends=True)[: broken_line - 1]))
    return tree


def _try_parse(code: str) -> tuple[ast.Module | None, int]:
    """The tree, or the line at which parsing fails (0 where none is to blame)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in other people's strings
        try:
            return ast.parse(code), 0
        except SyntaxError as error:
            return None, error.lineno or 0
        except (ValueError, RecursionError, MemoryError):  # null bytes, nesting beyond the parser's stack
            return None, 0
