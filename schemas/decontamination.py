"""Configs of decontamination: the gate of a blend, the judge of a run, and the calibration of an embedder."""

from typing import Annotated

from pydantic import Field, field_validator

from schemas.base import Config, Data
from schemas.run_config import ModelConfig

CALIBRATED = "calibrated"

Share = Annotated[float, Field(ge=0, le=1)]


class Decontaminate(Config):
    """`against` are benchmarks by path or hf://NAME@REVISION. With `similarity` records are compared by embeddings too:
    a threshold, `calibrated` (the one that Gristmill knows for the embedder) or the file of a calibration."""

    against: Annotated[list[str], Field(min_length=1)]
    ngram: Annotated[int, Field(ge=5, le=50)] = 13
    similarity: Annotated[float, Field(gt=0, lt=1)] | str | None = None

    @field_validator("similarity", mode="before")
    @classmethod
    def _spelt(cls, value: object) -> object:
        if isinstance(value, str) and value != CALIBRATED and not value.endswith((".yaml", ".yml")):
            raise ValueError(f"expected a number between 0 and 1, `{CALIBRATED}`, or a calibration's .yaml file")
        return value


class Point(Data):
    """What a threshold would do: the shares of planted copies that it finds and of clean texts that it flags."""

    threshold: float
    found: Share
    flagged: Share


class Calibration(Data):
    """A threshold with its evidence. `found` is told for each way of copying, `curve` for other thresholds."""

    model: str
    threshold: Share
    source: str = ""
    benchmarks: list[str] = []
    planted: int = 0
    clean: int = 0
    flagged: Share | None = None
    found: dict[str, Share] = {}
    curve: list[Point] = []


class CalibrateConfig(Config):
    """`clean` is a .jsonl or .parquet file of conversations that are known to copy nothing; without it, each benchmark
    is clean for the others."""

    models: dict[str, ModelConfig]
    against: Annotated[list[str], Field(min_length=1)]
    clean: str | None = None
    seed: int = 0
