"""Basic concepts: one table, plain conditions, plain expressions."""

from sqlglot import exp

from judges.sql_concepts.dates import has_date_part, is_date, is_date_part
from judges.sql_concepts.registry import concept
from judges.sql_concepts.trees import (
    ARITHMETIC,
    COMPARISONS,
    INEQUALITIES,
    VALUES,
    affirmed,
    against_constant,
    aggregates,
    clause,
    columns,
    filtered,
    is_constant,
    is_plain,
    joins,
    own,
    projections,
    selects,
    sides,
    wheres,
)

# --- output ----------------------------------------------------------------------------------------------------------


@concept("basic")
def select_columns(tree: exp.Expr) -> bool:
    """chosen columns of one table, by name"""
    return any(
        not joins(select) and select.expressions and all(isinstance(p, exp.Column) for p in projections(select))
        and not any(p.is_star for p in projections(select))
        for select in selects(tree)
    )  # fmt: skip


@concept("basic")
def column_alias(tree: exp.Expr) -> bool:
    """output columns renamed with AS"""
    return any(
        isinstance(output, exp.Alias) and isinstance(output.this, exp.Column) and output.alias != output.this.name
        for select in selects(tree)
        for output in select.expressions
    )


@concept("basic")
def distinct_values(tree: exp.Expr) -> bool:
    """repeated rows removed by SELECT DISTINCT"""
    return any(select.args.get("distinct") for select in selects(tree))


@concept("basic")
def arithmetic(tree: exp.Expr) -> bool:
    """arithmetic between two columns of a row"""
    operations = (node for select in selects(tree) for node in own(select, *ARITHMETIC))
    return any(all(is_plain(side) for side in sides(node)) for node in operations)


@concept("basic")
def round_numbers(tree: exp.Expr) -> bool:
    """numbers rounded with ROUND, FLOOR, CEIL or their like"""
    return tree.find(exp.Round, exp.Floor, exp.Ceil, exp.Trunc) is not None


@concept("basic")
def cast_type(tree: exp.Expr) -> bool:
    """a column converted to another type with CAST"""
    return any(columns(cast.this) for cast in tree.find_all(exp.Cast, exp.TryCast))


@concept("basic")
def text_case(tree: exp.Expr) -> bool:
    """text in upper or lower case, shown or compared"""
    return tree.find(exp.Upper, exp.Lower, exp.Initcap) is not None


@concept("basic")
def concat_text(tree: exp.Expr) -> bool:
    """text put together from columns with CONCAT or ||"""
    return any(is_plain(node) for node in tree.find_all(exp.DPipe, exp.Concat, exp.ConcatWs))


@concept("basic")
def date_extract(tree: exp.Expr) -> bool:
    """a part of a date, such as its year or month"""
    return any(is_date_part(node) and columns(node) for node in tree.walk())


@concept("basic")
def null_default(tree: exp.Expr) -> bool:
    """a value in place of NULL, by COALESCE or IFNULL"""
    return any(node.expressions for node in tree.find_all(exp.Coalesce))


# --- conditions ------------------------------------------------------------------------------------------------------


@concept("basic")
def filter_equal(tree: exp.Expr) -> bool:
    """a filter for one exact value"""
    found = (node for select in filtered(tree) for node in affirmed(select, exp.EQ))
    return any(isinstance(against_constant(node), exp.Literal | exp.Neg | exp.Cast | exp.Date) for node in found)


@concept("basic")
def filter_not_equal(tree: exp.Expr) -> bool:
    """a filter that leaves one value out, by <>"""
    return any(
        against_constant(node) is not None for select in filtered(tree) for node in affirmed(select, exp.NEQ)
    )  # fmt: skip


@concept("basic")
def filter_flag(tree: exp.Expr) -> bool:
    """a filter by a column of truth values"""
    return any(_is_flag(part) for select in filtered(tree) for part in _alternatives(clause(select, "where")))


def _alternatives(where: exp.Expr | None) -> list[exp.Expr]:
    """The parts of a condition that AND and OR connect."""
    if not isinstance(where, exp.Where):
        return []
    parts = [where.this]
    while any(isinstance(part, exp.Connector | exp.Paren) for part in parts):
        parts = [
            inner
            for part in parts
            for inner in ([part.left, part.right] if isinstance(part, exp.Connector) else [part.unnest()])
        ]
    return parts


def _is_flag(condition: exp.Expr) -> bool:
    if isinstance(condition, exp.Not):
        condition = condition.this.unnest()
    if isinstance(condition, exp.Column):
        return True
    if not isinstance(condition, exp.EQ | exp.NEQ | exp.Is) or not isinstance(condition.this, exp.Column):
        return False
    value = condition.expression
    return isinstance(value, exp.Boolean) or (isinstance(value, exp.Literal) and value.name in ("0", "1"))


