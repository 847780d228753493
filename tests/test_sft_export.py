"""`gristmill export`: what transformers loads, what Megatron-Bridge reads, and the way back from a checkpoint."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from blends.build import build
from gristmill.cli import main
from gristmill.config import validate
from schemas import Record
from schemas.arrow import records_to_table
from schemas.blend_config import BlendConfig
from schemas.sft_config import SFTConfig
from sft import train as train_module
from sft.batches import PackFiles
from tests.test_train import records, run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> SFTConfig:
    """Three stages on a blend of one source: an adapter, a sample stage, healing."""
    folder = tmp_path_factory.mktemp("trained")
    made = [record.model_copy(update={"license": "CC0-1.0"}) for record in records(24)]
    pq.write_table(records_to_table(made), folder / "sums.parquet")
    sources = [{"name": "sums", "path": str(folder / "sums.parquet"), "weight": 1}]
    blend = {"out": str(folder / "blend"), "total": 24, "sources": sources, "splits": {"train": 0.8, "valid": 0.2}}
    build(validate(blend, BlendConfig, "test"))
    usual = {"global_batch": 3, "lr": 1e-3}
    warmup = {"count": 7, "unit": "packs"}
    rollouts = {"prompts": str(folder / "blend"), "max_tokens": 8}
    content = {
        "out": str(folder / "run"),
        "data": {"blend": str(folder / "blend"), "tokenizer": "train:300", "pack_tokens": 256},
        "model": {"init": "tiny", "lora": {"rank": 2}},
        "precision": "fp32",
        "stages": [
            {"name": "adapt", "train": "lora", "steps": 2, **usual},
            {"name": "sample", "loss": "sample", "epochs": 2, "schedule": "cosine", "warmup": warmup, **usual},
            {"name": "heal", "train": "mtp", "steps": 1, "data": {"rollouts": rollouts}, **usual},
        ],
    }
    config = validate(content, SFTConfig, "test")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_module, "ACCEPTANCE_PROMPTS", 2)
        patch.setattr(train_module, "ACCEPTANCE_TOKENS", 4)
        run(config)
    return config


def test_the_last_stage_is_exported_for_transformers(trained: SFTConfig, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(trained.out)]) == 0
    target = trained.out / "export/heal-hf"
    assert f"as hf: {target}" in capsys.readouterr().out
    found, expected = (load_file(one / "model.safetensors") for one in (target, trained.out / "stages/heal"))
    assert found.keys() == expected.keys() and any(name.startswith("mtp.") for name in found)
    assert all(torch.equal(found[name], expected[name]) for name in found)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(target), AutoTokenizer.from_pretrained(target)
    assert model.config.vocab_size == len(tokenizer)
    assert main(["export", str(trained.out)]) == 2
    assert "is there already" in capsys.readouterr().err


def test_lineage_leads_to_the_blends_files(trained: SFTConfig, tmp_path: Path) -> None:
    assert main(["export", str(trained.out / "stages/sample"), "--out", str(tmp_path / "made")]) == 0
    told = json.loads((tmp_path / "made/lineage.json").read_text())
    assert (told["stage"], told["base"]) == ("sample", "tiny")
    assert [stage["name"] for stage in told["stages"]] == ["adapt", "sample"]
    summary = json.loads((trained.out / "data/sample/summary.json").read_text())
    assert told["stages"][1]["packs_key"] == summary["key"]
    (source,) = told["stages"][1]["sources"]
    assert source["name"] == "sums" and source["rows"] == 24
    assert Path(source["path"]).is_file()
    card = (tmp_path / "made/README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["library_name"] == "transformers" and "base_model" not in front
    assert "| sample | all | sample |" in card
    assert not (tmp_path / "made/adapter").exists()


def test_adapters_are_merged(trained: SFTConfig, tmp_path: Path) -> None:
    assert main(["export", str(trained.out / "stages/adapt"), "--out", str(tmp_path / "made")]) == 0
    assert not any("lora" in name for name in load_file(tmp_path / "made/model.safetensors"))
    assert (trained.out / "stages/adapt/adapter").is_dir() and not (tmp_path / "made/adapter").exists()


@pytest.fixture(scope="module")
def handed_over(trained: SFTConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("handed") / "over"
    assert main(["export", str(trained.out), "--to", "megatron-bridge", "--out", str(target)]) == 0
    return target


def as_megatron_reads(folder: Path) -> Iterator[tuple[list[int], list[int]]]:
    """(tokens, the supervised labels) of each sequence, by the rules of Megatron-Bridge's packed dataset: within the
    bounds of `seq_start_id`, tokens are all but the last, labels all but the first, and the mask goes by the tokens."""
    for path in sorted(folder.glob("*.parquet")):
        for row in pq.read_table(path).to_pylist():
            bounds = [*row["seq_start_id"], len(row["input_ids"])]
            for start, end in pairwise(bounds):
                labels = row["input_ids"][start + 1 : end]
                mask = row["loss_mask"][start : end - 1]
                yield row["input_ids"][start:end], [label for label, on in zip(labels, mask, strict=True) if on]


def test_megatron_reads_the_same_targets(trained: SFTConfig, handed_over: Path) -> None:
    packs = PackFiles(trained.out / "data/sample")
    expected = []
    for document in (document for number in range(len(packs)) for document in packs.documents(number)):
        ids, mask = document.input_ids.tolist(), document.loss_mask.tolist()
        expected.append((ids, [following for following, on in zip(ids[1:], mask, strict=False) if on]))
    assert sorted(as_megatron_reads(handed_over / "sample/train")) == sorted(expected)
    assert list(as_megatron_reads(handed_over / "sample/valid"))
    schema = pq.read_schema(next((handed_over / "sample/train").iterdir()))
    assert {"input_ids", "loss_mask", "seq_start_id"} <= set(schema.names)
    assert any(name.startswith("mtp.") for name in load_file(handed_over / "hf/model.safetensors"))


@pytest.mark.skipif("GRISTMILL_MEGATRON" not in os.environ, reason="GRISTMILL_MEGATRON names no folder of its code")
def test_megatrons_own_code_reads_it(trained: SFTConfig, handed_over: Path) -> None:
    script, wheels = Path(__file__).with_name("as_megatron_bridge.py"), os.environ["GRISTMILL_MEGATRON"]
    ran = subprocess.run([sys.executable, script, wheels, "."], cwd=handed_over, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout.splitlines()[-1])
    assert told["weights"] > 100 and told["unmapped"] == told["unknown"] == []
    for split, read in told["stages"]["sample"].items():
        expected = []
        for ids, supervised in as_megatron_reads(handed_over / "sample" / {"train": "train", "val": "valid"}[split]):
            expected.append({"tokens": ids[:-1], "supervised": supervised})
        assert len(read) > 1 and read == expected
    assert set(told["stages"]) == {"adapt", "sample"}


def test_a_stages_config_is_in_megatrons_keys(trained: SFTConfig, handed_over: Path) -> None:
    config: dict[str, Any] = yaml.safe_load((handed_over / "sample/config.yaml").read_text())
    packs = len(PackFiles(trained.out / "data/sample"))
    steps = 2 * -(-packs // 3)
    assert config["train"] == {"train_iters": steps, "global_batch_size": 3, "micro_batch_size": 1}
    assert config["dataset"]["offline_packing_specs"] == {
        "packed_sequence_size": 256,
        "packed_train_data_path": "sample/train",
        "packed_val_data_path": "sample/valid",
    }
    assert config["scheduler"] == {"lr_decay_style": "cosine", "lr_decay_iters": steps, "lr_warmup_iters": 3}
    assert config["model"]["mtp_loss_scaling_factor"] == 0.3
    assert not (handed_over / "heal").exists()


def test_what_is_different_there_is_said(handed_over: Path) -> None:
    page = (handed_over / "README.md").read_text()
    assert "no sample-level loss: sample would train" in page
    assert "MTP loss in SFT is not masked" in page
    assert "own answers (heal)" in page


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("nowhere", "is neither a training's folder"),
        ("run/stages/later", "no finished stage; finished are: adapt, sample, heal"),
        ("blend", "is neither a training's folder"),
    ],
)
def test_what_is_no_checkpoint_is_named(
    trained: SFTConfig, path: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(trained.out.parent / path)]) == 2
    assert complaint in capsys.readouterr().err


def test_a_run_that_has_nothing_to_export_says_so(
    trained: SFTConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained.out / "state", tmp_path / "run/state")
    name = (tmp_path / "run/state/latest").read_text()
    path = tmp_path / "run/state" / name / "progress.json"
    assert main(["export", str(tmp_path / "run")]) == 2
    assert "the stage is finished, but its folder is gone" in capsys.readouterr().err
    path.write_text(json.dumps({**json.loads(path.read_text()), "results": []}))
    assert main(["export", str(tmp_path / "run")]) == 2
    assert "finished are: none" in capsys.readouterr().err
    path.write_bytes(path.read_bytes()[:40])
    assert main(["export", str(tmp_path / "run")]) == 2
    assert "progress.json: can't be read" in capsys.readouterr().err


def test_a_record_can_be_found_again(trained: SFTConfig, handed_over: Path) -> None:
    """By the uuids beside each sequence, which the export keeps."""
    made: list[Record] = records(24)
    uuids = {uuid for row in pq.read_table(handed_over / "sample/train").to_pylist() for uuid in row["uuids"]}
    assert uuids < {record.uuid for record in made}
