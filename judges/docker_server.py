"""A database server in a container, for as long as a block lasts.

with container("postgres:17", 5432, {"POSTGRES_PASSWORD": secret}) as (host, port): ...
"""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from gristmill.errors import GristmillError

_PULL = 600.0  # seconds; an image may have to be fetched


@contextmanager
def container(image: str, port: int, environment: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """Where the port of a fresh container is reached on this machine. Its environment is on no command line."""
    program = shutil.which("docker")
    if program is None:
        raise GristmillError(f"there is no Docker to run {image} with: apt-get install docker.io, then start dockerd.")
    names = [option for name in environment for option in ("--env", name)]
    limits = ["--memory", "1g", "--pids-limit", "200", "--tmpfs", "/tmp"]
    run = ["run", "--detach", "--rm", "--publish", f"127.0.0.1::{port}", *limits, *names, image]
    identity = _docker(program, *run, environment=environment)
    try:
        shown = _docker(program, "port", identity, str(port))
        yield "127.0.0.1", int(shown.splitlines()[0].rpartition(":")[2])
    finally:
        _docker(program, "rm", "--force", "--volumes", identity)


def _docker(program: str, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        [program, *arguments],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=_PULL,
        check=False,
    )
    if done.returncode != 0:
        raise GristmillError(f"docker {arguments[0]}: {done.stderr.strip()[-300:]}")
    return done.stdout.strip()
