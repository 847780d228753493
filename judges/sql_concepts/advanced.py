"""Advanced concepts: windows, recursion, sets of sets, JSON and places."""

from collections.abc import Iterator
from itertools import combinations

from sqlglot import exp

from judges.sql_concepts.intermediate import grouped
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
    conditional,
    conditions,
    function_name,
    function_of,
    group_keys,
    is_constant,
    is_correlated,
    is_date,
    is_date_shift,
    joins,
    named,
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
    window_part,
    windows,
)

# --- windows ---------------------------------------------------------------------------------------------------------


def names_of(tree: exp.Expr, *kinds: type[exp.Expr]) -> set[str]:
    """The output names behind which stands a window call of these functions and nothing else."""
    return {name for name, e, _ in named(tree) if isinstance(e, exp.Window) and isinstance(function_of(e), kinds)}


def filters_on(tree: exp.Expr, names: set[str]) -> Iterator[exp.Expr]:
    """Comparisons in WHERE between one of these output columns and a constant."""
    for select in selects(tree):
        for node in own(clause(select, "where"), *COMPARISONS, exp.Between, exp.In):
            if isinstance(node.this, exp.Column) and node.this.name.lower() in names:
                yield node


def numbered_groups(tree: exp.Expr) -> set[str]:
    """The output names of numberings that begin anew in each partition."""
    calls = ((name, e) for name, e, _ in named(tree) if isinstance(e, exp.Window))
    return {
        name
        for name, call in calls
        if isinstance(function_of(call), NUMBERINGS) and window_part(call, "partition_by")
    }  # fmt: skip


@concept("advanced")
def rank_rows(tree: exp.Expr) -> bool:
    """a rank or number for each row, by RANK, DENSE_RANK or ROW_NUMBER"""
    return bool(windows(tree, *NUMBERINGS))


@concept("advanced")
def top_per_group(tree: exp.Expr) -> bool:
    """the first few rows of each group, by a numbering with PARTITION BY and a filter on it"""
    if any(True for _ in filters_on(tree, numbered_groups(tree))):
        return True
    beside = (lateral.this.unnest() for lateral in tree.find_all(exp.Lateral))
    return any(query.args.get("limit") and query.args.get("order") and is_correlated(query) for query in beside)


@concept("advanced")
def latest_per_group(tree: exp.Expr) -> bool:
    """the one latest row of each group"""
    first = (node for node in filters_on(tree, numbered_groups(tree)) if isinstance(node, exp.EQ))
    if any(isinstance(node.expression, exp.Literal) and node.expression.name == "1" for node in first):
        return True
    if any(isinstance(d, exp.Distinct) and d.args.get("on") for s in selects(tree) if (d := s.args.get("distinct"))):
        return True
    latest = {name for name, e, select in named(tree) if isinstance(e, exp.Max) and group_keys(select)}
    return any(_is_latest(node, latest) for select in selects(tree) for node in conditions(select))


def _is_latest(node: exp.Expr, latest: set[str]) -> bool:
    """It equals the MAX of its group, which a correlated subquery or a join with the groups finds."""
    if not isinstance(node, exp.EQ):
        return False
    queries = [side for side in sides(node) if isinstance(side, exp.Query)]
    joined = all(isinstance(side, exp.Column) for side in sides(node))
    return any(query.find(exp.Max) and is_correlated(query) for query in queries) or (
        joined and any(side.name.lower() in latest for side in sides(node))
    )


@concept("advanced")
def running_total(tree: exp.Expr) -> bool:
    """a running total or count: SUM or COUNT over everything up to the row"""
    return any(_runs(window) for window in windows(tree, exp.Sum, exp.Count))


def _runs(window: exp.Window) -> bool:
    spec = window_part(window, "spec")
    if not isinstance(spec, exp.Expr):
        return bool(window_part(window, "order"))
    begins, ends = spec.args.get("start"), spec.args.get("end")
    return bool(window_part(window, "order")) and begins == "UNBOUNDED" and ends in (None, "CURRENT ROW")


