"""The verbaliser: grammatical, complete, varied, and exact about literals."""

import re
from collections import Counter
from dataclasses import replace
from random import Random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generators.text_to_sql.grammar import Query, query_of, sample_query, suited_concepts
from generators.text_to_sql.grammar.catalog import catalog_of
from generators.text_to_sql.grammar.coverage import passed_over
from generators.text_to_sql.grammar.plan import (
    Aggregate,
    Change,
    Comparison,
    DatePart,
    Growth,
    Moving,
    Order,
    Plan,
    Ref,
)
from generators.text_to_sql.load import bundled
from generators.text_to_sql.paraphrase import check_paraphrase
from generators.text_to_sql.schema import Column, Database, Table
from generators.text_to_sql.verbalise import Instruction, Politeness, Register, Style, verbalise, words, wrapped
from generators.text_to_sql.verbalise.conditions import Conditions, Noun
from generators.text_to_sql.verbalise.names import Names
from generators.text_to_sql.verbalise.voice import PHRASES, Voice
from gristmill.text.diversity import diversity
from tests.sql_worlds import all_worlds, own_worlds

CLINIC = own_worlds()["clinic"]
STYLES = [
    Style(instruction, register, politeness)
    for instruction in get_args(Instruction)
    for register in get_args(Register)
    for politeness in get_args(Politeness)
]


def questions(count: int, seed: str = "questions") -> list[tuple[Query, str, Style]]:
    """Of all databases and concepts, in any style."""
    rng, worlds = Random(seed), list(all_worlds().values())
    found = []
    for _ in range(count):
        database, style = rng.choice(worlds), Style.draw(rng)
        query = sample_query(database, rng.choice(suited_concepts(database)), rng)
        found.append((query, verbalise(query, style, rng).text, style))
    return found


# --- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("singular", "plural"),
    [
        ("city", "cities"),
        ("date of birth", "dates of birth"),
        ("loan amount", "loan amounts"),
        ("branch", "branches"),
        ("price per unit", "prices per unit"),
        ("status", "statuses"),
        ("medium", "media"),
        ("key", "keys"),
    ],
)
def test_plurals(singular: str, plural: str) -> None:
    assert words.plural(singular) == plural


@pytest.mark.parametrize(
    ("noun", "expected"),
    [
        ("amount", "an amount"),
        ("fee", "a fee"),
        ("hourly rate", "an hourly rate"),
        ("unit price", "a unit price"),
        ("IATA code", "an IATA code"),
        ("URL", "a URL"),
        ("European city", "a European city"),
    ],
)
def test_articles(noun: str, expected: str) -> None:
    assert words.indefinite(noun) == expected


def test_numbers_dates_units_and_lists() -> None:
    assert words.quantity(12500.0, "euros") == "12,500 euros"
    assert words.quantity(12500, "euros", "plain", symbol=True) == "€12500"
    assert words.quantity(-3.5, "euros", symbol=True) == "-3.5 euros"
    assert words.quantity(1, "days") == "1 day" and words.quantity(1, "inches") == "1 inch"
    assert words.quantity(2010, "year") == "2010" and words.quantity(12, "percent", symbol=True) == "12%"
    assert words.day("2024-03-05 10:00:00", "day_month") == "5 March 2024"
    assert (
        words.day("2024-03-05", "month_day") == "March 5, 2024" and words.month("2024-03", "day_month") == "March 2024"
    )
    assert words.listed(["a"]) == "a" and words.listed(["a", "b"], "or") == "a or b"
    assert words.listed(["a", "b", "c"], oxford=True) == "a, b, and c"
    assert words.sentence("show  the fee , please . thank you") == "Show the fee, please. Thank you."


# --- every question --------------------------------------------------------------------------------------------------


def test_every_style_gives_clean_text_for_every_concept() -> None:
    """No slot or choice is left open, no mark doubled; a full question starts with a capital and ends with a mark."""
    worlds = list(own_worlds().values())
    for place, style in enumerate(STYLES * 5):
        database = worlds[place % 2]
        concepts = suited_concepts(database)
        query = sample_query(database, concepts[place % len(concepts)], Random(place))
        text = verbalise(query, style, Random(place)).text
        assert not re.search(r"[{}\[\]~\ue000\ue001]|  |,,|\.\.|\?\.|,\.| ,", text), text
        assert not re.search(r"\b(a|an|the) (a|an|the|of|and|with)\b", text), text
        assert not re.search(r"\b(\w+) \1\b", re.sub(r"'[^']*'|\"[^\"]*\"", "", text)), text
        if style.instruction != "abbreviated":
            assert text[0] == text[0].upper() and text[-1] in ".?!", text


