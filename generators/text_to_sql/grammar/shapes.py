"""Queries whose rows are neither rows nor groups of a table: months without a gap, runs of months, cohorts, pairs."""

from collections.abc import Callable
from dataclasses import replace

from sqlglot import exp

from generators.text_to_sql.grammar import sql
from generators.text_to_sql.grammar.plan import DatePart, Ref
from generators.text_to_sql.grammar.steps import Steps


def rollup(steps: Steps) -> exp.Query:
    """Groups and their total; where the dialect has no ROLLUP, the total comes from a SELECT of its own."""
    grouped = steps.inner()
    keys = [steps.select().expressions.item(key) for key in steps.plan.group]
    group = grouped.args["group"]
    if steps.idiom.dialect == "postgres":
        group.set("expressions", [exp.Rollup(expressions=keys)])
        return grouped
    if steps.idiom.dialect == "mysql":
        group.set("rollup", [exp.Rollup()])
        return grouped
    total = steps.of(replace(steps.plan, shape="rows", select=steps.plan.select[1:], group=())).inner()
    total.set("expressions", [exp.null(), *total.expressions])
    return exp.Union(this=grouped, expression=total, distinct=False)


def unpivot(steps: Steps) -> exp.Query:
    """One SELECT for each measure, put below each other: the row's label, what the measure is called, its value."""
    label, *measures = steps.plan.select
    stacked: exp.Query | None = None
    for measure in measures:
        step = steps.of(replace(steps.plan, shape="rows", select=(label, measure)))
        select, expressions = step.inner(), step.select().expressions
        assert isinstance(measure, Ref)
        name = exp.alias_(sql.literal(steps.catalog.column(measure).words), "measure")
        figure = exp.alias_(expressions.item(measure), "figure")
        select.set("expressions", [step.select().output(label), name, figure])
        stacked = exp.Union(this=stacked, expression=select, distinct=False) if stacked else select
    assert stacked
    return stacked


def series(steps: Steps) -> exp.Select:
    """WITH RECURSIVE months AS (the first of every month) SELECT each with its number of rows, be it 0."""
    plan, idiom = steps.plan, steps.idiom
    mine = idiom.month_start(sql.column(_date(steps).column, plan.subject))
    key = steps.catalog.table(plan.subject).primary_key[0]
    counted = exp.func("COUNT", sql.column(key, plan.subject))
    outer = exp.select(exp.alias_(idiom.month(_start()), "month"), exp.alias_(counted, f"{plan.subject}_count")).from_(
        sql.table("months")
    )
    outer = outer.join(sql.table(plan.subject), on=exp.EQ(this=mine, expression=_start()), join_type="left")
    outer = outer.group_by(_start()).order_by(idiom.ordered(_start(), False))
    return outer.with_("months", _all_months(steps), recursive=idiom.dialect != "postgres")


def _start() -> exp.Column:
    return sql.column("month_start", "months")


def _all_months(steps: Steps) -> exp.Query:
    """From the first to the last of the date: a series where the dialect has one, else a recursive table."""
    idiom, source, date = steps.idiom, sql.table(steps.plan.subject), _date(steps).column
    first, last = (idiom.month_start(exp.func(name, sql.column(date))) for name in ("MIN", "MAX"))
    if idiom.dialect == "postgres":
        step = exp.Interval(this=sql.literal("1 month"))
        return exp.select(exp.alias_(sql.call("GENERATE_SERIES", first, last, step), "month_start")).from_(source)
    end = exp.select(last).from_(source).subquery()
    going_on = exp.select(idiom.next_month(sql.column("month_start"))).from_(sql.table("months"))
    going_on = going_on.where(exp.LT(this=sql.column("month_start"), expression=end))
    beginning = exp.select(exp.alias_(first, "month_start")).from_(source.copy())
    return exp.Union(this=beginning, expression=going_on, distinct=False)


def islands(steps: Steps) -> exp.Select:
    """Months minus their number: the same for all months of one run."""
    plan, idiom = steps.plan, steps.idiom
    date = steps.select().expressions.ref(_date(steps))
    months = exp.select(
        exp.alias_(idiom.month(date), "month"), exp.alias_(idiom.month_number(date.copy()), "month_number")
    )
    months = months.from_(sql.table(plan.subject)).distinct()
    if plan.filters:
        conditions = steps.select().conditions
        months = months.where(*(conditions.condition(filter_) for filter_ in plan.filters))
    number = sql.window(exp.RowNumber(), [], [idiom.ordered(sql.column("month_number"), False)])
    run = exp.Sub(this=sql.column("month_number"), expression=number)
    runs = exp.select(sql.column("month"), exp.alias_(run, "run")).from_(sql.table("months"))
    outer = exp.select(
        exp.alias_(exp.func("MIN", sql.column("month")), "first_month"),
        exp.alias_(exp.func("MAX", sql.column("month")), "last_month"),
        exp.alias_(exp.func("COUNT", exp.Star()), "month_count"),
    ).from_(sql.table("runs"))
    outer = outer.group_by(sql.column("run")).order_by(idiom.ordered(sql.column("first_month"), False))
    return outer.with_("months", months).with_("runs", runs)


def cohort(steps: Steps) -> exp.Select:
    """WITH firsts AS (the first date of each parent row) SELECT the number of them per month or year."""
    plan, idiom = steps.plan, steps.idiom
    part, per = plan.group[0], plan.group[1]
    assert isinstance(part, DatePart) and isinstance(per, Ref)
    key = sql.column(per.path[0])
    first = exp.alias_(exp.func("MIN", sql.column(part.ref.column)), "first_date")
    firsts = exp.select(key, first).from_(sql.table(plan.subject)).group_by(key.copy())
    value = idiom.year if part.part == "year" else idiom.month
    label = value(sql.column("first_date"))
    outer = exp.select(
        exp.alias_(label, part.part), exp.alias_(exp.func("COUNT", exp.Star()), f"{per.table}_count")
    ).from_(sql.table("firsts"))
    outer = outer.group_by(label.copy()).order_by(idiom.ordered(sql.column(part.part), False))
    return outer.with_("firsts", firsts)


def pairs(steps: Steps) -> exp.Select:
    """The table joined with itself; the lower key first, so that each pair comes once."""
    plan = steps.plan
    table = steps.catalog.table(plan.subject)
    shared = plan.group[0]
    assert isinstance(shared, Ref)
    outputs = [
        exp.alias_(sql.column(item.column, alias), f"{alias}_{item.column}")
        for alias in ("first", "second")
        for item in plan.select
        if isinstance(item, Ref)
    ]
    link = exp.and_(
        exp.EQ(this=sql.column(shared.column, "first"), expression=sql.column(shared.column, "second")),
        exp.LT(this=sql.column(table.primary_key[0], "first"), expression=sql.column(table.primary_key[0], "second")),
    )
    outer = exp.select(sql.column(shared.column, "first"), *outputs).from_(sql.table(plan.subject, "first"))
    return outer.join(sql.table(plan.subject, "second"), on=link)


SHAPES: dict[str, Callable[[Steps], exp.Query]] = {
    "rollup": rollup,
    "unpivot": unpivot,
    "series": series,
    "islands": islands,
    "cohort": cohort,
    "pairs": pairs,
}


def _date(steps: Steps) -> Ref:
    part = steps.plan.group[0]
    assert isinstance(part, DatePart)
    return part.ref
