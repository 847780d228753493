"""Mutants of Python code: the same program with one operator changed. Good tests notice most of them.

    def older(a, b):                 def older(a, b):
        return a.age > b.age             return a.age >= b.age

Some mutants compute the same in another way, so no tests kill all of them.
"""

import ast
from collections.abc import Iterator

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.Div: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitOr,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip


def mutants(source: str) -> Iterator[str]:
    """Every program that differs from `source` in one operator; SyntaxError where it doesn't parse."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        match node:
            case ast.Compare():
                for number, comparison in enumerate(node.ops):
                    node.ops[number] = _COMPARISONS[type(comparison)]()
                    yield ast.unparse(tree)
                    node.ops[number] = comparison
            case ast.BinOp() | ast.AugAssign() if type(node.op) in _ARITHMETIC:
                operator = node.op
                node.op = _ARITHMETIC[type(operator)]()
                yield ast.unparse(tree)
                node.op = operator
            case ast.BoolOp():
                connective = node.op
                node.op = ast.Or() if isinstance(connective, ast.And) else ast.And()
                yield ast.unparse(tree)
                node.op = connective
