"""What a plan can show, group by or order by: columns and what is computed from them.

Items are values: hashable, comparable, and told apart by their `tag` in JSON.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from generators.text_to_sql.grammar.refs import Comparison, Ref

Function = Literal["count", "count_distinct", "sum", "avg", "min", "max"]


# --- of one row ------------------------------------------------------------------------------------------------------


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
class Mapped:
    """A word for each of the `values` of a column, and `rest` for all others."""

    ref: Ref
    values: tuple[str, ...]
    words: tuple[str, ...]
    rest: str
    tag: Literal["mapped"] = "mapped"


@dataclass(frozen=True, slots=True)
class Renamed:
    """The column under another name."""

    ref: Ref
    name: str
    tag: Literal["renamed"] = "renamed"


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Two measures of one row multiplied, or the second taken off the first."""

    left: Ref
    operator: Literal["times", "minus"]
    right: Ref
    tag: Literal["arithmetic"] = "arithmetic"


@dataclass(frozen=True, slots=True)
class Cased:
    """A text in capital or in small letters."""

    ref: Ref
    case: Literal["upper", "lower"]
    tag: Literal["cased"] = "cased"


@dataclass(frozen=True, slots=True)
class Beginning:
    """The first `count` characters of a text."""

    ref: Ref
    count: int
    tag: Literal["beginning"] = "beginning"


@dataclass(frozen=True, slots=True)
class Combined:
    """Two texts in one, the separator between them."""

    left: Ref
    right: Ref
    separator: Literal[" ", ", ", " - "]
    tag: Literal["combined"] = "combined"


@dataclass(frozen=True, slots=True)
class Default:
    """The column, or `value` where it is NULL."""

    ref: Ref
    value: int | str
    tag: Literal["default"] = "default"


@dataclass(frozen=True, slots=True)
class Elapsed:
    """The days from one date of a row to another."""

    start: Ref
    end: Ref
    tag: Literal["elapsed"] = "elapsed"


@dataclass(frozen=True, slots=True)
class Shifted:
    """The date `days` days after the column's (before it, where negative)."""

    ref: Ref
    days: int
    tag: Literal["shifted"] = "shifted"


# --- of many rows ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Aggregate:
    """An aggregate over the group or the whole; `ref` None counts rows; `decimals` rounds."""

    function: Function
    ref: Ref | None = None
    decimals: int | None = None
    tag: Literal["aggregate"] = "aggregate"


@dataclass(frozen=True, slots=True)
class Conditional:
    """An aggregate over those rows of the group that meet a condition."""

    of: Aggregate
    condition: Comparison
    tag: Literal["conditional"] = "conditional"


@dataclass(frozen=True, slots=True)
class Median:
    """The middle value, or the mean of the two in the middle."""

    ref: Ref
    tag: Literal["median"] = "median"


@dataclass(frozen=True, slots=True)
class TextList:
    """The texts of the group in alphabetical order, separated by commas."""

    ref: Ref
    tag: Literal["text_list"] = "text_list"


@dataclass(frozen=True, slots=True)
class ChildCount:
    """How many rows of `table` point to the row by their column `key`; 0 where none does."""

    table: str
    key: str
    form: Literal["join", "subquery"] = "join"
    tag: Literal["children"] = "children"


@dataclass(frozen=True, slots=True)
class ChildTotal:
    """The total of a column of the rows of `table` that point to the row by their `key`; 0 where none does."""

    table: str
    key: str
    column: str
    tag: Literal["child_total"] = "child_total"


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
    form: Literal["cte", "derived"] = "cte"
    tag: Literal["nested"] = "nested"


@dataclass(frozen=True, slots=True)
class BeyondCount:
    """How many parent rows `per` have an `of` above (below) the mean of all of them."""

    of: Aggregate
    op: Literal["lt", "gt"]
    per: Ref
    tag: Literal["beyond_count"] = "beyond_count"


# --- beside other rows -----------------------------------------------------------------------------------------------


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
class Growth:
    """The change of `of` since the previous group in the plan's order, in percent of the previous value."""

    of: Aggregate
    decimals: int
    tag: Literal["growth"] = "growth"


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
class Tile:
    """Which of `count` equally large parts of all rows the row falls into by `ref`."""

    ref: Ref
    descending: bool
    count: int
    tag: Literal["tile"] = "tile"


@dataclass(frozen=True, slots=True)
class EndValue:
    """`ref` of the earliest (latest) row by the date `by` of those that share `within`."""

    ref: Ref
    by: Ref
    within: Ref
    last: bool
    tag: Literal["end_value"] = "end_value"


@dataclass(frozen=True, slots=True)
class Deviation:
    """`ref` minus the average of `ref` over the rows that share `within` (None: over all rows)."""

    ref: Ref
    within: Ref | None
    tag: Literal["deviation"] = "deviation"


Key = Ref | DatePart | Bucket
OverTime = Running | Change | Growth | Moving
Item = Annotated[
    Ref
    | DatePart
    | Bucket
    | Mapped
    | Renamed
    | Arithmetic
    | Cased
    | Beginning
    | Combined
    | Default
    | Elapsed
    | Shifted
    | Aggregate
    | Conditional
    | Median
    | TextList
    | ChildCount
    | ChildTotal
    | Share
    | Nested
    | BeyondCount
    | Running
    | Change
    | Growth
    | Moving
    | Rank
    | Tile
    | EndValue
    | Deviation,
    Field(discriminator="tag"),
]


def refs_of(item: Item) -> tuple[Ref, ...]:
    """The columns that an item names, the one that it is made of first; none where it only counts rows."""
    match item:
        case Ref():
            return (item,)
        case Arithmetic(left=one, right=two) | Combined(left=one, right=two) | Elapsed(start=one, end=two):
            return (one, two)
        case EndValue(ref=ref, by=by, within=within):
            return (ref, by, within)
        case Conditional(of=of, condition=condition):
            return (*refs_of(of), condition.ref)
        case Share(of=of) | Nested(inner=of) | BeyondCount(of=of) | Growth(of=of):
            return refs_of(of)
        case Running(of=of, within=within) | Change(of=of, within=within):
            return (*refs_of(of), *((within,) if within else ()))
        case Moving(of=of):
            return refs_of(of)
        case Rank(ref=ref, within=within) | Deviation(ref=ref, within=within):
            return (ref, *((within,) if within else ()))
        case Aggregate(ref=ref):
            return (ref,) if ref else ()
        case ChildCount():
            return ()
        case ChildTotal(table=table, column=column):
            return (Ref((), table, column),)
        case _:
            return (item.ref,)


def ref_of(item: Item) -> Ref | None:
    """The column that an item is made of; None where it only counts rows."""
    return next(iter(refs_of(item)), None) if not isinstance(item, Conditional) else item.of.ref
