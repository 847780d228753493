"""docs/faq.md: each heading is a message that the code can say."""

import ast
import re
from functools import cache

import pytest

from tests.layers import PACKAGES, ROOT

PAGE = (ROOT / "docs/faq.md").read_text("utf-8")
QUOTED = re.findall(r"^### `(.*)`$", PAGE, re.MULTILINE)


def said(node: ast.expr) -> str:
    """A text of the code, with "..." for what is put into it."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(said(value) if isinstance(value, ast.Constant) else "..." for value in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return said(left) + said(right)
        case ast.IfExp(body=body):
            return said(body)
    return "..."


@cache
def texts() -> list[str]:
    modules = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    nodes = (node for path in modules for node in ast.walk(ast.parse(path.read_text("utf-8"))))
    return [said(node) for node in nodes if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp)]


def test_every_entry_quotes_a_message() -> None:
    assert len(QUOTED) == PAGE.count("\n### ") > 20


@pytest.mark.parametrize("quoted", QUOTED)
def test_the_code_says_it(quoted: str) -> None:
    assert sum(map(len, quoted.split("..."))) > 12, "words of its own, not only place-holders"
    pattern = re.compile(".*".join(map(re.escape, quoted.split("..."))), re.DOTALL)
    assert any(pattern.search(text) for text in texts()), quoted
