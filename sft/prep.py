"""From a blend to the packs of a stage: `gristmill prep`, and the first thing that `gristmill sft` does.

    OUT/data/tokenizer/              the tokenizer with the chat template, one for all stages
    OUT/data/STAGE/*.parquet         the packs of the blend's train split (see sft/packing.py)
    OUT/data/STAGE/valid/*.parquet   those of its valid split
    OUT/data/STAGE/summary.json      what became of the conversations; `key` is the hash of all that this depends on

Where the key is right nothing is done, so it costs little to ask again. A stage appears all at once, by a rename.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator
from functools import cache, lru_cache
from hashlib import file_digest
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

import gristmill.render
import sft.packing
from gristmill.errors import ConfigError
from gristmill.render import Mask, Renderer, RenderError, from_folder, load_renderer, renderer_for
from schemas import Data, Record, content_hash
from schemas.sft_config import SFTConfig, SFTData, Stage
from sft.packing import Document, OverLong, PackSummary, write_packs

RECORDS_AT_ONCE = 64
COLUMNS = ["uuid", "category", "messages", "tools", "reasoning", "metadata"]

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


def unwatched(label: str, done: int, total: int) -> None:
    """A `Watch` that shows nothing."""


def prepare(config: SFTConfig, watch: Watch = unwatched) -> tuple[Renderer, dict[str, StageData]]:
    """The run's renderer, and by name the data of each stage that learns from a blend (not from roll-outs)."""
    renderer = prepare_renderer(config, watch)
    blended = [stage for stage in config.stages if stage.data.rollouts is None]
    return renderer, {stage.name: prepare_stage(config, stage, renderer, watch) for stage in blended}


def prepare_renderer(config: SFTConfig, watch: Watch = unwatched) -> Renderer:
    """The renderer of all stages, its tokenizer saved in OUT/data/tokenizer; `train:N` learns from `data.blend`."""
    data, folder = config.data, config.out / "data" / "tokenizer"
    saved = _text(folder / "key")
    if data.tokenizer.startswith("train:"):
        key = content_hash([_code(), data.tokenizer, _template_text(data), _blend_digest(data.blend)])
        if saved == key:
            return renderer_for(from_folder(folder), data.template, data.history)
        corpus = read_records(data.blend / "train", {}, watch, "tokenizer")
        renderer = load_renderer(data.tokenizer, data.template, data.history, corpus)
    else:
        renderer = load_renderer(data.tokenizer, data.template, data.history)
        key = content_hash([_code(), renderer.template.source, renderer.tokenizer.fingerprint()])
    if saved != key:
        draft = _draft(folder)
        renderer.tokenizer.save(draft, renderer.template.source)
        (draft / "key").write_text(key, encoding="utf-8")
        _install(draft, folder)
    return renderer


def prepare_stage(config: SFTConfig, stage: Stage, renderer: Renderer, watch: Watch = unwatched) -> StageData:
    """The packs of a stage that learns from a blend, made anew only where something that they depend on has changed."""
    data, folder = config.stage_data(stage), config.out / "data" / stage.name
    if data.over_long == "split" and stage.loss == "sample":
        raise ConfigError(
            f"stages.{stage.name}: over_long: split cuts conversations, which only a stage with loss: token may do; "
            "use drop or error."
        )
    settings = data.model_dump(mode="json", exclude={"blend"})
    key = content_hash(
        [
            _code(),
            renderer.tokenizer.fingerprint(),
            _template_text(data),
            _blend_digest(data.blend),
            settings,
            config.seed,
        ]
    )
    earlier = read_summary(folder)
    if earlier is not None and earlier.key == key:
        return StageData(folder, earlier)
    draft = _draft(folder)
    train = _pack_split(renderer, data, "train", draft, config.seed, f"{stage.name}: train", watch)
    valid = _pack_split(renderer, data, "valid", draft / "valid", config.seed, f"{stage.name}: valid", watch)
    if not train.packs:
        shutil.rmtree(draft)
        raise ConfigError(
            f"stages.{stage.name}: nothing to learn from in {data.blend}: of {train.conversations} conversations "
            f"{len(train.unreadable)} can't be rendered, {len(train.without_output)} sequences hold no output and "
            f"{len(train.over_long)} are longer than {data.pack_tokens} tokens (data.pack_tokens)."
        )
    summary = StageSummary(
        stage=stage.name,
        key=key,
        blend=str(data.blend),
        vocab_size=renderer.tokenizer.vocab_size,
        train=train,
        valid=valid,
        **{name: value for name, value in settings.items() if name in StageSummary.model_fields},
    )
    (draft / "summary.json").write_bytes(orjson.dumps(summary.model_dump(), option=orjson.OPT_INDENT_2) + b"\n")
    _install(draft, folder)
    return StageData(folder, summary)


