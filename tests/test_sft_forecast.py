"""`gristmill sft --plan`: shares of the loss, steps and memory, against what training and autograd then do."""

import gc
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from blends.build import build
from gristmill.config import validate
from gristmill.errors import ConfigError
from schemas import Record, assistant, user
from schemas.arrow import records_to_table
from schemas.blend_config import BlendConfig
from schemas.sft_config import SFTConfig
from sft.batches import PackFiles, batch_of
from sft.documents import Document
from sft.experts import ExpertBalance
from sft.forecast import ACTIVATION_BYTES, StageForecast, forecast
from sft.loss import Objective, batch_loss, count
from sft.model import CausalLM, Vocabulary, computing, has_mtp, load_model, vocabulary_of
from sft.prep import prepare
from sft.stages import Plan
from tests.conftest import CLI

VOCABULARY = Vocabulary(size=500, end=1, pad=0)


pytestmark = pytest.mark.usefixtures("one_thread")


def records(count: int, words: int, category: str) -> list[Record]:
    return [
        Record(
            messages=[user(f"{category} {n}?"), assistant(f"{n} is " + "so " * (words + n % 3))],
            category=category,
            license="CC0-1.0",
            generator=category,
        )
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def blend(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 short conversations, and 10 that are longer, of two categories."""
    folder = tmp_path_factory.mktemp("blended")
    sources = []
    for name, made in (("short", records(30, 2, "a")), ("long", [*records(6, 40, "b"), *records(4, 60, "c")])):
        pq.write_table(records_to_table(made), folder / f"{name}.parquet")
        sources.append({"name": name, "path": str(folder / f"{name}.parquet"), "weight": len(made)})
    content = {"out": str(folder / "blend"), "total": 40, "sources": sources, "splits": {"train": 1.0, "valid": 0.0}}
    build(validate(content, BlendConfig, "test"))
    return folder / "blend"


def content(blend: Path, out: Path, **changes: Any) -> dict[str, Any]:
    usual = {"global_batch": 3, "lr": 1e-3}
    stages = [
        {"name": "token", "epochs": 2, "warmup": {"count": 7}, **usual},
        {"name": "sample", "loss": "sample", "steps": 9, "warmup": {"count": 7, "unit": "conversations"}, **usual},
        {"name": "heal", "train": "mtp", "epochs": 1, "data": {"rollouts": {"prompts": str(blend)}}, **usual},
    ]
    data = {"blend": str(blend), "tokenizer": "train:300", "pack_tokens": 300}
    return {"out": str(out), "data": data, "precision": "fp32", "stages": stages, **changes}


def forecasts(made: SFTConfig) -> list[StageForecast]:
    renderer, data = prepare(made)
    return forecast(made, vocabulary_of(renderer.tokenizer), data)


def test_shares_are_those_of_the_loss(blend: Path, tmp_path: Path) -> None:
    made = validate(content(blend, tmp_path / "out"), SFTConfig, "test")
    token, sample, heal = forecasts(made)
    source_of = {row["uuid"]: row["generator"] for row in pq.read_table(blend / "train").to_pylist()}
    packs = PackFiles(tmp_path / "out/data/token")
    documents = [document for number in range(len(packs)) for document in packs.documents(number)]
    long = [d for d in documents if source_of[d.uuid] != "a"]
    of_tokens = sum(int(d.loss_mask.sum()) for d in long) / sum(int(d.loss_mask.sum()) for d in documents)
    assert token.packed and sample.packed and heal.packed is None
    for stage, loss in ((token.packed, of_tokens), (sample.packed, 10 / 40)):
        (first, second) = stage.sources
        assert (first.name, second.name) == ("long", "short")
        assert (first.conversations, second.conversations) == (0.25, 0.75)
        assert first.supervised_tokens == pytest.approx(of_tokens)
        assert first.loss == pytest.approx(loss)
        assert [share.name for share in stage.categories] == ["b", "c", "a"]
        assert sum(share.loss or 0.0 for share in stage.categories) == pytest.approx(1.0)
    assert 0.6 < of_tokens < 0.95  # the two kinds of loss differ clearly


def test_steps_are_those_of_the_training(blend: Path, tmp_path: Path) -> None:
    made = validate(content(blend, tmp_path / "out"), SFTConfig, "test")
    token, sample, heal = forecasts(made)
    assert token.packed and sample.packed
    packs = PackFiles(tmp_path / "out/data/token")
    plan = Plan(made.stages[0], len(packs), (0, 0))
    epoch = [[d for p in plan.packs_of(step) for d in packs.documents(p)] for step in range(plan.steps_per_epoch)]
    assert token.steps == 2 * len(epoch) and token.packed.packs == len(packs)
    assert token.packed.conversations == pytest.approx(np.mean([len(step) for step in epoch]))
    assert token.packed.tokens == pytest.approx(np.mean([sum(len(d.input_ids) for d in step) for step in epoch]))
    assert token.warmup_steps == 3
    assert (sample.steps, sample.warmup_steps) == (9, 1)
    assert (heal.steps, heal.warmup_steps) == (None, 0)


def test_parameters_are_those_of_the_model(blend: Path, tmp_path: Path) -> None:
    made = validate(content(blend, tmp_path / "out"), SFTConfig, "test")
    token, _, heal = forecasts(made)
    model = load_model("tiny", vocabulary_of(prepare(made)[0].tokenizer), 0)[0]
    assert token.trained == token.parameters == sum(p.numel() for p in model.parameters())
    assert heal.trained == sum(p.numel() for p in model.mtp.parameters())
    assert token.memory.weights == heal.memory.weights == 4 * token.parameters
    assert token.memory.moments == 2 * token.memory.gradients == 8 * token.trained
    assert heal.memory.activations < token.memory.activations


def kept_by_autograd(model: CausalLM, precision: str, length: int) -> int:
    """Bytes of the tensors that a batch's backward pass needs: those that are saved, and what checkpoints hold."""
    model.train()
    before = {tensor.untyped_storage().data_ptr() for tensor in tensors_in_memory()}
    storages: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in before:
            storages[storage.data_ptr()] = storage
        return tensor

    mask = np.ones(length, np.uint8)
    mask[-1] = 0
    documents = [Document("", np.arange(length, dtype=np.int32) % 400, mask)]
    device = torch.device("cpu")
    counts = count(documents, 2 if has_mtp(model) else 0, device)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), computing(precision, device):
        kept = batch_loss(model, batch_of(documents), counts, Objective("token", "all"), ExpertBalance(model))
    for tensor in tensors_in_memory():
        keep(tensor)
    del kept
    return sum(storage.nbytes() for storage in storages.values())


def another(kind: str, folder: Path) -> str:
    shape: dict[str, Any] = {
        "vocab_size": 500,
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    if kind == "llama":
        LlamaForCausalLM(LlamaConfig(**shape)).save_pretrained(folder)
    else:
        Qwen3ForCausalLM(Qwen3Config(**shape, head_dim=32)).save_pretrained(folder)
    return str(folder)


def tensors_in_memory() -> list[Tensor]:
    gc.collect()
    return [each for each in gc.get_objects() if issubclass(type(each), Tensor)]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["tiny", "llama", "qwen3"])
def test_activations_are_estimated(kind: str, precision: str, blend: Path, tmp_path: Path) -> None:
    """Within a third, from above; also where they are computed again, one layer at a time."""
    init = kind if kind == "tiny" else another(kind, tmp_path / kind)
    made = validate(content(blend, tmp_path / "out", model={"init": init}, precision=precision), SFTConfig, "test")
    made = made.model_copy(update={"stages": made.stages[:1]})
    made = made.model_copy(update={"data": made.data.model_copy(update={"pack_tokens": 512})})
    (stage,) = forecast(made, VOCABULARY, {})
    logits = 3 * 4 * 1024 * 500
    model = load_model(init, VOCABULARY, 0)[0]
    measured = kept_by_autograd(model, precision, 512)
    assert measured < stage.memory.activations - logits < 1.5 * measured
    (again,) = forecast(made.model_copy(update={"activation_checkpointing": True}), VOCABULARY, {})
    model.activation_checkpointing_enable()
    one_layer = ACTIVATION_BYTES[precision] * 512 * 128
    kept = kept_by_autograd(model, precision, 512)
    assert kept < again.memory.activations - one_layer - logits < 1.5 * kept < measured


def test_ranks_hold_slices_and_gather_what_computes(blend: Path, tmp_path: Path) -> None:
    made = validate(content(blend, tmp_path / "out"), SFTConfig, "test")
    renderer, data = prepare(made)
    vocabulary = vocabulary_of(renderer.tokenizer)
    for precision, size in (("fp32", 4), ("bf16", 2)):
        changed = made.model_copy(update={"precision": precision})
        alone, sliced = (forecast(changed, vocabulary, data, ranks)[0].memory for ranks in (1, 2))
        for part in ("weights", "gradients", "moments"):
            assert getattr(sliced, part) == getattr(alone, part) // 2
        sizes = Counter[str]()
        for name, parameter in load_model("tiny", vocabulary, 0)[0].named_parameters():
            layer = ".".join(name.split(".")[:3])
            part = layer if name.startswith("model.layers.") else "head" if name.startswith("mtp.") else "ends"
            sizes[part] += parameter.numel()
        ends, head = sizes.pop("ends"), sizes.pop("head")
        (_, largest), (_, next_largest) = sizes.most_common(2)
        assert alone.gathered == 0
        assert sliced.gathered == 8 * ends + size * (2 * head + 2 * largest + next_largest)


def test_the_command_touches_no_weight(blend: Path, tmp_path: Path, cli: CLI) -> None:
    (tmp_path / "sft.yaml").write_text(yaml.safe_dump(content(blend, Path("out"))))
    planned = cli("sft", "sft.yaml", "--plan", "--nproc", "2", env={"OMP_NUM_THREADS": "1"})
    assert (planned.returncode, planned.stderr) == (0, "")
    lines = planned.stdout.splitlines()
    assert lines[0].startswith("token: ") and "3 of them warming up" in lines[0] and "% full)" in lines[0]
    assert "heal: as many steps as its roll-outs fill, over packs of 300 tokens" in planned.stdout
    assert planned.stdout.count("share of the loss") == 4 and planned.stdout.count(", gathered 0.") == 3
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.name[0] != ".") == ["data"]


def test_a_folder_of_rows_has_categories_only(blend: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows/train"
    rows.mkdir(parents=True)
    (rows / "0.parquet").write_bytes(next((blend / "train").glob("*.parquet")).read_bytes())
    made = validate(content(tmp_path / "rows", tmp_path / "out"), SFTConfig, "test")
    token = forecasts(made)[0]
    assert token.packed and token.packed.sources == [] and len(token.packed.categories) == 3


def test_a_model_that_cant_be_found_is_named(blend: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    made = validate(content(blend, tmp_path / "out", model={"init": str(tmp_path / "no")}), SFTConfig, "test")
    with pytest.raises(ConfigError, match=r"model\.init: .*no can't be loaded"):
        forecast(made, VOCABULARY, {})
