"""Which sandbox this machine has: Docker, else bubblewrap, else none, and then no code runs.

GRISTMILL_SANDBOX=docker (or bubblewrap) in the environment takes that one or nothing.
"""

import os
from collections.abc import Callable
from importlib.util import find_spec

from gristmill.errors import ConfigError, GristmillError
from gristmill.sandbox.cells import Cell

CHOICE = "GRISTMILL_SANDBOX"
STRONGER, WEAKER = "docker", "bubblewrap"
BUILD = "gristmill sandbox build"


def choose() -> Callable[[], Cell]:
    """What makes cells of the best engine; GristmillError, with the reason for each, where there is none."""
    wanted = os.environ.get(CHOICE) or None
    if wanted not in (None, STRONGER, WEAKER):
        raise ConfigError(f"{CHOICE}={wanted}: {STRONGER} or {WEAKER} is expected.")
    reasons = []
    for name, open_engine in ((STRONGER, _open_docker), (WEAKER, _open_bubblewrap)):
        if wanted in (None, name):
            try:
                return open_engine()
            except GristmillError as error:
                reasons.append(str(error).rstrip("."))
    raise GristmillError(f"generated code runs in a sandbox only, and there is none here: {'; '.join(reasons)}.")


def _open_docker() -> Callable[[], Cell]:
    check_docker(timeout=60.0)
    from gristmill.sandbox import docker, image

    client = docker.connect()
    docker.sweep(client)
    name = image.obtain(client)
    client.close()
    return lambda: docker.DockerCell(name)


def _open_bubblewrap() -> Callable[[], Cell]:
    from gristmill.sandbox import bubblewrap

    bubblewrap.check()
    return bubblewrap.BubblewrapCell


def check_docker(timeout: float) -> None:
    """GristmillError where Docker can't be used, with what to do."""
    if find_spec("docker") is None:
        raise GristmillError("Docker's Python package is not installed: pip install 'gristmill[sandbox]'.")
    from gristmill.sandbox import docker

    docker.connect(timeout).close()


def is_weaker(engine: str) -> bool:
    """Whether a run's `engine` is the fallback."""
    return engine.startswith(WEAKER)
