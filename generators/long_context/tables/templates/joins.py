"""Joins: what is asked lies in another record than the one that is named, or in several of them."""

from generators.long_context.tables.draw import Ask, Condition, Draw, Unsuited, adding, choosing, counting
from generators.long_context.tables.table import Column, Row, Table, literal, quoted
from generators.long_context.tables.templates.registry import Family, into

JOINS: Family = {}


def _second(d: Draw) -> Table:
    if d.world.second is None:
        raise Unsuited
    return d.world.second


def _linked(d: Draw, row: Row, link: Column) -> Row:
    """The row of t that a link leads to."""
    found = [one for one in d.table.rows if one[d.table.key] == row[link.name]]
    if not found:
        raise Unsuited
    return found[0]


def _telling(d: Draw, second: Table) -> Column:
    """A column of the second table that no row's name gives away."""
    return d.rng.choice([column for column in second.columns[1:] if not column.kin])


def _condition(d: Draw, second: Table) -> Condition:
    return d.of(_telling(d, second), table=second)


def _is(d: Draw, *rows: Row) -> str:
    keys = ", ".join(literal(row[d.table.key]) for row in rows)
    return f"{d.key} IN ({keys})"


@into(JOINS)
def of_the_linked(d: Draw) -> Ask:
    link = d.link("own")
    row = d.row(link)
    column = d.column(d.rng.choice(("number", "date", "category")))
    question = d.say(
        "[What is the {label} of the {link} of {key}|{key} has a {link}: what is the {label} of that {noun}]?",
        label=column.label, link=link.label, key=row[d.table.key],
    )  # fmt: skip
    sql = f"SELECT m.{quoted(column.name)} FROM t JOIN t m ON t.{quoted(link.name)} = m.{d.key} WHERE t.{_is(d, row)}"
    return Ask(question, sql, _is(d, row, _linked(d, row, link)), [link.name, column.name])


@into(JOINS)
def of_the_twice_linked(d: Draw) -> Ask:
    link = d.link("own")
    row = d.row(link)
    middle = _linked(d, row, link)
    last = _linked(d, middle, link)
    column = d.column(d.rng.choice(("number", "date", "category")))
    question = d.say(
        "[Somebody is the {link} of the {link} of {key}. What is the {label} of that {noun}|What is the {label} of the "
        "{link} of {key}'s {link}|Start at {key} and go to the {link} twice: what is the {label} there]?",
        label=column.label, link=link.label, key=row[d.table.key],
    )  # fmt: skip
    own, name = quoted(link.name), quoted(column.name)
    sql = (
        f"SELECT n.{name} FROM t JOIN t m ON t.{own} = m.{d.key} JOIN t n ON m.{own} = n.{d.key} WHERE t.{_is(d, row)}"
    )
    return Ask(question, sql, _is(d, row, middle, last), [link.name, column.name])


@into(JOINS)
def linked_differently(d: Draw) -> Ask:
    """How far a number of a row is from that of the row that it leads to."""
    link, number = d.link("own"), d.column("number")
    row = d.row(link)
    question = d.say(
        "[By how much do the {label} of {key} and that of the {link} of {key} differ|How far is the {label} of {key} "
        "from that of {key}'s {link}]?",
        label=number.label, link=link.label, key=row[d.table.key],
    )  # fmt: skip
    name = quoted(number.name)
    sql = f"SELECT abs(t.{name} - m.{name}) FROM t JOIN t m ON t.{quoted(link.name)} = m.{d.key} WHERE t.{_is(d, row)}"
    return Ask(question, sql, _is(d, row, _linked(d, row, link)), [link.name, number.name])


@into(JOINS)
def of_the_second(d: Draw) -> Ask:
    second, link = _second(d), d.link("second")
    row = d.row(link)
    column = _telling(d, second)
    question = d.say(
        "[What is the {label} of the {link} of {key}|Look up the {link} of {key}: what is the {label} there]?",
        label=column.label, link=link.label, key=row[d.table.key],
    )  # fmt: skip
    joined = f"t JOIN c ON t.{quoted(link.name)} = c.{quoted(second.key)}"
    sql = f"SELECT c.{quoted(column.name)} FROM {joined} WHERE t.{_is(d, row)}"
    return Ask(question, sql, _is(d, row), [link.name])


@into(JOINS)
def second_of_the_linked(d: Draw) -> Ask:
    second, own, link = _second(d), d.link("own"), d.link("second")
    row = d.row(own)
    column = _telling(d, second)
    question = d.say(
        "[Think of|Take] the {own} of {key}: what is the {label} of that {noun}'s {link}?",
        label=column.label, own=own.label, link=link.label, key=row[d.table.key],
    )  # fmt: skip
    sql = (
        f"SELECT c.{quoted(column.name)} FROM t JOIN t m ON t.{quoted(own.name)} = m.{d.key} "
        f"JOIN c ON m.{quoted(link.name)} = c.{quoted(second.key)} WHERE t.{_is(d, row)}"
    )
    linked = _linked(d, row, own)
    return Ask(question, sql, _is(d, row, linked), [own.name, link.name], followed=_is(d, linked))


