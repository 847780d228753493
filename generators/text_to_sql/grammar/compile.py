"""From a plan to SQL: a sqlglot tree, with CTEs, windows or a UNION where the plan needs more than one step."""

from sqlglot import exp

from generators.text_to_sql.grammar import sql
from generators.text_to_sql.grammar.catalog import Catalog
from generators.text_to_sql.grammar.idioms import IDIOMS, Idiom
from generators.text_to_sql.grammar.plan import Change, HavingMean, Moving, Nested, Plan, Running
from generators.text_to_sql.grammar.select import Select, alias_of
from generators.text_to_sql.grammar.sql import to_sql
from generators.text_to_sql.schema import Dialect

__all__ = ["compile_plan", "to_sql"]


def compile_plan(plan: Plan, catalog: Catalog, dialect: Dialect = "sqlite") -> exp.Query:
    """The plan as one SELECT of the dialect, with CTEs, windows or a UNION where it needs them."""
    idiom = IDIOMS[dialect]
    ast = _one_select(plan, catalog, idiom)
    if plan.union:
        return exp.Union(this=ast, expression=Select(plan.union, catalog, idiom).build(), distinct=True)
    return ast


def _one_select(plan: Plan, catalog: Catalog, idiom: Idiom) -> exp.Select:
    if plan.top:
        return _top_per_group(plan, catalog, idiom)
    if any(isinstance(item, Nested) for item in plan.select):
        return _nested(plan, catalog, idiom)
    if isinstance(plan.having, HavingMean):
        return _versus_group_mean(plan, catalog, idiom)
    if plan.group and any(isinstance(item, Running | Change | Moving) for item in plan.select):
        return _windowed_groups(plan, catalog, idiom)
    return Select(plan, catalog, idiom).build()


def _top_per_group(plan: Plan, catalog: Catalog, idiom: Idiom) -> exp.Select:
    """WITH ranked AS (... ROW_NUMBER() OVER (PARTITION BY ...)) SELECT ... WHERE position <= n."""
    assert plan.top
    inner = Select(plan, catalog, idiom)
    order = [idiom.ordered(inner.item(by.by), by.descending) for by in plan.top.order]
    function = sql.call("RANK") if plan.top.ties else exp.RowNumber()
    position = sql.window(function, [inner.ref(plan.top.within)], order)
    ranked = inner.build().select(exp.alias_(position, "position"), copy=False)
    names = [alias_of(item, plan, catalog) for item in plan.select]
    outer = exp.select(*(sql.column(name) for name in names)).from_(sql.table("ranked"))
    limit = sql.literal(plan.top.count)
    one = exp.EQ if plan.top.count == 1 else exp.LTE
    return outer.where(one(this=sql.column("position"), expression=limit)).with_("ranked", ranked)


def _nested(plan: Plan, catalog: Catalog, idiom: Idiom) -> exp.Select:
    """WITH totals AS (one inner aggregate per parent row) SELECT the outer aggregate of them, per group."""
    nested = next(item for item in plan.select if isinstance(item, Nested))
    steps = Plan(
        "", plan.subject, (*plan.group, nested.per, nested.inner), filters=plan.filters, group=(*plan.group, nested.per)
    )
    value = exp.func(sql.FUNCTIONS[nested.outer], sql.column(alias_of(nested.inner, steps, catalog)))
    keys = [sql.column(alias_of(key, steps, catalog)) for key in plan.group]
    outer = exp.select(*keys, exp.alias_(value, alias_of(nested, plan, catalog))).from_(sql.table("totals"))
    if keys:
        outer = outer.group_by(*(key.copy() for key in keys))
    outer = outer.with_("totals", Select(steps, catalog, idiom).build())
    return outer.order_by(*_by_alias(plan, catalog, idiom)) if plan.order else outer


def _versus_group_mean(plan: Plan, catalog: Catalog, idiom: Idiom) -> exp.Select:
    """WITH totals AS (one aggregate per group), mean AS (their average) SELECT the groups beyond it."""
    assert isinstance(plan.having, HavingMean)
    steps = Plan("", plan.subject, plan.select, filters=plan.filters, group=plan.group)
    value = sql.column(alias_of(plan.having.of, steps, catalog))
    mean = exp.select(exp.alias_(exp.func("AVG", value.copy()), "value")).from_(sql.table("totals"))
    names = [sql.column(alias_of(item, steps, catalog), "totals") for item in plan.select]
    beyond = sql.OPERATORS[plan.having.op](
        this=sql.column(value.name, "totals"), expression=sql.column("value", "mean")
    )
    outer = exp.select(*names).from_(sql.table("totals")).join(sql.table("mean"), join_type="cross").where(beyond)
    outer = outer.with_("totals", Select(steps, catalog, idiom).build()).with_("mean", mean)
    return outer.order_by(*_by_alias(plan, catalog, idiom)) if plan.order else outer


def _windowed_groups(plan: Plan, catalog: Catalog, idiom: Idiom) -> exp.Select:
    """WITH totals AS (one aggregate per group) SELECT them and a window over them in the plan's order."""
    aggregates = [item for item in plan.select if not isinstance(item, Running | Change | Moving)]
    steps = Plan("", plan.subject, tuple(aggregates), filters=plan.filters, group=plan.group)
    order = _by_alias(plan, catalog, idiom)
    columns: list[exp.Expr] = []
    for item in plan.select:
        if not isinstance(item, Running | Change | Moving):
            columns.append(sql.column(alias_of(item, steps, catalog)))
            continue
        value = sql.column(alias_of(item.of, steps, catalog))
        match item:
            case Running():
                computed: exp.Expr = sql.window(exp.func("SUM", value), [], order, running=True)
            case Change():
                computed = exp.Sub(this=value, expression=sql.window(exp.func("LAG", value.copy()), [], order))
            case Moving(rows=rows):
                computed = sql.window(exp.func("AVG", value), [], order, rows=rows - 1)
        columns.append(exp.alias_(computed, alias_of(item, plan, catalog)))
    outer = exp.select(*columns).from_(sql.table("totals")).with_("totals", Select(steps, catalog, idiom).build())
    return outer.order_by(*(expression.copy() for expression in order))


def _by_alias(plan: Plan, catalog: Catalog, idiom: Idiom) -> list[exp.Ordered]:
    return [idiom.ordered(sql.column(alias_of(order.by, plan, catalog)), order.descending) for order in plan.order]
