"""Where each module of concepts enters its own.

    @concept("basic")
    def filter_between(tree: exp.Expr) -> bool:
        '''a range given by BETWEEN'''

The function is the check on a parsed query; its docstring is what a teacher is told to use.
"""

from collections.abc import Callable
from dataclasses import dataclass
from inspect import getdoc
from typing import Literal, get_args

from sqlglot import exp

from judges.sql_world import Dialect

Tier = Literal["basic", "intermediate", "advanced"]
Check = Callable[[exp.Expr], bool]

DIALECTS: tuple[Dialect, ...] = get_args(Dialect)


@dataclass(frozen=True, slots=True)
class Concept:
    """One thing that SQL can do. `phrase` names it to a teacher; it exists in `dialects`.

    A query of a concept that `may_be_empty` proves itself right also where it returns no row.
    """

    name: str
    tier: Tier
    phrase: str
    dialects: tuple[Dialect, ...]
    may_be_empty: bool
    check: Check


REGISTRY: dict[str, Concept] = {}


def concept(
    tier: Tier, *, dialects: tuple[Dialect, ...] = DIALECTS, may_be_empty: bool = False
) -> Callable[[Check], Check]:
    """Registers a check under its own name."""

    def register(check: Check) -> Check:
        name = check.__name__
        REGISTRY[name] = Concept(name, tier, getdoc(check) or "", dialects, may_be_empty, check)
        return check

    return register
