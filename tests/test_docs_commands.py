"""Every command in README.md and docs/: each is executed here, or read by the real parser with its config and
overrides, or run by another test. `python -m tests.test_docs_commands` lists which way each of them took.
"""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from blends.build import build
from gristmill import registry
from gristmill.bench import make_judges
from gristmill.cli import _parser, main
from gristmill.config import load_config, read_yaml, validate
from gristmill.factory.parts import load_factory
from gristmill.llm import Roles
from gristmill.plan import make_plan
from gristmill.testing import FaultServer
from judges.bench.command import BenchKeys
from schemas.arrow import row_to_record
from schemas.blend_config import BlendConfig
from schemas.decontamination import CalibrateConfig
from schemas.evaluate_config import EvaluateConfig
from schemas.run_config import RunConfig
from schemas.sft_config import SFTConfig
from tests.layers import ROOT
from tests.runs import rows_of, run, two_calls

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"^((?:gristmill|make|python3?|pip) .*)")
NOTE = re.compile(r"(\s+#|\s{3,}).*$")  # what a page says of a command, beside it
WITHIN = re.compile(r"(?:-m gristmill\.cli|entrypoint: gristmill|-- gristmill) ([^']*)")  # what a cluster starts


@dataclass(frozen=True)
class Way:
    """`how` a command is tested, for the commands that the pattern matches, and why no better way serves."""

    how: str
    pattern: str
    why: str = ""


WAYS = [
    Way("test_init", r".*plain_words.*|python -m (pip install -e '\.\[dev\]'|pytest)", "a fresh environment"),
    Way("executed", r"gristmill (list|doctor|show|query|explain|lint|diff|blend) .*|gristmill (list|doctor)"),
    Way("executed", r"gristmill blend-export \S+ --to jsonl"),
    Way("read", r"gristmill (generate|preview) .*", "models, services or minutes; each recipe has a test of its own"),
    Way("read", r"gristmill (judge|judge-bench|calibrate|evaluate) .*", "models"),
    Way("read", r"gristmill (prep|sft|export|factory) .*", "a training"),
    Way("read", r"gristmill blend-export .*", "a tokenizer from the hub"),
    Way("read", r"gristmill (push|audit|inspect|serve) .*", "the hub, a person, a port"),
    Way("dry run", r"make \w+", "minutes"),
    Way("parsed", r"python -m generators\.\S+ .*", "trains classifiers"),
    Way("found", r"python (benchmarks|recipes)/\S+\.py.*", "minutes"),
    Way("looked at", r"pip .*", "an installation from an index"),
]


@dataclass(frozen=True)
class Command:
    page: str
    text: str

    @property
    def way(self) -> Way | None:
        return next((way for way in WAYS if re.fullmatch(way.pattern, self.text)), None)


def blocks(text: str) -> Iterator[str]:
    """The lines of a page's code: fenced as a shell's, a configuration's or nobody's, or indented."""
    language, before = None, ""
    for line in text.splitlines():
        if fence := re.match(r"^```(\w*)", line):
            language = None if language is not None else fence[1]
        elif language in ("", "bash", "yaml") or (language is None and line.startswith("    ")):
            whole = before + line.strip()
            before = whole.removesuffix("\\") if whole.endswith("\\") else ""
            if not before:
                yield whole


def commands() -> list[Command]:
    found: dict[str, str] = {}
    for page in PAGES:
        if page.name == "cli.md":  # made from the parsers themselves
            continue
        for line in blocks(page.read_text("utf-8")):
            text = match[1] if (match := COMMAND.match(line)) else ""
            text = f"gristmill {match[1]}" if not text and (match := WITHIN.search(line)) else text
            if text:
                found.setdefault(NOTE.sub("", text).replace("  ", " ").strip(), page.name)
    return [Command(page, text) for text, page in found.items()]


COMMANDS = commands()


def those(how: str) -> pytest.MarkDecorator:
    chosen = [command for command in COMMANDS if command.way and command.way.how == how]
    return pytest.mark.parametrize("command", chosen, ids=lambda command: f"{command.page}: {command.text}")


def test_each_command_is_tested_one_way_or_another() -> None:
    assert len(COMMANDS) > 90
    assert [command for command in COMMANDS if command.way is None] == []
    assert [way for way in WAYS if not any(command.way == way for command in COMMANDS)] == []


def test_commands_within_sentences_exist() -> None:
    for page in PAGES:
        named = set(re.findall(r"`gristmill ([a-z][a-z-]*)", page.read_text("utf-8")))
        assert named <= set(registry.names("commands")), page.name
        for path in re.findall(r"`python (?:-P )?((?:tests|benchmarks|recipes)/\S+?\.py)", page.read_text("utf-8")):
            assert (ROOT / path).is_file(), f"{page.name}: {path}"


