"""Gristmill: from seeds to verified records, to blends, to a fine-tuned checkpoint.

The public plugin API:

    from gristmill import Context, Generator, Judge, Record, Reject
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gristmill.api import Generator, Judge, NoParams, RunJudge
    from gristmill.context import Context
    from gristmill.errors import Reject
    from schemas import Answer, Config, Record, Seed, Verdict
else:
    _HOMES = {
        "gristmill.api": ("Generator", "Judge", "NoParams", "RunJudge"),
        "gristmill.context": ("Context",),
        "gristmill.errors": ("Reject",),
        "schemas": ("Answer", "Config", "Record", "Seed", "Verdict"),
    }

    def __getattr__(name: str) -> Any:
        """Loads what is asked for. A command that asks no model starts without an HTTP client, half a second sooner."""
        from importlib import import_module

        for home, names in _HOMES.items():
            if name in names:
                return getattr(import_module(home), name)
        raise AttributeError(f"module 'gristmill' has no attribute {name!r}")


__all__ = [
    "Answer",
    "Config",
    "Context",
    "Generator",
    "Judge",
    "NoParams",
    "Record",
    "Reject",
    "RunJudge",
    "Seed",
    "Verdict",
]
