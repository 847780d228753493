"""From a blend to a release: what changed, and the ways out of the folder."""

import base64
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
import yaml

from blends.diff import diff
from blends.export import push, to_hf, to_jsonl
from gristmill.cli import main
from gristmill.errors import ConfigError, EndpointError
from gristmill.render.tokenizers import train
from schemas import Record, assistant, user
from schemas.arrow import RECORDS
from schemas.messages import Function, ToolCall
from schemas.tools import FunctionSpec, Tool
from tests.blending import ask, blend, record, write
from tests.conftest import CLI


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRISTMILL_CACHE", str(tmp_path / "cache"))


def traced(number: int) -> Record:
    return Record(
        messages=[user(f"Why {number}?"), assistant("So.", reasoning=f"Because {number}.")], license="CC0-1.0"
    )


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A blend with a tool call, a trace and two splits."""
    call = ToolCall(id="1", function=Function(name="add", arguments='{"a": 2}'))
    tool = Tool(function=FunctionSpec(name="add"))
    rows = [record(n) for n in range(38)] + [traced(1)]
    rows.append(Record(messages=[user("Add 2."), assistant(tool_calls=[call])], tools=[tool], license="CC0-1.0"))
    path = write(tmp_path / "a.parquet", rows)
    blend(tmp_path, [{"name": "a", "path": str(path), "weight": 1}], 40, splits={"train": 0.9, "valid": 0.1})
    return tmp_path / "out"


# ---- diff


def test_diff_tells_what_became_of_each_row(cli: CLI, tmp_path: Path) -> None:
    both = [traced(n) for n in range(30)]
    for name, rows, more in (
        ("one", both[:20], {}),
        ("two", both[5:30], {"reasoning": {"off": 0.2}}),
    ):
        path = write(tmp_path / f"{name}.parquet", rows)
        sources = [{"name": "a", "path": str(path), "weight": 1}]
        blend(tmp_path / name, sources, len(rows), splits={"train": 1, "valid": 0}, **more)
    told = diff(tmp_path / "one/out", tmp_path / "two/out")
    stripped = ask(tmp_path / "two", "SELECT uuid FROM samples WHERE reasoning = 'off'")
    changed = len({uuid for (uuid,) in stripped} & {row.uuid for row in both[5:20]})
    assert len(stripped) == 5 and changed > 0
    expected = {"same": 15 - changed, "moved": 0, "changed": changed, "added": 10, "removed": 5}
    assert told == [{"source": "a", **expected}, {"source": "all", **expected}]
    assert diff(tmp_path / "two/out", tmp_path / "two/out")[-1]["same"] == 25
    shown = cli("diff", "one/out", "two/out")
    assert shown.returncode == 0 and shown.stdout.split()[:3] == ["source", "same", "moved"]
    assert cli("diff", "one", "two/out").returncode == 2


def test_diff_tells_rows_that_moved(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [traced(n) for n in range(20)])
    sources = [{"name": "a", "path": str(path), "weight": 1}]
    blend(tmp_path / "one", sources, 20, splits={"train": 1, "valid": 0})
    blend(tmp_path / "two", sources, 25, short="repeat", splits={"train": 1, "valid": 0})
    assert diff(tmp_path / "one/out", tmp_path / "two/out")[-1] == {
        "source": "all", "same": 15, "moved": 5, "changed": 0, "added": 0, "removed": 0,
    }  # fmt: skip


def test_explain_tells_where_a_blend_put_a_row(cli: CLI, tmp_path: Path) -> None:
    rows = [record(n, uuid=f"{n:032x}") for n in range(1, 7)] + [record(1, uuid="f" * 32)]
    sources = [{"name": "a", "path": str(write(tmp_path / "a.parquet", rows)), "weight": 1, "epochs": 2}]
    blend(tmp_path, sources, 9, splits={"train": 1, "valid": 0})
    copies = dict(ask(tmp_path, "SELECT uuid, count(*) FROM samples GROUP BY 1"))
    twice = next(uuid for uuid, count in copies.items() if count == 2)
    assert "placed   in train 2 times, from source a; reasoning off" in cli("explain", "out", twice).stdout
    lost = next(uuid for uuid in ("f" * 32, f"{1:032x}") if uuid not in copies)
    assert "dropped  from source a: duplicate (of " in cli("explain", "out", lost).stdout
    absent = cli("explain", "out", "abc")
    assert absent.returncode == 2 and "has read no row abc" in absent.stderr
    assert "several rows" in cli("explain", "out", "0000").stderr


def test_a_damaged_blend_is_neither_compared_nor_given_away(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is missing would be missing for ever at the other end."""

    def told(*arguments: str | Path) -> str:
        assert main([*map(str, arguments)]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        return said

    whole = tmp_path / "whole"
    shutil.copytree(made, whole)
    next((made / "train").glob("*.parquet")).unlink()
    for command in (["blend-export", made, "--to", "hf", "--out", tmp_path / "hf"], ["push", made, "a/b"]):
        assert f"{made} holds 4 of its 40 rows. Make it again by `gristmill blend`." in told(*command)
    assert f"{made} can't be opened: IO Error: No files found" in told("diff", whole, made)
    (whole / "manifest.json").write_text("{")
    assert "is damaged: unexpected end of data" in told("push", whole, "a/b")
    (whole / "blend.duckdb").write_bytes(b"none")
    assert f"{whole} can't be opened: IO Error" in told("diff", whole, whole)
    assert not (tmp_path / "hf").exists()


# ---- export


def test_the_export_for_the_hub_loads_with_its_card(made: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    to_hf(made, tmp_path / "hf")
    loaded = datasets.load_dataset(str(tmp_path / "hf"), cache_dir=str(tmp_path / "hub"))
    assert loaded.num_rows == {"train": 36, "valid": 4}
    card = yaml.safe_load((tmp_path / "hf/README.md").read_text().split("---\n")[1])
    described = datasets.Features._from_yaml_list(card["dataset_info"]["features"])
    assert described == loaded["train"].features and described.arrow_schema.names == RECORDS.names
    assert {split["name"]: split["num_examples"] for split in card["dataset_info"]["splits"]} == loaded.num_rows
    assert card["license"] == "cc0-1.0"
    assert not list((tmp_path / "hf").rglob("*.duckdb"))
    plain = datasets.load_dataset("parquet", data_files=str(made / "train/*.parquet"), cache_dir=str(tmp_path / "hub"))
    assert plain["train"].num_rows == 36


def test_lines_are_in_openais_format(made: Path, tmp_path: Path) -> None:
    to_jsonl(made, tmp_path / "lines")
    lines = [
        orjson.loads(line) for name in ("train", "valid") for line in (tmp_path / "lines" / f"{name}.jsonl").open("rb")
    ]
    assert len(lines) == 40
    by_question = {line["messages"][0]["content"]: line for line in lines}
    assert by_question["Question 3?"]["messages"][1] == {"role": "assistant", "content": "Answer 3."}
    assert "tools" not in by_question["Question 3?"] and by_question["Why 1?"]["reasoning"] == "on"
    assert by_question["Why 1?"]["messages"][1]["reasoning_content"] == "Because 1."
    call = by_question["Add 2."]
    assert call["tools"][0]["function"]["name"] == "add"
    assert call["messages"][1]["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"a": 2}'}


def test_export_command(cli: CLI, made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tokenizer"
    train("train:300", ["What is it?"]).save(folder, "")
    packed = cli("blend-export", "out", "--to", "packed", "--tokenizer", folder, "--pack-tokens", "4096")
    assert packed.returncode == 0 and "36 conversations" in packed.stdout, packed
    files = sorted((tmp_path / "out-packed/data/packed").glob("*.parquet"))
    rows = pq.read_table(files, columns=["uuids"])["uuids"].to_pylist()
    assert len({uuid for pack in rows for uuid in pack}) == 36, packed.stdout
    assert cli("blend-export", "out", "--to", "jsonl").returncode == 0
    again = cli("blend-export", "out", "--to", "jsonl")
    assert again.returncode == 2 and "out-jsonl is not empty" in again.stderr
    assert "needs --tokenizer" in cli("blend-export", "out", "--to", "packed", "--out", "x").stderr
    assert "is no blend" in cli("blend-export", "cache", "--to", "hf").stderr


# ---- push


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's API as an upload of small files needs."""

    protocol_version = "HTTP/1.1"
    files: dict[str, bytes]
    tags: dict[str, str]
    refuses: bool

    def log_message(self, *arguments: object) -> None:
        pass

    def reply(self, body: Any, status: int = 200) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        if self.refuses:
            self.reply({"error": "not yours"}, 403)
            return
        if "/tree/" in self.path:
            self.reply([])
            return
        if self.path.endswith("/refs"):
            tags = [{"name": name, "ref": f"refs/tags/{name}", "targetCommit": oid} for name, oid in self.tags.items()]
            self.reply({"branches": [], "converts": [], "tags": tags})
            return
        self.reply({"id": "o/blend", "sha": "a" * 40, "siblings": [{"rfilename": name} for name in self.files]})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        hub = type(self)
        path = self.path.partition("?")[0]
        if hub.refuses:
            self.reply({"error": "not yours"}, 403)
        elif path == "/api/repos/create":
            self.reply({"url": f"http://{self.headers['Host']}/datasets/o/blend", "name": "o/blend"})
        elif path == "/api/validate-yaml":
            self.reply({"errors": [], "warnings": []})
        elif "/preupload/" in path:
            files = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                for one in json.loads(body)["files"]
            ]
            self.reply({"files": files})
        elif "/commit/" in path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    hub.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.reply(
                {
                    "commitOid": "c" * 40,
                    "commitUrl": f"http://{self.headers['Host']}/datasets/o/blend/commit/{'c' * 40}",
                }
            )
        elif "/tag/" in path:
            tag = json.loads(body)["tag"]
            exists = tag in hub.tags
            hub.tags.setdefault(tag, path.rpartition("/")[2])
            self.reply({"error": "exists"} if exists else {}, 409 if exists else 200)
        else:
            self.reply({"error": self.path}, 404)


@contextmanager
def serving(refuses: bool = False) -> Iterator[tuple[type[Hub], str]]:
    hub = type("OneHub", (Hub,), {"files": {}, "tags": {}, "refuses": refuses})
    server = ThreadingHTTPServer(("127.0.0.1", 0), hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_blend_is_pushed_with_its_release_as_a_tag(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub_client: Any = pytest.importorskip("huggingface_hub")
    api_at = hub_client.HfApi
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    with serving() as (hub, address):
        api = api_at(endpoint=address, token="hf_test")
        monkeypatch.setattr(hub_client, "HfApi", lambda: api)
        assert push(made, "o/blend", private=True) == f"{address}/datasets/o/blend/tree/1.0.0"
        assert sorted(hub.files) == [
            "README.md",
            "data/train-00000-of-00001.parquet",
            "data/valid-00000-of-00001.parquet",
            "manifest.json",
            "report.html",
        ]
        assert hub.files["data/train-00000-of-00001.parquet"] == (made / "train/part-00000.parquet").read_bytes()
        assert hub.tags == {"1.0.0": "c" * 40}
        with pytest.raises(ConfigError, match=r"has the release 1\.0\.0;"):
            push(made, "o/blend", private=True)
        with pytest.raises(ConfigError, match="is no name of a dataset"):
            push(made, "no name at all!", private=True)
    nowhere = api_at(endpoint="http://127.0.0.1:9", token="hf_test")
    monkeypatch.setattr(hub_client, "HfApi", lambda: nowhere)
    with pytest.raises(EndpointError, match="push: the hub can't be reached"):
        push(made, "o/blend", private=True)
    with serving(refuses=True) as (_, address):
        refused = api_at(endpoint=address, token="hf_test")
        monkeypatch.setattr(hub_client, "HfApi", lambda: refused)
        with pytest.raises(ConfigError, match="the hub refuses o/blend"):
            push(made, "o/blend", private=False)
