"""Filters, and what they leave out: rows that meet conditions are counted, listed or found."""

from generators.long_context.tables.draw import Ask, Draw, Unsuited, counted
from generators.long_context.tables.table import literal, quoted, written
from generators.long_context.tables.templates.registry import Family, into

FILTERS: Family = {}
NEGATIONS: Family = {}


@into(FILTERS)
def count_one(d: Draw) -> Ask:
    a = d.condition()
    question = d.say(
        "[How many|What number of] {nouns} {a} [are there|do you find|does the text have|are listed]?", a=a.text
    )
    return Ask(question, counted(a.sql), a.sql, [a.column.name])


@into(FILTERS)
def count_two(d: Draw) -> Ask:
    a = d.condition(kinds=("category",))
    b = d.condition(a.column, kinds=("number", "date"))
    where = f"{a.sql} AND {b.sql}"
    question = d.say(
        "[Of the|Among the] {nouns} {a}, how many are [also|at the same time] {nouns} {b}?", a=a.text, b=b.text
    )
    return Ask(question, counted(where), where, [a.column.name, b.column.name])


@into(FILTERS)
def count_either(d: Draw) -> Ask:
    a = d.condition()
    b = d.condition(a.column)
    where = f"({a.sql} OR {b.sql})"
    question = d.say(
        "[Count|Take|Consider] the {nouns} {a} and the {nouns} {b}, each {noun} once: how many [are they|is that]?",
        a=a.text,
        b=b.text,
    )
    return Ask(question, counted(where), where, [a.column.name, b.column.name])


@into(FILTERS)
def count_one_of(d: Draw) -> Ask:
    a = d.of(d.column("category"), "in")
    question = d.say("[How many|What number of] {nouns} {a} [are on record|are there|can be found]?", a=a.text)
    return Ask(question, counted(a.sql), a.sql, [a.column.name])


@into(FILTERS)
def count_between(d: Draw) -> Ask:
    a = d.of(d.column(d.rng.choice(("number", "date"))), "between")
    question = d.say(
        "[How many|What number of] {nouns} {a} [are there|does the text hold|are among the records]?", a=a.text
    )
    return Ask(question, counted(a.sql), a.sql, [a.column.name])


@into(FILTERS)
def count_distinct(d: Draw) -> Ask:
    column = d.column("category")
    a = d.condition(column)
    name = quoted(column.name)
    question = d.say(
        "How many different [values|entries] does the {label} [take|have] among {nouns} {a}?",
        label=column.label,
        a=a.text,
    )
    return Ask(question, f"SELECT count(DISTINCT {name}) FROM t WHERE {a.sql}", a.sql, [a.column.name, column.name])


@into(FILTERS)
def list_matching(d: Draw) -> Ask:
    a = d.condition(kinds=("category",))
    b = d.condition(a.column, kinds=("number", "date", "category"))
    where = f"{a.sql} AND {b.sql}"
    question = d.say(
        "[Which|What] {nouns} {a} are also {nouns} {b}? [Give|List] the {key} of each, [in alphabetical "
        "order|sorted by alphabet].",
        a=a.text, b=b.text, key=d.table.columns[0].label,
    )  # fmt: skip
    sql = d.listed(where)
    return Ask(question, sql, where, [a.column.name, b.column.name], "list")


@into(FILTERS)
def only_match(d: Draw) -> Ask:
    a = d.condition(kinds=("category",))
    b = d.condition(a.column, kinds=("number", "date"))
    c = d.condition(a.column, b.column)
    where = f"{a.sql} AND {b.sql} AND {c.sql}"
    question = d.say(
        "[Exactly one|A single|Only one] {noun} {a} is both a {noun} {b} and a {noun} {c}: [which one|what is the "
        "{key}]?",
        a=a.text, b=b.text, c=c.text, key=d.table.columns[0].label,
    )  # fmt: skip
    return Ask(question, f"SELECT {d.key} FROM t WHERE {where}", where, [a.column.name, b.column.name, c.column.name])


@into(NEGATIONS)
def count_not(d: Draw) -> Ask:
    a = d.condition(kinds=("number", "date"))
    b, _ = d.not_of(d.column("category", a.column))
    where = f"{a.sql} AND {b.sql}"
    question = d.say("[How many|What number] of the {nouns} {a} are {nouns} {b}?", a=a.text, b=b.text)
    return Ask(question, counted(where), a.sql, [a.column.name, b.column.name])


