"""The generator financial_qa: computed records and their proof, templates, the teacher, every way to lose a task."""

import ast
import re
from collections import Counter
from datetime import date
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from generators.financial_qa import BUNDLED, FinancialQA, Params
from generators.financial_qa.computed import question, tellings, vocabulary
from generators.financial_qa.formulas import NotComputable, compute, parsed, shifted
from generators.financial_qa.library import open_library
from generators.financial_qa.metrics import find, metrics
from generators.financial_qa.segments import breakdown
from generators.financial_qa.solve import solve
from generators.financial_qa.tasks import Asked
from generators.financial_qa.telling import Telling, short_name
from generators.financial_qa.templates import bundled_templates, read_templates, templates_of
from generators.financial_qa.universe import read_constituents
from gristmill.config import load_config
from gristmill.errors import ConfigError
from gristmill.plan import make_plan
from gristmill.seeds import BadSeed
from gristmill.testing import ScriptedModel, check_generator, judge_scripted, run_scripted
from schemas import JsonObject, Message, Record
from schemas.run_config import RunConfig

ROOT = Path(__file__).parents[1]
SERVED = {"endpoint": "http://scripted.invalid/v1", "model": "scripted"}
ROLES = dict.fromkeys(("default", "paraphraser", "solver", "selector"), SERVED)
PROOF = {"name": "xbrl", "unchecked": "reject"}


def config(tasks: int, judges: list[dict[str, Any]] | None = None, **params: Any) -> dict[str, Any]:
    judged = [PROOF] if judges is None else judges
    return {"generator": "financial_qa", "tasks": tasks, "models": ROLES, "judges": judged, "params": params}


def records(run: Path) -> list[dict[str, Any]]:
    rows = pq.read_table(run / "records").to_pylist()
    return [{**row, "metadata": orjson.loads(row["metadata"])} for row in rows]


def rejects(run: Path) -> list[dict[str, Any]]:
    return list(pq.read_table(run / "rejects").to_pylist())


# --- computed --------------------------------------------------------------------------------------------------------


def test_the_contract(tmp_path: Path) -> None:
    summary = check_generator(config(120, paraphrase=False), tmp_path)
    assert summary["accepted"] >= 115, summary["by_reason"]
    for record in records(tmp_path / "one"):
        metadata = record["metadata"]
        assert [message["role"] for message in record["messages"]] == ["system", "user", "assistant"]
        assert (metadata["mode"], metadata["trace"], record["reasoning"]) == ("computed", "authored", "on")
        assert metadata["company"] in record["messages"][1]["content"]
        assert record["category"] == metadata["cell"]["group"]
        assert [verdict["reason"].split(":")[0] for verdict in record["verdicts"]] == ["confirmed"]
        for told in metadata["xbrl"]["facts"]:  # the reader has every fact that the working uses
            assert shown_in(record["messages"][0]["content"], told), (metadata["template"], told)


def shown_in(excerpts: str, fact: dict[str, Any]) -> bool:
    """Whether the fact's figure stands there, in ones, thousands or millions."""
    digits = (f"{abs(Decimal(fact['value'])).scaleb(-power):,f}" for power in (0, 3, 6))
    return any((text.rstrip("0").rstrip(".") if "." in text else text) in excerpts for text in digits)


Series = dict[int, float]
"""A metric's values by how many years they lie from the record's period."""


def evaluate(node: ast.expr, told: dict[str, Series]) -> float:
    """A formula in floating point, independently of the generator's own arithmetic."""
    match node:
        case ast.Constant(value=int(number)):
            return number
        case ast.Name(id=key):
            return told[key][0]
        case ast.Subscript(value=ast.Name(id=key), slice=ast.UnaryOp(operand=ast.Constant(value=int(years)))):
            return told[key][-years]
        case ast.Call(args=[ast.Name(id=key)]):
            return (told[key][0] + told[key][-1]) / 2
        case ast.BinOp(left=left, op=operator, right=right):
            one, other = evaluate(left, told), evaluate(right, told)
            match operator:
                case ast.Add():
                    return one + other
                case ast.Sub():
                    return one - other
                case ast.Mult():
                    return one * other
            return one / other
    raise AssertionError(ast.dump(node))


