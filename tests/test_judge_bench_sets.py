"""The bundled labelled sets: what is in them, and how good the judges are that ask no model."""

from collections import Counter
from pathlib import Path

import pytest
import yaml

from gristmill.sandbox import engines
from judges.bench.command import BenchKeys, bench
from judges.bench.sets import bundled_rows, bundled_sets
from schemas.arrow import foreign_row_to_record

RECIPES = Path(__file__).parents[1] / "recipes" / "judge"


@pytest.mark.parametrize("name", bundled_sets())
def test_a_set_holds_different_records_of_both_labels_and_reasons(name: str) -> None:
    rows = list(bundled_rows(name))
    records = [foreign_row_to_record(row) for row in rows]
    assert len({record.uuid for record in records}) == len(rows) >= 60
    labels = Counter(row["label"]["right"] for row in rows)
    assert min(labels.values()) >= 20
    assert all(row["label"].get("reason") or row["label"]["right"] or row["label"].get("attack") for row in rows)
    assert len({row["label"]["id"] for row in rows}) == len(rows)


def test_there_are_hundreds_of_records() -> None:
    assert sum(1 for name in bundled_sets() for _ in bundled_rows(name)) >= 400


@pytest.mark.parametrize(
    ("name", "judge"),
    [
        ("sql", "sql_execution"),
        pytest.param("code", "python_tests", marks=pytest.mark.bubblewrap),
        ("qa", "equivalence"),
        ("tool_calls", "tool_calls"),
    ],
)
def test_rules_and_execution_tell_right_from_wrong(
    name: str, judge: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(engines.CHOICE, engines.WEAKER)
    content = yaml.safe_load((RECIPES / f"bench_{name}.yaml").read_text())
    keys = BenchKeys(labelled=content.pop("labelled"), precision=content.pop("precision"))
    found = bench(keys, content, tmp_path, "test", quiet=True)[judge]
    assert found["undecided"] == 0
    assert found["precision"][0] >= 0.98 and found["recall"][0] >= 0.95, found["by_category"]
