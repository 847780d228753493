"""The losses and the balancing of experts, against their formulas written out conversation by conversation."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from sft import loss as loss_module
from sft.batches import batch_of, micro_batches, trainable
from sft.documents import Document
from sft.experts import BIAS_RATE, LOSS_SCALE, ExpertBalance
from sft.loss import Counts, LossKind, Objective, batch_loss, count, target_losses
from sft.model import CausalLM, Vocabulary, load_model

DEPTHS, SCALE = 2, 0.3
KINDS: tuple[LossKind, ...] = ("token", "sample")
CPU = torch.device("cpu")
LENGTHS = [9, 40, 3, 65, 33, 2, 17, 130, 5, 5, 48]
TOLERANCE = 1e-6  # relative; fp32


pytestmark = pytest.mark.usefixtures("one_thread")


def new_model() -> CausalLM:
    """A tiny model with weights large enough that positions, experts and documents differ clearly."""
    model = load_model("tiny", Vocabulary(size=60, end=1, pad=0), seed=0)[0]
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(4)
    return model


def documents(lengths: Sequence[int]) -> list[Document]:
    """Random conversations with one or two supervised spans; the fourth has none."""
    rng = np.random.default_rng(0)
    made = []
    for number, length in enumerate(lengths):
        mask = (rng.random(length) < 0.4).astype(np.uint8)
        mask[length // 2 : length - 1] = number != 3
        mask[: length // 3] = 0
        mask[-1] = 0
        mask *= number != 3
        made.append(Document(str(number), rng.integers(0, 60, length).astype(np.int32), mask))
    return made


def written_out(model: CausalLM, conversations: Sequence[Document], kind: LossKind) -> Tensor:
    """L without balancing: one conversation and one depth at a time, from plain full logits."""
    counting = [c for c in conversations if c.loss_mask.sum() > 0]
    n = [sum(int(c.loss_mask[depth:].sum()) for c in counting) for depth in range(DEPTHS + 1)]
    total = torch.zeros(())
    for conversation in counting:
        ids = torch.from_numpy(conversation.input_ids.astype(np.int64))[None]
        supervised = torch.from_numpy(np.concatenate([[0], conversation.loss_mask[:-1]])).float()  # by token
        hidden = model.model(input_ids=ids).last_hidden_state
        for depth in range(min(DEPTHS + 1, ids.shape[1])):
            if depth > 0:
                hidden = model.mtp(hidden[:, : ids.shape[1] - depth], model.model.embeddings(ids[:, depth:]))
            logits = model.lm_head(hidden[0, : ids.shape[1] - depth - 1])
            terms = nn.functional.cross_entropy(logits, ids[0, depth + 1 :], reduction="none") * supervised[depth + 1 :]
            if depth > 0:
                total = total + SCALE / DEPTHS * terms.sum() / n[depth]
            elif kind == "token":
                total = total + terms.sum() / n[0]
            else:
                total = total + terms.sum() / int(conversation.loss_mask.sum()) / len(counting)
    return total


def step_gradients(model: CausalLM, conversations: list[Document], kind: LossKind, tokens: int) -> dict[str, Tensor]:
    """The gradients of one optimizer step by micro-batches of at most `tokens`."""
    model.zero_grad()
    kept = trainable(conversations)
    counts = count(kept, DEPTHS, CPU)
    balance = ExpertBalance(model)
    for held in micro_batches(kept, tokens):
        found = batch_loss(model, batch_of(held), counts, Objective(kind, "all"), balance)
        (found.main + SCALE * found.mtp).backward()
    balance.close()
    return gradients(model)


def gradients(model: CausalLM) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def difference(left: dict[str, Tensor], right: dict[str, Tensor]) -> float:
    """The norm of the difference as a share of the gradient's norm, over all parameters."""
    assert left.keys() == right.keys()
    apart = sum(float((left[name] - right[name]).double().square().sum()) for name in left)
    return math.sqrt(apart / sum(float(gradient.double().square().sum()) for gradient in left.values()))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_equal_the_formula_written_out(kind: LossKind) -> None:
    model = new_model()
    written_out(model, documents(LENGTHS), kind).backward()
    expected = gradients(model)
    for tokens in (10_000, 300, 140, 1):
        assert difference(expected, step_gradients(model, documents(LENGTHS), kind, tokens)) < TOLERANCE


def test_the_written_out_formula_is_sensitive_to_the_kind_of_loss() -> None:
    model = new_model()
    token = step_gradients(model, documents(LENGTHS), "token", 10_000)
    assert difference(token, step_gradients(model, documents(LENGTHS), "sample", 10_000)) > 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_the_usual_mean_per_micro_batch_is_something_else(kind: LossKind) -> None:
    model = new_model()
    expected = step_gradients(model, documents(LENGTHS), kind, 10_000)
    model.zero_grad()
    halves = [documents(LENGTHS)[:2], documents(LENGTHS)[2:]]
    for half in halves:
        (written_out(model, half, kind) / len(halves)).backward()
    assert difference(expected, gradients(model)) > 0.05


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=9), min_size=1, max_size=5))
def test_counts_are_those_of_the_definition(masks: list[list[bool]]) -> None:
    """n^d_c = the sum of m_{c,j} over j >= d + 2, tokens being numbered from 1."""
    made = []
    for mask in masks:
        shifted = np.array([*mask[1:], False], dtype=np.uint8)
        made.append(Document("", np.zeros(len(mask), dtype=np.int32), shifted))
    kept = trainable(made)
    counts = count(kept, DEPTHS, CPU)
    supervised = [mask for mask in masks if any(mask[1:])]
    assert counts.conversations == len(supervised)
    for depth in range(DEPTHS + 1):
        assert counts.targets[depth] == sum(sum(mask[depth + 1 :]) for mask in supervised)
        assert counts.positions[depth] == sum(max(0, len(mask) - depth) for mask in supervised)


class CountingHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 30)
        self.rows: list[int] = []

    def forward(self, hidden: Tensor) -> Tensor:
        self.rows.append(len(hidden))
        logits: Tensor = self.linear(hidden)
        return logits


def test_logits_exist_in_chunks_and_are_recomputed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_module, "TARGETS_AT_ONCE", 7)
    torch.manual_seed(0)
    head, targets = CountingHead(), torch.randint(30, (20,))
    hidden, weights = torch.randn(20, 8, requires_grad=True), torch.rand(20)
    (target_losses(head, hidden, targets) * weights).sum().backward()
    assert sorted(head.rows) == [6, 6, 7, 7, 7, 7]  # forward, and again backward
    found = (hidden.grad, head.linear.weight.grad)
    hidden.grad = head.linear.weight.grad = None
    (nn.functional.cross_entropy(head.linear(hidden), targets, reduction="none") * weights).sum().backward()
    for left, right in zip(found, (hidden.grad, head.linear.weight.grad), strict=True):
        assert left is not None and right is not None
        torch.testing.assert_close(left, right)


def test_balancing_equals_its_formula_and_ignores_padding() -> None:
    """Against the router run on each document alone, at each depth only on the positions that take part."""
    model = new_model()
    kept = trainable(documents(LENGTHS))
    counts = count(kept, DEPTHS, CPU)
    balance = ExpertBalance(model)
    objective = Objective("token", "all")
    batches = map(batch_of, micro_batches(kept, 300))
    found = sum(batch_loss(model, batch, counts, objective, balance).balance.item() for batch in batches)
    balance.close()
    assert found == pytest.approx(_balancing_written_out(model, kept, counts).item(), rel=1e-5)


@torch.no_grad()
def _balancing_written_out(model: CausalLM, kept: list[Document], counts: Counts) -> Tensor:
    total = torch.zeros(())
    heard: list[tuple[Tensor, Tensor]] = []
    gates = [module for name, module in model.named_modules() if name.endswith("mixer.gate")]
    hooks = [gate.register_forward_hook(lambda _, __, output: heard.append((output[0], output[2]))) for gate in gates]
    for document in kept:
        ids = torch.from_numpy(document.input_ids.astype(np.int64))[None]
        hidden = model.model(input_ids=ids).last_hidden_state
        for depth in range(min(DEPTHS + 1, ids.shape[1])):
            if depth > 0:
                hidden = model.mtp(hidden[:, : ids.shape[1] - depth], model.model.embeddings(ids[:, depth:]))
            for logits, selected in heard:
                tokens, experts = logits.shape
                top_k = selected.shape[1]
                f = torch.bincount(selected.flatten(), minlength=experts) * experts / (top_k * tokens)
                p = (logits.sigmoid() / logits.sigmoid().sum(dim=1, keepdim=True)).mean(dim=0)
                total = total + LOSS_SCALE * tokens / counts.positions[depth] * (f * p).sum()
            heard.clear()
    for hook in hooks:
        hook.remove()
    return total


def test_biases_balance_a_skewed_load() -> None:
    """A router that favours two of its eight experts, until its bias has made up for it."""
    model = new_model()
    gate = model.model.layers[1].mixer.gate
    with torch.no_grad():
        gate.weight.mul_(0.05)
        gate.e_score_correction_bias.copy_(torch.tensor([0.06, 0.06, 0, 0, 0, 0, 0, 0]))
    kept = trainable(documents(LENGTHS))
    batch, counts, loads = batch_of(kept), count(kept, DEPTHS, CPU), []
    balance = ExpertBalance(model)
    real = torch.arange(batch.input_ids.shape[1])[None] < batch.lengths[:, None]
    for _ in range(80):
        heard: list[Tensor] = []
        hook = gate.register_forward_hook(lambda _, __, output, heard=heard: heard.append(output[2]))
        with torch.no_grad():
            batch_loss(model, batch, counts, Objective("token", "all"), balance)
        hook.remove()
        load = torch.bincount(heard[0][real.flatten()].flatten(), minlength=8).double()
        loads.append(float(load.max() / load.mean()))
        balance.update_biases()
    assert loads[0] > 3.5  # of 4, at which two experts take everything
    assert loads[-1] < 1.5


def test_biases_move_against_the_load_and_only_by_real_tokens() -> None:
    model = new_model()
    gate = model.model.layers[1].mixer.gate
    balance = ExpertBalance(model)
    heard: list[Tensor] = []
    hook = gate.register_forward_hook(lambda _, __, output: heard.append(output[2]))
    kept = trainable(documents([30, 4]))
    batch = batch_of(kept)
    batch_loss(model, batch, count(kept, DEPTHS, CPU), Objective("token", "all"), balance)
    hook.remove()
    balance.update_biases()
    real = torch.arange(30)[None] < batch.lengths[:, None]
    load = torch.bincount(heard[0][real.flatten()].flatten(), minlength=8).double()
    expected = BIAS_RATE * torch.sign(load.mean() - load).float()
    assert torch.equal(gate.e_score_correction_bias, expected)
    assert expected.abs().max() > 0
    balance.update_biases()
    assert torch.equal(gate.e_score_correction_bias, expected)  # the load is forgotten: all equal, so nothing moves