def recomputed(metadata: dict[str, Any], formula: str) -> float:
    """The formula over the record's own facts."""
    rows = metadata["xbrl"]["facts"]
    last = max(date.fromisoformat(row["end"]) for row in rows)
    told: dict[str, Series] = {}
    keys = {metric.name: key for key, metric in metrics().items()}
    for row in rows:
        years = round((date.fromisoformat(row["end"]) - last).days / 365.25)
        told.setdefault(keys[row["names"][0]], {})[years] = float(row["value"])
    return evaluate(ast.parse(formula, mode="eval").body, told)


def recompute(metadata: dict[str, Any]) -> bool:
    """Whether the last expected value of a simple shape follows from the facts; False for shapes not covered here."""
    shape, formula = metadata["cell"]["shape"], metadata["formula"]
    expected = [float(row["value"]) for row in metadata["xbrl"]["expected"]]
    if shape in ("value", "lookup"):
        assert expected[-1] == pytest.approx(recomputed(metadata, formula)), metadata["template"]
    elif shape in ("growth", "change"):
        after, before = recomputed(metadata, formula), recomputed(metadata, shifted(formula, -1))
        result = (after - before) / (before if shape == "growth" else 1)
        assert expected[-1] == pytest.approx(result, rel=1e-6, abs=1e-9), metadata["template"]
    elif shape in ("trend", "total"):
        series = [recomputed(metadata, shifted(formula, years) if years else formula) for years in (-2, -1, 0)]
        wanted = sorted(series) if shape == "trend" else [sum(series)]
        assert expected == pytest.approx(wanted), metadata["template"]
    elif shape == "cagr":
        first = recomputed(metadata, shifted(formula, -2))
        assert expected[-1] == pytest.approx((recomputed(metadata, formula) / first) ** 0.5 - 1), metadata["template"]
    else:
        return False
    return True


@pytest.mark.shared
def test_records_of_real_filings_are_recomputed_from_their_facts(tmp_path: Path, shared_data: Path) -> None:
    """AAPL and NVDA: every fact stands in the company facts or the filing, every result follows from the facts."""
    universe = shared_data / "finance/constituents.csv"
    folder = tmp_path / "filings"
    folder.mkdir()
    for path in [
        *(shared_data / "finance/companyfacts").iterdir(),
        *(shared_data / "finance/filings").glob("[an][av][pd][la]*"),
    ]:
        (folder / path.name).symlink_to(path)
    params: dict[str, Any] = {
        "filings": [str(folder)],
        "universe": str(universe),
        "paraphrase": False,
        "years": list(range(2015, 2026)),
    }
    run_scripted(config(260, **params), tmp_path / "run")
    made = records(tmp_path / "run")
    assert len(made) >= 250
    assert min(Counter(record["metadata"]["company"] for record in made).values()) > 100  # Apple and Nvidia
    library = open_library([folder], read_constituents(universe).companies)
    by_concept: dict[tuple[str, str, str | None, str], set[Decimal]] = {}
    for filing in library.filings.values():
        for fact in filing.facts:
            place = (filing.cik, fact.concept, fact.start.isoformat() if fact.start else None, fact.end.isoformat())
            by_concept.setdefault(place, set()).add(fact.value)
    covered = 0
    for record in made:
        metadata = record["metadata"]
        for row in metadata["xbrl"]["facts"]:
            assert Decimal(row["value"]) in by_concept[metadata["cik"], row["concept"], row["start"], row["end"]]
            assert shown_in(record["messages"][0]["content"], row), (metadata["template"], row)
        covered += recompute(metadata)
    assert covered >= 200, covered


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("bundled")
    run_scripted(config(320, paraphrase=False), folder)
    return records(folder)


def test_bundled_records_are_recomputed_from_their_facts(bundled: list[dict[str, Any]]) -> None:
    assert sum(recompute(record["metadata"]) for record in bundled) >= 220
    shapes = Counter(record["metadata"]["cell"]["shape"] for record in bundled)
    assert shapes["lookup"] <= 0.15 * len(bundled)
    assert {"value", "growth", "change", "trend", "total", "cagr", "compare", "bridge", "segments"} <= set(shapes)