@concept("advanced")
def moving_average(tree: exp.Expr) -> bool:
    """a moving average over a frame of a few rows"""
    frames = (window_part(window, "spec") for window in windows(tree, exp.Avg))
    return any(isinstance(spec, exp.Expr) and isinstance(spec.args.get("start"), exp.Expr) for spec in frames)


@concept("advanced")
def change_to_previous(tree: exp.Expr) -> bool:
    """the difference to the previous or next row, by LAG or LEAD"""
    shifted = names_of(tree, exp.Lag, exp.Lead)
    return any(_looks_back(side, shifted) for node in tree.find_all(exp.Sub, exp.DateDiff) for side in sides(node))


def _looks_back(node: exp.Expr, shifted: set[str]) -> bool:
    called = any(
        isinstance(function_of(window), exp.Lag | exp.Lead)
        for window in own(node, exp.Window)
        if isinstance(window, exp.Window)
    )
    return called or any(column.name.lower() in shifted for column in columns(node))


@concept("advanced")
def period_growth(tree: exp.Expr) -> bool:
    """growth in per cent from one period to the next"""
    shifted = names_of(tree, exp.Lag, exp.Lead)
    return any(_looks_back(side, shifted) for node in tree.find_all(exp.Div) for side in sides(node))


@concept("advanced")
def share_of_total(tree: exp.Expr) -> bool:
    """the share that a row or group has in the total"""
    totals = {name for name, e, select in named(tree) if _is_total(e) and not group_keys(select)}
    return any(_divides_by(node.expression, totals) for node in tree.find_all(exp.Div))


def _is_total(node: exp.Expr) -> bool:
    plain = function_of(node) if isinstance(node, exp.Window) else node
    return isinstance(plain, exp.Sum | exp.Count)


def _divides_by(divisor: exp.Expr, totals: set[str]) -> bool:
    if any(
        _is_total(window) and not window_part(window, "order")
        for window in own(divisor, exp.Window)
        if isinstance(window, exp.Window)
    ):
        return True
    inner = divisor.find(exp.Subquery)
    if inner is not None and inner.find(exp.Sum, exp.Count):
        return True
    return any(column.name.lower() in totals for column in columns(divisor))


@concept("advanced")
def deviation_from_average(tree: exp.Expr) -> bool:
    """how far each row lies from the average of all or of its group"""
    averages = names_of(tree, exp.Avg) | {n for n, e, _ in named(tree) if isinstance(e, exp.Avg)}
    return any(_is_average(node.expression, averages) for node in tree.find_all(exp.Sub))


def _is_average(node: exp.Expr, averages: set[str]) -> bool:
    plain = node.unnest()
    if isinstance(plain, exp.Window):
        return isinstance(function_of(plain), exp.Avg)
    if isinstance(plain, exp.Query):
        return plain.find(exp.Avg) is not None
    return any(column.name.lower() in averages for column in columns(plain)) or any(
        isinstance(function_of(w), exp.Avg) for w in own(plain, exp.Window) if isinstance(w, exp.Window)
    )


@concept("advanced")
def quantile_groups(tree: exp.Expr) -> bool:
    """quarters, tenths or percentile ranks, by NTILE, PERCENT_RANK or CUME_DIST"""
    return bool(windows(tree, exp.Ntile, exp.PercentRank, exp.CumeDist))


@concept("advanced")
def first_last_value(tree: exp.Expr) -> bool:
    """the first or last value of a partition beside each row: FIRST_VALUE, or LAST_VALUE with a frame to the end"""
    if any(window_part(window, "order") for window in windows(tree, exp.FirstValue)):
        return True
    specs = (window_part(window, "spec") for window in windows(tree, exp.LastValue, exp.NthValue))
    return any(isinstance(spec, exp.Expr) and spec.args.get("end") == "UNBOUNDED" for spec in specs)


