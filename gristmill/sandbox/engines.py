"""Which sandbox this machine has: Docker, else bubblewrap, else none, and then no code runs.

GRISTMILL_SANDBOX=docker (or bubblewrap) in the environment takes that one or nothing.
"""

import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

from gristmill.errors import ConfigError, GristmillError
from gristmill.sandbox.cells import Cell

CHOICE = "GRISTMILL_SANDBOX"
STRONGER, WEAKER = "docker", "bubblewrap"


class Engine(NamedTuple):
    """`check` says what is there, `prepare` gives what makes cells; both raise GristmillError with the remedy."""

    name: str
    check: Callable[[], str]
    prepare: Callable[[], Callable[[], Cell]]


def choose() -> Callable[[], Cell]:
    """What makes cells of the best engine; GristmillError, with the reason for each, where there is none."""
    reasons = []
    for engine in _wanted():
        try:
            engine.check()
            return engine.prepare()
        except GristmillError as error:
            reasons.append(str(error))
    raise GristmillError(
        f"generated code runs in a sandbox only, and there is none here: {_joined(reasons)}. "
        "`gristmill doctor` says more."
    )


def survey() -> tuple[bool, str]:
    """Whether code can run here, and in what, and how to get the better; nothing is fetched or built."""
    reasons = []
    for engine in _wanted():
        try:
            found = engine.check()
        except GristmillError as error:
            reasons.append(str(error))
            continue
        return True, f"{found}; the stronger one is missing: {_joined(reasons)}" if reasons else found
    return False, f"no code can be run: {_joined(reasons)}"


def is_weaker(engine: str) -> bool:
    """Whether a run's `engine` is the fallback."""
    return engine.startswith(WEAKER)


def _wanted() -> list[Engine]:
    engines = [Engine(STRONGER, check_docker, _prepare_docker), Engine(WEAKER, check_bubblewrap, _prepare_bubblewrap)]
    wanted = os.environ.get(CHOICE)
    if wanted and wanted not in (STRONGER, WEAKER):
        raise ConfigError(f"{CHOICE}={wanted}: {STRONGER} or {WEAKER} is expected.")
    return [engine for engine in engines if not wanted or wanted == engine.name]


def _joined(reasons: list[str]) -> str:
    return "; ".join(reason.rstrip(".") for reason in reasons)


def check_docker() -> str:
    require_docker_package()
    from gristmill.sandbox import docker, image

    client = docker.connect(timeout=3.0)
    found = image.find(client)
    client.close()
    return f"docker, {found or 'which gets its image on first use, or by `gristmill sandbox build`'}"


def require_docker_package() -> None:
    if find_spec("docker") is None:
        raise GristmillError("Docker's Python package is not installed: pip install 'gristmill[sandbox]'.")


def _prepare_docker() -> Callable[[], Cell]:
    from gristmill.sandbox import docker, image

    client = docker.connect()
    docker.sweep(client)
    name = image.obtain(client)
    client.close()
    return lambda: docker.DockerCell(name)


def check_bubblewrap() -> str:
    from gristmill.sandbox import bubblewrap

    bubblewrap.check()
    return "bubblewrap, the weaker one"


def _prepare_bubblewrap() -> Callable[[], Cell]:
    from gristmill.sandbox import bubblewrap

    return bubblewrap.BubblewrapCell
