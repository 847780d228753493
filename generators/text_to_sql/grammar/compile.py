"""From a plan to SQL: a sqlglot tree, and its text for SQLite in one stable layout.

Columns are qualified only where more than one table is in play; computed columns get names that say what they are
(`average_amount`, `loan_count`), since the names are part of what a model learns from the query.
"""

import re
from collections.abc import Iterable

from sqlglot import exp
from sqlglot.generators.sqlite import SQLiteGenerator

from generators.text_to_sql.grammar.catalog import Catalog
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

_OPERATORS: dict[str, type[exp.Binary]] = {
    "eq": exp.EQ,
    "ne": exp.NEQ,
    "lt": exp.LT,
    "le": exp.LTE,
    "gt": exp.GT,
    "ge": exp.GTE,
}
_FUNCTIONS = {"count": "COUNT", "count_distinct": "COUNT", "sum": "SUM", "avg": "AVG", "min": "MIN", "max": "MAX"}
_PREFIX = {"sum": "total", "avg": "average", "min": "lowest", "max": "highest", "count_distinct": "distinct"}
_STRFTIME = {"year": "%Y", "month": "%Y-%m"}
_RESERVED = frozenset((
    "add", "all", "alter", "and", "as", "between", "by", "case", "check", "collate", "column", "commit",
    "constraint", "create", "cross", "current_date", "current_time", "current_timestamp", "default", "delete",
    "desc", "distinct", "drop", "else", "end", "escape", "except", "exists", "foreign", "from", "full", "group",
    "having", "in", "index", "inner", "insert", "intersect", "into", "is", "isnull", "join", "key", "left", "like",
    "limit", "natural", "not", "null", "offset", "on", "or", "order", "outer", "over", "partition", "primary",
    "references", "right", "row", "rows", "select", "set", "table", "then", "to", "transaction", "trigger", "union",
    "unique", "update", "using", "values", "view", "when", "where", "with",
))  # fmt: skip


class _Generator(SQLiteGenerator):
    """Writes `x NOT IN (...)` and `x NOT LIKE y`, where sqlglot would put the NOT before x."""

    def not_sql(self, expression: exp.Not) -> str:
        inner = expression.this
        if isinstance(inner, exp.In | exp.Like):
            left = self.sql(inner, "this")
            return f"{left} NOT {self.sql(inner)[len(left) + 1 :]}"
        return str(super().not_sql(expression))


def to_sql(ast: exp.Expr) -> str:
    """SQLite text, pretty and stable."""
    return str(_Generator(dialect="sqlite", pretty=True, max_text_width=60).generate(ast))


def compile_plan(plan: Plan, catalog: Catalog) -> exp.Query:
    """The plan as one SELECT, with CTEs, windows or a UNION where it needs them."""
    ast = _one_select(plan, catalog)
    if plan.union:
        return exp.Union(this=ast, expression=_Select(plan.union, catalog).build(), distinct=True)
    return ast


def _one_select(plan: Plan, catalog: Catalog) -> exp.Select:
    if plan.top:
        return _top_per_group(plan, catalog)
    if any(isinstance(item, Nested) for item in plan.select):
        return _nested(plan, catalog)
    if isinstance(plan.having, HavingMean):
        return _versus_group_mean(plan, catalog)
    if plan.group and any(isinstance(item, Running | Change | Moving) for item in plan.select):
        return _windowed_groups(plan, catalog)
    return _Select(plan, catalog).build()


def identifier(name: str) -> exp.Identifier:
    plain = re.fullmatch(r"[A-Za-z_]\w*", name) and name.lower() not in _RESERVED
    return exp.to_identifier(name, quoted=not plain)


def _column(name: str, table: str | None = None) -> exp.Column:
    return exp.Column(this=identifier(name), table=identifier(table) if table else None)


def _literal(value: object) -> exp.Expr:
    """5000.0 is written 5000."""
    if isinstance(value, str):
        return exp.Literal.string(value)
    return exp.convert(int(value) if isinstance(value, float) and value.is_integer() else value)


