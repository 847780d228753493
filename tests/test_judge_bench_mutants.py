"""The judges that run things, on the gold answers of public benchmarks and on mutants of these.

A mutant is labelled wrong by other means than the judge's: HumanEval's by EvalPlus' further inputs, defog's by what it
returns on databases from which rows were taken. Mutants that do the same there are left out.
"""

import gzip
import json
import os
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from gristmill.sandbox import engines
from judges.bench.command import BenchKeys, bench
from judges.bench.figures import Decision, figures
from judges.mutants import mutants
from judges.sql_clock import frozen
from judges.sql_server import Server
from judges.sql_world import Refuted, Row, comparable
from judges.sqlite_engine import SQLite
from tests import defog, sql_mutants
from tests.defog import CLOCK, LIMITS, cases
from tests.test_judges_tool_calls import gold
from tests.test_judges_tool_calls import mutants as faulty_calls

pytestmark = [pytest.mark.shared, pytest.mark.slow]


@pytest.fixture(scope="module")
def databases(postgres_server: Server) -> dict[str, str]:
    return defog.databases(Path(os.environ["GRISTMILL_SHARED"]), postgres_server)


def row(ask: str, answer: str, right: bool, category: str, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]
    return {"messages": messages, "label": {"right": right, "category": category}, **more}


def measure(folder: Path, rows: list[dict[str, Any]], judge: dict[str, Any]) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    found = bench(BenchKeys(labelled=[str(path)]), {"judges": [judge]}, folder / "run", "test", quiet=True)
    measured = found[judge["name"]]
    print(judge["name"], {key: measured[key] for key in ("n", "right", "undecided", "precision", "recall", "kappa")})
    return measured


# ---- code


def problems(shared_data: Path, name: str) -> list[dict[str, Any]]:
    with gzip.open(shared_data / "code_benchmarks" / name, "rt") as lines:
        return [json.loads(line) for line in lines]


def further_tests(problem: dict[str, Any], plus: dict[str, Any]) -> str:
    """EvalPlus' inputs, with what the canonical solution gives for them."""
    reference = problem["prompt"] + problem["canonical_solution"]
    inputs = (plus["base_input"] + plus["plus_input"])[:60]
    return (
        f"def check(candidate):\n    import copy\n    names = {{}}\n    exec({reference!r}, names)\n"
        f"    reference = names[{problem['entry_point']!r}]\n    for given in {inputs!r}:\n"
        "        wanted = reference(*copy.deepcopy(given))\n        got = candidate(*copy.deepcopy(given))\n"
        "        assert got == wanted or abs(got - wanted) < 1e-6\n"
    )


