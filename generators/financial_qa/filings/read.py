"""A filing: what is filed, by whom and for which period; its text as markdown, its Items, its facts.

filing = read_filing(Path("aapl-10-k.html.gz"))
filing.sections["7"]                    the blocks of Item 7
filing.facts.of("us-gaap:Revenues")     [Fact(...), ...]
"""

import gzip
import re
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

from generators.financial_qa.facts import Facts
from generators.financial_qa.filings.blocks import Block, read_document
from generators.financial_qa.filings.html import parse
from generators.financial_qa.filings.inline import read_about, read_facts
from generators.financial_qa.filings.sections import find_sections
from gristmill import Reject

LARGEST = 60_000_000
"""Bytes of HTML. The largest 10-Ks are about half of it; a parsed tree takes some eight times the file."""

_FORMS = re.compile(r"10-(?:K|Q)(?:T|/A)?|20-F|40-F", re.IGNORECASE)
_LEAST = 2000
"""Characters of text: a scanned filing is a few captions around pictures."""


@dataclass(slots=True)
class Filing:
    """`fiscal_year` is the company's own name of the year; `fiscal_period` is FY, Q1, Q2 or Q3. `blocks` and `sections`
    are empty where only company facts are there.
    """

    company: str
    cik: str
    form: str
    fiscal_year: int
    fiscal_period: str
    period_end: date
    facts: Facts
    blocks: list[Block] = field(default_factory=list)
    sections: dict[str, range] = field(default_factory=dict)
    source: str = ""

    @property
    def annual(self) -> bool:
        return self.fiscal_period == "FY"

    def markdown(self, numbers: range | list[int] | None = None) -> str:
        """The blocks (all of them, or those of these numbers) as one text; Items and headings are marked."""
        heads = {places.start for places in self.sections.values()}
        shown = range(len(self.blocks)) if numbers is None else numbers
        return "\n\n".join(self._marked(number, number in heads) for number in shown)

    def _marked(self, number: int, head: bool) -> str:
        block = self.blocks[number]
        mark = "## " if head else "### " if block.kind == "heading" else ""
        return mark + block.text


def read_filing(path: Path) -> Filing:
    """The filing in a .html or .html.gz file. Reject(filing): unreadable, too_large, empty, no_text, no_items,
    no_period."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            raw = file.read(LARGEST + 1)
    except (OSError, EOFError) as error:
        raise Reject("filing", "unreadable", f"{path.name}: {error}") from None
    return parse_filing(raw, path.name)


def parse_filing(raw: bytes, name: str) -> Filing:
    if len(raw) > LARGEST:
        raise Reject("filing", "too_large", f"{name}: more than {LARGEST // 10**6} MB")
    root = parse(raw, name)
    document = read_document(root)
    blocks = document.blocks
    if sum(len(block.text) for block in blocks) < _LEAST:
        raise Reject("filing", "no_text", f"{name}: scanned, or next to nothing")
    about = read_about(root)
    form = about.get("DocumentType", "") or _form_in(blocks)
    sections = find_sections(document, form)
    if not sections:
        raise Reject("filing", "no_items", f"{name}: no Item was found")
    end = _period_end(about, blocks)
    if end is None:
        raise Reject("filing", "no_period", f"{name}: it says nowhere which period it is for")
    year = about.get("DocumentFiscalYearFocus", "")
    facts = Facts(read_facts(root, document.places, end.isoformat()))
    return Filing(
        company=about.get("EntityRegistrantName", ""), cik=about.get("EntityCentralIndexKey", "").lstrip("0"),
        form=form.upper(), fiscal_year=int(year) if year.isdecimal() else end.year,
        fiscal_period=about.get("DocumentFiscalPeriodFocus", "FY" if form.upper().startswith("10-K") else ""),
        period_end=end, facts=facts, blocks=blocks, sections=sections, source=name,
    )  # fmt: skip


def _form_in(blocks: list[Block]) -> str:
    for block in blocks[:60]:
        if found := _FORMS.search(block.text):
            return found[0].upper()
    return "10-K"


_PERIOD = re.compile(r"(?:period|year|quarter)\s+ended:?\s+([A-Z][a-z]+ \d{1,2}, \d{4})")


def _period_end(about: dict[str, str], blocks: list[Block]) -> date | None:
    stated = [about.get("DocumentPeriodEndDate", "")]
    stated += [found[1] for block in blocks[:60] if (found := _PERIOD.search(block.text))]
    for text in stated:
        for form in ("%B %d, %Y", "%Y-%m-%d", "%B %d , %Y"):
            try:
                return datetime.strptime(" ".join(text.split()), form).date()
            except ValueError:
                continue
    return None
