"""What goes to a terminal: colours, and lines that fit it.

    NO_COLOR=1      never colours (https://no-color.org)
    FORCE_COLOR=1   colours without a terminal, too (https://force-color.org)

Anything but a terminal (a file, a pipe, CI) gets plain lines, whole, without escapes.
"""

import os
import textwrap
from typing import Literal, TextIO

Style = Literal["strong", "weak", "good", "bad", "doubtful", "heading"]
_CODES: dict[Style, str] = {
    "strong": "1", "weak": "2", "good": "32", "bad": "1;31", "doubtful": "33", "heading": "1;36",
}  # fmt: skip
_CLEAR_LINE = "\r\x1b[K"
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


def rewritten(line: str) -> str:
    """What writes `line` in the place of the terminal's last one."""
    return _CLEAR_LINE + line
