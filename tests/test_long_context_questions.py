"""What a question about records must not be: half idle, a choice among two, known without the records, or ambiguous."""

import re
from collections.abc import Callable, Iterator
from itertools import islice
from random import Random
from typing import Any

import pytest

from generators.long_context.tables import people
from generators.long_context.tables.draw import CANDIDATES, Ask, Draw, Tally, Unsuited
from generators.long_context.tables.table import Column, Row, Table, World, number_in
from generators.long_context.tables.templates import FAMILIES
from generators.long_context.tables.trace import write_trace
from gristmill.personas import personas

COLUMNS = [
    Column("name", "key", "name"), Column("town", "category", "town", kin="home"),
    Column("land", "category", "country", kin="home"), Column("trade", "category", "trade"),
    Column("pay", "number", "pay"),
]  # fmt: skip


def draw_of(rows: list[Row], seed: int = 0) -> Draw:
    return Draw(World(Table("person", "people", COLUMNS, rows)), Random(seed))


def person(name: str, trade: str | None, pay: int, town: str = "Ghent", land: str = "Belgium") -> Row:
    return {"name": name, "town": town, "land": land, "trade": trade, "pay": pay}


def asks(draw: Draw, name: str, tries: int = 150) -> Iterator[Ask]:
    """What a template asks of a world, each with an answer."""
    make = next(family[name] for family in FAMILIES.values() if name in family)
    for _ in range(tries):
        try:
            ask = make(draw)
            draw.answer(ask)
            draw.evidence(ask)
        except Unsuited:
            continue
        yield ask


@pytest.fixture(scope="module")
def worlds() -> Iterator[list[Draw]]:
    made = []
    for seed in range(2):
        rng = Random(seed)
        mentors: list[str] = []
        employers = people.companies(rng, 1)
        rows = list(islice(people.rows(personas(None, seed), employers, mentors, rng), 8))
        mentors += [str(row["name"]) for row in rows]
        rows += islice(people.rows(islice(personas(None, seed), 20, None), employers, mentors, rng), 80)
        made.append(Draw(World(Table("person", "people", people.COLUMNS, rows), employers), rng))
    yield made
    for draw in made:
        draw.close()


# --- nothing idle -----------------------------------------------------------------------------------------------------


def test_each_condition_changes_the_answer(worlds: list[Draw]) -> None:
    """Where a condition is struck from the query, another number of rows is left."""
    conditions: dict[str, Callable[[str], list[str]]] = {
        "count_two": lambda sql: sql.split(" AND "), "count_not": lambda sql: sql.split(" AND ")[:1],
        "count_neither": lambda sql: sql.split(" AND ")[:1], "list_except": lambda sql: sql.split(" AND ")[:1],
    }  # fmt: skip
    for name, parts in conditions.items():
        found = [(draw, ask) for draw in worlds for ask in islice(asks(draw, name, 120), 10)]
        assert len(found) > 5, name
        for draw, ask in found:
            where = ask.sql.partition(" WHERE ")[2].partition(" ORDER ")[0]
            number = draw.counts(where)[0]
            assert all(draw.counts(part)[0] > number for part in parts(where)), ask.sql


def test_what_is_left_out_would_have_won(worlds: list[Draw]) -> None:
    found = [(draw, ask) for draw in worlds for ask in asks(draw, "top_without")]
    assert len(found) > 5
    for draw, ask in found:
        numbers = draw.each(f'"{ask.shows[-1]}"')
        assert numbers[str(draw.answer(ask))] < max(numbers[key] for key in draw.evidence(ask)), ask.question


@pytest.mark.parametrize("name", ["count_not", "sum_without"])
def test_an_empty_cell_is_not_what_is_left_out(name: str) -> None:
    """Somebody whose trade isn't told is not a smith, and doesn't go with the smiths."""
    rows = [
        person(f"P{number}", ("smith", "smith", "cook", None)[number % 4], 10 + number, f"town {number % 3}")
        for number in range(24)
    ]
    draw, by_name, compared = draw_of(rows), {str(row["name"]): row for row in rows}, 0
    for ask in asks(draw, name):
        left_out = re.search("smith|cook", ask.question)
        if left_out is None or ask.shows[-1 if name == "count_not" else 1] != "trade":
            continue
        kept = [
            number_in(row, COLUMNS[-1]) for key in draw.evidence(ask) if (row := by_name[key])["trade"] != left_out[0]
        ]
        assert draw.answer(ask) == (len(kept) if name == "count_not" else sum(kept)), ask.question
        compared += 1
    draw.close()
    assert compared >= 3


# --- a real choice ----------------------------------------------------------------------------------------------------

EXTREMES = ("highest", "lowest", "earliest", "nearest", "nearest_day", "top_sharing_with", "top_sharing_with_extreme",
            "top_by_second", "top_without")  # fmt: skip


@pytest.mark.parametrize("name", EXTREMES)
def test_an_extreme_has_three_candidates(name: str, worlds: list[Draw]) -> None:
    found = [(draw, ask) for draw in worlds for ask in islice(asks(draw, name), 8)]
    assert len(found) >= 5
    for draw, ask in found:
        assert ask.tally is not None
        values = [value for value in draw.each(ask.tally.of).values() if value is not None]
        assert len(values) >= CANDIDATES, ask.question
        if ask.tally.how == "nearest" or name == "top_sharing_with":
            named = [key for key in draw.each("true") if key in ask.question]
            assert draw.answer(ask) not in named


