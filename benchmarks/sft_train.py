"""Supervised tokens per second of training, beside TRL on the same model, data and tokens per optimizer step.

    python benchmarks/sft_train.py [--steps 12] [--rounds 3]

The model is the tiny hybrid (Mamba-2, LatentMoE, attention) without its MTP head, in fp32 on one CPU thread. Documents
have log-normal lengths from 50 to 1,000 tokens, the second half of each supervised; a step holds 16 of them. TRL trains
with its padding collator, 8 documents at a time and then 1 at a time (no padding). Rounds alternate; medians of ratios.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from trl_trainer import Shape, train_by_trl

from gristmill.config import validate
from schemas.sft_config import SFTConfig
from sft.batches import PackFiles
from sft.documents import Document
from sft.model import CausalLM, Vocabulary, load_model
from sft.packing import write_packs
from sft.sharding import Shared
from sft.stages import Cursor
from sft.step import StageTrainer
from sft.world import World

DOCUMENTS, PER_STEP = 256, 16
VOCABULARY = Vocabulary(size=2048, end=1, pad=0)
MICRO_TOKENS = 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    made = list(documents())
    lengths = [len(document.input_ids) for document in made]
    print(f"{DOCUMENTS} documents of {min(lengths)} to {max(lengths)} tokens, {np.mean(lengths):.0f} in the mean")
    speeds: dict[str, list[float]] = {"Gristmill": [], "TRL, batches of 8, padded": [], "TRL, one by one": []}
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as folder:
            speeds["Gristmill"].append(ours(made, arguments.steps, Path(folder)))
            speeds["TRL, batches of 8, padded"].append(theirs(made, arguments.steps, 8, Path(folder)))
            speeds["TRL, one by one"].append(theirs(made, arguments.steps, 1, Path(folder)))
    for name, found in speeds.items():
        ratio = statistics.median(mine / other for mine, other in zip(speeds["Gristmill"], found, strict=True))
        print(f"{name:27} {statistics.median(found):8,.0f} supervised tokens/s; Gristmill: {ratio:.2f} times as many")


def documents() -> Iterator[Document]:
    rng = np.random.default_rng(0)
    for number in range(DOCUMENTS):
        length = int(np.clip(rng.lognormal(np.log(220), 0.8), 50, 1000))
        mask = np.zeros(length, np.uint8)
        mask[length // 2 : length - 1] = 1
        yield Document(str(number), rng.integers(2, VOCABULARY.size, length).astype(np.int32), mask)


def headless() -> CausalLM:
    model = load_model("tiny", VOCABULARY, seed=0)[0]
    del model.mtp
    return model


def ours(made: list[Document], steps: int, folder: Path) -> float:
    write_packs(made, folder / "packs", pack_tokens=1000, seed=0, packing=False)
    stage = {"name": "s", "global_batch": PER_STEP, "micro_tokens": MICRO_TOKENS, "lr": 1e-3, "steps": steps + 1}
    data = {"blend": "b", "tokenizer": "t", "pack_tokens": 1000, "packing": False}
    content = {"out": str(folder), "data": data, "precision": "fp32", "stages": [stage]}
    packs, world = PackFiles(folder / "packs"), World(0, 1, torch.device("cpu"))
    trainer = StageTrainer(Shared(headless()), validate(content, SFTConfig, "benchmark"), 0, packs, world)
    seen, _ = trainer.step(Cursor(), 1)
    supervised, started = 0, time.process_time()
    for number in range(steps):
        held = trainer.plan.packs_of(seen.step)
        supervised += sum(int(document.loss_mask.sum()) for pack in held for document in packs.documents(pack))
        seen, _ = trainer.step(seen, number + 2)
    return supervised / (time.process_time() - started)


def theirs(made: list[Document], steps: int, at_once: int, folder: Path) -> float:
    shape, clock = Shape(at_once, PER_STEP // at_once, steps), time.process_time
    options = {"learning_rate": 1e-3, "use_cpu": True, "bf16": False}
    found = train_by_trl(headless(), made, shape, clock, folder, **options)
    return sum(step.targets for step in found) / sum(step.seconds for step in found)


if __name__ == "__main__":
    main()
