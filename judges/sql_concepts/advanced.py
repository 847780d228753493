"""Advanced concepts: aggregates of aggregates, sets of rows, recursion, JSON and places."""

from itertools import combinations

from sqlglot import exp

from judges.sql_concepts.dates import is_date, is_date_shift
from judges.sql_concepts.joins import grouped
from judges.sql_concepts.registry import concept
from judges.sql_concepts.trees import (
    COMPARISONS,
    INEQUALITIES,
    NUMBERINGS,
    VALUES,
    across,
    aggregates,
    clause,
    columns,
    common_tables,
    comparisons,
    conditional,
    conditions,
    function_name,
    function_of,
    group_keys,
    is_constant,
    is_correlated,
    joins,
    named,
    names_in,
    negated,
    own,
    projections,
    reads,
    recursive,
    selects,
    sides,
    sources,
    steps,
    table_names,
    windows,
)
from judges.sql_concepts.windows import filters_on, names_of

# --- aggregates of aggregates ----------------------------------------------------------------------------------------


def group_values(tree: exp.Expr) -> set[str]:
    """The output names of aggregates over groups."""
    return {name for name, e, select in named(tree) if group_keys(select) and aggregates(e)}


@concept("advanced")
def above_group_average(tree: exp.Expr) -> bool:
    """rows above or below the average of their own group"""
    averages = names_of(tree, exp.Avg) | {n for n, e, s in named(tree) if isinstance(e, exp.Avg) and group_keys(s)}
    compared = (part for select in selects(tree) for part in conditions(select) if isinstance(part, INEQUALITIES))
    return any(_against_own_average(part, averages) for part in compared)


def _against_own_average(part: exp.Expr, averages: set[str]) -> bool:
    queries = (query for side in sides(part) for query in own(side, exp.Query))
    if any(query.find(exp.Avg) and is_correlated(query) for query in queries):
        return True
    return bool(names_in(part) & averages) and not _constant_side(part)


def _constant_side(node: exp.Expr) -> bool:
    return any(is_constant(side) for side in sides(node))


@concept("advanced")
def average_of_totals(tree: exp.Expr) -> bool:
    """an aggregate of the groups' aggregates, such as the average of totals"""
    totals = group_values(tree)
    return any(
        column.name.lower() in totals
        for select in selects(tree)
        for node in aggregates(select, *VALUES)
        for column in columns(node)
    )


@concept("advanced")
def groups_beyond_mean(tree: exp.Expr) -> bool:
    """groups whose total lies above or below the mean of the groups' totals"""
    totals = group_values(tree)
    means = [node for node in tree.find_all(exp.Avg) if names_in(node) & totals]
    nested = [w for w in windows(tree, exp.Avg) if function_of(w).find(exp.Sum, exp.Count, exp.Max, exp.Min)]
    if not means and not nested:
        return False
    compared = (node for name in ("where", "having") for node in comparisons(tree, *INEQUALITIES, within=name))
    return any((names_in(node) & totals or aggregates(node)) and not _constant_side(node) for node in compared)


@concept("advanced")
def rows_of_top_group(tree: exp.Expr) -> bool:
    """the rows of the group that leads by some aggregate"""
    top = any(_is_top(select, tree) for select in selects(tree))
    outer = tree.find(exp.Select)
    single = outer is not None and not group_keys(outer) and not any(aggregates(p) for p in projections(outer))
    return top and single


def _is_top(select: exp.Select, tree: exp.Expr) -> bool:
    """Whether only the group with the largest (or smallest) aggregate is left."""
    order = clause(select, "order")
    if group_keys(select) and order is not None and select.args.get("limit"):
        keyed = names_in(order) & group_values(tree)
        return bool(aggregates(order)) or bool(keyed) or bool(order.find(exp.Literal))
    totals = group_values(tree)
    extreme = (n for n in own(clause(select, "where"), exp.EQ) if n.find(exp.Max, exp.Min) and n.find(exp.Query))
    if any(names_in(n) & totals for n in extreme):
        return True
    ranked = {name for name, e, s in named(tree) if isinstance(e, exp.Window) and group_keys(s)}
    return any(True for _ in filters_on(select, ranked & names_of(tree, *NUMBERINGS)))


@concept("advanced")
def cohort_by_first(tree: exp.Expr) -> bool:
    """groups formed by each one's first date, such as customers by the month of their first purchase"""
    first = {n for n, e, s in named(tree) if e.find(exp.Min) and (group_keys(s) or e.find(exp.Window))}
    first |= {name for name, e, _ in named(tree) if names_in(e) & first}
    return any(names_in(key) & first for s in grouped(tree) for key in group_keys(s))


