"""Which companies there are, and which of them may be compared: those of one GICS sub-industry.

    Symbol,Security,GICS Sector,GICS Sub-Industry,Headquarters Location,Date added,CIK,Founded
    AAPL,Apple Inc.,Information Technology,"Technology Hardware, Storage & Peripherals",...,0000320193,1977

The table tells who is in the index today. A company that has left it, or that isn't in the table, still has its
filings: it is asked about, and compared with nobody.

Source: the constituents' table at https://github.com/datasets/s-and-p-500-companies (its columns).
"""

from dataclasses import dataclass, field
from pathlib import Path

from gristmill.errors import ConfigError
from gristmill.seeds import BadSeed, read_rows


@dataclass(frozen=True, slots=True)
class Company:
    cik: str
    name: str
    symbol: str = ""
    industry: str = ""


@dataclass(slots=True)
class Universe:
    """Companies by CIK without leading zeros, and the rows of the table that are none, each with its reason."""

    companies: dict[str, Company] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def read_constituents(path: Path) -> Universe:
    """A company with several share classes is there once. ConfigError where no row is a company."""
    universe = Universe()
    for where, row in read_rows(str(path)):
        if isinstance(row, BadSeed):
            universe.faults.append(f"{path.name} {where}: {row.detail}")
            continue
        cik = str(row.get("CIK") or "").strip().lstrip("0")
        name, symbol, industry = (
            str(row.get(column) or "").strip() for column in ("Security", "Symbol", "GICS Sub-Industry")
        )
        if not cik.isdecimal():
            universe.faults.append(f"{path.name} {where}: {name or 'a row'} has no CIK")
        else:
            universe.companies.setdefault(cik, Company(cik, name, symbol, industry))
    if not universe.companies:
        raise ConfigError(f"params.universe: {path} has no row with Symbol, Security, GICS Sub-Industry and CIK.")
    return universe
