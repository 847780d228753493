"""What of a filing a record shows: the passages that the answer rests on, then as much of the wanted sections as fits.

    # Harrow Creek Instruments, Inc.: Form 10-K for fiscal 2024 (December 28, 2024)
    ## Item 8. Financial Statements and Supplementary Data
    [...]
    ### CONSOLIDATED BALANCE SHEETS ...

Where only company facts are there, a table of them stands in for the statements.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from generators.financial_qa.facts import Fact
from generators.financial_qa.filings.read import Filing
from generators.financial_qa.filings.sections import PRIORITY
from generators.financial_qa.metrics import find, metrics
from generators.financial_qa.telling import Telling, scale_of, spelled

CHARACTERS_PER_TOKEN = 3
"""A careful figure: tables take more tokens than prose."""

_CAPTION = 220
_COUNTERPARTS = {"7": "I.2", "8": "I.1", "7A": "I.3", "1A": "II.1A", "3": "II.1", "5": "II.2", "9A": "I.4"}
_NO_STATEMENTS = 3000
"""Characters: an Item 8 shorter than this says that the statements are in Item 15."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """`blocks` are the numbers of the blocks that it shows."""

    text: str
    sections: list[str]
    blocks: frozenset[int] = frozenset()


def excerpt(filing: Filing, facts: Iterable[Fact], sections: Iterable[str], tokens: int) -> Excerpt:
    """The blocks that tell the facts, with their captions, and as much of the sections as has room."""
    title = f"# {filing.company}: Form {filing.form} for the period ended {spelled(filing.period_end)}"
    if not filing.blocks:
        return Excerpt(f"{title}\n\n{_table_of_facts(filing, facts)}", ["XBRL company facts"])
    shown = {number for fact in facts if fact.block >= 0 for number in _with_caption(filing, fact.block)}
    room = tokens * CHARACTERS_PER_TOKEN - sum(len(filing.blocks[number].text) for number in shown)
    for section in wanted_sections(filing, sections):
        for number in filing.sections[section]:
            if number not in shown and len(filing.blocks[number].text) <= room:
                shown.add(number)
                room -= len(filing.blocks[number].text)
    heads = {places.start: name for name, places in filing.sections.items()}
    named = [name for name, places in filing.sections.items() if any(number in shown for number in places)]
    shown |= {filing.sections[name].start for name in named}
    parts, last = [title], -1
    for number in sorted(shown):
        if last >= 0 and number > last + 1 and number not in heads:
            parts.append("[...]")
        parts.append(filing.markdown([number]))
        last = number
    return Excerpt("\n\n".join(parts), named, frozenset(shown))


def wanted_sections(filing: Filing, sections: Iterable[str]) -> list[str]:
    """The Items, named as in a 10-K, that this filing has, in the template's order; then those of general interest."""
    asked = [section if filing.annual else _COUNTERPARTS.get(section, "") for section in sections]
    if "8" in asked and "8" in filing.sections and _size(filing, "8") < _NO_STATEMENTS:
        asked.insert(asked.index("8") + 1, "15")
    found = [section for section in dict.fromkeys(asked) if section in filing.sections]
    return found or [section for section in PRIORITY[filing.form[:4]] if section in filing.sections][:2]


def _size(filing: Filing, section: str) -> int:
    return sum(len(filing.blocks[number].text) for number in filing.sections[section])


def _with_caption(filing: Filing, number: int) -> list[int]:
    """The block and the short ones before it: the name of a statement, its unit."""
    first = number
    while first > 0 and number - first < 3:
        before = filing.blocks[first - 1]
        if before.kind == "table" or len(before.text) > _CAPTION:
            break
        first -= 1
    return list(range(first, number + 1))


def _table_of_facts(filing: Filing, facts: Iterable[Fact]) -> str:
    """What the company tagged for the period and the two before it, each metric by the tag of the facts, if it has any
    there: it may have changed its tag midway.
    """
    wanted = {fact.concept for fact in facts}
    rows: list[tuple[str, list[Fact | None]]] = []
    for metric in metrics().values():
        concepts = sorted(metric.concepts, key=lambda concept: concept not in wanted)
        if own := next((fact for concept in concepts if (fact := find(filing, metric, 0, concept))), None):
            rows.append((metric.name, [own, *(find(filing, metric, offset, own.concept) for offset in (-1, -2))]))
    amounts = [fact for _, told in rows for fact in told if fact and len(fact.unit) == 3]
    telling = Telling(filing, filing.company, scale=scale_of(amounts))
    head = f"| {filing.company} | {' | '.join(telling.period(offset) for offset in (0, -1, -2))} |"
    lines = [f"| {name} | {' | '.join(telling.figure(fact) if fact else '' for fact in told)} |" for name, told in rows]
    return "\n".join([head, "| --- | --- | --- | --- |", *lines])
