"""`gristmill prep`: from a blend's files to packs, once, and with every conversation accounted for."""

import json
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sft.prep
from gristmill.config import validate
from gristmill.errors import ConfigError
from gristmill.render import RenderError, TokenCount
from gristmill.runs import RunFolder
from schemas import Function, Record, ToolCall, assistant, system, user
from schemas.arrow import records_to_table
from schemas.sft_config import SFTConfig
from sft.documents import Document, read_records, render_documents
from sft.prep import StageData, prepare, prepare_renderer
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


def refused(tmp_path: Path, complaint: str, **changes: Any) -> None:
    with pytest.raises(ConfigError, match=complaint):
        prepare(config(tmp_path, **changes))


def test_wrong_configs_are_named(tmp_path: Path) -> None:
    refused(tmp_path, r"data\.blend: .* holds no parquet files; make the blend first")
    write_blend(tmp_path / "blend", conversations(10), [])
    refused(tmp_path, r"stages\.token: over_long: split", data={"over_long": "split"}, stage={"loss": "sample"})
    refused(tmp_path, "nothing to learn from in .*: of 10 conversations 0 can't", data={"pack_tokens": 5})
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