@concept("advanced")
def pivot_columns(tree: exp.Expr) -> bool:
    """values turned into columns, by one conditional aggregate for each"""
    return any(_pivots(select) for select in grouped(tree))


def _pivots(select: exp.Select) -> bool:
    tested: dict[str, set[str]] = {}
    for node in (node for projection in projections(select) for node in aggregates(projection)):
        condition = conditional(node)
        if condition is not None and isinstance(condition.this, exp.Expr):
            tested.setdefault(condition.this.sql(), set()).add(condition.sql())
    return any(len(different) > 1 for different in tested.values())


@concept("advanced")
def unpivot_rows(tree: exp.Expr) -> bool:
    """columns turned into rows, each with the name of its column"""
    if any(isinstance(source.unnest(), exp.Values) for s in selects(tree) for source in sources(s)[1:]) or any(
        lateral.find(exp.Values) for lateral in tree.find_all(exp.Lateral)
    ):
        return True
    return any(_stacks_one_table(union) for union in tree.find_all(exp.Union))


def _stacks_one_table(union: exp.Expr) -> bool:
    """Both sides read the same table and say with a constant which column they took."""
    parts = [part for part in (union.this, union.expression) if isinstance(part, exp.Select)]
    labels = [{p.name for p in projections(part) if isinstance(p, exp.Literal)} for part in parts]
    same = len(parts) == 2 and table_names(parts[0]) == table_names(parts[1]) != []
    read = [[p.sql() for p in projections(part) if isinstance(p, exp.Column)] for part in parts]
    return same and all(labels) and labels[0] != labels[1] and read[0] != read[1]


@concept("advanced", dialects=("postgres", "mysql"))
def group_rollup(tree: exp.Expr) -> bool:
    """subtotals and a grand total, by ROLLUP, CUBE or GROUPING SETS"""
    groups = (clause(select, "group") for select in selects(tree))
    return any(group is not None and group.find(exp.Rollup, exp.Cube, exp.GroupingSets) for group in groups)


# --- sets of rows ----------------------------------------------------------------------------------------------------


@concept("advanced")
def relational_division(tree: exp.Expr) -> bool:
    """those that match all of a set: as many different matches as the set has, or none of it that is missing"""
    having = (clause(select, "having") for select in grouped(tree))
    if any(_counts_all(part) for condition in having if condition for part in condition.find_all(exp.EQ)):
        return True
    missing = (exists for exists in tree.find_all(exp.Exists) if negated(exists))
    return any(any(negated(e) for e in m.this.find_all(exp.Exists)) or m.find(exp.Except) for m in missing)


def _counts_all(node: exp.Expr) -> bool:
    """COUNT(...) = the size of the set, which a subquery counts or a list of the same query shows."""
    counts, sizes = sides(node) if aggregates(node.this, exp.Count) else sides(node)[::-1]
    if not aggregates(counts, exp.Count):
        return False
    if isinstance(sizes, exp.Query):
        return sizes.find(exp.Count) is not None
    where = clause(select, "where") if (select := node.find_ancestor(exp.Select)) else None
    return where is not None and any(str(len(set_.expressions)) == sizes.name for set_ in where.find_all(exp.In))


@concept("advanced")
def pair_occurrence(tree: exp.Expr) -> bool:
    """pairs of rows that occur together, each pair once"""
    return any(_pairs(select) for select in selects(tree) if len(set(table_names(select))) < len(table_names(select)))


def _pairs(select: exp.Select) -> bool:
    """One column of both sides is equal, another is smaller on one side."""
    parts = [part for part in conditions(select) if isinstance(part, COMPARISONS) and across(part)]
    ordered = [p for p in parts if isinstance(p, exp.LT | exp.GT) and p.this.name == p.expression.name]
    matched = [p for p in parts if isinstance(p, exp.EQ)]
    return bool(ordered) and (bool(matched) or any(join.args.get("using") for join in joins(select)))


@concept("advanced")
def overlapping_intervals(tree: exp.Expr) -> bool:
    """pairs of rows whose periods overlap: each begins before the other ends"""
    return tree.find(exp.Overlaps) is not None or any(_overlap(select) for select in selects(tree))


