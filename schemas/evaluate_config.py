"""The config of `gristmill evaluate`."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from schemas.base import Config
from schemas.run_config import JudgeConfig, ModelConfig

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]


class Subject(Config):
    """Who is asked: a checkpoint's folder, or a model behind an endpoint."""

    name: Name
    checkpoint: Path | None = None
    model: ModelConfig | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.checkpoint is None) == (self.model is None):
            raise ValueError("a subject has either a checkpoint or a model")
        return self


class Exam(Config):
    """Records whose last answer is asked for anew; right is what passes all the judges."""

    name: Name
    records: Path  # .jsonl or .parquet, or a blend's folder (its valid split)
    judges: Annotated[list[JudgeConfig], Field(min_length=1)]
    category: str | None = None
    limit: Annotated[int, Field(gt=0)] | None = None  # drawn evenly by `seed`


class EvaluateConfig(Config):
    """The first subject is the one that the others are compared with."""

    out: Path
    subjects: Annotated[list[Subject], Field(min_length=1)]
    exams: Annotated[list[Exam], Field(min_length=1)]
    held_out: Path | None = None  # a blend: each checkpoint's losses on its valid split
    models: dict[str, ModelConfig] = {}  # roles of the judges
    temperature: Annotated[float, Field(ge=0)] = 0.0
    max_tokens: Annotated[int, Field(gt=0)] = 512
    drafts: Annotated[int, Field(ge=0)] = 0  # of a checkpoint's MTP head, verified at a time
    seed: Annotated[int, Field(ge=0)] = 0
    resamples: Annotated[int, Field(gt=0)] = 10_000

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for names in ([one.name for one in self.subjects], [one.name for one in self.exams]):
            if len(set(names)) < len(names):
                raise ValueError("two of the same name")
        return self
