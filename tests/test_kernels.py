"""Documents in one flat row: the same losses and gradients as padded rows, and what the kernels are given.

The kernels of a GPU are stood in for by references of the same signature that loop over the documents and check what
the real ones check.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen3Config, Qwen3ForCausalLM
from transformers.integrations.hub_kernels import use_kernel_func_from_hub_with_fallback
from transformers.models.nemotron_h import modeling_nemotron_h

from gristmill.errors import ConfigError
from sft import kernels as kernels_module
from sft.batches import batch_of, micro_batches, trainable
from sft.documents import Document
from sft.experts import ExpertBalance
from sft.kernels import check_loss_kernel, choose_kernels
from sft.loss import LossKind, Objective, batch_loss, count
from sft.model import CausalLM, has_mtp, trunk_states
from tests.test_loss import CPU, DEPTHS, KINDS, LENGTHS, SCALE, difference, documents, gradients, new_model

TOLERANCE = 1e-6  # relative; fp32
CUDA = torch.device("cuda")

pytestmark = pytest.mark.usefixtures("one_thread")

plain_convolution: Callable[..., Tensor] = modeling_nemotron_h.causal_conv1d_fn
plain_scan: Callable[..., Tensor] = modeling_nemotron_h.mamba2_chunk_scan


def biases(model: CausalLM) -> dict[str, Tensor]:
    return {name: value for name, value in model.state_dict().items() if name.endswith("e_score_correction_bias")}


def spans(seq_idx: Tensor) -> list[tuple[int, int]]:
    """Where the documents of a flat row begin and end, by the numbers of its positions."""
    assert seq_idx.dtype == torch.int32 and seq_idx.is_contiguous() and seq_idx.shape[0] == 1
    numbers = seq_idx[0].tolist()
    assert numbers == sorted(numbers)
    starts = [at for at, number in enumerate(numbers) if at == 0 or number != numbers[at - 1]]
    return list(pairwise([*starts, len(numbers)]))


def varlen_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor | None,
    max_q: int,
    max_k: int,
    *,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
) -> Tensor:
    """`torch.nn.attention.varlen.varlen_attn`, document by document."""
    assert query.ndim == key.ndim == value.ndim == 3 and key.shape == value.shape
    assert query.shape[0] == key.shape[0] == int(cu_seq_q[-1]) and query.shape[2] == key.shape[2]
    assert query.dtype == key.dtype == value.dtype
    assert cu_seq_k is not None and torch.equal(cu_seq_q, cu_seq_k) and cu_seq_q.dtype == torch.int32
    assert max_q == max_k == int(cu_seq_q.diff().max()) and isinstance(max_q, int)
    assert window_size == (-1, 0)  # causal
    parts = []
    for start, end in pairwise(cu_seq_q.tolist()):
        q, k, v = (states[start:end].transpose(0, 1) for states in (query, key, value))
        attended = nn.functional.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=scale, enable_gqa=enable_gqa
        )
        parts.append(attended.transpose(0, 1))
    return torch.cat(parts)


def mamba_split_conv1d_scan_combined(
    zxbcdt: Tensor,
    conv1d_weight: Tensor,
    conv1d_bias: Tensor | None,
    dt_bias: Tensor,
    A: Tensor,
    D: Tensor,
    chunk_size: int,
    initial_states: Tensor | None = None,
    seq_idx: Tensor | None = None,
    dt_limit: tuple[float, float] = (0.0, float("inf")),
    return_final_states: bool = False,
    activation: str = "silu",
    rmsnorm_weight: Tensor | None = None,
    rmsnorm_eps: float = 1e-6,
    outproj_weight: Tensor | None = None,
    outproj_bias: Tensor | None = None,
    headdim: int | None = None,
    ngroups: int = 1,
    norm_before_gate: bool = True,
) -> Tensor:
    """mamba-ssm's function of this name, document by document."""
    assert initial_states is None and not return_final_states and not norm_before_gate
    assert headdim is not None and rmsnorm_weight is not None and outproj_weight is not None
    assert seq_idx is None or seq_idx.shape == zxbcdt.shape[:2]
    heads, size = len(A), len(A) * headdim
    states = (conv1d_weight.shape[0] - size) // ngroups // 2
    parts = []
    for start, end in spans(seq_idx) if seq_idx is not None else [(0, zxbcdt.shape[1])]:
        z, mixed, dt = zxbcdt[:, start:end].split([size, size + 2 * ngroups * states, heads], dim=-1)
        mixed = plain_convolution(mixed.transpose(1, 2), conv1d_weight, conv1d_bias, activation=activation)
        x, b, c = mixed.transpose(1, 2).split([size, ngroups * states, ngroups * states], dim=-1)
        grouped = [part.reshape(*part.shape[:2], ngroups, states) for part in (b, c)]
        x = x.reshape(*x.shape[:2], heads, headdim)
        scanned = plain_scan(
            x, dt, A, *grouped, chunk_size=chunk_size, D=D, dt_bias=dt_bias, dt_softplus=True, dt_limit=dt_limit
        )
        gated = (scanned.flatten(2) * nn.functional.silu(z)).unflatten(-1, (ngroups, -1))
        normed = (gated * torch.rsqrt(gated.square().mean(-1, keepdim=True) + rmsnorm_eps)).flatten(2) * rmsnorm_weight
        parts.append(nn.functional.linear(normed, outproj_weight, outproj_bias))
    return torch.cat(parts, dim=1)


