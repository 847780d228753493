"""The wordings of wording.yaml: what surrounds questions, and how workings and answers are told."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import yaml


@cache
def wording() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return found


def answer(form: str, rng: Random, **values: str) -> str:
    """One of the wordings of an answer, filled in."""
    return capital(rng.choice(wording()["answers"][form]).format(**values).strip())


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def moved(change: float) -> dict[str, str]:
    """{rose} and {rise} for a change: "fell by", "a decrease"."""
    if not change:
        return {"rose": "changed by", "rise": "a change"}
    return {"rose": "rose by", "rise": "an increase"} if change > 0 else {"rose": "fell by", "rise": "a decrease"}
