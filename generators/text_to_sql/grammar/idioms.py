"""Where the dialects part: dates, flags, text and orders, each in the form that its users write.

    IDIOMS["sqlite"].month(date)    STRFTIME('%Y-%m', ordered_on)
    IDIOMS["postgres"].month(date)  TO_CHAR(ordered_on, 'YYYY-MM')
    IDIOMS["mysql"].month(date)     DATE_FORMAT(ordered_on, '%Y-%m')

Sources: https://sqlite.org/lang_datefunc.html, https://www.postgresql.org/docs/current/functions-datetime.html,
https://dev.mysql.com/doc/refman/8.0/en/date-and-time-functions.html
"""

from sqlglot import exp

from generators.text_to_sql.grammar.sql import call, literal
from generators.text_to_sql.schema import Dialect


class Idiom:
    """SQLite's forms, and those that all three have in common."""

    dialect: Dialect = "sqlite"
    nulls_are_large = False

    # --- dates ---

    def year(self, date: exp.Expr) -> exp.Expr:
        """A number."""
        return exp.cast(call("STRFTIME", literal("%Y"), date), "INTEGER")

    def month(self, date: exp.Expr) -> exp.Expr:
        """The text 2024-03."""
        return call("STRFTIME", literal("%Y-%m"), date)

    def day(self, moment: exp.Expr) -> exp.Expr:
        """The date of a date with a time of day."""
        return call("DATE", moment)

    def days_before(self, date: exp.Expr, days: int, timed: bool) -> exp.Expr:
        """A day; `timed`: the date comes with a time of day."""
        return call("DATE", date, literal(f"-{days} days"))

    def days_after(self, date: exp.Expr, days: int, timed: bool) -> exp.Expr:
        """A day; before the date where `days` is negative."""
        return call("DATE", date, literal(f"{days:+} days"))

    def days_between(self, earlier: exp.Expr, later: exp.Expr) -> exp.Expr:
        """A number; neither has a time of day."""
        apart = exp.Sub(this=call("JULIANDAY", later), expression=call("JULIANDAY", earlier))
        return exp.cast(apart, "INTEGER")

    # --- text, flags, orders ---

    def holds(self, flag: exp.Expr, value: bool) -> exp.Expr:
        return exp.EQ(this=flag, expression=literal(int(value)))

    def combined(self, *parts: exp.Expr) -> exp.Expr:
        first, *rest = parts
        for part in rest:
            first = exp.DPipe(this=first, expression=part, safe=True)
        return first

    def beginning(self, text: exp.Expr, count: int) -> exp.Expr:
        return call("SUBSTR", text, literal(1), literal(count))

    def ordered(self, expression: exp.Expr, descending: bool) -> exp.Ordered:
        """In the dialect's own place for NULL, so that nothing is written about it."""
        return exp.Ordered(this=expression, desc=descending or None, nulls_first=descending == self.nulls_are_large)

    # --- aggregates ---

    def aggregate_if(self, function: str, value: exp.Expr | None, condition: exp.Expr) -> exp.Expr:
        """Over the rows that meet the condition; of no value, a count of them."""
        return exp.Filter(this=exp.func(function, value or exp.Star()), expression=exp.Where(this=condition))

    def median(self, value: exp.Expr) -> exp.Expr:
        """Only where the dialect has it as an aggregate; elsewhere the rows are numbered first."""
        raise NotImplementedError

    def text_list(self, text: exp.Expr) -> exp.Expr:
        """Of rows that come in the order of the list: before version 3.44 the aggregate has no order of its own."""
        return call("GROUP_CONCAT", text, literal(", "))

    # --- months ---

    def month_number(self, date: exp.Expr) -> exp.Expr:
        """Neighbouring months have neighbouring numbers."""
        month = exp.cast(call("STRFTIME", literal("%m"), date), "INTEGER")
        return exp.Add(this=exp.Mul(this=self.year(date), expression=literal(12)), expression=month)

    def month_start(self, date: exp.Expr) -> exp.Expr:
        return call("DATE", date, literal("start of month"))

    def next_month(self, start: exp.Expr) -> exp.Expr:
        return call("DATE", start, literal("+1 month"))


