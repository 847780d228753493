"""The image of the containers: `python:3.11-slim` where a registry is reached, else the running Python, imported.

The imported one is labelled with what it was made from, so nobody takes it for the other:

    gristmill.sandbox.built_from = "CPython 3.11.7 of this machine"

Its archive is the same for the same Python: sorted, without times and owners.
"""

import compileall
import platform
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from py_compile import PycInvalidationMode
from typing import IO

from docker import DockerClient

from gristmill.errors import GristmillError
from gristmill.sandbox import local_python
from gristmill.sandbox.docker import FAILURES, brief

PULLED = f"python:{sys.version_info.major}.{sys.version_info.minor}-slim"
LOCAL = f"gristmill-sandbox:{platform.python_version()}"
BUILT_FROM = "gristmill.sandbox.built_from"
"""Label of a local image."""

_EMPTY = ("dev", "etc", "proc", "sys", "tmp")


def find(client: DockerClient) -> str | None:
    """The image that the daemon has already, the pulled one first."""
    tags = {tag for image in client.images.list() for tag in image.tags}
    return next((name for name in (PULLED, LOCAL) if name in tags), None)


def obtain(client: DockerClient) -> str:
    """The image that is there, or pulled, or made of the running Python."""
    found = find(client) or pull(client)
    if found is None:
        found = import_local(client)
    return found


def pull(client: DockerClient) -> str | None:
    """None where the registry can't be reached or doesn't have it."""
    try:
        client.images.pull(PULLED)
    except FAILURES:
        return None
    return PULLED


def import_local(client: DockerClient) -> str:
    repository, tag = LOCAL.split(":")
    changes = [
        f"ENV LD_LIBRARY_PATH={local_python.LIBRARIES}",
        f'LABEL {BUILT_FROM}="CPython {platform.python_version()} of this machine"',
    ]
    with tempfile.TemporaryFile() as archive:
        write_archive(archive)
        archive.seek(0)
        try:
            client.api.import_image_from_data(archive, repository=repository, tag=tag, changes=changes)
            client.images.prune(filters={"dangling": True, "label": BUILT_FROM})  # the one that had the name before
        except FAILURES as error:
            raise GristmillError(f"the Docker daemon doesn't import the image {LOCAL}: {brief(error)}.") from None
    return LOCAL


def write_archive(target: IO[bytes]) -> None:
    """The root file system as a tar archive, the same bytes for the same Python."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _lay_out(root)
        with tarfile.open(fileobj=target, mode="w") as archive:
            for path in sorted(root.rglob("*")):
                archive.add(path, path.relative_to(root), recursive=False, filter=_without_circumstances)


def _lay_out(root: Path) -> None:
    for name in _EMPTY:
        (root / name).mkdir()
    stdlib = _under(root, local_python.STDLIB)
    shutil.copytree(local_python.stdlib(), stdlib, ignore=_unneeded)
    # Compiled here, because nothing can be written there; by content, because there are no times.
    compileall.compile_dir(
        stdlib, quiet=2, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
        stripdir=str(stdlib), prependdir=str(local_python.STDLIB),
    )  # fmt: skip
    for at, source in {local_python.INTERPRETER: local_python.interpreter(), **local_python.libraries()}.items():
        _under(root, at).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, _under(root, at))
        _under(root, at).chmod(0o755)


def _under(root: Path, path: PurePosixPath) -> Path:
    return root / path.relative_to("/")


def _unneeded(_: str, names: list[str]) -> set[str]:
    return {name for name in names if name in local_python.UNNEEDED or name.startswith("config-")}


def _without_circumstances(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mtime = entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o1777 if entry.name == "tmp" else 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
    return entry
