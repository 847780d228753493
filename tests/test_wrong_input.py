"""What an impatient newcomer gets wrong: each time one sentence says what, where and what to do; nothing is lost."""

import gzip
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from gristmill import registry
from gristmill.cli import main
from gristmill.commands.show import first_sentence
from gristmill.config import load_config, parse, require_file
from gristmill.errors import ConfigError
from gristmill.plan import make_generator
from gristmill.runs import RunFolder
from gristmill.seeds import BadSeed, read_rows
from gristmill.testing import FaultServer
from schemas.run_config import ModelConfig, RunConfig
from tests.conftest import CLI, ROOT

CLOSED = "http://127.0.0.1:9/v1"  # nobody listens there
Told = pytest.CaptureFixture[str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


def recipe(url: str = CLOSED, seeds: str = '{"text": "a"}\n{"text": "b"}\n', **more: Any) -> str:
    """Writes seeds.jsonl and run.yaml here; the latter's name."""
    config = {
        "generator": "template",
        "seeds": "seeds.jsonl",
        "models": {"default": {"endpoint": url, "model": "m"}},
        "params": {
            "steps": [{"name": "answer", "role": "writer", "prompt": "{{ text }}"}],
            "messages": [{"role": "user", "content": "{{ text }}"}, {"role": "assistant", "content": "{{ answer }}"}],
        },
        **more,
    }
    Path("seeds.jsonl").write_text(seeds)
    Path("run.yaml").write_text(yaml.safe_dump(config))
    return "run.yaml"


def sentence(told: Told, status: int, *arguments: str) -> str:
    """The one line with which the command ends so."""
    assert main([*arguments]) == status
    said = told.readouterr().err
    assert said.startswith("gristmill: ") and said.count("\n") == 1, said
    return said


# Configs


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"generator: template\nseeds: a.jsonl\nseeds: b.jsonl\n", "line 3: the key seeds comes twice."),
        (b"models: {default: {model: a, model: b}}", "line 1: the key model comes twice."),
        (b"generator: template\nparams:\n\tsteps: []\n", "line 3: found character '\\t' that cannot start any token."),
        (b"generator: t\nseed: 99999999999999999999\n", "line 2: 99999999999999999999 is too large."),
        (b"a: " + 600 * b"[" + 600 * b"]", "nested too deeply."),
        (b"a: 1\n---\nb: 2\n", "line 2: a second document begins, where one is a config."),
        (b"a: 1\nprompt: {{ text }}\n", "line 2: a text that begins with {{ has to stand in quotes."),
        ("name: caf\xe9".encode("latin-1"), "a config is UTF-8 text, and this file is not."),
        ("generator: template".encode("utf-16"), "a config is UTF-8 text, and this file is not."),
        (gzip.compress(b"generator: template", mtime=0), "a config is UTF-8 text, and this file is not."),
        (b"generator: template\0", "not valid YAML: unacceptable character #x0000"),
    ],
)
def test_a_file_that_is_no_config(content: bytes, expected: str, here: Path, capsys: Told) -> None:
    Path("run.yaml").write_bytes(content)
    assert expected in sentence(capsys, 2, "generate", "run.yaml")


def test_a_folder_is_no_config(here: Path, capsys: Told) -> None:
    assert sentence(capsys, 2, "generate", ".") == "gristmill: .: can't be read: is a directory.\n"


