"""`gristmill init` in a virtual environment of its own, outside the checkout, as its user would meet it."""

import os
import re
import site
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest

from gristmill.commands.init import SCAFFOLD, check_name, make
from gristmill.errors import ConfigError
from gristmill.testing import FaultServer
from tests.conftest import CLI

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/writing_plugins.md"
Shell = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("newcomer")


@pytest.fixture(scope="module")
def shell(home: Path) -> Iterator[Shell]:
    """Runs commands in `home`, in a fresh environment that sees the running one's packages and no index.

    It has no pip of its own: an older setuptools would come with it.
    """
    venv.create(home / ".venv", with_pip=False)
    python = home / ".venv/bin/python"
    (packages,) = (home / ".venv").glob("lib/*/site-packages")
    lines = [f"import site; site.addsitedir({folder!r})" for folder in site.getsitepackages()]
    (packages / "running.pth").write_text("\n".join(lines))
    script = home / ".venv/bin/gristmill"  # as pip would write it
    script.write_text(f"#!{python}\nimport sys\nfrom gristmill.cli import main\nsys.exit(main())\n")
    script.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads this as "no isolation": https://github.com/pypa/pip/issues/5735
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }

    def run(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=home, env=environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    yield run


def done(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def plugin(home: Path, shell: Shell) -> Path:
    """A plugin package that is made and installed."""
    done(shell("gristmill init night_sky --dir stars"))
    done(shell("cd stars && python -m pip install -e '.[dev]'"))
    return home / "stars"


@pytest.mark.usefixtures("plugin")
def test_its_own_tests_pass(shell: Shell) -> None:
    told = done(shell("cd stars && python -m pytest -q"))
    assert re.search(r"^7 passed", told, re.MULTILINE), told


@pytest.mark.usefixtures("plugin")
def test_it_is_listed_and_shown(shell: Shell) -> None:
    listed = done(shell("cd stars && gristmill list"))
    assert re.search(r"^  night_sky +explanations that", listed, re.MULTILINE)
    assert re.search(r"^  night_sky_readable +the answer", listed, re.MULTILINE)
    assert re.search(r"^  recipes/generate/night_sky.yaml +night_sky on the embedded", listed, re.MULTILINE)
    assert "night_sky, example 3 of 3" in done(shell("gristmill show night_sky"))
    again = shell("gristmill init night_sky")
    assert (again.returncode, "a generator is named night_sky already" in again.stderr) == (2, True)


def test_it_generates_and_judges(shell: Shell, plugin: Path) -> None:
    def script(role: str, request: object) -> object:
        (named,) = re.findall(r'the words "(.*?)"', str(request)) or [""]
        return {"question": f"What about {named}, then?"} if named else "It is so. We saw it."

    with FaultServer(script=script) as server:
        models = f"models='{{default: {{endpoint: \"{server.url}\", model: m}}}}'"
        done(shell(f"cd stars && gristmill generate recipes/generate/night_sky.yaml {models} tasks=20"))
        asked = server.requests
        summary = orjson.loads((plugin / "runs/night_sky/summary.json").read_bytes())
        assert (summary["tasks"], summary["accepted"], asked) == (20, 20, 40)
        recipe = "recipes/generate/night_sky_teacher.yaml"
        judges = "judges='[{name: night_sky_readable, slack: 0}]'"
        done(shell(f"cd stars && gristmill judge runs/night_sky {recipe} {judges} --run runs/judged"))
        assert server.requests == asked
    for row in pq.read_table(plugin / "runs/judged/records").to_pylist():
        assert [verdict["name"] for verdict in row["verdicts"]][-1] == "night_sky_readable"


@pytest.mark.embedded
def test_every_command_of_the_page_runs(shell: Shell) -> None:
    prose = re.sub(r"^```.*?^```", "", PAGE.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    commands = re.findall(r"^    (\S.*)", prose, re.MULTILINE)
    assert commands[0] == "gristmill init plain_words" and len(commands) == 9
    done(shell("\n".join(commands)))


def test_what_the_page_shows_of_the_package_is_there(tmp_path: Path) -> None:
    make("plain_words", tmp_path)
    sources = {path.name: path.read_text("utf-8") for path in tmp_path.rglob("*") if path.is_file()}
    for language, block in re.findall(r"```(python|yaml|jinja|toml)\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL):
        assert any(block in source for source in sources.values()), f"{language}:\n{block}"


def test_a_new_package_is_clean(tmp_path: Path) -> None:
    make("night_sky", tmp_path)
    for check in (["check", "--select=E,F,W,B,UP,C4,SIM,PTH,PERF"], ["format", "--check"]):
        told = subprocess.run(
            [sys.executable, "-m", "ruff", *check, "--isolated", "--config", "line-length=120", tmp_path],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert told.returncode == 0, told.stdout


def test_nothing_of_the_scaffold_keeps_its_name(tmp_path: Path) -> None:
    made = make("night_sky", tmp_path / "new")
    assert len(made) == len([path for path in SCAFFOLD.rglob("*.*") if "__pycache__" not in path.parts])
    for path in made:
        assert not re.search("new.?plugin", str(path.relative_to(tmp_path)) + path.read_text("utf-8"), re.IGNORECASE)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("text_to_sql", "a generator is named text_to_sql already"),
        ("StoryTime", "small letters and digits, _ between them, no keyword; story_time, say."),
        ("story-time", "no keyword; story_time, say."),
        ("9lives", "can't name a Python package"),
        ("story_", "no keyword; story, say."),
        ("class", "no keyword."),
        ("none", "no keyword."),
        ("größe", "no keyword; gr_e, say."),
        ("json", "would hide the installed module json"),
        ("judges", "would hide the installed module judges"),
        ("tests", "has a folder or a class of that name already"),
        ("question", "has a folder or a class of that name already"),
    ],
)
def test_names_that_are_refused(name: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        check_name(name)


def test_a_folder_with_something_in_it_is_refused(cli: CLI, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    assert cli("init", "night_sky", "--dir", "taken").returncode == 0, "an empty one will do"
    assert cli("init", "json", "--dir", "other").returncode == 2 and not (tmp_path / "other").exists()
    for path in ("taken", "taken/pyproject.toml"):
        refused = cli("init", "night_sky", "--dir", path)
        assert refused.returncode == 2 and f"{path} is there already" in refused.stderr
    refused = cli("init", "night_sky", "--dir", "taken/README.md/below")
    assert refused.returncode == 1 and "not a directory" in refused.stderr and "Traceback" not in refused.stderr
