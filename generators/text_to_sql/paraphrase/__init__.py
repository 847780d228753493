"""Has a rewritten question kept the meaning? Read against the plan, without any model.

    check_paraphrase("Which visits cost more than 50 euros?", query, database)   ->  []
    check_paraphrase("Which visits cost at least 50 euros?", query, database)    ->  ["50 should be 'more than'"]

Every literal, name, aggregate, direction, negation, order and limit of the plan must be heard, and none besides. What
is not understood is a problem: a right paraphrase may be refused (then the template's wording stays), a wrong one not
accepted.
"""

from generators.text_to_sql.grammar import Query
from generators.text_to_sql.grammar.catalog import catalog_of
from generators.text_to_sql.paraphrase.columns import Columns
from generators.text_to_sql.paraphrase.computed import Computed
from generators.text_to_sql.paraphrase.conditions import Conditions
from generators.text_to_sql.paraphrase.ends import Ends
from generators.text_to_sql.paraphrase.evidence import Evidence
from generators.text_to_sql.paraphrase.facts import Facts
from generators.text_to_sql.paraphrase.hearing import Hearing
from generators.text_to_sql.paraphrase.items import Items
from generators.text_to_sql.paraphrase.orders import Orders
from generators.text_to_sql.paraphrase.reading import Reading
from generators.text_to_sql.paraphrase.shape import Shape
from generators.text_to_sql.paraphrase.tokens import tokenise
from generators.text_to_sql.paraphrase.vocabulary import vocabulary_of
from generators.text_to_sql.schema import Database

__all__ = ["check_paraphrase"]


def check_paraphrase(question_text: str, query: Query, database: Database) -> list[str]:
    """What the question lost, changed or added against the query; empty = faithful."""
    facts = Facts(query.plan, catalog_of(database))
    vocabulary = vocabulary_of(database, facts.tables)
    reading = Reading(Hearing(tokenise(question_text), vocabulary, facts.strings, facts.patterns))
    evidence = Evidence(facts, reading, Orders(reading, facts))
    for check in (
        Conditions,
        Items,
        Columns,
        Computed,
        Ends,
        Shape,
    ):  # each builds on what the ones before have used or bound
        check(evidence).check()
    return list(dict.fromkeys(evidence.problems))