def _ordered(expression: exp.Expr, descending: bool) -> exp.Ordered:
    return exp.Ordered(this=expression, desc=descending or None, nulls_first=not descending)


def _round(expression: exp.Expr, decimals: int | None) -> exp.Expr:
    return expression if decimals is None else exp.Round(this=expression, decimals=_literal(decimals))


def _window(
    function: exp.Expr,
    partition: Iterable[exp.Expr],
    order: list[exp.Ordered],
    rows: int | None = None,
    running: bool = False,
) -> exp.Window:
    """`rows` counts the preceding rows of the frame; `running` starts it at the first row."""
    spec = None
    if running or rows is not None:
        start: str | exp.Expr = "UNBOUNDED" if running else _literal(rows)
        spec = exp.WindowSpec(kind="ROWS", start=start, start_side="PRECEDING", end="CURRENT ROW")
    return exp.Window(
        this=function, partition_by=list(partition), order=exp.Order(expressions=order) if order else None, spec=spec
    )


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


class _Select:
    """Builds one SELECT over the subject and the joins that its items, filters and keys need."""

    def __init__(self, plan: Plan, catalog: Catalog) -> None:
        self.plan, self.catalog = plan, catalog
        self.subject = catalog.table(plan.subject)
        self.aliases = self._aliases(_paths(plan))
        self.lone = len(self.aliases) == 1 and not any(
            isinstance(f, Partner) or (isinstance(f, VersusAverage) and f.within) for f in plan.filters
        )
        self.lone = self.lone and not any(isinstance(item, ChildCount) for item in plan.select)
        self.order = [_ordered(self.item(order.by), order.descending) for order in plan.order]

    def _aliases(self, paths: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], tuple[str, str]]:
        """path → (table, alias); the alias is the table's name unless the table is joined twice."""
        tables: dict[tuple[str, ...], Table] = {(): self.subject}
        for path in sorted({long[:n] for long in paths for n in range(1, len(long) + 1)}, key=len):
            key = self.catalog.key(tables[path[:-1]].name, path[-1])
            tables[path] = self.catalog.table(key.table)
        names = [table.name for table in tables.values()]
        return {
            path: (table.name, table.name if names.count(table.name) == 1 or not path else _slug(path[-1], table.name))
            for path, table in tables.items()
        }

    # --- expressions ---

    def ref(self, ref: Ref) -> exp.Column:
        return _column(ref.column, None if self.lone else self.aliases[ref.path][1])

    def date(self, ref: Ref) -> exp.Expr:
        """The day of a date column, without its time."""
        column = self.ref(ref)
        return exp.func("DATE", column) if self.catalog.column(ref).has_time else column

    def item(self, item: Item) -> exp.Expr:
        match item:
            case Ref():
                return self.ref(item)
            case DatePart(ref, part):
                text = exp.Anonymous(this="STRFTIME", expressions=[_literal(_STRFTIME[part]), self.ref(ref)])
                return exp.cast(text, "INTEGER") if part == "year" else text
            case Bucket(ref, edges, labels):
                case_ = exp.Case(default=_literal(labels[-1]))
                for edge, label in zip(edges, labels, strict=False):
                    case_ = case_.when(exp.LT(this=self.ref(ref), expression=_literal(edge)), _literal(label))
                return case_
            case Aggregate(function, ref, decimals):
                argument: exp.Expr = self.ref(ref) if ref else exp.Star()
                if function == "count_distinct":
                    argument = exp.Distinct(expressions=[argument])
                return _round(exp.func(_FUNCTIONS[function], argument), decimals)
            case ChildCount(table, key):
                return exp.func("COUNT", _column(key, table))
            case Share(of, decimals):
                part_ = self.item(of)
                total = _window(exp.func("SUM", part_.copy()), [], [])
                hundredfold = exp.Mul(this=exp.Literal.number("100.0"), expression=part_)
                return _round(exp.Div(this=hundredfold, expression=total, typed=True), decimals)
            case Running(of, within):
                return _window(exp.func("SUM", self.item(of)), self._partition(within), self.order, running=True)
            case Change(of, within):
                lag = _window(exp.func("LAG", self.item(of)), self._partition(within), self.order)
                return exp.Sub(this=self.item(of), expression=lag)
            case Moving(of, rows):
                return _window(exp.func("AVG", self.item(of)), [], self.order, rows=rows - 1)
            case Rank(ref, descending, dense, within):
                function_ = exp.Anonymous(this="DENSE_RANK" if dense else "RANK")
                return _window(function_, self._partition(within), [_ordered(self.ref(ref), descending)])
            case Deviation(ref, within):
                mean = _window(exp.func("AVG", self.ref(ref)), self._partition(within), [])
                return exp.Sub(this=self.ref(ref), expression=mean)
        raise AssertionError(item)

    def _partition(self, within: Ref | None) -> list[exp.Expr]:
        return [self.ref(within)] if within else []

    # --- conditions ---

    def condition(self, filter_: Filter) -> exp.Expr:
        match filter_:
            case Comparison(ref, op, value):
                is_date = self.catalog.column(ref).kind == "date"
                return _OPERATORS[op](this=self.date(ref) if is_date else self.ref(ref), expression=_literal(value))
            case Between(ref, low, high):
                is_date = self.catalog.column(ref).kind == "date"
                this = self.date(ref) if is_date else self.ref(ref)
                return exp.Between(this=this, low=_literal(low), high=_literal(high))
            case Membership(ref, values, negated):
                return _negate(exp.In(this=self.ref(ref), expressions=[_literal(v) for v in values]), negated)
            case Pattern(ref, how, text, negated):
                pattern = {"starts": f"{text}%", "ends": f"%{text}", "contains": f"%{text}%"}[how]
                return _negate(exp.Like(this=self.ref(ref), expression=_literal(pattern)), negated)
            case Missing(ref, negated):
                return exp.Is(this=self.ref(ref), expression=exp.Not(this=exp.null()) if negated else exp.null())
            case InPeriod(ref, period):
                part: Item = DatePart(ref, "year" if isinstance(period, int) else "month")
                return exp.EQ(this=self.item(part), expression=_literal(period))
            case Recent(ref, days):
                newest = exp.select(exp.func("MAX", _column(ref.column))).from_(_table(ref.table)).subquery()
                start = exp.Anonymous(this="DATE", expressions=[newest, _literal(f"-{days} days")])
                return exp.GTE(this=self.date(ref), expression=start)
            case Partner():
                return self._partner(filter_)
            case VersusAverage():
                return self._versus_average(filter_)
            case TopGroup(group):
                winners = exp.select(_column(group.column)).from_(_table("top_group")).subquery()
                return exp.In(this=self.ref(group), query=winners)
        raise AssertionError(filter_)

    def _partner(self, filter_: Partner) -> exp.Expr:
        if filter_.form == "join":
            return exp.Is(this=_column(filter_.key, filter_.table), expression=exp.null())
        where: exp.Expr = self._link(filter_.table, filter_.key)
        if filter_.having:
            other = filter_.having
            extra = _OPERATORS[other.op](
                this=_column(other.ref.column, filter_.table), expression=_literal(other.value)
            )
            where = exp.and_(where, extra)
        rows = exp.select(_literal(1)).from_(_table(filter_.table)).where(where)
        return _negate(exp.Exists(this=rows), filter_.negated)

    def _link(self, table: str, key: str) -> exp.EQ:
        to_column = self.catalog.key(table, key).to_column
        return exp.EQ(this=_column(key, table), expression=_column(to_column, self.subject.name))

    def _versus_average(self, filter_: VersusAverage) -> exp.Expr:
        ref, within = filter_.ref, filter_.within
        if within:
            peers = exp.select(exp.func("AVG", _column(ref.column, "peer"))).from_(_table(ref.table, "peer"))
            peers = peers.where(
                exp.EQ(this=_column(within.column, "peer"), expression=_column(within.column, ref.table))
            )
        else:
            peers = exp.select(exp.func("AVG", _column(ref.column))).from_(_table(ref.table))
        return _OPERATORS[filter_.op](this=self.ref(ref), expression=peers.subquery())

    # --- the statement ---

    def build(self) -> exp.Select:
        plan = self.plan
        select = exp.select(*(self.output(item) for item in plan.select)).from_(_table(plan.subject))
        for path, (table, alias) in self.aliases.items():
            if path:
                parent = self.aliases[path[:-1]]
                key = self.catalog.key(parent[0], path[-1])
                link = exp.EQ(this=_column(key.column, parent[1]), expression=_column(key.to_column, alias))
                select = select.join(_table(table, alias), on=link, copy=False)
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
            threshold = _OPERATORS[plan.having.op](
                this=self.item(plan.having.of), expression=_literal(plan.having.value)
            )
            select = select.having(threshold, copy=False)
        return self.finish(select)

    def finish(self, select: exp.Select) -> exp.Select:
        if self.order:
            select = select.order_by(*self._stated_order(), copy=False)
        return select.limit(self.plan.limit, copy=False) if self.plan.limit else select

    def output(self, item: Item) -> exp.Expr:
        expression, alias = self.item(item), alias_of(item, self.plan, self.catalog)
        same = isinstance(item, Ref) and alias == item.column
        return expression if same else exp.alias_(expression, identifier(alias))

    def _stated_order(self) -> list[exp.Ordered]:
        """Computed columns that are selected are ordered by their alias."""
        plan = self.plan
        return [
            expression
            if isinstance(order.by, Ref) or order.by not in plan.select
            else _ordered(_column(alias_of(order.by, plan, self.catalog)), order.descending)
            for order, expression in zip(plan.order, self.order, strict=True)
        ]

    def _left_joins(self, select: exp.Select) -> exp.Select:
        joins = [(f.table, f.key) for f in self.plan.filters if isinstance(f, Partner) and f.form == "join"]
        joins += [(item.table, item.key) for item in self.plan.select if isinstance(item, ChildCount)]
        for table, key in joins:
            select = select.join(_table(table), on=self._link(table, key), join_type="left", copy=False)
        return select

    def _with_top_group(self, select: exp.Select) -> exp.Select:
        for filter_ in self.plan.filters:
            if isinstance(filter_, TopGroup):
                totals = Plan("", self.plan.subject, (filter_.group, filter_.of), group=(filter_.group,))
                value = alias_of(filter_.of, totals, self.catalog)
                best = exp.select(exp.func("MAX" if filter_.descending else "MIN", _column(value)))
                best = best.from_(_table("group_values"))
                top = exp.select(_column(filter_.group.column)).from_(_table("group_values"))
                top = top.where(exp.EQ(this=_column(value), expression=best.subquery()))
                select = select.with_("group_values", _Select(totals, self.catalog).build(), copy=False)
                select = select.with_("top_group", top, copy=False)
        return select


