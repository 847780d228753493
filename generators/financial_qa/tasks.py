"""Tasks: which template is asked of which filing, beside which peers, in which of its wordings.

    current_ratio of 9900001's 10-K of 2024, wording 2          compare_tax_rate of 9900001 and 9900002, 10-K of 2023

Every pair comes once a round, in other words each round, and both sides evenly. A computed question is a task only
where the facts are there; a comparison only where a peer of the sub-industry has them too.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from random import Random
from typing import Protocol

from generators.financial_qa.filings.read import Filing
from generators.financial_qa.formulas import NotComputable, computable
from generators.financial_qa.library import Key, Library
from generators.financial_qa.segments import breakdown
from generators.financial_qa.solve import solve
from generators.financial_qa.telling import Telling
from generators.financial_qa.templates import Template
from gristmill.walk import paired
from schemas import Seed

WORDINGS = 3
"""How often a question on one filing may be asked, each time in other words."""


class Asked(Seed):
    """One task: which template, of which filing, beside which peers, in which of its wordings."""

    template: str
    cik: str
    form: str
    year: int
    period: str
    peers: list[str] = []
    wording: int = 0

    @property
    def key(self) -> Key:
        return Key(self.cik, self.form, self.year, self.period)


class Settings(Protocol):
    """What the walk takes from the parameters."""

    @property
    def mode(self) -> str: ...
    @property
    def years(self) -> list[int]: ...
    @property
    def forms(self) -> Sequence[str]: ...
    @property
    def peers(self) -> int: ...
    @property
    def lookups(self) -> float: ...


def walk(library: Library, templates: list[Template], params: Settings, seed: int) -> Iterator[Asked]:
    """The tasks in their order; lookups never more than their share."""
    wanted = sorted(key for key in library.filings if key.year in params.years and key.form in params.forms)
    computed = params.mode == "computed"
    kinds = {template.key: template for template in templates if template.computable or not computed}
    able = {
        name: [key for key in wanted if template.asked_of(key.form)
               and (not computed or feasible(template, library.filings[key]))]
        for name, template in kinds.items()
    }  # fmt: skip
    rivals = {
        (name, key): [peer for peer in library.peers(key, params.peers) if peer in able[name]]
        for name, keys in able.items() if kinds[name].comparative for key in keys
    }  # fmt: skip
    allowed = {name: [key for key in keys if rivals.get((name, key), True)] for name, keys in able.items()}
    places = {key: place for place, key in enumerate(wanted)}
    pairs = [(name, key) for name, keys in allowed.items() for key in keys]
    size, count, looked_up = len(pairs), 0, 0
    for number, (name, key) in enumerate(islice(evenly(pairs, Random(f"{seed}|financial_qa")), size * WORDINGS)):
        template, round_ = kinds[name], number // size
        lookup = template.shape == "lookup"
        if round_ >= len(template.ask) or (lookup and looked_up + 1 > params.lookups * (count + 1)):
            continue
        count, looked_up = count + 1, looked_up + lookup
        yield Asked(
            template=name, cik=key.cik, form=key.form, year=key.year, period=key.period,
            peers=[peer.cik for peer in rivals.get((name, key), [])],
            wording=(places[key] + round_) % len(template.ask),
        )  # fmt: skip


def evenly(pairs: list[tuple[str, Key]], rng: Random) -> Iterator[tuple[str, Key]]:
    """Every pair once a round. The side that has fewer goes in turn, or a small run would see little of the other."""
    names, keys = {name: list[Key]() for name, _ in pairs}, {key: list[str]() for _, key in pairs}
    for name, key in pairs:
        names[name].append(key)
        keys[key].append(name)
    if len(names) <= len(keys):
        yield from paired(names, rng)
    else:
        yield from ((name, key) for key, name in paired(keys, rng))


def feasible(template: Template, filing: Filing) -> bool:
    """Whether the filing has the facts that a computed template needs."""
    if not template.asked_of(filing.form) or not template.computable:
        return False
    if template.shape == "segments":
        return breakdown(filing) is not None and _solved(template, filing)
    if template.shape == "bridge":
        return _solved(template, filing)
    return any(computable(formula, filing, template.compared) for formula in template.formula)


def _solved(template: Template, filing: Filing) -> bool:
    try:
        solve(template, Telling(filing, filing.company), [], Random(0))
    except NotComputable:
        return False
    return True
