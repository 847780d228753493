"""Which column a literal is said of: the one named beside it, or the only one that it can be about."""

from itertools import pairwise

from generators.text_to_sql.grammar.plan import Literally, Ref
from generators.text_to_sql.paraphrase.evidence import Evidence
from generators.text_to_sql.paraphrase.hearing import Mention
from generators.text_to_sql.paraphrase.lexicon import CURRENCIES, PERIODS, SCALES, plain_words
from generators.text_to_sql.paraphrase.tokens import lemma

_COMPARISONS = frozenset(
    {"gt", "ge", "lt", "le", "eq", "ne", "between", "not", "contains", "starts", "ends", "months", "years"}
)
_BETWEEN, _LINKS = plain_words("between"), plain_words("links")


def candidates(value: Literally, ref: Ref | None, evidence: Evidence) -> list[Mention]:
    """Where the value is heard; 6 with the unit "million euros" also as 6 million."""
    unit = evidence.facts.catalog.column(ref).unit or "" if ref else ""
    scaled = value if isinstance(value, str) else value * SCALES.get(unit.split(" ")[0], 1)
    return [m for m in evidence.reading.literals if _same(m.value, value) or _same(m.value, scaled)]


def is_about(literal: Mention, ref: Ref, evidence: Evidence) -> bool:
    """The literal is said of this column. Notes the column's mention as bound, or the column as implied."""
    key = (ref.table, ref.column)
    near = _governors(literal, evidence)
    for mention in near:
        if key in mention.columns:
            if mention.start > literal.start or _adjacent(mention, literal, evidence):
                evidence.locked.add(mention.start)
            return True
    if any("column" in mention.tags and _adjacent(mention, literal, evidence) for mention in near):
        return False
    if literal.value_of == {key} or _only_possible(literal, ref, evidence):
        evidence.implied.add(key)
        return True
    return False


def _same(heard: int | float | str | None, value: Literally) -> bool:
    if isinstance(heard, str) or isinstance(value, str):
        return str(heard) == str(value)
    return heard is not None and abs(heard - value) < 1e-9


def _governors(literal: Mention, evidence: Evidence) -> list[Mention]:
    """The nearest column before the literal in its sentence, and one close behind it."""
    reading = evidence.reading
    left = next((m for m in reading.left(literal) if m.columns or m.tags & {"avg", "count"}), None)
    right = next((m for m in reading.right(literal, 6) if m.columns), None)
    if right is not None and {",", ":", "-", "and"} & set(reading.between(literal, right)):
        right = None
    return [mention for mention in (left, right) if mention is not None]


def _adjacent(column: Mention, literal: Mention, evidence: Evidence) -> bool:
    """Nothing but a comparison between them."""
    if not column.end <= literal.start <= column.end + 7:
        return False
    mentions = evidence.reading.at[column.end : literal.start]
    words = evidence.reading.between(column, literal)
    plain = {word for word, mention in zip(words, mentions, strict=True) if mention is None}
    return plain <= _BETWEEN and all(mention.tags & _COMPARISONS for mention in mentions if mention)


def _only_possible(literal: Mention, ref: Ref, evidence: Evidence) -> bool:
    """No other column in play has the unit that is said with it, or is a date."""
    catalog = evidence.facts.catalog
    column = catalog.column(ref)
    if column.kind == "date":
        return [other.kind for other in catalog.table(ref.table).columns].count("date") == 1
    if not column.unit or column.unit == "year":
        return False
    tokens = evidence.reading.tokens
    beside = {token.lemma or token.lower for token in tokens[literal.end : literal.end + 3]}
    beside |= {token.lower for token in tokens[max(0, literal.start - 1) : literal.start]}
    unit = {lemma(word) for word in column.unit.lower().split()} | set(CURRENCIES.get(column.unit, ()))
    rivals = [other for name in evidence.facts.tables for other in catalog.table(name).columns]
    rivals = [other for other in rivals if other.unit == column.unit]
    if period := PERIODS.get(_period(literal, evidence)):  # "150 francs a year" is an annual premium
        rivals = [other for other in rivals if period & set(other.words.lower().split())]
        return bool(unit & beside) and rivals == [column]
    return bool(unit & beside) and len(rivals) == 1


def _period(literal: Mention, evidence: Evidence) -> str:
    """The word after "a" or "per" close behind the literal: "francs a year"."""
    words = evidence.reading.span(literal.end, literal.end + 6)
    return next((word for before, word in pairwise(words) if before in ("a", "an", "per", "each", "every")), "")


# --- columns bound otherwise -----------------------------------------------------------------------------------------


def lock_beside(ref: Ref, cue: Mention, start: int, evidence: Evidence) -> None:
    """The column beside the cue is part of the condition: "a fee above the average fee" shows no fee.

    `start`: where the cue, or the comparison in front of it, starts.
    """
    reading = evidence.reading
    right = next((m for m in reading.right(cue, 4) if m.columns), None)
    left = next((m for m in reading.left(cue, 9) if m.columns), None)
    linked = left is not None and set(reading.between(left, cue)[: start - left.end]) <= _LINKS
    for column in (right, left if linked else None):
        if column and (ref.table, ref.column) in column.columns:
            evidence.locked.add(column.start)


def lock_after(ref: Ref | None, words: tuple[str, ...], evidence: Evidence) -> None:
    """ "of the same booking channel"."""
    for mention in evidence.reading.mentions:
        if ref and (ref.table, ref.column) in mention.columns and evidence.reading.word_before(mention) in words:
            evidence.locked.add(mention.start)
