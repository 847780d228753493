"""Filings and company facts from the SEC's EDGAR, politely, into a folder on disk.

    {user_agent: "Jane Doe jane@example.org", cache: edgar, symbols: [AAPL, NVDA]}
    edgar/320193/facts.json        edgar/320193/0000320193-24-000123.htm        ...

The SEC asks for a User-Agent with a contact and for at most ten requests a second. What lies in the folder isn't asked
for again, and a file is there whole or not at all. A company or document that EDGAR doesn't have is told by name.

`edgartools` does more, and is well kept; it brings pandas and a dozen other packages, while these are four addresses.

Source: https://www.sec.gov/search-filings/edgar-application-programming-interfaces,
https://www.sec.gov/os/accessing-edgar-data.
"""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import orjson
from pydantic import Field, field_validator

from generators.financial_qa.universe import Company
from gristmill import Config, Context
from gristmill.errors import ConfigError, EndpointError
from schemas import Json

_TRIES = 6
_LARGEST = 200_000_000


class EdgarConfig(Config):
    """`symbols` left empty means the whole universe; without `documents` only company facts are fetched."""

    user_agent: str
    cache: Path
    symbols: list[str] = []
    documents: bool = True
    per_second: Annotated[float, Field(gt=0, le=10)] = 8
    archives: str = "https://www.sec.gov"
    data: str = "https://data.sec.gov"

    @field_validator("user_agent")
    @classmethod
    def _with_contact(cls, value: str) -> str:
        if not re.search(r"\S+@\S+\.\S+", value):
            raise ValueError("the SEC wants a name and an e-mail address in it, such as 'Jane Doe jane@example.org'")
        return value


class Absent(Exception):
    """EDGAR has no such document."""


@dataclass(slots=True)
class Edgar:
    """Asks EDGAR one thing after another, at most `per_second`."""

    config: EdgarConfig
    session: aiohttp.ClientSession
    lock: asyncio.Lock
    free_at: float = 0.0

    async def get(self, url: str) -> bytes:
        """Absent where there is nothing; EndpointError where EDGAR can't be reached or refuses."""
        problem = ""
        for attempt in range(_TRIES):
            await self._turn()
            try:
                async with self.session.get(url) as response:
                    if response.status == 404:
                        raise Absent(url)
                    if response.status == 200:
                        if (response.content_length or 0) > _LARGEST:
                            raise Absent(f"{url} is larger than {_LARGEST // 10**6} MB")
                        return await response.read()
                    problem, wait = f"status {response.status}", response.headers.get("Retry-After", "")
            except (aiohttp.ClientError, TimeoutError) as error:
                problem, wait = str(error) or type(error).__name__, ""
            if attempt < _TRIES - 1:
                await asyncio.sleep(min(60.0, float(wait)) if wait.isdecimal() else random.uniform(0.5, 1) * 2**attempt)
        raise EndpointError(
            f"EDGAR gave {problem} for {url}, {_TRIES} times. Check the network and params.edgar.user_agent."
        )

    async def _turn(self) -> None:
        async with self.lock:
            now = asyncio.get_running_loop().time()
            await asyncio.sleep(max(0.0, self.free_at - now))
            self.free_at = max(now, self.free_at) + 1 / self.config.per_second

    async def save(self, url: str, path: Path) -> None:
        """The document at `url`, kept at `path`; nothing is asked where it is there."""
        if not await asyncio.to_thread(path.is_file):
            body = await self.get(url)
            await asyncio.to_thread(_write, path, body)

    # --- what EDGAR has

    async def ciks(self) -> dict[str, str]:
        """{symbol: CIK} of all companies with one."""
        path = self.config.cache / "company_tickers.list"
        await self.save(f"{self.config.archives}/files/company_tickers.json", path)
        rows = orjson.loads(await asyncio.to_thread(path.read_bytes))
        return {row["ticker"].upper(): str(row["cik_str"]) for row in rows.values()}

    async def filings(self, cik: str) -> list[tuple[str, str, str, str]]:
        """(form, report date, accession number, document) of all filings, the latest first."""
        found: list[tuple[str, str, str, str]] = []
        body = orjson.loads(await self.get(f"{self.config.data}/submissions/CIK{cik:0>10}.json"))
        parts = [body["filings"]["recent"]]
        older = [f"{self.config.data}/submissions/{file['name']}" for file in body["filings"].get("files", [])]
        parts += [orjson.loads(await self.get(url)) for url in older]
        for part in parts:
            found += zip(
                part["form"], part["reportDate"], part["accessionNumber"], part["primaryDocument"], strict=True
            )
        return found

    async def fetch(self, cik: str, forms: Iterable[str], years: Iterable[int]) -> list[str]:
        """Saves what there is of a company, and says what there isn't."""
        folder, absent = self.config.cache / cik, []
        try:
            await self.save(f"{self.config.data}/api/xbrl/companyfacts/CIK{cik:0>10}.json", folder / "facts.json")
        except Absent:
            absent.append(f"{cik}: no company facts")
        if not self.config.documents:
            return absent
        try:
            listed = await self.filings(cik)
        except Absent:
            return [*absent, f"{cik}: no filings"]
        first, last = f"{min(years)}-01-01", f"{max(years) + 1}-03-31"  # a fiscal year may end in the next one
        for form, reported, accession, document in listed:
            if form not in forms or not first <= reported <= last or not document.endswith((".htm", ".html")):
                continue
            address = f"{self.config.archives}/Archives/edgar/data/{cik}/{accession.replace('-', '')}/{document}"
            try:
                await self.save(address, folder / f"{accession}.htm")
            except Absent:
                absent.append(f"{cik}: no document {accession}")
        return absent


def _write(path: Path, body: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(body)
    part.replace(path)


@asynccontextmanager
async def open_edgar(config: EdgarConfig) -> AsyncIterator[Edgar]:
    headers = {"User-Agent": config.user_agent, "Accept-Encoding": "gzip, deflate"}
    timeout = aiohttp.ClientTimeout(total=300, connect=20)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        yield Edgar(config, session, asyncio.Lock())


async def fetch_all(
    config: EdgarConfig, universe: dict[str, Company], forms: list[str], years: list[int], ctx: Context
) -> list[str]:
    """Fetches the companies into the cache, each once per run; what is missing, by name. ConfigError for a symbol that
    neither the universe nor EDGAR knows."""
    async with open_edgar(config) as edgar:
        by_symbol = {company.symbol.upper(): company.cik for company in universe.values()}
        wanted = [symbol.upper() for symbol in config.symbols]
        if any(symbol not in by_symbol for symbol in wanted):
            by_symbol = {**await edgar.ciks(), **by_symbol}
        if unknown := [symbol for symbol in wanted if symbol not in by_symbol]:
            raise ConfigError(f"params.edgar.symbols: neither the universe nor EDGAR knows {', '.join(unknown)}.")
        ciks = [by_symbol[symbol] for symbol in wanted] or sorted(universe)
        if not ciks:
            raise ConfigError("params.edgar: name symbols, or give params.universe.")
        absent: list[str] = []
        for cik in ciks:
            request: Json = {"cik": cik, "forms": [*forms], "years": [*years], "documents": config.documents}

            async def perform(cik: str = cik) -> Json:
                return [*await edgar.fetch(cik, forms, years)]

            found: Any = await ctx.effect("edgar", request, perform)
            absent += found
            if not await asyncio.to_thread((config.cache / cik).is_dir):  # it was removed since, or there is nothing
                await edgar.fetch(cik, forms, years)
    return absent