def test_every_computable_template_is_asked_and_solved() -> None:
    generator = FinancialQA(Params())
    tasks = [task for task in generator.tasks() if isinstance(task, Asked)]
    computable = {template.key for template in bundled_templates() if template.computable}
    assert {task.template for task in tasks} == computable and len(computable) >= 120
    assert len(tasks) > 2000
    by_key = {template.key: template for template in bundled_templates()}
    solved = set[str]()
    for task in tasks:
        key, told = task.template, tellings(task, generator.library, 0)
        if key in solved:
            continue
        try:
            solution = solve(by_key[key], told[0], told[1:], Random(0))
        except NotComputable:
            continue
        solved.add(key)
        assert solution.expected and solution.used and solution.result and "{" not in solution.answer, key
        asked = [question(by_key[key], told, number) for number in range(len(by_key[key].ask))]
        assert len(set(asked)) == len(asked) and all(told[0].company in text and "{" not in text for text in asked), key
    assert solved == computable


_NUMBER = r"\(?-?\$?[\d,.]*\d\)?"
_DIFFERENCE = re.compile(rf"^(?:Change|Difference) = ({_NUMBER})[^−]* − ({_NUMBER})[^=]* = ({_NUMBER})", re.MULTILINE)


def test_the_working_is_arithmetic_that_a_reader_can_follow(bundled: list[dict[str, Any]]) -> None:
    checked = 0
    for record in bundled:
        trace = "\n".join(record["metadata"]["steps"])
        answer = record["messages"][-1]["content"]
        assert not re.search(r"[−+×/] -", trace + answer), trace  # a sign never follows a sign
        assert not re.search(r"(?:by|ahead|gap of) [\d.]+ times|\$0 million is", answer), answer
        for match in _DIFFERENCE.finditer(trace):
            one, other, result = (Decimal(re.sub(r"[^\d.-]", "", text)) for text in match.groups())
            assert one - other == result, match[0]
            checked += 1
    assert checked > 50


def test_quarters_that_are_compared_are_not_named_by_a_day_that_one_of_them_does_not_have() -> None:
    generator = FinancialQA(Params())
    compared = [task for task in generator.tasks() if isinstance(task, Asked) and task.peers and task.form == "10-Q"]
    by_key = {template.key: template for template in bundled_templates()}
    for task in compared:
        for style in range(3):
            asked = question(by_key[task.template], tellings(task, generator.library, style), task.wording)
            assert "quarter of fiscal" in asked and "ended" not in asked


def test_parts_that_do_not_give_the_whole_are_no_answer() -> None:
    generator = FinancialQA(Params())
    filing = next(filing for key, filing in generator.library.filings.items() if key.form == "10-K")
    template = next(one for one in bundled_templates() if one.key == "financing_split")
    telling = Telling(filing, "Harrow")
    assert "total assets" in solve(template, telling, [], Random(0)).answer
    astray = template.model_copy(update={"parts": {"total liabilities": "liabilities", "goodwill": "goodwill"}})
    with pytest.raises(NotComputable, match="don't come to total assets"):
        solve(astray, telling, [], Random(0))


def test_questions_on_debt_say_which_debt() -> None:
    for template in bundled_templates():
        if any("long_debt" in formula for formula in template.all_formulas()):
            for ask in template.ask:
                assert re.search(r"long-term debt", ask) and re.search(
                    r"current portion|due within|to repay in", ask
                ), ask


@pytest.mark.shared
def test_what_real_filings_leave_open_is_not_asked(shared_data: Path) -> None:
    """Procter & Gamble tells R&D in words, to a hundred million; Walmart's net sales are not its total revenue."""
    library = open_library([shared_data / "finance/filings"], {})
    filings = {(filing.company.split()[0].lower(), key.form): filing for key, filing in library.filings.items()}
    assert find(filings["procter", "10-K"], metrics()["research"], 0) is None
    assert find(filings["apple", "10-K"], metrics()["research"], 0) is not None
    by_key = {template.key: template for template in bundled_templates()}
    for template in (by_key["gross_margin"], by_key["revenue_growth"], by_key["overhead_ratio"]):
        asked = [question(template, [Telling(filings["walmart", "10-K"], "Walmart")], number) for number in range(8)]
        assert not any("sales" in text.lower() for text in asked), asked


