"""The recipe with the embedded model: whatever it accepts is right, which is computed anew here."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from gristmill.config import load_config
from gristmill.plan import make_plan
from judges.constraints import CONSTRAINTS, Other, check
from schemas.run_config import RunConfig
from tests.conftest import CLI, ROOT
from tests.refresh_proofs import PROOFS
from tests.runs import rows_of

TASKS = 24


def is_right(record: dict[str, Any]) -> bool:
    """By proofs, options and counts, without what the generator reads claims with; chat has nothing to be checked."""
    metadata, answer = orjson.loads(record["metadata"]), record["messages"][-1]["content"]
    match metadata["check"]:
        case "choice":
            letter = metadata["reference"][0]
            right = metadata["choices"]["ABCDE".index(letter)]
            return right.casefold() in answer.casefold() or letter in answer.split()[-1] or letter == answer.strip()[0]
        case "reference":
            value = PROOFS.get(metadata["id"])
            return metadata["claim"] in answer and (value is None or str(float(value)).removesuffix(".0") in answer)
        case "constraints":
            rules = [
                rule for rule in CONSTRAINTS.validate_python(metadata["constraints"]) if not isinstance(rule, Other)
            ]
            return not any(check(rule, answer) for rule in rules)
    return bool(answer.strip())


def test_the_recipe_for_own_prompts_takes_them(tmp_path: Path) -> None:
    seeds = tmp_path / "own.csv"
    seeds.write_text('question,answer\n"What is 6 × 7?",42\n"Who wrote Emma?",Jane Austen\n', encoding="utf-8")
    config = load_config(ROOT / "recipes/generate/refresh_own.yaml", [f"seeds={seeds}"], RunConfig)
    tasks = list(make_plan(config).generator.tasks())
    assert [getattr(task, "reference", None) for task in tasks] == [["42"], ["Jane Austen"]]


@pytest.mark.embedded
@pytest.mark.bubblewrap
@pytest.mark.slow
def test_the_recipe_runs_offline_and_accepts_nothing_wrong(cli: CLI, tmp_path: Path) -> None:
    recipe = ROOT / "recipes/generate/refresh.yaml"
    done = cli("generate", recipe, f"tasks={TASKS}", "models.teacher.max_tokens=120", "--run", "run", timeout=580)
    assert done.returncode == 0, done.stderr
    summary = orjson.loads((tmp_path / "run/summary.json").read_bytes())
    assert summary["tasks"] == TASKS and summary["failed"] == 0 and summary["rejected"] > 0
    records = rows_of(tmp_path / "run")
    assert all(map(is_right, records)), [record["messages"] for record in records if not is_right(record)]
