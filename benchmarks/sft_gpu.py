"""Training on one GPU: tokens per second, model FLOPs utilisation and peak memory, beside TRL.

    python benchmarks/sft_gpu.py [--models hybrid-100m ...] [--steps 6]
    python benchmarks/sft_gpu.py --device cpu --small                  # the same code at toy sizes

Models, newly initialised: hybrids (Mamba-2, LatentMoE, attention, MTP head) of about 100M and 1B parameters, and one
of SmolLM2-135M's shape. Steps of 32k tokens in packs of 8k and of 32k, documents log-normal around 1,000 tokens, the
second half of each supervised; and a pack of 256k that is one document. All in bf16 over fp32 weights, layers
recomputed in the backward pass. First, a small hybrid's loss and gradients are compared with those of a CPU in fp32.

Both train the same documents without the MTP head, which TRL does not have, and Gristmill also with it. TRL pads, 8
documents at a time. Peak memory is of allocated tensors (on CPU, of the process so far).

The model FLOPs of a step, forward and backward (three times the forward pass; what is computed again is not counted):

    6 x weights used by a token        matrices and convolutions; of the experts' the chosen share; the output head only
                                       for targets; the MTP head once per depth
    6 x heads x size x sum of L^2      per attention layer, over documents of L tokens, causal
    3 x (Q (G N + H P) + 4 H P N)      per Mamba layer and token: chunks of Q, G groups, states of N, H heads of size P

They are divided by the time and by the device's dense bf16 peak (--peak-tflops for one that isn't listed here).
"""

import argparse
import gc
import math
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, NemotronHConfig
from transformers.models.nemotron_h import modeling_nemotron_h as nemotron
from transformers.utils import logging
from trl_trainer import Shape, train_by_trl

from sft.batches import batch_of, micro_batches
from sft.documents import Document
from sft.experts import ExpertBalance
from sft.kernels import choose_kernels
from sft.loss import Counts, Objective, batch_loss, count
from sft.model import CausalLM, NemotronHForCausalLM, computing, has_mtp
from sft.stages import new_optimizer

DEPTHS, SCALE = 2, 0.3
PEAKS = {
    "H200": 989,
    "H100": 989,
    "A100": 312,
    "L40S": 362,
    "L4": 121,
    "4090": 165,
    "B200": 2250,
}  # dense bf16, TFLOP/s
TRL_AT_ONCE = 8
LOSS_TOLERANCE, COSINE = 0.01, 0.98  # bf16 against fp32


class Sizes(NamedTuple):
    """`packs` are sizes of packs of several documents; `whole` is that of the pack of a single one."""

    step: int
    packs: Sequence[int]
    whole: int
    median: int


LARGE = Sizes(step=32_768, packs=(8_192, 32_768), whole=262_144, median=1_000)
SMALL = Sizes(step=256, packs=(128,), whole=512, median=50)
COMPARED = Sizes(step=1_024, packs=(), whole=0, median=100)  # with a CPU


def hybrid(hidden: int, blocks: int, experts: int, vocabulary: int, heads: int) -> CausalLM:
    """`blocks` times two pairs of Mamba and MoE, then attention and MoE."""
    config = NemotronHConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        layers_block_type=["linear_attention", "moe", "linear_attention", "moe", "full_attention", "moe"] * blocks,
        num_attention_heads=heads,
        num_key_value_heads=max(1, heads // 4),
        head_dim=hidden // heads,
        mamba_num_heads=heads,
        mamba_head_dim=2 * hidden // heads,
        ssm_state_size=min(128, hidden),
        n_groups=1,
        chunk_size=min(128, hidden),
        n_routed_experts=experts,
        num_experts_per_tok=2,
        moe_latent_size=hidden // 2,
        moe_intermediate_size=hidden,
        moe_shared_expert_intermediate_size=hidden,
        intermediate_size=hidden,
        num_nextn_predict_layers=1,
        mtp_layers_block_type=["full_attention", "moe"],
    )
    return NemotronHForCausalLM(config)


def smollm(hidden: int, layers: int, vocabulary: int, heads: int) -> CausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=hidden,
            intermediate_size=hidden * 8 // 3,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=heads // 3,
            tie_word_embeddings=True,
        )
    )


def new_model(name: str, small: bool) -> CausalLM:
    torch.manual_seed(0)
    match name:
        case "hybrid-100m":
            return hybrid(64, 1, 8, 512, 8) if small else hybrid(512, 3, 16, 32_768, 8)
        case "hybrid-1b":
            return hybrid(96, 1, 8, 512, 8) if small else hybrid(2048, 2, 18, 65_536, 16)
        case _:
            return smollm(48, 2, 512, 3) if small else smollm(576, 30, 49_152, 9)


MODELS = ("hybrid-100m", "hybrid-1b", "smollm2-135m")


