"""Two ranks, over which the model is sliced, take the optimizer steps of one process that holds it whole."""

from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import Qwen3Config, Qwen3ForCausalLM

from gristmill.config import validate
from schemas.sft_config import SFTConfig
from sft.acceptance import Acceptance, measure_acceptance
from sft.batches import PackFiles, trainable
from sft.documents import Document
from sft.heldout import HeldOut, held_out
from sft.metrics import StepMetrics
from sft.model import Vocabulary, load_model, save_model
from sft.packing import write_packs
from sft.sharding import load_shared, whole_weights
from sft.sources import Sources
from sft.stages import Cursor
from sft.step import StageTrainer
from sft.world import World
from tests.ranks import on_two_ranks
from tests.test_loss import LENGTHS, difference, documents, new_model

ONE = World(0, 1, torch.device("cpu"))
VOCABULARY = Vocabulary(size=60, end=1, pad=0)
TOLERANCE = 1e-6  # relative; fp32

pytestmark = pytest.mark.usefixtures("one_thread")


class Case(NamedTuple):
    model: str  # a folder beside the packs
    split: str = "spread"
    changes: dict[str, Any] = {}  # of the stage
    settings: dict[str, Any] = {}  # of the config

    def config(self, folder: Path) -> SFTConfig:
        stage = {"name": "s", "global_batch": 64, "lr": 1e-3, "steps": 2, "micro_tokens": 140, **self.changes}
        model: dict[str, Any] = {"init": str(folder / self.model)}
        if stage.get("train") == "lora":
            model["lora"] = {"rank": 4}
        whole = {
            "out": str(folder / "out"),
            "data": {"blend": "b", "tokenizer": "t"},
            "model": model,
            "precision": "fp32",
            "stages": [stage],
            **self.settings,
        }
        return validate(whole, SFTConfig, "test")


CASES = {
    **{
        f"{loss}, {split}": Case("hybrid", split, {"loss": loss})
        for loss, split in product(("token", "sample"), ("spread", "one without"))
    },
    "healing": Case("hybrid", "one without", {"train": "mtp"}),
    "adapters": Case("hybrid", "spread", {"train": "lora"}),
    "activations computed again": Case("hybrid", "spread", {}, {"activation_checkpointing": True}),
    "tied weights": Case("tied"),
    "bf16": Case("hybrid", "spread", {}, {"precision": "bf16"}),
}


class Taken(NamedTuple):
    """One optimizer step: its gradients before clipping, what it says of itself, and the weights after it."""

    gradients: dict[str, Tensor]
    metrics: StepMetrics
    weights: dict[str, Tensor]


def sourced() -> list[Document]:
    """Every third from `b`."""
    return [one._replace(source="aab"[number % 3]) for number, one in enumerate(documents(LENGTHS))]


def packs_of(folder: Path) -> PackFiles:
    return PackFiles(folder / "packs", Sources(["a", "b"]))


class Watched(StageTrainer):
    """Keeps the gradients; a rank's share is what `split` says."""

    split: str
    gradients: dict[str, Tensor]

    def _share(self, packs: list[int]) -> list[Document]:
        made = sourced()
        if self.split == "spread":
            return trainable(made[self._world.rank :: self._world.size])
        return trainable(made) if self._world.rank == 0 else []

    def _clip(self) -> float:
        found = {n: p.grad for n, p in self._model.named_parameters() if p.grad is not None}
        self.gradients = {n: (g.full_tensor() if isinstance(g, DTensor) else g).clone() for n, g in found.items()}
        return super()._clip()


def take_step(world: World, case: Case, folder: Path) -> Taken:
    config = case.config(folder)
    shared, _ = load_shared(config.model, VOCABULARY, 0, world, config.precision)
    if config.activation_checkpointing:
        shared.model.activation_checkpointing_enable()
    trainer = Watched(shared, config, 0, packs_of(folder), world)
    trainer.split = case.split
    _, metrics = trainer.step(Cursor(), 1)
    trainer.close()
    return Taken(trainer.gradients, metrics, dict(whole_weights(shared.model)))