def test_the_commonest_is_one_of_three(worlds: list[Draw]) -> None:
    for draw in worlds:
        for ask in asks(draw, "commonest", 100):
            column = ask.shows[-1]
            assert draw.query(f'SELECT count(DISTINCT "{column}") FROM t WHERE {ask.evidence}')[0][0] >= CANDIDATES


# --- known without the records ----------------------------------------------------------------------------------------


def test_no_column_is_asked_for_under_a_condition_on_its_kin(worlds: list[Draw]) -> None:
    kin = {column.name: column.kin for column in people.COLUMNS}
    for name in ("commonest", "count_two", "count_distinct", "absent_value", "value_of_highest", "only_match"):
        for draw in worlds:
            for ask in asks(draw, name, 60):
                kins = [kin[shown] for shown in ask.shows if kin[shown]]
                assert len(kins) == len(set(kins)), ask.question


def test_names_answer_nothing(worlds: list[Draw]) -> None:
    """A name tells a sex and often a country; a company's name tells its sector."""
    for draw in worlds:
        assert all(not re.search("sex|country|city|language", ask.question) for ask in asks(draw, "same_value", 100))
        for name in ("of_the_second", "second_of_the_linked", "count_by_second", "top_by_second"):
            assert not any(re.search(r"\bsectors?\b", ask.question) for ask in asks(draw, name, 60))


def test_nobody_is_hired_before_their_company_is_founded(worlds: list[Draw]) -> None:
    for draw in worlds:
        early = draw.query("SELECT count(*) FROM t JOIN c ON employer = company WHERE year(hired) <= founded")
        assert early == [(0,)] and draw.counts("true")[0] == 88


# --- one answer -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [["Ole", "Ørjan", "Per"], ["Eli", "Əli", "Fay"], ["Ada", "Åse", "Bo"]])
def test_a_list_is_in_order_by_any_alphabet(names: list[str]) -> None:
    draw = draw_of([person(name, "smith", 1) for name in names])
    with pytest.raises(Unsuited):
        draw.listed("trade = 'smith'")
    assert draw.listed("name <> 'Åse' AND name <> 'Ørjan' AND name <> 'Əli'")
    with pytest.raises(Unsuited):
        draw.ranked(COLUMNS[-1], "true", True, "LIMIT 2")
    draw.close()


def test_a_mean_is_not_half_way_between_two_decimals() -> None:
    rows = [person(f"P{number}", "smith", pay) for number, pay in enumerate((1, 1, 1, 2))]  # 1.25
    rows += [person(f"Q{number}", "cook", pay) for number, pay in enumerate((1, 1, 2))]  # 1.33
    draw = draw_of(rows)
    asked = [ask.question for ask in asks(draw, "mean_of") if "trade" in ask.shows]
    assert asked and all("cook" in question for question in asked)
    draw.close()


# --- words ------------------------------------------------------------------------------------------------------------

AWKWARD = re.compile(
    r"\ba employer|\b[Ww]hat (other )?(person|people|number)\b|[Ww]ho or what|where the \w+ is|"
    r"1 children|(companies|people) \w+ its|\b(from|in) (United|Netherlands)|  |\.\.(?!\.)"
)


@pytest.mark.parametrize("family", FAMILIES)
def test_questions_read_well(family: str, worlds: list[Draw]) -> None:
    asked = [ask.question for draw in worlds for name in FAMILIES[family] for ask in asks(draw, name, 8)]
    assert len(asked) > 30
    for question in asked:
        assert not AWKWARD.search(question), question
        assert question.endswith(("?", ".")) and question.count("(") == question.count(")"), question


# --- the trace --------------------------------------------------------------------------------------------------------


def test_a_trace_keeps_track_in_the_order_of_reading() -> None:
    draw = draw_of([person(f"P{number}", "smith", pay) for number, pay in enumerate((5, 9, 7))])
    told: dict[str, list[str]] = {}
    for how in ("count", "sum", "max", "min", "nearest"):
        ask = Ask("?", "", "true", ["pay"], tally=Tally(how, "pay > 5" if how == "count" else "pay"))
        lines = write_trace(draw, ask, ["P2", "P0", "P1"], "x", Random(0)).split("\n")
        assert re.search(r"\(3\):$", lines[0]) and "x" in lines[-1]
        told[how] = [line.partition(" – ")[2] for line in lines[1:-1]]
    draw.close()
    assert told == {
        "count": ["number 1", "", "number 2"], "sum": ["7 so far", "12 so far", "21 so far"],
        "max": ["highest so far", "", "highest so far"], "min": ["lowest so far", "lowest so far", ""],
        "nearest": ["7 away, nearest so far", "5 away, nearest so far", "9 away"],
    }  # fmt: skip


def test_what_is_kept_track_of_ends_at_the_answer(worlds: list[Draw]) -> None:
    for draw in worlds:
        for name in (name for family in FAMILIES.values() for name in family):
            for ask in islice(asks(draw, name, 12), 2):
                if ask.tally and draw.answer(ask) != 0:
                    check_end(draw, ask, ask.tally)


def check_end(draw: Draw, ask: Ask, tally: Tally) -> None:
    answer: Any = draw.answer(ask)
    read = draw.evidence(ask)
    lines = write_trace(draw, ask, read, answer, Random(0)).split("\n")[1:-1]
    tracked = [line for line in lines if " – " in line]
    if tally.how == "count":
        assert tracked[-1].endswith(f" – number {answer}"), ask.question
    elif tally.how == "sum" and "avg(" not in ask.sql:
        assert tracked[-1].endswith(f" – {answer} so far"), ask.question
    elif tally.how != "sum":
        assert [line for line in tracked if line.endswith(" so far")][-1].startswith(f"- {answer}: "), ask.question
