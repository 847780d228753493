"""The config of `gristmill blend`."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from schemas.base import Config
from schemas.decontamination import Decontaminate
from schemas.run_config import ExecutorConfig, ModelConfig

PositiveInt = Annotated[int, Field(gt=0)]
Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Threshold = Annotated[float, Field(gt=0, le=1)]
PIIKind = Literal["email", "phone", "card", "key"]


class Quota(Config):
    """Divides what a source gives over buckets: the rows for which `by`, a DuckDB expression over a record's columns,
    has the value (as text). `shares` are relative weights of buckets; rows of other values are not drawn."""

    by: str
    shares: Annotated[dict[str, Weight], Field(min_length=1)]

    @field_validator("shares", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        """YAML reads `1: 3` and `true: 1` as other keys than text."""
        if not isinstance(value, dict):
            return value
        return {str(key).lower() if isinstance(key, bool) else str(key): share for key, share in value.items()}


class Source(Config):
    """Where rows come from, and how many of them the blend takes.

    `weight` is relative to the sum of all weights; `cap` is in the blend's unit. Each row is drawn at most `epochs`
    times. Rows whose answer was made by a program (`metadata.mode` grammar, computed or exercises) are at most
    `rule_made` of what the source gives. `effort: low` marks traces of a teacher that was asked to think little.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    path: Annotated[str, Field(min_length=1)]  # a run, a blend (its train split), a folder of parquet or of
    # datasets' save_to_disk, a .parquet, .jsonl or .json file, or hf://NAME@REVISION
    weight: Weight
    cap: PositiveInt | None = None
    epochs: PositiveInt = 1
    filter: str | None = None  # a DuckDB expression over a record's columns
    quota: Quota | None = None
    rule_made: Share = 0.2
    effort: Literal["low"] | None = None


class Dedup(Config):
    """`minhash` and `semantic` are similarities from which two rows are near-duplicates. Of such rows the blend keeps
    the one that `prefer`, a DuckDB expression over a record's columns, gives the largest number: by default the mean of
    its verdicts' scores. `against` are earlier blends or datasets, whose rows are not to come again."""

    exact: bool = True
    minhash: Threshold | None = None
    semantic: Threshold | None = None
    against: list[str] = []
    prefer: str | None = None


class Licenses(Config):
    """A row's own licence, and those of its seeds and teachers that its provenance names, must all be in `allow`."""

    allow: Annotated[list[str], Field(min_length=1)]


class Languages(Config):
    """ISO 639-1 codes; a row is dropped where its answers are in another language with at least `certainty`."""

    allow: Annotated[list[str], Field(min_length=1)]
    certainty: Annotated[float, Field(gt=0, lt=1)] = 0.9


class PII(Config):
    action: Literal["mask", "drop"] = "mask"
    kinds: Annotated[list[PIIKind], Field(min_length=1)] = ["email", "phone", "card", "key"]


class Length(Config):
    """Limits of a whole conversation; `max_tokens` needs `tokenizer`."""

    min_characters: PositiveInt | None = None
    max_characters: PositiveInt | None = None
    max_turns: PositiveInt | None = None
    max_tokens: PositiveInt | None = None


class Gates(Config):
    dedup: Dedup = Dedup()
    decontaminate: Decontaminate | None = None
    licenses: Licenses | None = None
    languages: Languages | None = None
    pii: PII | None = None
    length: Length | None = None


class Reasoning(Config):
    """`off`: the share of rows with traces that lose them. `low`: the share of the blend that comes from sources with
    `effort: low`, whatever their weights are beside the others'."""

    off: Share = 0.0
    low: Annotated[float, Field(gt=0, lt=1)] | None = None


class Splits(Config):
    train: Share = 0.98
    valid: Share = 0.02

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if abs(self.train + self.valid - 1) > 1e-9:
            raise ValueError(f"train and valid must make 1 together, not {self.train + self.valid:g}")
        return self


class BlendConfig(Config):
    """`short` says what happens where a source can't give its share: stop, draw its rows again, or make less of all.
    `tokenizer`, `template` and `history` are as in sft; with them the blend knows its rows' tokens."""

    out: Path
    seed: int = 0
    total: PositiveInt
    unit: Literal["rows", "supervised_tokens"] = "rows"
    sources: Annotated[list[Source], Field(min_length=1)]
    short: Literal["error", "repeat", "shrink"] = "error"
    order: Literal["shuffled", "length", "difficulty"] = "shuffled"
    gates: Gates = Gates()
    models: dict[Literal["embedder"], ModelConfig] = {}
    reasoning: Reasoning = Reasoning()
    splits: Splits = Splits()
    tokenizer: str | None = None
    template: str = "nemotron3"
    history: Literal["truncate", "keep"] = "truncate"
    release: str = "1.0.0"
    executor: ExecutorConfig = ExecutorConfig()

    @model_validator(mode="after")
    def _sound(self) -> Self:
        names = [source.name for source in self.sources]
        if len(set(names)) != len(names):
            raise ValueError("two sources have the same name")
        self._check_embedder()
        self._check_tokenizer()
        if self.reasoning.low is not None and all(source.effort for source in self.sources):
            raise ValueError("reasoning.low is a share of the blend, but every source has effort: low")
        return self

    def _check_embedder(self) -> None:
        gate = self.gates.decontaminate
        by_similarity = gate is not None and gate.similarity is not None
        if by_similarity and not self.models:
            raise ValueError("gates.decontaminate.similarity needs models.embedder, such as {endpoint: embedded}")
        if self.gates.dedup.semantic is not None and not self.models:
            raise ValueError("gates.dedup.semantic needs models.embedder, such as {endpoint: embedded}")
        if self.models and not by_similarity and self.gates.dedup.semantic is None:
            raise ValueError(
                "models.embedder is used by gates.decontaminate.similarity and gates.dedup.semantic alone, "
                "and neither is set"
            )

    def _check_tokenizer(self) -> None:
        if self.tokenizer is not None and self.tokenizer.startswith("train:"):
            raise ValueError("tokenizer: a blend is not there yet to train one on; name a folder, a hub id or embedded")
        if self.tokenizer is None and self.unit == "supervised_tokens":
            raise ValueError("unit: supervised_tokens needs `tokenizer`, such as that of sft's data")
        if self.tokenizer is None and self.gates.length is not None and self.gates.length.max_tokens is not None:
            raise ValueError("gates.length.max_tokens needs `tokenizer`, such as that of sft's data")