def take_turns(world: World, folder: Path) -> dict[str, dict[str, Tensor]]:
    """The gradients of a step of one stage after another, each of which trains something else."""
    usual = {"global_batch": 64, "lr": 1e-5, "steps": 2}
    stages = [{"name": train, "train": train, **usual} for train in ("lora", "mtp", "all")]
    case = Case("hybrid", changes={"train": "lora"}, settings={"precision": "bf16", "stages": stages})
    config = case.config(folder)
    shared, _ = load_shared(config.model, VOCABULARY, 0, world, config.precision)
    found = {}
    for index, stage in enumerate(config.stages):
        trainer = Watched(shared, config, index, packs_of(folder), world)
        trainer.split = "spread"
        trainer.step(Cursor(), index + 1)
        trainer.close()
        found[stage.name] = trainer.gradients
        shared.look(lambda: None)
    return found


class Looked(NamedTuple):
    """What is measured of a model, and the lengths of all the rows that its trunk was given for the losses."""

    held_out: HeldOut
    acceptance: Acceptance
    rows: list[int]


def look(world: World, folder: Path) -> Looked:
    config = Case("hybrid").config(folder)
    shared, _ = load_shared(config.model, VOCABULARY, 0, world, config.precision)
    model = shared.model.eval()
    rows: list[int] = []

    def note(module: nn.Module, given: object, named: dict[str, Any]) -> None:
        rows.extend(named["input_ids"].shape[0] * [named["input_ids"].shape[1]])

    def measure() -> Looked:
        hook = model.base_model.register_forward_pre_hook(note, with_kwargs=True)
        losses = held_out(model, trainable(sourced()), 1, world)
        hook.remove()
        prompts = [document.input_ids.tolist() for document in sourced()[:5]]
        drafted = measure_acceptance(model, prompts, VOCABULARY.end, 12, 4, world)
        return Looked(losses, drafted, sorted(length for own in world.gather(rows) for length in own if length > 1))

    return shared.look(measure)


