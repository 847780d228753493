"""The layers: each folder may import only what stands below it, and start-up stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {
    "schemas": set(),
    "gristmill": {"schemas"},
    "judges": {"schemas", "gristmill"},
    "generators": {"schemas", "gristmill", "judges"},
    "blends": {"schemas", "gristmill"},
    "sft": {"schemas", "gristmill"},
}


def imported(path: Path) -> set[str]:
    """The top-level packages that a module names in any import, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_no_import_points_the_wrong_way(package: str) -> None:
    modules = sorted((ROOT / package).rglob("*.py"))
    assert modules
    for module in modules:
        foreign = imported(module) & ALLOWED.keys() - ALLOWED[package] - {package}
        assert not foreign, f"{module.relative_to(ROOT)} imports {foreign}"


def modules_after(code: str) -> set[str]:
    listing = f"import sys; {code}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


HEAVY = {"torch", "transformers", "duckdb", "openai", "datasets", "polars", "matplotlib", "pandas", "ray"}


@pytest.mark.parametrize("code", ["import gristmill", "import gristmill.engine", "import gristmill.commands.generate"])
def test_start_up_loads_nothing_heavy(code: str) -> None:
    assert not modules_after(code) & HEAVY


def test_help_loads_no_pyarrow_and_no_transport() -> None:
    code = (
        "import contextlib, io, gristmill.cli\nwith contextlib.redirect_stdout(io.StringIO()): gristmill.cli.main([])"
    )
    assert not modules_after(f"exec({code!r})") & (HEAVY | {"pyarrow"})
