"""Ranks and comparisons: the highest, the k-th, the nearest; which of two, and by how much."""

from generators.long_context.tables.draw import CANDIDATES, Ask, Draw, Unsuited, choosing, counting
from generators.long_context.tables.table import Kind, literal, number_in, quoted, written
from generators.long_context.tables.templates.registry import Family, into

RANKS: Family = {}
COMPARISONS: Family = {}

_NTH = {2: "second", 3: "third", 4: "fourth", 5: "fifth", 6: "sixth", 7: "seventh"}


@into(RANKS)
def highest(d: Draw) -> Ask:
    number = d.column("number")
    a = d.condition(number)
    name = quoted(number.name)
    question = d.say(
        "[Which {noun} {a}|Of all {nouns} {a}, which one] has the [highest|greatest|largest] {label}?",
        a=a.text,
        label=number.label,
    )
    return choosing(d, question, name, a.sql, a.sql, [a.column.name, number.name])


@into(RANKS)
def lowest(d: Draw) -> Ask:
    number = d.column("number")
    a = d.condition(number)
    name = quoted(number.name)
    question = d.say(
        "[Among {nouns} {a}, which one|Which of the {nouns} {a}] has the [lowest|smallest] {label}?",
        a=a.text,
        label=number.label,
    )
    return choosing(d, question, name, a.sql, a.sql, [a.column.name, number.name], "min")


@into(RANKS)
def top_k(d: Draw) -> Ask:
    number, k = d.column("number"), d.rng.randint(2, 5)
    a = d.condition(number)
    question = d.say(
        "Which {k} {nouns} {a} have the highest {label}, [the highest first|from the top down]? {tie}",
        k=k, a=a.text, label=number.label, tie=d.tie_rule(),
    )  # fmt: skip
    if d.counts(a.sql)[0] <= k:
        raise Unsuited
    sql = d.ranked(number, a.sql, True, f"LIMIT {k}")
    return Ask(question, sql, a.sql, [a.column.name, number.name], "list")


@into(RANKS)
def kth(d: Draw) -> Ask:
    number, k = d.column("number"), d.rng.randint(2, 7)
    a = d.condition(number)
    down = d.rng.random() < 0.5
    question = d.say(
        "[Ordered by {label} from {order}, which of the {nouns} {a}|Sort the {nouns} {a} by {label}, {order}: which "
        "one] comes {nth}? {tie}",
        label=number.label, order="high to low" if down else "low to high", a=a.text, nth=_NTH[k], tie=d.tie_rule(),
    )  # fmt: skip
    d.several(a.sql)
    sql = d.ranked(number, a.sql, down, f"LIMIT 1 OFFSET {k - 1}")
    return Ask(question, sql, a.sql, [a.column.name, number.name])


@into(RANKS)
def sum_of_top(d: Draw) -> Ask:
    number, k = d.column("number"), d.rng.randint(2, 6)
    a = d.condition(number)
    name = quoted(number.name)
    question = d.say(
        "What do the {k} [highest|largest] values of {label} among {nouns} {a} [add up to|come to together]?",
        k=k, a=a.text, label=number.label,
    )  # fmt: skip
    sql = f"SELECT sum({name}) FROM (SELECT {name} FROM t WHERE {a.sql} ORDER BY {name} DESC LIMIT {k})"
    if d.query(f"SELECT count({name}) FROM t WHERE {a.sql}")[0][0] <= k:
        raise Unsuited
    return Ask(question, sql, a.sql, [a.column.name, number.name])


@into(RANKS)
def all_highest(d: Draw) -> Ask:
    """Everyone who shares the highest value: at least two."""
    number = d.column("number")
    a = d.condition(number)
    name = quoted(number.name)
    where = f"{a.sql} AND {name} = (SELECT max({name}) FROM t WHERE {a.sql})"
    question = d.say(
        "[Several|Two or more] {nouns} {a} share the highest {label}. Which [are they|ones], [in alphabetical order|"
        "from A to Z]?",
        a=a.text, label=number.label,
    )  # fmt: skip
    d.several(a.sql)
    sql = d.listed(where)
    return Ask(question, sql, a.sql, [a.column.name, number.name], "list")


@into(RANKS)
def value_of_highest(d: Draw) -> Ask:
    """Another column of the row with the highest number."""
    number, other = d.column("number"), d.column(d.rng.choice(("category", "date")))
    a = d.condition(number, other)
    name = quoted(number.name)
    if d.query(f"SELECT count(DISTINCT {quoted(other.name)}) FROM t WHERE {a.sql}")[0][0] < CANDIDATES:
        raise Unsuited
    question = d.say(
        "[What is the {other} of|Which {other} is given for] the {noun} with the [highest|largest] {label} among all "
        "{nouns} {a}?",
        other=other.label, label=number.label, a=a.text,
    )  # fmt: skip
    where = f"{a.sql} AND {name} = (SELECT max({name}) FROM t WHERE {a.sql})"
    return Ask(
        question, f"SELECT {quoted(other.name)} FROM t WHERE {where}", a.sql, [a.column.name, number.name, other.name]
    )


@into(COMPARISONS)
def difference(d: Draw) -> Ask:
    return apart(
        d, "number", "[How far apart are|What is the difference between] the {label} of {one} and that of {other}?"
    )


