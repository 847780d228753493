"""HTML trees, by lxml: the one door to it, because it is an extra."""

import re
from collections.abc import Iterator
from typing import Any

from gristmill import Reject
from gristmill.errors import ConfigError

_DECLARED = re.compile(rb"(?:encoding|charset)\s*=\s*[\"']?([\w-]+)", re.IGNORECASE)


def require_lxml() -> Any:
    """lxml.etree. ConfigError where it isn't installed."""
    try:
        from lxml import etree
    except ImportError:
        raise ConfigError("financial_qa reads filings with lxml: pip install 'gristmill[finance]'.") from None
    return etree


def parse(raw: bytes, name: str) -> Any:
    """The tree of a document. Reject(filing): empty, unreadable."""
    etree = require_lxml()
    text = decoded(raw)
    if not text.strip():
        raise Reject("filing", "empty", name)
    try:
        root = etree.fromstring(text.encode(), etree.HTMLParser(huge_tree=True, encoding="utf-8"))
    except (etree.XMLSyntaxError, ValueError) as error:
        raise Reject("filing", "unreadable", f"{name}: {error}") from None
    if root is None:
        raise Reject("filing", "empty", name)
    return root


def walk(root: Any) -> Iterator[tuple[str, Any]]:
    """lxml's iterwalk over elements, comments and processing instructions; it knows `skip_subtree`."""
    walker: Iterator[tuple[str, Any]] = require_lxml().iterwalk(root, events=("start", "end", "comment", "pi"))
    return walker


def decoded(raw: bytes) -> str:
    """The text, whatever its declaration says: UTF-8 where it can be that, else as declared, else Windows' Latin."""
    declared = _DECLARED.search(raw[:2000])
    named = declared[1].decode() if declared else ""
    for encoding in ("utf-8-sig", "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else named, "cp1252"):
        try:
            text = raw.decode(encoding)
        except (LookupError, UnicodeDecodeError):
            continue
        break
    else:
        text = raw.decode("cp1252", errors="replace")
    return re.sub(r"^\s*<\?xml[^>]*\?>", "", text).replace("\x00", "")