@into(NEGATIONS)
def count_neither(d: Draw) -> Ask:
    scope = d.condition(kinds=("number", "date"))
    a, _ = d.not_of(d.column("category", scope.column))
    b, _ = d.not_of(d.column("category", scope.column, a.column))
    where = f"{scope.sql} AND {a.sql} AND {b.sql}"
    question = d.say(
        "[Among|Of] the {nouns} {scope}, how many are {nouns} {a} and also {nouns} {b}?",
        scope=scope.text,
        a=a.text,
        b=b.text,
    )
    return Ask(question, counted(where), scope.sql, [scope.column.name, a.column.name, b.column.name])


@into(NEGATIONS)
def list_except(d: Draw) -> Ask:
    a = d.condition(kinds=("category",))
    b = d.condition(a.column)
    where = f"{a.sql} AND NOT ({b.sql})"
    question = d.say(
        "[Take|Start with] all {nouns} {a} and [leave out|strike|remove] every {noun} {b}. [Who or what "
        "remains|Which remain] ([by|give the] {key}, in alphabetical order)?",
        a=a.text, b=b.text, key=d.table.columns[0].label,
    )  # fmt: skip
    sql = d.listed(where)
    return Ask(question, sql, a.sql, [a.column.name, b.column.name], "list")


@into(NEGATIONS)
def top_without(d: Draw) -> Ask:
    number = d.column("number")
    a, _ = d.not_of(d.column("category", number))
    b = d.condition(number, a.column)
    where = f"{a.sql} AND {b.sql}"
    question = d.say(
        "[Which|What] {noun} {b} has the highest {label} if only {nouns} {a} are [considered|allowed|counted]?",
        a=a.text, b=b.text, label=number.label,
    )  # fmt: skip
    best = f"SELECT max({quoted(number.name)}) FROM t WHERE {where}"
    return Ask(
        question, f"SELECT {d.key} FROM t WHERE {where} AND {quoted(number.name)} = ({best})", where,
        [a.column.name, b.column.name, number.name],
    )  # fmt: skip


@into(NEGATIONS)
def absent_value(d: Draw) -> Ask:
    """Of five values of a column, the one that no row under the condition has."""
    column = d.column("category")
    a = d.condition(column)
    name = quoted(column.name)
    present = [
        row[0] for row in d.query(f"SELECT DISTINCT {name} FROM t WHERE {a.sql} AND {name} IS NOT NULL ORDER BY 1")
    ]
    absent = [value for value in d.values(column) if value not in present]
    if len(present) < 4 or not absent:
        raise Unsuited
    options = [*d.rng.sample(present, 4), d.rng.choice(absent)]
    d.rng.shuffle(options)
    shown = ", ".join(written(option) for option in options)
    question = d.say(
        "Which of these [does not occur|is missing] as {label} among the {nouns} {a}: {shown}?",
        label=column.label, a=a.text, shown=shown,
    )  # fmt: skip
    values = ", ".join(f"({literal(option)})" for option in options)
    taken = f"SELECT {name} FROM t WHERE {a.sql} AND {name} IS NOT NULL"
    sql = f"SELECT v FROM (VALUES {values}) AS options(v) WHERE v NOT IN ({taken})"
    return Ask(question, sql, f"{a.sql} AND {name} IN (SELECT * FROM (VALUES {values}))", [a.column.name, column.name])


@into(NEGATIONS)
def sum_without(d: Draw) -> Ask:
    number = d.column("number")
    a = d.condition(number)
    b = d.condition(number, a.column)
    where = f"{a.sql} AND NOT ({b.sql})"
    question = d.say(
        "[Add up|Sum] the {label} of all {nouns} {a}, [leaving out|without|except for] every {noun} {b}: what is "
        "the [total|sum]?",
        a=a.text, b=b.text, label=number.label,
    )  # fmt: skip
    return Ask(
        question,
        f"SELECT sum({quoted(number.name)}) FROM t WHERE {where}",
        a.sql,
        [a.column.name, b.column.name, number.name],
    )
