"""Computed mode: question, working and answer built from facts and formulas alone; a model only rewords the question.

    task        template current_ratio, company 9900001, 10-K of 2024
    question    "What was Harrow Creek Instruments' current ratio at the end of fiscal 2024?"
    trace       "The relevant lines are current assets of $786,335 thousand ... Current ratio = ... = 3.33 times ..."
    answer      "Harrow Creek Instruments' current ratio for fiscal 2024 was 3.33 times. It follows from ..."

The trace is authored, from the very steps of the computation, and uses what the excerpts show (`metadata.trace:
authored`). A rewording replaces the question only if it asks the same (judges/rewording.py).
"""

from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from random import Random

from generators.financial_qa.excerpts import Excerpt, excerpt
from generators.financial_qa.facts import Fact
from generators.financial_qa.formulas import NotComputable
from generators.financial_qa.library import Key, Library
from generators.financial_qa.metrics import metrics, several_revenues
from generators.financial_qa.segments import breakdown
from generators.financial_qa.solve import solve
from generators.financial_qa.tasks import Asked
from generators.financial_qa.telling import Telling, Unit, short_name
from generators.financial_qa.templates import Template
from generators.financial_qa.wording import capital, listed, wording
from generators.financial_qa.work import Solution, Used
from gristmill import Context, Record, Reject
from judges.rewording import Rewords, Vocabulary, reword
from schemas import Json, JsonObject, assistant, system, user

LEAD_SHARE = 0.3
TAIL_SHARE = 0.3


@cache
def vocabulary() -> Vocabulary:
    return Vocabulary.read(Path(__file__).parent / "rewording.yaml")


def tellings(task: Asked, library: Library, style: int) -> list[Telling]:
    """How the filings of a task are told, the company's own first. Reject(facts, missing) where one isn't there.
    Quarters that are compared are named by number, as they needn't end on one day.
    """
    style = 1 if task.peers and task.form.startswith("10-Q") else style
    found = []
    for key in (task.key, *(Key(peer, *task.key[1:]) for peer in task.peers)):
        if key not in library.filings:
            raise Reject("facts", "missing", f"no {key.form} of {key.cik} for {key.period} {key.year}")
        found.append(Telling(library.filings[key], short_name(library.companies[key.cik].name), style))
    return found