def test_templates_are_many_and_well_formed() -> None:
    templates = bundled_templates()
    assert len(templates) >= 120 and len({template.key for template in templates}) == len(templates)
    assert {"ratios", "growth", "trends", "comparisons", "decomposition", "segments", "risk", "insights"} <= {
        template.group for template in templates
    }
    asked = [text for template in templates for text in template.ask]
    assert len(asked) > 300 and len(set(asked)) == len(asked)
    for template in templates:
        for formula in template.all_formulas():
            parsed(formula)
        for text in template.ask:
            assert "{c}" in text or "{cs}" in text, template.key
            assert "{y}" in text and ("{p}" in text) == template.comparative, (template.key, text)


def test_comparisons_stay_within_a_sub_industry_and_say_where_years_differ() -> None:
    generator = FinancialQA(Params())
    compared = [task for task in generator.tasks() if isinstance(task, Asked) and task.peers]
    assert compared and {frozenset((task.cik, *task.peers)) for task in compared} == {frozenset(("9900001", "9900002"))}
    task = next(task for task in compared if task.template == "compare_operating_margin" and task.form == "10-K")
    told = tellings(task, generator.library, 0)
    template = next(one for one in bundled_templates() if one.key == task.template)
    assert "ended on January" in solve(template, told[0], told[1:], Random(0)).answer


def test_the_finest_breakdown_that_adds_up_is_taken() -> None:
    library = open_library([BUNDLED], read_constituents(BUNDLED / "constituents.csv").companies)
    by_key = {(key.cik, key.form, key.year): filing for key, filing in library.filings.items()}
    harrow, velden = by_key["9900001", "10-K", 2024], by_key["9900002", "10-K", 2024]
    with_eliminations, exact = breakdown(harrow), breakdown(velden)
    assert with_eliminations and [part.name for part in with_eliminations.parts][:1] == ["Laboratory"]
    assert with_eliminations.kinds == "segments" and len(with_eliminations.parts) == 3
    assert (
        exact and exact.kinds == "product lines" and sum(part.after.value for part in exact.parts) == exact.after.value
    )


# --- formulas --------------------------------------------------------------------------------------------------------


def test_a_formula_gives_its_value_and_its_steps() -> None:
    library = open_library([BUNDLED], {})
    filing = next(filing for key, filing in library.filings.items() if key[:3] == ("9900001", "10-K", 2024))
    done = compute("net_income / average(assets)", filing, Telling(filing, "Harrow", scale=3))
    assert done.value == Fraction(147870, 1) / Fraction(1254967 + 1356767, 2)
    assert [step.figures for step in done.steps] == [
        "($1,254,967 thousand + $1,356,767 thousand) / 2", "$147,870 thousand / $1,305,867 thousand",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "formula", ["revenue ** 2", "profit / revenue", "__import__('os')", "revenue[1]", "1.5 * revenue"]
)
def test_what_is_no_arithmetic_over_metrics_is_refused(formula: str) -> None:
    with pytest.raises((ValueError, SyntaxError)):
        parsed(formula)


def test_a_divisor_that_is_not_above_zero_gives_nothing() -> None:
    library = open_library([BUNDLED], {})
    filing = next(filing for key, filing in library.filings.items() if key.form == "10-K")
    with pytest.raises(NotComputable, match="not above zero"):
        compute("revenue / (assets - liabilities - equity)", filing, Telling(filing, "X"))


def test_shifting_moves_every_metric() -> None:
    assert shifted("(revenue - revenue[-1]) / average(assets)", -1) == (
        "(revenue[-1] - revenue[-2]) / ((assets[-2] + assets[-1]) / 2)"
    )


