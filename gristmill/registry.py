"""Generators, judges and commands enter by entry points; built-ins come through the same door as plugins.

A plugin package declares, for example in its pyproject.toml:

    [project.entry-points."gristmill.generators"]
    haiku = "my_package:Haiku"
"""

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from gristmill.errors import ConfigError, did_you_mean


@cache
def _group(kind: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=f"gristmill.{kind}")}


def names(kind: str) -> list[str]:
    """The names registered for `kind`: generators, judges or commands."""
    return sorted(_group(kind))


def not_installed(error: ModuleNotFoundError) -> str:
    return f"{error.name} is not installed; `gristmill doctor` names the extra that brings it."


def load(kind: str, name: str) -> Any:
    """The object registered under `name`; ConfigError with a suggestion where there is none."""
    registered = _group(kind)
    if name not in registered:
        hint = did_you_mean(name, registered) or f" Known: {', '.join(sorted(registered))}."
        raise ConfigError(f"no {kind.removesuffix('s')} is named {name!r}.{hint}")
    try:
        return registered[name].load()
    except ModuleNotFoundError as error:
        raise ConfigError(f"the {kind.removesuffix('s')} {name!r} needs more: {not_installed(error)}") from error
    except ImportError as error:
        raise ConfigError(f"the {kind.removesuffix('s')} {name!r} can't be loaded: {error}.") from error
