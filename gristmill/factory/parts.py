"""A factory's config made into the configs of its parts, all of them validated before the first one starts.

OUT/configs/NAME.yaml    the run of the source NAME; blend.yaml and training.yaml
OUT/runs/NAME/           what it makes
OUT/blend/  OUT/training/
OUT/done.json            the parts that are done, with what they were made from
OUT/summary.json         the mix: wanted, realised, missing
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from gristmill.config import apply, laid_over, override, read_yaml, validate
from gristmill.errors import ConfigError
from gristmill.factory.mix import blend_config
from gristmill.plan import Plan, make_plan
from gristmill.runs import RunFolder, write_atomically
from schemas.base import Config
from schemas.blend_config import BlendConfig
from schemas.factory_config import FactoryConfig, Part
from schemas.run_config import Budget, RunConfig
from schemas.sft_config import SFTConfig


class Job(NamedTuple):
    """A source that is made here: its run, planned, and the run's folder."""

    part: Part
    plan: Plan
    folder: RunFolder


class Factory(NamedTuple):
    config: FactoryConfig
    jobs: list[Job]
    training: SFTConfig | None

    @property
    def out(self) -> Path:
        return self.config.out

    def config_of(self, name: str) -> Path:
        return self.out / "configs" / f"{name}.yaml"

    def write_configs(self, configs: Mapping[str, Config]) -> None:
        """Each as a config of its own, for its own command."""
        for name, config in configs.items():
            path = self.config_of(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            kept = config.model_dump(mode="json", exclude_defaults=True)
            write_atomically(path, yaml.safe_dump(kept, sort_keys=False, allow_unicode=True))


def load_factory(path: Path, overrides: list[str]) -> Factory:
    """ConfigError for a mistake in any of the parts: a key, a generator's parameters, a missing file, an unset key of a
    service, a source that is asked for more than its run makes."""
    config = read_factory(path, overrides)
    jobs = [_job(config, part) for part in config.sources if part.run is not None]
    _check_supply(blend_config(config, {part.name for part in config.sources if not part.is_missing}), jobs)
    return Factory(config, jobs, _training(config, str(path)))


def read_factory(path: Path, overrides: list[str]) -> FactoryConfig:
    """The file with the keys of the chosen size, then those of the command line."""
    content = read_yaml(path, [text for text in overrides if text.startswith("size=")])
    size, sizes = content.get("size"), content.get("sizes")
    if size and isinstance(sizes, dict) and isinstance(sizes.get(size), dict):
        for key, value in sizes[size].items():
            override(content, str(key), value, f"{path}: sizes.{size}.{key}")
    for text in overrides:
        apply(content, text)
    return validate(content, FactoryConfig, str(path))


def _job(config: FactoryConfig, part: Part) -> Job:
    assert part.run is not None
    recipe = read_yaml(part.run, []) | _amount(config, part)
    if config.budget != Budget():
        recipe.pop("budget", None)  # the factory's stands in its place
    content = laid_over(recipe, part.set)
    roles = content.get("models")
    if isinstance(roles, dict):
        content["models"] = {role: _served(config, model) for role, model in roles.items()}
    where = f"source {part.name} ({part.run})"
    try:
        plan = make_plan(validate(content, RunConfig, where))
    except ConfigError as error:
        raise ConfigError(str(error) if str(error).startswith(where) else f"{where}: {error}") from None
    return Job(part, plan, RunFolder(config.out / "runs" / part.name))


def _amount(config: FactoryConfig, part: Part) -> dict[str, Any]:
    """What the blend asks of a source, and some more, where nothing else is said."""
    if {"samples", "tasks"} & part.set.keys() or config.unit != "rows":
        return {}
    rows = config.total * config.parts()[part.name] / part.epochs
    return {"samples": math.ceil(rows * (1 + config.spare)), "tasks": None}


def _served(config: FactoryConfig, model: Any) -> Any:
    """A role's model, with the keys of what stands in its place."""
    named = model.get("model") if isinstance(model, dict) else None
    return laid_over(model, config.models[named]) if named in config.models else model


def _training(config: FactoryConfig, path: str) -> SFTConfig | None:
    """The training; where it names no blend, and a stage with roll-outs no prompts, they are the factory's blend."""
    if config.training is None:
        return None
    blend = {"blend": str(config.out / "blend")}
    content = laid_over({"out": str(config.out / "training"), "data": blend}, config.training)
    stages = content.get("stages")
    for stage in stages if isinstance(stages, list) else []:
        data = stage.get("data") if isinstance(stage, dict) else None
        if isinstance(data, dict) and isinstance(data.get("rollouts"), dict):
            data["rollouts"] = {"prompts": blend["blend"]} | data["rollouts"]
    return validate(content, SFTConfig, f"{path}: training")


def _check_supply(blend: BlendConfig, jobs: list[Job]) -> None:
    """Before anything is bought: a run that can't make what the blend will ask, where that stops the blend."""
    if blend.unit != "rows" or blend.short != "error":
        return
    whole = sum(source.weight for source in blend.sources)
    for job in jobs:
        source = next(source for source in blend.sources if source.name == job.part.name)
        asked, samples = int(blend.total * source.weight / whole), job.plan.config.samples
        if samples is not None and samples * source.epochs < asked:
            raise ConfigError(
                f"source {source.name}: the blend asks for {asked:,} of its rows, and its run makes {samples:,}. Set "
                "its samples, blend.total or blend.short: shrink."
            )