@pytest.mark.parametrize(
    ("registered", "short"),
    [("HARROW CREEK INSTRUMENTS, INC.", "Harrow Creek Instruments"), ("Apple Inc.", "Apple"), ("NVIDIA CORP", "Nvidia"),
     ("Alphabet Inc. (Class A)", "Alphabet"), ("COCA COLA CO", "Coca Cola"), ("3M", "3M")],
)  # fmt: skip
def test_companies_are_called_as_people_call_them(registered: str, short: str) -> None:
    assert short_name(registered) == short


# --- rewordings ------------------------------------------------------------------------------------------------------

ASKED = "By what percentage did Harrow Creek Instruments' net income rise from fiscal 2023 to fiscal 2024?"
NAMES = ["Harrow Creek Instruments'", "Harrow Creek Instruments", "fiscal 2023", "fiscal 2024", "net income", "revenue"]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("From fiscal 2023 to fiscal 2024, by what percentage did Harrow Creek Instruments' net income grow?", False),
        (
            "How much, as a percentage, did Harrow Creek Instruments' net income grow from fiscal 2023 to fiscal 2024?",
            True,
        ),
        ("By what percentage did Harrow Creek Instruments' net income fall from fiscal 2023 to fiscal 2024?", False),
        ("By what percentage did Harrow Creek Instruments' net income rise from fiscal 2024 to fiscal 2023?", False),
        ("By what percentage did Harrow Creek Instruments' revenue rise from fiscal 2023 to fiscal 2024?", False),
        (
            "By what percentage did Harrow Creek Instruments' net income not rise from fiscal 2023 to fiscal 2024?",
            False,
        ),
        ("By what amount did Harrow Creek Instruments' net income rise from fiscal 2023 to fiscal 2024?", False),
        ("By what percentage did net income rise from fiscal 2023 to fiscal 2024?", False),
        ("By what percentage did Harrow Creek Instruments' net income rise from fiscal 2023 to fiscal 2025?", False),
    ],
)
def test_a_rewording_keeps_company_year_metric_direction_and_unit(text: str, same: bool) -> None:
    assert (vocabulary().differences(text, ASKED, names=NAMES, in_order=False) == []) is same


def test_a_rewording_replaces_the_question_only_if_it_asks_the_same(tmp_path: Path) -> None:
    def script(role: str, request: JsonObject) -> Any:
        messages: Any = request["messages"]
        text = str(messages[-1]["content"]).rpartition("\n\n")[2].strip()
        return {
            "text": f"Please tell me: {text}"
            if len(text) % 2
            else text.replace("fiscal", "calendar").replace("FY", "CY")
        }

    run_scripted(config(60), tmp_path, ScriptedModel(script))
    phrasings: Counter[str] = Counter()
    for record in records(tmp_path):
        metadata = record["metadata"]
        phrasings[metadata["phrasing"]] += 1
        assert metadata["question"] in record["messages"][1]["content"]
        if metadata["phrasing"] == "paraphrase":
            assert metadata["question"] == f"Please tell me: {metadata['asked_as']}"
        assert not re.search(r"\bcalendar\b|\bCY\d", record["messages"][1]["content"])
    assert phrasings["paraphrase"] > 10 and phrasings["template"] > 10


# --- teacher ---------------------------------------------------------------------------------------------------------


def teacher(right_at: int = 2, choice: int | None = None) -> ScriptedModel:
    """Candidates that all are wrong but one; a selector that finds the one with the right margin."""
    asked: Counter[str] = Counter()

    def script(role: str, request: JsonObject) -> Any:
        messages: Any = request["messages"]
        if role == "paraphraser":
            text = messages[-1]["content"].rpartition("\n\n")[2].strip()
            return {"questions": [f"Please tell me: {text}", text.replace("fiscal", "calendar"), f"{text} Please."]}
        if role == "solver":
            asked[messages[-1]["content"]] += 1
            number = asked[messages[-1]["content"]]
            content = "The result is 12.3%." if number != right_at else "I can't tell. RIGHT"
            return Message(role="assistant", content=f"{content} {number}", reasoning_content=f"thought {number}")
        prompt = messages[-1]["content"]
        places = [n for n, part in enumerate(re.split(r"\n\nAnswer \d+:\n", prompt)[1:], start=1) if "RIGHT" in part]
        return {"reason": "its figures are right", "winner": choice or places[0]}

    return ScriptedModel(script)


