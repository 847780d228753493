"""Templates of questions: the bundled ones (templates.yaml) or those of a file or a hub dataset.

    {key: gross_margin, group: ratios, shape: value, formula: [gross_profit / revenue, ...], ask: ["What was {cs} ..."]}

Rows of others need a question only; column names are those of the published sets (`question`, `Question`, `query`).
They have no formula, so they are for a teacher. The company and the period that a question names are put back to
place-holders, so that it can be asked of any filing; one that compares several periods is a row that can't be used.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field

from generators.financial_qa.telling import Unit
from gristmill import Config
from gristmill.errors import ConfigError
from gristmill.seeds import BadSeed, read_rows

Shape = Literal[
    "value", "lookup", "growth", "change", "trend", "total", "cagr", "compare", "bridge", "segments", "open", "peers"
]
Form = Literal["10-K", "10-Q"]

_COMPARED = {"growth": (0, -1), "change": (0, -1), "trend": (0, -1, -2), "total": (0, -1, -2), "cagr": (0, -2)}
TAKEN_OFF = "- "
"""Before a part of a sum that is taken off: {revenue: revenue, cost of revenue: - cost_of_revenue}."""
_QUESTIONS = ("question", "Question", "query", "prompt", "text")
_COMPANIES = ("company", "Company", "ticker", "Source Docs")
_ITEM = re.compile(r"item[\s_]*(\d{1,2}[ABC]?)", re.IGNORECASE)


class Template(Config):
    """See templates.yaml. `verdict` is what a rise and what a fall mean, where the question asks for more than them."""

    key: str
    group: str
    shape: Shape = "open"
    name: str = ""
    formula: list[str] = []
    unit: Unit = "money"
    how: str = ""
    whole: str = ""
    parts: dict[str, str] = {}
    units: dict[str, Unit] = {}
    verdict: Annotated[list[str], Field(max_length=2)] = []
    sections: list[str] = ["7", "8"]
    forms: list[Form] = []
    ask: Annotated[list[str], Field(min_length=1)]

    @property
    def computable(self) -> bool:
        return self.shape not in ("open", "peers")

    @property
    def comparative(self) -> bool:
        return self.shape in ("compare", "peers")

    @property
    def compared(self) -> tuple[int, ...]:
        """For which periods, in years from the filing's own, a formula is needed."""
        return _COMPARED.get(self.shape, (0,))

    def all_formulas(self) -> list[str]:
        parts = [part.removeprefix(TAKEN_OFF) for part in self.parts.values()]
        return [*self.formula, *parts, *([self.whole] if self.whole else [])]

    def asked_of(self, form: str) -> bool:
        return form.removesuffix("/A") in (self.forms or ("10-K", "10-Q"))


@cache
def bundled_templates() -> tuple[Template, ...]:
    rows = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return tuple(Template.model_validate(row) for row in rows)


def read_templates(location: str) -> Iterator[Template | BadSeed]:
    """The templates of a .jsonl, .csv or .parquet file, or of hf://NAME@REVISION."""
    for where, row in read_rows(location):
        if isinstance(row, BadSeed):
            yield row
            continue
        question = next((str(row[name]).strip() for name in _QUESTIONS if row.get(name)), "")
        if not question:
            yield BadSeed(where, f"no question in any of the columns {', '.join(_QUESTIONS)}")
            continue
        asked = _generalized(question, next((str(row[name]) for name in _COMPANIES if row.get(name)), ""))
        if not asked:
            yield BadSeed(where, "it names several periods, so it can't be asked of another one")
            continue
        group = str(row.get("category") or row.get("Question Type") or "seeds")
        yield Template(key=where, group=group, shape="open", sections=_sections(row), ask=[asked])


def _sections(row: dict[str, Any]) -> list[str]:
    named = str(row.get("sections") or row.get("section") or row.get("context_section") or "")
    found = _ITEM.findall(named) or re.findall(r"\b\d{1,2}[ABC]?\b", named)
    return [item.upper() for item in found] or ["7", "8", "1A"]


def _generalized(question: str, company: str) -> str:
    """The question with place-holders for the company and the period; "" where it names several periods."""
    text = question.replace("{", "(").replace("}", ")")
    named = [name.strip() for name in re.split(r"[*,;|]+", company) if len(name.strip()) > 1]
    for name in dict.fromkeys([*named, *_SEEDED, *_SEEDED.values()]):
        pattern = rf"\b{re.escape(name)}(?:,? Inc\.?| Corporation| Corp\.?)?"
        text = re.sub(rf"{pattern}['’\N{{REPLACEMENT CHARACTER}}]s\b", "{cs}", text)
        text = re.sub(rf"{pattern}(?!\w)", "{c}", text)
    periods = {match[0].lower() for match in _PERIOD.finditer(text)}
    if len(periods) > 1:
        return ""
    text = _PERIOD.sub("{y}", text)
    if "{c" not in text:
        text = f"About {{c}}: {text}"
    return text if "{y}" in text else f"{text} (The question is about {{y}}.)"


_SEEDED = {"AAPL": "Apple", "AMZN": "Amazon", "INTC": "Intel", "MSFT": "Microsoft", "NVDA": "NVIDIA"}
"""Companies that published seed questions are about, which need not say so in a column."""
_PERIOD = re.compile(
    r"\b(?:the )?(?:(?:first|second|third|fourth) (?:fiscal )?quarter of |Q[1-4] (?:of )?|fiscal (?:year )?|FY ?)?"
    r"(?:fiscal )?(?:19|20)\d\d(?: Q[1-4])?\b",
    re.IGNORECASE,
)


def templates_of(location: str) -> tuple[list[Template], list[BadSeed]]:
    """Those of `location`, "" for the bundled ones; and the rows that are none. ConfigError where there is none."""
    if not location:
        return list(bundled_templates()), []
    read = list(read_templates(location))
    templates = [one for one in read if isinstance(one, Template)]
    if not templates:
        raise ConfigError(f"params.templates: {location} holds no question.")
    return templates, [one for one in read if isinstance(one, BadSeed)]