@into(JOINS)
def count_by_second(d: Draw) -> Ask:
    second, link = _second(d), d.link("second")
    a = _condition(d, second)
    b = d.condition()
    inside = f"{quoted(link.name)} IN (SELECT {quoted(second.key)} FROM c WHERE {a.sql})"
    where = f"{inside} AND {b.sql}"
    d.matters(where, inside, b.sql)
    question = d.say(
        "How many {nouns} {b} have [as {link} one of the {seconds} {a}|one of the {seconds} {a} as {link}]?",
        a=a.text, b=b.text, link=link.label, seconds=second.nouns,
    )  # fmt: skip
    return counting(question, where, where, [link.name, b.column.name])


@into(JOINS)
def top_by_second(d: Draw) -> Ask:
    second, link, number = _second(d), d.link("second"), d.column("number")
    a = _condition(d, second)
    inside = f"{quoted(link.name)} IN (SELECT {quoted(second.key)} FROM c WHERE {a.sql})"
    d.matters(inside, "true")
    name = quoted(number.name)
    question = d.say(
        "[[Among|Of] all {nouns} whose {link} is one of the {seconds} {a}, which|Look at the {seconds} {a}: which "
        "{noun} with one of them as {link}] has the highest {label}?",
        a=a.text, link=link.label, seconds=second.nouns, label=number.label,
    )  # fmt: skip
    return choosing(d, question, name, inside, inside, [link.name, number.name])


@into(JOINS)
def same_as_linked(d: Draw) -> Ask:
    """How many rows share a value with the row that they lead to."""
    link, column = d.link("own"), d.column("category")
    name = quoted(column.name)
    shared = f"(SELECT m.{name} FROM t m WHERE m.{d.key} = t.{quoted(link.name)})"
    where = f"{name} = {shared}"
    question = d.say(
        "How many {nouns} have the same {label} as their [own |]{link}?", label=column.label, link=link.label
    )
    return counting(question, where, where, [link.name, column.name])


@into(JOINS)
def leading_to(d: Draw) -> Ask:
    link = d.link("own")
    targets = d.values(link, 2)
    if not targets:
        raise Unsuited
    target = d.rng.choice(targets)
    where = f"{quoted(link.name)} = {literal(target)}"
    question = d.say(
        "[{target} is the {link} of which {nouns}|Which {nouns} have {target} as {link}]? [Give|List] them [in "
        "alphabetical order|from A to Z|sorted alphabetically].",
        target=target, link=link.label,
    )  # fmt: skip
    sql = d.listed(where)
    return Ask(question, sql, where, [link.name], "list")


@into(JOINS)
def number_of_leading(d: Draw) -> Ask:
    """A sum over the rows that lead to one row."""
    link, number = d.link("own"), d.column("number")
    targets = d.values(link, 2)
    if not targets:
        raise Unsuited
    target = d.rng.choice(targets)
    where = f"{quoted(link.name)} = {literal(target)}"
    question = d.say(
        "[Add up|Sum] the {label} of all {nouns} who have {target} as {link}: what [do you get|is the sum]?",
        target=target, link=link.label, label=number.label,
    )  # fmt: skip
    return adding(question, number, where, where, [link.name, number.name])


@into(JOINS)
def sharing_with(d: Draw) -> Ask:
    column = d.column("category")
    row = d.row(column)
    name = quoted(column.name)
    where = f"{name} = {literal(row[column.name])}"
    question = d.say(
        "[How many other {nouns} have the same {label} as {key}|Apart from {key}, how many {nouns} have {key}'s "
        "{label}]?",
        label=column.label,
        key=row[d.table.key],
    )
    return Ask(question, f"SELECT count(*) - 1 FROM t WHERE {where}", where, [column.name])


@into(JOINS)
def top_sharing_with(d: Draw) -> Ask:
    column, number = d.column("category"), d.column("number")
    row = d.row(column)
    shared, key = f"{quoted(column.name)} = {literal(row[column.name])}", literal(row[d.table.key])
    name = quoted(number.name)
    question = d.say(
        "[[Among|Of] the other {nouns} with the {label} of {key}, which|Which other {noun} with the same {label} as "
        "{key}] has the [lowest|smallest] {number}?",
        label=column.label, key=row[d.table.key], number=number.label,
    )  # fmt: skip
    return choosing(d, question, name, f"{shared} AND {d.key} <> {key}", shared, [column.name, number.name], "min")


@into(JOINS)
def top_sharing_with_extreme(d: Draw) -> Ask:
    """Three hops: an extreme row, those that share a value with it, an extreme one of these."""
    column, number = d.column("category"), d.column("number")
    day = d.column("date")
    name, when, group = quoted(number.name), quoted(day.name), quoted(column.name)
    where = f"{group} = (SELECT {group} FROM t WHERE {when} = (SELECT min({when}) FROM t) LIMIT 1)"
    if d.query(f"SELECT count(*) FROM t WHERE {when} = (SELECT min({when}) FROM t)")[0][0] != 1:
        raise Unsuited
    question = d.say(
        "[Find|Look for] the {noun} with the earliest {day}. Of all {nouns} with that {noun}'s {label}, that {noun} "
        "included, which has the highest {number}?",
        day=day.label, label=column.label, number=number.label,
    )  # fmt: skip
    return choosing(d, question, name, where, where, [day.name, column.name, number.name])