def _overlap(select: exp.Select) -> bool:
    earlier = []
    for part in conditions(select):
        if isinstance(part, INEQUALITIES) and across(part):
            left, right = (columns(side)[0] for side in sides(part))
            earlier.append((left, right) if isinstance(part, exp.LT | exp.LTE) else (right, left))
    return any(
        a.table == d.table and b.table == c.table and a.name != b.name and c.name != d.name
        for (a, b), (c, d) in combinations(earlier, 2)
    )


@concept("advanced")
def recent_rows(tree: exp.Expr) -> bool:
    """rows of the last days, weeks or months up to the newest date in the data"""
    newest = {name for name, e, _ in named(tree) if e.find(exp.Max)}
    moved = (node for node in tree.walk() if is_date_shift(node) or _is_span(node))
    return any(node.find(exp.Max) or {c.name.lower() for c in node.find_all(exp.Column)} & newest for node in moved)


def _is_span(node: exp.Expr) -> bool:
    """Days taken off a date, or the days between two."""
    return isinstance(node, exp.Sub | exp.DateDiff) and any(is_date(part) for part in node.walk())


@concept("advanced")
def chained_ctes(tree: exp.Expr) -> bool:
    """several common table expressions, one built on another"""
    tables = common_tables(tree)
    return any(one is not other and reads(one.this, other.alias) for one in tables for other in tables)


@concept("advanced")
def recursive_hierarchy(tree: exp.Expr) -> bool:
    """a recursive common table expression that climbs a hierarchy stored in a table"""
    return any(len(set(table_names(step))) > 1 for table in recursive(tree) for step in steps(table))


@concept("advanced")
def recursive_series(tree: exp.Expr) -> bool:
    """a series of numbers or dates made by the query itself: a recursive common table expression, or generate_series"""
    if tree.find(exp.GenerateSeries, exp.ExplodingGenerateSeries, exp.GenerateDateArray) is not None:
        return True
    return any(len(sources(step)) == 1 for table in recursive(tree) for step in steps(table))


# --- JSON and places -------------------------------------------------------------------------------------------------

_JSON_VALUES = (
    exp.JSONExtract, exp.JSONExtractScalar, exp.JSONBExtract, exp.JSONBExtractScalar, exp.JSONValue,
)  # fmt: skip
_JSON_PATHS = {"json_query", "jsonb_path_query", "jsonb_path_query_first", "jsonb_extract_path_text"}
_JSON_ROWS = {
    "json_each", "json_tree", "json_array_elements", "json_array_elements_text", "jsonb_array_elements",
    "jsonb_array_elements_text", "jsonb_each", "jsonb_each_text", "json_each_text", "json_to_recordset",
    "jsonb_to_recordset", "jsonb_path_query",
}  # fmt: skip
_DISTANCES = {"st_distance_sphere", "st_distance", "haversine"}
_CONTAINMENTS = {"st_contains", "st_within", "mbrcontains", "mbrwithin", "st_intersects", "st_covers"}
_AREAS = {"polygon", "box", "circle", "path"}


@concept("advanced")
def json_extract(tree: exp.Expr) -> bool:
    """a value read from a JSON document"""
    return tree.find(*_JSON_VALUES) is not None or any(function_name(node) in _JSON_PATHS for node in tree.walk())


@concept("advanced")
def json_each(tree: exp.Expr) -> bool:
    """the elements of a JSON array as rows"""
    return tree.find(exp.JSONTable) is not None or any(
        function_name(node) in _JSON_ROWS for node in tree.find_all(exp.Anonymous)
    )


@concept("advanced")
def geo_distance(tree: exp.Expr) -> bool:
    """the distance between two places, from latitude and longitude"""
    if any(function_name(node) in _DISTANCES for node in tree.walk()) or tree.find(exp.Distance, exp.StDistance):
        return True
    arcs = tree.find_all(exp.Acos, exp.Asin, exp.Atan2)
    return any(arc.find(exp.Sin, exp.Cos) and arc.find(exp.Column) for arc in arcs)


@concept("advanced", dialects=("postgres", "mysql"))
def geo_within(tree: exp.Expr) -> bool:
    """places within an area, by the engine's own geometry"""
    if any(function_name(node) in _CONTAINMENTS for node in tree.walk()):
        return True
    return any(_names_area(node) for node in tree.find_all(exp.ArrayContainsAll, exp.ArrayContainedBy))


def _names_area(node: exp.Expr) -> bool:
    casts = {cast.to.sql("postgres").lower() for cast in node.find_all(exp.Cast)}
    return bool(casts & _AREAS) or any(function_name(part) in _AREAS for part in node.walk())
