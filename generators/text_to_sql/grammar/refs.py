"""A column as a plan sees it, and the comparison of one with a literal."""

from dataclasses import dataclass
from typing import Literal

Literally = int | float | str
Operator = Literal["eq", "ne", "lt", "le", "gt", "ge"]


@dataclass(frozen=True, slots=True)
class Ref:
    """A column, reached from the subject table over the foreign keys in `path` (empty: the subject's own)."""

    path: tuple[str, ...]
    table: str
    column: str
    tag: Literal["ref"] = "ref"


@dataclass(frozen=True, slots=True)
class Comparison:
    """`ref op value`; on a flag the value is 0 or 1."""

    ref: Ref
    op: Operator
    value: Literally
    tag: Literal["comparison"] = "comparison"
