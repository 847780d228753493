"""Questions about a parsed query that the checks of many concepts ask.

A select's *own* nodes are those of its clauses without what lies in its subqueries. A *source* is a table, subquery or
function in FROM or JOIN, under the name by which columns refer to it.
"""

from collections.abc import Iterator

from sqlglot import exp

COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE)
INEQUALITIES = (exp.GT, exp.GTE, exp.LT, exp.LTE)
ARITHMETIC = (exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod)
VALUES = (exp.Sum, exp.Avg, exp.Min, exp.Max)
NUMBERINGS = (exp.RowNumber, exp.Rank, exp.DenseRank)
_AROUND = (exp.Filter, exp.IgnoreNulls, exp.RespectNulls)


# --- selects and their parts -----------------------------------------------------------------------------------------


def selects(tree: exp.Expr) -> Iterator[exp.Select]:
    return tree.find_all(exp.Select)


def filtered(tree: exp.Expr) -> Iterator[exp.Expr]:
    """What may have a WHERE: selects, updates and deletions."""
    return tree.find_all(exp.Select, exp.Update, exp.Delete)


def own(root: exp.Expr | None, *kinds: type[exp.Expr]) -> Iterator[exp.Expr]:
    """The nodes of these kinds below (and including) `root`, without what lies in subqueries."""
    if root is None:
        return
    for node in root.walk(prune=lambda node: node is not root and isinstance(node, exp.Query)):
        if isinstance(node, kinds):
            yield node


def clause(select: exp.Expr, name: str) -> exp.Expr | None:
    found = select.args.get(name)
    return found if isinstance(found, exp.Expr) else None


def joins(select: exp.Select) -> list[exp.Join]:
    return list(select.args.get("joins") or [])


def sources(select: exp.Select) -> list[exp.Expr]:
    """What stands in FROM and in the joins, in order."""
    first = clause(select, "from_")
    return [part.this for part in ([first] if first else []) + joins(select)]


def base(select: exp.Select) -> str:
    """The name of the source in FROM."""
    first = clause(select, "from_")
    return first.this.alias_or_name if first else ""


def outer_joined(select: exp.Select) -> set[str]:
    """The names of the right sides of LEFT JOINs."""
    return {join.this.alias_or_name for join in joins(select) if join.side == "LEFT"}


def table_names(select: exp.Select) -> list[str]:
    return [source.name.lower() for source in sources(select) if isinstance(source, exp.Table)]


def projections(select: exp.Select) -> list[exp.Expr]:
    """The output expressions without their names."""
    return [expression.unalias() for expression in select.expressions]


def named(tree: exp.Expr) -> Iterator[tuple[str, exp.Expr, exp.Select]]:
    """Every output expression of the tree that has a name: name, expression, select."""
    for select in selects(tree):
        for expression in select.expressions:
            if isinstance(expression, exp.Alias):
                yield expression.alias.lower(), expression.this, select
        yield from _named_by_list(select)


def _named_by_list(select: exp.Select) -> Iterator[tuple[str, exp.Expr, exp.Select]]:
    """`WITH totals (city, total) AS (SELECT city, SUM(x) ...)` names its columns ahead of them."""
    holder = select.parent
    if isinstance(holder, exp.CTE | exp.Subquery):
        names = (
            [identifier.name.lower() for identifier in holder.args["alias"].columns] if holder.args.get("alias") else []
        )
        yield from ((name, part, select) for name, part in zip(names, projections(select), strict=False))


def group_keys(select: exp.Select) -> list[exp.Expr]:
    """What the rows are grouped by: numbers and names of output columns are followed to their expressions."""
    group = clause(select, "group")
    if group is None:
        return []
    outputs = {e.alias.lower(): e.this for e in select.expressions if isinstance(e, exp.Alias)}
    keys = [*group.expressions]
    for kind in ("rollup", "cube", "grouping_sets"):
        keys += [key for part in group.args.get(kind) or [] for key in part.expressions]
    return [_followed(key, select, outputs) for key in keys]


def _followed(key: exp.Expr, select: exp.Select, outputs: dict[str, exp.Expr]) -> exp.Expr:
    if isinstance(key, exp.Literal) and not key.is_string and 1 <= int(key.name) <= len(select.expressions):
        return projections(select)[int(key.name) - 1]
    if isinstance(key, exp.Column) and not key.table:
        return outputs.get(key.name.lower(), key)
    return key


# --- conditions ------------------------------------------------------------------------------------------------------


def comparisons(tree: exp.Expr, *kinds: type[exp.Expr], within: str = "where") -> Iterator[exp.Expr]:
    """Nodes of these kinds in WHERE (or another clause) of any select."""
    return (node for select in selects(tree) for node in own(clause(select, within), *kinds))


def flattened(condition: exp.Expr | None) -> list[exp.Expr]:
    """The parts of a conjunction."""
    if condition is None:
        return []
    plain = condition.unnest()
    if isinstance(plain, exp.And):
        return [*flattened(plain.left), *flattened(plain.right)]
    return [plain]


def wheres(select: exp.Expr) -> list[exp.Expr]:
    where = clause(select, "where")
    return flattened(where.this) if where else []


def conditions(select: exp.Select) -> list[exp.Expr]:
    """What WHERE and the joins ask, part by part."""
    return [*wheres(select), *(part for join in joins(select) for part in flattened(clause(join, "on")))]


def affirmed(select: exp.Expr, *kinds: type[exp.Expr]) -> Iterator[exp.Expr]:
    """Own nodes of WHERE of these kinds that no NOT turns round."""
    for node in own(clause(select, "where"), *kinds):
        if not any(isinstance(above, exp.Not) for above in _up_to(node, exp.Where)):
            yield node


