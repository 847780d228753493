"""`gristmill prep`: from a blend's files to packs, once, and with every conversation accounted for."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

import sft.documents
import sft.prep
import sft.rendering
from gristmill.config import validate
from gristmill.errors import ConfigError, GristmillError
from gristmill.render import Renderer, RenderError, TokenCount
from gristmill.runs import RunFolder
from schemas import Function, Record, ToolCall, assistant, system, user
from schemas.arrow import records_to_table
from schemas.sft_config import SFTConfig
from sft.documents import Document, read_records, render_documents
from sft.prep import StageData, prepare, prepare_renderer
from sft.rendering import Task, render_split
from sft.show import find_record, show_record
from tests.conftest import CLI

BAD_CALL = assistant("", None, [ToolCall(id="1", function=Function(name="f", arguments="no JSON"))])


def conversations(count: int) -> list[Record]:
    """Of two categories, one turn or two, with and without traces."""
    return [
        Record(
            messages=[
                system("Answer briefly."),
                user(f"What is {i} plus {i}?"),
                assistant(str(i + i), f"{i} twice is {i + i}" if i % 2 else None),
                *([user("Sure?"), assistant("Yes.", "It adds up.")] if i % 3 == 0 else []),
            ],
            category="sums" if i % 2 else "facts",
            reasoning="on",
        )
        for i in range(count)
    ]


def write_blend(folder: Path, train: list[Record], valid: list[Record]) -> Path:
    for split, records in (("train", train), ("valid", valid)):
        (folder / split).mkdir(parents=True)
        table = records_to_table(records).append_column("source", pa.array(["sums"] * len(records), pa.string()))
        pq.write_table(table, folder / split / "00000.parquet")
    return folder


def config(tmp_path: Path, **changes: Any) -> SFTConfig:
    data = {"blend": "blend", "tokenizer": "train:300", "pack_tokens": 256, **changes.pop("data", {})}
    stage = {"name": "token", "global_batch": 2, "lr": 1e-5, "steps": 1, **changes.pop("stage", {})}
    content = {"out": str(tmp_path / "out"), "data": data, "stages": [stage], **changes}
    content["data"]["blend"] = str(tmp_path / data["blend"])
    return validate(content, SFTConfig, "test")


def only_stage(config: SFTConfig) -> StageData:
    (data,) = prepare(config)[1].values()
    return data


def packed(folder: Path) -> list[tuple[str, list[int], list[int]]]:
    """(uuid, ids, mask) of each sequence."""
    rows = [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    return [
        (uuid, row["input_ids"][a:b], row["loss_mask"][a:b])
        for row in rows
        for uuid, (a, b) in zip(row["uuids"], pairwise([*row["seq_start_id"], len(row["input_ids"])]), strict=True)
    ]


def test_a_blend_becomes_packs(tmp_path: Path) -> None:
    train, valid = conversations(40), conversations(52)[40:]
    write_blend(tmp_path / "blend", train, valid)
    renderer, stages = prepare(config(tmp_path))
    data = stages["token"]
    for folder, records in ((data.folder, train), (data.folder / "valid", valid)):
        rendered = zip(records, renderer.render(records), strict=True)
        expected = sorted(
            (record.uuid, s.ids.tolist(), [*s.supervised.tolist()[1:], 0])
            for record, sequences in rendered
            if not isinstance(sequences, RenderError)
            for s in sequences
        )
        assert sorted(packed(folder)) == expected
    summary = json.loads((tmp_path / "out/data/token/summary.json").read_bytes())
    assert summary == data.summary.model_dump()
    counts = [count for count in renderer.count(train) if isinstance(count, TokenCount)]
    assert summary["train"]["conversations"] == 40
    assert summary["train"]["sequences"] == len(packed(data.folder)) > 40
    assert summary["train"]["tokens"] == sum(count.tokens for count in counts)
    assert summary["train"]["supervised_tokens"] == sum(count.supervised_tokens for count in counts)
    assert set(summary["train"]["by_category"]) == {"sums", "facts"}
    assert summary["valid"]["conversations"] == 12


def test_the_tokenizer_is_saved_with_the_template(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    write_blend(tmp_path / "blend", conversations(40), [])
    renderer = prepare_renderer(config(tmp_path))
    loaded = AutoTokenizer.from_pretrained(tmp_path / "out/data/tokenizer")
    text = "<|im_start|>user\nWhat is 1 plus 1?<|im_end|>\n"
    assert loaded(text)["input_ids"] == renderer.tokenizer.tokenizer.encode(text, add_special_tokens=False).ids
    assert loaded.chat_template == renderer.template.source


def test_again_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_blend(tmp_path / "blend", conversations(40), conversations(4))
    first = only_stage(config(tmp_path))

    def never(*_: object, **__: object) -> None:
        raise AssertionError("nothing has changed")

    monkeypatch.setattr(sft.prep, "pack_shards", never)
    monkeypatch.setattr(sft.prep, "load_renderer", never)
    assert only_stage(config(tmp_path)) == first


def other_template(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "other.jinja"
    path.write_text("{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}")
    return {"data": {"template": str(path)}}


def another_row(tmp_path: Path) -> dict[str, Any]:
    pq.write_table(records_to_table(conversations(41)[40:]), tmp_path / "blend/train/00001.parquet")
    return {}


CHANGES: list[Callable[[Path], dict[str, Any]]] = [
    lambda _: {"seed": 1},
    lambda _: {"data": {"pack_tokens": 300}},
    lambda _: {"data": {"packing": False}},
    lambda _: {"data": {"over_long": "error"}},
    lambda _: {"data": {"history": "keep"}},
    lambda _: {"data": {"tokenizer": "train:301"}},
    lambda _: {"stage": {"data": {"pack_tokens": 300}}},
    other_template,
    another_row,
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_packs_depend_on_makes_them_anew(tmp_path: Path, change: Callable[[Path], dict[str, Any]]) -> None:
    write_blend(tmp_path / "blend", conversations(40), [])
    first = only_stage(config(tmp_path)).summary
    second = only_stage(config(tmp_path, **change(tmp_path))).summary
    assert first.key != second.key
    again = only_stage(config(tmp_path, **change(tmp_path))).summary
    assert second == again


def test_the_result_is_reproducible(tmp_path: Path) -> None:
    write_blend(tmp_path / "a" / "blend", conversations(60), conversations(5))
    write_blend(tmp_path / "b" / "blend", conversations(60), conversations(5))
    first, second = (only_stage(config(tmp_path / name)).folder for name in ("a", "b"))
    files = sorted(path.relative_to(first) for path in first.rglob("*.parquet"))
    assert len(files) == 2
    assert all((first / path).read_bytes() == (second / path).read_bytes() for path in files)


def test_every_row_is_accounted_for(tmp_path: Path) -> None:
    good, unanswered = conversations(3), Record(messages=[user("Anyone?")])
    unfit = Record(messages=[user("Call."), BAD_CALL])
    long = Record(messages=[user("Count."), assistant(" ".join(map(str, range(200))))])
    write_blend(tmp_path / "blend", [*good, unanswered, unfit, long], [])
    table = pq.read_table(tmp_path / "blend/train/00000.parquet").slice(0, 1)
    table = table.set_column(table.schema.get_field_index("tools"), "tools", pa.array(["[{"]))
    table = table.set_column(table.schema.get_field_index("uuid"), "uuid", pa.array(["broken"]))
    pq.write_table(table, tmp_path / "blend/train/00001.parquet")
    train = only_stage(config(tmp_path)).summary.train
    assert train.conversations == 7
    assert set(train.unreadable) == {unfit.uuid, "broken"}
    assert "no JSON object" in train.unreadable[unfit.uuid]
    assert train.without_output == [unanswered.uuid]
    assert train.over_long == [long.uuid]
    assert {uuid for uuid, _, _ in packed(tmp_path / "out/data/token")} == {record.uuid for record in good}


def test_stages_may_differ_and_roll_outs_wait(tmp_path: Path) -> None:
    write_blend(tmp_path / "blend", conversations(40), [])
    write_blend(tmp_path / "longer", conversations(50), [])
    usual = {"global_batch": 2, "lr": 1e-5, "steps": 1}
    stages = [
        {"name": "token", **usual},
        {"name": "sample", "loss": "sample", "data": {"blend": str(tmp_path / "longer"), "packing": False}, **usual},
        {"name": "heal", "train": "mtp", "data": {"rollouts": {"prompts": "p.jsonl"}}, **usual},
    ]
    _, data = prepare(config(tmp_path, stages=stages))
    assert list(data) == ["token", "sample"]
    assert data["token"].summary.train.conversations == 40
    assert data["sample"].summary.train.conversations == 50
    assert data["sample"].summary.train.packs == data["sample"].summary.train.sequences
    assert data["token"].summary.vocab_size == data["sample"].summary.vocab_size


def test_a_failure_leaves_the_earlier_packs(tmp_path: Path) -> None:
    write_blend(tmp_path / "blend", conversations(40), [])
    first = only_stage(config(tmp_path))
    with pytest.raises(ConfigError, match="raise it, or set"):
        prepare(config(tmp_path, data={"pack_tokens": 50, "over_long": "error"}))
    assert only_stage(config(tmp_path)) == first
    assert sorted(path.name for path in (tmp_path / "out/data").iterdir() if path.name[0] != ".") == [
        "token",
        "tokenizer",
    ]


def test_roll_outs_go_the_same_way(tmp_path: Path) -> None:
    """Without a list for what can't be rendered, it is raised."""
    write_blend(tmp_path / "blend", conversations(5), [])
    renderer = prepare_renderer(config(tmp_path))
    records = list(read_records(tmp_path / "blend/train", {}))
    assert [record.messages for record in records] == [record.messages for record in conversations(5)]
    documents = list(render_documents(renderer, records))
    assert all(isinstance(document, Document) for document in documents)
    with pytest.raises(RenderError, match="no JSON object"):
        list(render_documents(renderer, [Record(messages=[user("Call."), BAD_CALL])]))


