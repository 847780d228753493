"""Columns that are computed from one row, and conditions with OR and NOT."""

from dataclasses import replace
from random import Random
from typing import Literal, cast

from generators.text_to_sql.grammar.catalog import Catalog, Unsuited
from generators.text_to_sql.grammar.concepts.parts import column_of, event, filtered, perhaps_ordered, settled
from generators.text_to_sql.grammar.concepts.registry import concept
from generators.text_to_sql.grammar.draw import Draw
from generators.text_to_sql.grammar.plan import (
    Aggregate,
    Arithmetic,
    Beginning,
    Cased,
    Combined,
    DatePart,
    Default,
    Either,
    Elapsed,
    Item,
    Mapped,
    Membership,
    Missing,
    Order,
    Pattern,
    Plan,
    Ref,
    Renamed,
    Shifted,
    Simple,
    refs_of,
)
from generators.text_to_sql.schema import Column

_SEPARATORS: tuple[Literal[" ", ", ", " - "], ...] = (" ", ", ", " - ")


def shown_with(name: str, draw: Draw, item: Item) -> Plan:
    """The label of the rows and the computed column, perhaps for some of the rows only, perhaps ordered."""
    refs = [ref for ref in draw.labels() if ref != getattr(item, "ref", None)]
    chosen = (draw.filter(avoid=refs_of(item)),) if draw.chance(0.45) else ()
    plan = Plan(name, draw.subject.name, (*(refs or draw.labels()), *draw.beside(), item), filters=chosen)
    by = draw.pick([ref for ref in plan.select if isinstance(ref, Ref) and not ref.path], "a column to order by")
    return perhaps_ordered(plan, draw, 0.25, by=by)


@concept("basic")
def column_alias(catalog: Catalog, rng: Random) -> Plan:
    """One or two columns under the names that the request gives them."""
    draw = Draw.over(catalog, rng)
    columns = [r for r in catalog.refs((), draw.subject, "measure", "category", "date") if r not in draw.labels()]
    renamed = [Renamed(ref, _new_name(draw, ref)) for ref in draw.some(columns, 1, 2)]
    if not renamed or len({item.name for item in renamed}) < len(renamed):
        raise Unsuited("columns that can be called otherwise")
    filters = (draw.filter(),) if draw.chance(0.5) else ()
    return Plan("column_alias", draw.subject.name, (*draw.labels(), *draw.beside(), *renamed), filters=filters)


def _new_name(draw: Draw, ref: Ref) -> str:
    """Its words, or the table's and its own, unless that is what it is called already."""
    column = draw.catalog.column(ref)
    words = "_".join(column.words.lower().replace("-", " ").replace("'", "").split())
    table = draw.subject.singular.split()[-1]
    name = words if words.startswith(table) or (words != column.name and draw.chance(0.5)) else f"{table}_{words}"
    if name == column.name or name in draw.subject.by_name or not name.isascii():
        raise Unsuited("a name of its own")
    return name


@concept("intermediate")
def value_mapping(catalog: Catalog, rng: Random) -> Plan:
    """A letter for two or three values of a category, and a word for the rest."""
    draw = Draw.over(catalog, rng)
    ref = draw.category()
    values = [str(value) for value in catalog.column(ref).values if isinstance(value, str) and value[0].isalpha()]
    if len(values) < 3 or len(values) < len(catalog.column(ref).values):
        raise Unsuited("a category of three words")
    chosen = rng.sample(values, rng.choice((2, 2, min(3, len(values) - 1))))
    words = [value[0].upper() for value in chosen]
    taken = {*values, "A", "I", "Z"}  # "from A to Z" and "I" are no codes
    if len(set(words)) < len(words) or set(words) & taken or "other" in values:
        raise Unsuited("values with letters of their own")
    return shown_with("value_mapping", draw, Mapped(ref, tuple(chosen), tuple(words), "other"))


@concept("basic")
def arithmetic(catalog: Catalog, rng: Random) -> Plan:
    """A quantity times a price, or the difference of two measures in one unit."""
    draw = Draw.over(catalog, rng)
    return shown_with("arithmetic", draw, draw.pick(_operations(draw), "two measures that go together"))