def _up_to(node: exp.Expr, end: type[exp.Expr]) -> Iterator[exp.Expr]:
    above = node.parent
    while above is not None and not isinstance(above, end):
        yield above
        above = above.parent


def negated(node: exp.Expr) -> bool:
    above = node.parent
    while isinstance(above, exp.Paren):
        above = above.parent
    return isinstance(above, exp.Not)


def is_constant(node: exp.Expr) -> bool:
    return node.find(exp.Column, exp.Query, exp.Star) is None


def is_plain(node: exp.Expr) -> bool:
    """An expression over columns, without aggregates and subqueries."""
    return node.find(exp.Column) is not None and node.find(exp.Query, exp.AggFunc) is None


def sides(node: exp.Expr) -> tuple[exp.Expr, exp.Expr]:
    """Both sides of a comparison or an operation, without parentheses."""
    return node.this.unnest(), node.expression.unnest()


def against_constant(node: exp.Expr) -> exp.Expr | None:
    """The constant of a comparison between an expression over columns and a constant."""
    left, right = sides(node)
    if is_plain(left) and is_constant(right):
        return right
    return left if is_plain(right) and is_constant(left) else None


def tests_null(node: exp.Expr) -> bool:
    """`x IS NULL`, neither `x IS NOT NULL` nor `NOT x IS NULL`."""
    is_null = isinstance(node, exp.Is) and isinstance(node.expression, exp.Null)
    return is_null and not node.args.get("negate") and not negated(node)


def columns(node: exp.Expr | None) -> list[exp.Column]:
    return [column for column in own(node, exp.Column) if isinstance(column, exp.Column)]


def names_in(node: exp.Expr) -> set[str]:
    """The names of the columns of an expression, in lower case and without their tables."""
    return {column.name.lower() for column in columns(node)}


def belongs(column: exp.Column, names: set[str]) -> bool:
    """Whether the column is (or, where its table isn't said, may be) one of these sources'."""
    return not column.table or column.table in names


def across(node: exp.Expr) -> bool:
    """A comparison between columns of two sources."""
    left, right = ({column.table for column in columns(side)} for side in sides(node))
    return bool(left and right) and "" not in left | right and not left & right


# --- subqueries, common tables, aggregates, windows ------------------------------------------------------------------


def is_correlated(query: exp.Expr) -> bool:
    """Whether a subquery names a source that it doesn't have itself."""
    inside = {source.alias_or_name for select in selects(query) for source in sources(select)}
    return any(column.table and column.table not in inside for column in query.find_all(exp.Column))


def common_tables(tree: exp.Expr) -> list[exp.CTE]:
    return list(tree.find_all(exp.CTE))


def reads(tree: exp.Expr, name: str) -> bool:
    return any(table.name.lower() == name.lower() for table in tree.find_all(exp.Table))


def recursive(tree: exp.Expr) -> list[exp.CTE]:
    """The common tables that read themselves."""
    return [table for table in common_tables(tree) if reads(table.this, table.alias)]


def steps(table: exp.CTE) -> list[exp.Select]:
    """The selects of a recursive table that read it."""
    return [s for s in selects(table.this) if table.alias.lower() in table_names(s)]


def aggregates(root: exp.Expr | None, *kinds: type[exp.Expr]) -> list[exp.Expr]:
    """Own aggregates that are no window functions."""
    return [node for node in own(root, *(kinds or (exp.AggFunc,))) if not _is_windowed(node)]


def _is_windowed(function: exp.Expr) -> bool:
    outer = function
    while isinstance(outer.parent, _AROUND) and outer.arg_key == "this":
        outer = outer.parent
    return isinstance(outer.parent, exp.Window) and outer.arg_key == "this"


def windows(tree: exp.Expr, *functions: type[exp.Expr]) -> list[exp.Window]:
    """Window calls of these functions."""
    return [window for window in tree.find_all(exp.Window) if isinstance(function_of(window), functions)]


def own_windows(node: exp.Expr, *functions: type[exp.Expr]) -> list[exp.Window]:
    """The same without those in subqueries."""
    found = (window for window in own(node, exp.Window) if isinstance(window, exp.Window))
    return [window for window in found if isinstance(function_of(window), functions)]


def function_of(window: exp.Window) -> exp.Expr:
    function: exp.Expr = window.this
    while isinstance(function, _AROUND):
        function = function.this
    return function


def window_part(window: exp.Window, name: str) -> object:
    """partition_by, order or spec, where need be from the WINDOW clause that the window names."""
    if window.args.get(name) or not window.alias:
        return window.args.get(name)
    select = window.find_ancestor(exp.Select)
    definitions = (select.args.get("windows") or []) if select else []
    return next((d.args.get(name) for d in definitions if d.name == window.alias), None)


def conditional(aggregate: exp.Expr) -> exp.Expr | None:
    """The condition under which an aggregate counts a row: from CASE, IF, FILTER, or a sum of truth values."""
    if isinstance(aggregate.parent, exp.Filter):
        condition: exp.Expr = aggregate.parent.expression.this
        return condition
    argument = aggregate.this
    if isinstance(argument, exp.Distinct) and argument.expressions:
        argument = argument.expressions[0]
    argument = argument.unnest() if isinstance(argument, exp.Expr) else None
    chosen = argument.find(exp.If) if isinstance(argument, exp.Expr) else None
    if chosen is not None:
        case = chosen.parent
        compared = case.this if isinstance(case, exp.Case) else None  # CASE status WHEN 'open' THEN ...
        return chosen.this if compared is None else exp.EQ(this=compared.copy(), expression=chosen.this.copy())
    return argument if isinstance(argument, (*COMPARISONS, exp.In, exp.And, exp.Or, exp.Is)) else None


def function_name(node: exp.Expr) -> str:
    return node.name.lower() if isinstance(node, exp.Anonymous) else ""
