"""recipes/sft/proof.py: what its two arms learn from and are asked. The training itself takes too long for a test."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from gristmill.commands.judge import records_in
from schemas import Record, assistant, user
from schemas.base import JsonObject

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def proof() -> ModuleType:
    spec = importlib.util.spec_from_file_location("proof", ROOT / "recipes/sft/proof.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def records(count: int) -> list[Record]:
    """Of four databases, two of them kept for the exam, and of two tiers."""
    databases = ("airline", "hospital", "logistics", "university")
    made = []
    for n in range(count):
        metadata: JsonObject = {
            "mode": "grammar",
            "sql": {"query": f"SELECT {n}"},
            "cell": {"database": databases[n % 4], "concept": "count_rows"},
        }
        tier = "basic" if n % 3 else "advanced"
        messages = [user(f"Question {n}? " + "x" * (n % 50)), assistant(f"```sql\nSELECT {n}\n```")]
        made.append(Record(messages=messages, category=tier, metadata=metadata, license="CC0-1.0"))
    return made


def read(path: Path) -> list[Record]:
    found = list(records_in([path]))
    return [record for record in found if isinstance(record, Record)]


def test_arms_differ_in_their_pairs_alone_and_no_schema_of_the_exam_is_taught(
    proof: ModuleType, tmp_path: Path
) -> None:
    given = records(400)
    size = proof.Size(frozenset({"basic"}), 55, 40, 10)
    proof.write_data(given, size, tmp_path)
    matched, shuffled = (read(tmp_path / arm / "train/records.parquet") for arm in proof.ARMS)
    exam = read(tmp_path / "exam.parquet")
    of_question = {record.messages[0].content: record for record in given}
    assert len(matched) == len(shuffled) == 40 and len(exam) == 10
    for record in matched:
        assert record == of_question[record.messages[0].content]
        assert record.category == "basic" and proof.characters(record) <= 55
    assert [record.messages[0] for record in shuffled] == [record.messages[0] for record in matched]
    answers = [[record.messages[1].content for record in arm] for arm in (matched, shuffled)]
    assert sorted(answers[0]) == sorted(answers[1])
    assert all(right != wrong for right, wrong in zip(*answers, strict=True))
    asked = {proof.database(of_question[record.messages[0].content]) for record in exam}
    taught = {proof.database(record) for record in matched}
    assert asked == {"hospital", "university"} and taught == {"airline", "logistics"}
    assert all(set(record.metadata) == {"mode", "sql"} for record in exam)  # no concept that an answer has to show
    for arm in proof.ARMS:
        assert read(tmp_path / arm / "valid/records.parquet") == exam


def test_too_few_records_are_a_sentence(proof: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="only 16 records and 10 questions: raise GENERATED"):
        proof.write_data(records(50), proof.Size(frozenset({"basic"}), 1000, 40, 10), tmp_path)


def test_both_variants_say_what_the_recipe_promises(proof: ModuleType) -> None:
    assert proof.GPU.records >= 2000 and proof.GPU.questions == 200
    assert proof.CPU.records < proof.GPU.records and proof.CPU.tiers < proof.GPU.tiers