def test_the_teachers_best_candidate_is_the_record(tmp_path: Path) -> None:
    params = {"mode": "teacher", "candidates": 5, "rewordings": 2, "context_tokens": 2000}
    model = teacher()
    summary = run_scripted(config(12, [], **params), tmp_path, model)
    assert summary["accepted"] == 12
    made = records(tmp_path)
    assert len(made) > 20  # rewordings are records of their own
    for record in made:
        metadata = record["metadata"]
        assert "RIGHT" in record["messages"][-1]["content"] and len(metadata["candidates"]) == 4
        assert record["messages"][-1]["reasoning_content"] == "thought 2"
        assert metadata["question"] == record["messages"][1]["content"] and "calendar" not in metadata["question"]
        assert metadata["chosen_for"] and metadata["sections"] and metadata["xbrl"]["facts"] is not None
    solver = [request for role, request in model.calls if role == "solver"]
    seeds = Counter(str(request["messages"]) for request in solver)
    assert set(seeds.values()) == {5} and len({request["seed"] for request in solver}) > 0.9 * len(solver)
    shown = [record["messages"][:2] for record in made]
    sent: Any = [request["messages"] for request in solver]
    assert all([{"role": m["role"], "content": m["content"]} for m in one] in sent for one in shown)


def test_a_choice_that_depends_on_the_order_is_lost(tmp_path: Path) -> None:
    params = {"mode": "teacher", "candidates": 5, "rewordings": 0, "reconfirm": True, "context_tokens": 2000}
    run_scripted(config(10, [], **params), tmp_path, teacher(choice=1))
    lost = Counter((row["stage"], row["reason"]) for row in rejects(tmp_path))
    assert lost["select", "no_agreement"] >= 5
    run_scripted(config(10, [], **params), tmp_path / "agreed", teacher())
    assert len(records(tmp_path / "agreed")) == 10


def test_a_teachers_wrong_figures_are_rejected(tmp_path: Path) -> None:
    def script(role: str, request: JsonObject) -> Any:
        return "The margin was 12.345%, on revenue of $9,876.5 million."

    judges = [{"name": "xbrl"}]
    params = {"mode": "teacher", "candidates": 1, "rewordings": 0, "context_tokens": 2000}
    run_scripted(config(100, judges, **params), tmp_path, ScriptedModel(script))
    lost = [row for row in rejects(tmp_path) if row["stage"] == "xbrl"]
    assert len(lost) >= 99 and all("contradicted" in row["detail"] for row in lost)


# --- losses and bad input --------------------------------------------------------------------------------------------


def test_bad_files_are_rejected_tasks_with_their_reason(tmp_path: Path) -> None:
    folder = tmp_path / "filings"
    folder.mkdir()
    (folder / "a.html").write_bytes((BUNDLED / "lkfd-10-k-2024.html").read_bytes())
    (folder / "b.html").write_bytes(b"<html>nothing</html>")
    summary = run_scripted(config(40, filings=[str(folder)], paraphrase=False), tmp_path / "run")
    assert summary["by_reason"] == {"filing/no_text": 1} and summary["failed"] == 0
    assert all(record["metadata"]["company"] == "Larkfield Pantry" for record in records(tmp_path / "run"))


def test_years_and_forms_limit_the_tasks() -> None:
    tasks = list(FinancialQA(Params(years=[2023], forms=["10-K"])).tasks())
    assert tasks and {(task.year, task.form) for task in tasks if isinstance(task, Asked)} == {(2023, "10-K")}
    assert list(FinancialQA(Params(years=[1999])).tasks()) == []


