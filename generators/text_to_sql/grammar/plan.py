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

from generators.text_to_sql.grammar.filters import (
    Between,
    Covers,
    Either,
    Filter,
    InPeriod,
    Membership,
    Missing,
    Partner,
    Pattern,
    Recent,
    Simple,
    TopGroup,
    VersusAverage,
    VersusNamed,
)
from generators.text_to_sql.grammar.items import (
    Aggregate,
    Arithmetic,
    Beginning,
    BeyondCount,
    Bucket,
    Cased,
    Change,
    ChildCount,
    ChildTotal,
    Combined,
    Conditional,
    DatePart,
    Default,
    Deviation,
    Elapsed,
    EndValue,
    Function,
    Growth,
    Item,
    Key,
    Mapped,
    Median,
    Moving,
    Nested,
    OverTime,
    Rank,
    Renamed,
    Running,
    Share,
    Shifted,
    TextList,
    Tile,
    ref_of,
    refs_of,
)
from generators.text_to_sql.grammar.refs import (
    Comparison,
    Literally,
    Operator,
    Ref,
)

__all__ = [
    "Aggregate",
    "Arithmetic",
    "Beginning",
    "Between",
    "BeyondCount",
    "Bucket",
    "Cased",
    "Change",
    "ChildCount",
    "ChildTotal",
    "Combined",
    "Comparison",
    "Conditional",
    "Covers",
    "DatePart",
    "Default",
    "Deviation",
    "Either",
    "Elapsed",
    "EndValue",
    "Filter",
    "Function",
    "Growth",
    "Having",
    "HavingMean",
    "InPeriod",
    "Item",
    "Key",
    "Literally",
    "Mapped",
    "Median",
    "Membership",
    "Missing",
    "Moving",
    "Nested",
    "Operator",
    "Order",
    "OverTime",
    "Partner",
    "Pattern",
    "Plan",
    "Rank",
    "Recent",
    "Ref",
    "Renamed",
    "Running",
    "Share",
    "Shifted",
    "Simple",
    "TextList",
    "Tile",
    "Top",
    "TopGroup",
    "VersusAverage",
    "VersusNamed",
    "ref_of",
    "refs_of",
]


@dataclass(frozen=True, slots=True)
class Having:
    """The group's `of` against a number; `form`: in HAVING, or outside of a CTE that holds the groups."""

    of: Aggregate
    op: Operator
    value: int | float
    form: Literal["having", "cte"] = "having"
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
    offset: int = 0
    """How many rows of the order are passed over before the first that is shown."""
    top: Top | None = None
    union: "Plan | None" = None
    """Put together with the rows of this plan as `combine` says, without duplicates."""
    combine: Literal["union", "intersect", "except"] = "union"
    shape: Literal["rows", "rollup", "unpivot", "series", "islands", "cohort", "pairs"] = "rows"
    """What the rows stand for where it isn't the subject's rows or groups.

    rollup    the groups, and one row for all of them together with a NULL key
    unpivot   for each row one row per measure of `select`: the first item, what the measure is called, its value
    series    the months (years) of the group key, those without any row included
    islands   runs of consecutive months of the DatePart in `group`: first, last and number of months
    cohort    the rows that the subject's first key points to, counted by the month (year) of their first subject row
    pairs     pairs of different rows with the same value in each Ref of `group`, the lower `select[0]` first
    """

    def to_json(self) -> str:
        return _plans.dump_json(self).decode()

    @staticmethod
    def from_json(text: str) -> "Plan":
        return _plans.validate_json(text)


_plans: TypeAdapter[Plan] = TypeAdapter(Plan)
