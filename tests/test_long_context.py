"""The generator as a whole: the contract, its recipe, its examples, and its records as training data."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from generators.long_context import LongContext, Params
from generators.long_context.context import token_counter
from generators.long_context.documents.library import Documents
from generators.long_context.documents.questions import find_quote
from generators.long_context.sequential import TASKS
from generators.long_context.tables.crowd import Crowd
from generators.long_context.tables.templates import FAMILIES
from gristmill.config import load_config, validate
from gristmill.errors import ConfigError, GristmillError
from gristmill.plan import make_plan
from gristmill.render import RenderError, load_renderer
from gristmill.testing import check_generator, run_scripted
from gristmill.text.evidence import EvidenceDepths
from judges.fields import answer as answer_of
from schemas import Record
from schemas.arrow import records_to_table, row_to_record
from schemas.run_config import RunConfig
from schemas.sft_config import SFTConfig
from tests.conftest import CLI, ROOT
from tests.long_context_solvers import notes_of, solve
from tests.runs import rows_of

pytestmark = pytest.mark.embedded  # its tokenizer

RECIPE = ROOT / "recipes/generate/long_context.yaml"


def config(**changes: Any) -> dict[str, Any]:
    params = {"lengths": [2048, 4096], **changes.pop("params", {})}
    return {"generator": "long_context", "tasks": 16, "params": params, **changes}


def test_the_contract_holds(tmp_path: Path) -> None:
    summary = check_generator(config(), tmp_path)
    assert summary["accepted"] >= 15 and summary["failed"] == 0
    assert sum(map(sum, summary["evidence"].values())) > 100


def test_kinds_lengths_and_depths_come_evenly() -> None:
    params = Params()
    tasks = [task for task, _ in zip(LongContext(params).tasks(), range(448), strict=False)]
    for axis, values in (("mode", 2), ("kind", 14), ("length", 4), ("depth", 4)):
        counts = Counter(getattr(task, axis) for task in tasks)
        assert len(counts) == values and max(counts.values()) - min(counts.values()) <= 8
    assert len({(task.kind, task.length, task.depth) for task in tasks}) == 14 * 4 * 4


@pytest.fixture(scope="module")
def recipe_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe, cut to a fifth."""
    loaded = load_config(RECIPE, ["samples=70"], RunConfig)
    folder = tmp_path_factory.mktemp("recipe") / "run"
    content = loaded.model_dump(mode="json", exclude_unset=True)
    summary = run_scripted(content, folder)
    assert summary["records"] == 70 and summary["calls"] == 0
    return folder


def test_the_recipes_records_say_what_they_are_and_are_right(recipe_run: Path) -> None:
    counter = token_counter("embedded")
    for row in rows_of(recipe_run):
        record = row_to_record(row)
        metadata: Any = record.metadata
        asked, trace = record.messages[0].content, record.messages[1].reasoning_content
        assert abs(counter.count(asked) - metadata["cell"]["length"]) <= 0.03 * metadata["cell"]["length"]
        assert metadata["trace"] == "authored" and record.reasoning == "on" and trace
        assert metadata["hops"] == len(metadata["context"]["evidence"]) >= 1
        assert all(0 <= place < metadata["context"]["tokens"] for place in metadata["context"]["evidence"])
        if metadata["mode"] == "sequential":
            assert solve(metadata["cell"]["kind"], metadata, list(notes_of(asked).values())) == metadata["answer"]
        else:
            family, _, template = metadata["template"].partition("/")
            assert template in FAMILIES[family] and metadata["sql"].startswith(("SELECT", "WITH"))


def test_questions_are_varied_and_no_constant_answer_does(recipe_run: Path) -> None:
    summary = json.loads((recipe_run / "summary.json").read_bytes())
    for category, figures in summary["diversity"].items():
        asked = figures["questions"]
        assert asked["distinct_3"] >= 0.45 and asked["self_bleu_4"] <= 0.7 and asked["neighbour"] <= 0.35, category
    assert not any(axis["missing"] for axis in summary["coverage"].values())
    answers = Counter(str(json.loads(row["metadata"])["answer"]) for row in rows_of(recipe_run))
    assert answers.most_common(1)[0][1] <= 7
    lengths = {length: sum(counts) for length, counts in summary["evidence"].items()}
    assert list(lengths) == ["4K", "8K", "16K", "32K"] and all(count > 50 for count in lengths.values())


