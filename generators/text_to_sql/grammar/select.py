"""One SELECT over a subject and the joins that its items, filters and keys need.

Columns are qualified only where more than one table is in play; computed columns get names that say what they are
(`average_amount`, `loan_count`), since the names are part of what a model learns from the query.
"""

import re
from collections.abc import Iterable

from sqlglot import exp

from generators.text_to_sql.grammar import sql
from generators.text_to_sql.grammar.catalog import Catalog
from generators.text_to_sql.grammar.conditions import Conditions
from generators.text_to_sql.grammar.expressions import Aliases, Expressions
from generators.text_to_sql.grammar.idioms import Idiom
from generators.text_to_sql.grammar.naming import alias_of
from generators.text_to_sql.grammar.plan import (
    BeyondCount,
    ChildCount,
    ChildTotal,
    Covers,
    Either,
    Filter,
    Having,
    Item,
    Nested,
    Partner,
    Plan,
    Ref,
    TopGroup,
    VersusAverage,
    VersusNamed,
    refs_of,
)
from generators.text_to_sql.schema import Table


class Select:
    """Builds one SELECT over the subject and the joins that its items, filters and keys need."""

    def __init__(self, plan: Plan, catalog: Catalog, idiom: Idiom) -> None:
        self.plan, self.catalog, self.idiom = plan, catalog, idiom
        self.subject = catalog.table(plan.subject)
        self.aliases = self._aliases(self._joined(ref).path for ref in _refs(plan))
        alone = len(self.aliases) == 1 and not any(map(_brings_tables, (*plan.filters, *plan.select)))
        self.expressions = Expressions(plan, catalog, idiom, self.aliases, alone)
        self.conditions = Conditions(self.expressions)

    def _joined(self, ref: Ref) -> Ref:
        """Where the column is read: the key of a parent row needs no join, as the subject points to it."""
        pointer = self.catalog.pointer(self.plan.subject, ref)
        return self._joined(pointer) if pointer else ref

    def _aliases(self, paths: Iterable[tuple[str, ...]]) -> Aliases:
        """The alias is the table's name unless the table is joined twice."""
        tables: dict[tuple[str, ...], Table] = {(): self.subject}
        for path in sorted({long[:n] for long in paths for n in range(1, len(long) + 1)}, key=_by_length):
            key = self.catalog.key(tables[path[:-1]].name, path[-1])
            tables[path] = self.catalog.table(key.table)
        names = [table.name for table in tables.values()]
        return {
            path: (table.name, table.name if names.count(table.name) == 1 or not path else _slug(path[-1], table.name))
            for path, table in tables.items()
        }

    def build(self) -> exp.Select:
        plan = self.plan
        select = exp.select(*(self.output(item) for item in plan.select)).from_(sql.table(plan.subject))
        select = self._left_joins(self._joins(select))
        select = self._with_top_group(select)
        if plan.filters:
            conditions = [self.conditions.condition(filter_) for filter_ in plan.filters]
            conditions = [c.this if len(conditions) == 1 and isinstance(c, exp.Paren) else c for c in conditions]
            select = select.where(*conditions, copy=False)
        if plan.distinct:
            select = select.distinct(copy=False)
        keys = [self.expressions.item(key) for key in plan.group]
        if keys:
            select = select.group_by(*keys, copy=False)
        if isinstance(plan.having, Having) and plan.having.form == "having":
            select = select.having(self.threshold(plan.having, self.expressions.item(plan.having.of)), copy=False)
        return self.finish(select)

    def threshold(self, having: Having, value: exp.Expr) -> exp.Expr:
        return sql.OPERATORS[having.op](this=value, expression=sql.literal(having.value))

    def finish(self, select: exp.Select) -> exp.Select:
        if self.plan.order:
            select = select.order_by(*self._stated_order(), copy=False)
        if self.plan.limit:
            select = select.limit(self.plan.limit, copy=False)
        return select.offset(self.plan.offset, copy=False) if self.plan.offset else select

    def output(self, item: Item) -> exp.Expr:
        expression, alias = self.expressions.item(item), alias_of(item, self.plan, self.catalog)
        same = isinstance(expression, exp.Column) and expression.name == alias
        return expression if same else exp.alias_(expression, sql.identifier(alias))

    def _stated_order(self) -> list[exp.Ordered]:
        """Computed columns that are selected are ordered by their alias."""
        plan = self.plan
        return [
            expression
            if isinstance(order.by, Ref) or order.by not in plan.select
            else self.idiom.ordered(sql.column(alias_of(order.by, plan, self.catalog)), order.descending)
            for order, expression in zip(plan.order, self.expressions.order, strict=True)
        ]

    # --- joins ---

    def _joins(self, select: exp.Select) -> exp.Select:
        for path, (table, alias) in self.aliases.items():
            if path:
                parent = self.aliases[path[:-1]]
                key = self.catalog.key(parent[0], path[-1])
                link = exp.EQ(this=sql.column(key.column, parent[1]), expression=sql.column(key.to_column, alias))
                select = select.join(sql.table(table, alias), on=link, copy=False)
        for filter_ in self.plan.filters:
            if isinstance(filter_, VersusNamed):
                select = select.join(sql.table(self.subject.name, "other"), on=self._to_named(filter_), copy=False)
        return select

    def _to_named(self, filter_: VersusNamed) -> exp.Expr:
        """The other row, to which a row is compared; it is always like itself."""
        mine, theirs = self.expressions.ref(filter_.ref), sql.column(filter_.ref.column, "other")
        alike = sql.OPERATORS[filter_.op](this=mine, expression=theirs)
        if filter_.op != "eq":
            return alike
        key = self.subject.primary_key[0]
        apart = exp.NEQ(this=sql.column(key, self.subject.name), expression=sql.column(key, "other"))
        return exp.and_(alike, apart)

    def _left_joins(self, select: exp.Select) -> exp.Select:
        joins = [(f.table, f.key) for f in self.plan.filters if isinstance(f, Partner) and f.form == "join"]
        joins += [(i.table, i.key) for i in self.plan.select if isinstance(i, ChildTotal)]
        joins += [(i.table, i.key) for i in self.plan.select if isinstance(i, ChildCount) and i.form == "join"]
        for table, key in joins:
            select = select.join(sql.table(table), on=self.expressions.link(table, key), join_type="left", copy=False)
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


