"""The config of `gristmill prep` and `gristmill sft`."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.base import Config

# The optimizer is AdamW with these; they are no keys of the config.
BETAS = (0.9, 0.95)
WEIGHT_DECAY = 0.1  # of matrices
CLIP = 1.0  # the norm of the gradient

PositiveInt = Annotated[int, Field(gt=0)]
NaturalNumber = Annotated[int, Field(ge=0)]
Trained = Literal["all", "mtp", "lora"]
LossKernel = Literal["torch", "liger"]


class Rollouts(Config):
    """A stage's own responses as its data: `n` samples per prompt by the preceding checkpoint."""

    prompts: Path  # .jsonl or .parquet of records, or a blend's folder; each conversation is cut at its last user turn
    n: PositiveInt = 1
    temperature: Annotated[float, Field(ge=0)] = 1.0
    max_tokens: PositiveInt = 512
    truncate: Annotated[float, Field(ge=0, le=1)] = 0.0  # share of traces cut at a random budget
    drafts: NaturalNumber = 0  # of the MTP head, verified at a time: they change the speed, no token


class SFTData(Config):
    blend: Path
    tokenizer: str  # a folder, a hub id, `embedded`, or `train:N`
    template: str = "nemotron3"  # or a Jinja file with {% generation %} marks
    pack_tokens: PositiveInt = 4096
    packing: bool = True
    over_long: Literal["drop", "split", "error"] = "drop"
    history: Literal["truncate", "keep"] = "truncate"  # what becomes of traces before the last user turn


class StageData(Config):
    """What a stage does differently from `data`; a key that is left out is taken from there."""

    blend: Path | None = None
    pack_tokens: PositiveInt | None = None
    packing: bool | None = None
    over_long: Literal["drop", "split", "error"] | None = None
    rollouts: Rollouts | None = None


class MTPConfig(Config):
    depths: PositiveInt = 2
    scale: Annotated[float, Field(ge=0)] = 0.3


class Lora(Config):
    """Adapters for the stages with `train: lora`; `targets` are names of linear layers (q_proj), all without."""

    rank: PositiveInt = 16
    alpha: PositiveInt = 32
    targets: list[str] = []


class ModelInit(Config):
    init: str = "tiny"  # or `embedded`, a folder, or a hub id
    mtp: MTPConfig = MTPConfig()
    lora: Lora | None = None


class Warmup(Config):
    count: NaturalNumber = 0
    unit: Literal["packs", "conversations"] = "packs"


class Stage(Config):
    """`global_batch` and `micro_batch` count packs (sequences where packing is off). A forward pass holds at most
    `micro_tokens`, or `micro_batch` packs without it; a longer sequence goes alone. It changes no gradient."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")]
    loss: Literal["token", "sample"] = "token"
    train: Trained = "all"
    global_batch: PositiveInt
    micro_batch: PositiveInt = 1
    micro_tokens: PositiveInt | None = None
    lr: Annotated[float, Field(gt=0)]
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: Warmup = Warmup()
    steps: PositiveInt | None = None
    epochs: PositiveInt | None = None
    data: StageData = StageData()

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("a stage has either steps or epochs")
        return self


class SFTConfig(Config):
    out: Path
    data: SFTData
    model: ModelInit = ModelInit()
    precision: Literal["bf16", "fp32"] = "bf16"
    loss_kernel: LossKernel = "torch"  # or `liger`, on CUDA
    activation_checkpointing: bool = False  # keep each layer's input alone, and compute it again for its gradients
    seed: NaturalNumber = 0
    stages: Annotated[list[Stage], Field(min_length=1)]

    @model_validator(mode="after")
    def _distinct_stages(self) -> Self:
        names = [stage.name for stage in self.stages]
        if "tokenizer" in names:
            raise ValueError("a stage can't be named tokenizer: its folder lies beside the tokenizer's")
        if len(set(names)) != len(names):
            raise ValueError("two stages have the same name")
        return self

    @model_validator(mode="after")
    def _adapters_and_their_stages(self) -> Self:
        trains = any(stage.train == "lora" for stage in self.stages)
        if trains != (self.model.lora is not None):
            raise ValueError(
                "a stage with train: lora needs model.lora" if trains else "model.lora needs a stage with train: lora"
            )
        return self

    def stage_data(self, stage: Stage) -> SFTData:
        """`data` with the stage's own keys laid over it."""
        own = stage.data.model_dump(exclude_none=True, exclude={"rollouts"})
        return self.data.model_copy(update=own)

    def tokens_at_once(self, stage: Stage) -> int:
        """Of a forward pass, padding included."""
        return stage.micro_tokens or stage.micro_batch * self.stage_data(stage).pack_tokens