def steps_of(size: int, sizes: Sizes, vocabulary: int, steps: int) -> Iterator[list[list[Document]]]:
    """The packs of each step: filled up with a last, shorter document, or with a single one for `sizes.whole`."""
    rng = np.random.default_rng(0)
    for _ in range(steps):
        yield [list(pack(rng, size, sizes, vocabulary)) for _ in range(max(1, sizes.step // size))]


def pack(rng: np.random.Generator, size: int, sizes: Sizes, vocabulary: int) -> Iterator[Document]:
    room = size
    while room > 1:
        drawn = int(np.clip(rng.lognormal(np.log(sizes.median), 0.8), 8, size))
        length = size if size == sizes.whole else min(drawn, room)
        mask = np.zeros(length, np.uint8)
        mask[length // 2 : length - 1] = 1
        yield Document("", rng.integers(2, vocabulary, length).astype(np.int32), mask)
        room -= length


def model_flops(model: CausalLM, lengths: Sequence[int], targets: Sequence[int]) -> float:
    """Of one step over documents of these `lengths`, with so many targets at each depth: see above."""
    mtp = list(model.mtp.modules()) if has_mtp(model) else []
    head = model.get_output_embeddings()
    total = 6.0 * head.weight.numel() * sum(targets)
    for module in model.modules():
        times = len(targets) - 1 if any(module is one for one in mtp) else 1
        if module is not head:
            total += times * _of_module(module, lengths)
    return total


def _of_module(module: nn.Module, lengths: Sequence[int]) -> float:
    tokens = sum(lengths)
    match module:
        case nn.Linear() | nn.Conv1d() | nemotron.NemotronHTopkRouter():
            return 6.0 * module.weight.numel() * tokens
        case nemotron.NemotronHMoE():
            experts = module.experts
            chosen = module.gate.top_k / experts.num_experts
            return 6.0 * chosen * (experts.up_proj.numel() + experts.down_proj.numel()) * tokens
        case nemotron.NemotronHMamba2Mixer():
            inner, states = module.num_heads * module.head_dim, module.ssm_state_size
            return 3.0 * tokens * (module.chunk_size * (module.n_groups * states + inner) + 4 * inner * states)
        case _ if hasattr(module, "q_proj"):
            return 6.0 * module.q_proj.out_features * sum(length**2 for length in lengths)
    return 0.0


class Measured(NamedTuple):
    tokens_per_s: float
    flops_per_s: float
    peak_gb: float


def ours(model: CausalLM, made: list[list[list[Document]]], device: torch.device) -> Measured:
    """The first step warms up."""
    prepared(model, device)
    flat = choose_kernels(model, device, "bf16").flat
    optimizer, balance = new_optimizer(list(model.parameters())), ExpertBalance(model)
    depths, rates = DEPTHS if has_mtp(model) else 0, []
    for packs in made:
        documents = [document for held in packs for document in held]
        started = time.perf_counter()
        counts = count(documents, depths, device)
        for held in packs:
            for rows in micro_batches(held, sum(len(document.input_ids) for document in held), flat):
                batch = batch_of(rows, flat).to(device)
                with computing("bf16", device):
                    loss = batch_loss(model, batch, counts, Objective("sample", "all"), balance)
                (loss.main + SCALE * loss.mtp + loss.balance).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        balance.update_biases()
        synchronize(device)
        rates.append(rate(model, documents, counts, time.perf_counter() - started))
    balance.close()
    return median(rates[1:], device)


def rate(model: CausalLM, documents: Sequence[Document], counts: Counts, seconds: float) -> tuple[float, float]:
    lengths = [len(document.input_ids) for document in documents]
    return sum(lengths) / seconds, model_flops(model, lengths, counts.targets) / seconds


def theirs(model: CausalLM, made: list[list[list[Document]]], device: torch.device, folder: Path) -> Measured:
    """TRL, the same documents in the same order, in steps of about as many."""
    documents = [document for packs in made for held in packs for document in held]
    at_once = min(TRL_AT_ONCE, len(documents) // len(made))
    accumulated = max(1, round(len(documents) / len(made) / at_once))
    shape = Shape(at_once, accumulated, max(1, len(documents) // (at_once * accumulated) - 1))

    def clock() -> float:
        synchronize(device)
        return time.perf_counter()

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    on_cpu = device.type == "cpu"
    steps = train_by_trl(
        model,
        documents,
        shape,
        clock,
        folder,
        learning_rate=1e-4,
        use_cpu=on_cpu,
        bf16=True,
        activation_checkpointing=True,
    )
    flops = [model_flops(model, step.lengths, [step.targets]) for step in steps]
    rates = [(sum(step.lengths) / step.seconds, each / step.seconds) for step, each in zip(steps, flops, strict=True)]
    return median(rates, device)


def prepared(model: CausalLM, device: torch.device) -> None:
    model.to(device).train()
    model.activation_checkpointing_enable({"use_reentrant": False})
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def median(rates: Sequence[tuple[float, float]], device: torch.device) -> Measured:
    on_gpu = device.type == "cuda"
    peak = torch.cuda.max_memory_allocated() if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    tokens, flops = (statistics.median(column) for column in zip(*rates, strict=True))
    return Measured(tokens, flops, peak / 1e9)


def headless(name: str, small: bool) -> CausalLM:
    model = new_model(name, small)
    if has_mtp(model):
        del model.mtp
    return model


def measure(name: str, size: int, sizes: Sizes, arguments: argparse.Namespace, device: torch.device) -> None:
    """A line for each trainer: what it does, or that the device is too small for it."""
    peak = peak_flops(arguments.peak_tflops, device)
    vocabulary = new_model_vocabulary(name, arguments.small)
    made = list(steps_of(size, sizes, vocabulary, arguments.steps))
    trainers: dict[str, Callable[[Path], Measured]] = {
        "Gristmill": lambda folder: ours(headless(name, arguments.small), made, device)
    }
    if name.startswith("hybrid"):
        trainers["Gristmill, MTP"] = lambda folder: ours(new_model(name, arguments.small), made, device)
    trainers["TRL"] = lambda folder: theirs(headless(name, arguments.small), made, device, folder)
    for trainer, run in trainers.items():
        with tempfile.TemporaryDirectory() as folder:
            try:
                found = run(Path(folder))
            except torch.OutOfMemoryError:
                told = "the device's memory is too small"
            else:
                used = f"{found.flops_per_s / peak:6.1%}" if peak else f"{found.flops_per_s / 1e12:6.3f} TFLOP/s"
                told = f"{found.tokens_per_s:10,.0f} tokens/s  {used} of model FLOPs  peak {found.peak_gb:6.2f} GB"
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
        print(f"{name:13} packs of {size:7,}  {trainer:14}  {told}", flush=True)


def new_model_vocabulary(name: str, small: bool) -> int:
    with torch.device("meta"):
        return int(new_model(name, small).config.vocab_size)


def peak_flops(given: float | None, device: torch.device) -> float | None:
    if given:
        return given * 1e12
    name = torch.cuda.get_device_name() if device.type == "cuda" else ""
    return next((peak * 1e12 for part, peak in PEAKS.items() if part in name), None)


def check_against_cpu(device: torch.device) -> None:
    """Raises where the device's loss or gradients in bf16 aren't those of a CPU in fp32."""
    made = [held for packs in steps_of(COMPARED.step, COMPARED, 512, 1) for pack in packs for held in pack]
    found = []
    for where, precision in ((torch.device("cpu"), "fp32"), (device, "bf16")):
        model = new_model("hybrid-100m", small=True).to(where).train()
        flat = choose_kernels(model, where, precision).flat
        counts, balance, total = count(made, DEPTHS, where), ExpertBalance(model), 0.0
        for rows in micro_batches(made, COMPARED.step, flat):
            batch = batch_of(rows, flat).to(where)
            with computing(precision, where):
                loss = batch_loss(model, batch, counts, Objective("sample", "all"), balance)
            whole = loss.main + SCALE * loss.mtp + loss.balance
            whole.backward()
            total += whole.item()
        gradients = [p.grad.float().cpu().flatten() for p in model.parameters() if p.grad is not None]
        found.append((total, torch.cat(gradients)))
    (expected, right), (loss, gradient) = found
    apart, cosine = abs(loss / expected - 1), torch.cosine_similarity(gradient, right, dim=0).item()
    print(f"against a CPU in fp32: loss apart by {apart:.2e}, gradients' cosine {cosine:.5f}")
    if not (apart < LOSS_TOLERANCE and cosine > COSINE and math.isfinite(loss)):
        raise SystemExit(f"beyond the tolerance of bf16 ({LOSS_TOLERANCE:g}, {COSINE:g})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--small", action="store_true", help="toy sizes")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--steps", type=int, default=6, help="of each measurement; the first isn't timed")
    parser.add_argument("--peak-tflops", type=float, help="the device's dense bf16 peak")
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    device = torch.device(arguments.device)
    sizes = SMALL if arguments.small else LARGE
    print(f"{torch.cuda.get_device_name() if device.type == 'cuda' else 'CPU'}, torch {torch.__version__}")
    check_against_cpu(device)
    for name in arguments.models:
        model = new_model(name, arguments.small).to(device)
        print(f"{name}: {sum(p.numel() for p in model.parameters()):,} parameters. ", end="")
        print(choose_kernels(model, device, "bf16").told)
        del model
        for size in (*sizes.packs, sizes.whole):
            measure(name, size, sizes, arguments, device)


if __name__ == "__main__":
    main()