@concept("basic")
def filter_compare(tree: exp.Expr) -> bool:
    """a filter by a numeric threshold"""
    found = (against_constant(node) for select in filtered(tree) for node in affirmed(select, *INEQUALITIES))
    return any(constant is not None and _is_number(constant) for constant in found)


def _is_number(constant: exp.Expr) -> bool:
    literals = list(constant.find_all(exp.Literal))
    return bool(literals) and not any(literal.is_string for literal in literals)


@concept("basic")
def filter_between(tree: exp.Expr) -> bool:
    """a range given by BETWEEN"""
    return any(True for select in filtered(tree) for _ in affirmed(select, exp.Between))


@concept("basic")
def filter_in(tree: exp.Expr) -> bool:
    """a list of values with IN or NOT IN"""
    found = (node for select in filtered(tree) for node in own(clause(select, "where"), exp.In))
    return any(len(node.expressions) > 1 and all(is_constant(e) for e in node.expressions) for node in found)


@concept("basic")
def filter_like(tree: exp.Expr) -> bool:
    """a text pattern with LIKE or NOT LIKE and wildcards"""
    found = (node for select in filtered(tree) for node in own(clause(select, "where"), exp.Like, exp.ILike))
    return any(isinstance(node.expression, exp.Literal) and set(node.expression.name) & set("%_") for node in found)


@concept("basic")
def filter_null(tree: exp.Expr) -> bool:
    """a test for missing values with IS NULL or IS NOT NULL"""
    tests = (node for select in filtered(tree) for node in own(clause(select, "where"), exp.Is))
    return any(isinstance(node.expression, exp.Null) for node in tests)


@concept("basic")
def filter_date(tree: exp.Expr) -> bool:
    """a filter by a date or a period"""
    return any(_compares_date(node) for select in filtered(tree) for node in own(clause(select, "where"), *_COMPARING))


_COMPARING = (*COMPARISONS, exp.Between, exp.In)


def _compares_date(node: exp.Expr) -> bool:
    if not is_plain(node.this):
        return False
    if isinstance(node, exp.Between):
        values = [node.args["low"], node.args["high"]]
    else:
        values = node.expressions if isinstance(node, exp.In) else [node.expression]
    if not values or not all(is_constant(value) for value in values):
        return False
    return has_date_part(node.this) or all(is_date(value) for value in values)


@concept("basic")
def filter_and(tree: exp.Expr) -> bool:
    """several conditions that must hold together"""
    return any(len(wheres(select)) > 1 for select in filtered(tree))


@concept("basic")
def filter_or(tree: exp.Expr) -> bool:
    """alternatives with OR"""
    return any(True for select in filtered(tree) for _ in own(clause(select, "where"), exp.Or))


@concept("basic")
def filter_not(tree: exp.Expr) -> bool:
    """a turned-round condition: NOT IN, NOT LIKE, NOT BETWEEN or NOT over brackets"""
    negations = (node for select in filtered(tree) for node in own(clause(select, "where"), *_NEGATIONS))
    return any(node.args.get("negate") or _turns_round(node) for node in negations)


_NEGATIONS = (exp.Not, exp.Like, exp.ILike, exp.In, exp.Between)


def _turns_round(node: exp.Expr) -> bool:
    return isinstance(node, exp.Not) and isinstance(node.this.unnest(), (*_NEGATIONS, exp.Connector))


# --- order and counts ------------------------------------------------------------------------------------------------


@concept("basic")
def order_limit(tree: exp.Expr) -> bool:
    """the first rows of an order, by ORDER BY and LIMIT"""
    return any(query.args.get("order") and query.args.get("limit") for query in tree.find_all(exp.Query))


@concept("basic")
def order_two(tree: exp.Expr) -> bool:
    """an order by two columns in different directions"""
    orders = (order for query in tree.find_all(exp.Query) if (order := clause(query, "order")))
    return any(len({bool(key.args.get("desc")) for key in order.expressions}) == 2 for order in orders)


@concept("basic")
def skip_rows(tree: exp.Expr) -> bool:
    """a later page of an ordered list, by LIMIT and OFFSET"""
    return any(query.args.get("order") and query.args.get("offset") for query in tree.find_all(exp.Query))


@concept("basic")
def count_rows(tree: exp.Expr) -> bool:
    """the number of rows in all"""
    found = (
        c for s in selects(tree) if not s.args.get("group") for p in projections(s) for c in aggregates(p, exp.Count)
    )
    return any(isinstance(count.this, exp.Star | exp.Literal) for count in found)


@concept("basic")
def aggregate_value(tree: exp.Expr) -> bool:
    """one total, average, smallest or largest value over all rows"""
    ungrouped = (select for select in selects(tree) if not select.args.get("group"))
    return any(aggregates(projection, *VALUES) for select in ungrouped for projection in projections(select))


@concept("basic")
def count_distinct(tree: exp.Expr) -> bool:
    """the number of different values, by COUNT(DISTINCT ...)"""
    return any(isinstance(count.this, exp.Distinct) for count in tree.find_all(exp.Count))