@pytest.fixture
def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a CUDA machine with the kernels installed. Transformers finds mamba-ssm's function in its own way."""
    packages = {name: ModuleType(name) for name in ("mamba_ssm", "causal_conv1d")}
    within = ModuleType("mamba_ssm.ops.triton.ssd_combined")
    for module in (packages["mamba_ssm"], within):
        module.__dict__["mamba_split_conv1d_scan_combined"] = mamba_split_conv1d_scan_combined
    for name, package in {**packages, "mamba_ssm.ops.triton.ssd_combined": within}.items():
        monkeypatch.setitem(sys.modules, name, package)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(kernels_module, "varlen_attn", varlen_attention)
    name = "mamba2_split_conv1d_scan_combined"
    found = use_kernel_func_from_hub_with_fallback("mamba_split_conv1d_scan_combined", "mamba_ssm")
    monkeypatch.setattr(modeling_nemotron_h, name, found(getattr(modeling_nemotron_h, name)))
    yield


def step(model: CausalLM, made: list[Document], kind: LossKind, tokens: int, flat: bool) -> dict[str, Any]:
    """The losses and gradients of one optimizer step, and the experts' biases after it."""
    model.train().zero_grad()
    kept = trainable(made)
    depths = DEPTHS if has_mtp(model) else 0
    counts, balance = count(kept, depths, CPU), ExpertBalance(model)
    losses = torch.zeros(3)
    before = {name: bias.clone() for name, bias in biases(model).items()}
    for held in micro_batches(kept, tokens, flat):
        found = batch_loss(model, batch_of(held, flat), counts, Objective(kind, "all"), balance)
        (found.main + SCALE * found.mtp + found.balance).backward()
        losses += torch.stack(found[:3]).detach()
    balance.update_biases()
    balance.close()
    moved = {name: bias - before[name] for name, bias in biases(model).items()}
    model.load_state_dict(before, strict=False)
    return {"losses": losses, "gradients": gradients(model), "moved": moved}


@pytest.mark.parametrize("kind", KINDS)
def test_flat_rows_equal_padded_rows(kind: LossKind, on_a_gpu: None) -> None:
    model = new_model()
    expected = step(model, documents(LENGTHS), kind, 140, flat=False)
    assert choose_kernels(model, CUDA, "bf16").flat
    for tokens in (140, 10_000):
        found = step(model, documents(LENGTHS), kind, tokens, flat=True)
        torch.testing.assert_close(found["losses"], expected["losses"], rtol=TOLERANCE, atol=0)
        assert difference(expected["gradients"], found["gradients"]) < TOLERANCE
        assert found["moved"].keys() == expected["moved"].keys() and len(found["moved"]) == 3
        assert all(torch.equal(found["moved"][name], moved) for name, moved in expected["moved"].items())


def llama() -> CausalLM:
    return LlamaForCausalLM(LlamaConfig(**SMALL))


def qwen() -> CausalLM:
    return Qwen3ForCausalLM(Qwen3Config(**SMALL, head_dim=16))


SMALL: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.05,
}


@pytest.mark.parametrize("new", [llama, qwen])
def test_flat_rows_equal_padded_rows_in_other_models(new: Callable[[], CausalLM], on_a_gpu: None) -> None:
    torch.manual_seed(0)
    model = new()
    expected = step(model, documents(LENGTHS), "sample", 140, flat=False)
    assert choose_kernels(model, CUDA, "bf16").flat
    found = step(model, documents(LENGTHS), "sample", 10_000, flat=True)
    torch.testing.assert_close(found["losses"], expected["losses"], rtol=TOLERANCE, atol=0)
    assert difference(expected["gradients"], found["gradients"]) < TOLERANCE


