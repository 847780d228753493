"""Questions about records: answers are computed anew from the context's text, and questions say what SQL asks."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import date
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from generators.long_context import tables
from generators.long_context.answers import plain
from generators.long_context.context import Depth, TokenCounter, token_counter
from generators.long_context.tables import Told, people
from generators.long_context.tables.crowd import Crowd
from generators.long_context.tables.draw import Draw, Unsuited, plain_cell
from generators.long_context.tables.layouts import LAYOUTS
from generators.long_context.tables.table import Table, World, literal
from generators.long_context.tables.templates import FAMILIES
from generators.long_context.tables.user_table import read_table
from gristmill import Reject
from gristmill.errors import ConfigError
from tests.long_context_records import days_in, rows_of
from tests.long_context_truths import TRUTHS

pytestmark = pytest.mark.embedded  # its tokenizer

LENGTHS = (4096, 8192)
PER_FAMILY = 24


@pytest.fixture(scope="module")
def counter() -> TokenCounter:
    return token_counter("embedded")


@pytest.fixture(scope="module")
def crowd() -> Crowd:
    return Crowd(None, 5, 32_768)


@pytest.fixture(scope="module")
def told(crowd: Crowd, counter: TokenCounter) -> dict[str, list[tuple[int, Told]]]:
    return {
        family: [
            (length, tables.ask(family, length, "even", crowd, counter, Random(f"{family}{number}")))
            for number in range(PER_FAMILY)
            for length in (LENGTHS[number % 2],)
        ]
        for family in FAMILIES
    }


def read_back(one: Told) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """People and companies as the context tells them, by the columns' names."""
    found = rows_of(one.context, one.layout, "name")
    names = {column.label: column.name for column in [*people.COLUMNS, *people.COMPANY_COLUMNS]}
    rows = [{names.get(label, label): value for label, value in row.items()} for row in found]
    persons = [{("name" if key == "" else key): value for key, value in row.items()} for row in rows if "born" in row]
    firms = [{("company" if key == "" else key): value for key, value in row.items()} for row in rows if "seat" in row]
    return persons, firms


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_follow_from_the_text(family: str, told: dict[str, list[tuple[int, Told]]]) -> None:
    for _, one in told[family]:
        persons, firms = read_back(one)
        with duckdb.connect() as database:
            database.register("t", pa.Table.from_pylist(persons))
            database.register("c", pa.Table.from_pylist(firms))
            rows = database.execute(one.ask.sql).fetchall()
        assert answer_in(one, rows) == one.value, one.question


def answer_in(one: Told, rows: list[tuple[Any, ...]]) -> Any:
    """What rows of SQL's result come to."""
    if one.ask.kind == "mapping":
        return dict(rows)
    if one.ask.kind == "list":
        return [row[0] for row in rows]
    ((cell,),) = rows
    return ("yes" if cell else "no") if one.ask.kind == "yes_no" else plain_cell(cell)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_question_names_all_that_sql_compares_with(family: str, told: dict[str, list[tuple[int, Told]]]) -> None:
    comparisons = {
        ">": r"above|more than|exceeds|after|later|higher|strictly between",
        "<": r"below|less than|under|before|strictly between",
        "<>": r"other|[Aa]part from", "IS DISTINCT FROM": r"not |outside|other than", "BETWEEN": r"between|from| to ",
    }  # fmt: skip
    left_out = r"[Ll]eav(e|ing) out|strike|remove|except|without|[Ii]gnore|Pass over|Not counting|neither"
    for _, one in told[family]:
        sql, question = one.ask.sql, one.question
        for day in re.findall(r"DATE '([\d-]+)'", sql):
            hidden = one.template in ("compare/nearest", "date/nearest_day", "date/after_the_other")
            assert date.fromisoformat(day) in days_in(question) or hidden, (sql, question)
        for text in re.findall(r"'((?:[^']|'')+)'", re.sub(r"DATE '[\d-]+'", "", sql)):
            hidden = text == "year" or one.template in ("join/sharing_with", "join/top_sharing_with")
            assert text.replace("''", "'") in question or hidden, (sql, question)
        for sign, _ in re.findall(r'" (>|<|<>|IS DISTINCT FROM|BETWEEN) (?:DATE )?(\'|\d)', sql):
            assert re.search(comparisons[sign], question), (sql, question)
        assert "IS NOT TRUE" not in sql or re.search(left_out, question), (sql, question)
        for column in people.COLUMNS:
            if f'"{column.name}"' in sql and column.name not in ("name", "employer", "mentor"):
                words = {*column.label.split(), "born", "hired", "earning", "from", "living", "working", "commuting"}
                assert any(word in question for word in words), (sql, question)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_constant_answer_is_often_right(family: str, told: dict[str, list[tuple[int, Told]]]) -> None:
    answers = Counter(plain(one.value) for _, one in told[family] if one.ask.kind != "yes_no")
    assert answers.most_common(1)[0][1] <= 0.1 * PER_FAMILY + 1, answers.most_common(3)  # one more: a small sample
    decided = [one.value for _, one in told[family] if one.ask.kind == "yes_no"]
    assert len(decided) < 20 or 0.3 < decided.count("yes") / len(decided) < 0.7