def read_summary(folder: Path) -> StageSummary | None:
    """What an earlier prep wrote of a stage; None where there is nothing of the kind."""
    try:
        return StageSummary.from_json((folder / "summary.json").read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError, ValidationError):
        return None


def _pack_split(
    renderer: Renderer, data: SFTData, split: str, target: Path, seed: int, label: str, watch: Watch
) -> SplitSummary:
    unreadable: dict[str, str] = {}
    records = read_records(data.blend / split, unreadable, watch, label)
    packed = write_packs(
        render_documents(renderer, records, unreadable),
        target,
        pack_tokens=data.pack_tokens,
        packing=data.packing,
        over_long=data.over_long,
        seed=seed,
    )
    rows = sum(_open(path).metadata.num_rows for path in _parquet(data.blend / split))
    return SplitSummary(**dict(packed), conversations=rows, unreadable=unreadable)


def render_documents(
    renderer: Renderer, records: Iterable[Record], unreadable: dict[str, str] | None = None
) -> Iterator[Document]:
    """The documents of the records, in their order. Why a record can't be rendered goes to `unreadable`, by uuid;
    without one, it is raised (RenderError)."""
    waiting = iter(records)
    while batch := list(islice(waiting, RECORDS_AT_ONCE)):
        for record, sequences in zip(batch, renderer.render(batch), strict=True):
            if isinstance(sequences, RenderError):
                if unreadable is None:
                    raise sequences
                unreadable[record.uuid] = str(sequences)
            else:
                for ids, supervised in sequences:
                    yield Document(record.uuid, ids, next_token_mask(supervised), record.category)


def next_token_mask(supervised: Mask) -> Mask:
    """1 where the next token of the sequence is supervised; the last token has no next one."""
    return np.append(supervised[1:], np.uint8(0))


def read_records(
    folder: Path, unreadable: dict[str, str], watch: Watch = unwatched, label: str = ""
) -> Iterator[Record]:
    """The records of a split (only the columns that rendering needs, the others at their defaults). Why a row is no
    record goes to `unreadable`, by uuid."""
    files = {path: _open(path) for path in _parquet(folder)}
    total, done = sum(file.metadata.num_rows for file in files.values()), 0
    for path, file in files.items():
        missing = sorted(set(COLUMNS) - set(file.schema_arrow.names))
        if missing:
            raise ConfigError(f"{path}: not a blend's file: without column {', '.join(missing)}.")
        try:
            for batch in file.iter_batches(RECORDS_AT_ONCE, columns=COLUMNS):
                for row in batch.to_pylist():
                    try:
                        yield _record(row)
                    except (orjson.JSONDecodeError, ValidationError) as error:
                        unreadable[str(row["uuid"])] = " ".join(str(error).split())
                done += batch.num_rows
                watch(label, done, total)
        except (pa.ArrowException, OSError) as error:
            raise ConfigError(f"{path}: can't be read as parquet: {error}.") from None


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"{path}: can't be read as parquet: {error}.") from None


def _record(row: dict[str, Any]) -> Record:
    empty = {"category": "", "tools": "[]", "metadata": "{}"}
    filled = {column: empty[column] if column in empty and value is None else value for column, value in row.items()}
    return Record.model_validate(
        {**filled, **{column: orjson.loads(filled[column]) for column in ("tools", "metadata")}}
    )


def _parquet(folder: Path) -> list[Path]:
    """The files of a split; a blend need not have a valid one."""
    paths = sorted(folder.glob("*.parquet"))
    if not paths and folder.name == "train":
        raise ConfigError(f"data.blend: {folder} holds no parquet files; make the blend first (gristmill blend).")
    return paths


@cache
def _code() -> list[str]:
    """The hashes of the code that makes packs, so that packs made by other code are made anew."""
    render = Path(gristmill.render.__file__).parent
    sources = [*render.glob("*.py"), *render.glob("*.jinja"), Path(sft.packing.__file__), Path(__file__)]
    return [_sha256(path) for path in sorted(sources)]


def _template_text(data: SFTData) -> str:
    return gristmill.render.load_template(data.template).source


def _blend_digest(blend: Path) -> list[list[str]]:
    """File names and hashes of a blend's splits."""
    return [[path.name, _file_digest(path)] for split in ("train", "valid") for path in _parquet(blend / split)]


def _file_digest(path: Path) -> str:
    status = path.stat()
    return _digest_of(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4096)
def _digest_of(path: Path, size: int, changed: int) -> str:
    """Read once in a process, as long as size and time of change stay the same."""
    return _sha256(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _draft(folder: Path) -> Path:
    """An empty folder beside `folder`, to be installed in its place."""
    draft = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    return draft


def _install(draft: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)