def test_another_document_changes_no_bit_of_a_flat_row(on_a_gpu: None) -> None:
    """Neither the one before nor the one after it: logits of the trunk and of both MTP depths, and gradients of the
    inputs, through Mamba's convolution and state and through attention."""
    model = new_model().train()
    choose_kernels(model, CUDA, "bf16")

    def of_the_middle(first: Document, last: Document) -> list[Tensor]:
        batch = batch_of([first, middle, last], flat=True)
        here = slice(len(first.input_ids), len(first.input_ids) + len(middle.input_ids))
        embedded = model.get_input_embeddings()
        inputs = embedded(batch.input_ids).detach().requires_grad_()
        hidden = model.base_model(inputs_embeds=inputs, use_cache=False, **batch.bounds())[0]
        states = [hidden[0, here]]
        for depth in range(1, DEPTHS + 1):
            hidden = model.mtp(hidden, embedded(batch.ahead(batch.input_ids, depth)), batch.bounds())
            states.append(hidden[0, here][:-depth])
        logits = [model.lm_head(each) for each in states]
        torch.stack([(each**2).sum() for each in logits]).sum().backward()
        assert inputs.grad is not None and inputs.grad[0, here].abs().max() > 0
        outside = torch.ones(inputs.shape[1], dtype=torch.bool).index_fill(0, torch.arange(here.start, here.stop), 0)
        assert not inputs.grad[0, outside].any()
        return [*logits, inputs.grad[0, here]]

    made = documents([40, 70, 40, 40, 40])
    middle = made[1]
    expected = of_the_middle(made[0], made[2])
    for left, right in zip(expected, of_the_middle(made[3], made[4]), strict=True):
        assert torch.equal(left, right)


def test_documents_would_leak_if_the_kernels_were_not_told(on_a_gpu: None) -> None:
    model = new_model().train()
    choose_kernels(model, CUDA, "bf16")
    batch = batch_of(documents([40, 50]), flat=True)
    bounds = batch.bounds()
    expected = trunk_states(model, batch.input_ids, bounds)[0, 40:]
    for name in ("seq_idx", "cu_seq_lens_q"):
        told = {key: value for key, value in bounds.items() if key != name}
        assert (trunk_states(model, batch.input_ids, told)[0, 40:] - expected).abs().max() > 1e-3


def test_without_the_kernel_transformers_refuses_a_flat_row() -> None:
    """Rather than leak."""
    with pytest.raises(ValueError, match="packed sequences"):
        batch = batch_of(documents([40, 50]), flat=True)
        trunk_states(new_model().train(), batch.input_ids, batch.bounds())


def test_one_document_needs_no_bounds() -> None:
    assert batch_of(documents([9]), flat=True).bounds() == batch_of(documents([9, 4])).bounds() == {}


def test_generation_and_padding_still_have_their_masks(on_a_gpu: None) -> None:
    """With the attention of flat rows, whatever isn't a flat row is attended to as with SDPA."""
    model = new_model().eval()
    tokens, mask = torch.randint(0, 60, (2, 12)), torch.ones(2, 12, dtype=torch.int64)
    mask[0, :5] = 0

    def outputs() -> list[Tensor]:
        with torch.no_grad():
            return [model(input_ids=tokens, attention_mask=mask).logits, trunk_states(model, tokens)]

    expected = outputs()
    choose_kernels(model, CUDA, "bf16")
    for left, right in zip(expected, outputs(), strict=True):
        assert torch.equal(left, right)


def test_queries_take_the_precision_of_the_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rotary embeddings in fp32 lift them out of autocast's precision, which flash attention would refuse."""
    monkeypatch.setattr(kernels_module, "varlen_attn", varlen_attention)
    query, key = torch.randn(1, 4, 9, 16), torch.randn(1, 2, 9, 16)
    value, ends = torch.randn(1, 2, 9, 16, dtype=torch.bfloat16), torch.tensor([0, 5, 9], dtype=torch.int32)
    found, _ = kernels_module.attend_within_documents(nn.Module(), query, key, value, None, ends, 5)
    assert found.shape == (1, 9, 4, 16) and found.dtype == torch.bfloat16