# --- many processes, and interruptions


@pytest.fixture
def many_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sft.documents, "ROWS_AT_ONCE", 5)
    monkeypatch.setattr(sft.rendering, "SHARD_BYTES", 1500)


def processes(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(count)))


def files_of(data: StageData) -> dict[str, bytes]:
    return {str(path.relative_to(data.folder)): path.read_bytes() for path in data.folder.rglob("*.parquet")}


@pytest.mark.usefixtures("many_shards")
@pytest.mark.parametrize("template", [{}, {"template": str(Path(__file__).parent / "data/chatml.jinja")}])
def test_packs_do_not_depend_on_the_number_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: dict[str, str]
) -> None:
    write_blend(tmp_path / "blend", [*conversations(60), Record(messages=[user("Call."), BAD_CALL])], conversations(9))
    made = []
    for count in (1, 2):
        processes(monkeypatch, count)
        watch = Mock()
        data = prepare(config(tmp_path, out=f"{tmp_path}/{count}", data=template), watch)[1]["token"]
        made.append((data.summary, files_of(data)))
        rows = [done for label, done, _ in (call.args for call in watch.call_args_list) if label == "token: train"]
        assert len(rows) > 5 and rows == sorted(rows) and rows[-1] == 61
    assert made[0] == made[1]
    assert len(made[0][0].train.unreadable) == 1
    assert made[0][0].train.conversations == 61 and made[0][0].valid.conversations == 9