def _table(name: str, alias: str | None = None) -> exp.Table:
    return exp.Table(
        this=identifier(name), alias=exp.TableAlias(this=identifier(alias)) if alias and alias != name else None
    )


def _negate(expression: exp.Expr, negated: bool) -> exp.Expr:
    return exp.Not(this=expression) if negated else expression


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


# --- shapes of more than one step ------------------------------------------------------------------------------------


def _top_per_group(plan: Plan, catalog: Catalog) -> exp.Select:
    """WITH ranked AS (... ROW_NUMBER() OVER (PARTITION BY ...)) SELECT ... WHERE position <= n."""
    assert plan.top
    inner = _Select(plan, catalog)
    order = [_ordered(inner.item(by.by), by.descending) for by in plan.top.order]
    function = exp.Anonymous(this="RANK") if plan.top.ties else exp.RowNumber()
    position = _window(function, [inner.ref(plan.top.within)], order)
    ranked = inner.build().select(exp.alias_(position, "position"), copy=False)
    names = [alias_of(item, plan, catalog) for item in plan.select]
    outer = exp.select(*(_column(name) for name in names)).from_(_table("ranked"))
    limit = _literal(plan.top.count)
    one = exp.EQ if plan.top.count == 1 else exp.LTE
    return outer.where(one(this=_column("position"), expression=limit)).with_("ranked", ranked)


