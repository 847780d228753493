"""Filters, and what they leave out: rows that meet conditions are counted, listed or found."""

from generators.long_context.tables.draw import Ask, Draw, Unsuited, adding, choosing, counting
from generators.long_context.tables.table import literal, quoted, written
from generators.long_context.tables.templates.registry import Family, into

FILTERS: Family = {}
NEGATIONS: Family = {}


@into(FILTERS)
def count_one(d: Draw) -> Ask:
    a = d.condition()
    question = d.say(
        "[How many {nouns} {a} [are there|do you find|does the text list]|Count the {nouns} {a}: how many are there]?",
        a=a.text,
    )
    return counting(question, a.sql, a.sql, [a.column.name])


@into(FILTERS)
def count_two(d: Draw) -> Ask:
    a = d.condition(kinds=("category",))
    b = d.condition(a.column, kinds=("number", "date"))
    where = f"{a.sql} AND {b.sql}"
    d.matters(where, a.sql, b.sql)
    question = d.say(
        "[Of|Among] the {nouns} {a}, [how many are also {nouns} {b}|count those {b}: how many are they]?",
        a=a.text, b=b.text,
    )  # fmt: skip
    return counting(question, where, where, [a.column.name, b.column.name])


@into(FILTERS)
def count_either(d: Draw) -> Ask:
    a = d.condition()
    b = d.condition(a.column)
    where = f"({a.sql} OR {b.sql})"
    d.matters(where, a.sql, b.sql)
    question = d.say(
        "[Count|Take|Consider] the {nouns} {a} and the {nouns} {b}, each {noun} once: how many [are they|is that]?",
        a=a.text,
        b=b.text,
    )
    return counting(question, where, where, [a.column.name, b.column.name])


@into(FILTERS)
def count_one_of(d: Draw) -> Ask:
    a = d.of(d.column("category"), "in")
    question = d.say("How many {nouns} {a} [are on record|are there|can be found|does the text list]?", a=a.text)
    return counting(question, a.sql, a.sql, [a.column.name])


@into(FILTERS)
def count_between(d: Draw) -> Ask:
    a = d.of(d.column(d.rng.choice(("number", "date"))), "between")
    question = d.say("How many {nouns} {a} [are there|do you count|are among the records]?", a=a.text)
    return counting(question, a.sql, a.sql, [a.column.name])


@into(FILTERS)
def count_distinct(d: Draw) -> Ask:
    column = d.column("category")
    a = d.condition(column)
    name = quoted(column.name)
    question = d.say(
        "[Among the {nouns} {a}, how many different values of {label} are there|How many different values of {label} "
        "[occur|are found] among the {nouns} {a}]?",
        label=column.label,
        a=a.text,
    )
    return Ask(question, f"SELECT count(DISTINCT {name}) FROM t WHERE {a.sql}", a.sql, [a.column.name, column.name])


@into(FILTERS)
def list_matching(d: Draw) -> Ask:
    a = d.condition(kinds=("category",))
    b = d.condition(a.column, kinds=("number", "date", "category"))
    where = f"{a.sql} AND {b.sql}"
    d.matters(where, a.sql, b.sql)
    question = d.say(
        "[Which {nouns} {a} are also {nouns} {b}|Which of the {nouns} {a} are {nouns} {b}]? [Give|List] the {key} of "
        "each, [in alphabetical order|from A to Z|sorted alphabetically].",
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
    d.matters(where, f"{a.sql} AND {b.sql}", f"{a.sql} AND {c.sql}", f"{b.sql} AND {c.sql}")
    question = d.say(
        "[Exactly|Only|Just] one of the {nouns} {a} is [also|at once] among the {nouns} {b} and among the {nouns} {c}: "
        "[which one|what is the {key}]?",
        a=a.text, b=b.text, c=c.text, key=d.table.columns[0].label,
    )  # fmt: skip
    return Ask(question, f"SELECT {d.key} FROM t WHERE {where}", where, [a.column.name, b.column.name, c.column.name])


@into(NEGATIONS)
def count_not(d: Draw) -> Ask:
    a = d.condition(kinds=("number", "date"))
    b = d.of(d.column("category", a.column), "ne")
    where = f"{a.sql} AND {b.sql}"
    d.matters(where, a.sql)
    question = d.say("[How many of the {nouns} {a}|Of the {nouns} {a}, how many] are {nouns} {b}?", a=a.text, b=b.text)
    return counting(question, where, a.sql, [a.column.name, b.column.name])


@into(NEGATIONS)
def count_neither(d: Draw) -> Ask:
    scope = d.condition(kinds=("number", "date"))
    a = d.condition(scope.column, kinds=("category",))
    b = d.condition(scope.column, a.column, kinds=("category",))
    where = d.without(scope.sql, a.sql, b.sql)
    d.matters(where, d.without(scope.sql, a.sql), d.without(scope.sql, b.sql))
    question = d.say(
        "[[Among|Of] the {nouns} {scope}, leave out those {a} and those {b}: how many [are left|remain]|How many "
        "{nouns} {scope} are neither {nouns} {a} nor {nouns} {b}]?",
        scope=scope.text, a=a.text, b=b.text,
    )  # fmt: skip
    return counting(question, where, scope.sql, [scope.column.name, a.column.name, b.column.name])


@into(NEGATIONS)
def list_except(d: Draw) -> Ask:
    a = d.condition(kinds=("category",))
    b = d.condition(a.column)
    where = d.without(a.sql, b.sql)
    d.matters(where, a.sql)
    question = d.say(
        "[Take|Start with] all {nouns} {a} and [leave out|strike|remove] every {noun} {b}. Which [remain|are left] "
        "([by|give the] {key}, [in alphabetical order|from A to Z])?",
        a=a.text, b=b.text, key=d.table.columns[0].label,
    )  # fmt: skip
    sql = d.listed(where)
    return Ask(question, sql, a.sql, [a.column.name, b.column.name], "list")


@into(NEGATIONS)
def top_without(d: Draw) -> Ask:
    number = d.column("number")
    a = d.condition(number, kinds=("category",))
    b = d.condition(number, a.column)
    name, where = quoted(number.name), d.without(b.sql, a.sql)
    best, with_all = (d.query(f"SELECT max({name}) FROM t WHERE {rows}")[0][0] for rows in (where, b.sql))
    if best is None or best == with_all:
        raise Unsuited
    question = d.say(
        "[[Leave out|Ignore|Pass over] every {noun} {a}. Which of the [other|remaining] {nouns} {b} has|Not counting "
        "{nouns} {a}, which {noun} {b} has] the highest {label}?",
        a=a.text, b=b.text, label=number.label,
    )  # fmt: skip
    return choosing(d, question, name, where, b.sql, [a.column.name, b.column.name, number.name])


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
        "[Which of these [does not occur|is missing] as {label} among the {nouns} {a}: {shown}?|Four of these occur as "
        "{label} among the {nouns} {a}: {shown}. Which one does not?]",
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
    where = d.without(a.sql, b.sql)
    d.several(where)
    d.matters(where, a.sql)
    question = d.say(
        "[Add up|Sum] the {label} of all {nouns} {a}, [leaving out|without|except for] every {noun} {b}: what is "
        "the [total|sum]?",
        a=a.text, b=b.text, label=number.label,
    )  # fmt: skip
    return adding(question, number, where, a.sql, [a.column.name, b.column.name, number.name])