def test_the_teachers_recipe_is_a_plan_once_it_has_documents(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    changes = [f"params.documents.sources=[{tmp_path / 'corpus'}]"]
    loaded = load_config(ROOT / "recipes/generate/long_context_teacher.yaml", changes, RunConfig)
    assert make_plan(loaded).generator.name == "long_context"


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"modes": ["documents"]}, "params.documents.sources"),
        ({"table": "nowhere.parquet"}, "nowhere.parquet doesn't exist"),
        ({"lengths": [100]}, "lengths"),
        ({"tokenizer": "train:600"}, "nothing to train"),
        ({"tasks": ["guess"]}, "tasks"),
    ],
)
def test_a_wrong_config_is_told(params: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        make_plan(RunConfig.model_validate(config(params=params)))


@pytest.mark.parametrize("params", [{"tokenizer": "no/such folder"}, {"people": "nowhere.jsonl"}])
def test_what_is_missing_ends_the_run_before_the_first_task(tmp_path: Path, params: dict[str, Any]) -> None:
    with pytest.raises(GristmillError, match=r"tokenizer|nowhere\.jsonl"):
        run_scripted(config(params=params), tmp_path / "run")


def test_people_may_come_from_a_dataset(tmp_path: Path) -> None:
    path = tmp_path / "people.jsonl"
    rows = [
        {"name": f"Ada {chr(65 + n % 26)}{n}", "age": 20 + n % 45, "sex": "Female" if n % 2 else "Male",
        "occupation": f"job_{n % 9}",
         "persona": f"Ada number {n} likes maps.", "education_level": "high_school" if n % 3 else "bachelors"}
        for n in range(200)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = check_generator(
        config(tasks=14, params={"modes": ["personas"], "people": str(path), "lengths": [4096]}), tmp_path
    )
    assert summary["accepted"] == 14
    assert all("Ada " in row["messages"][0]["content"] for row in rows_of(tmp_path / "one"))


def test_a_dataset_without_names_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "people.jsonl"
    path.write_text('{"persona": "Somebody who likes maps."}\n')
    with pytest.raises(ConfigError, match="nobody with a name"):
        Crowd(str(path), 0, 4096)


def test_evidence_is_counted_by_length_and_tenth() -> None:
    depths = EvidenceDepths()
    for context in (
        {"tokens": 32_000, "evidence": [0, 3200, 31_999]},
        {"tokens": 500, "evidence": [499]},
        {"tokens": 7},
        {},
    ):
        depths.add(context)
    assert depths.figures() == {"512": [0] * 9 + [1], "32K": [1, 1, 0, 0, 0, 0, 0, 0, 0, 1]}


# --- the page and the examples --------------------------------------------------------------------------------


def test_the_page_names_every_task_template_count_parameter_and_reason() -> None:
    page = (ROOT / "docs/long_context.md").read_text("utf-8")
    assert f"<!-- count -->{sum(map(len, FAMILIES.values()))}<!-- end -->" in page
    assert all(f"`{name}`" in page for name in [*TASKS, *FAMILIES, *Params.model_fields, *Documents.model_fields])
    for path in LongContext.folder().rglob("*.py"):
        source = path.read_text("utf-8")
        reasons = [
            *(reason for pair in re.findall(r'Reject\(\s*"(\w+)", "(\w+)"', source) for reason in pair),
            *re.findall(r'reject\("(\w+)"', source),
            *re.findall(r'Skipped\([\w.]+, "(\w+)"', source),
        ]
        assert all(f"`{reason}`" in page for reason in reasons), path


def examples() -> list[Record]:
    lines = (LongContext.folder() / "examples.jsonl").read_bytes().splitlines()
    return [Record.model_validate_json(line) for line in lines]


def test_the_examples_are_one_of_each_mode_and_right() -> None:
    found = {str(record.metadata["mode"]): record for record in examples()}
    assert set(found) == {"sequential", "personas", "documents"} and len(examples()) == 3
    metadata: Any = found["sequential"].metadata
    notes = list(notes_of(found["sequential"].messages[0].content).values())
    assert solve(metadata["cell"]["kind"], metadata, notes) == metadata["answer"]
    assert str(found["personas"].metadata["answer"]) in str(answer_of(found["personas"]))


def test_the_example_of_documents_has_its_evidence_in_different_sections() -> None:
    record = next(record for record in examples() if record.metadata["mode"] == "documents")
    metadata: Any = record.metadata
    text = record.messages[0].content
    paragraphs = text.split("\n\n")
    places = set()
    for hop in metadata["evidence"]:
        assert len(find_quote(hop["quote"], text)) == 1
        places.add(next(n for n, paragraph in enumerate(paragraphs) if find_quote(hop["quote"], paragraph)))
    assert len(places) == len(metadata["evidence"]) == metadata["hops"] >= 4
    assert str(metadata["answer"]) in str(answer_of(record))


# --- as training data -------------------------------------------------------------------------------------------------


def record_of(length: int) -> Record:
    from random import Random

    from generators.long_context import Cell

    generator = LongContext(Params(lengths=[length], steps=60))
    cell = Cell(mode="sequential", kind="ledger", length=length, depth="even", index=0)
    return generator._sequential(cell, Random(0))


def sft_config(tmp_path: Path, records: list[Record], pack_tokens: int, tokenizer: str) -> SFTConfig:
    for split, rows in (("train", records), ("valid", [])):
        (tmp_path / "blend" / split).mkdir(parents=True)
        pq.write_table(records_to_table(rows), tmp_path / "blend" / split / "0.parquet")
    content = {
        "out": str(tmp_path / "out"), "precision": "fp32",
        "data": {"blend": str(tmp_path / "blend"), "tokenizer": tokenizer, "pack_tokens": pack_tokens},
        "model": {"mtp": {"depths": 1}},
        "stages": [{"name": "long", "loss": "sample", "global_batch": 1, "lr": 1e-4, "steps": 1}],
    }  # fmt: skip
    return validate(content, SFTConfig, "test")


def test_a_record_of_512k_tokens_renders_and_packs(tmp_path: Path) -> None:
    from sft.prep import prepare

    record = record_of(524_288)
    renderer = load_renderer("embedded", "nemotron3", "keep")
    (sequences,) = renderer.render([record])
    assert not isinstance(sequences, RenderError)
    (sequence,) = sequences
    learned = "".join(renderer.tokenizer.decode(sequence.ids[sequence.supervised.astype(bool)].tolist()).split())
    assert 524_288 < len(sequence.ids) < 532_000
    assert "".join(f"{record.messages[1].reasoning_content}</think>{record.messages[1].content}".split()) in learned
    _, stages = prepare(sft_config(tmp_path, [record], 532_480, "embedded"))
    assert stages["long"].summary.train.packs == 1 and stages["long"].summary.train.tokens == len(sequence.ids)


@pytest.mark.slow
def test_a_record_of_32k_tokens_trains_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one narrow head of attention, whose time grows with the square of the length."""
    import torch

    import sft.model
    from sft.prep import prepare
    from sft.train import Training
    from sft.train_command import SilentDisplay
    from sft.world import World

    tiny = sft.model.tiny_config

    def narrow(vocabulary: sft.model.Vocabulary) -> Any:
        small = {"num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 16}
        layers = ["linear_attention", "moe", "full_attention"]
        return type(tiny(vocabulary))(**{**tiny(vocabulary).to_dict(), **small, "layers_block_type": layers})

    monkeypatch.setattr(sft.model, "tiny_config", narrow)
    made = sft_config(tmp_path, [record_of(20_480)], 36_864, "train:600")
    renderer, data = prepare(made)
    assert 32_768 < data["long"].summary.train.tokens < 36_864
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two of them wait for each other on a busy machine
    Training(made, renderer, data, World(0, 1, torch.device("cpu")), SilentDisplay()).run()
    torch.set_num_threads(threads)
    (line,) = (json.loads(one) for one in (made.out / "metrics.jsonl").read_text().splitlines())
    assert line["tokens"] > 32_768 and 0 < line["loss"] < 20


def test_a_run_from_the_command_line(cli: CLI, tmp_path: Path) -> None:
    done = cli("generate", RECIPE, "samples=6", "params.lengths=[2048]", "--run", "run", timeout=110)
    assert done.returncode == 0, done.stderr
    assert len(rows_of(tmp_path / "run")) == 6
    shown = cli("show", "long_context")
    assert shown.returncode == 0 and "Answer" in shown.stdout
