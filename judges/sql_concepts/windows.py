"""Advanced concepts of window functions: ranks, running values, comparisons between rows."""

from collections.abc import Iterator

from sqlglot import exp

from judges.sql_concepts.dates import is_date_shift
from judges.sql_concepts.joins import grouped
from judges.sql_concepts.registry import concept
from judges.sql_concepts.trees import (
    COMPARISONS,
    NUMBERINGS,
    clause,
    comparisons,
    conditions,
    function_of,
    group_keys,
    is_correlated,
    named,
    names_in,
    own_windows,
    selects,
    sides,
    window_part,
    windows,
)


def names_of(tree: exp.Expr, *kinds: type[exp.Expr]) -> set[str]:
    """The output names behind which stands a window call of these functions and nothing else."""
    return {name for name, e, _ in named(tree) if isinstance(e, exp.Window) and isinstance(function_of(e), kinds)}


def filters_on(tree: exp.Expr, names: set[str]) -> Iterator[exp.Expr]:
    """Comparisons in WHERE between one of these output columns and a constant."""
    for node in comparisons(tree, *COMPARISONS, exp.Between, exp.In):
        if isinstance(node.this, exp.Column) and node.this.name.lower() in names:
            yield node


def numbered_groups(tree: exp.Expr) -> set[str]:
    """The output names of numberings that begin anew in each partition."""
    calls = ((name, e) for name, e, _ in named(tree) if isinstance(e, exp.Window))
    return {n for n, c in calls if isinstance(function_of(c), NUMBERINGS) and window_part(c, "partition_by")}


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
    return bool(own_windows(node, exp.Lag, exp.Lead)) or bool(names_in(node) & shifted)


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
    if any(not window_part(window, "order") for window in own_windows(divisor, exp.Sum, exp.Count)):
        return True
    inner = divisor.find(exp.Subquery)
    return (inner is not None and inner.find(exp.Sum, exp.Count) is not None) or bool(names_in(divisor) & totals)


@concept("advanced")
def deviation_from_average(tree: exp.Expr) -> bool:
    """how far each row lies from the average of all or of its group"""
    averages = names_of(tree, exp.Avg) | {n for n, e, _ in named(tree) if isinstance(e, exp.Avg)}
    return any(_is_average(node.expression, averages) for node in tree.find_all(exp.Sub))


def _is_average(node: exp.Expr, averages: set[str]) -> bool:
    plain = node.unnest()
    if isinstance(plain, exp.Query):
        return plain.find(exp.Avg) is not None
    return bool(own_windows(plain, exp.Avg)) or bool(names_in(plain) & averages)


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
    numbers = names_of(tree, exp.RowNumber)
    counts = {name for name, e, _ in named(tree) if e.find(exp.Count)} | numbers
    if any(_is_middle(node, numbers, counts) for node in comparisons(tree, *COMPARISONS, exp.Between, exp.In)):
        return True
    offsets = (offset for query in tree.find_all(exp.Query) if (offset := clause(query, "offset")))
    return any(offset.find(exp.Count) and offset.find(exp.Div, exp.IntDiv) for offset in offsets)


def _is_middle(node: exp.Expr, numbers: set[str], counts: set[str]) -> bool:
    """A row's number is compared with half of the count, or its double with the whole."""
    halves = any(half.expression.name in ("2", "2.0") for half in node.find_all(exp.Div, exp.IntDiv, exp.Mul))
    seen = {column.name.lower() for column in node.find_all(exp.Column)}
    return halves and bool(seen & numbers) and (bool(seen & counts) or node.find(exp.Count) is not None)


@concept("advanced")
def gaps_and_islands(tree: exp.Expr) -> bool:
    """streaks of consecutive rows, such as days, by a numbering that is taken off or a running sum of breaks"""
    numbers, breaks = names_of(tree, *NUMBERINGS), bool(windows(tree, exp.Lag, exp.Lead))
    islands = {name for name, e, _ in named(tree) if _marks_island(e, numbers, breaks)}
    keys = [key for select in grouped(tree) for key in group_keys(select)]
    return any(_marks_island(key, numbers, breaks) or names_in(key) & islands for key in keys)


def _marks_island(node: exp.Expr, numbers: set[str], breaks: bool) -> bool:
    """A value minus its number, or a running sum of the places where a run begins."""
    if isinstance(node, exp.Window):
        return breaks and isinstance(function_of(node), exp.Sum | exp.Count) and bool(window_part(node, "order"))
    numbered = bool(own_windows(node, *NUMBERINGS)) or bool(names_in(node) & numbers)
    taken_off = node.find(exp.Sub, exp.DateSub, exp.Interval) is not None or any(map(is_date_shift, node.walk()))
    return numbered and taken_off and not isinstance(node, exp.Column)