def _operations(draw: Draw) -> list[Arithmetic]:
    """A quantity and the price of one, or two measures of one kind: "claimed amount minus settlement"."""
    catalog = draw.catalog
    reached = list(catalog.reached(draw.subject, 1))
    refs = [r for path, table in reached for r in catalog.refs(path, table, "measure") if catalog.complete(r)]
    found = []
    for one in (ref for ref in refs if not ref.path):
        for other in (ref for ref in refs if ref != one):
            left, right = catalog.column(one), catalog.column(other)
            alike = left.unit and left.unit == right.unit != "year" and left.words != right.words
            named_alike = left.words.split()[-1] == right.words.split()[-1]
            if alike and (named_alike or (not other.path and _comparable(left, right))):
                found.append(Arithmetic(one, "minus", other))
            if left.additive and right.words.split()[0] in ("unit", "price", "daily"):
                found.append(Arithmetic(one, "times", other))
    return found


def _comparable(left: Column, right: Column) -> bool:
    """Amounts of about the same size."""
    if not (left.additive and right.additive):
        return False
    sizes = [sum(map(abs, cast(list[float], column.values))) / len(column.values) for column in (left, right)]
    return min(sizes) * 5 > max(sizes)


@concept("basic")
def round_numbers(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    of = draw.aggregate()
    if of.function != "avg":
        raise Unsuited("an average")
    rounded = Aggregate("avg", of.ref, rng.choice((1, 2)))
    if draw.chance(0.5):
        return Plan("round_numbers", draw.subject.name, (rounded,), filters=(draw.filter(avoid=[cast(Ref, of.ref)]),))
    key = draw.category()
    return perhaps_ordered(Plan("round_numbers", draw.subject.name, (key, rounded), group=(key,)), draw, 0.2, by=key)


@concept("basic")
def text_case(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    refs = _lettered(draw, "name", "category")
    case: Literal["upper", "lower"] = "upper" if draw.chance(0.65) else "lower"
    return shown_with("text_case", draw, Cased(draw.pick(refs, "a text of ASCII letters"), case))


def _lettered(draw: Draw, *kinds: Literal["name", "category", "text"]) -> list[Ref]:
    """Complete columns of plain letters: SQLite's UPPER and SUBSTR agree with the others' on these."""
    refs = [ref for ref in draw.catalog.refs((), draw.subject, *kinds) if draw.catalog.complete(ref)]
    texts = {ref: [str(value) for value in draw.catalog.column(ref).values] for ref in refs}
    return [ref for ref in refs if all(v.isascii() and any(c.isalpha() for c in v) for v in texts[ref])]


@concept("basic")
def concat_text(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    refs = [ref for ref in catalog.refs((), draw.subject, "name", "category") if catalog.complete(ref)]
    refs = [ref for ref in refs if all(isinstance(value, str) for value in catalog.column(ref).values)]
    if len(refs) < 2:
        raise Unsuited("two texts")
    left, right = rng.sample(refs, 2)
    combined = Combined(left, right, rng.choice(_SEPARATORS))
    ids = catalog.refs((), draw.subject, "id")[:1]
    if not ids:
        raise Unsuited("a number for the rows")
    filters = (draw.filter(avoid=[left, right]),) if draw.chance(0.5) else ()
    return Plan("concat_text", draw.subject.name, (*ids, combined), filters=filters)


@concept("basic")
def date_extract(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    return shown_with("date_extract", draw, DatePart(draw.date(), "year" if draw.chance(0.55) else "month"))


@concept("basic")
def null_default(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    refs = [r for r in catalog.refs((), draw.subject, "measure", "category", "text") if not catalog.complete(r)]
    ref = draw.pick(refs, "a column with NULL")
    number = catalog.column(ref).kind == "measure"
    value = 0 if number else draw.pick(("unknown", "none", "n/a"), "a default")
    if value in catalog.column(ref).values:
        raise Unsuited("a default that isn't a value")
    return shown_with("null_default", draw, Default(ref, value))


@concept("intermediate")
def date_difference(catalog: Catalog, rng: Random) -> Plan:
    """The days between two dates of a row; rows whose end isn't known are left out in so many words."""
    draw = Draw.over(catalog, rng)
    start, end = draw.pick(_spans(draw), "two dates that follow each other")
    plan = shown_with("date_difference", draw, Elapsed(start, end))
    if catalog.complete(end):
        return plan
    return replace(plan, filters=(Missing(end, negated=True),), order=(), limit=None)


def _spans(draw: Draw) -> list[tuple[Ref, Ref]]:
    """Pairs of dates of one table of which the first is never the later one; birth dates begin no span."""
    refs = draw.catalog.refs((), draw.subject, "date")
    found = []
    for start in refs:
        for end in refs:
            if start == end or "birth" in draw.catalog.column(start).words or not draw.catalog.complete(start):
                continue
            values = zip(draw.subject.values(start.column), draw.subject.values(end.column), strict=True)
            apart = [(str(a)[:10], str(b)[:10]) for a, b in values if a is not None and b is not None]
            if apart and all(a <= b for a, b in apart) and any(a < b for a, b in apart):
                found.append((start, end))
    return found


@concept("intermediate")
def date_shift(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    date = event(draw)
    days = rng.choice((7, 10, 14, 30, 60, 90)) * (1 if draw.chance(0.8) else -1)
    return shown_with("date_shift", draw, Shifted(date, days))


@concept("intermediate")
def text_parts(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    ref = draw.pick(_lettered(draw, "name", "category", "text"), "a text of ASCII letters")
    return shown_with("text_parts", draw, Beginning(ref, rng.choice((1, 2, 3, 3, 4))))


# --- conditions and orders -------------------------------------------------------------------------------------------


@concept("basic")
def filter_or(catalog: Catalog, rng: Random) -> Plan:
    """Two conditions on two columns, at least one of which holds."""
    draw = Draw.over(catalog, rng)
    first = _simple(draw, ())
    second = _simple(draw.on(draw.subject), (first.ref,))
    return perhaps_ordered(
        Plan("filter_or", draw.subject.name, draw.outputs(1, 3), filters=(Either(first, second),)), draw, 0.2
    )


def _simple(draw: Draw, avoid: tuple[Ref, ...]) -> Simple:
    filter_ = draw.filter(avoid=avoid)
    if draw.catalog.column(column_of(filter_)).kind == "flag" or isinstance(filter_, Membership):
        raise Unsuited("a condition that reads well beside another")
    return cast(Simple, filter_)


@concept("basic")
def filter_not(catalog: Catalog, rng: Random) -> Plan:
    draw = Draw.over(catalog, rng)
    texts = catalog.refs((), draw.subject, "name", "text", "category")
    negated: Membership | Pattern = (
        draw.member(catalog.refs((), draw.subject, "category"), negated=True)
        if draw.chance(0.5)
        else draw.pattern(texts, negated=True)
    )
    return filtered("filter_not", draw, negated)


@concept("basic")
def order_two(catalog: Catalog, rng: Random) -> Plan:
    """By a column of repeated values, and within these by another one the other way round."""
    draw = Draw.over(catalog, rng)
    first = draw.category()
    second = draw.pick([*catalog.refs((), draw.subject, "measure", "date")], "a second column to order by")
    up = draw.chance(0.75)
    select = tuple(dict.fromkeys((*draw.labels(), *draw.beside(), first, second)))
    filters = (draw.filter(avoid=[first, second]),) if draw.chance(0.35) else ()
    plan = Plan("order_two", draw.subject.name, select, filters=filters)
    return settled(replace(plan, order=(Order(first, not up), Order(second, up))), draw, required=True)


@concept("basic")
def skip_rows(catalog: Catalog, rng: Random) -> Plan:
    """A later page of an ordered list."""
    draw = Draw.over(catalog, rng)
    by = draw.measure() if draw.chance(0.7) else draw.date()
    limit = rng.choice((2, 3, 4, 5, 5))
    offset = rng.choice((2, 3, 4, limit, limit, 2 * limit))
    select = tuple(dict.fromkeys((*draw.labels(), *draw.beside(), by)))
    if len(draw.subject.rows) <= offset + limit:
        raise Unsuited("that many rows")
    plan = Plan("skip_rows", draw.subject.name, select, limit=limit, offset=offset)
    return settled(replace(plan, order=(Order(by, draw.chance(0.65)),)), draw, required=True)
