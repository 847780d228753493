"""The losses against the formulas written out conversation by conversation."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from sft.batches import Document, padded, padded_batches, trainable
from sft.experts import BIAS_RATE, LOSS_SCALE, ExpertBalance
from sft.loss import Counts, LossKind, Objective, batch_loss, count, target_losses
from sft.model import CausalLM, Vocabulary, load_model, trunk_states

DEPTHS, SCALE = 2, 0.3
CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def new_model(scale: float = 4.0) -> CausalLM:
    """A tiny model with weights large enough that positions, experts and documents differ clearly."""
    model = load_model("tiny", Vocabulary(size=60, end=1, pad=0), seed=0)[0]
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(scale)
    return model


def documents(lengths: Sequence[int], seed: int = 0) -> list[Document]:
    """Random conversations: a prompt, then one or two supervised spans."""
    rng = np.random.default_rng(seed)
    made = []
    for length in lengths:
        mask = np.zeros(length, dtype=np.uint8)
        start = int(rng.integers(0, max(1, length // 2)))
        mask[start : int(rng.integers(start + 1, length + 1))] = 1
        mask[-1] = 0
        made.append(Document(rng.integers(0, 60, length).astype(np.int32), mask))
    return made


def written_out(model: CausalLM, conversations: Sequence[Document], kind: LossKind) -> Tensor:
    """L as the specification has it: one conversation at a time, one depth at a time, plain full logits."""
    taking_part = [c for c in conversations if c.loss_mask.sum() > 0]
    n = {d: sum(int(c.loss_mask[d:].sum()) for c in taking_part) for d in range(DEPTHS + 1)}
    total = torch.zeros(())
    for conversation in taking_part:
        ids = torch.from_numpy(conversation.input_ids.astype(np.int64))[None]
        supervised = torch.from_numpy(np.concatenate([[0], conversation.loss_mask[:-1]])).float()  # m_j by token
        hidden = model.model(input_ids=ids).last_hidden_state
        for depth in range(DEPTHS + 1):
            if depth >= ids.shape[1]:
                break
            if depth > 0:
                hidden = model.mtp(hidden[:, : ids.shape[1] - depth], model.model.embeddings(ids[:, depth:]))
            logits = model.lm_head(hidden[0, : ids.shape[1] - depth - 1])
            wanted = ids[0, depth + 1 :]
            terms = torch.nn.functional.cross_entropy(logits, wanted, reduction="none") * supervised[depth + 1 :]
            if depth > 0:
                total = total + SCALE / DEPTHS * terms.sum() / n[depth]
            elif kind == "token":
                total = total + terms.sum() / n[0]
            else:
                total = total + terms.sum() / int(conversation.loss_mask.sum()) / len(taking_part)
    return total


def step_gradients(model: CausalLM, shares: list[list[Document]], kind: LossKind, tokens: int) -> dict[str, Tensor]:
    """Gradients of one optimizer step whose packs are `shares`, by micro-batches of at most `tokens`."""
    model.zero_grad()
    kept = [trainable(share) for share in shares]
    counts = count([c for share in kept for c in share], DEPTHS, CPU)
    balance = ExpertBalance(model)
    for share in kept:
        for batch in padded_batches(share, tokens):
            loss = batch_loss(model, batch, counts, Objective(kind, "all"), balance)
            (loss.main + SCALE * loss.mtp).backward()
    balance.close()
    return gradients(model)


def gradients(model: CausalLM) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def difference(left: dict[str, Tensor], right: dict[str, Tensor]) -> float:
    assert left.keys() == right.keys()
    scale = max(float(g.abs().max()) for g in left.values())
    return max(float((left[name] - right[name]).abs().max()) for name in left) / scale


LENGTHS = [9, 40, 3, 65, 33, 2, 17, 130, 5, 5, 48]


@pytest.mark.parametrize("kind", ["token", "sample"])
def test_gradients_equal_the_formula_written_out(kind: LossKind) -> None:
    model = new_model()
    conversations = documents(LENGTHS)
    written_out(model, conversations, kind).backward()
    expected = gradients(model)
    one_batch = step_gradients(model, [conversations], kind, tokens=10_000)
    print("one", difference(expected, one_batch))
    uneven = step_gradients(model, [conversations[:2], conversations[2:]], kind, tokens=140)
    print("uneven", difference(expected, uneven))
