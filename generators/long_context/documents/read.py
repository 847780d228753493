"""Documents from whatever they lie in, cleaned, each with a title.

    .txt .md .rst        a file is a document; its title is the first heading, else its name
    .html                its text, without scripts, styles and menus; the title is <title>
    .jsonl .parquet .csv a row is a document: its text in `text`, `content`, `body` ..., else the row as an outline
    hf://NAME@REVISION   the same (.jsonl may also be .jsonl.gz)
    a folder             all of these in it, and source code; titles are paths

What can't be used is Skipped with its reason: `empty`, `binary`, `unreadable`, `no_text`.
"""

import csv
import gzip
import re
import unicodedata
import zlib
from collections.abc import Iterator, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

from gristmill.config import require_file
from gristmill.errors import ConfigError
from gristmill.seeds import BadSeed, read_line, read_rows

TEXT_FIELDS = ("text", "content", "body", "document", "article", "passage", "markdown", "html")
TITLE_FIELDS = ("title", "name", "heading", "path", "url", "id", "code")

_PLAIN = {".txt", ".md", ".markdown", ".rst", ".tex", ""}
_HTML = {".html", ".htm", ".xhtml"}
_ROWS = {".jsonl", ".parquet", ".csv"}
_CODE = {
    ".py", ".pyi", ".js", ".ts", ".jsx", ".tsx", ".java", ".kt", ".c", ".h", ".cc", ".cpp", ".hpp", ".cs", ".go",
    ".rs", ".rb",
    ".php", ".swift", ".scala", ".sh", ".sql", ".r", ".jl", ".lua", ".pl", ".toml", ".yaml", ".yml", ".json", ".ini",
    ".cfg",
    ".cmake", ".proto", ".jinja", ".css", ".vue",
}  # fmt: skip
_LEFT_OUT = {
    ".git",
    ".hg",
    ".svn",
    "node_modules",
    "__pycache__",
    ".venv",
    "venv",
    "dist",
    "build",
    ".tox",
    ".mypy_cache",
}

LARGEST_FILE = 50_000_000
"""Bytes: what is larger is no document."""


class Document(NamedTuple):
    title: str
    text: str
    source: str


class Skipped(NamedTuple):
    source: str
    reason: str


def read_documents(source: str, text: str | None = None, title: str | None = None) -> Iterator[Document | Skipped]:
    """The documents of a file, a folder or a hub's dataset, in a fixed order. `text` and `title` name a row's fields.
    ConfigError where the source isn't there."""
    if source.startswith("hf://"):
        yield from _rows(source, read_rows(source), text, title)
        return
    path = Path(source)
    if path.is_dir():
        for file in sorted(_files(path)):
            yield from _file(file, str(file.relative_to(path)), text, title)
    elif path.is_file():
        yield from _file(path, path.name, text, title)
    else:
        require_file(path, "params.documents.sources")


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            if path.name not in _LEFT_OUT:
                yield from _files(path)
        elif path.is_file() and (_suffix(path) in _PLAIN | _HTML | _ROWS | _CODE):
            yield path


def _suffix(path: Path) -> str:
    return Path(path.stem).suffix.lower() if path.suffix == ".gz" else path.suffix.lower()


def _file(path: Path, name: str, text: str | None, title: str | None) -> Iterator[Document | Skipped]:
    """The documents of a file. What is damaged ends there: what comes after it can't be read."""
    try:
        if _suffix(path) in _ROWS:
            rows = _gzipped(path) if path.suffix == ".gz" else read_rows(str(path))
            yield from _rows(name, rows, text, title)
        else:
            yield _whole(path, name)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error, ConfigError):
        yield Skipped(name, "unreadable")


def _whole(path: Path, name: str) -> Document | Skipped:
    """A file that is one document."""
    suffix = _suffix(path)
    if path.stat().st_size > LARGEST_FILE:
        return Skipped(name, "too_large")
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    content = decode(raw)
    if content is None:
        return Skipped(name, "binary")
    if suffix in _HTML:
        page = page_text(content)
        return _document(page.title or name, page.text, name)
    return _document(name if suffix in _CODE else _heading(content) or name, content, name)


def _gzipped(path: Path) -> Iterator[tuple[str, dict[str, Any] | BadSeed]]:
    """As gristmill.seeds reads lines of JSON, from a compressed file."""
    with gzip.open(path, "rb") as lines:
        for number, line in enumerate(lines, start=1):
            yield read_line(number, line)


