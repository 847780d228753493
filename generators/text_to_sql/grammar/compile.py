"""From a plan to SQL: a sqlglot tree of one dialect, with CTEs, windows or a set operation where it needs them."""

from sqlglot import exp

from generators.text_to_sql.grammar import sql
from generators.text_to_sql.grammar.catalog import Catalog
from generators.text_to_sql.grammar.idioms import IDIOMS
from generators.text_to_sql.grammar.plan import (
    BeyondCount,
    Change,
    Growth,
    Having,
    HavingMean,
    Median,
    Nested,
    OverTime,
    Plan,
    TextList,
)
from generators.text_to_sql.grammar.shapes import SHAPES
from generators.text_to_sql.grammar.sql import to_sql
from generators.text_to_sql.grammar.steps import Steps
from generators.text_to_sql.schema import Dialect

__all__ = ["compile_plan", "to_sql"]

_COMBINED: dict[str, type[exp.SetOperation]] = {"union": exp.Union, "intersect": exp.Intersect, "except": exp.Except}


def compile_plan(plan: Plan, catalog: Catalog, dialect: Dialect = "sqlite") -> exp.Query:
    """The plan as one query of the dialect."""
    steps = Steps(plan, catalog, IDIOMS[dialect])
    if plan.shape != "rows":
        return SHAPES[plan.shape](steps)
    ast = _one_select(steps)
    if plan.union:
        other = Steps(plan.union, catalog, steps.idiom).inner()
        return _COMBINED[plan.combine](this=ast, expression=other, distinct=True)
    return ast


def _one_select(steps: Steps) -> exp.Select:
    plan = steps.plan
    kinds = {type(item) for item in plan.select}
    if plan.top:
        return _top_per_group(steps)
    if Nested in kinds:
        return _nested(steps)
    if BeyondCount in kinds:
        return _beyond_count(steps)
    if Median in kinds and steps.idiom.dialect != "postgres":
        return _median(steps)
    if TextList in kinds and steps.idiom.dialect == "sqlite":
        return _text_list(steps)
    if isinstance(plan.having, HavingMean):
        return _versus_group_mean(steps)
    if isinstance(plan.having, Having) and plan.having.form == "cte":
        return _having_outside(steps)
    if plan.group and any(isinstance(item, OverTime) for item in plan.select):
        return _over_groups(steps)
    return steps.inner()


def _top_per_group(steps: Steps) -> exp.Select:
    """WITH ranked AS (... ROW_NUMBER() OVER (PARTITION BY ...)) SELECT ... WHERE position <= n."""
    plan = steps.plan
    assert plan.top
    inner = steps.select().expressions
    order = [steps.idiom.ordered(inner.item(by.by), by.descending) for by in plan.top.order]
    function = sql.call("RANK") if plan.top.ties else exp.RowNumber()
    position = sql.window(function, [inner.ref(plan.top.within)], order)
    names = steps.names()
    place = _free_name(names)
    ranked = steps.inner().select(exp.alias_(position, place), copy=False)
    outer = exp.select(*map(sql.column, names)).from_(sql.table("ranked"))
    one = exp.EQ if plan.top.count == 1 else exp.LTE
    limit = one(this=sql.column(place), expression=sql.literal(plan.top.count))
    return outer.where(limit).with_("ranked", ranked)


def _free_name(taken: list[str]) -> str:
    """What a numbering is called."""
    return next(name for name in ("position", "place", "row_position") if name not in taken)


def _nested(steps: Steps) -> exp.Select:
    """WITH totals AS (one inner aggregate per parent row) SELECT the outer aggregate of them, per group."""
    plan = steps.plan
    nested = next(item for item in plan.select if isinstance(item, Nested))
    keys = (*plan.group, nested.per)
    totals = steps.of(Plan("", plan.subject, (*keys, nested.inner), filters=plan.filters, group=keys))
    value = exp.func(sql.FUNCTIONS[nested.outer], sql.column(totals.name(nested.inner)))
    groups = [sql.column(totals.name(key)) for key in plan.group]
    outer = exp.select(*groups, exp.alias_(value, steps.name(nested)))
    if nested.form == "derived":
        outer = outer.from_(totals.inner().subquery("totals"))
    else:
        outer = outer.from_(sql.table("totals")).with_("totals", totals.inner())
    if groups:
        outer = outer.group_by(*(key.copy() for key in groups))
    return outer.order_by(*steps.by_alias()) if plan.order else outer


def _versus_group_mean(steps: Steps) -> exp.Select:
    """WITH totals AS (one aggregate per group), mean AS (their average) SELECT the groups beyond it."""
    plan = steps.plan
    assert isinstance(plan.having, HavingMean)
    totals = steps.of(Plan("", plan.subject, plan.select, filters=plan.filters, group=plan.group))
    value = totals.name(plan.having.of)
    mean = exp.select(exp.alias_(exp.func("AVG", sql.column(value)), "value")).from_(sql.table("totals"))
    names = [sql.column(name, "totals") for name in totals.names()]
    beyond = sql.OPERATORS[plan.having.op](this=sql.column(value, "totals"), expression=sql.column("value", "mean"))
    outer = exp.select(*names).from_(sql.table("totals")).join(sql.table("mean"), join_type="cross").where(beyond)
    outer = outer.with_("totals", totals.inner()).with_("mean", mean)
    return outer.order_by(*steps.by_alias()) if plan.order else outer