def take_steps(world: World, folder: Path) -> None:
    found = {name: take_step(world, case, folder) for name, case in CASES.items()}
    turns, looked = take_turns(world, folder), look(world, folder)
    assert world.of_first("said by the first" if world.leads else None) == "said by the first"
    if world.leads:
        torch.save(tuple(looked), folder / "looked.pt")
        torch.save({name: tuple(taken) for name, taken in found.items()}, folder / "found.pt")
        torch.save(turns, folder / "turns.pt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("ranks")
    save_model(new_model(), made / "hybrid", "fp32")
    torch.manual_seed(0)
    shape = Qwen3Config(
        vocab_size=60,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        tie_word_embeddings=True,
    )
    Qwen3ForCausalLM(shape).save_pretrained(made / "tied")
    write_packs(iter(documents(LENGTHS)), made / "packs", pack_tokens=200, seed=0)
    return made


@pytest.fixture(scope="module")
def by_two(folder: Path) -> dict[str, Taken]:
    assert on_two_ranks(take_steps, folder) == [0, 0]
    found = torch.load(folder / "found.pt", weights_only=False)
    return {name: Taken(*taken) for name, taken in found.items()}


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_take_the_step_of_one(name: str, folder: Path, by_two: dict[str, Taken]) -> None:
    """Gradients, losses and what becomes of the experts' biases; also where a rank has nothing to learn from."""
    case = CASES[name]
    whole = case._replace(split="spread", changes={**case.changes, "micro_tokens": 10_000}, settings={})
    alone, together = take_step(ONE, whole, folder), by_two[name]
    tolerance = TOLERANCE if case.settings.get("precision") != "bf16" else 4e-2
    assert difference(alone.gradients, together.gradients) < tolerance
    left, right = (
        t.metrics.model_dump(exclude={"tokens_per_s", "stage", "loss_by_source"}, exclude_none=True)
        for t in (alone, together)
    )
    assert left == pytest.approx(right, rel=tolerance)
    by_source = [taken.metrics.loss_by_source for taken in (alone, together)]
    assert by_source[0] == pytest.approx(by_source[1], rel=tolerance)
    assert sorted(by_source[0]) == ([] if name == "healing" else ["a", "b"])
    assert alone.weights.keys() == together.weights.keys()
    biases = [key for key in alone.weights if key.endswith("e_score_correction_bias")]
    if tolerance == TOLERANCE:
        assert all(torch.equal(alone.weights[key], together.weights[key]) for key in biases)


@torch.no_grad()
@pytest.mark.parametrize("split", ["spread", "one without"])
@pytest.mark.parametrize("loss", ["token", "sample"])
def test_losses_by_source_are_those_of_each_conversation_alone(
    loss: str, split: str, folder: Path, by_two: dict[str, Taken]
) -> None:
    model = load_model(str(folder / "hybrid"), VOCABULARY, 0)[0]
    targets, expected = {"a": 0.0, "b": 0.0}, {"a": 0.0, "b": 0.0}
    for conversation in trainable(sourced()):
        ids = torch.from_numpy(conversation.input_ids.astype(np.int64))
        losses = torch.nn.functional.cross_entropy(model(ids[None]).logits[0, :-1], ids[1:], reduction="none")
        wanted = losses[torch.from_numpy(conversation.loss_mask[:-1]).bool()].double()
        targets[conversation.source] += len(wanted) if loss == "token" else 1
        expected[conversation.source] += float(wanted.sum() if loss == "token" else wanted.mean())
    expected = {name: expected[name] / targets[name] for name in expected}
    assert by_two[f"{loss}, {split}"].metrics.loss_by_source == pytest.approx(expected, rel=TOLERANCE)
    assert expected["a"] != pytest.approx(expected["b"], rel=1e-3)


@pytest.mark.parametrize("model", ["hybrid", "tied"])
def test_activations_computed_again_change_no_bit(model: str, folder: Path) -> None:
    plain = take_step(ONE, Case(model), folder)
    again = take_step(ONE, Case(model, settings={"activation_checkpointing": True}), folder)
    for left, right in ((plain.gradients, again.gradients), (plain.weights, again.weights)):
        assert left.keys() == right.keys()
        assert all(torch.equal(left[name], right[name]) for name in left)


def test_two_ranks_divide_what_is_measured(folder: Path, by_two: dict[str, Taken]) -> None:
    """With the same figures, and each conversation goes through the trunk of one of them."""
    alone, together = look(ONE, folder), Looked(*torch.load(folder / "looked.pt", weights_only=False))
    left, right = (found.held_out.model_dump() for found in (alone, together))
    for key in left:
        assert left[key] == pytest.approx(right[key], rel=TOLERANCE)
    assert sorted(left["by_source"]) == ["a", "b"]
    assert alone.acceptance == together.acceptance
    lengths = sorted(len(document.input_ids) for document in trainable(sourced()))
    assert alone.rows == together.rows == lengths


def test_the_cases_differ(folder: Path, by_two: dict[str, Taken]) -> None:
    """So that equality above says something."""
    token, sample = by_two["token, spread"], by_two["sample, spread"]
    assert difference(token.gradients, sample.gradients) > 0.05
    before = load_model(str(folder / "hybrid"), VOCABULARY, 0)[0].state_dict()
    for name, trained in (("healing", "mtp."), ("adapters", ".lora_")):
        after = by_two[name].weights
        moved = {key for key in after if key not in before or not torch.equal(after[key], before[key])}
        moved = {key for key in moved if "base_layer" not in key}
        assert moved and all(trained in key for key in moved)


def test_stages_that_train_other_parts_take_turns(folder: Path, by_two: dict[str, Taken]) -> None:
    """In bf16, so that a gradient that isn't kept in fp32 would be found."""
    alone, together = take_turns(ONE, folder), torch.load(folder / "turns.pt")
    assert alone.keys() == together.keys() and len(alone) == 3
    for name in alone:
        assert difference(alone[name], together[name]) < 4e-2
        assert {gradient.dtype for gradient in together[name].values()} == {torch.float32}
