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

    def days_before(self, date: exp.Expr, days: int) -> exp.Expr:
        return call("DATE", date, literal(f"-{days} days"))

    def days_between(self, earlier: exp.Expr, later: exp.Expr) -> exp.Expr:
        """A number; neither has a time of day."""
        apart = exp.Sub(this=call("JULIANDAY", later), expression=call("JULIANDAY", earlier))
        return exp.cast(apart, "INTEGER")

    # --- text, flags, orders ---

    def holds(self, flag: exp.Expr, value: bool) -> exp.Expr:
        return exp.EQ(this=flag, expression=literal(int(value)))

    def joined(self, *parts: exp.Expr) -> exp.Expr:
        first, *rest = parts
        for part in rest:
            first = exp.DPipe(this=first, expression=part, safe=True)
        return first

    def length(self, text: exp.Expr) -> exp.Expr:
        return call("LENGTH", text)

    def beginning(self, text: exp.Expr, count: int) -> exp.Expr:
        return call("SUBSTR", text, literal(1), literal(count))

    def ordered(self, expression: exp.Expr, descending: bool) -> exp.Ordered:
        """In the dialect's own place for NULL, so that nothing is written about it."""
        return exp.Ordered(
            this=expression, desc=descending or None, nulls_first=descending == self.nulls_are_large
        )

    def nulls_last(self, expression: exp.Expr, descending: bool) -> list[exp.Ordered]:
        return [exp.Ordered(this=expression, desc=descending or None, nulls_first=False)]

    def count_if(self, condition: exp.Expr) -> exp.Expr:
        return exp.Filter(this=exp.func("COUNT", exp.Star()), expression=exp.Where(this=condition))

    def aggregate_if(self, function: str, value: exp.Expr, condition: exp.Expr) -> exp.Expr:
        return exp.Filter(this=exp.func(function, value), expression=exp.Where(this=condition))


class Postgres(Idiom):
    dialect: Dialect = "postgres"
    nulls_are_large = True

    def year(self, date: exp.Expr) -> exp.Expr:
        return exp.Extract(this=exp.Var(this="YEAR"), expression=date)

    def month(self, date: exp.Expr) -> exp.Expr:
        return call("TO_CHAR", date, literal("YYYY-MM"))

    def day(self, moment: exp.Expr) -> exp.Expr:
        return exp.cast(moment, "DATE")

    def days_before(self, date: exp.Expr, days: int) -> exp.Expr:
        return exp.Sub(this=date, expression=literal(days))

    def days_between(self, earlier: exp.Expr, later: exp.Expr) -> exp.Expr:
        return exp.Sub(this=later, expression=earlier)

    def holds(self, flag: exp.Expr, value: bool) -> exp.Expr:
        return flag if value else exp.Not(this=flag)

    def beginning(self, text: exp.Expr, count: int) -> exp.Expr:
        return call("LEFT", text, literal(count))


class MySQL(Idiom):
    dialect: Dialect = "mysql"

    def year(self, date: exp.Expr) -> exp.Expr:
        return call("YEAR", date)

    def month(self, date: exp.Expr) -> exp.Expr:
        return call("DATE_FORMAT", date, literal("%Y-%m"))

    def days_before(self, date: exp.Expr, days: int) -> exp.Expr:
        return exp.Sub(this=date, expression=exp.Interval(this=exp.Literal.number(days), unit=exp.Var(this="DAY")))

    def days_between(self, earlier: exp.Expr, later: exp.Expr) -> exp.Expr:
        return call("DATEDIFF", later, earlier)

    def holds(self, flag: exp.Expr, value: bool) -> exp.Expr:
        return exp.EQ(this=flag, expression=exp.true() if value else exp.false())

    def joined(self, *parts: exp.Expr) -> exp.Expr:
        return call("CONCAT", *parts)

    def length(self, text: exp.Expr) -> exp.Expr:
        """In characters, as LENGTH counts bytes here."""
        return call("CHAR_LENGTH", text)

    def beginning(self, text: exp.Expr, count: int) -> exp.Expr:
        return call("LEFT", text, literal(count))

    def nulls_last(self, expression: exp.Expr, descending: bool) -> list[exp.Ordered]:
        """What is NULL after what isn't, as there is no NULLS LAST."""
        missing = exp.Is(this=expression, expression=exp.null())
        return [self.ordered(missing, False), self.ordered(expression.copy(), descending)]

    def count_if(self, condition: exp.Expr) -> exp.Expr:
        return exp.func("SUM", exp.Case(default=literal(0)).when(condition, literal(1)))

    def aggregate_if(self, function: str, value: exp.Expr, condition: exp.Expr) -> exp.Expr:
        return exp.func(function, exp.Case().when(condition, value))


IDIOMS: dict[Dialect, Idiom] = {"sqlite": Idiom(), "postgres": Postgres(), "mysql": MySQL()}
