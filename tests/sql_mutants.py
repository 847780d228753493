"""Mutants of SQL: the same query with one thing changed. What they answer is mostly something else."""

from collections.abc import Callable, Iterator

from sqlglot import exp

_OTHER: dict[type[exp.Expr], type[exp.Expr]] = {
    exp.GT: exp.GTE, exp.GTE: exp.GT, exp.LT: exp.LTE, exp.LTE: exp.LT, exp.EQ: exp.NEQ, exp.NEQ: exp.EQ,
    exp.And: exp.Or, exp.Or: exp.And, exp.Sum: exp.Avg, exp.Avg: exp.Sum, exp.Max: exp.Min, exp.Min: exp.Max,
    exp.Add: exp.Sub, exp.Sub: exp.Add, exp.Mul: exp.Div, exp.Div: exp.Mul,
}  # fmt: skip


def mutants(tree: exp.Expr) -> Iterator[exp.Expr]:
    """Every query that differs from `tree` in one operator, aggregate, order, condition, limit or DISTINCT."""
    for place, node in enumerate(tree.walk()):
        for change in _changes(node):
            copy = tree.copy()
            change(list(copy.walk())[place])
            yield copy


def _changes(node: exp.Expr) -> Iterator[Callable[[exp.Expr], object]]:
    other = _OTHER.get(type(node))
    if other is not None and not (isinstance(node, exp.EQ) and node.find_ancestor(exp.Join)):
        yield lambda one: one.replace(other(**one.args))
    if isinstance(node, exp.Ordered):
        yield lambda one: one.set("desc", not one.args.get("desc"))
    if isinstance(node, exp.And):
        yield lambda one: one.replace(one.this)
    if isinstance(node, exp.Limit):
        yield lambda one: one.set("expression", exp.Literal.number(int(one.expression.name) + 1))
    if isinstance(node, exp.Select) and node.args.get("distinct"):
        yield lambda one: one.set("distinct", None)
    if isinstance(node, exp.Distinct) and isinstance(node.parent, exp.Count):
        yield lambda one: one.replace(one.expressions[0])
