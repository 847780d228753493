"""What may change in the config of a run that is begun.

data, model, finished stages     nothing: they are in the weights
precision, seed, running stage   anything, if the stage begins anew (--reset-optimizer)
later stages, all other keys     anything
"""

from collections.abc import Iterable, Mapping
from typing import Any

from gristmill.errors import ConfigError
from schemas.sft_config import SFTConfig
from sft.state import Progress


def refuse_changes(resumed: Progress, config: SFTConfig, keys: Mapping[str, str], reset_optimizer: bool) -> None:
    """ConfigError where what the run has already used is no longer what the config says, or what packs there are."""
    old, new = resumed.config, config.model_dump(mode="json")
    finished, running = resumed.stage, resumed.stage + (resumed.cursor.step > 0)
    advice = "change it back, or give another `out`"
    changes = _changes(_used(old, ("data", "model"), finished), _used(new, ("data", "model"), finished))
    if not changes and not reset_optimizer:
        parts = ("precision", "seed")
        changes = _changes(
            _used(old, parts, running) | _packs(old, resumed.data, running),
            _used(new, parts, running) | _packs(new, keys, running),
        )
        advice += ", or begin the running stage anew, with the weights as they are, by --reset-optimizer"
    for key, before, now in changes[:1]:
        raise ConfigError(f"{config.out} was begun with {key}: {before}, not {now}; {advice}.")


def _used(config: Mapping[str, Any], keys: Iterable[str], stages: int) -> dict[str, Any]:
    """By dotted key, what these keys and the first `stages` stages say."""
    begun = config["stages"][:stages]
    used: dict[str, Any] = {"stages": [stage["name"] for stage in begun]}
    for key in keys:
        used |= _leaves(key, config[key])
    for stage in begun:
        used |= _leaves(f"stages.{stage['name']}", stage)
    return used


def _packs(config: Mapping[str, Any], keys: Mapping[str, str], stages: int) -> dict[str, Any]:
    names = [stage["name"] for stage in config["stages"][:stages]]
    return {f"the packs of the stage {name}": keys.get(name) for name in names}


def _leaves(key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {key: value}
    return {path: leaf for part, below in value.items() for path, leaf in _leaves(f"{key}.{part}", below).items()}


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    keys = dict.fromkeys([*before, *now])
    return [(key, before.get(key), now.get(key)) for key in keys if before.get(key) != now.get(key)]
