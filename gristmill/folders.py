"""Where Gristmill keeps what it can make again."""

import os
from pathlib import Path

from platformdirs import user_cache_path


def cache_folder() -> Path:
    """This user's: what GRISTMILL_CACHE names, or the platform's usual place."""
    return Path(os.environ.get("GRISTMILL_CACHE") or user_cache_path("gristmill"))
