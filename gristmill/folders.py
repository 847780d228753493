"""Where Gristmill keeps what it can make again, and which folders are none of its own."""

import os
from pathlib import Path

from platformdirs import user_cache_path


def cache_folder() -> Path:
    """This user's: what GRISTMILL_CACHE names, or the platform's usual place."""
    return Path(os.environ.get("GRISTMILL_CACHE") or user_cache_path("gristmill"))


def is_anothers(folder: Path, *ours: str) -> bool:
    """Whether something lies there that we didn't make: a file, or a folder with files, none of them one of `ours`."""
    if not folder.exists() or any((folder / name).is_file() for name in ours):
        return False
    return not folder.is_dir() or any(folder.iterdir())
