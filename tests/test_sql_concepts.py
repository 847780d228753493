"""Every SQL concept: its check tells the passing from the near miss, and both run on the engine of their dialect."""

import csv
import gzip
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlglot
import yaml
from sqlglot import exp
from sqlglot.errors import SqlglotError

import judges.sql_concepts as sql_concepts
from generators.text_to_sql.grammar import CONCEPTS as GRAMMAR
from generators.text_to_sql.grammar import tier_of
from judges.sql_concepts import CONCEPTS, DIALECTS, TIERS, shows
from judges.sql_engine import Database, Limits

FOLDER = Path(sql_concepts.__file__).parent
EXAMPLES: dict[str, dict[str, Any]] = yaml.safe_load((FOLDER / "examples.yaml").read_text("utf-8"))
SHOP = (FOLDER / "examples.sql").read_text("utf-8")


def example(concept: str, kind: str, dialect: str) -> str:
    query = EXAMPLES[concept][kind]
    return str(query if isinstance(query, str) else query[dialect])


CASES = [(name, dialect) for name, concept in CONCEPTS.items() for dialect in concept.dialects]


def test_ninety_concepts_in_three_tiers() -> None:
    assert len(CONCEPTS) == 90 and CONCEPTS.keys() == EXAMPLES.keys()
    assert Counter(concept.tier for concept in CONCEPTS.values()) == dict(zip(TIERS, (28, 30, 32), strict=True))
    phrases = [concept.phrase for concept in CONCEPTS.values()]
    assert len(set(phrases)) == 90 and all(8 < len(phrase) < 120 and "\n" not in phrase for phrase in phrases)


def test_examples_are_given_for_the_dialects_of_the_concept_alone() -> None:
    for name, concept in CONCEPTS.items():
        for query in EXAMPLES[name].values():
            assert isinstance(query, str) or tuple(query) == concept.dialects, name
        assert EXAMPLES[name].keys() == {"passing", "failing"}


@pytest.mark.parametrize(("name", "dialect"), CASES)
def test_the_check_tells_the_concept_from_its_near_miss(name: str, dialect: Any) -> None:
    passing, failing = (
        sqlglot.parse_one(example(name, kind, dialect), dialect=dialect) for kind in ("passing", "failing")
    )
    assert shows(name, passing, dialect)
    assert not shows(name, failing, dialect)
    assert _kinship(passing.sql(), failing.sql()) >= 0.25, "a near miss shares more with the passing query"


def _kinship(one: str, other: str) -> float:
    a, b = (set(re.findall(r"\w+", text.lower())) for text in (one, other))
    return len(a & b) / len(a | b)


@pytest.mark.parametrize("name", CONCEPTS)
def test_a_concept_shows_only_in_its_dialects(name: str) -> None:
    concept = CONCEPTS[name]
    tree = sqlglot.parse_one(example(name, "passing", concept.dialects[0]), dialect=concept.dialects[0])
    assert [dialect for dialect in DIALECTS if shows(name, tree, dialect)] == list(concept.dialects)


@pytest.mark.parametrize("name", [name for name, concept in CONCEPTS.items() if "sqlite" in concept.dialects])
def test_sqlite_runs_both(name: str) -> None:
    with sqlite3.connect(":memory:") as db:
        db.executescript(SHOP)
        assert db.execute(example(name, "passing", "sqlite")).fetchall()
        db.execute(example(name, "failing", "sqlite")).fetchall()


@pytest.fixture(scope="module")
def postgres_shop() -> Iterator[Database]:
    from judges.postgres_engine import postgres

    with postgres("local", 1) as server, server.database(SHOP, Limits()) as database:
        yield database


@pytest.fixture(scope="module")
def mysql_shop() -> Iterator[Database]:
    from judges.mysql_engine import mysql

    with mysql("local", 1) as server, server.database(SHOP, Limits()) as database:
        yield database