def test_a_merged_key_may_be_given_anew() -> None:
    text = "a: &a {x: 1, y: 1}\nb: &b {<<: *a, x: 2}\nc: {deeper: {<<: *b, x: 3}}\nd: {<<: [*a, *b]}"
    told = parse(text, "test")
    assert told["b"] == {"x": 2, "y": 1} and told["c"]["deeper"] == {"x": 3, "y": 1} and told["d"] == {"x": 1, "y": 1}
    assert parse("\N{ZERO WIDTH NO-BREAK SPACE}a: 1\r\nb: 2\r\n", "test") == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("a..b=1", "a..b=1: an override has the form key.subkey=value."),
        (".=1", "an override has the form key.subkey=value."),
        ("budget={usd: 1, usd: 2}", "budget={usd: 1, usd: 2}: not valid YAML: line 1: the key usd comes twice."),
        ("judges=[rubric]", "judges.0: expected a mapping of keys to values, not 'rubric'."),
        ("params=", "params: expected a mapping of keys to values, not None."),
    ],
)
def test_an_override_that_is_none(override: str, expected: str, here: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(recipe(), [override], RunConfig)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["http://", "http:///v1", "http://[::1", "http://a b/v1", "http://h:99999/v1", "http://h:0/v1", "https://h:x/v1"],
)
def test_an_address_that_no_request_can_go_to_costs_no_time(url: str) -> None:
    with pytest.raises(ValueError, match="endpoint is `embedded` or a URL with http:// or https://"):
        ModelConfig(endpoint=url, model="m")


@pytest.mark.parametrize("url", ["http://[::1]:8000/v1", "https://h", "http://h:8000/a/v1", "embedded"])
def test_an_address_is_taken(url: str) -> None:
    assert ModelConfig(endpoint=url, model="m").endpoints == [url]


# Seeds


def test_what_is_no_file_is_named_as_what_it_is(here: Path) -> None:
    Path("folder.jsonl").mkdir()
    os.mkfifo("pipe.jsonl")
    Path("link.jsonl").symlink_to("gone.jsonl")
    for name, expected in (
        ("folder", r"seeds: folder\.jsonl is a folder; name a file\."),
        ("pipe", r"seeds: pipe\.jsonl is no regular file; name a file\."),
        (
            "link",
            r"seeds: link\.jsonl doesn't exist \(paths are relative to the working directory\)\.( Did you mean pipe)",
        ),
    ):
        with pytest.raises(ConfigError, match=expected):
            require_file(Path(f"{name}.jsonl"), "seeds")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("bom.jsonl", b'\xef\xbb\xbf{"text": "a"}\r\n{"text": "b"}\r\n', [{"text": "a"}, {"text": "b"}]),
        ("list.jsonl", b'[{"text": "a"}]\n{"text": "b"}\n', ["not a JSON object but a list", {"text": "b"}]),
        ("bom.csv", b"\xef\xbb\xbftext\r\na\r\n\r\nb\r\n", [{"text": "a"}, {"text": "b"}]),
        ("latin.csv", b"text\ncaf\xe9\nb\n", ["holds bytes that are no UTF-8 text", {"text": "b"}]),
        ("short.csv", b"text,more\na\nb,c\n", ["has not as many fields", {"text": "b", "more": "c"}]),
        ("open.csv", b'text\nb\n"a\nc\n', [{"text": "b"}, "not valid CSV: unexpected end of data"]),
        ("quote.csv", b'text\n"a"b\nc\n', ["not valid CSV: ',' expected after '\"'", {"text": "c"}]),
        ("long.csv", b"text\n" + 200_000 * b"x" + b"\n", [{"text": 200_000 * "x"}]),
    ],
)
def test_no_row_is_lost_or_read_wrongly(name: str, content: bytes, expected: list[Any], tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    rows = [row for _, row in read_rows(str(tmp_path / name))]
    assert len(rows) == len(expected)
    for row, wanted in zip(rows, expected, strict=True):
        assert row == wanted if isinstance(wanted, dict) else isinstance(row, BadSeed) and wanted in row.detail, row


@pytest.mark.parametrize(
    "content", [b"te\xe9xt\na\n", b"text,text\na,b\n", b'"text\na\n', gzip.compress(b"text\na\n", mtime=0)]
)
def test_a_header_that_names_no_columns(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "seeds.csv").write_bytes(content)
    with pytest.raises(ConfigError, match="is no CSV file in UTF-8 whose first line names each column once"):
        list(read_rows(str(tmp_path / "seeds.csv")))


def test_a_picture_fails_its_task_and_no_other(here: Path, server: FaultServer, capsys: Told) -> None:
    config = recipe(server.url)
    pq.write_table(pa.table({"text": ["a", "b"], "image": [b"\xff\x00", b"plain"]}), "seeds.parquet")
    told = sentence(capsys, 5, "generate", config, "seeds=seeds.parquet", "--quiet")
    assert "1 of 2 tasks failed" in told and "task row:1, holds bytes that are no UTF-8 text. See" in told
    assert pq.read_table("runs/run/records").num_rows == 1


def test_damaged_parquet_is_told(tmp_path: Path) -> None:
    path = tmp_path / "seeds.parquet"
    pq.write_table(pa.table({"text": ["a", "b"] * 2000}), path, compression="none", use_dictionary=False)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:20] + 400 * b"\xff" + whole[420:], b""):
        path.write_bytes(damaged)
        with pytest.raises(ConfigError, match=r"can't be read as parquet: [^\n]*[^.]\.$"):
            list(read_rows(str(path)))