@pytest.mark.bubblewrap
def test_humaneval_and_its_mutants(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With EvalPlus' inputs as the tests, labelled by HumanEval's; and the other way round, which shows how much a
    verdict owes to its tests: HumanEval's pass one mutant in thirty that EvalPlus' notice."""
    monkeypatch.setenv(engines.CHOICE, engines.WEAKER)
    plus = {one["task_id"]: one for one in problems(shared_data, "HumanEvalPlus-Mini.jsonl.gz")}
    passed: dict[str, dict[str, bool | None]] = {}
    originals = set()
    for name in ("few", "many"):
        rows = []
        for problem in problems(shared_data, "HumanEval.jsonl.gz"):
            solution = problem["prompt"] + problem["canonical_solution"]
            originals.add(f"```python\n{solution}\n```")
            tests = problem["test"] if name == "few" else further_tests(problem, plus[problem["task_id"]])
            code = {"code": {"entry_point": problem["entry_point"], "tests": tests}}
            rows += [
                row(problem["prompt"], f"```python\n{one}\n```", one == solution, "", metadata=code)
                for one in (solution, *islice(mutants(solution), 2))
            ]
        measure(tmp_path / name, rows, {"name": "python_tests", "limits": {"seconds": 3}})
        judged = pq.read_table(tmp_path / name / "run/records").to_pylist()
        passed[name] = {one["messages"][1]["content"]: one["verdicts"][-1]["passed"] for one in judged}
    for name, other in (("few", "many"), ("many", "few")):
        known = [
            Decision(right=code in originals, passed=verdict, score=None)
            for code, verdict in passed[name].items()
            if code in originals or passed[other][code] is False
        ]
        found = figures(known, precision=0.98)
        print("HumanEval by", name, "tests", {key: found[key] for key in ("n", "right", "precision", "recall")})
    assert found["n"] > 350 and found["precision"][0] >= 0.98 and found["recall"][0] >= 0.95


# ---- SQL


def with_fewer_rows(context: str, seed: int) -> str:
    """The database with about two thirds of its rows."""
    rng = random.Random(seed)
    return "".join(
        line
        for line in context.splitlines(keepends=True)
        if not line.lstrip().upper().startswith("INSERT") or rng.random() < 0.67
    )


def answers(context: str, query: str) -> list[Row] | None:
    try:
        with SQLite(context, LIMITS) as database:
            return database.run(query)[1]
    except Refuted:
        return None


def differs(context: str, query: str, mutant: str) -> bool:
    """Whether the mutant answers something else on the database, or on one with fewer rows."""
    for database in (context, *(with_fewer_rows(context, seed) for seed in range(3))):
        one, other = answers(database, query), answers(database, mutant)
        if other is None or one is None:
            return other is None
        if sorted(map(repr, comparable(one))) != sorted(map(repr, comparable(other))):
            return True
    return False


def stopped(tree: exp.Expr) -> str:
    return frozen(tree, CLOCK, "sqlite").sql("sqlite")


def wrong_queries(context: str, query: str) -> Iterator[str]:
    tree = sqlglot.parse_one(query, dialect="sqlite")
    for mutant in sql_mutants.mutants(tree):
        try:
            text = mutant.sql("sqlite")
            if differs(context, stopped(tree), stopped(mutant)):
                yield text
        except SqlglotError:
            continue


@pytest.mark.postgres
def test_defog_and_its_mutants(shared_data: Path, databases: dict[str, str], tmp_path: Path) -> None:
    rows = []
    for number, (context, query) in enumerate(cases(shared_data, databases)):
        claim = {"sql": {"dialect": "sqlite", "context": context, "query": query}}
        if answers(context, stopped(sqlglot.parse_one(query, dialect="sqlite"))) in ([], [(None,)], [(0,)], None):
            continue
        rows.append(row(f"Question {number}", f"```sql\n{query}\n```", True, "gold", metadata=claim))
        rows += [
            row(f"Question {number}", f"```sql\n{mutant}\n```", False, "mutant", metadata=claim)
            for mutant in islice(wrong_queries(context, query), 2)
        ]
    assert len(rows) > 200
    judge = {
        "name": "sql_execution",
        "frozen_clock": CLOCK.isoformat(),
        "sensitivity": False,
        "rows": 10_000,
        "seconds": 5,
    }
    found = measure(tmp_path, rows, judge)
    assert found["precision"][0] >= 0.98 and found["recall"][0] >= 0.95


# ---- calls


def test_bfcl_and_its_mutants(shared_data: Path, tmp_path: Path) -> None:
    rows = []
    for number, (tools, call) in enumerate(gold(shared_data / "tools/bfcl")):
        variants = [(True, "gold", call), *((False, kind, mutant) for kind, mutant in faulty_calls(tools, call)[:3])]
        for right, category, one in variants:
            made = row(f"Request {number}", "", right, category, tools=[tool.model_dump(mode="json") for tool in tools])
            made["messages"][1]["tool_calls"] = [one.model_dump(mode="json")]
            rows.append(made)
    found = measure(tmp_path, rows, {"name": "tool_calls"})
    assert found["precision"][0] >= 0.98 and found["recall"][0] >= 0.95
