"""The config of `gristmill blend`."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.base import Config
from schemas.decontamination import Decontaminate
from schemas.run_config import ModelConfig

PositiveInt = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Source(Config):
    """Where rows come from, and how many of them the blend takes.

    `weight` is relative to the sum of all weights. Each row is drawn at most `epochs` times. Rows whose answer was made
    by a program (`metadata.mode` grammar, computed or exercises) are at most `rule_made` of what the source gives.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    path: Annotated[
        str, Field(min_length=1)
    ]  # a run, a folder of parquet, a .parquet or .jsonl file, hf://NAME@REVISION
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    cap: PositiveInt | None = None
    epochs: PositiveInt = 1
    filter: str | None = None  # a DuckDB expression over a record's columns
    rule_made: Share = 0.2


class Dedup(Config):
    exact: bool = True


class Licenses(Config):
    allow: Annotated[list[str], Field(min_length=1)]


class Gates(Config):
    dedup: Dedup = Dedup()
    decontaminate: Decontaminate | None = None
    licenses: Licenses | None = None


class Splits(Config):
    train: Share = 0.98
    valid: Share = 0.02

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if abs(self.train + self.valid - 1) > 1e-9:
            raise ValueError(f"train and valid must make 1 together, not {self.train + self.valid:g}")
        return self


class BlendConfig(Config):
    """`short` says what happens where a source can't give its share: stop, draw its rows again, or make less of all."""

    out: Path
    seed: int = 0
    total: PositiveInt
    unit: Literal["rows"] = "rows"
    sources: Annotated[list[Source], Field(min_length=1)]
    short: Literal["error", "repeat", "shrink"] = "error"
    gates: Gates = Gates()
    models: dict[Literal["embedder"], ModelConfig] = {}
    splits: Splits = Splits()
    release: str = "1.0.0"

    @model_validator(mode="after")
    def _sound(self) -> Self:
        names = [source.name for source in self.sources]
        if len(set(names)) != len(names):
            raise ValueError("two sources have the same name")
        gate = self.gates.decontaminate
        if gate is not None and gate.similarity is not None and not self.models:
            raise ValueError("gates.decontaminate.similarity needs models.embedder, such as {endpoint: embedded}")
        if self.models and (gate is None or gate.similarity is None):
            raise ValueError("models.embedder is used by gates.decontaminate.similarity alone, which is not set")
        return self