@pytest.mark.postgres
@pytest.mark.parametrize("name", [name for name, concept in CONCEPTS.items() if "postgres" in concept.dialects])
def test_postgres_runs_both(name: str, postgres_shop: Database) -> None:
    assert postgres_shop.run(example(name, "passing", "postgres"))[1]
    postgres_shop.run(example(name, "failing", "postgres"))


@pytest.mark.mysql
@pytest.mark.parametrize("name", [name for name, concept in CONCEPTS.items() if "mysql" in concept.dialects])
def test_mysql_runs_both(name: str, mysql_shop: Database) -> None:
    assert mysql_shop.run(example(name, "passing", "mysql"))[1]
    mysql_shop.run(example(name, "failing", "mysql"))


def test_no_check_is_a_catch_all() -> None:
    """A concept shows in its own example and, the more special it is, in ever fewer of the 89 others."""
    plain = sqlglot.parse_one("SELECT name FROM customer", dialect="sqlite")
    assert [name for name in CONCEPTS if shows(name, plain, "sqlite")] == ["select_columns"]
    most = {"basic": 36, "intermediate": 11, "advanced": 5}
    for name, concept in CONCEPTS.items():
        dialect = concept.dialects[0]
        others = [other for other in CONCEPTS if dialect in CONCEPTS[other].dialects]
        trees = [sqlglot.parse_one(example(other, "passing", dialect), dialect=dialect) for other in others]
        shown = sum(shows(name, tree, dialect) for tree in trees)
        assert shown <= most[concept.tier], (name, shown)


def test_an_unknown_concept_is_an_error() -> None:
    with pytest.raises(KeyError):
        shows("magic", sqlglot.parse_one("SELECT 1"), "sqlite")


def test_the_grammar_s_concepts_are_among_them() -> None:
    for name in GRAMMAR:
        assert CONCEPTS[name].tier == tier_of(name)


FORMS: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "data/sql_concept_forms.yaml").read_text("utf-8"))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form['concept']}-{form['dialect']}")
def test_other_ways_to_write_it(form: dict[str, Any]) -> None:
    query = form.get("shown") or form["not_shown"]
    assert shows(form["concept"], sqlglot.parse_one(query, dialect=form["dialect"]), form["dialect"]) == (
        "shown" in form
    )


@pytest.mark.shared
def test_no_check_fails_on_any_query(shared_data: Path) -> None:
    """Fixtures of the parser, TPC-H and TPC-DS, and questions of defog: checks answer, whatever the tree."""
    lines = (shared_data / "sql/sqlglot/identity.sql").read_text("utf-8").splitlines()
    trees = [tree for line in lines for dialect in DIALECTS if (tree := parsed(line, dialect))]
    for name in ("tpc-ds", "tpc-h"):
        queries = gzip.decompress((shared_data / f"sql/sqlglot/{name}.sql.gz").read_bytes()).decode().split(";")
        trees += [tree for query in queries if (tree := parsed(query, "postgres"))]
    assert len(trees) > 2000
    for tree in trees:
        for concept in CONCEPTS.values():
            assert concept.check(tree) in (True, False)


@pytest.mark.shared
def test_questions_of_people_are_made_of_these_concepts(shared_data: Path) -> None:
    with (shared_data / "sql/defog/questions_gen_sqlite.csv").open(encoding="utf-8") as file:
        queries = [row["query"].split(";")[0] for row in csv.DictReader(file)]
    shown = [[n for n in CONCEPTS if shows(n, tree, "sqlite")] for q in queries if (tree := parsed(q, "sqlite"))]
    assert len(shown) >= 200 and all(shown)
    assert len({name for names in shown for name in names}) >= 50
    assert 2 < sum(map(len, shown)) / len(shown) < 6, "a query shows a few concepts, not half of them"


def parsed(query: str, dialect: str) -> exp.Expr | None:
    try:
        return sqlglot.parse_one(query, dialect=dialect) if query.strip() else None
    except SqlglotError:
        return None
