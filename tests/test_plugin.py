"""A package of somebody else's enters by entry points, as the built-ins do."""

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from gristmill import Generator, registry
from gristmill.commands.generate import run_plan
from gristmill.errors import ConfigError
from gristmill.llm import Roles
from gristmill.plan import Plan
from gristmill.runs import RunFolder
from gristmill.testing import ScriptedModel, check_generator, run_scripted
from schemas.run_config import RunConfig

PLUGIN = Path(__file__).parent / "plugin"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The plugin as pip would leave it: its folder on the path, with the metadata of its pyproject.toml."""
    groups = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]["entry-points"]
    info = tmp_path / "site" / "gristmill_haiku-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gristmill-haiku\nVersion: 0.1.0\n")
    lines = [
        line for group, points in groups.items() for line in [f"[{group}]", *(f"{k} = {v}" for k, v in points.items())]
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.setattr(sys, "path", [*sys.path, str(info.parent), str(PLUGIN)])
    registry._group.cache_clear()
    yield
    registry._group.cache_clear()


@pytest.mark.usefixtures("installed")
def test_a_plugin_runs_like_a_built_in(tmp_path: Path) -> None:
    def poet(role: str, request: object) -> str:
        return "one\ntwo\nthree" if "harbour" not in str(request) else "one line"

    config = {"generator": "haiku", "judges": [{"name": "three_lines"}]}
    summary = run_scripted(config, tmp_path / "run", ScriptedModel(poet))
    assert (summary["accepted"], summary["by_reason"]) == (2, {"three_lines/failed": 1})
    check_generator(config, tmp_path / "contract", ScriptedModel(poet))


@pytest.mark.usefixtures("installed")
def test_names_are_found_or_guessed() -> None:
    assert "haiku" in registry.names("generators")
    with pytest.raises(ConfigError, match=r"no generator is named 'haiko'\. Did you mean haiku"):
        registry.load("generators", "haiko")


def test_built_ins_are_entry_points() -> None:
    registered = {point.name: point for point in entry_points(group="gristmill.generators")}
    assert {"template", "text_to_sql"} <= registered.keys()
    assert all(isinstance(point, EntryPoint) for point in registered.values())


def test_the_readmes_generator_runs(tmp_path: Path) -> None:
    """The README's own example, taken from its text."""
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    (tmp_path / "my_generator.py").write_text(code)
    spec = spec_from_file_location("my_generator", tmp_path / "my_generator.py")
    assert spec and spec.loader
    module = sys.modules["my_generator"] = module_from_spec(spec)
    spec.loader.exec_module(module)
    (kind,) = [
        v for v in vars(module).values() if isinstance(v, type) and issubclass(v, Generator) and v is not Generator
    ]
    models = {"default": {"endpoint": "http://x.invalid/v1", "model": "m"}}
    config = RunConfig.model_validate({"generator": kind.name, "models": models})
    plan = Plan(config, kind(kind.params_type()), [], Roles(config.models), "f")
    assert run_plan(plan, RunFolder(tmp_path / "run"), transport=ScriptedModel(), quiet=True)["records"] > 0
