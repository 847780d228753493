"""Runs inside the sandbox: what the reference gives for each input, and which inputs tell its mutants from it.

It stands alone, with reference.py, mutant_0.py ... and plan.json beside it: {"name": function, "inputs": [source of the
arguments], "mutants": 3}. It prints {"expected": [source of the result], "kills": [[input, ...] for each mutant]}. A
mutant that loops is stopped after `STEPS` lines, so that what is found doesn't depend on the machine's speed.
"""

import ast
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

STEPS = 20_000
TOO_LONG = "too long"


class TooLong(BaseException):
    """More lines were run than any right program needs."""


def main() -> None:
    plan = json.loads(Path("plan.json").read_text(encoding="utf-8"))
    expected = [outcome("reference", plan["name"], given) for given in plan["inputs"]]
    kills = [
        [
            number
            for number, given in enumerate(plan["inputs"])
            if outcome(f"mutant_{mutant}", plan["name"], given) != expected[number]
        ]
        for mutant in range(plan["mutants"])
    ]
    print(json.dumps({"expected": [[kind, repr(value)] for kind, value in expected], "kills": kills}))


def outcome(module: str, name: str, given: str) -> tuple[str, Any]:
    """("ok", result) or ("raised", what)."""
    arguments = ast.literal_eval(given)
    try:
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)
        return "ok", limited(function, arguments)
    except TooLong:
        return "raised", TOO_LONG
    except Exception as error:
        return "raised", type(error).__name__


def limited(function: Callable[..., Any], arguments: list[Any]) -> Any:
    left = STEPS

    def trace(_frame: FrameType, _event: str, _argument: object) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise TooLong
        return trace

    sys.settrace(trace)
    try:
        return function(*arguments)
    finally:
        sys.settrace(None)


if __name__ == "__main__":
    main()
