"""One SELECT over a subject and the joins that its items, filters and keys need.

Columns are qualified only where more than one table is in play; computed columns get names that say what they are
(`average_amount`, `loan_count`), since the names are part of what a model learns from the query.
"""

import re
from collections.abc import Iterable

from sqlglot import exp

from generators.text_to_sql.grammar import sql
from generators.text_to_sql.grammar.catalog import Catalog
from generators.text_to_sql.grammar.idioms import Idiom
from generators.text_to_sql.grammar.plan import (
    Aggregate,
    Between,
    Bucket,
    Change,
    ChildCount,
    Comparison,
    DatePart,
    Deviation,
    Filter,
    HavingMean,
    InPeriod,
    Item,
    Membership,
    Missing,
    Moving,
    Nested,
    Partner,
    Pattern,
    Plan,
    Rank,
    Recent,
    Ref,
    Running,
    Share,
    TopGroup,
    VersusAverage,
    ref_of,
)
from generators.text_to_sql.schema import Table

_PREFIX = {"sum": "total", "avg": "average", "min": "lowest", "max": "highest", "count_distinct": "distinct"}


def alias_of(item: Item, plan: Plan, catalog: Catalog) -> str:
    """The name of an output column."""
    subject = plan.subject
    match item:
        case Ref(path=path, table=table, column=column):
            crowd = [other.column for other in plan.select if isinstance(other, Ref)]
            return f"{table}_{column}" if path and (crowd.count(column) > 1 or column == "name") else column
        case DatePart(part=part):
            return part
        case Bucket(ref=ref):
            return f"{ref.column}_group"
        case Aggregate("count", None):
            return f"{subject}_count"
        case Aggregate(function, Ref(column=column)):
            return f"{_PREFIX[function]}_{column}" + ("_count" if function == "count_distinct" else "")
        case ChildCount(table=table):
            return f"{table}_count"
        case Share(of=of):
            return f"share_of_{alias_of(of, plan, catalog)}"
        case Nested(outer=outer, inner=inner):
            return f"{_PREFIX[outer]}_{alias_of(inner, plan, catalog)}"
        case Running(of=of):
            return f"running_{alias_of(of, plan, catalog)}"
        case Change(of=of):
            return f"{alias_of(of, plan, catalog)}_change"
        case Moving(of=of):
            return f"moving_average_{alias_of(of, plan, catalog)}"
        case Rank(ref=ref):
            return f"{ref.column}_rank"
        case Deviation(ref=ref):
            return f"{ref.column}_deviation"
    raise AssertionError(item)


