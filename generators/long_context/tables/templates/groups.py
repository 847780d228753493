"""Aggregates over groups: sums, means, spreads, and which group is the largest."""

from generators.long_context.tables.draw import CANDIDATES, Ask, Draw, Tally, Unsuited, adding
from generators.long_context.tables.table import Column, literal, quoted, written
from generators.long_context.tables.templates.registry import Family, into

GROUPS: Family = {}


@into(GROUPS)
def commonest(d: Draw) -> Ask:
    column = d.column("category")
    a = d.condition(column)
    name = quoted(column.name)
    _spread(d, column, a.sql)
    question = d.say(
        "[Which {label} is the [commonest|most frequent] among {nouns} {a}|Among the {nouns} {a}, which {label} "
        "[occurs|comes up] most often]?",
        label=column.label, a=a.text,
    )  # fmt: skip
    counted = f"SELECT {name} AS v, count(*) AS n FROM t WHERE {a.sql} GROUP BY 1"
    sql = f"WITH g AS ({counted}) SELECT v FROM g WHERE n = (SELECT max(n) FROM g)"
    return Ask(question, sql, a.sql, [a.column.name, column.name])


@into(GROUPS)
def groups_of_size(d: Draw) -> Ask:
    column, least = d.column("category"), d.rng.randint(2, 5)
    name = quoted(column.name)
    counted = f"SELECT {name} AS v FROM t WHERE {name} IS NOT NULL GROUP BY 1 HAVING count(*) >= {least}"
    question = d.say(
        "How many [values of {label} are shared by at least {least} {nouns}|different values of {label} have at least "
        "{least} {nouns} each]?",
        label=column.label, least=least,
    )  # fmt: skip
    return Ask(question, f"SELECT count(*) FROM ({counted})", f"{name} IN ({counted})", [column.name])


@into(GROUPS)
def mean_of(d: Draw) -> Ask:
    number = d.column("number")
    a = d.condition(number)
    _rounds(d, number, a.sql)
    question = d.say(
        "[What is the [average|mean] {label} of the {nouns} {a}, rounded to one decimal|To one decimal, what is the "
        "[average|mean] {label} among the {nouns} {a}]?",
        label=number.label, a=a.text,
    )  # fmt: skip
    return Ask(
        question,
        f"SELECT round(avg({quoted(number.name)}), 1) FROM t WHERE {a.sql}",
        a.sql,
        [a.column.name, number.name],
        tally=Tally("sum", quoted(number.name)),
    )


@into(GROUPS)
def sum_of(d: Draw) -> Ask:
    number = d.column("number")
    a = d.condition(number)
    d.several(a.sql)
    question = d.say(
        "[What is the [total {label}|sum of the {label}] of [the|all] {nouns} {a}|Add up the {label} of all {nouns} "
        "{a}: what do you get]?",
        label=number.label, a=a.text,
    )  # fmt: skip
    return adding(question, number, a.sql, a.sql, [a.column.name, number.name])


@into(GROUPS)
def range_of(d: Draw) -> Ask:
    number = d.column("number")
    a = d.condition(number, kinds=("category", "date"))
    name = quoted(number.name)
    d.several(a.sql)
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
    d.several(a.sql)
    if d.query(f"SELECT count({name}) FROM t WHERE {a.sql}")[0][0] % 2 == 0:
        raise Unsuited
    question = d.say(
        "[What is the median {label} of|Which {label} is the median among] the {nouns} {a}?",
        label=number.label, a=a.text,
    )  # fmt: skip
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
    best = d.query(f"SELECT m FROM ({grouped}) ORDER BY m DESC LIMIT {CANDIDATES}")
    if len(best) < CANDIDATES or best[0][0] - best[1][0] < 0.01 * abs(best[0][0]):
        raise Unsuited
    question = d.say(
        "[Of the values of {label} that at least two {nouns} have, which|Group the {nouns} by {label} and leave out "
        "groups of one: which {label}] has the highest [average|mean] {number}?",
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
        "Which {label} has the larger [sum|total] of {number} over [all|its] {nouns}, {one} or {other}?",
        number=number.label, label=column.label, one=written(one), other=written(other),
    )  # fmt: skip
    return Ask(
        question,
        f"WITH g AS ({grouped}) SELECT v FROM g WHERE s = (SELECT max(s) FROM g)",
        where,
        [column.name, number.name],
    )


# --- what would be no question ----------------------------------------------------------------------------------------


def _spread(d: Draw, column: Column, where: str) -> None:
    """Unsuited where the column has few values under a condition: one of two is soon guessed."""
    if d.query(f"SELECT count(DISTINCT {quoted(column.name)}) FROM t WHERE {where}")[0][0] < CANDIDATES:
        raise Unsuited


def _rounds(d: Draw, number: Column, where: str) -> None:
    """Unsuited where a mean lies half-way between two decimals, or is one of fewer rows than CANDIDATES."""
    d.several(where)
    (mean,) = d.query(f"SELECT avg({quoted(number.name)}) FROM t WHERE {where}")[0]
    if mean is None or abs(10 * mean % 1 - 0.5) < 1e-6:
        raise Unsuited
