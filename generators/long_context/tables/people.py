"""The bundled table: people, with a mentor among them, and the companies that they work for.

    name           born          country   occupation     employer        hired         salary   mentor
    Jan Gheorghiu  4 May 1964    Romania   travel agent   Rowan Travel    2 June 1998   3140     Emma Kubeková

People are invented ones or those of a dataset (gristmill/personas.py). Employer, day of hiring, salary, way to work and
mentor are drawn for the context: a company of the person's industry, a day after the eighteenth birthday, somebody
who stands in the same context.
"""

from collections.abc import Iterator
from datetime import date, timedelta
from random import Random

from generators.long_context.tables.table import Column, Row, Table, number_in
from gristmill.personas import TODAY, Persona

COLUMNS = [
    Column("name", "key", "name"),
    Column("born", "date", "date of birth", {"before": "born before {value}", "after": "born after {value}",
           "between": "born between {value} and {other} (both days included)"}),
    Column("hired", "date", "day of hiring", {"before": "hired before {value}", "after": "hired after {value}",
           "between": "hired between {value} and {other} (both days included)"}),
    Column("salary", "number", "monthly salary", {
        "above": "[earning|with a salary of] more than {value}",
        "below": "[earning|with a salary of] less than {value}",
        "between": "earning [between {value} and {other}|from {value} to {other}] (inclusive)"}),
    Column("commute", "number", "commuting time in minutes", {
        "above": "with a commuting time of more than {value} minutes",
        "below": "with a commuting time of less than {value} minutes",
        "between": "with a commuting time of {value} to {other} minutes (inclusive)"}),
    Column("employer", "category", "employer", {"eq": "[employed by|on the payroll of] {value}",
           "ne": "not employed by {value}", "in": "employed by {value} or {other}"}, link="second"),
    Column("mentor", "category", "mentor", {"eq": "mentored by {value}"}, link="own"),
    Column("sex", "category", "sex", kin="name"),
    Column("country", "category", "country", kin="home"),
    Column("city", "category", "city", {"eq": "[from|living in] the city of {value}"}, kin="home"),
    Column("occupation", "category", "occupation", kin="work"),
    Column("industry", "category", "industry", {"eq": "working in {value}",
           "ne": "working outside {value}", "in": "working in {value} or in {other}"}, kin="work"),
    Column("education", "category", "education", kin="work"),
    Column("marital", "category", "marital status"),
    Column("hobby", "category", "hobby"),
    Column("language", "category", "first language",
           {"eq": "[with {value} as first language|whose first language is {value}]"}, kin="home"),
    Column("children", "number", "number of children"),
]  # fmt: skip

FOUNDED = Column("founded", "number", "founding year", {
    "above": "founded after {value}", "below": "founded before {value}",
    "between": "founded from {value} to {other} (inclusive)"})  # fmt: skip
COMPANY_COLUMNS = [
    Column("company", "key", "company"),
    Column("sector", "category", "sector", kin="name"),
    Column("seat", "category", "seat", {"eq": "[based|seated] in {value}"}),
    FOUNDED,
    Column("staff", "number", "number of staff"),
]  # fmt: skip

FIXED = ("name", "born", "hired", "salary", "employer", "mentor")
DRAWN = (3, 6)
"""How many of the other columns a context shows."""
_FIRST = ("Amber", "Atlas", "Beacon", "Birch", "Bright", "Cedar", "Cobalt", "Crane", "Delta", "Eagle", "Ember",
"Falcon", "Fern",
          "Garnet", "Granite", "Harbour", "Heron", "Iris", "Juniper", "Kestrel", "Lark", "Linden", "Maple",
          "Meridian", "North",
          "Oak", "Orion", "Pine", "Pioneer", "Quarry", "Raven", "River", "Rowan", "Silver", "Sparrow", "Summit",
          "Swift", "Tidal",
          "Union", "Vale", "Vega", "Willow", "Zenith")  # fmt: skip
_LAST = {
    "health care": ("Clinics", "Care"), "education": ("Schools", "Academy"), "construction": ("Builders",
    "Construction"),
    "software and telecoms": ("Systems", "Networks"), "finance and law": ("Bank", "Partners"),
    "transport and logistics": ("Lines", "Freight"), "food and hospitality": ("Foods", "Hotels"),
    "agriculture and environment": ("Farms", "Gardens"), "manufacturing and energy": ("Works", "Energy"),
    "arts and media": ("Studios", "Press"), "trade and services": ("Stores", "Services"),
    "science and public service": ("Institute", "Agency"),
}  # fmt: skip
_SEATS = ("Aarhus", "Bergen", "Bologna", "Brno", "Cork", "Durban", "Ghent", "Graz", "Hanoi", "Kumasi", "Leipzig",
"Lyon", "Malmö",
          "Mombasa", "Porto", "Pune", "Riga", "Tampere", "Toronto", "Utrecht", "Valencia", "Wellington")  # fmt: skip
_OTHER_SECTOR = "trade and services"


def companies(rng: Random, per_sector: int) -> Table:
    """One or two of each sector, with names that differ in their first word."""
    firsts = iter(rng.sample(_FIRST, len(_LAST) * per_sector))
    rows: list[Row] = [
        {
            "company": f"{next(firsts)} {last}", "sector": sector, "seat": rng.choice(_SEATS),
            "founded": rng.randint(1880, 2015), "staff": rng.randint(12, 4800),
        }
        for sector, lasts in _LAST.items() for last in lasts[:per_sector]
    ]  # fmt: skip
    return Table("company", "companies", COMPANY_COLUMNS, rows)


def columns(rng: Random, known: set[str]) -> list[Column]:
    """Those of one context: the fixed ones, and some of the others that the people have."""
    others = [column for column in COLUMNS if column.name not in FIXED and column.name in known]
    drawn = set(rng.sample([column.name for column in others], min(len(others), rng.randint(*DRAWN))))
    return [column for column in COLUMNS if column.name in drawn or (column.name in FIXED and column.name in known)]


def rows(people: Iterator[Persona], employers: Table, mentors: list[str], rng: Random) -> Iterator[Row]:
    """Rows with every column; no two of the same name. Each has one of the `mentors` that there are when it is made."""
    taken: set[str] = set()
    for person in people:
        if person.name in taken or person.retired or person.occupation == "student":
            continue
        sector = person.industry if person.industry in _LAST else _OTHER_SECTOR
        age = person.age if person.age is not None else 40
        born = person.born or TODAY - timedelta(days=int(365.25 * age) + 100)
        employer = rng.choice([row for row in employers.rows if row["sector"] == sector])
        yield {
            "name": person.name, "born": born, "hired": _hired(born, number_in(employer, FOUNDED), rng),
            "salary": 10 * rng.randint(140, 680), "commute": rng.randint(3, 95), "employer": employer["company"],
            "mentor": rng.choice(mentors) if mentors else None,
            "sex": person.sex or None, "country": person.country or None, "city": person.city or None,
            "occupation": person.occupation or None, "industry": person.industry or None,
            "education": person.education or None, "marital": person.marital or None,
            "hobby": person.hobbies[0] if person.hobbies else None,
            "language": person.languages[0] if person.languages else None, "children": person.children,
        }  # fmt: skip
        taken.add(person.name)


def _hired(born: date, founded: float, rng: Random) -> date:
    """A day on which the person is of age and the company there."""
    earliest = max(born + timedelta(days=18 * 366), date(int(founded) + 1, 1, 1))
    return earliest + timedelta(days=rng.randrange(max(1, (TODAY - earliest).days)))