def test_yes_and_no_are_balanced(crowd: Crowd, counter: TokenCounter) -> None:
    answers: dict[str, list[Any]] = defaultdict(list)
    draw = small_world(crowd, 7)
    for name in ("above_the_other", "same_value"):
        for _ in range(600):
            try:
                answers[name].append(draw.answer(FAMILIES["compare"][name](draw)))
            except Unsuited:
                continue
    draw.close()
    for found in answers.values():
        assert len(found) > 100 and 0.4 < found.count("yes") / len(found) < 0.6


@pytest.mark.parametrize("family", FAMILIES)
def test_lengths_offsets_and_traces(
    family: str, counter: TokenCounter, told: dict[str, list[tuple[int, Told]]]
) -> None:
    gaps = []
    for length, one in told[family]:
        asked = f"{one.lead}\n\n{one.context}\n\n{one.question}"
        gaps.append(abs(counter.count(asked) - length) / length)
        assert abs(counter.count(one.context) - one.tokens) <= 4
        listed = [line[2:] for line in one.trace.split("\n")[1:-1]]
        assert len(one.offsets) == len(listed) > 0 and plain(one.value) in one.trace.split("\n")[-1]
        if one.layout == "csv":
            places = [one.context.index(f"\n{line.split(': ')[0]},") for line in listed]
            assert places == sorted(places)
        for line in listed:
            name, facts = line.partition(" – ")[0].split(": ", 1)
            assert name in one.context and all(part in one.context for part in re.findall(r"\d+", facts))
    assert sorted(gaps)[int(0.85 * len(gaps))] <= 0.01 and max(gaps) <= 0.025, gaps


def test_every_layout_and_most_templates_occur(told: dict[str, list[tuple[int, Told]]]) -> None:
    everything = [one for of_family in told.values() for _, one in of_family]
    assert {one.layout for one in everything} == set(LAYOUTS)
    assert len({one.template for one in everything}) >= 45
    assert sum(map(len, FAMILIES.values())) >= 40


def small_world(crowd: Crowd, seed: int) -> Draw:
    rng = Random(seed)
    employers = people.companies(rng, 1)
    mentors: list[str] = []
    rows = []
    for row in islice(people.rows(crowd.stream(rng), employers, mentors, rng), 120):
        rows.append(row)
        mentors.append(str(row["name"]))
    return Draw(World(Table("person", "people", people.COLUMNS, rows), employers), rng)


@pytest.fixture(scope="module")
def world(crowd: Crowd) -> Iterator[Draw]:
    draw = small_world(crowd, 3)
    yield draw
    draw.close()


@pytest.mark.parametrize(("family", "name"), [(family, name) for family in FAMILIES for name in FAMILIES[family]])
def test_each_template_finds_an_answer(family: str, name: str, world: Draw) -> None:
    found = 0
    for _ in range(120):
        try:
            ask = FAMILIES[family][name](world)
            world.answer(ask)
            world.evidence(ask)
        except Unsuited:
            continue
        assert "?" in ask.question and not re.search(r"[\[\]{}|]|  ", ask.question), ask.question
        assert set(ask.shows) <= {column.name for column in people.COLUMNS}
        found += 1
    assert found >= 2


def test_evidence_stands_at_the_depth(crowd: Crowd, counter: TokenCounter) -> None:
    bands: dict[Depth, tuple[float, float]] = {"start": (0, 0.37), "middle": (0.3, 0.7), "end": (0.63, 1)}
    for depth, (low, high) in bands.items():
        one = tables.ask("join", 8192, depth, crowd, counter, Random(11))
        shares = [offset / one.tokens for offset in one.offsets]
        within = [low <= share <= high for share in shares]
        assert sum(within) >= len(within) - 1 or one.layout in ("csv", "markdown")