@into(COMPARISONS)
def above_the_other(d: Draw) -> Ask:
    """Yes or no, the answer drawn first so that both come equally often."""
    number, wanted = d.column("number"), d.rng.random() < 0.5
    one, other = d.two(number)
    if (number_in(one, number) > number_in(other, number)) != wanted:
        one, other = other, one
    if one[number.name] == other[number.name]:
        raise Unsuited
    name, first, second = quoted(number.name), literal(one[d.table.key]), literal(other[d.table.key])
    question = d.say(
        "[Is the {label} of {one} [above|higher than] that of {other}|Comparing {one} and {other} by {label}: is the "
        "first one's higher]? [Say|Answer] yes or no.",
        label=number.label,
        one=one[d.table.key],
        other=other[d.table.key],
    )
    sql = f"SELECT (SELECT {name} FROM t WHERE {d.key} = {first}) > (SELECT {name} FROM t WHERE {d.key} = {second})"
    return Ask(question, sql, f"{d.key} IN ({first}, {second})", [number.name], "yes_no")


@into(COMPARISONS)
def same_value(d: Draw) -> Ask:
    """Yes or no, as above; of a column that names give no hint at."""
    column, wanted = d.column("category"), d.rng.random() < 0.5
    if column.kin:
        raise Unsuited
    for _ in range(200):
        one, other = d.two(column)
        if (one[column.name] == other[column.name]) == wanted:
            break
    else:
        raise Unsuited
    name, first, second = quoted(column.name), literal(one[d.table.key]), literal(other[d.table.key])
    question = d.say(
        "[Do|Would you say that] {one} and {other} have the same {label}? [Yes or no|Answer yes or no].",
        label=column.label,
        one=one[d.table.key],
        other=other[d.table.key],
    )
    sql = f"SELECT (SELECT {name} FROM t WHERE {d.key} = {first}) = (SELECT {name} FROM t WHERE {d.key} = {second})"
    return Ask(question, sql, f"{d.key} IN ({first}, {second})", [column.name], "yes_no")


@into(COMPARISONS)
def larger_group(d: Draw) -> Ask:
    column = d.column("category")
    common = d.values(column, 2)
    if len(common) < 2:
        raise Unsuited
    one, other = d.rng.sample(common, 2)
    a = d.condition(column)
    name = quoted(column.name)
    where = f"{a.sql} AND {name} IN ({literal(one)}, {literal(other)})"
    grouped = f"SELECT {name} AS v, count(*) AS n FROM t WHERE {where} GROUP BY 1"
    question = d.say(
        "[Among {nouns} {a}, is {one} or {other} the [more frequent|commoner] {label}|Which {label} do more of the "
        "{nouns} {a} have, {one} or {other}]?",
        a=a.text, one=written(one), other=written(other), label=column.label,
    )  # fmt: skip
    return Ask(
        question,
        f"WITH g AS ({grouped}) SELECT v FROM g WHERE n = (SELECT max(n) FROM g)",
        where,
        [a.column.name, column.name],
    )


@into(COMPARISONS)
def nearest(d: Draw) -> Ask:
    return nearest_by(d, "number")


@into(COMPARISONS)
def between_two(d: Draw) -> Ask:
    number = d.column("number")
    one, other = d.two(number)
    low, high = sorted((number_in(one, number), number_in(other, number)))
    a = d.condition(number, kinds=("category",))
    name = quoted(number.name)
    where = f"{a.sql} AND {name} > {literal(low)} AND {name} < {literal(high)}"
    d.matters(where, a.sql)
    question = d.say(
        "For how many {nouns} {a} is the {label} strictly between those of {one} and {other}?",
        a=a.text, label=number.label, one=one[d.table.key], other=other[d.table.key],
    )  # fmt: skip
    keys = f"{literal(one[d.table.key])}, {literal(other[d.table.key])}"
    return counting(
        question,
        where,
        f"({where} OR {d.key} IN ({keys}))",
        [a.column.name, number.name],
    )


@into(COMPARISONS)
def above_the_mean(d: Draw) -> Ask:
    number = d.column("number")
    a = d.condition(number, kinds=("category", "date"))
    name = quoted(number.name)
    where = f"{a.sql} AND {name} > (SELECT avg({name}) FROM t WHERE {a.sql})"
    d.several(a.sql)
    question = d.say(
        "[How many of the {nouns} {a} are above the [average|mean] {label} of [just these|that group]|Work out the "
        "[average|mean] {label} of the {nouns} {a}: how many of them are above it]?",
        a=a.text,
        label=number.label,
    )
    return counting(question, where, a.sql, [a.column.name, number.name])


# --- of numbers, and of dates ----------------------------------------------------------------------------------------


def nearest_by(d: Draw, kind: Kind) -> Ask:
    """The row whose value is nearest to that of a named one, under a condition."""
    column = d.column(kind)
    row = d.row(column)
    a = d.condition(column)
    key = literal(row[d.table.key])
    question = d.say(
        "[The {label} of which other {noun} {a} is [nearest|closest] to that of {key}|Apart from {key}, which {noun} "
        "{a} has the {label} [nearest|closest] to {key}'s]?",
        a=a.text, label=column.label, key=row[d.table.key],
    )  # fmt: skip
    gap = f"abs({quoted(column.name)} - {literal(row[column.name])})"
    where, evidence = f"{a.sql} AND {d.key} <> {key}", f"({a.sql} OR {d.key} = {key})"
    return choosing(d, question, gap, where, evidence, [a.column.name, column.name], "nearest")


def apart(d: Draw, kind: Kind, text: str) -> Ask:
    """How far the values of two rows are from each other."""
    column = d.column(kind)
    one, other = d.two(column)
    name, first, second = quoted(column.name), literal(one[d.table.key]), literal(other[d.table.key])
    question = d.say(text, label=column.label, one=one[d.table.key], other=other[d.table.key])
    values = [f"(SELECT {name} FROM t WHERE {d.key} = {key})" for key in (first, second)]
    return Ask(question, f"SELECT abs({' - '.join(values)})", f"{d.key} IN ({first}, {second})", [column.name])
