"""The layers: each folder may import only what stands below it, and start-up stays light."""

import subprocess
import sys

import pytest

from tests.layers import PACKAGES, PAGE, PICTURE, ROOT, imported, page, picture

ALLOWED = {
    "schemas": set(),
    "gristmill": {"schemas"},
    "judges": {"schemas", "gristmill"},
    "generators": {"schemas", "gristmill", "judges"},
    "blends": {"schemas", "gristmill"},
    "sft": {"schemas", "gristmill"},
}


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_no_import_points_the_wrong_way(package: str) -> None:
    modules = sorted((ROOT / package).rglob("*.py"))
    assert modules
    for module in modules:
        foreign = imported(module) & ALLOWED.keys() - ALLOWED[package] - {package}
        assert not foreign, f"{module.relative_to(ROOT)} imports {foreign}"


def test_the_picture_of_the_layers_is_current() -> None:
    assert set(PACKAGES) == ALLOWED.keys()
    assert picture() == PICTURE.read_text("utf-8") and page() == PAGE.read_text("utf-8"), "run `python -m tests.layers`"


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
