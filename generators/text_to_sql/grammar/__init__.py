"""Queries by grammar: a concept and a database in, a query out that means something and runs.

    query = sample_query(database, "group_having", Random(7))
    query.sql       SELECT city, COUNT(*) AS branch_count FROM branch GROUP BY city HAVING COUNT(*) > 2
    query.plan      what it asks, typed: the verbaliser and the paraphrase check work from this alone

The concept buckets follow the three tiers of the Nemotron 3 Super report §3.1.1 (SQL), from a plain SELECT to CTEs and
window functions.
"""

from dataclasses import dataclass
from functools import lru_cache
from random import Random

from sqlglot import exp

from generators.text_to_sql.grammar.catalog import Unsuited, catalog_of
from generators.text_to_sql.grammar.compile import compile_plan, to_sql
from generators.text_to_sql.grammar.concepts import CONCEPTS, Tier
from generators.text_to_sql.grammar.idle import is_idle
from generators.text_to_sql.grammar.plan import Plan
from generators.text_to_sql.schema import Database, Dialect

__all__ = ["CONCEPTS", "Plan", "Query", "Tier", "Unsuited", "query_of", "sample_query", "suited_concepts", "tier_of"]

_ATTEMPTS = 200


@dataclass(frozen=True)
class Query:
    """A query over `database`: its plan, its tree and its SQL text in a dialect."""

    database: Database
    plan: Plan
    ast: exp.Query
    sql: str
    dialect: Dialect = "sqlite"

    @property
    def concept(self) -> str:
        return self.plan.concept

    @property
    def tier(self) -> Tier:
        return tier_of(self.plan.concept)

    @property
    def ordered(self) -> bool:
        """The question asks for an order, and the order is total; otherwise rows compare as a multiset."""
        return bool(self.plan.order)


def sample_query(database: Database, concept: str, rng: Random) -> Query:
    """A query of this concept, of which every part counts; its literals come from the rows. Raises Unsuited where the
    database has no such query."""
    catalog = catalog_of(database)
    _, draw = CONCEPTS[concept]
    for attempt in range(_ATTEMPTS):
        try:
            query = query_of(draw(catalog, rng), database)
            if is_idle(query.plan, query.sql, catalog):
                raise Unsuited("rows in which every part of the query shows")
            return query
        except Unsuited as missing:
            if attempt == _ATTEMPTS - 1:
                raise Unsuited(f"{database.name}: no query of concept {concept}: it lacks {missing}") from None
    raise AssertionError


def query_of(plan: Plan, database: Database, dialect: Dialect = "sqlite") -> Query:
    """The query that a plan stands for."""
    ast = compile_plan(plan, catalog_of(database), dialect)
    return Query(database, plan, ast, to_sql(ast, dialect), dialect)


def tier_of(concept: str) -> Tier:
    return CONCEPTS[concept][0]


@lru_cache(maxsize=256)
def suited_concepts(database: Database) -> tuple[str, ...]:
    """The concepts of which this database has queries, in the order of the tiers."""

    def suited(concept: str) -> bool:
        try:
            sample_query(database, concept, Random(0))
        except Unsuited:
            return False
        return True

    return tuple(concept for concept in CONCEPTS if suited(concept))
