"""`gristmill sft CONFIG --plan`: what a run will do, told from its packs and the model's config alone.

    sample: 129 optimizer steps, over 257 packs of 1,024 tokens (98.36% full)
      a step has 2 packs, 2,006 tokens, 290 of them supervised, 4.1 conversations
      trains 1,418,264 of 1,418,264 parameters; about 0.16 GiB per device: weights 0.01 GiB, ...
      category      conversations  supervised tokens  share of the loss
      advanced             32.33%             46.18%             32.33%
      basic                32.71%             22.07%             32.71%

The share of the loss is what a source weighs in the stage's main loss: its part of the supervised tokens where every
token counts the same, its part of the conversations where every conversation does.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gristmill.views import BLEND_FILE, connect
from schemas import Data
from schemas.sft_config import SFTConfig, Stage
from sft.loss import TARGETS_AT_ONCE, LossKind
from sft.model import PRECISIONS, CausalLM, Vocabulary, check_context, empty_model, has_mtp
from sft.prep import StageData
from sft.sharding import blocks_of
from sft.shards import Counts
from sft.stages import Plan, trained_parameters

# What autograd keeps, in bytes per token, layer and unit of the hidden size: measured 58 to 76 under bf16 autocast and
# 78 to 102 in fp32, on nemotron_h, Llama and Qwen3.
ACTIVATION_BYTES = {"bf16": 80, "fp32": 105}
INPUT_BYTES = 9  # of that where activations are computed again: what a layer is given; measured 6.7 to 8.9
FP32_BYTES = 4
LAYERS_PER_DEPTH = 2  # of the MTP head


class Memory(Data):
    """Bytes on each device. Weights, gradients and moments are in fp32, each rank's slice of them."""

    weights: int
    gradients: int
    moments: int  # the optimizer's two per trained weight
    gathered: int  # whole weights of what computes, and their gradients; nothing with one rank
    activations: int  # an estimate, of the largest batch; without what the allocator wastes

    def total(self) -> int:
        return self.weights + self.gradients + self.moments + self.gathered + self.activations


class Share(Data):
    """A part, from 0 to 1, of a stage's conversations, of its supervised tokens and of its main loss (None without)."""

    name: str
    conversations: float
    supervised_tokens: float
    loss: float | None


class Packed(Data):
    """Of a stage that learns from a blend; per optimizer step in the mean."""

    packs: int
    utilisation: float
    tokens: float
    supervised_tokens: float
    conversations: float
    sources: list[Share]  # empty where the blend doesn't tell
    categories: list[Share]


class StageForecast(Data):
    name: str
    loss: LossKind | None  # None where only the MTP head is trained
    steps: int | None  # None where it depends on roll-outs that are yet to be made, as `packed` does
    warmup_steps: int | None
    global_batch: int
    pack_tokens: int
    parameters: int
    trained: int
    memory: Memory
    packed: Packed | None


def forecast(
    config: SFTConfig, vocabulary: Vocabulary, data: Mapping[str, StageData], ranks: int = 1
) -> list[StageForecast]:
    model = empty_model(config.model, vocabulary)
    for name, prepared in data.items():
        check_context(model, prepared.summary.longest(), f"stages.{name}:")
    return [_stage(config, stage, model, data.get(stage.name), ranks) for stage in config.stages]


def _stage(config: SFTConfig, stage: Stage, model: CausalLM, data: StageData | None, ranks: int) -> StageForecast:
    settings = config.stage_data(stage)
    trained = sum(parameter.numel() for parameter in trained_parameters(model, stage))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    plan = Plan(stage, data.summary.train.packs, (config.seed, 0)) if data else None
    packed = _packed(stage, plan, data, settings.blend) if plan and data else None
    return StageForecast(
        name=stage.name,
        loss=stage.loss if stage.train != "mtp" else None,
        steps=plan.steps if plan else stage.steps,
        warmup_steps=_warmup_steps(stage, packed),
        global_batch=stage.global_batch,
        pack_tokens=settings.pack_tokens,
        parameters=parameters,
        trained=trained,
        memory=Memory(
            weights=FP32_BYTES * parameters // ranks,
            gradients=FP32_BYTES * trained // ranks,
            moments=2 * FP32_BYTES * trained // ranks,
            gathered=_gathered(config, model) if ranks > 1 else 0,
            activations=_activations(config, stage, model),
        ),
        packed=packed,
    )


def _packed(stage: Stage, plan: Plan, data: StageData, blend: Path) -> Packed:
    train, loss = data.summary.train, stage.loss if stage.train != "mtp" else None
    return Packed(
        packs=train.packs,
        utilisation=train.utilisation,
        tokens=train.tokens / plan.steps_per_epoch,
        supervised_tokens=train.supervised_tokens / plan.steps_per_epoch,
        conversations=train.sequences / plan.steps_per_epoch,
        sources=_shares(source_counts(blend, data.folder), loss),
        categories=_shares(train.by_category, loss),
    )


def _warmup_steps(stage: Stage, packed: Packed | None) -> int | None:
    if stage.warmup.count == 0 or stage.warmup.unit == "packs":
        return math.ceil(stage.warmup.count / stage.global_batch)
    return math.ceil(stage.warmup.count / packed.conversations) if packed else None


def _activations(config: SFTConfig, stage: Stage, model: CausalLM) -> int:
    shape = model.config.get_text_config()
    depths = config.model.mtp.depths if has_mtp(model) and stage.train != "lora" else 0
    layers = LAYERS_PER_DEPTH * depths + (shape.num_hidden_layers if stage.train != "mtp" else 0)
    kept = layers * ACTIVATION_BYTES[config.precision]
    if config.activation_checkpointing:
        kept = layers * INPUT_BYTES + ACTIVATION_BYTES[config.precision]  # one layer's at a time
    logits = 3 * FP32_BYTES * TARGETS_AT_ONCE * shape.vocab_size  # with their softmax and their gradient
    size: int = config.tokens_at_once(stage) * shape.hidden_size * kept + logits
    return size