@pytest.mark.parametrize("seeds", ["", "\n \n"])
def test_a_run_without_a_task_is_no_success(seeds: str, here: Path, capsys: Told) -> None:
    told = sentence(capsys, 2, "generate", recipe(seeds=seeds))
    assert told == "gristmill: seeds: seeds.jsonl holds no rows, so there is nothing to do.\n"


@pytest.mark.parametrize("name", registry.names("generators"))
def test_seeds_are_read_or_refused(name: str, here: Path) -> None:
    """A generator that says nothing of the seeds which it was given would be paid for what nobody asked for."""
    kind = registry.load("generators", name)
    assert kind.reads_seeds == ("self.seeds" in inspect.getsource(kind))
    if not kind.reads_seeds:
        Path("seeds.jsonl").write_text('{"text": "a"}')
        config = RunConfig(generator=name, seeds="seeds.jsonl")
        with pytest.raises(ConfigError, match=f"^seeds: {name} reads none; its tasks are made of `params`\\.$"):
            make_generator(config)


def test_failed_tasks_come_with_an_example(here: Path, capsys: Told) -> None:
    told = sentence(capsys, 5, "generate", recipe(seeds='{"text": \n'))
    assert (
        "1 of 1 tasks failed, more than max_failed = 0 allows: seed/error 1; for example task line:1, not val" in told
    )


# Folders


