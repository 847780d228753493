"""Copies of benchmark items as they turn up in training data: what a method of decontamination must find.

    planted(item, "renamed")    # the solution with other names, in a record's texts

Calibration and the tests of recall use them. Each way keeps what the program does.
"""

import ast
import random
import re
from collections.abc import Callable

from gristmill.decontamination.benchmarks import Item
from gristmill.decontamination.texts import parse

TRANSLATED = '"""Berechnet das Ergebnis der Aufgabe und gibt es zurück; die Eingabe bleibt unverändert."""'
HELPERS = [
    "def show_all(rows):\n    for row in rows:\n        print(row, end='; ')\n",
    "def as_table(cells, width):\n    return [cells[i:i + width] for i in range(0, len(cells), width)]\n",
]


def _tree(code: str) -> ast.Module:
    tree = parse(code)
    if tree is None:
        raise SyntaxError("no Python")
    return tree


def verbatim(code: str) -> str:
    return code


def renamed(code: str) -> str:
    """Every name that the program binds gets another one."""
    tree = _tree(code)
    nodes = list(ast.walk(tree))
    bound = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    bound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    bound |= {node.name for node in nodes if isinstance(node, ast.FunctionDef) and not node.name.startswith("__")}
    new = {name: f"item_{number}" for number, name in enumerate(sorted(bound))}
    for node in nodes:
        if isinstance(node, ast.Name):
            node.id = new.get(node.id, node.id)
        elif isinstance(node, ast.arg):
            node.arg = new.get(node.arg, node.arg)
        elif isinstance(node, ast.FunctionDef):
            node.name = new.get(node.name, node.name)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            node.names = [new.get(name, name) for name in node.names]
    return ast.unparse(tree)


def reformatted(code: str) -> str:
    """Another layout, no comments, no type hints, tabs for blanks."""
    tree = _tree(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
    lines = ast.unparse(tree).split("\n")
    return "\n".join(line.replace("    ", "\t") + ("  # next" if line.endswith(":") else "") for line in lines)


def reordered(code: str) -> str:
    """Functions in the opposite order, between others."""
    tree = _tree(code)
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    others = [node for node in tree.body if not isinstance(node, ast.FunctionDef | ast.ClassDef)]
    parts = [*map(ast.unparse, others), HELPERS[0], *map(ast.unparse, reversed(functions)), HELPERS[1]]
    return "\n\n".join(parts)


def translated(code: str) -> str:
    """A docstring in another language in the place of the English one."""
    tree = _tree(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            docstring = ast.parse(TRANSLATED).body[0]
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            node.body = [docstring, *(body or [ast.Pass()])]
    return ast.unparse(tree)


WAYS: dict[str, Callable[[str], str]] = {
    way.__name__: way for way in (verbatim, renamed, reformatted, reordered, translated)
}


def planted(item: Item, way: str) -> list[str]:
    """The texts of a record that copies an item's solution; its question only where it is copied word for word."""
    asked = item.question if way == "verbatim" and item.question else "Please write the function that we spoke about."
    return [asked, f"Here it is:\n\n```python\n{WAYS[way](item.code)}\n```\n\nIt was tested."]


_REWORDINGS = {
    "write": "create", "function": "routine", "find": "determine", "given": "provided", "list": "array",
    "return": "give back", "check": "verify", "whether": "if", "largest": "biggest", "maximum": "greatest",
    "minimum": "least", "string": "text", "number": "value", "numbers": "values", "integer": "whole number",
    "elements": "entries", "remove": "delete", "count": "tally", "first": "leading", "same": "equal", "all": "every",
    "how many": "what number of", "what": "which", "calculate": "work out", "total": "overall", "each": "every single",
}  # fmt: skip
_WORDING = re.compile(rf"\b({'|'.join(_REWORDINGS)})\b", re.IGNORECASE)


def reworded(item: Item, rng: random.Random) -> tuple[str, str]:
    """Question and solution of a paraphrase by rule: other words, sentences turned round, names and layout changed;
    the choices of a multiple-choice item in another order."""
    sentences = re.split(r"(?<=[.?!])\s+", item.question)
    if len(sentences) > 1:
        sentences = [*sentences[1:], sentences[0]]
    question = _WORDING.sub(lambda match: _REWORDINGS[match[1].lower()], " ".join(sentences))
    choices = rng.sample(item.choices, len(item.choices))
    solution = _retold(item.code) if item.code else item.answer
    return "\n".join([question, *choices]), solution


def _retold(code: str) -> str:
    try:
        return reformatted(renamed(code))
    except SyntaxError:
        return code
