"""data.sec.gov's company facts: all that a company ever tagged for itself, as filings without a text.

    {"cik": 320193, "entityName": "Apple Inc.", "facts": {"us-gaap": {"Revenues": {"units": {"USD": [
        {"start": "2017-10-01", "end": "2018-09-29", "val": 265595000000, "fy": 2018, "fp": "FY", "form": "10-K",
         "accn": "0000320193-18-000145", "filed": "2018-11-05"}, ...]}}}}}

`fy` is the year of the filing, not of the fact: a 10-K for 2018 tells 2016 too. The filing's own year is that of its
latest period; from all of them follows how the company names its years.

Source: https://www.sec.gov/search-filings/edgar-application-programming-interfaces.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from decimal import Decimal, InvalidOperation
from statistics import median
from typing import Any

from generators.financial_qa.facts import Fact, Facts
from generators.financial_qa.filings.read import Filing
from gristmill import Reject

_YEAR = range(345, 386)
_FINEST = 6


def read_companyfacts(body: Any, name: str) -> list[Filing]:
    """One filing without a text for each fiscal year. Reject(filing): unreadable, no_facts."""
    if not isinstance(body, dict) or not isinstance(body.get("facts"), dict):
        raise Reject("filing", "unreadable", f"{name}: these are no company facts")
    entries = list(_entries(body["facts"]))
    facts = Facts(fact for fact, _ in entries)
    years = fiscal_years(entries)
    if not years:
        raise Reject("filing", "no_facts", f"{name}: no annual report is among them")
    return [
        Filing(
            company=str(body.get("entityName") or ""), cik=str(body.get("cik") or "").lstrip("0"), form="10-K",
            fiscal_year=year, fiscal_period="FY", period_end=end, facts=facts, source=name,
        )
        for end, year in sorted(years.items())
    ]  # fmt: skip


def _entries(taxonomies: dict[str, Any]) -> Iterator[tuple[Fact, dict[str, Any]]]:
    for taxonomy, concepts in taxonomies.items():
        for concept, told in concepts.items():
            for unit, rows in told.get("units", {}).items():
                for row in rows:
                    try:
                        value = Decimal(str(row["val"]))
                        start = date.fromisoformat(row["start"]) if row.get("start") else None
                        end = date.fromisoformat(row["end"])
                    except (KeyError, ValueError, InvalidOperation):
                        continue
                    filed = str(row.get("filed") or "")
                    yield Fact(f"{taxonomy}:{concept}", value, unit, start, end, (), _decimals(value), filed), row


def _decimals(value: Decimal) -> int | None:
    """The precision that its zeros suggest: company facts don't tell it."""
    if not value or value % 1:
        return None
    zeros = len(str(int(value))) - len(str(int(value)).rstrip("0"))
    return -min(zeros, _FINEST)


def fiscal_years(entries: list[tuple[Fact, dict[str, Any]]]) -> dict[date, int]:
    """The ends of all fiscal years of annual reports, and what the company calls each."""
    reports: dict[str, tuple[date, int]] = {}
    ends: dict[date, int] = defaultdict(int)
    for fact, row in entries:
        if fact.days not in _YEAR or not str(row.get("form", "")).startswith("10-K"):
            continue
        ends[fact.end] += 1
        report = str(row.get("accn"))
        if isinstance(row.get("fy"), int) and (report not in reports or reports[report][0] < fact.end):
            reports[report] = fact.end, row["fy"]
    if not reports:
        return {}
    shift = median(year - (end.year + end.timetuple().tm_yday / 366) for end, year in reports.values())
    last = {end for end, _ in reports.values()}
    return {end: round(end.year + end.timetuple().tm_yday / 366 + shift) for end in ends if end in last}