def _nested(plan: Plan, catalog: Catalog) -> exp.Select:
    """WITH totals AS (one inner aggregate per parent row) SELECT the outer aggregate of them, per group."""
    nested = next(item for item in plan.select if isinstance(item, Nested))
    steps = Plan(
        "", plan.subject, (*plan.group, nested.per, nested.inner), filters=plan.filters, group=(*plan.group, nested.per)
    )
    value = exp.func(_FUNCTIONS[nested.outer], _column(alias_of(nested.inner, steps, catalog)))
    keys = [_column(alias_of(key, steps, catalog)) for key in plan.group]
    outer = exp.select(*keys, exp.alias_(value, alias_of(nested, plan, catalog))).from_(_table("totals"))
    if keys:
        outer = outer.group_by(*(key.copy() for key in keys))
    outer = outer.with_("totals", _Select(steps, catalog).build())
    return outer.order_by(*_by_alias(plan, catalog)) if plan.order else outer


def _versus_group_mean(plan: Plan, catalog: Catalog) -> exp.Select:
    """WITH totals AS (one aggregate per group), mean AS (their average) SELECT the groups beyond it."""
    assert isinstance(plan.having, HavingMean)
    steps = Plan("", plan.subject, plan.select, filters=plan.filters, group=plan.group)
    value = _column(alias_of(plan.having.of, steps, catalog))
    mean = exp.select(exp.alias_(exp.func("AVG", value.copy()), "value")).from_(_table("totals"))
    names = [_column(alias_of(item, steps, catalog), "totals") for item in plan.select]
    beyond = _OPERATORS[plan.having.op](this=_column(value.name, "totals"), expression=_column("value", "mean"))
    outer = exp.select(*names).from_(_table("totals")).join(_table("mean"), join_type="cross").where(beyond)
    outer = outer.with_("totals", _Select(steps, catalog).build()).with_("mean", mean)
    return outer.order_by(*_by_alias(plan, catalog)) if plan.order else outer


