"""Fingerprints of Python functions that stay the same under renaming, formatting, comments, docstrings and type hints.

    def add_all(xs: list[int]) -> int:        def total(values):
        '''Sums xs.'''                            n = 0  # start
        n = 0                                     for v in values:
        for x in xs: n += x                           n += v
        return n                                  return n

Both give the same fingerprint. Every name that the function binds, or that comes from elsewhere in the program, becomes
its number in the order of appearance; builtins, imported names, attributes and keywords of calls stay. A program is the
set of the fingerprints of its functions and methods, so neither their order matters nor a class around them.

The second fingerprint masks literals as well. It says less, so it counts for larger functions only (see index.py).
"""

import ast
import builtins
from collections.abc import Iterator
from typing import Any, NamedTuple

_BUILTINS = frozenset(dir(builtins))
_SKIPPED = {"annotation", "returns", "type_comment", "type_params", "ctx", "kind", "simple", "type_ignores"}
_FIELDS = {
    kind: tuple(name for name in kind._fields if name not in _SKIPPED)
    for kind in vars(ast).values()
    if isinstance(kind, type) and issubclass(kind, ast.AST)
}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_METHODS = {ast.Attribute, *_FUNCTIONS}
_BINDING = {
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.arg, ast.ExceptHandler, ast.Global, ast.Nonlocal,
    ast.MatchAs, ast.MatchStar, ast.MatchMapping,
}  # fmt: skip


class Unit(NamedTuple):
    """A function: its fingerprints with and without literals, and its size in nodes of the syntax tree."""

    exact: int
    masked: int
    size: int


def units(tree: ast.Module) -> list[Unit]:
    """One per function and method of a program; of a program without any, one for the whole. It consumes the tree.

    None where the program is nested deeper than our stack, or holds a number that Python doesn't print: data, rather.
    """
    imported = dict(_imports(tree.body))
    try:
        found = list(_units(tree.body, imported, frozenset()))
        return found or [_unit(tree, imported, frozenset())]
    except (RecursionError, ValueError):
        return []


def _units(
    body: list[ast.stmt], imported: dict[str, str], attributes: frozenset[str], of_class: bool = False
) -> Iterator[Unit]:
    for statement in body:
        if isinstance(statement, _FUNCTIONS):
            if of_class:
                del statement.args.args[:1]  # `self`: a function that was put into a class stays the same function
            yield _unit(statement, imported, attributes)
        elif isinstance(statement, ast.ClassDef):
            yield from _units(statement.body, imported, attributes | _own_attributes(statement), of_class=True)


def _imports(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    """(name in the program, name of the thing)."""
    for statement in body:
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                yield (alias.asname, alias.name) if alias.asname else (alias.name.partition(".")[0],) * 2
        elif isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                yield alias.asname or alias.name, f"{statement.module}.{alias.name}"


def _own_attributes(kind: ast.ClassDef) -> frozenset[str]:
    """Methods, and what is assigned to an attribute: names that the class's author chose."""
    return frozenset(
        node.name if isinstance(node, _FUNCTIONS) else node.attr
        for node in ast.walk(kind)
        if isinstance(node, _FUNCTIONS) or (isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store))
    )


def _unit(node: ast.AST, imported: dict[str, str], attributes: frozenset[str]) -> Unit:
    walk = _Walk(imported, attributes)
    walk.visit(node)
    return walk.unit()


def _is_remark(node: Any) -> bool:
    """A docstring, or a text that serves as a comment."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


class _Walk:
    """One pass over a tree that writes down its nodes; names are resolved at the end, when all bindings are known."""

    def __init__(self, imported: dict[str, str], attributes: frozenset[str]) -> None:
        self._imported = imported
        self._attributes = attributes
        self._out: list[Any] = []
        self._names: list[tuple[int, str]] = []  # place in `_out`, name
        self._literals: list[int] = []  # places in `_out`
        self._bound: set[str] = set()

    def visit(self, node: ast.AST) -> None:
        out = self._out
        if isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Load):
                self._bound.add(node.id)
            self._names.append((len(out), node.id))
            out.append(None)
            return
        if isinstance(node, ast.Constant):
            self._literals.append(len(out))
            out.append(repr(node.value))
            return
        if isinstance(node, ast.Import | ast.ImportFrom):
            self._imported = {**self._imported, **dict(_imports([node]))}
            return
        kind = node.__class__
        out.append(kind.__name__)
        for field in _FIELDS[kind]:
            value = getattr(node, field)
            if isinstance(value, list):
                parts = [part for part in value if not _is_remark(part)]
                out.append(len(parts))
                for part in parts:
                    if isinstance(part, ast.AST):
                        self.visit(part)
                    else:
                        self._word(kind, part)
            elif isinstance(value, ast.AST):
                self.visit(value)
            elif value is not None:
                self._word(kind, value)

    def _word(self, kind: type[ast.AST], word: Any) -> None:
        """A word that the parser keeps as a plain string: it binds a name, or is an attribute or a keyword."""
        method = word in self._attributes and kind in _METHODS
        if method or kind in _BINDING:
            name = f".{word}" if method else word  # `self.data = data` speaks of two things
            self._bound.add(name)
            self._names.append((len(self._out), name))
        self._out.append(word)

    def unit(self) -> Unit:
        out, numbers = self._out, dict[str, int]()
        for place, name in self._names:
            if name in self._bound:
                out[place] = numbers.setdefault(name, len(numbers))
            elif name in self._imported:
                out[place] = self._imported[name]
            else:
                out[place] = name if name in _BUILTINS else numbers.setdefault(name, len(numbers))
        exact = hash(tuple(out))
        for place in self._literals:
            out[place] = ""
        return Unit(exact, hash(tuple(out)), len(out))
