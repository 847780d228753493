"""The memory of one optimizer step on a pack of 512k tokens, on CPU, with the tiny model.

    python benchmarks/sft_memory.py [--pack-tokens 524288] [--micro-tokens 16384] [--activation-checkpointing]

The pack holds documents of up to 8,192 tokens, half of their tokens supervised. Printed: seconds of the forward and
backward passes over all of it, with both MTP depths, and the process's peak memory.
"""

import argparse
import os
import resource
import sys
import time
from collections.abc import Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from sft.batches import batch_of, micro_batches
from sft.documents import Document
from sft.experts import ExpertBalance
from sft.loss import Objective, batch_loss, count
from sft.model import Vocabulary, load_model

LONGEST = 8192
VOCABULARY = Vocabulary(size=2048, end=1, pad=0)
DEPTHS, SCALE = 2, 0.3


def documents(tokens: int) -> Iterator[Document]:
    rng = np.random.default_rng(0)
    while tokens > 0:
        length = min(tokens, int(rng.integers(256, LONGEST + 1)))
        mask = np.zeros(length, np.uint8)
        mask[length // 2 : length - 1] = 1
        yield Document("", rng.integers(0, VOCABULARY.size, length).astype(np.int32), mask)
        tokens -= length


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack-tokens", type=int, default=524_288)
    parser.add_argument("--micro-tokens", type=int, default=16_384)
    parser.add_argument("--activation-checkpointing", action="store_true")
    arguments = parser.parse_args()
    model = load_model("tiny", VOCABULARY, seed=0)[0].train()
    if arguments.activation_checkpointing:
        model.activation_checkpointing_enable()
    pack = list(documents(arguments.pack_tokens))
    counts = count(pack, DEPTHS, torch.device("cpu"))
    balance = ExpertBalance(model)
    before, started = peak(), time.monotonic()
    micro = micro_batches(pack, arguments.micro_tokens)
    for number, held in enumerate(micro, 1):
        loss = batch_loss(model, batch_of(held), counts, Objective("token", "all"), balance)
        (loss.main + SCALE * loss.mtp + loss.balance).backward()
        print(f"\r{number} of {len(micro)} batches, {peak():.2f} GB", end="", file=sys.stderr, flush=True)
    balance.close()
    print(file=sys.stderr)
    print(
        f"{arguments.pack_tokens:,} tokens in {len(pack)} documents, {len(micro)} batches: "
        f"{time.monotonic() - started:.0f} s, peak {peak():.2f} GB ({before:.2f} before)"
    )


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    main()
