"""Replaces a folder as a whole: what stops on the way leaves the former one untouched."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gristmill.errors import ConfigError, GristmillError
from gristmill.folders import is_anothers


@contextmanager
def replacing(folder: Path, marker: str) -> Iterator[Path]:
    """An empty folder beside `folder` that takes its place when the block ends well, and is removed when it does not.

    ConfigError where `folder` holds files but no `marker`, so is none of ours; GristmillError where another process is
    writing it.
    """
    if is_anothers(folder, marker):
        raise ConfigError(
            f"out: {folder} holds something else (no {marker} in it); choose another folder or remove it."
        )
    new = folder.with_name(f".{folder.name}.partial")
    former = folder.with_name(f".{folder.name}.former")
    new.mkdir(parents=True, exist_ok=True)
    handle = os.open(new, os.O_RDONLY)
    try:
        _lock(handle, new)
        _recover(folder, former)
        _empty(new)
        try:
            yield new
            if folder.exists():
                folder.rename(former)
            new.rename(folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)
            _recover(folder, former)
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise GristmillError(f"{folder} is in use by another process; wait for it or stop it.") from None


def _recover(folder: Path, former: Path) -> None:
    """Ends a replacement that was cut off between its two renames."""
    if former.exists() and folder.exists():
        shutil.rmtree(former)
    elif former.exists():
        former.rename(folder)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
