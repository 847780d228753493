"""Gristmill: from seeds to verified records, to blends, to a fine-tuned checkpoint.

The public plugin API:

    from gristmill import Context, Generator, Judge, Record, Reject
"""

from gristmill.api import Generator, Judge, NoParams, RunJudge
from gristmill.context import Context
from gristmill.errors import Reject
from schemas import Answer, Config, Record, Seed, Verdict

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