class Select:
    """Builds one SELECT over the subject and the joins that its items, filters and keys need."""

    def __init__(self, plan: Plan, catalog: Catalog, idiom: Idiom) -> None:
        self.plan, self.catalog, self.idiom = plan, catalog, idiom
        self.subject = catalog.table(plan.subject)
        self.aliases = self._aliases(_paths(plan))
        self.lone = len(self.aliases) == 1 and not any(
            isinstance(f, Partner) or (isinstance(f, VersusAverage) and f.within) for f in plan.filters
        )
        self.lone = self.lone and not any(isinstance(item, ChildCount) for item in plan.select)

    def _aliases(self, paths: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], tuple[str, str]]:
        """path → (table, alias); the alias is the table's name unless the table is joined twice."""
        tables: dict[tuple[str, ...], Table] = {(): self.subject}
        for path in sorted({long[:n] for long in paths for n in range(1, len(long) + 1)}, key=_by_length):
            key = self.catalog.key(tables[path[:-1]].name, path[-1])
            tables[path] = self.catalog.table(key.table)
        names = [table.name for table in tables.values()]
        return {
            path: (table.name, table.name if names.count(table.name) == 1 or not path else _slug(path[-1], table.name))
            for path, table in tables.items()
        }

    # --- expressions ---

    @property
    def order(self) -> list[exp.Ordered]:
        """The plan's order, in nodes of its own at each use."""
        return [self.idiom.ordered(self.item(order.by), order.descending) for order in self.plan.order]

    def ref(self, ref: Ref) -> exp.Column:
        return sql.column(ref.column, None if self.lone else self.aliases[ref.path][1])

    def day(self, ref: Ref) -> exp.Expr:
        """The column; of one with a time of day only the day, as literals are days."""
        column = self.ref(ref)
        return self.idiom.day(column) if self.catalog.column(ref).has_time else column

    def item(self, item: Item) -> exp.Expr:
        match item:
            case Ref():
                return self.ref(item)
            case DatePart(ref, part):
                return self.idiom.year(self.ref(ref)) if part == "year" else self.idiom.month(self.ref(ref))
            case Bucket(ref, edges, labels):
                case_ = exp.Case(default=sql.literal(labels[-1]))
                for edge, label in zip(edges, labels, strict=False):
                    case_ = case_.when(exp.LT(this=self.ref(ref), expression=sql.literal(edge)), sql.literal(label))
                return case_
            case Aggregate(function, ref, decimals):
                argument: exp.Expr = self.ref(ref) if ref else exp.Star()
                if function == "count_distinct":
                    argument = exp.Distinct(expressions=[argument])
                return sql.rounded(exp.func(sql.FUNCTIONS[function], argument), decimals)
            case ChildCount(table, key):
                return exp.func("COUNT", sql.column(key, table))
            case Share(of, decimals):
                part_ = self.item(of)
                return sql.percent(part_, sql.window(exp.func("SUM", part_.copy()), [], []), decimals)
            case Running(of, within):
                return sql.window(exp.func("SUM", self.item(of)), self._partition(within), self.order, running=True)
            case Change(of, within):
                lag = sql.window(exp.func("LAG", self.item(of)), self._partition(within), self.order)
                return exp.Sub(this=self.item(of), expression=lag)
            case Moving(of, rows):
                return sql.window(exp.func("AVG", self.item(of)), [], self.order, rows=rows - 1)
            case Rank(ref, descending, dense, within):
                function_ = sql.call("DENSE_RANK" if dense else "RANK")
                return sql.window(function_, self._partition(within), [self.idiom.ordered(self.ref(ref), descending)])
            case Deviation(ref, within):
                mean = sql.window(exp.func("AVG", self.ref(ref)), self._partition(within), [])
                return exp.Sub(this=self.ref(ref), expression=mean)
        raise AssertionError(item)

    def _partition(self, within: Ref | None) -> list[exp.Expr]:
        return [self.ref(within)] if within else []

    # --- conditions ---

    def condition(self, filter_: Filter) -> exp.Expr:
        match filter_:
            case Comparison(ref, op, value) if self.catalog.column(ref).kind == "flag":
                return self.idiom.holds(self.ref(ref), (op == "eq") == bool(value))
            case Comparison(ref, op, value):
                return sql.OPERATORS[op](this=self.day(ref), expression=sql.literal(value))
            case Between(ref, low, high):
                return exp.Between(this=self.day(ref), low=sql.literal(low), high=sql.literal(high))
            case Membership(ref, values, negated):
                return sql.negate(exp.In(this=self.ref(ref), expressions=[sql.literal(v) for v in values]), negated)
            case Pattern(ref, how, text, negated):
                pattern = {"starts": f"{text}%", "ends": f"%{text}", "contains": f"%{text}%"}[how]
                return sql.negate(exp.Like(this=self.ref(ref), expression=sql.literal(pattern)), negated)
            case Missing(ref, negated):
                return exp.Is(this=self.ref(ref), expression=exp.Not(this=exp.null()) if negated else exp.null())
            case InPeriod(ref, period):
                part: Item = DatePart(ref, "year" if isinstance(period, int) else "month")
                return exp.EQ(this=self.item(part), expression=sql.literal(period))
            case Recent(ref, days):
                column = sql.column(ref.column)
                column_ = self.idiom.day(column) if self.catalog.column(ref).has_time else column
                newest = exp.select(exp.func("MAX", column_)).from_(sql.table(ref.table)).subquery()
                return exp.GTE(this=self.day(ref), expression=self.idiom.days_before(newest, days))
            case Partner():
                return self._partner(filter_)
            case VersusAverage():
                return self._versus_average(filter_)
            case TopGroup(group):
                winners = exp.select(sql.column(group.column)).from_(sql.table("top_group")).subquery()
                return exp.In(this=self.ref(group), query=winners)
        raise AssertionError(filter_)

    def _partner(self, filter_: Partner) -> exp.Expr:
        if filter_.form == "join":
            return exp.Is(this=sql.column(filter_.key, filter_.table), expression=exp.null())
        where: exp.Expr = self._link(filter_.table, filter_.key)
        if filter_.having:
            other = filter_.having
            extra = sql.OPERATORS[other.op](
                this=sql.column(other.ref.column, filter_.table), expression=sql.literal(other.value)
            )
            where = exp.and_(where, extra)
        rows = exp.select(sql.literal(1)).from_(sql.table(filter_.table)).where(where)
        return sql.negate(exp.Exists(this=rows), filter_.negated)

    def _link(self, table: str, key: str) -> exp.EQ:
        to_column = self.catalog.key(table, key).to_column
        return exp.EQ(this=sql.column(key, table), expression=sql.column(to_column, self.subject.name))

    def _versus_average(self, filter_: VersusAverage) -> exp.Expr:
        ref, within = filter_.ref, filter_.within
        if within:
            peers = exp.select(exp.func("AVG", sql.column(ref.column, "peer"))).from_(sql.table(ref.table, "peer"))
            peers = peers.where(
                exp.EQ(this=sql.column(within.column, "peer"), expression=sql.column(within.column, ref.table))
            )
        else:
            peers = exp.select(exp.func("AVG", sql.column(ref.column))).from_(sql.table(ref.table))
        return sql.OPERATORS[filter_.op](this=self.ref(ref), expression=peers.subquery())

    # --- the statement ---

    def build(self) -> exp.Select:
        plan = self.plan
        select = exp.select(*(self.output(item) for item in plan.select)).from_(sql.table(plan.subject))
        for path, (table, alias) in self.aliases.items():
            if path:
                parent = self.aliases[path[:-1]]
                key = self.catalog.key(parent[0], path[-1])
                link = exp.EQ(this=sql.column(key.column, parent[1]), expression=sql.column(key.to_column, alias))
                select = select.join(sql.table(table, alias), on=link, copy=False)
        select = self._left_joins(select)
        select = self._with_top_group(select)
        if plan.filters:
            select = select.where(*(self.condition(filter_) for filter_ in plan.filters), copy=False)
        if plan.distinct:
            select = select.distinct(copy=False)
        keys = [self.item(key) for key in plan.group]
        if keys:
            select = select.group_by(*keys, copy=False)
        if plan.having and not isinstance(plan.having, HavingMean):
            threshold = sql.OPERATORS[plan.having.op](
                this=self.item(plan.having.of), expression=sql.literal(plan.having.value)
            )
            select = select.having(threshold, copy=False)
        return self.finish(select)

    def finish(self, select: exp.Select) -> exp.Select:
        if self.plan.order:
            select = select.order_by(*self._stated_order(), copy=False)
        return select.limit(self.plan.limit, copy=False) if self.plan.limit else select

    def output(self, item: Item) -> exp.Expr:
        expression, alias = self.item(item), alias_of(item, self.plan, self.catalog)
        same = isinstance(item, Ref) and alias == item.column
        return expression if same else exp.alias_(expression, sql.identifier(alias))

    def _stated_order(self) -> list[exp.Ordered]:
        """Computed columns that are selected are ordered by their alias."""
        plan = self.plan
        return [
            expression
            if isinstance(order.by, Ref) or order.by not in plan.select
            else self.idiom.ordered(sql.column(alias_of(order.by, plan, self.catalog)), order.descending)
            for order, expression in zip(plan.order, self.order, strict=True)
        ]

    def _left_joins(self, select: exp.Select) -> exp.Select:
        joins = [(f.table, f.key) for f in self.plan.filters if isinstance(f, Partner) and f.form == "join"]
        joins += [(item.table, item.key) for item in self.plan.select if isinstance(item, ChildCount)]
        for table, key in joins:
            select = select.join(sql.table(table), on=self._link(table, key), join_type="left", copy=False)
        return select

    def _with_top_group(self, select: exp.Select) -> exp.Select:
        for filter_ in self.plan.filters:
            if isinstance(filter_, TopGroup):
                totals = Plan("", self.plan.subject, (filter_.group, filter_.of), group=(filter_.group,))
                value = alias_of(filter_.of, totals, self.catalog)
                best = exp.select(exp.func("MAX" if filter_.descending else "MIN", sql.column(value)))
                best = best.from_(sql.table("group_values"))
                top = exp.select(sql.column(filter_.group.column)).from_(sql.table("group_values"))
                top = top.where(exp.EQ(this=sql.column(value), expression=best.subquery()))
                select = select.with_("group_values", Select(totals, self.catalog, self.idiom).build(), copy=False)
                select = select.with_("top_group", top, copy=False)
        return select


def _by_length(path: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    return len(path), path


def _slug(key: str, table: str) -> str:
    stem = re.sub(r"(_id|_no|_code|id|Id)$", "", key) or key
    return stem if stem != table else f"{stem}_row"


def _paths(plan: Plan) -> list[tuple[str, ...]]:
    items: list[Item] = [*plan.select, *plan.group, *(order.by for order in plan.order)]
    refs = [ref_of(item) for item in items]
    refs += [getattr(item, "within", None) for item in items] + [getattr(item, "per", None) for item in items]
    refs += [getattr(filter_, "ref", None) or getattr(filter_, "group", None) for filter_ in plan.filters]
    refs += [ref_of(plan.having.of)] if plan.having else []
    refs += [plan.top.within, *(ref_of(order.by) for order in plan.top.order)] if plan.top else []
    return [ref.path for ref in refs if ref]