@concept("advanced")
def median_value(tree: exp.Expr) -> bool:
    """the median: PERCENTILE_CONT, or the middle rows of a numbering"""
    if tree.find(exp.PercentileCont, exp.PercentileDisc, exp.Median) is not None:
        return True
    numbers, counts = names_of(tree, exp.RowNumber), _counts(tree)
    for select in selects(tree):
        for node in own(clause(select, "where"), *COMPARISONS, exp.Between, exp.In):
            halves = any(half.expression.name in ("2", "2.0") for half in node.find_all(exp.Div, exp.IntDiv, exp.Mul))
            seen = {column.name.lower() for column in node.find_all(exp.Column)}
            if halves and seen & numbers and (seen & counts or node.find(exp.Count)):
                return True
    offsets = (offset for query in tree.find_all(exp.Query) if (offset := clause(query, "offset")))
    return any(offset.find(exp.Count) and offset.find(exp.Div, exp.IntDiv) for offset in offsets)


def _counts(tree: exp.Expr) -> set[str]:
    return {name for name, e, _ in named(tree) if e.find(exp.Count)} | names_of(tree, exp.RowNumber)


@concept("advanced")
def gaps_and_islands(tree: exp.Expr) -> bool:
    """streaks of consecutive rows, such as days, by a numbering that is taken off or a running sum of breaks"""
    islands = {name for name, e, _ in named(tree) if _marks_island(e, tree)}
    keys = [key for select in grouped(tree) for key in group_keys(select)]
    return any(_marks_island(key, tree) or {c.name.lower() for c in columns(key)} & islands for key in keys)


def _marks_island(node: exp.Expr, tree: exp.Expr) -> bool:
    """A value minus its number, or a running sum of the places where a run begins."""
    if isinstance(node, exp.Window):
        runs = isinstance(function_of(node), exp.Sum | exp.Count) and window_part(node, "order") is not None
        return runs and bool(windows(tree, exp.Lag, exp.Lead))
    numbers = names_of(tree, *NUMBERINGS)
    numbered = bool(windows(node, *NUMBERINGS)) or any(column.name.lower() in numbers for column in columns(node))
    return (
        numbered
        and not isinstance(node, exp.Column)
        and (
            node.find(exp.Sub, exp.DateSub, exp.Interval) is not None
            or any(is_date_shift(part) for part in node.walk())
        )
    )


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
    named_average = any(column.name.lower() in averages for side in sides(part) for column in columns(side))
    return named_average and not _constant_side(part)


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
    means = [node for node in tree.find_all(exp.Avg) if {c.name.lower() for c in columns(node)} & totals]
    nested = [w for w in windows(tree, exp.Avg) if function_of(w).find(exp.Sum, exp.Count, exp.Max, exp.Min)]
    if not means and not nested:
        return False
    compared = (
        node for s in selects(tree) for name in ("where", "having") for node in own(clause(s, name), *INEQUALITIES)
    )
    return any(_has_total(node, totals) and not _constant_side(node) for node in compared)


def _has_total(node: exp.Expr, totals: set[str]) -> bool:
    return any({c.name.lower() for c in columns(side)} & totals or aggregates(side) for side in sides(node))


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
        keyed = {c.name.lower() for c in columns(order)} & group_values(tree)
        return bool(aggregates(order)) or bool(keyed) or bool(order.find(exp.Literal))
    totals = group_values(tree)
    extreme = (n for n in own(clause(select, "where"), exp.EQ) if n.find(exp.Max, exp.Min) and n.find(exp.Query))
    if any({c.name.lower() for side in sides(n) for c in columns(side)} & totals for n in extreme):
        return True
    ranked = {name for name, e, s in named(tree) if isinstance(e, exp.Window) and group_keys(s)} & names_of(
        tree, *NUMBERINGS
    )
    return any(True for _ in filters_on(select, ranked))


@concept("advanced")
def cohort_by_first(tree: exp.Expr) -> bool:
    """groups formed by each one's first date, such as customers by the month of their first purchase"""
    first = {n for n, e, s in named(tree) if e.find(exp.Min) and (group_keys(s) or e.find(exp.Window))}
    first |= {name for name, e, _ in named(tree) if {c.name.lower() for c in columns(e)} & first}
    return any({c.name.lower() for c in columns(key)} & first for s in grouped(tree) for key in group_keys(s))


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