def _beyond_count(steps: Steps) -> exp.Select:
    """WITH totals AS (one aggregate per parent row), mean AS (their average) SELECT how many are beyond it."""
    plan = steps.plan
    item = next(item for item in plan.select if isinstance(item, BeyondCount))
    totals = steps.of(Plan("", plan.subject, (item.per, item.of), filters=plan.filters, group=(item.per,)))
    value = totals.name(item.of)
    mean = exp.select(exp.alias_(exp.func("AVG", sql.column(value)), "mean_value")).from_(sql.table("totals"))
    beyond = sql.OPERATORS[item.op](this=sql.column(value), expression=sql.column("mean_value"))
    outer = exp.select(exp.alias_(exp.func("COUNT", exp.Star()), steps.name(item))).from_(sql.table("totals"))
    outer = outer.join(sql.table("mean"), join_type="cross").where(beyond)
    return outer.with_("totals", totals.inner()).with_("mean", mean)


def _having_outside(steps: Steps) -> exp.Select:
    """WITH totals AS (one aggregate per group) SELECT those that meet the bound."""
    plan = steps.plan
    assert isinstance(plan.having, Having)
    totals = steps.of(Plan("", plan.subject, plan.select, filters=plan.filters, group=plan.group))
    value = sql.column(totals.name(plan.having.of))
    outer = exp.select(*map(sql.column, totals.names())).from_(sql.table("totals"))
    outer = outer.where(steps.select().threshold(plan.having, value)).with_("totals", totals.inner())
    return outer.order_by(*steps.by_alias()) if plan.order else outer


def _over_groups(steps: Steps) -> exp.Select:
    """WITH totals AS (one aggregate per group) SELECT them and a window over them in the plan's order."""
    plan = steps.plan
    plain = tuple(item for item in plan.select if not isinstance(item, OverTime))
    totals = steps.of(Plan("", plan.subject, plain, filters=plan.filters, group=plan.group))
    columns = [
        exp.alias_(_over(item, sql.column(totals.name(item.of)), steps), steps.name(item))
        if isinstance(item, OverTime)
        else sql.column(totals.name(item))
        for item in plan.select
    ]
    outer = exp.select(*columns).from_(sql.table("totals")).with_("totals", totals.inner())
    return outer.order_by(*steps.by_alias())


def _over(item: OverTime, value: exp.Column, steps: Steps) -> exp.Expr:
    order = steps.by_alias()
    match item:
        case Change():
            return exp.Sub(this=value, expression=sql.window(exp.func("LAG", value.copy()), [], order))
        case Growth(decimals=decimals):
            before = sql.window(exp.func("LAG", value.copy()), [], order)
            risen = exp.Paren(this=exp.Sub(this=value, expression=before))
            return sql.percent(risen, before.copy(), decimals)
        case _:
            frame: sql.Frame = item.rows - 1 if hasattr(item, "rows") else "running"
            return sql.window(exp.func("SUM" if frame == "running" else "AVG", value), [], order, frame)


def _median(steps: Steps) -> exp.Select:
    """WITH numbered AS (the values and their places) SELECT the mean of the one or two in the middle."""
    plan = steps.plan
    median = next(item for item in plan.select if isinstance(item, Median))
    expressions = steps.select().expressions
    keys = [expressions.item(key) for key in plan.group]
    numbered = steps.of(Plan("", plan.subject, (*plan.group, median.ref), filters=plan.filters)).inner()
    order = [steps.idiom.ordered(expressions.ref(median.ref), False)]
    place = _free_name([steps.name(item) for item in (*plan.group, median.ref)])
    numbered = numbered.select(
        exp.alias_(sql.window(exp.RowNumber(), keys, order), place),
        exp.alias_(sql.window(exp.func("COUNT", exp.Star()), [key.copy() for key in keys], []), "row_count"),
    )
    half = sql.divided(sql.column("row_count"), exp.Literal.number("2.0"))
    after = exp.Add(this=half.copy(), expression=sql.literal(1))
    groups = [sql.column(steps.name(key)) for key in plan.group]
    middle = exp.func("AVG", sql.column(steps.name(median.ref)))
    outer = exp.select(*groups, exp.alias_(middle, steps.name(median))).from_(sql.table("numbered"))
    outer = outer.where(exp.Between(this=sql.column(place), low=half, high=after)).with_("numbered", numbered)
    if groups:
        outer = outer.group_by(*(key.copy() for key in groups))
    return outer.order_by(*steps.by_alias()) if plan.order else outer


def _text_list(steps: Steps) -> exp.Select:
    """GROUP_CONCAT over a subquery that brings the texts in order."""
    plan = steps.plan
    texts = [item for item in plan.select if isinstance(item, TextList)]
    keys = plan.group
    rows = steps.of(Plan("", plan.subject, (*keys, *(text.ref for text in texts)), filters=plan.filters))
    inner = rows.select().expressions
    ordered = rows.inner().order_by(*(inner.item(item) for item in rows.plan.select))
    outer = exp.select(*(sql.column(rows.name(key)) for key in keys))
    lists = (exp.alias_(steps.idiom.text_list(sql.column(rows.name(text.ref))), steps.name(text)) for text in texts)
    outer = outer.select(*lists).from_(ordered.subquery("listed"))
    outer = outer.group_by(*(sql.column(rows.name(key)) for key in keys))
    return outer.order_by(*steps.by_alias()) if plan.order else outer
