"""The filings of local folders, by company and period: HTML documents, and company facts where there is no document.

    library = open_library([Path("filings")], constituents)
    library.filings[Key("320193", "10-K", 2024, "FY")]

A file that is none is kept with its reason. Of two documents for one period (an amendment) the later one in the order
of names counts. A tenth of a second per document, read once per run.
"""

import gzip
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import orjson

from generators.financial_qa.companyfacts import read_companyfacts
from generators.financial_qa.facts import Fact, agree
from generators.financial_qa.filings.read import Filing, read_filing
from generators.financial_qa.universe import Company
from gristmill import Reject
from gristmill.errors import ConfigError

_DOCUMENTS = (".html", ".htm", ".xhtml")


class Key(NamedTuple):
    """`form` is 10-K or 10-Q, `period` FY or Q1 to Q3."""

    cik: str
    form: str
    year: int
    period: str


@dataclass(slots=True)
class Library:
    filings: dict[Key, Filing] = field(default_factory=dict)
    companies: dict[str, Company] = field(default_factory=dict)
    faults: list[tuple[str, Reject]] = field(default_factory=list)

    def add(self, filing: Filing) -> None:
        key = Key(filing.cik, filing.form[:4], filing.fiscal_year, filing.fiscal_period)
        if filing.blocks or key not in self.filings:
            self.filings[key] = filing
        if filing.cik not in self.companies:
            self.companies[filing.cik] = Company(filing.cik, filing.company)

    def peers(self, key: Key, most: int) -> list[Key]:
        """The same period of other companies of the sub-industry."""
        industry = self.companies[key.cik].industry
        same = (
            other for other in self.filings
            if other[1:] == key[1:] and other.cik != key.cik and self.companies[other.cik].industry == industry
        )  # fmt: skip
        return sorted(same)[:most] if industry else []

    def restated(self, key: Key, facts: Iterable[Fact]) -> dict[Fact, list[str]]:
        """What later filings of the company say otherwise of these facts."""
        mine = self.filings[key]
        later = [
            filing
            for other, filing in self.filings.items()
            if other.cik == key.cik and filing.period_end > mine.period_end and filing.facts is not mine.facts
        ]
        return {
            fact: [
                f"{told.value:f}"
                for filing in later
                for told in filing.facts.of(fact.concept)
                if told.key == fact.key and not agree(told.value, fact.value, fact.decimals)
            ]
            for fact in facts
        }


def open_library(folders: Iterable[Path], companies: dict[str, Company]) -> Library:
    """ConfigError where a folder isn't there, or none of them holds a file of either kind."""
    library = Library(companies=dict(companies))
    files = [file for folder in folders for file in files_in(folder)]
    if not files:
        raise ConfigError("params.filings: no .html, .html.gz, .json or .json.gz file was found.")
    for file in files:
        try:
            if ".json" in file.suffixes:
                for filing in read_companyfacts(_json(file), file.name):
                    library.add(filing)
            else:
                library.add(read_filing(file))
        except Reject as fault:
            library.faults.append((file.name, fault))
    return library


def files_in(folder: Path) -> Iterator[Path]:
    """Documents and company facts below a folder, in the order of their names."""
    if not folder.is_dir():
        raise ConfigError(f"params.filings: {folder} is no folder (paths are relative to the working directory).")
    for file in sorted(folder.rglob("*")):
        suffix = file.suffixes[-2] if file.suffix == ".gz" and len(file.suffixes) > 1 else file.suffix
        if file.is_file() and suffix.lower() in (*_DOCUMENTS, ".json"):
            yield file


def _json(file: Path) -> object:
    try:
        raw = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        body: object = orjson.loads(raw)
        return body
    except (OSError, EOFError, orjson.JSONDecodeError) as error:
        raise Reject("filing", "unreadable", f"{file.name}: {error}") from None
