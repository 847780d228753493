"""The output columns of one SELECT: every item of a plan as an expression of the dialect."""

from sqlglot import exp

from generators.text_to_sql.grammar import sql
from generators.text_to_sql.grammar.catalog import Catalog
from generators.text_to_sql.grammar.idioms import Idiom
from generators.text_to_sql.grammar.plan import (
    Aggregate,
    Arithmetic,
    Beginning,
    Bucket,
    Cased,
    Change,
    ChildCount,
    ChildTotal,
    Combined,
    Comparison,
    Conditional,
    DatePart,
    Default,
    Deviation,
    Elapsed,
    EndValue,
    Item,
    Mapped,
    Median,
    Moving,
    Plan,
    Rank,
    Ref,
    Renamed,
    Running,
    Share,
    Shifted,
    TextList,
    Tile,
)

Aliases = dict[tuple[str, ...], tuple[str, str]]
"""path → (table, the name under which it is joined)."""


class Expressions:
    """Of one plan; columns are qualified unless the subject stands `alone`."""

    def __init__(self, plan: Plan, catalog: Catalog, idiom: Idiom, aliases: Aliases, alone: bool) -> None:
        self.plan, self.catalog, self.idiom = plan, catalog, idiom
        self.aliases, self.alone = aliases, alone

    # --- columns ---

    def ref(self, ref: Ref) -> exp.Column:
        if ref.path not in self.aliases and (pointer := self.catalog.pointer(self.plan.subject, ref)):
            return self.ref(pointer)
        return sql.column(ref.column, None if self.alone else self.aliases[ref.path][1])

    def day(self, ref: Ref) -> exp.Expr:
        """The column; of one with a time of day only the day, as literals are days."""
        return self.by_day(ref, self.ref(ref))

    def by_day(self, ref: Ref, column: exp.Expr) -> exp.Expr:
        return self.idiom.day(column) if self.catalog.column(ref).has_time else column

    def compared(self, comparison: Comparison, column: exp.Column) -> exp.Expr:
        """The comparison, made of `column` instead of its own."""
        if self.catalog.column(comparison.ref).kind == "flag":
            return self.idiom.holds(column, (comparison.op == "eq") == bool(comparison.value))
        side = self.by_day(comparison.ref, column)
        return sql.OPERATORS[comparison.op](this=side, expression=sql.literal(comparison.value))

    def link(self, table: str, key: str) -> exp.EQ:
        """The rows of `table` that point to the subject's row by their `key`."""
        to_column = self.catalog.key(table, key).to_column
        return exp.EQ(this=sql.column(key, table), expression=sql.column(to_column, self.plan.subject))

    @property
    def order(self) -> list[exp.Ordered]:
        """The plan's order, in nodes of its own at each use."""
        return [self.idiom.ordered(self.item(order.by), order.descending) for order in self.plan.order]

    # --- items ---

    def item(self, item: Item) -> exp.Expr:
        match item:
            case Ref() | Renamed(ref=Ref()):
                return self.ref(item.ref if isinstance(item, Renamed) else item)
            case Aggregate() | Conditional() | ChildCount() | ChildTotal() | Share() | Median() | TextList():
                return self._of_many(item)
            case Running() | Change() | Moving() | Rank() | Tile() | EndValue() | Deviation():
                return self._beside_others(item)
            case _:
                return self._of_one(item)

    def _of_one(self, item: Item) -> exp.Expr:
        idiom = self.idiom
        match item:
            case DatePart(ref, part):
                return idiom.year(self.ref(ref)) if part == "year" else idiom.month(self.ref(ref))
            case Bucket(ref, edges, labels):
                case_ = exp.Case(default=sql.literal(labels[-1]))
                for edge, label in zip(edges, labels, strict=False):
                    case_ = case_.when(exp.LT(this=self.ref(ref), expression=sql.literal(edge)), sql.literal(label))
                return case_
            case Mapped(ref, values, words, rest):
                mapping = exp.Case(this=self.ref(ref), default=sql.literal(rest))
                for value, word in zip(values, words, strict=True):
                    mapping = mapping.when(sql.literal(value), sql.literal(word))
                return mapping
            case Arithmetic(left, operator, right):
                kind = exp.Mul if operator == "times" else exp.Sub
                return kind(this=self.ref(left), expression=self.ref(right))
            case Cased(ref, case):
                return exp.func(case.upper(), self.ref(ref))
            case Beginning(ref, count):
                return idiom.beginning(self.ref(ref), count)
            case Combined(left, right, separator):
                return idiom.combined(self.ref(left), sql.literal(separator), self.ref(right))
            case Default(ref, value):
                return sql.call("COALESCE", self.ref(ref), sql.literal(value))
            case Elapsed(start, end):
                return idiom.days_between(self.day(start), self.day(end))
            case Shifted(ref, days):
                return idiom.days_after(self.ref(ref), days, self.catalog.column(ref).has_time)
        raise AssertionError(item)

    def aggregate(self, of: Aggregate, argument: exp.Expr | None = None) -> exp.Expr:
        value: exp.Expr = argument or (self.ref(of.ref) if of.ref else exp.Star())
        if of.function == "count_distinct":
            value = exp.Distinct(expressions=[value])
        return exp.func(sql.FUNCTIONS[of.function], value)

    def _of_many(self, item: Item) -> exp.Expr:
        match item:
            case Aggregate(decimals=decimals):
                return sql.rounded(self.aggregate(item), decimals)
            case Conditional(of, condition):
                met = self.compared(condition, self.ref(condition.ref))
                value = self.ref(of.ref) if of.ref else None
                return self.idiom.aggregate_if(sql.FUNCTIONS[of.function], value, met)
            case ChildCount(table, key, form):
                if form == "join":
                    return exp.func("COUNT", sql.column(key, table))
                counted = exp.select(exp.func("COUNT", exp.Star())).from_(sql.table(table))
                return counted.where(self.link(table, key)).subquery()
            case ChildTotal(table, _, column):
                return sql.call("COALESCE", exp.func("SUM", sql.column(column, table)), sql.literal(0))
            case Share(of, decimals):
                part = self.item(of)
                return sql.percent(part, sql.window(exp.func("SUM", part.copy()), [], []), decimals)
            case Median(ref):
                return self.idiom.median(self.ref(ref))
            case TextList(ref):
                return self.idiom.text_list(self.ref(ref))
        raise AssertionError(item)

    def _beside_others(self, item: Item) -> exp.Expr:
        match item:
            case Running(of, within):
                return sql.window(exp.func("SUM", self.item(of)), self._partition(within), self.order, frame="running")
            case Change(of, within):
                lag = sql.window(exp.func("LAG", self.item(of)), self._partition(within), self.order)
                return exp.Sub(this=self.item(of), expression=lag)
            case Moving(of, rows):
                return sql.window(exp.func("AVG", self.item(of)), [], self.order, frame=rows - 1)
            case Rank(ref, descending, dense, within):
                rank = sql.call("DENSE_RANK" if dense else "RANK")
                return sql.window(rank, self._partition(within), [self.idiom.ordered(self.ref(ref), descending)])
            case Tile(ref, descending, count):
                order = [self.idiom.ordered(self.ref(ref), descending)]
                return sql.window(sql.call("NTILE", sql.literal(count)), [], order)
            case EndValue(ref, by, within, last):
                function = exp.func("LAST_VALUE" if last else "FIRST_VALUE", self.ref(ref))
                order = [self.idiom.ordered(self.ref(by), False)]
                return sql.window(function, self._partition(within), order, frame="whole" if last else None)
            case Deviation(ref, within):
                mean = sql.window(exp.func("AVG", self.ref(ref)), self._partition(within), [])
                return exp.Sub(this=self.ref(ref), expression=mean)
        raise AssertionError(item)

    def _partition(self, within: Ref | None) -> list[exp.Expr]:
        return [self.ref(within)] if within else []