def test_a_run_writes_over_nothing_of_others(here: Path, capsys: Told) -> None:
    mine = {"README.md": "mine", "config.yaml": "mine: 1", "records/part-00000.parquet": "precious"}
    for name, text in mine.items():
        path = Path("project", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for more in ([], ["--fresh"]):
        told = sentence(capsys, 2, "generate", recipe(), "--run", "project", *more)
        assert told == "gristmill: project holds something else and no run; choose another folder or remove it.\n"
    assert {name: Path("project", name).read_text() for name in mine} == mine
    assert sorted(path.name for path in Path("project").iterdir()) == ["README.md", "config.yaml", "records"]
    assert "run.yaml holds something else" in sentence(capsys, 2, "generate", "run.yaml", "--run", "run.yaml")


def test_fresh_moves_neither_a_run_in_use_nor_the_ground_it_stands_on(
    here: Path, server: FaultServer, capsys: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = recipe(server.url)
    assert main(["generate", config, "--quiet"]) == 0
    capsys.readouterr()
    with RunFolder(Path("runs/run")).lock():
        assert "is in use by another process" in sentence(capsys, 1, "generate", config, "--fresh")
    assert not Path("runs/run.1").exists()
    monkeypatch.chdir("runs/run")
    for run in (".", "../run", ".."):
        told = sentence(capsys, 2, "generate", "../../run.yaml", "seeds=../../seeds.jsonl", "--run", run, "--fresh")
        assert f"--fresh would move {run}, where this command runs; start it from outside." in told


def test_a_run_is_not_judged_into_itself(here: Path, server: FaultServer, capsys: Told) -> None:
    assert main(["generate", recipe(server.url), "--quiet"]) == 0
    capsys.readouterr()
    Path("judges.yaml").write_text("judges: [{name: near_duplicate_of_prompt}]")
    told = sentence(capsys, 2, "judge", "runs/run", "judges.yaml", "--run", "runs/../runs/run")
    assert "--run: runs/../runs/run is what is judged; choose another folder for the verdicts." in told
    assert pq.read_table("runs/run/records").num_rows == 2


def test_a_run_gives_again_what_was_taken_from_it(here: Path, server: FaultServer, capsys: Told) -> None:
    assert main(["generate", recipe(server.url), "--quiet"]) == 0
    run = Path("runs/run")
    for part in ("records/part-00000.parquet", "rejects/part-00000.parquet"):
        (run / part).unlink()
        (run / part).parent.rmdir()
        assert main(["query", "runs/run", "SELECT count(*) FROM records", "--format", "csv"]) == 0
        assert capsys.readouterr().out.split()[-1] == "2" and (run / part).is_file()
    for kept, expected in (
        ("- 1\n", "a config is a mapping of keys to values."),
        ("a: 1\n", "runs/run/config.yaml is not as a run leaves it; repeat its command, which writes it anew."),
        ("config: {generator: template, newer: 1}\nfingerprint: a\n", "unknown key newer."),
    ):
        (run / "summary.json").unlink(missing_ok=True)
        (run / "config.yaml").write_text(kept)
        assert expected in sentence(capsys, 2, "explain", "runs/run", "0")


def test_a_run_that_may_only_be_read_is_read(here: Path, server: FaultServer, capsys: Told) -> None:
    assert main(["generate", recipe(server.url), "--quiet"]) == 0
    capsys.readouterr()
    command = ["mount", "--bind", "runs", "runs"], ["mount", "-o", "remount,bind,ro", "runs"]
    if os.geteuid() == 0:  # whom no mode keeps from writing
        for step in command:
            subprocess.run(step, check=True)
    else:
        for path in (*Path("runs/run").rglob("*"), Path("runs/run")):
            path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert main(["query", "runs/run", "SELECT count(*) FROM records", "--format", "csv"]) == 0
        assert capsys.readouterr().out.split() == ["count_star()", "2"]
        assert re.search("read-only|permission denied", sentence(capsys, 1, "generate", "run.yaml"))
    finally:
        if os.geteuid() == 0:
            subprocess.run(["umount", "--lazy", "runs"], check=True)
        else:
            for path in (Path("runs/run"), *Path("runs/run").rglob("*")):
                path.chmod(0o755)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["preview", "run.yaml", "--estimate", "-3"], "preview needs at least one task"),
        (["preview", "run.yaml", "-n", "-1", "--estimate", "5"], "preview needs at least one task"),
        (["inspect", ".", "--port", "65536"], "argument --port: '65536' is no port"),
        (["init", "x" * 300], "file name too long"),
        (["init", "plug", "--dir", "/proc/none/plug"], "no such file or directory: /proc/none"),
    ],
)
def test_what_no_command_can_do(arguments: list[str], expected: str, here: Path, capsys: Told) -> None:
    recipe()
    assert expected in sentence(capsys, 1 if arguments[0] == "init" else 2, *arguments)


def test_nothing_is_not_ready_for_training(here: Path, capsys: Told) -> None:
    Path("empty.jsonl").write_text("")
    assert main(["lint", "empty.jsonl"]) == 1
    assert "nothing here can be trained on." in capsys.readouterr().out


# Streams and the first moment


def test_streams_that_are_closed_or_know_few_letters(cli: CLI, tmp_path: Path) -> None:
    shown = cli("show", "safety", env={"PYTHONIOENCODING": "ascii"})
    assert (shown.returncode, shown.stderr) == (0, "") and "\\u2500" in shown.stdout
    closed = f"{sys.executable} -m gristmill.cli show safety <&- >&- 2>errors; echo $? >status"
    subprocess.run(closed, shell=True, cwd=tmp_path, check=True)
    assert (tmp_path / "status").read_text().strip() == "0" and not (tmp_path / "errors").read_text()


