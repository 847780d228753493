"""TRL's trainer on our documents, for benchmarks: its padding collator, no packing, steps of so many documents."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gristmill.render.tokenizers import train
from sft.documents import Document
from sft.model import CausalLM


class Step(NamedTuple):
    """One optimizer step: its documents' lengths, and how many of their tokens are supervised."""

    seconds: float
    lengths: list[int]
    targets: int


class Shape(NamedTuple):
    """Optimizer steps of `at_once` x `accumulated` documents."""

    at_once: int
    accumulated: int
    steps: int


def train_by_trl(
    model: CausalLM,
    documents: Sequence[Document],
    shape: Shape,
    clock: Callable[[], float],
    folder: Path,
    **settings: Any,
) -> list[Step]:
    """The steps after the first, which warms up. `settings` are those of TRL's config that a benchmark chooses."""
    from datasets import Dataset
    from transformers import AutoTokenizer, PrinterCallback, TrainerCallback
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    times: list[float] = []
    seen: list[list[tuple[list[int], int]]] = [[]]  # by step and batch: lengths and targets

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(clock())
            seen.append([])

    class Watched(SFTTrainer):
        def compute_loss(self, model: Any, inputs: dict[str, Any], *arguments: Any, **options: Any) -> Any:
            lengths = inputs["attention_mask"].sum(dim=1)
            seen[-1].append((lengths.tolist(), int((inputs["labels"] != -100).sum())))
            return super().compute_loss(model, inputs, *arguments, **options)

    config = SFTConfig(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=shape.at_once,
        gradient_accumulation_steps=shape.accumulated,
        max_steps=shape.steps + 1,
        max_length=None,
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        remove_unused_columns=False,
        seed=0,
        **settings,
    )
    train("train:300", ["text"]).save(folder / "tokenizer", "{{ messages }}")
    trainer = Watched(
        model=model,
        args=config,
        train_dataset=Dataset.from_list([_row(document) for document in documents]),
        processing_class=AutoTokenizer.from_pretrained(folder / "tokenizer"),
        callbacks=[Clock()],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return [
        Step(seconds, [length for lengths, _ in held for length in lengths], sum(targets for _, targets in held))
        for seconds, held in zip(np.diff(times).tolist(), seen[1:-1], strict=True)
    ]


def _row(document: Document) -> dict[str, list[int]]:
    labels = np.where(np.append(False, document.loss_mask[:-1]), document.input_ids, -100)
    return {"input_ids": document.input_ids.tolist(), "labels": labels.tolist()}