def test_instructions_differ_in_form() -> None:
    query = sample_query(CLINIC, "filter_compare", Random(1))
    texts = {
        instruction: [verbalise(query, Style(instruction, "direct", 1), Random(n)).text for n in range(40)]
        for instruction in get_args(Instruction)
    }
    assert all(text.endswith("?") or "?" in text for text in texts["interrogative"])
    assert not any("?" in text for text in texts["declarative"])
    assert not any(text.endswith((".", "?")) for text in texts["abbreviated"])
    assert all(re.search(r"\. |\? ", text) for text in texts["contextual"])


def test_politeness_shows() -> None:
    query = sample_query(CLINIC, "count_rows", Random(2))
    thanks = re.compile(
        r"please|thank|grateful|appreciat|kind|trouble|obliged|helpful|great help|wonderful|lovely", re.I
    )
    instructions: tuple[Instruction, ...] = ("imperative", "abbreviated")
    for instruction in instructions:
        blunt = [verbalise(query, Style(instruction, "formal", 0), Random(n)).text for n in range(40)]
        kind = [verbalise(query, Style(instruction, "formal", 3), Random(n)).text for n in range(40)]
        assert not any(thanks.search(text) for text in blunt) and all(thanks.search(text) for text in kind)


def test_registers_have_words_of_their_own() -> None:
    query = sample_query(CLINIC, "select_columns", Random(3))
    texts = {
        register: " ".join(verbalise(query, Style("imperative", register, 0), Random(n)).text for n in range(60))
        for register in get_args(Register)
    }
    assert "supply" in texts["formal"].lower() and "pull up" in texts["conversational"].lower()
    assert "tabulate" in texts["academic"].lower() and "extract" in texts["technical"].lower()
    assert re.search(r"\w_\w", texts["technical"]) and not re.search(r"\w_\w", texts["direct"])


def test_literals_and_names_are_stated() -> None:
    plan = Plan(
        "x",
        "visit",
        (Ref((), "visit", "visit_id"), Ref(("doctor_id",), "doctor", "name")),
        filters=(
            Comparison(Ref((), "visit", "fee"), "ge", 62.5),
            Comparison(Ref((), "visit", "reason"), "ne", "chest pain"),
        ),
        order=(Order(Ref((), "visit", "visit_date"), True),),
        limit=3,
    )
    query = query_of(plan, CLINIC)
    for number, style in enumerate(STYLES):
        text = verbalise(query, style, Random(number)).text
        for name in ("62.5", "chest pain"):
            assert name in text, text
        plain = text.lower().replace("_", " ")
        for name in ("visit", "doctor", "name", "fee", "reason", "visit date"):
            assert name in plain, text
        assert re.search(r"\b(three|3)\b", text), text


@given(value=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20).filter(str.strip))
def test_a_literal_is_never_touched(value: str) -> None:
    """Braces, brackets, doubled spaces, marks and quotes inside a value survive the making of the sentence."""
    other = "other" if value != "other" else "another"
    item = Table(
        "item",
        "item",
        "items",
        (
            Column("item_id", "INTEGER", "item number", "id", values=(1, 2, 3)),
            Column("tag", "TEXT", "tag", "category", values=(value, other)),
        ),
        primary_key=("item_id",),
        rows=((1, value), (2, value), (3, other)),
    )
    database = Database("items", "retail", (item,))
    plan = Plan("x", "item", (Ref((), "item", "item_id"),), filters=(Comparison(Ref((), "item", "tag"), "eq", value),))
    query = query_of(plan, database)
    for number, style in enumerate(STYLES[::9]):
        assert value in verbalise(query, style, Random(number)).text


# --- what a question must not leave open -----------------------------------------------------------------------------


def test_a_month_without_rows_is_no_previous_month() -> None:
    """LAG looks at the row before; where months are missing, the question says so, and a rewording must too."""
    part = DatePart(Ref((), "visit", "visit_date"), "month")
    fee = Aggregate("sum", Ref((), "visit", "fee"))
    for window in (Change(fee), Growth(fee, 1), Moving(fee, 2)):
        whole = Plan("x", "visit", (part, fee, window), group=(part,), order=(Order(part),))
        rare = replace(whole, filters=(Comparison(Ref((), "visit", "reason"), "eq", "chest pain"),))
        assert passed_over(rare, catalog_of(CLINIC)) == part, "months without chest pain lie between others"
        query = query_of(rare, CLINIC)
        for number, style in enumerate(STYLES[::7]):
            text = verbalise(query, style, Random(number)).text
            assert "at least one such visit" in text, text
            assert check_paraphrase(text, query, CLINIC) == []
            assert check_paraphrase(text.replace("at least one such visit", "visits"), query, CLINIC) != []