def test_templates_of_others_are_generalized(tmp_path: Path) -> None:
    path = tmp_path / "seeds.csv"
    path.write_text(
        'Question,Source Docs,Question Type\n"How has Apple\'s total net sales changed over time?",*AAPL*,Table\n'
        '"What did Apple, Inc. say on {risk}?",*AAPL*,Text\n,*AAPL*,Text\n'
    )
    found, bad = templates_of(str(path))
    assert [one.ask[0] for one in found] == [
        "How has {cs} total net sales changed over time? (The question is about {y}.)",
        "What did {c} say on (risk)? (The question is about {y}.)",
    ]
    assert len(bad) == 1 and isinstance(bad[0], BadSeed)
    rows = tmp_path / "seeds.jsonl"
    rows.write_text('{"question": "Is liquidity adequate?", "section": "Item 7", "category": "liquidity"}\n')
    (one,) = read_templates(str(rows))
    assert not isinstance(one, BadSeed)
    assert (one.sections, one.group, one.ask) == (
        ["7"],
        "liquidity",
        ["About {c}: Is liquidity adequate? (The question is about {y}.)"],
    )
    empty = tmp_path / "none.jsonl"
    empty.write_text('{"answer": 3}\n')
    with pytest.raises(ConfigError, match=r"params\.templates"):
        templates_of(str(empty))


def test_computing_needs_formulas_and_changed_files_change_the_run(tmp_path: Path) -> None:
    seeds = tmp_path / "seeds.jsonl"
    seeds.write_text('{"question": "Is liquidity adequate?"}\n')
    with pytest.raises(ConfigError, match="set mode: teacher"):
        next(FinancialQA(Params(templates=str(seeds))).tasks())
    assert next(FinancialQA(Params(templates=str(seeds), mode="teacher")).tasks())
    for name in ("universe", "templates"):
        with pytest.raises(ConfigError, match=rf"params\.{name}: .*doesn't exist"):
            make_plan(RunConfig.model_validate({**config(3), "params": {name: str(tmp_path / "none.csv")}}))
    folder = tmp_path / "filings"
    folder.mkdir()
    (folder / "a.html").write_bytes((BUNDLED / "lkfd-10-k-2024.html").read_bytes())
    plans = [make_plan(RunConfig.model_validate(config(3, filings=[str(folder)]))).fingerprint]
    (folder / "a.html").write_bytes((BUNDLED / "lkfd-10-k-2023.html").read_bytes())
    plans.append(make_plan(RunConfig.model_validate(config(3, filings=[str(folder)]))).fingerprint)
    assert plans[0] != plans[1]


@pytest.mark.shared
def test_real_seed_questions_become_templates(shared_data: Path) -> None:
    found, bad = templates_of(str(shared_data / "finance/docugami_10q/questions.csv"))
    assert len(found) >= 200 and len(found) + len(bad) == 240
    assert not any(re.search(r"AAPL|Apple|\b20\d\d\b", one.ask[0]) for one in found)


def test_recipes_are_valid() -> None:
    for name in ("financial_qa", "financial_qa_teacher"):
        loaded = load_config(ROOT / f"recipes/generate/{name}.yaml", [], RunConfig)
        Params.model_validate(loaded.params)
        assert list(islice(FinancialQA(Params.model_validate(loaded.params)).tasks(), 3))


def test_the_examples_pass_their_own_judges(tmp_path: Path) -> None:
    lines = (FinancialQA.folder() / "examples.jsonl").read_bytes().splitlines()
    examples = [Record.model_validate_json(line) for line in lines]
    assert len(examples) == 3
    assert [judged.fault for judged in judge_scripted([PROOF], examples, tmp_path)] == ["", "", ""]
    assert len({example.category for example in examples}) == 3


def test_the_page_says_what_the_code_does() -> None:
    page = (ROOT / "docs/financial_qa.md").read_text("utf-8")
    templates = bundled_templates()
    assert f"<!-- count -->{len(templates)}<!-- end -->" in page
    assert f"with {sum(len(template.ask) for template in templates)} wordings" in page
    assert f"and {sum(not template.computable for template in templates)} on risk and insight" in page
    assert f"over {len(metrics())} metrics" in page
    source = "".join(path.read_text("utf-8") for path in FinancialQA.folder().rglob("*.py"))
    for stage, reason in re.findall(r'Reject\(\s*"(\w+)", "(\w+)"', source):
        assert f"`{stage}`" in page and f"`{reason}`" in page, (stage, reason)
    for name in Params.model_fields:
        assert f"`{name}`" in page, name
