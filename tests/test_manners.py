"""How commands behave towards people and their terminals: a real pseudo-terminal, or none."""

import os
import platform
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from fcntl import ioctl
from importlib.metadata import version
from pathlib import Path
from unittest.mock import patch

import orjson
import pytest
import yaml

from gristmill import terminal
from gristmill.budget import Meter
from gristmill.cli import main
from gristmill.commands import complete, doctor
from gristmill.engine import Tally
from gristmill.machine import Finding
from gristmill.progress import lines
from gristmill.testing import Faults, FaultServer
from schemas.run_config import Budget
from tests.conftest import CLI, ROOT
from tests.test_reference import registered

ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
COMMANDS = registered("commands")


def on_terminal(columns: int, *arguments: str | Path, cwd: Path, **env: str) -> tuple[str, int]:
    """What the command writes to a terminal so wide, and its exit status."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    hidden = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TERM")
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    process = subprocess.Popen(
        [sys.executable, "-m", "gristmill.cli", *map(str, arguments)],
        cwd=cwd,
        env={**kept, "TERM": "xterm", **env},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    with closing(os.fdopen(ours, "rb", buffering=0)) as file:
        written = b"".join(pieces(file.fileno()))
    return written.decode().replace("\r\n", "\n"), process.wait()


def pieces(descriptor: int) -> Iterator[bytes]:
    """Until the other side is closed, which Linux tells by EIO."""
    while True:
        try:
            piece = os.read(descriptor, 65536)
        except OSError:
            return
        if not piece:
            return
        yield piece


def recipe(folder: Path, url: str) -> None:
    (folder / "seeds.jsonl").write_bytes(b"\n".join(orjson.dumps({"text": f"fact {n}"}) for n in range(40)))
    model = {"endpoint": url, "model": "m", "max_in_flight": 2, "price": {"input": 1, "output": 1}}
    config = {
        "generator": "template",
        "seeds": "seeds.jsonl",
        "models": {"default": model},
        "params": {
            "steps": [{"name": "answer", "role": "writer", "prompt": "{{ text }}"}],
            "messages": [{"role": "user", "content": "{{ text }}"}, {"role": "assistant", "content": "{{ answer }}"}],
        },
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(config))


# Help


def test_version_tells_where_it_is(cli: CLI) -> None:
    done = cli("--version")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f"gristmill {version('gristmill')} in {ROOT}",
        f"Python {platform.python_version()} in {sys.prefix}",
    ]


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_shows_an_example_that_it_takes(name: str) -> None:
    from argparse import ArgumentParser

    parser = ArgumentParser(prog=f"gristmill {name}", description=COMMANDS[name].help)
    complete(parser, COMMANDS[name])
    program, command, *arguments = shlex.split(COMMANDS[name].example)
    assert (program, command) == ("gristmill", name)
    parsed, rest = parser.parse_known_args(arguments)
    assert all("=" in argument and not argument.startswith("-") for argument in rest)
    named = [value for value in vars(parsed).values() if isinstance(value, Path) and value.parts[0] == "recipes"]
    assert all((ROOT / path).is_file() for path in named)
    with patch.dict(os.environ, COLUMNS="80"):
        told = parser.format_help()
    assert f"\n  {COMMANDS[name].example}\n" in told
    assert max(map(len, told.splitlines())) <= 80


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_the_help_fits(columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main([]) == 0
    told = capsys.readouterr().out
    assert max(map(len, told.splitlines())) <= columns
    assert all(f"    {name}" in told for name in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["generat"], "no command is named 'generat'. Did you mean generate?"),
        (["generate"], "the following arguments are required: config. See `gristmill generate --help`."),
        (["generate", "a.yaml", "--frsh"], "unknown argument --frsh. Did you mean --fresh?"),
        (["generate", "a.yaml", "b=1", "--quite", "c=2"], "unknown argument --quite. Did you mean --quiet?"),
        (["--versoin"], "unknown argument --versoin. Did you mean --version?"),
        (["show", "template", "too"], "unknown argument too. See `gristmill show --help`."),
        (["show", "templat"], "no generator is named 'templat'. Did you mean template?"),
        (["query", "runs/my", "SELECT 1", "--format", "xml"], "argument --format: invalid choice: 'xml'"),
    ],
)
def test_what_is_mistyped_is_told_in_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.err.startswith(f"gristmill: {sentence}") and told.err.count("\n") == 1 and not told.out


# Colours


@pytest.mark.parametrize(
    ("env", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_a_terminal_gets_colours_unless_it_asks_for_none(env: dict[str, str], coloured: bool, tmp_path: Path) -> None:
    shown, status = on_terminal(80, "show", "refresh", cwd=tmp_path, **env)
    told, failed = on_terminal(80, "generat", cwd=tmp_path, **env)
    assert (status, failed) == (0, 2)
    assert ("\x1b[1;36m[user]\x1b[0m\n" in shown) == coloured and "[user]" in shown
    assert told.startswith("\x1b[1;31mgristmill:\x1b[0m no command" if coloured else "gristmill: no command")
    assert bool(ESCAPE.search(shown + told)) == coloured


def test_a_pipe_gets_colours_only_when_they_are_forced(cli: CLI) -> None:
    plain = {"NO_COLOR": "", "FORCE_COLOR": ""}
    assert not ESCAPE.search(cli("show", "refresh", env=plain).stdout)
    assert "\x1b[1;36m[user]\x1b[0m" in cli("show", "refresh", env={**plain, "FORCE_COLOR": "1"}).stdout


def test_what_models_and_servers_write_is_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    from gristmill.commands.show import conversation_text

    hostile = "a\x1b[2Jb\x9b2Jc\rd"
    row = {"messages": [{"role": "assistant", "content": hostile, "reasoning_content": hostile}], "verdicts": []}
    terminal.warn(f"https://x.example/v1 answers 400: {hostile}")
    for text in (conversation_text(row), capsys.readouterr().err):
        assert "b\N{REPLACEMENT CHARACTER}2Jc\N{REPLACEMENT CHARACTER}d" in text
        assert not re.search(r"[\x1b\x9b\r]", text)


# Narrow terminals


def test_lines_fit_and_no_word_is_cut(tmp_path: Path, cli: CLI) -> None:
    shown, _ = on_terminal(40, "list", cwd=tmp_path)
    assert max(map(len, shown.splitlines())) < 40
    whole = cli("list", env={"COLUMNS": "40", "FORCE_COLOR": ""}).stdout
    assert max(map(len, whole.splitlines())) > 80 and shown.split() == whole.split()


@pytest.mark.parametrize("columns", [40, 60, 100])
def test_findings_fit(columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("gristmill.terminal.is_terminal", lambda stream: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    found = Finding(
        "absent", "Code sandbox", "no code can be run:\n\x1b[2J " + "one reason, another; " * 8, "apt-get install x"
    )
    doctor._print(found)
    told = capsys.readouterr().out
    first, *rest = told.splitlines()
    assert first.startswith("absent  Code sandbox ") and told.split()[-4:] == ["fix:", "apt-get", "install", "x"]
    indent = 28 if columns == 100 else 8
    assert rest and all(line.startswith(" " * indent) and line[indent] != " " for line in rest)
    assert max(map(len, (first, *rest))) < columns and "\x1b" not in told


@pytest.mark.parametrize("columns", [40, 60, 200])
def test_progress_stays_in_its_line(columns: int, tmp_path: Path) -> None:
    with FaultServer(Faults(latency=0.05)) as server:
        recipe(tmp_path, server.url)
        written, status = on_terminal(columns, "generate", "run.yaml", cwd=tmp_path)
    assert status == 0
    live, _, result = written.rpartition("\r\x1b[K")
    shown = [line for line in live.split("\r\x1b[K") if line]
    assert shown and all(len(line) < columns and "\n" not in line for line in shown)
    assert all(re.match(r"\d+ tasks", line) for line in shown)
    assert "40 tasks: 40 accepted, 0 rejected, 0 failed" in result.replace("\n", " ")
    table = result[result.index("tasks     40") :].splitlines()
    assert all(len(line) < columns for line in table), table


def test_the_most_important_stays_in_every_form() -> None:
    tally = Tally(accepted=70, rejected=25, failed=5, records=70, total=400, started=time.monotonic() - 100)
    meter = Meter(Budget(), {("writer", "question"): (1.25, 900_000), ("judge", "verdict"): (0.5, 300_000)})
    forms = lines(tally, meter, samples=False)
    assert [len(form) for form in forms] == sorted((len(form) for form in forms), reverse=True)
    assert forms[0] == (
        "100/400 tasks: 70 accepted, 25 rejected, 5 failed | 0 in flight, 0 calls (0 reused), 1,200,000 tokens, "
        "1.7500 USD (writer/question 1.2500, judge/verdict 0.5000) | 1m40s, 5m00s left"
    )
    assert forms[-2] == "100/400 tasks, 5 failed | 1.7500 USD | 5m00s left"
    assert len(forms[-1]) < 40 and forms[-1] == "100/400 tasks, 5m00s left"


# No terminal


def test_a_log_gets_whole_lines_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr("gristmill.terminal.time.monotonic", lambda: now)
    status = terminal.StatusLine()
    for second in range(31):
        now = float(second)
        status.say(f"{second} done " + "x" * 200, "short")
        status.say("")
    told = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in told] == ["10", "20", "30"]
    assert all(len(line) > 200 and not ESCAPE.search(line) for line in told)


def test_a_run_without_a_terminal_writes_no_escapes(cli: CLI, tmp_path: Path) -> None:
    with FaultServer() as server:
        recipe(tmp_path, server.url)
        done = cli("generate", "run.yaml", env={"COLUMNS": "40", "FORCE_COLOR": ""})
    assert done.returncode == 0 and not done.stderr
    assert not ESCAPE.search(done.stdout) and "\r" not in done.stdout
    assert Counter(line.split()[0] for line in done.stdout.splitlines()) == Counter(
        ["tasks", "records", "lost", "calls", "tokens", "time", "report"]
    ), "a table is not folded where nobody reads it on a terminal"


# Messages


def sentences() -> dict[str, str]:
    """Each message in the source that ends a command, with its values left open, by where it stands."""
    import ast

    kinds = {"ConfigError", "GristmillError", "EndpointError", "BudgetReached", "TooManyFailed", "TooFewRecords"}
    found = {}
    for path in (
        path for folder in ("schemas", "gristmill", "judges", "generators") for path in (ROOT / folder).rglob("*.py")
    ):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in kinds and node.args:
                match node.args[0]:
                    case ast.JoinedStr(values=parts):
                        text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts)
                    case ast.Constant(value=str(text)):
                        pass
                    case _:
                        continue
                found[f"{path.relative_to(ROOT)}:{node.lineno}"] = text
    return found


def test_messages_have_one_form() -> None:
    """They follow `gristmill: `: no capital of a common word, a full stop unless another's words end them."""
    told = sentences()
    assert len(told) > 250
    capital = {where: text for where, text in told.items() if re.match(r"(An?|The|This|No|Please|Can|Could)\b", text)}
    open_end = {where: text for where, text in told.items() if not re.search(r"[.?}…]$", text)}
    loud = {
        where: text
        for where, text in told.items()
        if re.search(r"!|\b(please|sorry|oops|invalid|illegal)\b", text, re.IGNORECASE)
    }
    assert (capital, open_end, loud) == ({}, {}, {})