def test_the_ends_of_a_range_are_said_to_count() -> None:
    for database in bundled().values():
        for number in range(6):
            query = sample_query(database, "filter_between", Random(number))
            text = verbalise(query, Style.draw(rng := Random(number)), rng).text
            between = re.search(r"\bbetween\b", text)
            assert not between or re.search(r"inclusive|both included", text), text


def test_conditions_open_alike() -> None:
    """ "whose fee is ... and whose date ...", not "whose fee is ... and with a date ..."."""
    filters = (Comparison(Ref((), "visit", "fee"), "gt", 50), Comparison(Ref((), "visit", "reason"), "eq", "rash"))
    plan = Plan("x", "visit", (Ref((), "visit", "visit_id"),), filters=filters)
    kinds = {"where": "whose", "for": "whose", "having": "with"}
    for number in range(100):
        voice = Voice(Style("declarative", "direct", 1), Random(number))
        said = Conditions(Names(CLINIC, plan, voice), voice).restrictions(filters, Noun(person=False, many=True))
        openings = [part.split()[0] for part in said.split(" and ")]
        assert len(openings) == 2 and len({kinds.get(word, word) for word in openings}) == 1, said


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        (
            "Sorry to bother you, but {core}? Many thanks.",
            "Sorry to bother you, but for each city, what is it? Many thanks.",
        ),
        ("So, {core}?", "So, for each city, what is it?"),
        ("Would you kindly tell me: {core}?", "for each city, would you kindly tell me: what is it?"),
    ],
)
def test_what_stands_in_front_follows_an_opening_clause(template: str, sentence: str) -> None:
    assert wrapped(template, "for each city ~ what is it", []) == sentence


def test_no_question_speaks_sql() -> None:
    texts = [text for _, text, _ in questions(300)]
    assert not [text for text in texts if re.search(r"ORDER BY|GROUP BY|SELECT|LIMIT", text)]


def test_same_seed_same_question() -> None:
    assert [text for _, text, _ in questions(20)] == [text for _, text, _ in questions(20)]


# --- variety ---------------------------------------------------------------------------------------------------------


def forms(path: str) -> int:
    """How many surface forms lie under a key, choices counted."""
    node = PHRASES
    for step in path.split("."):
        node = node[step]

    def count(part: object) -> int:
        if isinstance(part, dict):
            return sum(count(value) for value in part.values())
        if isinstance(part, list):
            return sum(count(value) for value in part)
        return _choices(str(part))

    return count(node)


def _choices(template: str) -> int:
    total = 1
    for choice in re.findall(r"\[([^\]]*)\]", template):
        total *= len(choice.split("|"))
    return total


OPERATORS = [
    *(f"number.{op}" for op in ("gt", "ge", "lt", "le", "between")),
    *(f"date.{op}" for op in ("gt", "ge", "lt", "le", "between")),
    *(f"year.{op}" for op in ("gt", "ge", "lt", "le", "between")),
    *(f"category.{op}" for op in ("eq", "ne", "in", "not_in")),
    *(f"text.{how}" for how in ("starts", "ends", "contains", "not_starts", "not_ends", "not_contains")),
    *(f"{kind}.{state}" for kind in ("missing", "flag", "partner") for state in ("plain", "negated")),
    *("versus.gt", "versus.lt", "top_group", "recent", "period"),
    *("count", "count_distinct", "sum", "avg", "min", "max", "children", "children_zero", "share", "nested"),
    *("running", "change", "moving", "rank", "deviation", "bucket"),
    *(f"order_{kind}_{way}" for kind in ("number", "date", "text") for way in ("asc", "desc")),
    *("ties", "limit_tail", "limit_sentence", "group_np", "group_imperative", "rows_np"),
]


@pytest.mark.parametrize("operator", OPERATORS)
def test_eight_surface_forms_of_each_operator(operator: str) -> None:
    assert forms(operator) >= 8


def test_one_query_has_many_wordings() -> None:
    query = sample_query(CLINIC, "filter_between", Random(5))
    texts = {verbalise(query, Style.draw(rng := Random(n)), rng).text for n in range(300)}
    assert len(texts) > 290


def test_questions_are_varied() -> None:
    """Bars set for the bundled recipes: distinct-3 >= .45, self-BLEU-4 <= .70, median nearest neighbour <= .35."""
    for seed in ("one", "two"):
        figures = diversity([text for _, text, _ in questions(200, seed)])
        assert figures["distinct_3"] >= 0.6 and figures["self_bleu_4"] <= 0.55 and figures["neighbour"] <= 0.2, figures
        assert figures["opening_share"] <= 0.1 and figures["skeleton_share"] <= 0.03, figures


def test_all_styles_are_drawn() -> None:
    drawn = Counter(Style.draw(Random(n)) for n in range(3000))
    assert set(drawn) == set(STYLES) and max(drawn.values()) < 70
