"""LoRA, and models other than nemotron_h, through whole runs."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from gristmill.config import validate
from gristmill.errors import ConfigError
from schemas.sft_config import Lora, SFTConfig
from sft import train as train_module
from sft.forecast import forecast
from sft.metrics import StepMetrics, read_metrics
from sft.model import CausalLM, Vocabulary, has_mtp, load_model, save_model, vocabulary_of
from sft.prep import prepare
from tests.test_train import records, run, weights, write_blend

VOCABULARY = Vocabulary(size=60, end=1, pad=0)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def few_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_module, "ACCEPTANCE_PROMPTS", 2)
    monkeypatch.setattr(train_module, "ACCEPTANCE_TOKENS", 4)


@pytest.fixture(scope="module")
def blend(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blend(tmp_path_factory.mktemp("blend"), train=records(24), valid=records(4, first=100))


def config(blend: Path, out: Path, model: dict[str, Any], stages: list[dict[str, Any]]) -> SFTConfig:
    usual = {"global_batch": 3, "lr": 3e-3, "steps": 3}
    content = {
        "out": str(out),
        "data": {"blend": str(blend), "tokenizer": "train:300", "pack_tokens": 256},
        "model": model,
        "precision": "fp32",
        "stages": [{**usual, **stage} for stage in stages],
    }
    return validate(content, SFTConfig, "test")


def interrupted_run(made: SFTConfig, at: int) -> None:
    """A run that dies between step `at` and its state, and the same again."""

    def die(metrics: StepMetrics) -> None:
        if metrics.step == at:
            raise MemoryError

    with pytest.raises(MemoryError):
        run(made, die)
    run(made)


# --- other models

SHAPE: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def another(kind: str, folder: Path) -> str:
    torch.manual_seed(0)
    if kind == "llama":
        LlamaForCausalLM(LlamaConfig(**SHAPE)).save_pretrained(folder)
    else:
        Qwen3ForCausalLM(Qwen3Config(**SHAPE, head_dim=8, tie_word_embeddings=True)).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_other_models_train_resume_and_load(kind: str, blend: Path, tmp_path: Path) -> None:
    stages: list[dict[str, Any]] = [{"name": "token"}, {"name": "sample", "loss": "sample"}]
    init = another(kind, tmp_path / kind)
    made = [config(blend, tmp_path / name, {"init": init}, stages) for name in ("whole", "interrupted")]
    training = run(made[0])
    interrupted_run(made[1], at=5)
    for stage in ("token", "sample"):
        left, right = (one.out / "stages" / stage / "model.safetensors" for one in made)
        assert left.read_bytes() == right.read_bytes()
    lines = read_metrics(made[0].out / "metrics.jsonl")
    assert all(line.loss is not None and line.mtp_loss is None for line in lines)
    assert ("lm_head.weight" in weights(made[0], "sample")) == (kind == "llama")
    ids = torch.randint(0, 280, (1, 40), generator=torch.Generator().manual_seed(0))
    loaded = AutoModelForCausalLM.from_pretrained(made[0].out / "stages/sample")
    with torch.no_grad():
        assert torch.equal(loaded(input_ids=ids).logits, training.model(input_ids=ids).logits)
        before = AutoModelForCausalLM.from_pretrained(init)(input_ids=ids).logits
        assert not torch.equal(before, loaded(input_ids=ids).logits)


def test_conversations_beyond_the_models_positions_are_refused(blend: Path, tmp_path: Path) -> None:
    """Before a step, and by --plan: a model with learned positions would fail, and others would learn nonsense."""
    LlamaForCausalLM(LlamaConfig(**SHAPE, max_position_embeddings=64)).save_pretrained(tmp_path / "llama")
    made = config(blend, tmp_path / "out", {"init": str(tmp_path / "llama")}, [{"name": "token"}])
    renderer, data = prepare(made)
    complaint = r"stages\.token: a conversation has [0-9]+ tokens, and the model is made for 64 \(max_position_emb"
    with pytest.raises(ConfigError, match=complaint):
        forecast(made, vocabulary_of(renderer.tokenizer), data)
    with pytest.raises(ConfigError, match=complaint):
        run(made)
    path = tmp_path / "llama/config.json"
    path.write_text(path.read_text().replace('"max_position_embeddings": 64', '"max_position_embeddings": 256'))
    assert forecast(made, vocabulary_of(renderer.tokenizer), data)[0].steps == 3


@pytest.mark.slow
@pytest.mark.embedded
@torch.no_grad()
def test_the_embedded_model_is_read_from_its_gguf(tmp_path: Path) -> None:
    from gristmill.render import load_renderer
    from sft.model import vocabulary_of

    tokenizer = load_renderer("embedded", "nemotron3").tokenizer
    model, notes = load_model("embedded", vocabulary_of(tokenizer), seed=0)
    assert notes == [] and not has_mtp(model)
    text = "The capital of France is Paris, and the capital of Italy is Rome. The sun rises in the east."
    ids = torch.tensor([tokenizer.tokenizer.encode(text).ids])
    assert model(input_ids=ids, labels=ids).loss < 3.0  # a language model's, where chance is 10.8
    save_model(model, tmp_path, "bf16")
    again = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert again.config.vocab_size == tokenizer.vocab_size
    assert abs(again(input_ids=ids, labels=ids).loss - model(input_ids=ids, labels=ids).loss) < 0.05


# --- LoRA


def logits_of(model: CausalLM, length: int = 40) -> Tensor:
    ids = torch.randint(2, 60, (1, length), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found: Tensor = model.eval()(input_ids=ids).logits
    return found


def test_new_adapters_change_nothing() -> None:
    plain = load_model("tiny", VOCABULARY, seed=0)[0]
    adapted = load_model("tiny", VOCABULARY, seed=0, lora=Lora(rank=4))[0]
    assert torch.equal(logits_of(plain), logits_of(adapted))
    names = [name for name, _ in adapted.named_parameters() if ".lora_" in name]
    assert all(name.startswith("model.layers.") for name in names)
    assert {name.split(".")[4] for name in names} == {
        "in_proj",
        "fc1_latent_proj",
        "fc2_latent_proj",
        "shared_experts",
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
    }


def test_targets_are_names_of_layers() -> None:
    adapted = load_model("tiny", VOCABULARY, seed=0, lora=Lora(rank=4, targets=["q_proj", "v_proj"]))[0]
    names = [name for name, _ in adapted.named_parameters() if ".lora_" in name]
    assert {name.split(".")[4] for name in names} == {"q_proj", "v_proj"} and len(names) == 4
    for targets in (["q_proj", "up_projection"], ["out_proj"], ["eh_proj"]):
        with pytest.raises(ConfigError, match=rf"model\.lora\.targets: no linear layer {targets[-1]} in the trunk"):
            load_model("tiny", VOCABULARY, seed=0, lora=Lora(targets=targets))


@pytest.fixture(scope="module")
def adapted(blend: Path, tmp_path_factory: pytest.TempPathFactory) -> SFTConfig:
    """A token stage on an adapter, then healing on top of it; resumed within the first."""
    folder = tmp_path_factory.mktemp("adapted")
    base = config(blend, folder / "base", {"init": "tiny"}, [{"name": "base", "steps": 2}])
    run(base)
    stages: list[dict[str, Any]] = [
        {"name": "adapt", "train": "lora"},
        {"name": "heal", "train": "mtp", "data": {"rollouts": {"prompts": str(blend), "max_tokens": 8}}},
    ]
    model = {"init": str(folder / "base/stages/base"), "lora": {"rank": 4, "alpha": 16}}
    made = config(blend, folder / "out", model, stages)
    interrupted_run(made, at=2)
    return made


def test_only_the_adapted_layers_change(adapted: SFTConfig) -> None:
    before = load_file(Path(adapted.model.init) / "model.safetensors")
    after = weights(adapted, "adapt")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    kinds = {name.split(".")[-2] for name in changed}
    assert kinds == {"in_proj", "fc1_latent_proj", "fc2_latent_proj", "up_proj", "down_proj"} | {
        f"{letter}_proj" for letter in "qkvo"
    }
    assert all(name.startswith("backbone.") and ".experts." not in name for name in changed)
    for name in changed:
        assert torch.linalg.matrix_rank(after[name] - before[name], rtol=1e-3) <= 4


def test_healing_stands_on_the_adapter(adapted: SFTConfig) -> None:
    before, after = weights(adapted, "adapt"), weights(adapted, "heal")
    assert {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])} == {"mtp"}
    lines = read_metrics(adapted.out / "metrics.jsonl")
    assert [(line.loss is None, line.mtp_loss is None) for line in lines] == [(False, True)] * 3 + [(True, False)] * 3


def test_peft_loads_the_adapter_onto_the_model_before(adapted: SFTConfig) -> None:
    """With the logits of the merged weights."""
    base = AutoModelForCausalLM.from_pretrained(adapted.model.init)
    merged = AutoModelForCausalLM.from_pretrained(adapted.out / "stages/adapt")
    plain = logits_of(base)
    theirs = PeftModel.from_pretrained(base, str(adapted.out / "stages/adapt/adapter"))
    torch.testing.assert_close(logits_of(theirs), logits_of(merged), rtol=0, atol=1e-4)
    assert (logits_of(merged) - plain).abs().max() > 1e-2
    assert not (adapted.out / "stages/heal/adapter").exists()


def test_a_resumed_adapter_is_that_of_an_uninterrupted_run(adapted: SFTConfig, tmp_path: Path) -> None:
    whole = adapted.model_copy(update={"out": tmp_path / "out", "stages": adapted.stages[:1]})
    run(whole)
    left, right = (one.out / "stages/adapt/adapter/adapter_model.safetensors" for one in (whole, adapted))
    assert left.read_bytes() == right.read_bytes()


def test_adapters_and_their_stages_go_together(blend: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a stage with train: lora needs model\.lora"):
        config(blend, tmp_path, {"init": "tiny"}, [{"name": "adapt", "train": "lora"}])
    with pytest.raises(ConfigError, match=r"model\.lora needs a stage with train: lora"):
        config(blend, tmp_path, {"init": "tiny", "lora": {}}, [{"name": "token"}])