def _rows(
    name: str, rows: Iterator[tuple[str, dict[str, Any] | BadSeed]], text: str | None, title: str | None
) -> Iterator[Document | Skipped]:
    for where, row in rows:
        source = f"{name} {where}"
        if isinstance(row, BadSeed):
            yield Skipped(source, "unreadable")
            continue
        named = (
            row.get(title) if title else next((row[one] for one in TITLE_FIELDS if isinstance(row.get(one), str)), "")
        )
        field = text or next((one for one in TEXT_FIELDS if isinstance(row.get(one), str)), None)
        content = row.get(field) if field else outline(row)
        if not isinstance(content, str):
            yield Skipped(source, "no_text")
            continue
        if field == "html":
            page = page_text(content)
            content, named = page.text, named or page.title
        yield _document(str(named or _heading(content) or source), content, source)


def _document(title: str, text: str, source: str) -> Document | Skipped:
    cleaned = clean(text)
    if not cleaned:
        return Skipped(source, "empty")
    return Document(" ".join(title.split())[:120], cleaned, source)


def outline(value: Any, level: int = 1) -> str:
    """Nested data as a text with headings: what has no text field is read so."""
    if isinstance(value, Mapping):
        parts = []
        for key, inner in value.items():
            told = outline(inner, level + 1)
            if isinstance(inner, Mapping | Sequence) and not isinstance(inner, str) and told:
                parts.append(f"{'#' * min(level, 6)} {key}\n\n{told}")
            elif told:
                parts.append(f"{key}: {told}")
        return "\n\n".join(parts)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "\n".join(filter(None, (outline(one, level + 1) for one in value)))
    if isinstance(value, str):
        return page_text(value).text if "<" in value and ">" in value else value
    return "" if value is None else str(value)


def decode(raw: bytes) -> str | None:
    """A file's text: by its mark, else UTF-8, else Windows-1252; None for one that is none."""
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if raw.startswith(mark):
            return raw.decode(encoding, errors="replace")
    if b"\0" in raw:
        return None
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        pass
    controls = sum(byte < 9 or 13 < byte < 32 for byte in raw)
    return raw.decode("cp1252", errors="replace") if controls <= len(raw) // 100 else None


_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b\ufeff]")
_TRAILING = re.compile(r"[ \t]+$", re.MULTILINE)
_BLANK = re.compile(r"\n{3,}")


def clean(text: str) -> str:
    """NFC, plain line ends, no control characters, no trailing blanks, one blank line at most."""
    plain = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n"))
    return _BLANK.sub("\n\n", _TRAILING.sub("", _CONTROL.sub("", plain))).strip()


def _heading(text: str) -> str:
    """The first line, where it is one."""
    line = text.lstrip().partition("\n")[0].lstrip("#= ").strip()
    return line if 0 < len(line) <= 100 and not line.endswith((".", ",", ";")) else ""


class Page(NamedTuple):
    title: str
    text: str


def page_text(markup: str) -> Page:
    """A page's title and its text: blocks on lines of their own, without scripts, styles and navigation."""
    reader = _PageReader()
    reader.feed(markup.replace("<![", "<! ["))  # which it would stop at where that is none of its sections
    reader.close()
    return Page(" ".join(reader.title.split()), "".join(reader.parts).strip())


_SILENT = {"script", "style", "noscript", "template", "svg", "nav"}
_BLOCKS = {"p", "div", "section", "article", "h1", "h2", "h3", "h4", "h5", "h6", "table", "ul", "ol", "pre",
"blockquote", "header",
           "footer", "main", "form"}  # fmt: skip
_LINES = {"br", "tr", "li", "dt", "dd", "hr"}


class _PageReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title = ""
        self.parts: list[str] = []
        self._silent = 0
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent += tag in _SILENT
        self._in_title = tag == "title"
        if tag in _BLOCKS:
            self.parts.append("\n\n")
        elif tag in _LINES:
            self.parts.append("\n")
        elif tag in ("td", "th"):
            self.parts.append(" ")

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in _SILENT and self._silent > 0
        self._in_title = self._in_title and tag != "title"
        if tag in _BLOCKS:
            self.parts.append("\n\n")

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        elif not self._silent:
            self.parts.append(data if "\n" not in data.strip() else re.sub(r"[ \t]*\n[ \t]*", "\n", data))
