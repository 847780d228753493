"""Intermediate concepts: subqueries, common tables, sets, and what is computed of values, dates and texts."""

from collections.abc import Iterator

from sqlglot import exp

from judges.sql_concepts.dates import is_date, is_date_shift
from judges.sql_concepts.registry import concept
from judges.sql_concepts.trees import (
    INEQUALITIES,
    clause,
    columns,
    common_tables,
    filtered,
    function_name,
    is_correlated,
    negated,
    own,
    projections,
    reads,
    recursive,
    selects,
    sides,
    sources,
)

# --- subqueries and common tables ------------------------------------------------------------------------------------


@concept("intermediate")
def semi_join(tree: exp.Expr) -> bool:
    """rows that have a match, by EXISTS"""
    return any(not negated(exists) and is_correlated(exists.this) for exists in tree.find_all(exp.Exists))


@concept("intermediate", may_be_empty=True)
def not_exists(tree: exp.Expr) -> bool:
    """rows that have no match, by NOT EXISTS"""
    return any(negated(exists) and is_correlated(exists.this) for exists in tree.find_all(exp.Exists))


@concept("intermediate")
def in_subquery(tree: exp.Expr) -> bool:
    """values that a subquery finds, with IN (SELECT ...)"""
    if any(isinstance(node.args.get("query"), exp.Query) for node in tree.find_all(exp.In)):
        return True
    return any(isinstance(node.parent, exp.EQ) and node.find(exp.Query) for node in tree.find_all(exp.Any))


@concept("intermediate")
def scalar_subquery(tree: exp.Expr) -> bool:
    """a single value from a subquery among the output columns"""
    return any(
        node is not projection.find_ancestor(exp.Select)
        for select in selects(tree)
        for projection in projections(select)
        for node in own(projection, exp.Subquery)
        if not isinstance(node.parent, exp.In | exp.Exists)
    )


@concept("intermediate")
def above_average(tree: exp.Expr) -> bool:
    """rows above or below the average of all, which a subquery finds"""
    comparisons = (node for select in filtered(tree) for node in own(clause(select, "where"), *INEQUALITIES))
    inner = (side for node in comparisons for side in sides(node))
    return any(query.find(exp.Avg) and not is_correlated(query) for side in inner for query in own(side, exp.Query))


@concept("intermediate")
def derived_table(tree: exp.Expr) -> bool:
    """a subquery in FROM"""
    return any(isinstance(source, exp.Subquery) for select in selects(tree) for source in sources(select))


@concept("intermediate")
def common_table(tree: exp.Expr) -> bool:
    """a common table expression (WITH) that the query reads"""
    loops = recursive(tree)
    return any(t not in loops and _is_read(t) for t in common_tables(tree))


def _is_read(table: exp.CTE) -> bool:
    query = table.find_ancestor(exp.Query, exp.Insert, exp.Update, exp.Delete)
    return query is not None and reads(query, table.alias)


@concept("intermediate")
def union_rows(tree: exp.Expr) -> bool:
    """the rows of two queries together, with UNION"""
    loops = {id(union) for table in recursive(tree) for union in table.find_all(exp.Union)}
    return any(id(union) not in loops for union in tree.find_all(exp.Union))


@concept("intermediate")
def set_overlap(tree: exp.Expr) -> bool:
    """what two queries share or only one has, with INTERSECT or EXCEPT"""
    return tree.find(exp.Intersect, exp.Except) is not None


# --- values ----------------------------------------------------------------------------------------------------------


def cases(tree: exp.Expr) -> Iterator[tuple[exp.Case, list[exp.Expr]]]:
    """Every CASE of two or more outcomes with the conditions of its branches."""
    for case in tree.find_all(exp.Case):
        branches = [branch.this for branch in case.args["ifs"]]
        if len(branches) > 1 or case.args.get("default") is not None:
            yield case, branches


@concept("intermediate")
def case_buckets(tree: exp.Expr) -> bool:
    """numbers sorted into bands by CASE"""
    return any(
        case.this is None and all(branch.find(*INEQUALITIES, exp.Between) for branch in branches)
        for case, branches in cases(tree)
    )


@concept("intermediate")
def value_mapping(tree: exp.Expr) -> bool:
    """codes translated into words by CASE"""
    return any(
        case.this is not None or all(isinstance(branch.unnest(), exp.EQ | exp.In) for branch in branches)
        for case, branches in cases(tree)
    )


@concept("intermediate")
def date_difference(tree: exp.Expr) -> bool:
    """the time between two dates"""
    return any(_is_difference(node) for node in tree.walk())


def _is_difference(node: exp.Expr) -> bool:
    if isinstance(node, exp.DateDiff | exp.TimestampDiff | exp.DatetimeDiff | exp.TsOrDsDiff):
        return True
    if function_name(node) in ("age", "timediff", "datediff", "timestampdiff"):
        return True
    return isinstance(node, exp.Sub) and all(is_date(side) and columns(side) for side in sides(node))


@concept("intermediate")
def date_shift(tree: exp.Expr) -> bool:
    """a date moved by some days, months or years"""
    return any(is_date_shift(node) for node in tree.walk())


@concept("intermediate")
def text_parts(tree: exp.Expr) -> bool:
    """a part of a text, cut out, replaced or searched by position"""
    kinds = (exp.Substring, exp.Left, exp.Right, exp.StrPosition, exp.SplitPart, exp.SubstringIndex, exp.Replace)
    return any(columns(node) for node in tree.find_all(*kinds, exp.RegexpReplace, exp.Trim))
