"""What goes to a terminal: colours, lines that fit it, and nothing that it would obey.

    NO_COLOR=1      never colours (https://no-color.org)
    FORCE_COLOR=1   colours without a terminal, too (https://force-color.org)

Anything but a terminal (a file, a pipe, CI) gets plain lines, whole, without escapes.
"""

import os
import re
import sys
import textwrap
import time
from typing import Literal, TextIO

from gristmill.commands import PLAIN_SECONDS

Style = Literal["strong", "weak", "good", "bad", "doubtful", "heading"]
_CODES: dict[Style, str] = {
    "strong": "1", "weak": "2", "good": "32", "bad": "1;31", "doubtful": "33", "heading": "1;36",
}  # fmt: skip
_CLEAR_LINE = "\r\x1b[K"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_DEFAULT_WIDTH = 80


def is_terminal(stream: TextIO) -> bool:
    """Whether a line on it can be written anew."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def width(stream: TextIO) -> int:
    """Columns of a terminal; COLUMNS overrides."""
    try:
        return int(os.environ.get("COLUMNS") or 0) or os.get_terminal_size(stream.fileno()).columns or _DEFAULT_WIDTH
    except (OSError, ValueError):
        return _DEFAULT_WIDTH


def styled(text: str, style: Style, stream: TextIO) -> str:
    """The text as `stream` is to get it."""
    if os.environ.get("NO_COLOR") or not (os.environ.get("FORCE_COLOR") or is_terminal(stream)):
        return text
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m"


def wrapped(text: str, stream: TextIO, indent: int) -> str:
    """The text in as many lines as a terminal needs, all but the first indented; elsewhere it stays one line.

    Words are never cut: a path or a command can be copied.
    """
    if not is_terminal(stream):
        return text
    columns = max(width(stream) - 1, 2 * indent)
    return textwrap.fill(text, columns, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)


def tell(text: str, indent: int) -> None:
    """Prints a table of names and what is said of each from column `indent` on."""
    print("\n".join(wrapped(line, sys.stdout, indent) for line in text.splitlines()))


def warn(sentence: str) -> None:
    """Says to a person, beside the command's output, what ended it or what it noticed."""
    head = "gristmill:"
    told = wrapped(printable(f"{head} {sentence}"), sys.stderr, len(head) + 1)
    print(styled(head, "bad", sys.stderr) + told.removeprefix(head), file=sys.stderr)


def printable(text: str) -> str:
    """Without what a terminal would obey: models and servers write texts, too."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


class StatusLine:
    """How far long work is, on stderr: one line that is written anew; elsewhere a line every ten seconds."""

    def __init__(self) -> None:
        self.is_live = is_terminal(sys.stderr)
        self._last = time.monotonic()

    def say(self, *forms: str) -> None:
        """Shows the first of these forms of one line, longest first, that fits; an empty line clears it."""
        if self.is_live:
            room = width(sys.stderr) - 1  # the last column would begin a new line
            shown = next((form for form in forms if len(form) <= room), forms[-1][:room])
            print(_CLEAR_LINE + shown, end="", file=sys.stderr, flush=True)
        elif forms[0] and time.monotonic() - self._last >= PLAIN_SECONDS:
            self._last = time.monotonic()
            print(forms[0], file=sys.stderr, flush=True)
