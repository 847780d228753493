"""From a blend to the packs of a stage: `gristmill prep`, and the first thing that `gristmill sft` does.

    OUT/data/tokenizer/              the tokenizer with the chat template, one for all stages
    OUT/data/STAGE/*.parquet         the packs of the blend's train split (see sft/packing.py)
    OUT/data/STAGE/valid/*.parquet   those of its valid split
    OUT/data/STAGE/summary.json      what became of the conversations; `key` is the hash of all that this depends on

Where the key is right nothing is done, so it costs little to ask again. A stage appears all at once, by a rename.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import batched, chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from gristmill.errors import ConfigError
from gristmill.render import Mask, Renderer, RenderError, from_folder, load_renderer, renderer_for
from schemas import Data, Record, content_hash
from schemas.sft_config import SFTConfig, SFTData, Stage
from sft.packing import Document, OverLong, PackSummary, write_packs

FORMAT = 1  # raised when an equal config and blend give other packs than before
RECORDS_AT_ONCE = 64
COLUMNS = ("uuid", "category", "messages", "tools", "reasoning", "metadata")

Watch = Callable[[str, int, int], None]  # what is being read, rows done, rows to do


class SplitSummary(PackSummary):
    """`conversations` are the rows read; `unreadable` says of each row that can't be rendered why not."""

    conversations: int = 0
    unreadable: dict[str, str] = {}


class StageSummary(Data):
    stage: str
    key: str
    blend: str
    tokenizer: str
    vocab_size: int
    template: str
    history: str
    pack_tokens: int
    packing: bool
    over_long: OverLong
    train: SplitSummary
    valid: SplitSummary


class StageData(NamedTuple):
    """`folder` holds the packs of train, `folder`/valid those of valid (no rows where the blend has none)."""

    folder: Path
    summary: StageSummary


def _unwatched(label: str, done: int, total: int) -> None:
    """Shows nothing."""


def prepare(config: SFTConfig, watch: Watch = _unwatched) -> tuple[Renderer, dict[str, StageData]]:
    """The run's renderer, and by name the data of each stage that learns from a blend (not from roll-outs)."""
    renderer = prepare_renderer(config, watch)
    blended = [stage for stage in config.stages if stage.data.rollouts is None]
    return renderer, {stage.name: prepare_stage(config, stage, renderer, watch) for stage in blended}


def prepare_renderer(config: SFTConfig, watch: Watch = _unwatched) -> Renderer:
    """The renderer of all stages, its tokenizer saved in OUT/data/tokenizer; `train:N` learns from `data.blend`."""
    data, folder = config.data, config.out / "data" / "tokenizer"
    trained = data.tokenizer.startswith("train:")
    key = content_hash([FORMAT, data.tokenizer, _template_digest(data), _digest(data.blend) if trained else ""])
    key_file = folder / "key"
    if trained and key_file.is_file() and key_file.read_text(encoding="utf-8") == key:
        return renderer_for(from_folder(folder), data.template, data.history)
    corpus = read_records(data.blend / "train", {}, watch, "tokenizer")
    renderer = load_renderer(data.tokenizer, data.template, data.history, corpus)
    draft = _draft(folder)
    renderer.tokenizer.save(draft, renderer.template.source)
    (draft / "key").write_text(key, encoding="utf-8")
    _install(draft, folder)
    return renderer


def prepare_stage(config: SFTConfig, stage: Stage, renderer: Renderer, watch: Watch = _unwatched) -> StageData:
    """The packs of a stage that learns from a blend, made anew only where something that they depend on has changed."""
    data = config.stage_data(stage)
    if data.over_long == "split" and stage.loss == "sample":
        raise ConfigError(
            f"stages.{stage.name}: over_long: split cuts conversations, which only a stage with loss: token may; "
            "use drop or error."
        )
    folder = config.out / "data" / stage.name
    settings = {"pack_tokens": data.pack_tokens, "packing": data.packing, "over_long": data.over_long}
    tokenizer = renderer.tokenizer.fingerprint()
    how = [tokenizer, _template_digest(data), data.history, *settings.values()]
    key = content_hash([FORMAT, config.seed, _digest(data.blend), *how])
    if (done := read_summary(folder)) is not None and done.key == key:
        return StageData(folder, done)
    draft = _draft(folder)
    summaries = {
        split: _pack_split(renderer, data, split, target, config.seed, f"{stage.name}: {split}", watch)
        for split, target in (("train", draft), ("valid", draft / "valid"))
    }
    if not summaries["train"].packs:
        shutil.rmtree(draft)
        raise ConfigError(_nothing_left(stage, data, summaries["train"]))
    summary = StageSummary(
        stage=stage.name,
        key=key,
        blend=str(data.blend),
        tokenizer=data.tokenizer,
        vocab_size=renderer.tokenizer.vocab_size,
        template=data.template,
        history=data.history,
        pack_tokens=data.pack_tokens,
        packing=data.packing,
        over_long=data.over_long,
        train=summaries["train"],
        valid=summaries["valid"],
    )
    (draft / "summary.json").write_bytes(orjson.dumps(summary.model_dump(), option=orjson.OPT_INDENT_2) + b"\n")
    _install(draft, folder)
    return StageData(folder, summary)


def read_summary(folder: Path) -> StageSummary | None:
    """What an earlier prep wrote of a stage; None where there is none of this format."""
    try:
        return StageSummary.from_json((folder / "summary.json").read_bytes())
    except (FileNotFoundError, ValidationError, orjson.JSONDecodeError):
        return None


def _pack_split(
    renderer: Renderer, data: SFTData, split: str, target: Path, seed: int, label: str, watch: Watch
) -> SplitSummary:
    summary = SplitSummary()
    records = read_records(data.blend / split, summary.unreadable, watch, label)
    documents = render_documents(renderer, _counted(records, summary), summary.unreadable)
    packed = write_packs(
        documents,
        target,
        pack_tokens=data.pack_tokens,
        packing=data.packing,
        over_long=data.over_long,
        seed=seed,
    )
    unreadable = len(summary.unreadable)
    return summary.model_copy(update={**dict(packed), "conversations": summary.conversations + unreadable})
