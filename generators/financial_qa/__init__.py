"""financial_qa: questions on company filings, with every figure of the answer held against the filing's XBRL facts.

Record:  system     excerpts of the filing: "# Harrow Creek Instruments, Inc.: Form 10-K ... BALANCE SHEETS ..."
         user       "What was Harrow Creek Instruments' current ratio at the end of fiscal 2024?"
         assistant  "Harrow Creek Instruments' current ratio for fiscal 2024 was 3.33 times. It follows from ..."
         metadata   company, cik, year, form, sections, template, xbrl (the facts used, and what an answer must give)

Two modes. `computed` builds question, working and answer from tagged facts and formulas; a model only rewords.
`teacher` asks a model: up to three rewordings of each question, five candidate answers from distinct seeds, and a
larger model that chooses among them (GenSelect).

Source: Nemotron 3 Super report (arXiv 2604.12374), financial QA: expert questions as templates over S&P 500 companies
and fiscal years 2019-2024, comparisons within a GICS sub-industry, GenSelect, answerability, percentile outliers.
"""

import asyncio
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from generators.financial_qa.computed import by_computation
from generators.financial_qa.edgar import EdgarConfig, fetch_all
from generators.financial_qa.filings.html import require_lxml
from generators.financial_qa.library import Library, files_in, open_library
from generators.financial_qa.tasks import Asked, walk
from generators.financial_qa.teacher import by_teacher
from generators.financial_qa.templates import Form, Template, templates_of
from generators.financial_qa.universe import Universe, read_constituents
from gristmill import Config, Context, Generator, Record, Reject
from gristmill.config import require_file
from gristmill.errors import ConfigError
from gristmill.seeds import BadSeed
from schemas import Seed

BUNDLED = Path(__file__).parent / "companies"


class Params(Config):
    """`filings` are folders of HTML filings and company facts, to which `edgar` adds what it fetches; with neither they
    are the bundled, invented companies. `universe` is the constituents' table that says which companies are peers.
    `lookups` bounds the share of single facts among computed questions. For the teacher: `candidates` answers for each
    question and for each of up to `rewordings` rewordings; `reconfirm` asks for the choice among them twice.
    """

    mode: Literal["computed", "teacher"] = "computed"
    filings: list[Path] = []
    edgar: EdgarConfig | None = None
    universe: Path | None = None
    templates: str = ""
    years: Annotated[list[int], Field(min_length=1)] = [2019, 2020, 2021, 2022, 2023, 2024]
    forms: Annotated[list[Form], Field(min_length=1)] = ["10-K", "10-Q"]
    peers: Annotated[int, Field(ge=1, le=4)] = 1
    context_tokens: Annotated[int, Field(ge=500)] = 3000
    paraphrase: bool | str = True
    paraphrase_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    lookups: Annotated[float, Field(ge=0, le=0.15)] = 0.1
    candidates: Annotated[int, Field(ge=1, le=16)] = 5
    reconfirm: bool = False
    rewordings: Annotated[int, Field(ge=0, le=3)] = 3


class Missing(Seed):
    """What is no filing, or isn't there, as a task: it is rejected with its reason."""

    reason: str
    detail: str


class FinancialQA(Generator[Seed, Params]):
    name = "financial_qa"
    version = "1"
    reads_seeds = False

    def __init__(self, params: Params, *, seed: int = 0, seeds: str | None = None) -> None:
        super().__init__(params, seed=seed, seeds=seeds)
        require_lxml()
        for name, path in (("universe", params.universe), ("templates", self._templates_file())):
            if path:
                require_file(path, f"params.{name}")
        self._absent: list[str] = []

    @cached_property
    def folders(self) -> list[Path]:
        fetched = [self.params.edgar.cache] if self.params.edgar else []
        return [*self.params.filings, *fetched] or [BUNDLED]

    @cached_property
    def universe(self) -> Universe:
        """The companies of the table in the config, or of the one in a folder of filings."""
        tables = [self.params.universe] if self.params.universe else [one / "constituents.csv" for one in self.folders]
        found = next((table for table in tables if self.params.universe or table.is_file()), None)
        return read_constituents(found) if found else Universe()

    @cached_property
    def library(self) -> Library:
        return open_library(self.folders, self.universe.companies)

    async def prepare(self, ctx: Context) -> None:
        params = self.params
        if params.edgar:
            companies = self.universe.companies
            self._absent = await fetch_all(params.edgar, companies, list(params.forms), params.years, ctx)

    @cached_property
    def _templates(self) -> tuple[dict[str, Template], list[BadSeed]]:
        found, bad = templates_of(self.params.templates)
        return {template.key: template for template in found}, bad

    def files(self) -> list[Path]:
        params = self.params
        named = [params.universe] if params.universe else []
        templates = self._templates_file()
        return [
            *named,
            *([templates] if templates else []),
            *(file for folder in params.filings for file in files_in(folder)),
        ]

    def _templates_file(self) -> Path | None:
        """The user's file of templates; None where they are bundled, or on a hub."""
        location = self.params.templates
        return None if not location or location.startswith("hf://") else Path(location)

    def coverage_axes(self) -> dict[str, list[str]]:
        if self.params.mode != "computed":
            return {}
        used = [one for one in self._templates[0].values() if one.computable]
        return {name: list(dict.fromkeys(str(getattr(one, name if name != "template" else "key")) for one in used))
                for name in ("template", "group", "shape")}  # fmt: skip

    def tasks(self) -> Iterator[Seed | BadSeed]:
        templates, bad = self._templates
        if self.params.mode == "computed" and not any(one.computable for one in templates.values()):
            raise ConfigError("params.templates: none of them has a formula to compute; set mode: teacher.")
        yield from bad
        for reason, details in (("constituent", self.universe.faults), ("absent", self._absent)):
            for detail in details:
                yield Missing(reason=reason, detail=detail)
        for file, fault in self.library.faults:
            yield Missing(reason=fault.reason, detail=fault.detail or file)
        yield from walk(self.library, list(templates.values()), self.params, self.seed)

    async def run(self, seed: Seed, ctx: Context) -> Record | list[Record]:
        if isinstance(seed, Missing):
            raise Reject("filing", seed.reason, seed.detail)
        assert isinstance(seed, Asked)
        template = self._templates[0][seed.template]
        library = await asyncio.to_thread(getattr, self, "library")  # another machine's worker reads it here
        if self.params.mode == "teacher":
            return await by_teacher(seed, template, library, self.params, ctx)
        return await by_computation(seed, template, library, self.params.context_tokens, self.params, ctx)
