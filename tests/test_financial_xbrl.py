"""The judge xbrl: figures as people write them, right answers in many notations, and planted wrong figures."""

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest

from generators.financial_qa import FinancialQA, Params
from generators.financial_qa.computed import proof, tellings
from generators.financial_qa.excerpts import excerpt
from generators.financial_qa.filings.read import read_filing
from generators.financial_qa.formulas import NotComputable
from generators.financial_qa.solve import solve
from generators.financial_qa.tasks import Asked
from generators.financial_qa.teacher import facts_known
from generators.financial_qa.telling import Telling
from generators.financial_qa.templates import bundled_templates
from generators.financial_qa.work import Solution
from gristmill.testing import judge_scripted
from judges.figures import cleaned, figures_in
from judges.xbrl import XBRL, last_claim
from judges.xbrl import Params as JudgeParams
from judges.xbrl_facts import Proof
from judges.xbrl_proof import check
from schemas import Record, Verdict, assistant, system, user
from tests.financial_answers import right, wrong

TEMPLATES = {template.key: template for template in bundled_templates()}


def solutions(number: int, **params: Any) -> Iterator[tuple[Solution, str]]:
    """Solutions with the excerpts of their records, spread over templates and filings."""
    generator = FinancialQA(Params(**params))
    for place, task in enumerate(islice(generator.tasks(), number)):
        assert isinstance(task, Asked)
        told, template = tellings(task, generator.library, place % 3), TEMPLATES[task.template]
        try:
            solution = solve(template, told[0], told[1:], Random(place))
        except NotComputable:
            continue
        shown = [excerpt(one.filing, solution.of(one.company), template.sections, 2000).text for one in told]
        yield solution, "\n".join(shown)


def judged(answer: str, solution: Solution, excerpts: str) -> Verdict:
    told = Proof.read(proof(solution, {}))
    return XBRL(JudgeParams()).verdict(check(answer, excerpts, told), last_claim(answer, told), bool(told.expected))


def rates(number: int, **params: Any) -> tuple[float, float, list[str]]:
    """The shares of wrong answers that are rejected and of right ones that are; and what went wrong."""
    counts: Counter[str] = Counter()
    notes = []
    for place, (solution, excerpts) in enumerate(solutions(number, **params)):
        rng, shown = Random(place), excerpts if place % 2 else ""
        good = right(solution, rng)
        bad, planted = wrong(solution, rng)
        verdicts = judged(good, solution, shown), judged(bad, solution, shown)
        counts["n"] += 1
        counts["right"] += verdicts[0].passed is not True
        counts["wrong"] += verdicts[1].passed is False
        if verdicts[0].passed is not True:
            notes.append(f"{verdicts[0].reason}\n{good}")
        if verdicts[1].passed is not False:
            notes.append(f"{planted}: {verdicts[1].reason}\n{bad}")
    assert counts["n"] >= 0.9 * number
    return counts["wrong"] / counts["n"], counts["right"] / counts["n"], notes


def test_planted_figures_are_found_and_right_ones_kept() -> None:
    caught, refused, notes = rates(500)
    assert caught >= 0.99 and refused <= 0.02, (caught, refused, notes[:5])


@pytest.mark.shared
def test_planted_figures_are_found_in_real_filings(shared_data: Path) -> None:
    folders = [shared_data / "finance"]
    caught, refused, notes = rates(250, filings=folders, universe=shared_data / "finance/constituents.csv")
    assert caught >= 0.99 and refused <= 0.02, (caught, refused, notes[:5])


@pytest.mark.shared
def test_what_companies_write_themselves_is_not_contradicted(shared_data: Path) -> None:
    """Managements' discussions as answers without a formula: true, in many notations, with their own filings beside."""
    told = contradicted = confirmed = 0
    for path in sorted((shared_data / "finance/filings").glob("*10-k*.gz"))[::3]:
        filing = read_filing(path)
        shown = excerpt(filing, [], ["7"], 14_000)
        known = Proof.read(facts_known([Telling(filing, filing.company)], [shown]))
        for number in sorted(shown.blocks & set(filing.sections["7"])):
            block = filing.blocks[number]
            if block.kind == "text" and figures_in(cleaned(block.text)):
                found = check(block.text, shown.text, known)
                told += 1
                contradicted += bool(found.contradicted)
                confirmed += not found.contradicted and not found.unknown
    assert told > 80 and contradicted <= 0.02 * told and confirmed >= 0.95 * told, (told, contradicted, confirmed)


# --- figures in text -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value", "kind", "sign"),
    [
        ("$1,134.5 million", 1_134_500_000, "money", 0),
        ("US$ 1.13bn", 1_130_000_000, "money", 0),
        ("($24,335) thousand", 24_335_000, "money", None),
        ("-$101.6M", 101_600_000, "money", -1),
        ("−$5", 5, "money", -1),
        ("1.2 billion dollars", 1_200_000_000, "money", 0),
        ("61 cents", Fraction(61, 100), "money", 0),
        ("47.1%", Fraction(471, 1000), "percent", 0),
        ("47.1\\%", Fraction(471, 1000), "percent", 0),
        ("47 per cent", Fraction(47, 100), "percent", 0),
        ("120 basis points", Fraction(12, 1000), "percent", 0),
        ("6.6 percentage points", Fraction(66, 1000), "percent", 0),
        ("3.33x", Fraction(333, 100), "times", 0),
        ("3.33 : 1", Fraction(333, 100), "times", 0),
        ("94.0 days", 94, "days", 0),
        ("39.2 million shares", 39_200_000, "shares", 0),
        ("786{,}335", 786_335, "bare", 0),
        ("1\u202f134\u202f471", 1_134_471, "bare", 0),
    ],
)
def test_one_figure_is_read(text: str, value: Fraction, kind: str, sign: int | None) -> None:
    (figure,) = figures_in(cleaned(f"It was {text} then."))
    assert (figure.value, figure.kind, figure.sign) == (value, kind, sign)


