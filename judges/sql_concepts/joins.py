"""Intermediate concepts: groups and joins."""

from collections.abc import Iterator

from sqlglot import exp

from judges.sql_concepts.dates import has_date_part
from judges.sql_concepts.registry import concept
from judges.sql_concepts.trees import (
    INEQUALITIES,
    VALUES,
    across,
    aggregates,
    belongs,
    clause,
    columns,
    conditional,
    flattened,
    group_keys,
    joins,
    outer_joined,
    projections,
    selects,
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