async def by_computation(
    task: Asked, template: Template, library: Library, tokens: int, settings: Rewords, ctx: Context
) -> Record:
    """The record of one task. Rejects: facts (missing, not_computable)."""
    told = tellings(task, library, ctx.rng.randrange(3))
    try:
        solution = solve(template, told[0], told[1:], ctx.rng)
    except NotComputable as fault:
        raise Reject("facts", "not_computable", f"{template.key}: {fault}") from None
    asked = question(template, told, task.wording)
    problems = partial(vocabulary().differences, names=names_of(template, told), in_order=False)
    text, phrasing = await reword(ctx, asked, settings, problems, original="asked_as")
    last = solution.expected[-1]
    shown = dressed(text, told[0].company, last.unit, ctx.rng)
    excerpts = [excerpt(one.filing, solution.of(one.company), template.sections, tokens // len(told)) for one in told]
    introduced = "\n\n".join([ctx.rng.choice(wording()["systems"]), *(one.text for one in excerpts)])
    return Record(
        messages=[system(introduced), user(shown), assistant(solution.answer, trace(solution, ctx.rng))],
        category=template.group,
        metadata={
            "mode": "computed", "trace": "authored", **phrasing, "question": text,
            **about(task, template, told, excerpts),
            "formula": solution.formula, "steps": list[Json](solution.steps),
            "xbrl": proof(solution, library.restated(task.key, solution.of(told[0].company))),
        },
    )  # fmt: skip


def about(task: Asked, template: Template, told: Sequence[Telling], excerpts: Sequence[Excerpt]) -> JsonObject:
    """What every record says of its source."""
    return {
        "company": told[0].company, "cik": task.cik, "year": task.year, "form": task.form, "period": task.period,
        "peers": [{"company": one.company, "cik": one.filing.cik} for one in told[1:]],
        "sections": [list[Json](one.sections) for one in excerpts],
        "template": template.key, "source": [one.filing.source for one in told],
        "cell": {"template": template.key, "group": template.group, "shape": template.shape},
    }  # fmt: skip


# --- the question ----------------------------------------------------------------------------------------------------


def question(template: Template, told: Sequence[Telling], number: int) -> str:
    first = told[0]
    asks = template.ask
    if several_revenues(first.filing):
        asks = [ask for ask in asks if "sales" not in ask.lower()] or asks
    pattern = asks[number % len(asks)]
    values = {
        "c": first.company, "cs": first.possessive(), "y": first.period(), "b": first.period(-1),
        "yy": first.period(-2), "p": listed([one.company for one in told[1:]]) if told[1:] else "",
    }  # fmt: skip
    if "{kind" in pattern:
        found = breakdown(first.filing)
        values |= {"kind": found.kind, "kinds": found.kinds} if found else {"kind": "segment", "kinds": "segments"}
    return capital(pattern.format(**values))


def dressed(text: str, company: str, unit: Unit, rng: Random) -> str:
    """Sometimes with a word on why it is asked, and on the precision that is wanted."""
    lead = rng.choice(wording()["leads"]).format(c=company) if rng.random() < LEAD_SHARE else ""
    tail = rng.choice(wording()["tails"][unit]) if rng.random() < TAIL_SHARE else ""
    return " ".join(part for part in (lead, text, tail) if part)


def names_of(template: Template, told: Sequence[Telling]) -> list[str]:
    """What a rewording must keep as it is: companies, periods, the names of metrics."""
    periods = [one.period(offset) for one in told for offset in (0, -1, -2)]
    companies = [name for one in told for name in (one.possessive(), one.company)]
    terms = [name for metric in metrics().values() for name in metric.names]
    found = breakdown(told[0].filing) if template.shape == "segments" else None
    kinds = [found.kinds, found.kind] if found else []
    return [*companies, *periods, template.name, *kinds, *terms]


# --- working and proof -----------------------------------------------------------------------------------------------


def trace(solution: Solution, rng: Random) -> str:
    words = wording()
    several = len({used.company for used in solution.used}) > 1
    groups: dict[str, list[str]] = {}
    for used in solution.used:
        of_which = f"at {used.company} {used.when}" if several else used.when
        groups.setdefault(of_which, []).append(f"{used.name} of {used.told}")
    facts = "; ".join(f"{of_which}, {listed(told)}" for of_which, told in groups.items())
    lines = [rng.choice(words["begins"]).format(facts=facts)]
    if solution.steps:
        lines += [rng.choice(words["joins"]), *solution.steps]
    lines.append(rng.choice(words["ends"]).format(result=solution.result))
    return "\n".join(lines)


def proof(solution: Solution, restated: Mapping[Fact, Sequence[str]]) -> JsonObject:
    """What the judge xbrl compares with: the facts used, the values on the way, and what an answer must give."""
    return {
        "facts": [fact_row(used, restated.get(used.fact, ())) for used in solution.used],
        "derived": [[str(float(value)), dimension] for value, dimension in solution.derived],
        "expected": [
            {"name": one.name, "value": str(float(one.value)), "unit": one.unit, "required": one.required}
            for one in solution.expected
        ],
    }  # fmt: skip


def fact_row(used: Used, restated: Sequence[str] = ()) -> JsonObject:
    fact = used.fact
    row: JsonObject = {
        "company": used.company, "names": list[Json](used.names), "period": used.period, "concept": fact.concept,
        "value": f"{fact.value:f}", "unit": fact.unit, "decimals": fact.decimals,
        "start": fact.start.isoformat() if fact.start else None, "end": fact.end.isoformat(), "row": fact.label,
    }  # fmt: skip
    if fact.dimensions:
        row["members"] = [member for _, member in fact.dimensions]
    otherwise = [*(f"{value:f}" for value in fact.earlier), *restated]
    return {**row, "otherwise": list[Json](otherwise)} if otherwise else row