class Postgres(Idiom):
    dialect: Dialect = "postgres"
    nulls_are_large = True

    def year(self, date: exp.Expr) -> exp.Expr:
        return exp.Extract(this=exp.Var(this="YEAR"), expression=date)

    def month(self, date: exp.Expr) -> exp.Expr:
        return call("TO_CHAR", date, literal("YYYY-MM"))

    def day(self, moment: exp.Expr) -> exp.Expr:
        return exp.cast(moment, "DATE")

    def days_before(self, date: exp.Expr, days: int, timed: bool) -> exp.Expr:
        return exp.Sub(this=self.day(date) if timed else date, expression=_interval(f"{days} days"))

    def days_after(self, date: exp.Expr, days: int, timed: bool) -> exp.Expr:
        kind = exp.Add if days > 0 else exp.Sub
        return self.day(kind(this=date, expression=_interval(f"{abs(days)} days")))

    def days_between(self, earlier: exp.Expr, later: exp.Expr) -> exp.Expr:
        return exp.Sub(this=later, expression=earlier)

    def holds(self, flag: exp.Expr, value: bool) -> exp.Expr:
        return flag if value else exp.Not(this=flag)

    def beginning(self, text: exp.Expr, count: int) -> exp.Expr:
        return call("LEFT", text, literal(count))

    def median(self, value: exp.Expr) -> exp.Expr:
        middle = exp.PercentileCont(this=literal(0.5))
        return exp.WithinGroup(this=middle, expression=exp.Order(expressions=[self.ordered(value, False)]))

    def text_list(self, text: exp.Expr) -> exp.Expr:
        listed = exp.Order(this=literal(", "), expressions=[self.ordered(text.copy(), False)])
        return call("STRING_AGG", text, listed)

    def month_number(self, date: exp.Expr) -> exp.Expr:
        month = exp.Extract(this=exp.Var(this="MONTH"), expression=date)
        return exp.Add(this=exp.Mul(this=self.year(date.copy()), expression=literal(12)), expression=month)

    def month_start(self, date: exp.Expr) -> exp.Expr:
        return call("DATE_TRUNC", literal("month"), date)


class MySQL(Idiom):
    dialect: Dialect = "mysql"

    def year(self, date: exp.Expr) -> exp.Expr:
        return call("YEAR", date)

    def month(self, date: exp.Expr) -> exp.Expr:
        return call("DATE_FORMAT", date, literal("%Y-%m"))

    def days_before(self, date: exp.Expr, days: int, timed: bool) -> exp.Expr:
        return exp.Sub(this=self.day(date) if timed else date, expression=_span(days, "DAY"))

    def days_after(self, date: exp.Expr, days: int, timed: bool) -> exp.Expr:
        start = self.day(date) if timed else date
        return call("DATE_ADD" if days > 0 else "DATE_SUB", start, _span(abs(days), "DAY"))

    def days_between(self, earlier: exp.Expr, later: exp.Expr) -> exp.Expr:
        return call("DATEDIFF", later, earlier)

    def holds(self, flag: exp.Expr, value: bool) -> exp.Expr:
        return exp.EQ(this=flag, expression=exp.true() if value else exp.false())

    def combined(self, *parts: exp.Expr) -> exp.Expr:
        return call("CONCAT", *parts)

    def beginning(self, text: exp.Expr, count: int) -> exp.Expr:
        return call("LEFT", text, literal(count))

    def aggregate_if(self, function: str, value: exp.Expr | None, condition: exp.Expr) -> exp.Expr:
        if value is None:
            return exp.func("SUM", exp.Case(default=literal(0)).when(condition, literal(1)))
        return exp.func(function, exp.Case().when(condition, value))

    def text_list(self, text: exp.Expr) -> exp.Expr:
        listed = exp.Order(this=text, expressions=[self.ordered(text.copy(), False)])
        return exp.GroupConcat(this=listed, separator=literal(", "))

    def month_number(self, date: exp.Expr) -> exp.Expr:
        return exp.Add(
            this=exp.Mul(this=self.year(date), expression=literal(12)), expression=call("MONTH", date.copy())
        )

    def month_start(self, date: exp.Expr) -> exp.Expr:
        return exp.cast(call("DATE_FORMAT", date, literal("%Y-%m-01")), "DATE")

    def next_month(self, start: exp.Expr) -> exp.Expr:
        return exp.Add(this=start, expression=_span(1, "MONTH"))


def _span(count: int, unit: str) -> exp.Interval:
    """INTERVAL 30 DAY"""
    return exp.Interval(this=literal(count), unit=exp.Var(this=unit))


def _interval(text: str) -> exp.Interval:
    """INTERVAL '30 days'"""
    return exp.Interval(this=literal(text))


IDIOMS: dict[Dialect, Idiom] = {"sqlite": Idiom(), "postgres": Postgres(), "mysql": MySQL()}