@pytest.mark.usefixtures("many_shards")
@pytest.mark.parametrize("count", [1, 2])
def test_an_interrupted_prep_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    write_blend(tmp_path / "blend", conversations(60), conversations(9))
    processes(monkeypatch, count)
    undisturbed = only_stage(config(tmp_path, out=f"{tmp_path}/undisturbed"))

    def stop(label: str, done: int, total: int) -> None:
        if label == "token: train" and done > 20:
            raise KeyboardInterrupt

    made = config(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        prepare(made, stop)
    (draft,) = (tmp_path / "out/data").glob(".token.*")
    before = {path: path.stat().st_mtime_ns for path in draft.glob("shards/train/*.json")}
    assert len(before) >= 3
    assert not (tmp_path / "out/data/token").exists()
    kept: dict[Path, int] = {}

    def look(label: str, done: int, total: int) -> None:
        kept.update({path: path.stat().st_mtime_ns for path in before})

    data = prepare(made, look)[1]["token"]
    assert kept == before
    assert (data.summary, files_of(data)) == (undisturbed.summary, files_of(undisturbed))
    assert [path.name for path in (tmp_path / "out/data").iterdir() if path.name[0] == "."] == []


@pytest.mark.usefixtures("many_shards")
def test_a_prep_with_other_settings_forgets_the_interrupted_one(tmp_path: Path) -> None:
    write_blend(tmp_path / "blend", conversations(60), [])

    def stop(label: str, done: int, total: int) -> None:
        if label == "token: train":
            raise KeyboardInterrupt

    for seed in (0, 1):
        with pytest.raises(KeyboardInterrupt):
            prepare(config(tmp_path, seed=seed), stop)
        assert len(list((tmp_path / "out/data").glob(".token.*"))) == 1


@pytest.mark.usefixtures("many_shards")
def test_an_error_in_another_process_is_the_same_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_blend(tmp_path / "blend", conversations(60), [])
    processes(monkeypatch, 2)
    refused(tmp_path, r"data\.pack_tokens is 30; raise it", data={"pack_tokens": 30, "over_long": "error"})


class Dying(Renderer):
    def render(self, records: object) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.usefixtures("many_shards")
def test_a_killed_process_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_blend(tmp_path / "blend", conversations(60), [])
    processes(monkeypatch, 2)
    usual = prepare_renderer(config(tmp_path))
    dying = Dying(usual.tokenizer, usual.template, usual.history)
    with pytest.raises(GristmillError, match="a process that rendered conversations was killed"):
        render_split(tmp_path / "blend/train", tmp_path / "shards", Task(dying, 99, "drop"), lambda *_: None, "")


PREP = """
import multiprocessing, os, signal, sys
from pathlib import Path
import sft.documents, sft.rendering
from gristmill.render import load_renderer

def watch(label, done, total):
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    sft.documents.ROWS_AT_ONCE, sft.rendering.SHARD_BYTES = 5, 1500
    os.sched_getaffinity = lambda _: {0, 1}
    task = sft.rendering.Task(load_renderer("train:300", "nemotron3"), 256, "drop")
    sft.rendering.render_split(Path(sys.argv[1]), Path(sys.argv[2]), task, watch, "")
"""


def test_no_process_outlives_a_killed_prep(tmp_path: Path) -> None:
    write_blend(tmp_path / "blend", conversations(60), [])
    (tmp_path / "prep.py").write_text(PREP)
    command: list[str | Path] = [sys.executable, tmp_path / "prep.py", tmp_path / "blend/train", tmp_path / "shards"]
    killed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    children = [Path("/proc") / pid for pid in killed.stdout.split()]
    assert len(children) == 2
    deadline = time.monotonic() + 20
    while any(child.exists() for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(child.exists() for child in children)


# --- `--show`


def test_show_prints_the_tokens_and_the_mask(tmp_path: Path, cli: CLI) -> None:
    odd = Record(messages=[user("Say 🙂 and \x1b[31m."), assistant("🙂\x1b[31m", "hm")], category="odd", reasoning="on")
    write_blend(tmp_path / "blend", conversations(40), [odd])
    (tmp_path / "sft.yaml").write_text(
        "out: out\n"
        "data: {blend: blend, tokenizer: 'train:300', pack_tokens: 20}\n"
        "stages: [{name: token, global_batch: 2, lr: 1.0e-5, steps: 1}]\n"
    )
    shown = cli("prep", "sft.yaml", "--show", odd.uuid[:12])
    assert (shown.returncode, shown.stderr) == (0, "")
    title, _, counts, *lines = shown.stdout.splitlines()
    assert title == f"{odd.uuid} in blend/valid: odd, reasoning on"
    assert counts.startswith("sequence 1 of 1: ") and counts.endswith("longer than a pack of 20")
    assert lines[:2] == ["<|im_start|>|system|⏎", "|<|im_end|>|⏎"]
    assert "".join(lines[-5:]) == "|<think>|⏎|⟦h|m|⏎|</think>|⏎|🙂|␛|[|3|1|m|<|im_end|>⟧|⏎"
    assert "\x1b" not in shown.stdout
    several = cli("prep", "sft.yaml", "--show", "")
    assert several.returncode == 2 and "41 conversations begin like that" in several.stderr
    unknown = cli("prep", "sft.yaml", "--show", "zz")
    assert unknown.returncode == 2 and "no conversation for uuid zz in the blend" in unknown.stderr


def test_show_is_in_colour_on_a_terminal_without_no_color(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = conversations(2)[1]
    write_blend(tmp_path / "blend", [record], [])
    renderer = prepare_renderer(config(tmp_path))
    found = find_record([tmp_path / "blend"], record.uuid)

    def shown(**environment: str) -> str:
        screen = io.StringIO()
        console = Console(file=screen, force_terminal=True, color_system="standard", _environ=environment)
        show_record(console, renderer, found, 256)
        return screen.getvalue()

    (sequences,) = renderer.render([record])
    assert not isinstance(sequences, RenderError)
    (sequence,) = sequences
    assert shown().count("\x1b[30;42m") + shown().count("\x1b[30;102m") == sequence.supervised.sum()
    assert "\x1b[30;" not in shown(NO_COLOR="1") and "⟦" in shown(NO_COLOR="1")


# --- bad input


def refused(tmp_path: Path, complaint: str, **changes: Any) -> None:
    with pytest.raises(ConfigError, match=complaint):
        prepare(config(tmp_path, **changes))


def test_wrong_configs_are_named(tmp_path: Path) -> None:
    refused(tmp_path, r"data\.blend: .* holds no parquet files; make the blend first")
    write_blend(tmp_path / "blend", conversations(10), [])
    refused(tmp_path, r"stages\.token: over_long: split", data={"over_long": "split"}, stage={"loss": "sample"})
    refused(tmp_path, "nothing to learn from in .*: of 10 conversations 0 can't", data={"pack_tokens": 5})
    refused(tmp_path, "seed: .*greater than or equal to 0", seed=-1)
    refused(tmp_path, "a stage can't be named tokenizer", stage={"name": "tokenizer"})
    pq.write_table(pa.table({"uuid": ["a"], "text": ["b"]}), tmp_path / "blend/train/00001.parquet")
    refused(tmp_path, "without column category, messages")


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    write_blend(tmp_path / "blend", conversations(10), [])
    (tmp_path / "blend/train/00001.parquet").write_bytes(b"not parquet")
    refused(tmp_path, r"00001\.parquet: can't be read as parquet")


def test_the_command_says_what_it_made(tmp_path: Path, cli: CLI) -> None:
    write_blend(tmp_path / "blend", conversations(40), conversations(4))
    (tmp_path / "sft.yaml").write_text(
        "out: out\n"
        "data: {blend: blend, tokenizer: 'train:300', pack_tokens: 256}\n"
        "stages: [{name: token, global_batch: 2, lr: 1.0e-5, steps: 1}]\n"
    )
    done = cli("prep", "sft.yaml", "data.pack_tokens=200", env={"OMP_NUM_THREADS": "1"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "token: 40 conversations, " in done.stdout
    assert "packs of 200 tokens" in done.stdout
    assert (tmp_path / "out/data/token/summary.json").is_file()
    with RunFolder(tmp_path / "out").lock():
        busy = cli("prep", "sft.yaml")
    assert (busy.returncode, busy.stdout) == (1, "")
    assert "in use by another process" in busy.stderr
    wrong = cli("prep", "sft.yaml", "data.blend=nowhere")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("gristmill: data.blend: nowhere/train holds no parquet files")
    assert os.linesep not in wrong.stderr.strip()
