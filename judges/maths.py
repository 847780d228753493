"""Mathematical expressions that are equal though they are written differently, by `math-verify` (LaTeX and SymPy).

    same_expression("\\\\frac{1}{2}", "0.5")   True        same_expression("x^2 - 1", "(x-1)(x+1)")   True

Source: https://github.com/huggingface/Math-Verify; its time limit is an alarm signal, so it is called in the main
thread, which is the engine's.
"""

from functools import cache
from typing import Any

from gristmill.errors import ConfigError

SECONDS = 3


def same_expression(reference: str, text: str) -> bool:
    """Whether two expressions are equal; ConfigError where the extra is not installed."""
    parse, verify = math_verify()
    gold, found = (parse(_as_maths(side), parsing_timeout=SECONDS) for side in (reference, text))
    return bool(gold and found and verify(gold, found, timeout_seconds=SECONDS))


@cache
def math_verify() -> tuple[Any, Any]:
    """Its parser and its comparison; ConfigError where the extra is not installed."""
    try:
        from math_verify import parse, verify
    except ImportError:
        raise ConfigError("equivalence of expressions needs the extra: pip install 'gristmill[judges]'.") from None
    return parse, verify


def _as_maths(text: str) -> str:
    return text if "$" in text else f"${text}$"
