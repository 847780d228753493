"""What a plan says, listed for the check: columns in their roles, literals, aggregates, directions, tables."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from generators.text_to_sql.grammar.catalog import Catalog
from generators.text_to_sql.grammar.plan import (
    Aggregate,
    Bucket,
    Change,
    ChildCount,
    Comparison,
    DatePart,
    Filter,
    Item,
    Membership,
    Moving,
    Nested,
    Order,
    Partner,
    Pattern,
    Plan,
    Ref,
    Running,
    Share,
    TopGroup,
    VersusAverage,
    ref_of,
)

Direction = str
"""high, low, late or early: the end of an order that a superlative names."""


@dataclass(frozen=True)
class Facts:
    plan: Plan
    catalog: Catalog

    @property
    def filters(self) -> tuple[Filter, ...]:
        """The conditions of the plan and of the one it is united with."""
        return self.plan.filters + (self.plan.union.filters if self.plan.union else ())

    @property
    def selected(self) -> tuple[Item, ...]:
        return self.plan.select + (self.plan.union.select if self.plan.union else ())

    def items(self) -> Iterator[Item]:
        """Everything that is computed or shown, also inside orders and conditions."""
        plan = self.plan
        yield from self.selected
        yield from plan.group
        yield from (order.by for order in plan.order)
        if plan.top:
            yield plan.top.within
            yield from (order.by for order in plan.top.order)
        if plan.having:
            yield plan.having.of
        for filter_ in self.filters:
            if isinstance(filter_, TopGroup):
                yield filter_.group
                yield filter_.of

    def refs(self) -> Iterator[Ref]:
        for item in self.items():
            if (ref := ref_of(item)) is not None:
                yield ref
            within = getattr(item, "within", None)
            if isinstance(within, Ref):
                yield within
        for filter_ in self.filters:
            if isinstance(filter_, Partner):
                if filter_.having:
                    yield filter_.having.ref
            elif not isinstance(filter_, TopGroup):
                yield filter_.ref
                if isinstance(filter_, VersusAverage) and filter_.within:
                    yield filter_.within

    @cached_property
    def tables(self) -> frozenset[str]:
        """The subject, the tables on every path, the partners."""
        found = {self.plan.subject} | ({self.plan.union.subject} if self.plan.union else set())
        paths = [ref.path for ref in self.refs()] + [i.per.path for i in self.selected if isinstance(i, Nested)]
        for path in paths:
            table = self.plan.subject
            for step in path:
                table = self.catalog.key(table, step).table
                found.add(table)
        found |= {item.table for item in self.selected if isinstance(item, ChildCount)}
        found |= {filter_.table for filter_ in self.filters if isinstance(filter_, Partner)}
        return frozenset(found)

    def roles(self) -> frozenset[tuple[str, str]]:
        """The keys followed whose role must be heard: the last of a path, and any that its table holds twice."""
        found: set[tuple[str, str]] = set()
        paths = [ref.path for ref in self.refs()] + [i.per.path for i in self.selected if isinstance(i, Nested)]
        for path in paths:
            table = self.plan.subject
            for place, step in enumerate(path, start=1):
                if place == len(path) or self._twin(table, step):
                    found.add((table, step))
                table = self.catalog.key(table, step).table
        links = [(i.table, i.key) for i in self.selected if isinstance(i, ChildCount)]
        links += [(f.table, f.key) for f in self.filters if isinstance(f, Partner)]
        found |= {link for link in links if self._twin(*link)}
        return frozenset(link for link in found if self.catalog.key(*link).words)

    def _twin(self, table: str, column: str) -> bool:
        target = self.catalog.key(table, column).table
        return [key.table for key in self.catalog.table(table).foreign_keys].count(target) > 1

    def aggregates(self) -> list[Aggregate]:
        """Every aggregate, also those inside shares, windows and conditions."""
        found: list[Aggregate] = []
        for item in self.items():
            match item:
                case Aggregate():
                    found.append(item)
                case Share(of=of) | Nested(inner=of):
                    found.append(of)
                case Running(of=Aggregate() as of) | Change(of=Aggregate() as of) | Moving(of=Aggregate() as of):
                    found.append(of)
        return list(dict.fromkeys(found))

    @cached_property
    def strings(self) -> frozenset[str]:
        """The string literals, as they must be heard; dates are heard as dates."""
        found: set[str] = set()
        for filter_ in self._flat_filters():
            match filter_:
                case Comparison(ref, _, str(value)) if self.catalog.column(ref).kind != "date":
                    found.add(value)
                case Membership(values=values):
                    found |= {value for value in values if isinstance(value, str)}
        found |= {label for item in self.items() if isinstance(item, Bucket) for label in item.labels}
        return frozenset(found)

    @cached_property
    def patterns(self) -> frozenset[str]:
        """The texts that LIKE looks for: often mere pieces of words."""
        return frozenset(filter_.text for filter_ in self._flat_filters() if isinstance(filter_, Pattern))

    def _flat_filters(self) -> Iterator[Filter]:
        for filter_ in self.filters:
            yield filter_
            if isinstance(filter_, Partner) and filter_.having:
                yield filter_.having

    def end(self, order: Order) -> Direction:
        """The superlative that an order starts with."""
        by = order.by
        if isinstance(by, DatePart) or (isinstance(by, Ref) and self.catalog.column(by).kind == "date"):
            return "late" if order.descending else "early"
        return "high" if order.descending else "low"