def _windowed_groups(plan: Plan, catalog: Catalog) -> exp.Select:
    """WITH totals AS (one aggregate per group) SELECT them and a window over them in the plan's order."""
    aggregates = [item for item in plan.select if not isinstance(item, Running | Change | Moving)]
    steps = Plan("", plan.subject, tuple(aggregates), filters=plan.filters, group=plan.group)
    order = _by_alias(plan, catalog)
    columns: list[exp.Expr] = []
    for item in plan.select:
        if not isinstance(item, Running | Change | Moving):
            columns.append(_column(alias_of(item, steps, catalog)))
            continue
        value = _column(alias_of(item.of, steps, catalog))
        match item:
            case Running():
                computed: exp.Expr = _window(exp.func("SUM", value), [], order, running=True)
            case Change():
                computed = exp.Sub(this=value, expression=_window(exp.func("LAG", value.copy()), [], order))
            case Moving(rows=rows):
                computed = _window(exp.func("AVG", value), [], order, rows=rows - 1)
        columns.append(exp.alias_(computed, alias_of(item, plan, catalog)))
    outer = exp.select(*columns).from_(_table("totals")).with_("totals", _Select(steps, catalog).build())
    return outer.order_by(*(expression.copy() for expression in order))


def _by_alias(plan: Plan, catalog: Catalog) -> list[exp.Ordered]:
    return [_ordered(_column(alias_of(order.by, plan, catalog)), order.descending) for order in plan.order]
