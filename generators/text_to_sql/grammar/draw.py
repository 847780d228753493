"""Random choices that make sense: columns fit for their use, and literals taken from a row that the condition keeps.

A filter is drawn *for a row*: it holds there, so a query over it is not empty, and several filters for one row hold
together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor, log10
from random import Random
from typing import Literal, TypeVar, cast, get_args

from generators.text_to_sql.grammar.catalog import Catalog, Row, Unsuited
from generators.text_to_sql.grammar.collation import match_alike
from generators.text_to_sql.grammar.plan import (
    Aggregate,
    Between,
    Comparison,
    Filter,
    Function,
    InPeriod,
    Literally,
    Membership,
    Missing,
    Operator,
    Pattern,
    Ref,
)
from generators.text_to_sql.schema import Table

T = TypeVar("T")
Path = tuple[str, ...]
Place = Literal["starts", "ends", "contains"]
JOINED = 0.7
"""How often a draw that needs one table only takes in another one."""
JOINED_KEYS = 0.7
_PLACES: tuple[Place, ...] = get_args(Place)
_HOLDS: dict[Place, Callable[[str, str], bool]] = {
    "starts": str.startswith,
    "ends": str.endswith,
    "contains": str.__contains__,
}


@dataclass
class Draw:
    """One subject table, one witness row of it, and a random generator."""

    catalog: Catalog
    rng: Random
    subject: Table
    row: Row

    @classmethod
    def over(cls, catalog: Catalog, rng: Random, parents: int = 0) -> "Draw":
        """Any table with a path of `parents` joins. Raises Unsuited where there is none."""
        fit = [
            table
            for table in catalog.database.tables
            if table.rows and any(len(path) >= parents for path, _ in catalog.reached(table, parents))
        ]
        if not fit:
            raise Unsuited("a table with rows and joins")
        subject = rng.choice(fit)
        return cls(catalog, rng, subject, rng.choice(subject.rows))

    def on(self, table: Table) -> "Draw":
        """The same draw over another subject."""
        return Draw(self.catalog, self.rng, table, self.pick(table.rows, "rows"))

    # --- choices ---

    def pick(self, options: Sequence[T], what: str) -> T:
        if not options:
            raise Unsuited(what)
        return self.rng.choice(options)

    def some(self, options: Sequence[T], low: int, high: int) -> tuple[T, ...]:
        """Between `low` and `high` of the options, as far as they go, in their own order."""
        count = min(len(options), self.rng.randint(low, high))
        return tuple(options[i] for i in sorted(self.rng.sample(range(len(options)), count)))

    def chance(self, p: float) -> bool:
        return self.rng.random() < p

    # --- columns ---

    def labels(self, table: Table | None = None, path: Path = ()) -> tuple[Ref, ...]:
        return self.catalog.labels(path, table or self.subject)

    def outputs(
        self, low: int = 1, high: int = 3, *, path: Path = (), table: Table | None = None, alone: bool = False
    ) -> tuple[Ref, ...]:
        """The label of the rows and some more of their columns, `low` to `high` without a parent's key; now and
        then, unless `alone`, what a row that they point to is called."""
        beside = self.beside() if table is None and not alone else ()
        table = table or self.subject
        labels = self.labels(table, path)
        known = sum(self.catalog.pointer(self.subject.name, ref) is not None for ref in labels)
        low, high = low + known, high + known
        rest = [
            r for r in self.catalog.refs(path, table, "category", "measure", "date", "text", "name") if r not in labels
        ]
        chosen = labels + self.some(rest, max(0, low - len(labels)), max(0, high - len(labels)))
        return tuple(dict.fromkeys((*chosen, *beside)))

    def beside(self) -> tuple[Ref, ...]:
        """Now and then what a row that the subject's rows point to is called."""
        parents = [(path, table) for path, table in self.catalog.reached(self.subject, 1) if path]
        names = [self.catalog.labels(path, parent)[0] for path, parent in parents]
        names = [name for name in names if not self.catalog.pointer(self.subject.name, name)]
        return (self.rng.choice(names),) if names and self.chance(JOINED) else ()

    def key(self) -> Ref:
        """A category to group by, of the subject or of a row that it points to."""
        parents = [(path, table) for path, table in self.catalog.reached(self.subject, 1) if path]
        fit = [ref for path, table in parents for ref in self.catalog.refs(path, table, "category")]
        fit = [ref for ref in fit if self.catalog.repeats(ref)]
        return self.rng.choice(fit) if fit and self.chance(JOINED_KEYS) else self.category()

    def measure(self, path: Path = (), table: Table | None = None) -> Ref:
        refs = self.catalog.refs(path, table or self.subject, "measure")
        return self.pick([ref for ref in refs if self.catalog.complete(ref)], "a measure without NULL")

    def category(self, path: Path = (), table: Table | None = None) -> Ref:
        refs = self.catalog.refs(path, table or self.subject, "category")
        return self.pick([ref for ref in refs if self.catalog.repeats(ref)], "a category with repeated values")

    def date(self) -> Ref:
        refs = self.catalog.refs((), self.subject, "date")
        return self.pick([ref for ref in refs if self.catalog.complete(ref)], "a date without NULL")

    def aggregate(self, path: Path = (), table: Table | None = None, *, additive: bool = False) -> Aggregate:
        """Of a measure; a sum only where sums mean something, an average never of a calendar year."""
        ref = self.measure(path, table)
        column = self.catalog.column(ref)
        if additive and not column.additive:
            raise Unsuited("a measure that adds up")
        if column.unit == "year":
            return Aggregate(self.rng.choice(("min", "max")), ref)
        functions = ["sum"] if additive else ["avg", "min", "max", *(["sum", "sum"] if column.additive else [])]
        function = cast(Function, self.rng.choice(functions))
        decimals = self.rng.choice((1, 2)) if function == "avg" and self.chance(0.3) else None
        return Aggregate(function, ref, decimals)

    # --- conditions that the witness row meets ---

    def filter(self, path: Path = (), table: Table | None = None, avoid: Sequence[Ref] = ()) -> Filter:
        """Any simple condition on the table at the end of `path`, on a column not in `avoid`; without a path on the
        subject or, now and then, on a table that it points to."""
        if table is None and self.chance(JOINED):
            path, table = self.rng.choice(list(self.catalog.reached(self.subject, 1)))
        table = table or self.subject
        makers: list[Callable[[Sequence[Ref]], Filter]] = [self.equal, self.equal, self.compare, self.compare]
        makers += [self.between, self.member, self.flag, self.when]
        refs = [r for r in self.catalog.refs(path, table, "category", "measure", "date", "flag") if r not in avoid]
        for _ in range(8):
            try:
                return self.rng.choice(makers)(refs)
            except Unsuited:
                continue
        raise Unsuited(f"a simple condition on {table.name}")

    def _of(self, refs: Sequence[Ref], *kinds: str) -> tuple[Ref, Literally]:
        """One of the columns, and the witness row's value in it."""
        fit = [ref for ref in refs if self.catalog.column(ref).kind in kinds and self._value(ref) is not None]
        ref = self.pick(fit, " or ".join(kinds))
        return ref, cast(Literally, self._value(ref))

    def _days(self, ref: Ref) -> list[float]:
        """The values in their order; of dates only the days."""
        return sorted({_day(value) for value in self.catalog.column(ref).values})

    def _value(self, ref: Ref) -> object:
        return self.catalog.value(self.row, ref, self.subject)

    def equal(self, refs: Sequence[Ref]) -> Comparison:
        ref, value = self._of(refs, "category")
        return Comparison(ref, "eq", value)

    def unequal(self, refs: Sequence[Ref]) -> Comparison:
        """Only on a column without NULL: whether an unknown status is "not open" nobody can say."""
        ref, value = self._of([ref for ref in refs if self.catalog.repeats(ref)], "category")
        other = self.pick([v for v in self.catalog.column(ref).values if v != value], "another value")
        return Comparison(ref, "ne", cast(Literally, other))

    def flag(self, refs: Sequence[Ref]) -> Comparison:
        ref, value = self._of(refs, "flag")
        if value not in (0, 1) or not self.catalog.complete(ref):
            raise Unsuited("a flag of 0 and 1")
        return Comparison(ref, "eq", value)

    def member(self, refs: Sequence[Ref], negated: bool = False) -> Membership:
        ref, value = self._of([ref for ref in refs if self.catalog.repeats(ref)], "category")
        others = [v for v in self.catalog.column(ref).values if v != value]
        if len(others) < 2 + negated:
            raise Unsuited("a category with three values")
        chosen = self.rng.sample(others, self.rng.randint(1, min(2, len(others) - 1)) + negated)
        values = [*chosen] if negated else self.rng.sample([value, *chosen], len(chosen) + 1)
        return Membership(ref, tuple(cast(list[Literally], values)), negated)

    def compare(self, refs: Sequence[Ref], kinds: tuple[str, ...] = ("measure", "measure", "date")) -> Comparison:
        """A threshold between the witness and the far end, so that it excludes some rows."""
        ref, value = self._of(refs, *kinds)
        op: Operator = self.rng.choice(("gt", "gt", "lt", "lt", "ge", "le"))
        below = op in ("gt", "ge")
        day, values = _day(value), self._days(ref)
        side = [v for v in values if (v < day if below else v > day)]
        if op in ("ge", "le"):
            side = [v for v in [*side, day] if v != (values[0] if below else values[-1])]
        threshold = self.pick(side, "a value beyond the witness")
        if isinstance(threshold, int | float) and self.catalog.column(ref).unit != "year" and self.chance(0.6):
            rounded = round_number(threshold)
            if rounded < day if below else rounded > day:
                threshold = rounded
        return Comparison(ref, op, threshold)

    def when(self, refs: Sequence[Ref]) -> Filter:
        ref, value = self._of(refs, "date")
        return InPeriod(ref, int(str(value)[:4]) if self.chance(0.6) else str(value)[:7])

    def between(self, refs: Sequence[Ref]) -> Between:
        ref, value = self._of(refs, "measure", "measure", "date")
        day, values = _day(value), self._days(ref)
        if len(values) < 4:
            raise Unsuited("a column with four values")
        place = values.index(day)
        low = self.rng.randint(max(0, place - len(values) // 2), place)
        high = self.rng.randint(max(place, low + 1) if place + 1 < len(values) else place, len(values) - 1)
        if low == high or (low == 0 and high == len(values) - 1):
            raise Unsuited("a proper range")
        return Between(ref, values[low], values[high])

    def pattern(self, refs: Sequence[Ref], negated: bool = False) -> Pattern:
        ref, value = self._of([ref for ref in refs if self.catalog.complete(ref)], "name", "text", "category")
        if negated:
            others = [str(v) for v in self.catalog.column(ref).values if v != value]
            value = self.pick(others, "another value")
        how, piece = self._piece(str(value))
        values = [str(v) for v in self.catalog.column(ref).values]
        if not match_alike(values, piece, _HOLDS[how]):
            raise Unsuited("a pattern that finds the same with and without case and accents")
        return Pattern(ref, how, piece, negated)

    def _piece(self, text: str) -> tuple[Place, str]:
        """What a person would search a text for: one of its words, or the first letters of a name of one word."""
        first, *more = text.split()
        if not more and not (first.isalpha() and first[:1].isupper() and len(first) > 3):
            raise Unsuited("a name, or a text of words")
        if not more:
            return "starts", first[: self.rng.randint(1, 3)]
        word = self.pick([word for word in (first, *more) if word.isalpha() and len(word) > 2], "a value of words")
        how = self.rng.choice(_PLACES)
        return (how if _HOLDS[how](text, word) else "contains"), word

    def missing(self, negated: bool) -> Missing:
        refs = self.catalog.refs((), self.subject, "measure", "category", "date", "text", "name")
        return Missing(
            self.pick([ref for ref in refs if not self.catalog.complete(ref)], "a column with NULL"), negated
        )


def _day(value: object) -> float:
    """A number as it is, a date without its time: ISO days compare as numbers do, so both pass for numbers here."""
    return cast(float, value[:10] if isinstance(value, str) else value)


def round_number(value: int | float) -> int | float:
    """Two significant digits, one of them for small numbers: 1487.5 → 1500, 7.3 → 7, 0.0432 → 0.043."""
    if not value:
        return 0
    digits = floor(log10(abs(value)))
    rounded = round(value, 0 if 0 <= digits < 2 else 1 - digits)
    return int(rounded) if rounded == int(rounded) else rounded
