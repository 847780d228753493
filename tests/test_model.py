"""The model: its names, its round trips, and that documents never see each other."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GraniteConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
)

from gristmill.errors import ConfigError
from sft.acceptance import drafts_of, measure_acceptance
from sft.batches import batch_of, micro_batches
from sft.documents import Document
from sft.generate import Request, generate
from sft.model import CausalLM, Vocabulary, has_mtp, load_model, save_model, trunk_states
from sft.world import World

VOCABULARY = Vocabulary(size=60, end=1, pad=0)
SMALL: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model() -> CausalLM:
    """A tiny model with weights large enough that positions and documents differ clearly."""
    model = load_model("tiny", VOCABULARY, seed=0)[0].eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2:
                parameter.mul_(4)
            elif name.endswith("conv1d.bias"):
                parameter.normal_(generator=torch.Generator().manual_seed(0))
    return model


def tokens(*lengths: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(2, 60, (length,), generator=generator) for length in lengths]


def documents(*lengths: int) -> list[Document]:
    return [Document("", ids.numpy().astype(np.int32), np.ones(len(ids), np.uint8)) for ids in tokens(*lengths)]


@torch.no_grad()
def test_logits_of_a_packed_document_are_those_of_the_document_alone(model: CausalLM) -> None:
    made = documents(40, 3, 90, 41, 65)
    for batch in map(batch_of, micro_batches(made, 200)):
        logits = model.lm_head(trunk_states(model, batch.input_ids))
        for row, length in enumerate(batch.lengths.tolist()):
            alone = model(input_ids=batch.input_ids[row : row + 1, :length]).logits[0]
            torch.testing.assert_close(logits[row, :length], alone, rtol=0, atol=1e-5)


def test_another_document_changes_no_bit(model: CausalLM) -> None:
    """Of the logits of the trunk and of the MTP head, and of the gradients of the inputs: through every layer."""

    def of_the_first(second: Tensor) -> list[Tensor]:
        (first,) = tokens(70)
        batch = batch_of(
            [Document("", ids.numpy().astype(np.int32), np.ones(len(ids), np.uint8)) for ids in (first, second)]
        )
        inputs = model.get_input_embeddings()(batch.input_ids).detach().requires_grad_()
        hidden = model.base_model(inputs_embeds=inputs, use_cache=False)[0]
        deeper = model.mtp(hidden[:, :-1], inputs[:, 1:])
        logits = [model.lm_head(states)[0] for states in (hidden, deeper)]
        torch.stack([(each**2).sum() for each in logits]).sum().backward()
        assert inputs.grad is not None and inputs.grad[0].abs().max() > 0
        assert not inputs.grad[1].any()
        return [*logits, inputs.grad[0]]

    expected = of_the_first(tokens(1, 70)[1])
    for other in (tokens(1, 2, 70)[2], tokens(30, 50)[1], tokens(5)[0]):
        for left, right in zip(expected, of_the_first(other), strict=True):
            assert torch.equal(left, right)


@torch.no_grad()
def test_documents_in_one_row_would_leak(model: CausalLM) -> None:
    """What the padded rows are for: position ids isolate attention, but not Mamba."""
    first, second = tokens(40, 50)
    positions = torch.cat([torch.arange(40), torch.arange(50)])[None]
    together = model(input_ids=torch.cat([first, second])[None], position_ids=positions).logits[0, 40:]
    assert (together - model(input_ids=second[None]).logits[0]).abs().max() > 0.01


def test_saved_under_the_released_names(model: CausalLM, tmp_path: Path) -> None:
    save_model(model, tmp_path, "fp32")
    names = set(load_file(tmp_path / "model.safetensors"))
    assert {name.split(".")[0] for name in names} == {"backbone", "lm_head", "mtp"}
    head = ["enorm", "hnorm", "eh_proj", "norm", *(f"mixer.{projection}_proj" for projection in "qkvo")]
    experts = ["norm", "final_layernorm", "mixer.gate", "mixer.fc1_latent_proj", "mixer.fc2_latent_proj"]
    experts += [
        f"mixer.{part}.{way}_proj"
        for part in ("shared_experts", *(f"experts.{n}" for n in range(8)))
        for way in ("up", "down")
    ]
    expected = {f"mtp.layers.0.{name}.weight" for name in head} | {f"mtp.layers.1.{name}.weight" for name in experts}
    expected.add("mtp.layers.1.mixer.gate.e_score_correction_bias")
    assert {name for name in names if name.startswith("mtp.")} == expected
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["NemotronHForCausalLM"]
    assert config["time_step_min"] == 0.0 and config["num_nextn_predict_layers"] == 1


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_round_trip_is_bit_equal(model: CausalLM, tmp_path: Path, precision: str) -> None:
    save_model(model, tmp_path / "one", precision)
    again, notes = load_model(str(tmp_path / "one"), VOCABULARY, seed=7)
    assert notes == []
    save_model(again, tmp_path / "two", precision)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys() and len(one) > 60
    for name in one:
        assert one[name].dtype == two[name].dtype and torch.equal(one[name], two[name]), name
        assert (one[name].dtype == torch.float32) == (precision == "fp32" or name.endswith("e_score_correction_bias"))
    assert all(parameter.dtype == torch.float32 for parameter in again.parameters())


@torch.no_grad()
def test_transformers_reads_the_folder_with_the_same_logits(model: CausalLM, tmp_path: Path) -> None:
    save_model(model, tmp_path, "fp32")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    (ids,) = tokens(70)
    assert torch.equal(theirs(input_ids=ids[None]).logits, model(input_ids=ids[None]).logits)
    assert theirs.generation_config.eos_token_id == VOCABULARY.end


def test_a_folder_without_a_head_gets_a_new_one_and_says_so(model: CausalLM, tmp_path: Path) -> None:
    save_model(model, tmp_path, "fp32")
    weights = load_file(tmp_path / "model.safetensors")
    save_file(
        {n: w for n, w in weights.items() if not n.startswith("mtp.")}, tmp_path / "model.safetensors", {"format": "pt"}
    )
    loaded, notes = load_model(str(tmp_path), VOCABULARY, seed=3)
    assert len(notes) == 1 and "mtp.*" in notes[0]
    assert torch.equal(loaded.model.layers[0].mixer.dt_bias, model.model.layers[0].mixer.dt_bias)
    assert 0 < loaded.mtp.layers[0].eh_proj.weight.std() < 0.1
    assert torch.equal(loaded.mtp.layers[0].enorm.weight, torch.ones(128))
    again = load_model(str(tmp_path), VOCABULARY, seed=3)[0]
    assert torch.equal(loaded.mtp.layers[0].eh_proj.weight, again.mtp.layers[0].eh_proj.weight)


def test_wrong_folders_are_refused(model: CausalLM, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be loaded"):
        load_model(str(tmp_path / "nothing"), VOCABULARY, seed=0)
    save_model(model, tmp_path, "fp32")
    with pytest.raises(ConfigError, match=r"60 token embeddings and .* has 61"):
        load_model(str(tmp_path), VOCABULARY._replace(size=61), seed=0)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:1000])
    with pytest.raises(ConfigError, match="can't be loaded"):
        load_model(str(tmp_path), VOCABULARY, seed=0)
    (tmp_path / "model.safetensors").write_bytes(whole)
    weights = load_file(tmp_path / "model.safetensors")
    norm = weights.pop("backbone.norm_f.weight")
    save_file({**weights, "backbone.norm_f.weight": norm[:3]}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match="can't be loaded"):
        load_model(str(tmp_path), VOCABULARY, seed=0)
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match="1 missing, 0 unknown"):
        load_model(str(tmp_path), VOCABULARY, seed=0)


def test_another_causal_model_has_no_head(tmp_path: Path) -> None:
    LlamaForCausalLM(LlamaConfig(**SMALL)).save_pretrained(tmp_path)
    other, notes = load_model(str(tmp_path), VOCABULARY, seed=0)
    assert not has_mtp(other) and "without MTP" in notes[0]
    batch = batch_of(documents(9, 20))
    logits = other.get_output_embeddings()(trunk_states(other, batch.input_ids))
    row = int(batch.lengths.argmin())
    alone = other(input_ids=batch.input_ids[row : row + 1, :9]).logits[0]
    torch.testing.assert_close(logits[row, :9], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        GraniteConfig(**SMALL, logits_scaling=8.0, initializer_range=0.5),
        Gemma2Config(**SMALL, num_key_value_heads=2, head_dim=16, final_logit_softcapping=5.0, initializer_range=0.5),
    ],
    ids=lambda config: config.model_type,
)
def test_a_model_that_changes_its_logits_after_the_head_is_refused(config: PreTrainedConfig, tmp_path: Path) -> None:
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"\(g\w+\) changes its logits after the output head"):
        load_model(str(tmp_path), VOCABULARY, seed=0)


def test_time_steps_have_no_lower_bound(model: CausalLM) -> None:
    bounds = [layer.mixer.time_step_limit for layer in model.model.layers if layer.block_type == "linear_attention"]
    assert bounds == [(0.0, float("inf"))] * 2


def test_answers_equal_those_without_a_cache(model: CausalLM) -> None:
    """Greedy answers in one padded and cached batch, against a full forward pass per token."""
    prompts = [prompt.tolist() for prompt in tokens(5, 37, 70, 20)]
    found = generate(model, [Request(prompt) for prompt in prompts], end=1, temperature=0.0, max_tokens=12)
    for prompt, answer in zip(prompts, found, strict=True):
        ids = list(prompt)
        while len(ids) < len(prompt) + 12 and (len(ids) == len(prompt) or ids[-1] != 1):
            with torch.no_grad():
                ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        assert answer == ids[len(prompt) :]


def test_samples_do_not_depend_on_the_batch(model: CausalLM) -> None:
    requests = [Request(prompt.tolist(), (7, n)) for n, prompt in enumerate(tokens(5, 37, 70, 20, 11, 30))]
    together = generate(model, requests, end=1, temperature=1.0, max_tokens=40)
    assert together == [generate(model, [request], 1, 1.0, 40)[0] for request in requests]
    assert len({len(answer) for answer in together}) > 1  # some end early, so rows leave the batch
    other = generate(model, [request._replace(stream=(8, n)) for n, request in enumerate(requests)], 1, 1.0, 40)
    assert together != other


def test_samples_follow_the_distribution(model: CausalLM) -> None:
    (prompt,) = tokens(9)
    drawn = generate(model, [Request(prompt.tolist(), (n,)) for n in range(2000)], end=1, temperature=2.0, max_tokens=1)
    with torch.no_grad():
        expected = torch.softmax(model(input_ids=prompt[None]).logits[0, -1] / 2.0, dim=-1)
    found = torch.bincount(torch.tensor(drawn)[:, 0], minlength=60) / 2000
    assert (found - expected).abs().max() < 0.04


@torch.no_grad()
def test_drafts_equal_a_chain_built_step_by_step(model: CausalLM) -> None:
    """Each draft by the head run causally over the verified positions followed by the drafts before it."""
    (ids,) = tokens(30)
    drafts = drafts_of(model, ids, first=20, depths=4)
    hidden, embed = trunk_states(model, ids[None])[0], model.model.embeddings
    for row, at in enumerate(range(20, 29)):
        states, inputs = hidden[: at + 1], embed(ids[1 : at + 2])
        for depth in range(4):
            last = model.mtp(states[None], inputs[None])[0, -1]
            token = model.lm_head(last).argmax()
            assert token == drafts[row, depth]
            states, inputs = torch.cat([states, last[None]]), torch.cat([inputs, embed(token)[None]])


def test_acceptance_counts_places_and_verifications(model: CausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer of six tokens, and drafts of four of which the first two are right, from wherever they start."""
    answer = [10, 11, 12, 13, 14, 1]
    drafts = [([*answer[place + 1 : place + 3], 59, 59, 59, 59])[:4] for place in range(6)]
    monkeypatch.setattr("sft.acceptance.generate", lambda *_: [answer])
    monkeypatch.setattr("sft.acceptance.drafts_of", lambda *_: torch.tensor(drafts))
    found = measure_acceptance(model, [[5, 6]], end=1, max_tokens=9, depths=4, world=World(0, 1, torch.device("cpu")))
    assert (found.prompts, found.places) == (1, 6)
    assert found.rates == [1.0, 1.0, 0.0, 0.0]
    assert found.mean_accepted_length == 3.0  # verified: 10, with 11 and 12 accepted, and 13, with 14 and 1
