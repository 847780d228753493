"""WHERE: every filter of a plan as a condition of the dialect."""

from sqlglot import exp

from generators.text_to_sql.grammar import sql
from generators.text_to_sql.grammar.expressions import Expressions
from generators.text_to_sql.grammar.plan import (
    Between,
    Comparison,
    Covers,
    DatePart,
    Either,
    Filter,
    InPeriod,
    Item,
    Membership,
    Missing,
    Partner,
    Pattern,
    Recent,
    TopGroup,
    VersusAverage,
    VersusNamed,
)


class Conditions:
    """Of one plan, over the columns of `expressions`."""

    def __init__(self, expressions: Expressions) -> None:
        self.expressions = expressions
        self.catalog, self.idiom = expressions.catalog, expressions.idiom

    def condition(self, filter_: Filter) -> exp.Expr:
        ref_of, day = self.expressions.ref, self.expressions.day
        match filter_:
            case Comparison(ref):
                return self.expressions.compared(filter_, ref_of(ref))
            case Between(ref, low, high):
                return exp.Between(this=day(ref), low=sql.literal(low), high=sql.literal(high))
            case Membership(ref, values, negated):
                return sql.negate(exp.In(this=ref_of(ref), expressions=[sql.literal(v) for v in values]), negated)
            case Pattern(ref, how, text, negated):
                pattern = {"starts": f"{text}%", "ends": f"%{text}", "contains": f"%{text}%"}[how]
                return sql.negate(exp.Like(this=ref_of(ref), expression=sql.literal(pattern)), negated)
            case Missing(ref, negated):
                return exp.Is(this=ref_of(ref), expression=exp.Not(this=exp.null()) if negated else exp.null())
            case InPeriod(ref, period):
                part: Item = DatePart(ref, "year" if isinstance(period, int) else "month")
                return exp.EQ(this=self.expressions.item(part), expression=sql.literal(period))
            case Either(first, second):
                return exp.Paren(this=exp.Or(this=self.condition(first), expression=self.condition(second)))
            case _:
                return self._about_other_rows(filter_)

    def _about_other_rows(self, filter_: Filter) -> exp.Expr:
        match filter_:
            case Recent(ref, days):
                newest = exp.select(exp.func("MAX", sql.column(ref.column))).from_(sql.table(ref.table)).subquery()
                start = self.idiom.days_before(newest, days, self.catalog.column(ref).has_time)
                return exp.GTE(this=self.expressions.day(ref), expression=start)
            case Partner():
                return self._partner(filter_)
            case Covers():
                return self._covers(filter_)
            case VersusAverage():
                return self._versus_average(filter_)
            case VersusNamed(label=label, name=name):
                return exp.EQ(this=sql.column(label.column, "other"), expression=sql.literal(name))
            case TopGroup(group):
                winners = exp.select(sql.column(group.column)).from_(sql.table("top_group")).subquery()
                return exp.In(this=self.expressions.ref(group), query=winners)
        raise AssertionError(filter_)

    def _partner(self, filter_: Partner) -> exp.Expr:
        table, key = filter_.table, filter_.key
        if filter_.form == "join":
            return exp.Is(this=sql.column(key, table), expression=exp.null())
        if filter_.form == "in":
            keys = exp.select(sql.column(key)).from_(sql.table(table))
            if filter_.having:
                keys = keys.where(self.expressions.compared(filter_.having, sql.column(filter_.having.ref.column)))
            target = sql.column(self.catalog.key(table, key).to_column, self.expressions.plan.subject)
            return sql.negate(exp.In(this=target, query=keys.subquery()), filter_.negated)
        where: exp.Expr = self.expressions.link(table, key)
        if filter_.having:
            narrowed = sql.column(filter_.having.ref.column, table)
            where = exp.and_(where, self.expressions.compared(filter_.having, narrowed))
        rows = exp.select(sql.literal(1)).from_(sql.table(table)).where(where)
        return sql.negate(exp.Exists(this=rows), filter_.negated)

    def _covers(self, filter_: Covers) -> exp.Expr:
        """The number of different values with one row is that of all rows."""
        table, key = filter_.table, filter_.key
        different = exp.func("COUNT", exp.Distinct(expressions=[sql.column(filter_.column)]))
        all_values = exp.select(different.copy()).from_(sql.table(table)).subquery()
        keys = exp.select(sql.column(key)).from_(sql.table(table)).group_by(sql.column(key))
        keys = keys.having(exp.EQ(this=different, expression=all_values))
        target = sql.column(self.catalog.key(table, key).to_column, self.expressions.plan.subject)
        return exp.In(this=target, query=keys.subquery())

    def _versus_average(self, filter_: VersusAverage) -> exp.Expr:
        ref, within = filter_.ref, filter_.within
        if within:
            peers = exp.select(exp.func("AVG", sql.column(ref.column, "peer"))).from_(sql.table(ref.table, "peer"))
            peers = peers.where(
                exp.EQ(this=sql.column(within.column, "peer"), expression=sql.column(within.column, ref.table))
            )
        else:
            peers = exp.select(exp.func("AVG", sql.column(ref.column))).from_(sql.table(ref.table))
        return sql.OPERATORS[filter_.op](this=self.expressions.ref(ref), expression=peers.subquery())
