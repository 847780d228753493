"""Arithmetic on days."""

from calendar import month_name

from generators.long_context.tables.draw import Ask, Draw, Unsuited, choosing, counting
from generators.long_context.tables.table import day_in, literal, quoted
from generators.long_context.tables.templates.ranks import apart, nearest_by
from generators.long_context.tables.templates.registry import Family, into

DATES: Family = {}

_MONTHS = tuple(month_name[1:])


@into(DATES)
def days_between(d: Draw) -> Ask:
    return apart(d, "date", "How many days lie between the {label} of {one} and that of {other}?")


@into(DATES)
def earliest(d: Draw) -> Ask:
    day = d.column("date")
    a = d.condition(day)
    name = quoted(day.name)
    question = d.say(
        "[Which {noun} {a}|Of all {nouns} {a}, which one] has the earliest {label}?", a=a.text, label=day.label
    )
    return choosing(d, question, name, a.sql, a.sql, [a.column.name, day.name], "min")


@into(DATES)
def in_years(d: Draw) -> Ask:
    day = d.column("date")
    row = d.row(day)
    name, year = quoted(day.name), day_in(row, day).year
    start = year - d.rng.randint(0, 9)
    where = f"year({name}) BETWEEN {start} AND {start + 9}"
    question = d.say(
        "[How many {nouns} have their {label} in the ten years from {start} to {end}|From {start} to {end}, both years "
        "included: how many {nouns} have their {label} then]?",
        label=day.label,
        start=start,
        end=start + 9,
    )
    return counting(question, where, where, [day.name])


@into(DATES)
def in_month(d: Draw) -> Ask:
    day, month = d.column("date"), d.rng.randint(1, 12)
    where = f"month({quoted(day.name)}) = {month}"
    question = d.say(
        "[Regardless of the year, how|Whatever the year, how|How] many {nouns} have their {label} in {month}?",
        label=day.label,
        month=_MONTHS[month - 1],
    )
    return counting(question, where, where, [day.name])


@into(DATES)
def weekday(d: Draw) -> Ask:
    """Of the row that is found by a condition: a day of the week by itself would be guessed too often."""
    day = d.column("date")
    a = d.condition(day, kinds=("category", "number"))
    name = quoted(day.name)
    where = f"{a.sql} AND isodow({name}) >= 6"
    d.matters(where, a.sql)
    question = d.say(
        "[For how many {nouns} {a} [is|was] the {label} a Saturday or a Sunday|Work out the day of the week: how many "
        "{nouns} {a} have their {label} on a weekend (Saturday or Sunday)]?",
        a=a.text, label=day.label,
    )  # fmt: skip
    return counting(question, where, where, [a.column.name, day.name])


@into(DATES)
def span(d: Draw) -> Ask:
    day = d.column("date")
    a = d.condition(day, kinds=("category", "number"))
    name = quoted(day.name)
    d.several(a.sql)
    question = d.say(
        "How many days [pass|lie] between the earliest and the latest {label} among [the|all] {nouns} {a}?",
        a=a.text,
        label=day.label,
    )
    return Ask(question, f"SELECT max({name}) - min({name}) FROM t WHERE {a.sql}", a.sql, [a.column.name, day.name])


@into(DATES)
def nearest_day(d: Draw) -> Ask:
    return nearest_by(d, "date")


@into(DATES)
def full_years(d: Draw) -> Ask:
    """Complete years between two days of one row."""
    first = d.column("date")
    second = d.column("date", first)
    one, other = sorted((first, second), key=lambda column: column.name)
    row = d.row(first)
    if row[one.name] is None or row[other.name] is None:
        raise Unsuited
    if day_in(row, one) > day_in(row, other):
        one, other = other, one
    key = literal(row[d.table.key])
    question = d.say(
        "[How many complete years lie between the {one} and the {other} of {key}|Take {key}: how many complete years "
        "passed between the {one} and the {other}]?",
        one=one.label,
        other=other.label,
        key=row[d.table.key],
    )
    sql = f"SELECT datesub('year', {quoted(one.name)}, {quoted(other.name)}) FROM t WHERE {d.key} = {key}"
    return Ask(question, sql, f"{d.key} = {key}", [one.name, other.name])


@into(DATES)
def after_the_other(d: Draw) -> Ask:
    """How many rows under a condition have a later day than a named one."""
    day = d.column("date")
    row = d.row(day)
    a = d.condition(day, kinds=("category", "number"))
    key, value = literal(row[d.table.key]), literal(row[day.name])
    where = f"{a.sql} AND {quoted(day.name)} > {value}"
    d.matters(where, a.sql, f"{quoted(day.name)} > {value}")
    question = d.say(
        "[How many {nouns} {a} have a later {label} than {key}|Of the {nouns} {a}, how many have their {label} after "
        "that of {key}]?",
        a=a.text, label=day.label, key=row[d.table.key],
    )  # fmt: skip
    return counting(question, where, f"({where} OR {d.key} = {key})", [a.column.name, day.name])
