"""The typed plan of a query: what it asks, before any SQL and before any English.

    Plan(concept="filter_compare", subject="loan",
         select=(Ref((), "loan", "loan_id"), Ref(("branch_id",), "branch", "city")),
         filters=(Comparison(Ref((), "loan", "amount"), "gt", 5000),),
         order=(Order(Ref((), "loan", "amount"), True),), limit=3)

The compiler turns a plan into SQL, the verbaliser into a question, and the paraphrase check reads a question against
it, so no part ever guesses what the SQL text means. Plans are values: hashable, comparable, and JSON by `to_json`.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

Literally = int | float | str
Operator = Literal["eq", "ne", "lt", "le", "gt", "ge"]
Function = Literal["count", "count_distinct", "sum", "avg", "min", "max"]


# --- what can be selected, grouped or ordered by ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ref:
    """A column, reached from the subject table over the foreign keys in `path` (empty: the subject's own)."""

    path: tuple[str, ...]
    table: str
    column: str
    tag: Literal["ref"] = "ref"


@dataclass(frozen=True, slots=True)
class DatePart:
    """The calendar year (2024) or the month of a year ("2024-03") of a date column."""

    ref: Ref
    part: Literal["year", "month"]
    tag: Literal["part"] = "part"


@dataclass(frozen=True, slots=True)
class Bucket:
    """A CASE over a measure: `labels[i]` holds below `edges[i]`, the last label from the last edge up."""

    ref: Ref
    edges: tuple[int | float, ...]
    labels: tuple[str, ...]
    tag: Literal["bucket"] = "bucket"


@dataclass(frozen=True, slots=True)
class Aggregate:
    """An aggregate over the group or the whole; `ref` None counts rows; `decimals` rounds."""

    function: Function
    ref: Ref | None = None
    decimals: int | None = None
    tag: Literal["aggregate"] = "aggregate"


@dataclass(frozen=True, slots=True)
class ChildCount:
    """How many rows of `table` point to the row by their column `key`; 0 where none does."""

    table: str
    key: str
    tag: Literal["children"] = "children"


@dataclass(frozen=True, slots=True)
class Share:
    """The group's part of the grand total of `of`, in percent."""

    of: Aggregate
    decimals: int
    tag: Literal["share"] = "share"


@dataclass(frozen=True, slots=True)
class Nested:
    """An aggregate of aggregates: `outer` over the values of `inner` for each `per` (the key of a parent row)."""

    outer: Literal["avg", "min", "max"]
    inner: Aggregate
    per: Ref
    tag: Literal["nested"] = "nested"


Key = Ref | DatePart | Bucket


@dataclass(frozen=True, slots=True)
class Running:
    """The total of `of` up to and including the current row or group, in the plan's order, anew for each `within`."""

    of: Ref | Aggregate
    within: Ref | None = None
    tag: Literal["running"] = "running"


@dataclass(frozen=True, slots=True)
class Change:
    """`of` minus its value in the previous row or group in the plan's order; NULL for the first."""

    of: Ref | Aggregate
    within: Ref | None = None
    tag: Literal["change"] = "change"


@dataclass(frozen=True, slots=True)
class Moving:
    """The average of `of` over the current and the `rows - 1` previous rows or groups in the plan's order."""

    of: Ref | Aggregate
    rows: int
    tag: Literal["moving"] = "moving"


@dataclass(frozen=True, slots=True)
class Rank:
    """The position of the row by `ref`; ties share a position, and `dense` leaves no gap after them."""

    ref: Ref
    descending: bool
    dense: bool
    within: Ref | None = None
    tag: Literal["rank"] = "rank"


@dataclass(frozen=True, slots=True)
class Deviation:
    """`ref` minus the average of `ref` over the rows that share `within` (None: over all rows)."""

    ref: Ref
    within: Ref | None
    tag: Literal["deviation"] = "deviation"


Window = Running | Change | Moving | Rank | Deviation
Item = Annotated[
    Ref | DatePart | Bucket | Aggregate | ChildCount | Share | Nested | Running | Change | Moving | Rank | Deviation,
    Field(discriminator="tag"),
]


# --- conditions ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Comparison:
    """`ref op value`; on a flag the value is 0 or 1."""

    ref: Ref
    op: Operator
    value: Literally
    tag: Literal["comparison"] = "comparison"


@dataclass(frozen=True, slots=True)
class Between:
    """Both ends included."""

    ref: Ref
    low: Literally
    high: Literally
    tag: Literal["between"] = "between"


@dataclass(frozen=True, slots=True)
class Membership:
    ref: Ref
    values: tuple[Literally, ...]
    negated: bool = False
    tag: Literal["membership"] = "membership"


@dataclass(frozen=True, slots=True)
class Pattern:
    """LIKE with one wildcard; SQLite ignores the case of ASCII letters."""

    ref: Ref
    how: Literal["starts", "ends", "contains"]
    text: str
    negated: bool = False
    tag: Literal["pattern"] = "pattern"


@dataclass(frozen=True, slots=True)
class Missing:
    """IS NULL, or where negated IS NOT NULL."""

    ref: Ref
    negated: bool = False
    tag: Literal["missing"] = "missing"


@dataclass(frozen=True, slots=True)
class InPeriod:
    """The date falls in a year (2024) or in a month ("2024-03")."""

    ref: Ref
    period: int | str
    tag: Literal["period"] = "period"


@dataclass(frozen=True, slots=True)
class Recent:
    """The last `days` days up to and including the newest date in the data: never the day on which the query runs."""

    ref: Ref
    days: int
    tag: Literal["recent"] = "recent"


@dataclass(frozen=True, slots=True)
class Partner:
    """Some row of `table` points here by its column `key` (negated: none does); `having` narrows that row."""

    table: str
    key: str
    negated: bool = False
    having: Comparison | None = None
    form: Literal["exists", "join"] = "exists"
    tag: Literal["partner"] = "partner"


@dataclass(frozen=True, slots=True)
class VersusAverage:
    """`ref` against the average of `ref` over all rows, or over the rows that share `within`."""

    ref: Ref
    op: Literal["lt", "gt"]
    within: Ref | None = None
    tag: Literal["versus"] = "versus"


@dataclass(frozen=True, slots=True)
class TopGroup:
    """The row belongs to the `group` whose `of` is the highest (lowest) of all groups."""

    group: Ref
    of: Aggregate
    descending: bool
    tag: Literal["top_group"] = "top_group"


Filter = Annotated[
    Comparison | Between | Membership | Pattern | Missing | InPeriod | Recent | Partner | VersusAverage | TopGroup,
    Field(discriminator="tag"),
]


@dataclass(frozen=True, slots=True)
class Having:
    of: Aggregate
    op: Operator
    value: int | float
    tag: Literal["having"] = "having"


@dataclass(frozen=True, slots=True)
class HavingMean:
    """The group's `of` against the mean of `of` over all groups."""

    of: Aggregate
    op: Literal["lt", "gt"]
    tag: Literal["having_mean"] = "having_mean"


# --- the whole -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Order:
    by: Item
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Top:
    """Only the first `count` rows of each `within`, by `order`; with `ties` all that share the last place too."""

    count: int
    within: Ref
    order: tuple[Order, ...]
    ties: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """One query over `subject` and the rows its foreign keys lead to. An empty `order` means: in no stated order."""

    concept: str
    subject: str
    select: tuple[Item, ...]
    distinct: bool = False
    filters: tuple[Filter, ...] = ()
    group: tuple[Annotated[Key, Field(discriminator="tag")], ...] = ()
    having: Annotated[Having | HavingMean, Field(discriminator="tag")] | None = None
    order: tuple[Order, ...] = ()
    limit: int | None = None
    top: Top | None = None
    union: "Plan | None" = None
    """Its rows are added, and duplicates removed; the order and limit of the first plan are those of the whole."""

    def to_json(self) -> str:
        return _plans.dump_json(self).decode()

    @staticmethod
    def from_json(text: str) -> "Plan":
        return _plans.validate_json(text)


_plans: TypeAdapter[Plan] = TypeAdapter(Plan)


def ref_of(item: Item) -> Ref | None:
    """The column that an item is made of; None where it only counts rows."""
    match item:
        case Ref():
            return item
        case DatePart(ref=ref) | Bucket(ref=ref) | Aggregate(ref=ref) | Rank(ref=ref) | Deviation(ref=ref):
            return ref
        case Share(of=of) | Nested(inner=of) | Running(of=of) | Change(of=of) | Moving(of=of):
            return ref_of(of)
        case ChildCount():
            return None