# --- tables of the user's ---------------------------------------------------------------------------------------------


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def orders(count: int) -> list[dict[str, Any]]:
    rng = Random(1)
    return [
        {
            "order_no": f"A-{1000 + number}", "customer": f"customer {rng.randint(1, 40)}", "amount": rng.randint(5,
            900) / 2,
            "placed": date(2024, 1, 1 + rng.randrange(28)), "paid": rng.random() < 0.5, "note": "x" * rng.randint(90,
            200),
        }
        for number in range(count)
    ]  # fmt: skip


def test_any_table_can_be_asked_about(tmp_path: Path, crowd: Crowd, counter: TokenCounter) -> None:
    table = read_table(write(tmp_path / "orders.parquet", orders(600)), None, ("order", "orders"))
    assert {column.name: column.kind for column in table.columns} == {
        "order_no": "key", "customer": "category", "amount": "number", "placed": "date", "paid": "category",
    }  # fmt: skip
    for family in FAMILIES:
        one = tables.ask(family, 4096, "even", table, counter, Random(family))
        rows = [
            {key or "order no": value for key, value in row.items()}
            for row in rows_of(one.context, one.layout, "order no")
        ]
        found = [{key.replace("order no", "order_no"): value for key, value in row.items()} for row in rows]
        with duckdb.connect() as database:
            for row in found:
                row["amount"] = float(row["amount"])
            database.register("t", pa.Table.from_pylist(found))
            rows_found = database.execute(one.ask.sql).fetchall()
        assert answer_in(one, rows_found) == one.value, one.question
        assert "order" in one.question


@pytest.mark.parametrize(
    ("rows", "key", "reason"),
    [
        ([{"name": "a"}, {"name": "b"}], None, "at least one column of categories"),
        (orders(5), "customer_id", "has no column customer_id"),
        ([{"id": "a", "n": 1}, {"id": "a", "n": 2}], "id", "empty or repeated"),
    ],
)
def test_a_table_that_nothing_can_be_asked_about_is_refused(
    tmp_path: Path, rows: list[dict[str, Any]], key: str | None, reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        read_table(write(tmp_path / "t.parquet", rows), key, ("row", "rows"))


def test_a_table_that_is_too_short_is_a_reject_that_says_so(
    tmp_path: Path, crowd: Crowd, counter: TokenCounter
) -> None:
    table = read_table(write(tmp_path / "orders.parquet", orders(20)), None, ("order", "orders"))
    with pytest.raises(Reject, match="too_few") as caught:
        tables.ask("filter", 8192, "even", table, counter, Random(0))
    assert "20 rows leave" in caught.value.detail


def test_quotes_and_pipes_in_values_survive_sql_and_layouts(
    crowd: Crowd, counter: TokenCounter, tmp_path: Path
) -> None:
    rng = Random(2)
    rows = [
        {"title": f"it's \"no. {number}\" | <b>", "kind": rng.choice(["a|b", "c'd", "e,f"]), "size": rng.randint(1,
        500)}
        for number in range(300)
    ]  # fmt: skip
    table = read_table(write(tmp_path / "t.parquet", rows), None, ("thing", "things"))
    for number in range(14):
        one = tables.ask("filter", 4096, "even", table, counter, Random(number))
        assert one.value and one.context
    assert literal("c'd") == "'c''d'"


# --- what the templates mean ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", TRUTHS)
def test_sql_means_what_python_works_out(template: str, world: Draw) -> None:
    make = next(family[template] for family in FAMILIES.values() if template in family)
    compared = 0
    for _ in range(200):
        try:
            ask = make(world)
            value, keys = world.answer(ask), set(world.evidence(ask))
        except Unsuited:
            continue
        rows = [row for row in world.table.rows if row["name"] in keys]
        truth = TRUTHS[template](rows, ask.shows, ask.question)
        if template == "top_k":
            truth = [row["name"] for row in truth]
        if ask.kind == "yes_no":
            truth = "yes" if truth else "no"
        if isinstance(truth, date):
            truth = plain_cell(truth)
        assert truth == pytest.approx(value, abs=0.051) if template == "mean_of" else truth == value, ask
        compared += 1
        if compared == 12:
            break
    assert compared >= 2
