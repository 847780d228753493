"""Which companies there are, and which of them may be compared: those of one GICS sub-industry.

    Symbol,Security,GICS Sector,GICS Sub-Industry,Headquarters Location,Date added,CIK,Founded
    AAPL,Apple Inc.,Information Technology,"Technology Hardware, Storage & Peripherals",...,0000320193,1977

Source: the constituents' table at https://github.com/datasets/s-and-p-500-companies (its columns).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from gristmill.errors import ConfigError
from gristmill.seeds import BadSeed, read_rows


@dataclass(frozen=True, slots=True)
class Company:
    """`added` is when it entered the index, None where the table doesn't say."""

    cik: str
    name: str
    symbol: str
    industry: str
    added: date | None = None


def read_constituents(path: Path) -> dict[str, Company]:
    """Companies by CIK without leading zeros; a company with several share classes is there once. ConfigError where
    no row is one."""
    companies: dict[str, Company] = {}
    for company in _companies(path):
        companies.setdefault(company.cik, company)
    if not companies:
        raise ConfigError(f"params.universe: {path} has no row with Symbol, Security, GICS Sub-Industry and CIK.")
    return companies


def _companies(path: Path) -> Iterator[Company]:
    for _, row in read_rows(str(path)):
        if isinstance(row, BadSeed):
            continue
        cik = str(row.get("CIK") or "").strip().lstrip("0")
        if cik.isdecimal():
            yield Company(
                cik, str(row.get("Security") or "").strip(), str(row.get("Symbol") or "").strip(),
                str(row.get("GICS Sub-Industry") or "").strip(), _date(str(row.get("Date added") or "")),
            )  # fmt: skip


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text.strip()[:10])
    except ValueError:
        return None