def test_a_command_listens_at_once() -> None:
    """What is imported before it does is little: an early Ctrl-C finds nobody to say that it was heard."""
    code = "import sys, json, gristmill.cli; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    slow = {"aiohttp", "pydantic", "numpy", "pyarrow", "jinja2", "yaml", "duckdb"}
    assert not slow & set(json.loads(done.stdout))


def test_a_package_that_is_not_installed_is_one_sentence(tmp_path: Path) -> None:
    commands = [["list"], ["show", "long_context"], ["sft", str(ROOT / "recipes/sft/demo.yaml")]]
    code = (
        "import sys; sys.modules['tokenizers'] = None; from gristmill.cli import main; "
        f"sys.exit([main(command) for command in {commands}] != [0, 2, 2])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    needs = "the generator 'long_context' needs more: tokenizers is not installed; `gristmill doctor` names the extra"
    assert done.returncode == 0, done
    assert f"\n  long_context         {needs}" in done.stdout
    assert "\n  text_to_sql " in done.stdout and "\n  xbrl " in done.stdout
    shown, trained = done.stderr.splitlines()
    assert shown == f"gristmill: {needs} that brings it."
    assert trained == "gristmill: this needs tokenizers: pip install 'gristmill[sft]'."


def test_the_public_names_are_there() -> None:
    import gristmill

    assert all(getattr(gristmill, name).__name__ == name for name in gristmill.__all__)
    assert set(dir(gristmill)) == set(gristmill.__all__)
    absent = "Recrod"
    with pytest.raises(AttributeError, match="module 'gristmill' has no attribute 'Recrod'"):
        getattr(gristmill, absent)


def test_each_recipe_says_what_it_is() -> None:
    assert first_sentence("# One\n# two. Three\na: 1\n# four\n") == "One two"
    assert first_sentence("") == first_sentence("a: 1") == ""
    said = {path: first_sentence(path.read_text("utf-8")) for path in (ROOT / "recipes").rglob("*.yaml")}
    assert len(said) > 30 and all(40 < len(sentence) < 250 for sentence in said.values()), said


# Other people's work


def test_what_a_dataset_says_to_a_terminal_is_not_obeyed(here: Path, capsys: Told) -> None:
    hostile = "a\x1b[2Jb\x9b2Jc"
    Path("records").mkdir()
    pq.write_table(pa.table({"task_id": [hostile], hostile: [hostile]}), "records/part-00000.parquet")
    assert main(["query", ".", "FROM records"]) == 0
    Path("rows.jsonl").write_text(json.dumps({"messages": [{"role": "user", "content": "a", hostile: "b"}]}))
    assert main(["lint", "rows.jsonl"]) == 1
    told = capsys.readouterr().out
    assert told.count("a\N{REPLACEMENT CHARACTER}[2Jb\N{REPLACEMENT CHARACTER}2Jc") == 4 and "\x1b" not in told


def test_a_label_that_is_none_is_told_without_the_checkers_own_words(here: Path, capsys: Told) -> None:
    Path("bench.yaml").write_text("labelled: [labelled.jsonl]\njudges: [{name: equivalence}]\n")
    for row, expected in (
        ("{}", "Input should be a valid dictionary"),
        ('{"label": {"rite": true}}', "right: Field req"),
    ):
        Path("labelled.jsonl").write_text(row)
        told = sentence(capsys, 2, "judge-bench", "bench.yaml")
        assert f"no label (true, false or {{right: ...}}): {expected}" in told and "pydantic" not in told


def test_reviews_that_cannot_be_read_are_kept(here: Path, server: FaultServer, capsys: Told) -> None:
    assert main(["generate", recipe(server.url), "--quiet"]) == 0
    capsys.readouterr()
    Path("runs/run/reviews.parquet").write_bytes(b"half")
    assert "runs/run/reviews.parquet can't be read" in sentence(capsys, 1, "audit", "runs/run")
    assert Path("runs/run/reviews.parquet").read_bytes() == b"half"