def told(model: CausalLM, device: str = "cuda", precision: str = "bf16") -> str:
    chosen = choose_kernels(model, torch.device(device), precision)
    assert chosen.flat == chosen.told.startswith("Documents share flat rows")
    return chosen.told


def test_what_runs_is_said(on_a_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    hybrid, other = new_model(), llama()
    assert told(hybrid).endswith("variable-length flash attention and mamba-ssm.")
    assert told(other).endswith("variable-length flash attention.")
    assert "the device is cpu" in told(hybrid, device="cpu")
    assert "precision is fp32" in told(hybrid, precision="fp32")
    windowed = MistralForCausalLM(MistralConfig(**SMALL, sliding_window=8))
    assert "mistral has layers beside" in told(windowed)
    monkeypatch.setitem(sys.modules, "mamba_ssm", None)
    assert "mamba_ssm can't be imported" in told(hybrid)
    assert told(other).startswith("Documents share flat rows")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert "Ampere" in told(other)


def test_a_flat_batch_holds_no_padding() -> None:
    made = documents(LENGTHS)
    for tokens in (10_000, 140, 1):
        found = [batch_of(held, flat=True) for held in micro_batches(made, tokens, flat=True)]
        sizes = [batch.input_ids.numel() for batch in found]
        assert sum(sizes) == sum(LENGTHS)
        assert all(size <= tokens or len(batch.lengths) == 1 for size, batch in zip(sizes, found, strict=True))


LIGER = """
import json, torch
from sft.loss import target_losses
device = "cuda" if torch.cuda.is_available() else "cpu"
torch.manual_seed(0)
head, targets = torch.nn.Linear(16, 50, bias=False).to(device), torch.randint(50, (40,), device=device)
hidden, weights = torch.randn(40, 16, device=device, requires_grad=True), torch.rand(40, device=device)
found = {}
for kernel in ("torch", "liger"):
    losses = target_losses(head, hidden, targets, kernel)
    (losses * weights).sum().backward()
    found[kernel] = [losses.detach(), hidden.grad, head.weight.grad]
    hidden.grad = head.weight.grad = None
pairs = zip(found["torch"], found["liger"])
print(json.dumps([((left - right).norm() / left.norm()).item() for left, right in pairs]))
"""


def test_ligers_losses_and_gradients_are_ours() -> None:
    """With a weight of its own for each target. Without a GPU, Triton interprets the kernel."""
    pytest.importorskip("liger_kernel.ops", reason="liger-kernel isn't installed")
    interpreted = {} if torch.cuda.is_available() else {"TRITON_INTERPRET": "1"}
    ran = subprocess.run([sys.executable, "-c", LIGER], env=os.environ | interpreted, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    differences = json.loads(ran.stdout)
    assert len(differences) == 3 and max(differences) < TOLERANCE


def test_where_liger_cant_be_had_is_said(on_a_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    model = llama()
    check_loss_kernel("torch", model, CPU)
    with pytest.raises(ConfigError, match="it needs CUDA, and the device is cpu; leave it at torch"):
        check_loss_kernel("liger", model, CPU)
    monkeypatch.setitem(sys.modules, "liger_kernel.ops", None)
    with pytest.raises(ConfigError, match=r"pip install gristmill\[liger\]"):
        check_loss_kernel("liger", model, CUDA)
    monkeypatch.setitem(sys.modules, "liger_kernel", ModuleType("liger_kernel"))
    monkeypatch.setitem(sys.modules, "liger_kernel.ops", ModuleType("liger_kernel.ops"))
    check_loss_kernel("liger", model, CUDA)
    model.lm_head = nn.Linear(64, 60)
    with pytest.raises(ConfigError, match="takes no bias"):
        check_loss_kernel("liger", model, CUDA)


@pytest.mark.parametrize("flat", [False, True])
def test_layers_that_are_computed_again_change_nothing(flat: bool, on_a_gpu: None) -> None:
    """Neither gradients nor the experts' load, which counts once."""
    model = new_model()
    choose_kernels(model, CUDA, "bf16")
    expected = step(model, documents(LENGTHS), "sample", 300, flat)
    model.activation_checkpointing_enable({"use_reentrant": False})
    found = step(model, documents(LENGTHS), "sample", 300, flat)
    assert difference(expected["gradients"], found["gradients"]) < TOLERANCE
    assert all(torch.equal(found["moved"][name], moved) for name, moved in expected["moved"].items())