def _gathered(config: SFTConfig, model: CausalLM) -> int:
    """The embeddings, the final norm and the head, the MTP head, and the two largest of the trunk's layers: the one
    that computes and the one after it. With the gradients of all that but one layer."""
    parts = [*blocks_of(model), *([model.mtp] if has_mtp(model) else [])]
    sizes = [sum(parameter.numel() for parameter in part.parameters()) for part in parts]
    ends = sum(parameter.numel() for parameter in model.parameters()) - sum(sizes)
    of_head = sizes.pop() if has_mtp(model) else 0
    largest = sorted(sizes)[-2:]
    bytes_each = PRECISIONS[config.precision].itemsize
    total: int = 2 * FP32_BYTES * ends + bytes_each * (2 * of_head + sum(largest) + largest[-1])
    return total


def _shares(counts: Mapping[str, Counts], loss: LossKind | None) -> list[Share]:
    """The largest first."""
    sequences = sum(each.sequences for each in counts.values())
    targets = sum(each.supervised_tokens for each in counts.values())
    shares = []
    for name, each in counts.items():
        of_conversations, of_tokens = each.sequences / sequences, each.supervised_tokens / targets
        weights = {"sample": of_conversations, "token": of_tokens, None: None}
        shares.append(Share(name=name, conversations=of_conversations, supervised_tokens=of_tokens, loss=weights[loss]))
    return sorted(shares, key=lambda share: (-share.supervised_tokens, share.name))


def source_counts(blend: Path, packs: Path) -> dict[str, Counts]:
    """What each of the blend's sources has in the packs; nothing where the blend's folder holds only rows."""
    if not (blend / BLEND_FILE).is_file():
        return {}
    with connect(blend) as connection:
        connection.execute("CREATE TABLE packed (uuid VARCHAR, tokens BIGINT, targets BIGINT)")
        for table in _sequences(packs):
            connection.register("sequences", table)
            connection.execute("INSERT INTO packed FROM sequences")
            connection.unregister("sequences")
        found = connection.execute(
            "SELECT source, count(*), sum(packed.tokens), sum(targets) FROM packed "
            "JOIN (SELECT uuid, any_value(source) AS source FROM samples WHERE split = 'train' GROUP BY uuid) "
            "USING (uuid) GROUP BY source"
        ).fetchall()
    return {name: Counts(sequences=n, tokens=tokens, supervised_tokens=targets) for name, n, tokens, targets in found}


def _sequences(packs: Path) -> Iterator[pa.Table]:
    """uuid, tokens and supervised tokens of the sequences in the packs."""
    for path in sorted(packs.glob("*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(1, columns=["loss_mask", "seq_start_id", "uuids"]):
            masks, starts = (batch.column(name).flatten().to_numpy() for name in ("loss_mask", "seq_start_id"))
            yield pa.table(
                {
                    "uuid": batch.column("uuids").flatten(),
                    "tokens": np.diff([*starts, len(masks)]),
                    "targets": np.add.reduceat(masks, starts, dtype=np.int64),
                }
            )


def print_forecast(console: Console, forecasts: Iterable[StageForecast]) -> None:
    for stage in forecasts:
        memory = stage.memory
        console.print(f"{stage.name}: {_course(stage)}", style="bold")
        if stage.packed:
            console.print(f"  {_step(stage.global_batch, stage.packed)}")
        console.print(
            f"  trains {stage.trained:,} of {stage.parameters:,} parameters; about {_gib(memory.total())} per device: "
            f"weights {_gib(memory.weights)}, gradients {_gib(memory.gradients)}, "
            f"optimizer {_gib(memory.moments)}, activations {_gib(memory.activations)}"
            + (f", gathered {_gib(memory.gathered)}" if memory.gathered else "")
        )
        if stage.packed:
            for kind, shares in (("source", stage.packed.sources), ("category", stage.packed.categories)):
                if shares:
                    console.print(_table(kind, shares))


def _course(stage: StageForecast) -> str:
    steps = f"{stage.steps:,} optimizer steps" if stage.steps else "as many steps as its roll-outs fill"
    if stage.warmup_steps:
        steps += f", {stage.warmup_steps:,} of them warming up"
    packs = f"{stage.packed.packs:,} packs" if stage.packed else "packs"
    full = f" ({stage.packed.utilisation:.2%} full)" if stage.packed else ", made of the model's own answers"
    return f"{steps}, over {packs} of {stage.pack_tokens:,} tokens{full}"


def _step(global_batch: int, packed: Packed) -> str:
    return (
        f"a step has {min(global_batch, packed.packs):,} packs, {packed.tokens:,.0f} tokens, "
        f"{packed.supervised_tokens:,.0f} of them supervised, {packed.conversations:,.1f} conversations"
    )


def _gib(size: int) -> str:
    return f"{size / 2**30:,.2f} GiB"


def _table(kind: str, shares: list[Share]) -> Table:
    table = Table(box=None, padding=(0, 0, 0, 2))
    table.add_column(kind)
    for heading in ("conversations", "supervised tokens", "share of the loss"):
        table.add_column(heading, justify="right")
    for share in shares:
        loss = "" if share.loss is None else f"{share.loss:.2%}"
        table.add_row(
            Text(share.name or "(none)"), f"{share.conversations:.2%}", f"{share.supervised_tokens:.2%}", loss
        )
    return table