def test_what_is_no_figure_is_none() -> None:
    text = (
        "1. In fiscal 2024 (FY2024, Q2 2024, 2022-2024), Item 7, Note 12 and the 10-K of June 29, 2024 or 2024-06-29\n"
        "2. a 3-year view"
    )
    assert figures_in(cleaned(text)) == []


def test_an_operator_is_no_sign() -> None:
    assert [figure.sign for figure in figures_in(cleaned("= $5 million − $3 million = $2 million"))] == [0, 0, 0]


# --- verdicts --------------------------------------------------------------------------------------------------------

FACTS = [
    {"company": "Acme", "names": ["revenue", "net sales"], "period": "fiscal 2024", "value": "1134471000",
     "unit": "USD", "end": "2024-12-28", "decimals": -3, "otherwise": ["1100000000"]},
    {"company": "Acme", "names": ["revenue", "net sales"], "period": "fiscal 2023", "value": "1085764000",
     "unit": "USD", "end": "2023-12-30", "decimals": -3},
]  # fmt: skip
GROWTH = [{"name": "growth of revenue", "value": "0.0448596", "unit": "percent", "required": True}]
FALL = [{"name": "growth of revenue", "value": "-0.0448596", "unit": "percent", "required": True}]


def verdict(text: str, expected: list[dict[str, Any]], context: str = "") -> Verdict:
    told = Proof.read({"facts": FACTS, "derived": [], "expected": expected})
    return XBRL(JudgeParams()).verdict(check(text, context, told), last_claim(text, told), bool(expected))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Revenue rose 4.5%, from $1.09 billion to $1.13 billion.", "confirmed: 3"),
        ("Revenue rose by $48.7 million, or 4.49%, to $1,134,471 thousand.", "confirmed: 3"),
        ("It grew about 4.5 percent.", "confirmed: 1"),
        ("Revenue was $1,100.0 million in fiscal 2024 as first reported; growth was 4.5%.", "confirmed: 2"),
        ("(1,134,471 − 1,085,764) / 1,085,764 = 0.0449", "confirmed: 4"),
        ("Revenue rose 5.4%.", "contradicted: says 5.4%"),
        ("Revenue fell 4.5%.", "contradicted: says 4.5%"),
        ("Revenue rose 4.5%.\nAnswer: 5.4%", "contradicted: says 5.4%"),
        (
            "Revenue was $1,085.8 million in fiscal 2024. It rose 4.5%.",
            "contradicted: says $1,085.8 million for revenue",
        ),
        ("Revenue was $1,134.5 billion in fiscal 2024. It rose 4.5%.", "contradicted: says $1,134.5 billion"),
        ("Revenue rose 4.5%, helped by $77 million from a deal.", "contradicted: says $77 million"),
        ("The excerpts don't suffice.", "not checkable: growth of revenue"),
        ("Revenue was $1,134.5 million.", "contradicted: growth of revenue of 4.49%"),
    ],
)
def test_answers_to_a_formula(text: str, reason: str) -> None:
    found = verdict(text, GROWTH)
    assert found.reason.startswith(reason), found.reason
    assert found.passed is reason.startswith("confirmed")


def test_a_fall_is_told_by_a_sign_or_a_word() -> None:
    for text in ("It fell 4.5%.", "The change was -4.5%.", "A decline of (4.5)%."):
        assert verdict(text, FALL).passed, text
    assert verdict("It rose 4.5%.", FALL).passed is False


def test_open_answers_are_held_against_facts_and_excerpts() -> None:
    context = (
        "(In millions)\n\n| | 2024 |\n| --- | --- |\n| Goodwill | 248 |\n\nOrders from utilities rose 12% in the year."
    )
    assert verdict("Revenue was $1.13 billion in fiscal 2024; utilities ordered 12% more.", [], context).score == 1.0
    assert verdict("Goodwill stands at $248 million.", [], context).score == 1.0
    assert verdict("Goodwill stands at $248 billion.", [], context).score == 0.5
    assert verdict("Demand depends on budgets.", [], context).reason == "not checkable: it states no figure"
    assert verdict("Net sales were $1.31 billion in fiscal 2024.", [], context).passed is False


def test_through_the_engine(tmp_path: Path) -> None:
    def record(text: str, metadata: dict[str, Any]) -> Record:
        return Record(messages=[system("Excerpts"), user("How did revenue grow?"), assistant(text)], metadata=metadata)

    known: dict[str, Any] = {"xbrl": {"facts": FACTS, "derived": [], "expected": GROWTH}}
    vague: dict[str, Any] = {"xbrl": {"facts": FACTS, "derived": [], "expected": []}}
    texts = [record("It rose 4.5%.", known), record("It rose 9.5%.", known), record("It rose, I think.", vague),
             record("It rose 4.5%!", {}), record("It rose 4.5% ...", {"xbrl": {"facts": [{}]}})]  # fmt: skip
    (tmp_path / "keep").mkdir()
    (tmp_path / "reject").mkdir()
    kept = judge_scripted([{"name": "xbrl"}], texts, tmp_path / "keep")
    assert [one.fault for one in kept] == ["", "xbrl/failed", "", "xbrl/undecided", "xbrl/undecided"]
    assert "4.49%" in kept[1].detail and "9.5%" in kept[1].detail  # both figures
    strict = judge_scripted([{"name": "xbrl", "unchecked": "reject"}], texts, tmp_path / "reject")
    assert [one.fault for one in strict] == ["", "xbrl/failed", "xbrl/undecided", "xbrl/undecided", "xbrl/undecided"]