# The world in which they run: two small runs, two blends of them, and the files that pages speak of


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("world")
    for name in ("recipes", "generators"):
        (here / name).symlink_to(ROOT / name)
    with FaultServer() as server:
        run(two_calls(here, server.url, 12), here / "runs/my")
        run(two_calls(here, server.url, 60), here / "runs/demo-text-to-sql")
    for name in ("sql", "demo-template", "DIR"):
        shutil.copytree(here / "runs/my", here / ("runs" if name != "DIR" else "") / name)
    for name, total in (("blend1", 8), ("blend2", 6), ("demo-blend", 5)):
        sources = [{"name": "my", "path": str(here / "runs/my"), "weight": 1}]
        build(BlendConfig.model_validate({"out": here / f"out/{name}", "total": total, "sources": sources}), print)
    pages = {
        name: (ROOT / name).read_text("utf-8") for name in ("README.md", "docs/judges.md", "docs/decontamination.md")
    }
    (here / "my.yaml").write_text(yaml_of(pages["README.md"], "budget:"))
    (here / "judges.yaml").write_text(yaml_of(pages["docs/judges.md"], "rubric: general_tools/trajectory"))
    (here / "mine.yaml").write_text(yaml_of(pages["docs/judges.md"], "labelled:"))
    (here / "calibrate.yaml").write_text(yaml_of(pages["docs/decontamination.md"], "clean:"))
    (here / "my_sft.yaml").write_text((ROOT / "recipes/sft/two_stage.yaml").read_text("utf-8"))
    row = '{"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]}\n'
    for name in ("rows", "my", "mine", "log", "aegis", "prompts"):
        (here / f"{name}.jsonl").write_text(row)
    (here / "corpus").mkdir()
    (here / "prompts").mkdir()
    for name in ("reasoning", "chat", "safety"):
        (here / f"prompts/{name}.jsonl").write_text('{"question": "What is 6 x 7?", "answer": "42"}\n')
    return here


def yaml_of(page: str, part: str) -> str:
    """The page's one block of YAML that has this part."""
    (block,) = [block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if part in block]
    return str(block)


@pytest.fixture
def words(world: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Command], list[str]]:
    """A command's arguments in the world: its uuids are those of a record, shared folders lie here."""
    monkeypatch.chdir(world)
    for name in ("MY_API_KEY", "TAVILY_API_KEY"):
        monkeypatch.setenv(name, "secret")
    uuid = row_to_record(rows_of(world / "runs/my")[0]).uuid

    def split(command: Command) -> list[str]:
        text = re.sub(r"\bUUID\b", uuid, command.text)
        return [re.sub(r"^/(shared|data)/", f"{world}/", word) for word in shlex.split(text)][1:]

    return split


@those("executed")
def test_it_runs(command: Command, words: Callable[[Command], list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    status = main(words(command))
    complaints = re.findall(r"^gristmill: .*", capsys.readouterr().err, re.MULTILINE)  # beside signs of progress
    assert (status, complaints) == (0, [])


def plan(path: Path, overrides: list[str]) -> None:
    """The generator's parameters, the judges and the seeds as well."""
    make_plan(load_config(path, overrides, RunConfig))


def judges(path: Path, overrides: list[str]) -> None:
    content = read_yaml(path, overrides)
    bench = {key: content.pop(key) for key in BenchKeys.model_fields if key in content}
    assert not bench or BenchKeys.model_validate(bench)
    config = validate({**content, "generator": "judge"}, RunConfig, str(path))
    assert make_judges(config, Roles(config.models), generating=False)


def of(model: type[BaseModel]) -> Callable[[Path, list[str]], Any]:
    return lambda path, overrides: load_config(path, overrides, model)


READERS: dict[str, Callable[[Path, list[str]], Any]] = {
    "generate": plan,
    "preview": plan,
    "judge": judges,
    "judge-bench": judges,
    "prep": of(SFTConfig),
    "sft": of(SFTConfig),
    "evaluate": of(EvaluateConfig),
    "calibrate": of(CalibrateConfig),
    "factory": load_factory,
}
"""Each raises what the command would say of its config."""


@those("read")
def test_it_is_understood(command: Command, words: Callable[[Command], list[str]]) -> None:
    """The parser takes it, and its config is valid with its overrides."""
    arguments = words(command)
    parsed, rest = _parser(arguments).parse_known_args(arguments)
    assert [word for word in rest if word.startswith("-")] == []
    if hasattr(parsed, "config"):
        READERS[arguments[0]](parsed.config, [*parsed.overrides, *rest])


@those("dry run")
def test_make_knows_it(command: Command) -> None:
    done = subprocess.run([*command.text.split(), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@those("test_init")
def test_a_page_that_is_run_as_a_whole_has_it(command: Command) -> None:
    """All commands of docs/writing_plugins.md are typed by tests/test_init.py."""
    assert command.text in [*blocks((ROOT / "docs/writing_plugins.md").read_text("utf-8"))]


@those("parsed")
def test_the_module_takes_it(command: Command) -> None:
    module, *arguments = shlex.split(command.text)[2:]
    done = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=True)
    assert all(option in done.stdout for option in arguments if option.startswith("--"))


@those("found")
def test_the_script_knows_its_options(command: Command) -> None:
    path, *options = shlex.split(command.text)[1:]
    source = (ROOT / path).read_text("utf-8")
    assert all(f'"{option}"' in source for option in options if option.startswith("--"))


@those("looked at")
def test_its_packages_are_those_of_the_project(command: Command) -> None:
    extras = re.findall(r"gristmill\[([\w,-]+)\]", command.text)
    project = (ROOT / "pyproject.toml").read_text("utf-8") + (ROOT / "Makefile").read_text("utf-8")
    assert all(re.search(rf"^{extra} = ", project, re.MULTILINE) for names in extras for extra in names.split(","))
    assert all(package in project for package in re.findall(r"[\w-]+==[\w.]+", command.text))


if __name__ == "__main__":
    for command in sorted(COMMANDS, key=lambda command: command.way.how if command.way else ""):
        how, why = (command.way.how, command.way.why) if command.way else ("NOT YET", "")
        print(f"{how:<10} {command.page:<24} {command.text}" + (f"   ({why})" if why else ""))
