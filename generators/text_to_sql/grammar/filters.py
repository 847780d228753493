"""The conditions that a plan can put on its rows."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from generators.text_to_sql.grammar.items import Aggregate
from generators.text_to_sql.grammar.refs import Comparison, Literally, Ref


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
    form: Literal["exists", "join", "in"] = "exists"
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


@dataclass(frozen=True, slots=True)
class Covers:
    """The rows of `table` that point here by their `key` have, together, every value of `column` that occurs at all."""

    table: str
    key: str
    column: str
    tag: Literal["covers"] = "covers"


@dataclass(frozen=True, slots=True)
class VersusNamed:
    """`ref` against the value of `ref` in another row of the subject: the one whose `label` is `name`."""

    ref: Ref
    op: Literal["eq", "lt", "gt"]
    label: Ref
    name: str
    tag: Literal["versus_named"] = "versus_named"


Simple = Annotated[Comparison | Between | Membership | Pattern | InPeriod, Field(discriminator="tag")]


@dataclass(frozen=True, slots=True)
class Either:
    """At least one of the two holds."""

    first: Simple
    second: Simple
    tag: Literal["either"] = "either"


Filter = Annotated[
    Comparison
    | Between
    | Membership
    | Pattern
    | Missing
    | InPeriod
    | Recent
    | Partner
    | VersusAverage
    | TopGroup
    | Covers
    | VersusNamed
    | Either,
    Field(discriminator="tag"),
]
