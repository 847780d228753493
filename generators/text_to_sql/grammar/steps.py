"""One step of a query: a plan, the dialect that it is written in, and the names of its output columns."""

from dataclasses import dataclass

from sqlglot import exp

from generators.text_to_sql.grammar import sql
from generators.text_to_sql.grammar.catalog import Catalog
from generators.text_to_sql.grammar.idioms import Idiom
from generators.text_to_sql.grammar.naming import alias_of
from generators.text_to_sql.grammar.plan import Item, Plan
from generators.text_to_sql.grammar.select import Select


@dataclass(frozen=True)
class Steps:
    plan: Plan
    catalog: Catalog
    idiom: Idiom

    def of(self, plan: Plan) -> "Steps":
        """Another step of the same query."""
        return Steps(plan, self.catalog, self.idiom)

    def select(self) -> Select:
        return Select(self.plan, self.catalog, self.idiom)

    def inner(self) -> exp.Select:
        """The plan as one plain SELECT."""
        return self.select().build()

    def name(self, item: Item) -> str:
        return alias_of(item, self.plan, self.catalog)

    def names(self) -> list[str]:
        return [self.name(item) for item in self.plan.select]

    def by_alias(self) -> list[exp.Ordered]:
        """The plan's order over its output columns."""
        return [self.idiom.ordered(sql.column(self.name(by.by)), by.descending) for by in self.plan.order]
