"""benchmarks/sft_gpu.py: the same code at toy sizes on CPU, and its count of model FLOPs."""

import re
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers.models.nemotron_h.modeling_nemotron_h import NemotronHAttention, NemotronHMamba2Mixer

from sft.batches import batch_of
from sft.documents import Document
from sft.experts import ExpertBalance
from sft.loss import Objective, batch_loss, count
from sft.model import CausalLM

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def benchmark() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
        return import_module("sft_gpu")


def test_it_measures_both_trainers(
    benchmark: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--device", "cpu", "--small", "--models", "hybrid-100m", "--steps", "2", "--peak-tflops", "1"]
    monkeypatch.setattr("sys.argv", ["sft_gpu.py", *options])
    benchmark.main()
    told = capsys.readouterr().out
    assert "Documents are padded rows: the device is cpu." in told
    pattern = (
        r"hybrid-100m +packs of +([\d,]+)  (Gristmill, MTP|Gristmill|TRL) +([\d,]+) tokens/s +([\d.]+)% of model FLOPs"
    )
    lines = re.findall(pattern, told)
    assert [line[:2] for line in lines] == [
        (size, trainer) for size in ("128", "512") for trainer in ("Gristmill", "Gristmill, MTP", "TRL")
    ]
    assert all(float(line[2].replace(",", "")) > 0 for line in lines)


def test_a_device_that_computes_something_else_is_found(benchmark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "COSINE", 0.9999999)
    with pytest.raises(SystemExit, match="beyond the tolerance"):
        benchmark.check_against_cpu(torch.device("cpu"))


def test_the_steps_are_full_packs(benchmark: Any) -> None:
    sizes = benchmark.SMALL
    for size in (*sizes.packs, sizes.whole):
        (packs,) = benchmark.steps_of(size, sizes, 512, 1)
        lengths = [[len(document.input_ids) for document in held] for held in packs]
        assert len(packs) == max(1, sizes.step // size)
        assert all(size - 1 <= sum(held) <= size for held in lengths)
        assert (len(lengths[0]) == 1) == (size == sizes.whole)


def counted(model: CausalLM, length: int) -> Counter[str]:
    """The FLOPs of a step over one document of which every token is a target, as torch counts them by operation. The
    logits, which are computed twice, count once."""
    model.train().set_attn_implementation("eager")  # matrix products, which torch counts
    made = [Document("", np.arange(length, dtype=np.int32), np.append(np.ones(length - 1, np.uint8), np.uint8(0)))]
    counts = count(made, 0, torch.device("cpu"))
    with FlopCounterMode(display=False) as counter:
        loss = batch_loss(model, batch_of(made), counts, Objective("token", "all"), ExpertBalance(model))
        (loss.main + loss.balance).backward()
    found = Counter({str(operation): flops for operation, flops in counter.get_flop_counts()["Global"].items()})
    found["aten.mm"] -= 2 * model.get_output_embeddings().weight.numel() * counts.targets[0]
    return found


def test_model_flops_are_those_that_torch_counts(benchmark: Any) -> None:
    """Which counts all pairs of tokens, where attention is causal."""
    model, length = benchmark.headless("smollm2-135m", True), 200
    attention = sum(module.q_proj.out_features for module in model.modules() if hasattr(module, "q_proj")) * length**2
    found = counted(model, length).total() - 6 * attention
    assert found == pytest.approx(benchmark.model_flops(model, [length], [length - 1]), rel=0.01)


def test_so_are_those_of_a_hybrids_matrices(benchmark: Any) -> None:
    """Experts included, of which a token uses two. Scans and attention aren't plain products there."""
    model, length = benchmark.headless("hybrid-100m", True), 192
    scans = (NemotronHMamba2Mixer, NemotronHAttention, nn.Conv1d)
    beside = sum(benchmark._of_module(module, [length]) for module in model.modules() if isinstance(module, scans))
    expected = benchmark.model_flops(model, [length], [length - 1]) - beside
    assert beside > 0.1 * expected
    assert counted(model, length)["aten.mm"] == pytest.approx(expected, rel=0.001)
