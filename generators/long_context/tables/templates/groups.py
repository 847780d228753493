"""Aggregates over groups: sums, means, spreads, and which group is the largest."""

from generators.long_context.tables.draw import Ask, Draw, Unsuited
from generators.long_context.tables.table import literal, quoted, written
from generators.long_context.tables.templates.registry import Family, into

GROUPS: Family = {}


@into(GROUPS)
def commonest(d: Draw) -> Ask:
    column = d.column("category")
    a = d.condition(column)
    name = quoted(column.name)
    question = d.say(
        "[Which|What] {label} is the [commonest|most frequent] among {nouns} {a}?", label=column.label, a=a.text
    )
    counted = f"SELECT {name} AS v, count(*) AS n FROM t WHERE {a.sql} GROUP BY 1"
    sql = f"WITH g AS ({counted}) SELECT v FROM g WHERE n = (SELECT max(n) FROM g)"
    return Ask(question, sql, a.sql, [a.column.name, column.name])


@into(GROUPS)
def groups_of_size(d: Draw) -> Ask:
    column, least = d.column("category"), d.rng.randint(2, 5)
    name = quoted(column.name)
    counted = f"SELECT {name} AS v FROM t WHERE {name} IS NOT NULL GROUP BY 1 HAVING count(*) >= {least}"
    question = d.say(
        "How many [different|distinct] values of {label} [occur|are found] with at least {least} {nouns} each?",
        label=column.label, least=least,
    )  # fmt: skip
    return Ask(question, f"SELECT count(*) FROM ({counted})", f"{name} IN ({counted})", [column.name])


@into(GROUPS)
def mean_of(d: Draw) -> Ask:
    number = d.column("number")
    a = d.condition(number)
    question = d.say(
        "What is the [average|mean] {label} of the {nouns} {a}, rounded to one decimal?", label=number.label, a=a.text
    )
    return Ask(
        question,
        f"SELECT round(avg({quoted(number.name)}), 1) FROM t WHERE {a.sql}",
        a.sql,
        [a.column.name, number.name],
    )


@into(GROUPS)
def sum_of(d: Draw) -> Ask:
    number = d.column("number")
    a = d.condition(number)
    question = d.say(
        "What is the [total {label}|sum of the {label}] of [the|all] {nouns} {a}?", label=number.label, a=a.text
    )
    return Ask(question, f"SELECT sum({quoted(number.name)}) FROM t WHERE {a.sql}", a.sql, [a.column.name, number.name])


@into(GROUPS)
def range_of(d: Draw) -> Ask:
    number = d.column("number")
    a = d.condition(number, kinds=("category", "date"))
    name = quoted(number.name)
    question = d.say(
        "[How far apart are|What is the difference between] the highest and the lowest {label} among {nouns} {a}?",
        label=number.label, a=a.text,
    )  # fmt: skip
    return Ask(question, f"SELECT max({name}) - min({name}) FROM t WHERE {a.sql}", a.sql, [a.column.name, number.name])


@into(GROUPS)
def median_of(d: Draw) -> Ask:
    """Of an odd number of rows, so that it is one of the values."""
    number = d.column("number")
    a = d.condition(number, kinds=("category", "date"))
    name = quoted(number.name)
    if d.query(f"SELECT count({name}) FROM t WHERE {a.sql}")[0][0] % 2 == 0:
        raise Unsuited
    question = d.say("What is the median {label} of the {nouns} {a}?", label=number.label, a=a.text)
    return Ask(question, f"SELECT median({name}) FROM t WHERE {a.sql}", a.sql, [a.column.name, number.name])


@into(GROUPS)
def counts_of_three(d: Draw) -> Ask:
    column = d.column("category")
    common = d.values(column, 2)
    if len(common) < 3:
        raise Unsuited
    values = d.rng.sample(common, 3)
    name = quoted(column.name)
    listed = ", ".join(map(literal, values))
    shown = f"{written(values[0])}, {written(values[1])} and {written(values[2])}"
    question = d.say(
        "How many {nouns} [have each of these as|are there for each of these values of] {label}: {shown}?",
        label=column.label,
        shown=shown,
    )
    order = " ".join(f"WHEN {literal(value)} THEN {place}" for place, value in enumerate(values))
    where = f"{name} IN ({listed})"
    sql = f"SELECT {name}, count(*) FROM t WHERE {where} GROUP BY 1 ORDER BY CASE {name} {order} END"
    return Ask(question, sql, where, [column.name], "mapping")


@into(GROUPS)
def best_mean(d: Draw) -> Ask:
    """The group with the highest mean; the two best are not as good as equal."""
    column, number = d.column("category"), d.column("number")
    name, value = quoted(column.name), quoted(number.name)
    grouped = f"SELECT {name} AS v, avg({value}) AS m FROM t WHERE {name} IS NOT NULL GROUP BY 1 HAVING count(*) >= 2"
    best = d.query(f"SELECT m FROM ({grouped}) ORDER BY m DESC LIMIT 2")
    if len(best) < 2 or best[0][0] - best[1][0] < 0.01 * abs(best[0][0]):
        raise Unsuited
    question = d.say(
        "Of the values of {label} that at least two {nouns} have, which has the highest [average|mean] {number}?",
        label=column.label, number=number.label,
    )  # fmt: skip
    sql = f"SELECT v FROM ({grouped}) ORDER BY m DESC LIMIT 1"
    return Ask(question, sql, f"{name} IN (SELECT v FROM ({grouped}))", [column.name, number.name])


@into(GROUPS)
def largest_sum(d: Draw) -> Ask:
    """Which of two groups has the larger sum."""
    column, number = d.column("category"), d.column("number")
    common = d.values(column, 2)
    if len(common) < 2:
        raise Unsuited
    one, other = d.rng.sample(common, 2)
    name, value = quoted(column.name), quoted(number.name)
    where = f"{name} IN ({literal(one)}, {literal(other)})"
    grouped = f"SELECT {name} AS v, sum({value}) AS s FROM t WHERE {where} GROUP BY 1"
    question = d.say(
        "Taken together, whose {number} is larger: that of all {nouns} with {label} {one}, or that of all with "
        "{label} {other}? Name the {label}.",
        number=number.label, label=column.label, one=written(one), other=written(other),
    )  # fmt: skip
    return Ask(
        question,
        f"WITH g AS ({grouped}) SELECT v FROM g WHERE s = (SELECT max(s) FROM g)",
        where,
        [column.name, number.name],
    )
