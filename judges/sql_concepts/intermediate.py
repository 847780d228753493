"""Intermediate concepts: joins, groups, subqueries, sets, dates and text."""

from collections.abc import Iterator

from sqlglot import exp

from judges.sql_concepts.registry import concept
from judges.sql_concepts.trees import (
    INEQUALITIES,
    VALUES,
    across,
    aggregates,
    belongs,
    clause,
    columns,
    common_tables,
    conditional,
    filtered,
    flattened,
    function_name,
    group_keys,
    has_date_part,
    is_correlated,
    is_date,
    is_date_shift,
    joins,
    negated,
    outer_joined,
    own,
    projections,
    reads,
    recursive,
    selects,
    sides,
    sources,
    table_names,
    tests_null,
    wheres,
)

# --- groups ----------------------------------------------------------------------------------------------------------


def grouped(tree: exp.Expr) -> Iterator[exp.Select]:
    return (select for select in selects(tree) if group_keys(select))


def outputs(select: exp.Select, *kinds: type[exp.Expr]) -> list[exp.Expr]:
    """The aggregates among the output expressions."""
    return [node for projection in projections(select) for node in aggregates(projection, *kinds)]


@concept("intermediate")
def group_count(tree: exp.Expr) -> bool:
    """a count for each group"""
    return any(outputs(select, exp.Count) for select in grouped(tree))


@concept("intermediate")
def group_aggregate(tree: exp.Expr) -> bool:
    """a total, average, smallest or largest value for each group"""
    return any(outputs(select, *VALUES) for select in grouped(tree))


@concept("intermediate")
def group_having(tree: exp.Expr) -> bool:
    """groups filtered by HAVING on an aggregate"""
    return any(_tests_aggregate(select) for select in grouped(tree))


def _tests_aggregate(select: exp.Select) -> bool:
    having = clause(select, "having")
    if having is None:
        return False
    computed = {e.alias for e in select.expressions if isinstance(e, exp.Alias) and aggregates(e.this)}
    return bool(aggregates(having)) or any(column.name in computed for column in columns(having))


@concept("intermediate")
def date_parts(tree: exp.Expr) -> bool:
    """groups by a part of a date, such as the month"""
    return any(has_date_part(key) for select in grouped(tree) for key in group_keys(select))


@concept("intermediate")
def conditional_aggregate(tree: exp.Expr) -> bool:
    """an aggregate over the rows that meet a condition, by CASE inside it or FILTER"""
    return any(conditional(node) is not None for select in selects(tree) for node in aggregates(select))


@concept("intermediate")
def group_concat(tree: exp.Expr) -> bool:
    """the texts of a group in one string, by GROUP_CONCAT or STRING_AGG"""
    return tree.find(exp.GroupConcat) is not None or any(
        node.find(exp.ArrayAgg) for node in tree.find_all(exp.ArrayToString)
    )


# --- joins -----------------------------------------------------------------------------------------------------------


def joined(tree: exp.Expr) -> Iterator[exp.Select]:
    return (select for select in selects(tree) if joins(select))


def tables_of(nodes: list[exp.Expr]) -> set[str]:
    """The names before the columns; several columns without one may be of several tables."""
    found = [column for node in nodes for column in columns(node)]
    bare = {f" {column.name}" for column in found if not column.table}
    return {column.table for column in found if column.table} | bare


@concept("intermediate")
def join_columns(tree: exp.Expr) -> bool:
    """columns of two joined tables side by side"""
    return any(len(tables_of(projections(select))) > 1 for select in joined(tree) if not select.args.get("group"))


@concept("intermediate")
def join_filter(tree: exp.Expr) -> bool:
    """rows of one table, chosen by a condition on a table joined to it"""
    return any(_filters_other(select) for select in joined(tree))


def _filters_other(select: exp.Select) -> bool:
    shown = tables_of(projections(select))
    conditions = [part for part in wheres(select) if not tests_null(part)]
    return any(tables_of([part]) and not tables_of([part]) <= shown for part in conditions) or any(
        name.startswith(" ") for name in tables_of(conditions)
    )


@concept("intermediate")
def join_two_hops(tree: exp.Expr) -> bool:
    """a join over three different tables"""
    return any(len(set(table_names(select))) > 2 for select in joined(tree))


@concept("intermediate")
def join_group(tree: exp.Expr) -> bool:
    """rows of one table summed up by an attribute of a table joined to it"""
    return any(_sums_across(select) for select in joined(tree))


def _sums_across(select: exp.Select) -> bool:
    keys = tables_of(group_keys(select))
    measured = [node for node in outputs(select) if columns(node)]
    counted = len(measured) < len(outputs(select))  # COUNT(*) counts rows of the join
    return bool(keys) and (counted or any(not tables_of([node]) <= keys for node in measured))


@concept("intermediate")
def join_group_rows(tree: exp.Expr) -> bool:
    """rows of one table summed up for each row of another, told apart by its key and not by its name alone"""
    return any(_keeps_rows_apart(select) for select in joined(tree))


def _keeps_rows_apart(select: exp.Select) -> bool:
    keys = [key for key in group_keys(select) if isinstance(key, exp.Column)]
    owners = [key.table for key in keys]
    several = any(owners.count(owner) > 1 for owner in owners)
    return bool(outputs(select)) and (several or any(key.name.lower().endswith(("id", "key", "code")) for key in keys))


@concept("intermediate")
def count_children(tree: exp.Expr) -> bool:
    """how many related rows each row has, those with none included: LEFT JOIN and a count of its right side"""
    return any(_counts_outer(select) for select in grouped(tree))


def _counts_outer(select: exp.Select) -> bool:
    right = outer_joined(select)
    counted = [column for count in outputs(select, exp.Count) for column in columns(count)]
    return bool(right) and any(belongs(column, right) for column in counted)


@concept("intermediate")
def left_join(tree: exp.Expr) -> bool:
    """a LEFT JOIN that keeps the rows without a match"""
    return any(_keeps_unmatched(select) for select in joined(tree))


def _keeps_unmatched(select: exp.Select) -> bool:
    """Whether no condition throws away the rows whose right side is NULL."""
    right = outer_joined(select)
    demanding = [part for part in wheres(select) if not part.find(exp.Coalesce, exp.Or) and not tests_null(part)]
    return bool(right) and not any(column.table in right for part in demanding for column in columns(part))


@concept("intermediate", may_be_empty=True)
def anti_join(tree: exp.Expr) -> bool:
    """rows without a match: a LEFT JOIN and a test for NULL on its right side"""
    return any(
        tests_null(part) and any(belongs(column, outer_joined(select)) for column in columns(part))
        for select in joined(tree)
        if outer_joined(select)
        for part in wheres(select)
    )


@concept("intermediate")
def self_join(tree: exp.Expr) -> bool:
    """a table joined with itself"""
    return any(len(set(table_names(select))) < len(table_names(select)) for select in joined(tree))


@concept("intermediate")
def non_equi_join(tree: exp.Expr) -> bool:
    """a join on a range or an inequality between columns of two tables"""
    conditions = (part for select in joined(tree) for join in joins(select) for part in flattened(clause(join, "on")))
    return any(_is_unequal(part) for part in conditions)


def _is_unequal(condition: exp.Expr) -> bool:
    if isinstance(condition, exp.Between):
        return len({column.table for column in columns(condition)}) > 1
    return isinstance(condition, (*INEQUALITIES, exp.NEQ)) and across(condition)


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
