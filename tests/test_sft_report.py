"""What a training tells of itself: samples, losses by source, acceptance before and after both healings, lineage."""

import html
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from blends.build import build
from gristmill.config import validate
from schemas import Record, assistant, user
from schemas.arrow import records_to_table
from schemas.blend_config import BlendConfig
from schemas.sft_config import SFTConfig, Stage
from sft import train as train_module
from sft.batches import PackFiles
from sft.documents import Document
from sft.metrics import read_metrics
from sft.samples import MOST, choose
from sft.sources import Sources
from sft.stages import Plan
from tests.test_train import document, run

pytestmark = pytest.mark.usefixtures("one_thread")


def records(count: int, category: str, words: int) -> list[Record]:
    return [
        Record(
            messages=[user(f"<b>{category}</b> {n}?"), assistant(f"{n} is " + "so " * (words + n % 3))],
            category=category,
            license="CC0-1.0",
            generator=category,
        )
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over a blend of two sources: a stage, a healing on the blend's data, and one on the model's own answers."""
    folder = tmp_path_factory.mktemp("reported")
    sources = []
    for name, made in (("short", records(30, "a", 2)), ("long", [*records(16, "b", 20), *records(14, "c", 30)])):
        (folder / name / "records").mkdir(parents=True)
        pq.write_table(records_to_table(made), folder / name / "records/0.parquet")
        sources.append({"name": name, "path": str(folder / name), "weight": len(made)})
    (folder / "short/ledger.sqlite").touch()
    blend = {"out": str(folder / "blend"), "total": 60, "sources": sources, "splits": {"train": 0.7, "valid": 0.3}}
    build(validate(blend, BlendConfig, "test"))
    usual = {"global_batch": 3, "lr": 1e-3}
    own = {"rollouts": {"prompts": str(folder / "blend"), "max_tokens": 6, "drafts": 2}}
    stages: list[dict[str, Any]] = [
        {"name": "token", "steps": 3, **usual},
        {"name": "heal-data", "train": "mtp", "steps": 2, **usual},
        {"name": "heal-own", "train": "mtp", "steps": 2, "data": own, **usual},
    ]
    content = {
        "out": str(folder / "run"),
        "data": {"blend": str(folder / "blend"), "tokenizer": "train:300", "pack_tokens": 256},
        "precision": "fp32",
        "stages": stages,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_module, "ACCEPTANCE_PROMPTS", 3)
        patch.setattr(train_module, "ACCEPTANCE_TOKENS", 9)
        run(validate(content, SFTConfig, "test"))
    return folder / "run"


@pytest.fixture(scope="module")
def summary(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "summary.json").read_bytes())
    return found


@pytest.fixture(scope="module")
def page(out: Path) -> str:
    return (out / "report.html").read_text(encoding="utf-8")


def test_acceptance_is_told_before_and_after_both_healings(summary: dict[str, Any], page: str) -> None:
    """By depth to 7, on the same places: healing changes no answer of the trunk."""
    told = {stage["name"]: stage["acceptance"] for stage in summary["stages"]}
    assert list(told) == ["token", "heal-data", "heal-own"]
    assert all(len(found["rates"]) == 7 and 1 <= found["mean_accepted_length"] <= 8 for found in told.values())
    assert len({found["places"] for found in told.values()}) == 1
    assert len({tuple(stage["answers"]) for stage in summary["stages"]}) == 1
    shown = page[page.index("MTP acceptance by depth") :]
    assert all(f"{found['mean_accepted_length']:.2f}" in shown for found in told.values())


def test_losses_by_source_are_parts_of_the_whole(summary: dict[str, Any], page: str, out: Path) -> None:
    found = summary["stages"][0]["held_out"]
    assert list(found["by_source"]) == ["long", "short"]
    assert found["by_source"]["short"] == pytest.approx(found["by_category"]["a"])  # the only one of its category
    assert min(found["by_source"].values()) <= found["per_token"] <= max(found["by_source"].values())
    assert "Held-out loss by source" in page


def test_the_training_loss_by_source_is_in_the_log_and_the_report(out: Path, page: str) -> None:
    """Over all steps of the token stage the sources' losses, weighed by their tokens, are the loss."""
    lines = [line for line in read_metrics(out / "metrics.jsonl") if line.stage == "token"]
    packs = PackFiles(out / "data/token", Sources.of(out.parent / "blend", "train"))
    plan = Plan(Stage(name="token", global_batch=3, lr=1, steps=3), len(packs), (0, 0))
    for number, line in enumerate(lines):
        assert line.loss is not None and set(line.loss_by_source) == {"long", "short"}
        tokens: Counter[str] = Counter()
        for held in (one for pack in plan.packs_of(number) for one in packs.documents(pack)):
            tokens[held.source] += int(held.loss_mask.sum())
        parts = sum(tokens[name] * loss for name, loss in line.loss_by_source.items())
        assert parts / tokens.total() == pytest.approx(line.loss, rel=1e-6)
    assert all(line.loss_by_source == {} for line in read_metrics(out / "metrics.jsonl") if line.stage != "token")
    assert page.index("<h2>Loss by source") < page.index("Held-out loss by source")


def test_each_row_of_a_blend_has_its_source(out: Path) -> None:
    blend = out.parent / "blend"
    for split in ("train", "valid"):
        sources = Sources.of(blend, split)
        rows = pq.read_table(blend / split, columns=["uuid", "generator"]).to_pylist()
        expected = {"a": "short", "b": "long", "c": "long"}
        assert [sources.source(row["uuid"]) for row in rows] == [expected[row["generator"]] for row in rows]
        assert sources.source("0" * 32) == ""
    assert Sources.of(out, "train").source(rows[0]["uuid"]) == ""


def test_samples_are_answered_after_each_stage(summary: dict[str, Any], page: str) -> None:
    samples = summary["samples"]
    assert [sample["category"] for sample in samples] == ["a", "a", "b", "b", "c", "c"]
    for sample in samples:
        assert sample["prompt"].rstrip().endswith("<think></think>")
        assert sample["reference"].strip().split()[1] == "is" and "<|im_end|>" not in sample["reference"]
        assert html.escape(sample["prompt"]) in page and f"<b>{sample['category']}</b>" not in page
    assert summary["start"]["answers"] == []  # of a new model
    assert all(len(stage["answers"]) == len(samples) for stage in summary["stages"])
    assert html.escape(summary["stages"][0]["answers"][0]) in page


def test_the_lineage_leads_back_to_runs_and_their_ledgers(out: Path, page: str) -> None:
    lineage = page[page.index("<h2>Lineage") :]
    for name, ledger in (("short", "there"), ("long", "not here")):
        row = lineage[lineage.index(f"<td>{name}</td>") :].split("</tr>")[0]
        assert str(out.parent / name) in row and row.endswith(f"<td>{ledger}</td>")
    assert f"own answers to {out.parent / 'blend'}" in lineage


def test_every_curve_is_there(page: str) -> None:
    assert page.count("<svg") == 9
    for label in ("gradient norm", "learning rate", "tokens per second", "share accepted"):
        assert label in page


def test_samples_are_spread_over_the_categories() -> None:
    def of(category: str, count: int) -> list[Document]:
        return [document([n], [0])._replace(category=category) for n in range(count)]

    chosen = choose([*of("b", 5), *of("a", 1), *of("c", 3)])
    assert [(one.category, one.input_ids[0]) for one in chosen] == [("a", 0), ("b", 0), ("b", 1), ("c", 0), ("c", 1)]
    many = choose([one for n in range(9) for one in of(f"{n}", 2)])
    assert len(many) == MOST and len({one.category for one in many}) == 9
    assert choose([]) == []