def _brings_tables(part: Item | Filter) -> bool:
    """Other tables, or the subject a second time, come with it, so that columns must be qualified."""
    if isinstance(part, VersusAverage):
        return part.within is not None
    if isinstance(part, Covers) or (isinstance(part, Partner) and part.form == "in"):
        return False
    return isinstance(part, Partner | VersusNamed | ChildCount | ChildTotal)


def _by_length(path: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    return len(path), path


def _slug(key: str, table: str) -> str:
    stem = re.sub(r"(_id|_no|_code|id|Id)$", "", key) or key
    return stem if stem != table else f"{stem}_row"


def _refs(plan: Plan) -> list[Ref]:
    items: list[Item] = [*plan.select, *plan.group, *(order.by for order in plan.order)]
    items += [plan.having.of] if plan.having else []
    items += [plan.top.within, *(order.by for order in plan.top.order)] if plan.top else []
    refs = [ref for item in items if not isinstance(item, ChildTotal) for ref in refs_of(item)]
    refs += [item.per for item in items if isinstance(item, Nested | BeyondCount)]
    return refs + [ref for filter_ in plan.filters for ref in _refs_in(filter_)]


def _refs_in(filter_: Filter) -> list[Ref]:
    if isinstance(filter_, Either):
        return [*_refs_in(filter_.first), *_refs_in(filter_.second)]
    ref = getattr(filter_, "ref", None) or getattr(filter_, "group", None)
    return [ref] if ref else []
