"""Queries whose rows are neither rows nor groups of a table: months without a gap, runs of months, cohorts, pairs."""

from collections.abc import Callable

from sqlglot import exp

from generators.text_to_sql.grammar import sql
from generators.text_to_sql.grammar.plan import DatePart, Ref
from generators.text_to_sql.grammar.steps import Steps


def series(steps: Steps) -> exp.Select:
    """WITH RECURSIVE months AS (the first of every month) SELECT each with its number of rows, be it 0."""
    plan, idiom = steps.plan, steps.idiom
    date = _date(steps)
    source = sql.table(plan.subject)
    bounds = {name: idiom.month_start(exp.func(name, sql.column(date.column))) for name in ("MIN", "MAX")}
    start = sql.column("month_start")
    if idiom.dialect == "postgres":
        months = exp.select(
            exp.alias_(sql.call("GENERATE_SERIES", bounds["MIN"], bounds["MAX"], exp.Interval(this=sql.literal("1 month"))), "month_start")
        ).from_(source)
    else:
        last = exp.select(bounds["MAX"]).from_(source.copy()).subquery()
        step = exp.select(idiom.next_month(start)).from_(sql.table("months")).where(exp.LT(this=start.copy(), expression=last))
        first = exp.select(exp.alias_(bounds["MIN"], "month_start")).from_(source)
        months = exp.Union(this=first, expression=step, distinct=False)
    mine = idiom.month_start(sql.column(date.column, plan.subject))
    key = steps.catalog.table(plan.subject).primary_key[0]
    label = idiom.month(sql.column("month_start", "months"))
    outer = exp.select(
        exp.alias_(label, "month"),
        exp.alias_(exp.func("COUNT", sql.column(key, plan.subject)), f"{plan.subject}_count"),
    ).from_(sql.table("months"))
    link = exp.EQ(this=mine, expression=sql.column("month_start", "months"))
    outer = outer.join(sql.table(plan.subject), on=link, join_type="left")
    outer = outer.group_by(sql.column("month_start", "months"))
    outer = outer.order_by(idiom.ordered(sql.column("month_start", "months"), False))
    return outer.with_("months", months, recursive=idiom.dialect != "postgres")


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


SHAPES: dict[str, Callable[[Steps], exp.Select]] = {
    "series": series,
    "islands": islands,
    "cohort": cohort,
    "pairs": pairs,
}


def _date(steps: Steps) -> Ref:
    part = steps.plan.group[0]
    assert isinstance(part, DatePart)
    return part.ref
