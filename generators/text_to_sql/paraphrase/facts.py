"""What a plan says, listed for the check: columns in their roles, literals, aggregates, directions, tables."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from generators.text_to_sql.grammar.catalog import Catalog
from generators.text_to_sql.grammar.plan import (
    Aggregate,
    BeyondCount,
    Bucket,
    ChildCount,
    ChildTotal,
    Comparison,
    Conditional,
    Covers,
    DatePart,
    Default,
    Either,
    Filter,
    Item,
    Mapped,
    Membership,
    Nested,
    Order,
    OverTime,
    Partner,
    Pattern,
    Plan,
    Ref,
    Renamed,
    Share,
    TopGroup,
    VersusAverage,
    VersusNamed,
    refs_of,
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
            yield from refs_of(item)
        for filter_ in self.filters:
            yield from _refs_in(filter_)

    def links(self) -> list[tuple[str, str]]:
        """The (table, key) of related rows that are counted, added up or asked for."""
        parts = [*self.selected, *self.filters]
        return [(p.table, p.key) for p in parts if isinstance(p, ChildCount | ChildTotal | Partner | Covers)]

    def paths(self) -> list[tuple[str, ...]]:
        found = [ref.path for ref in self.refs()]
        return found + [item.per.path for item in self.selected if isinstance(item, Nested | BeyondCount)]

    @cached_property
    def tables(self) -> frozenset[str]:
        """The subject, the tables on every path, the partners."""
        found = {self.plan.subject} | ({self.plan.union.subject} if self.plan.union else set())
        for path in self.paths():
            table = self.plan.subject
            for step in path:
                table = self.catalog.key(table, step).table
                found.add(table)
        return frozenset(found.union(table for table, _ in self.links()))

    def roles(self) -> frozenset[tuple[str, str]]:
        """The keys followed whose role must be heard: the last of a path, and any that its table holds twice."""
        found: set[tuple[str, str]] = set()
        for path in self.paths():
            table = self.plan.subject
            for place, step in enumerate(path, start=1):
                if place == len(path) or self._twin(table, step):
                    found.add((table, step))
                table = self.catalog.key(table, step).table
        found |= {link for link in self.links() if self._twin(*link)}
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
                case Share(of=of) | Nested(inner=of) | Conditional(of=of) | BeyondCount(of=of):
                    found.append(of)
                case _ if isinstance(item, OverTime):
                    found += [item.of] if isinstance(item.of, Aggregate) else []
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
                case VersusNamed(name=name):
                    found.add(name)
        if self.plan.shape == "unpivot":
            found |= {self.catalog.column(ref).words for item in self.plan.select[1:] for ref in refs_of(item)}
        for item in self.items():
            match item:
                case Bucket(labels=labels):
                    found |= set(labels)
                case Renamed(name=name) | Default(value=str(name)):
                    found.add(name)
                case Mapped(values=values, words=words, rest=rest):
                    found |= {*values, *words, rest}
        return frozenset(found)

    @cached_property
    def patterns(self) -> frozenset[str]:
        """The texts that LIKE looks for: often mere pieces of words."""
        return frozenset(filter_.text for filter_ in self._flat_filters() if isinstance(filter_, Pattern))

    def conditionals(self) -> list[Conditional]:
        return [item for item in self.selected if isinstance(item, Conditional)]

    def _flat_filters(self) -> Iterator[Filter]:
        yield from (item.condition for item in self.conditionals())
        for filter_ in self.filters:
            yield filter_
            if isinstance(filter_, Partner) and filter_.having:
                yield filter_.having
            if isinstance(filter_, Either):
                yield filter_.first
                yield filter_.second

    def end(self, order: Order) -> Direction:
        """The superlative that an order starts with."""
        by = order.by
        if isinstance(by, DatePart) or (isinstance(by, Ref) and self.catalog.column(by).kind == "date"):
            return "late" if order.descending else "early"
        return "high" if order.descending else "low"


def _refs_in(filter_: Filter) -> Iterator[Ref]:
    """The columns that a condition names; those of a group come as items."""
    match filter_:
        case Partner(having=having):
            yield from (having.ref,) if having else ()
        case Covers(table=table, column=column):
            yield Ref((), table, column)
        case Either(first, second):
            yield from (first.ref, second.ref)
        case VersusAverage(ref=ref, within=within):
            yield from (ref, within) if within else (ref,)
        case TopGroup():
            return
        case _:
            yield filter_.ref
