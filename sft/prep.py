"""From a blend to the packs of a stage: `gristmill prep`, and the first thing that `gristmill sft` does.

    OUT/data/tokenizer/              the tokenizer with the chat template, one for all stages
    OUT/data/STAGE/*.parquet         the packs of the blend's train split (see sft/packing.py)
    OUT/data/STAGE/valid/*.parquet   those of its valid split
    OUT/data/STAGE/summary.json      what became of the conversations; `key` is the hash of all that this depends on

Where the key is right nothing is done, so it costs little to ask again. A stage appears all at once, by a rename; what
was rendered for it before an interruption is kept (see sft/shards.py).
"""

import shutil
from functools import cache, lru_cache
from hashlib import file_digest
from pathlib import Path
from typing import NamedTuple

import orjson
from pydantic import ValidationError

import gristmill.render
from gristmill.errors import ConfigError
from gristmill.render import Renderer, from_folder, load_renderer, renderer_for
from schemas import Data, content_hash
from schemas.sft_config import SFTConfig, SFTData, Stage
from sft.documents import Watch, parquet_files, read_records, unwatched
from sft.packing import PackSummary, pack_shards
from sft.rendering import Task, render_split
from sft.shards import OverLong


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
    train: PackSummary
    valid: PackSummary

    def longest(self) -> int:
        """Tokens of the longest sequence."""
        return max(self.train.longest, self.valid.longest)


class StageData(NamedTuple):
    """`folder` holds the packs of train, `folder`/valid those of valid (no rows where the blend has none)."""

    folder: Path
    summary: StageSummary


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
        draft = _kept_draft(folder, key)
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
    draft = _kept_draft(folder, key)
    task = Task(renderer, data.pack_tokens, data.over_long)

    def packed(split: str, target: Path) -> PackSummary:
        shards = draft / "shards" / split
        paths = render_split(data.blend / split, shards, task, watch, f"{stage.name}: {split}")
        return pack_shards(paths, target, pack_tokens=data.pack_tokens, seed=config.seed, packing=data.packing)

    train, valid = packed("train", draft), packed("valid", draft / "valid")
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
    shutil.rmtree(draft / "shards")
    _install(draft, folder)
    return StageData(folder, summary)


def read_summary(folder: Path) -> StageSummary | None:
    """What an earlier prep wrote of a stage; None where there is nothing of the kind."""
    try:
        return StageSummary.from_json((folder / "summary.json").read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError, ValidationError):
        return None


@cache
def _code() -> list[str]:
    """The hashes of the code that makes packs, so that packs made by other code are made anew."""
    render = Path(gristmill.render.__file__).parent
    ours = [Path(__file__).with_name(f"{name}.py") for name in ("documents", "rendering", "shards", "packing", "prep")]
    sources = [*render.glob("*.py"), *render.glob("*.jinja"), *ours]
    return [_sha256(path) for path in sorted(sources)]


def _template_text(data: SFTData) -> str:
    return gristmill.render.load_template(data.template).source


def _blend_digest(blend: Path) -> list[list[str]]:
    """File names and hashes of a blend's splits."""
    return [[path.name, _file_digest(path)] for split in ("train", "valid") for path in parquet_files(blend / split)]


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


def _kept_draft(folder: Path, key: str) -> Path:
    """A folder beside `folder`, to be installed in its place; it keeps what an earlier try for `key` has left."""
    draft = folder.with_name(f".{folder.name}.{key}")
    for other in folder.parent.glob(f".{folder.name}.*"):
        if other != draft:
            shutil.rmtree(other)
    draft.mkdir(parents=True, exist_ok=True)
    return draft


def _install(draft: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)
