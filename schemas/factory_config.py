"""The config of `gristmill factory`: what generators make, one blend of it, and a training on the blend."""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from schemas.base import Config
from schemas.blend_config import Source, Weight
from schemas.run_config import Budget


class Part(Source):
    """A source of the blend: made by `run`, or there already at `path`, or with neither one that is not to be had,
    whose part of its share stays missing. `weight` is relative to those of the same share; the other keys are a
    blend's. Where `set` says neither `samples` nor `tasks`, and the blend counts rows, the run makes what the blend
    asks, and `spare`.
    """

    path: str = ""  # as in a blend, for what is not made here; hf:// with its revision
    weight: Weight = 1.0
    share: str  # the one of `shares` that it belongs to
    run: Path | None = None  # a config of `gristmill generate`
    set: dict[str, Any] = {}  # laid over that config, mapping by mapping
    optional: bool = False  # whether the blend may be made without it where it gave no record
    like: Path | None = None  # an earlier run, whose figures are the forecast where nothing is measured

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if self.path and self.run:
            raise ValueError("a source is made by `run` or lies at `path`, not both")
        if self.run is None and (self.set or self.like):
            raise ValueError("`set` and `like` are for a source with `run`")
        if self.cap is not None:
            raise ValueError("what a `cap` takes from a source the others would get; a smaller `weight` says it too")
        if self.path.startswith("hf://") and "@" not in self.path:
            raise ValueError("a hub dataset is pinned: hf://NAME@REVISION")
        return self

    @property
    def is_missing(self) -> bool:
        return self.run is None and not self.path


class FactoryConfig(Config):
    """`shares` are the wanted mix, by name; a share without a source, and a source without a record, leave the blend so
    much smaller: no other takes their part. `sizes` are named lists of keys with other values, as on the command line;
    `size` says which of them holds."""

    out: Path  # everything is written below it
    shares: Annotated[dict[str, Weight], Field(min_length=1)]  # relative weights
    sources: Annotated[list[Part], Field(min_length=1)]
    models: dict[str, dict[str, Any]] = {}  # by the `model` that a run's role names: keys laid over all such roles
    blend: dict[str, Any]  # a blend's config without `out` and `sources`; `total` is that of the whole mix
    training: dict[str, Any] | None = None  # sft's config; `out` and the blend are filled in
    spare: Annotated[float, Field(ge=0)] = 0.1  # how much more the runs make than the blend asks, for its gates to take
    estimate: Annotated[int, Field(ge=0)] = 2  # tasks of each run that are run first, for the forecast
    budget: Budget = Budget()  # for all runs together, in place of those that their configs name (but not `set`)
    size: str = ""
    sizes: dict[str, dict[str, Any]] = {}

    @model_validator(mode="after")
    def _sound(self) -> Self:
        names = [part.name for part in self.sources]
        if len(set(names)) != len(names):
            raise ValueError("two sources have the same name")
        if self.size and self.size not in self.sizes:
            raise ValueError(f"size: {self.size!r} is none of `sizes` ({', '.join(self.sizes) or 'there are none'})")
        for part in self.sources:
            if part.name in ("blend", "training"):
                raise ValueError(
                    f"no source can be named {part.name}: its config would lie where that of the {part.name} is"
                )
            if part.share not in self.shares:
                raise ValueError(f"the source {part.name} is of the share {part.share!r}, which `shares` doesn't name")
        if all(part.is_missing for part in self.sources):
            raise ValueError("no source has a `run` or a `path`")
        total = self.blend.get("total")
        if not isinstance(total, int) or isinstance(total, bool) or total < 1:
            raise ValueError("blend.total: expected how many rows (or supervised tokens) the whole mix has")
        for key in ("out", "sources"):
            if key in self.blend:
                raise ValueError(f"blend.{key} follows from the factory's own `{key}`")
        if self.training is not None and "out" in self.training:
            raise ValueError("training.out follows from the factory's own `out`")
        return self

    @property
    def total(self) -> int:
        """Of the whole mix, in the blend's unit."""
        total: int = self.blend["total"]
        return total

    @property
    def unit(self) -> str:
        """What the blend counts, in words."""
        return str(self.blend.get("unit", "rows")).replace("_", " ")

    def parts(self) -> dict[str, float]:
        """The part of the whole mix, from 0 to 1, that each source should have."""
        whole = sum(self.shares.values())
        within = {share: sum(part.weight for part in self.sources if part.share == share) for share in self.shares}
        return {part.name: self.shares[part.share] / whole * part.weight / within[part.share] for part in self.sources}
