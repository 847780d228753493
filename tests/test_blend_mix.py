"""Units, quotas, orders, efforts and adapters of a blend, and what its tables say of them."""

import gzip
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.errors import ConfigError
from gristmill.render import RenderError, renderer_for
from gristmill.render.tokenizers import from_folder, train
from schemas import Record, assistant, user
from schemas.arrow import row_to_record
from tests.blending import ask, blend, record, write, write_lines


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRISTMILL_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small byte-level BPE in a folder."""
    folder = tmp_path_factory.mktemp("tokenizer")
    train("train:400", ["What is the sum of the numbers? The answer is a number."]).save(folder, "")
    return folder


def lettered(number: int, words: int, trace: int = 0, **fields: Any) -> Record:
    rng = random.Random(number)

    def said(count: int) -> str:
        return " ".join("".join(rng.choices("abcdefgh", k=5)) for _ in range(count))

    answer = assistant(said(words), reasoning=said(trace) if trace else None)
    return Record(messages=[user(f"{said(6)} {number}?"), answer], task_id=str(number), **fields)


def source(folder: Path, name: str, records: list[Record], **more: Any) -> dict[str, Any]:
    return {"name": name, "path": str(write(folder / f"{name}.parquet", records)), "weight": 1, **more}


def counted(folder: Path, tokenizer: Path) -> dict[str, tuple[int, int]]:
    """The tokens of what was written, counted anew."""
    renderer = renderer_for(from_folder(tokenizer), "nemotron3")
    rows = [row for split in ("train", "valid") for row in pq.read_table(folder / "out" / split).to_pylist()]
    records = [row_to_record(row) for row in rows]
    counts = [count for count in renderer.count(records) if not isinstance(count, RenderError)]
    return {one.uuid: (count.tokens, count.supervised_tokens) for one, count in zip(records, counts, strict=True)}


# ---- supervised tokens


def test_shares_of_supervised_tokens_are_right_to_one_row(tmp_path: Path, tokenizer: Path) -> None:
    sources = [
        source(tmp_path, "short", [lettered(n, 5 + n % 7) for n in range(300)], weight=1),
        source(tmp_path, "long", [lettered(1000 + n, 60 + n % 40, trace=50) for n in range(120)], weight=3),
    ]
    made = blend(tmp_path, sources, 20_000, unit="supervised_tokens", tokenizer=str(tokenizer))
    longest = ask(tmp_path, "SELECT max(supervised_tokens) FROM samples")[0][0]
    by_source = dict(ask(tmp_path, "SELECT source, sum(supervised_tokens) FROM samples GROUP BY ALL"))
    for row, wanted in zip(made["sources"], (5_000, 15_000), strict=True):
        assert row["requested"] == wanted and row["supervised_tokens"] == row["realised"] == by_source[row["name"]]
        assert abs(row["realised"] - wanted) <= longest
    assert made["total"]["realised"] == sum(by_source.values())
    samples = ask(tmp_path, "SELECT uuid, tokens, supervised_tokens FROM samples")
    assert {uuid: counts for uuid, *counts in samples} == {
        uuid: list(counts) for uuid, counts in counted(tmp_path, tokenizer).items()
    }
    train_tokens = dict(
        ask(tmp_path, "SELECT source, sum(supervised_tokens) FROM samples WHERE split = 'train' GROUP BY ALL")
    )
    train_rows = dict(ask(tmp_path, "SELECT source, count(*) FROM samples WHERE split = 'train' GROUP BY ALL"))
    for row in made["sources"]:
        assert row["token_loss_share"] == pytest.approx(train_tokens[row["name"]] / sum(train_tokens.values()))
        assert row["sample_loss_share"] == pytest.approx(train_rows[row["name"]] / sum(train_rows.values()))
    assert made["sources"][0]["sample_loss_share"] > 2 * made["sources"][0]["token_loss_share"]


def test_a_total_of_tokens_that_is_not_there_is_told_in_tokens(tmp_path: Path, tokenizer: Path) -> None:
    sources = [source(tmp_path, "a", [lettered(n, 10) for n in range(20)])]
    with pytest.raises(ConfigError, match=r"the total of 100,000 supervised tokens can't be had: source a can give"):
        blend(tmp_path, sources, 100_000, unit="supervised_tokens", tokenizer=str(tokenizer))
    made = blend(tmp_path, sources, 5_000, unit="supervised_tokens", tokenizer=str(tokenizer), short="repeat")
    assert made["rows"] > 20 and abs(made["total"]["realised"] - 5_000) < 100


def test_nothing_is_tokenised_twice(tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    first = [source(tmp_path, "a", [lettered(n, 10) for n in range(40)])]
    blend(tmp_path, first, 20, tokenizer=str(tokenizer))
    renderings: list[int] = []
    from gristmill.render import Renderer

    render = Renderer.render

    def watched(self: Renderer, records: Iterator[Record]) -> Any:
        given = list(records)
        renderings.append(len(given))
        return render(self, given)

    monkeypatch.setattr(Renderer, "render", watched)
    blend(tmp_path, first, 500, unit="supervised_tokens", tokenizer=str(tokenizer), seed=5)
    assert renderings == []
    write(path, [lettered(n, 10) for n in range(43)])
    blend(tmp_path, first, 20, tokenizer=str(tokenizer))
    assert renderings == [3]


def test_rows_that_teach_nothing_or_too_much_are_dropped_where_a_tokenizer_tells(
    tmp_path: Path, tokenizer: Path
) -> None:
    rows = [lettered(1, 10), lettered(2, 900), Record(messages=[user("Nobody answers.")])]
    made = blend(
        tmp_path, [source(tmp_path, "a", rows)], 1, tokenizer=str(tokenizer), gates={"length": {"max_tokens": 500}}
    )
    assert made["dropped"]["unrenderable"] == made["dropped"]["length"] == 1
    assert [gate["gate"] for gate in made["gates"][-2:]] == ["renderable", "length.tokens"]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"unit": "supervised_tokens"}, "needs `tokenizer`"),
        ({"tokenizer": "train:400"}, "a blend is not there yet to train one on"),
        ({"tokenizer": "FOLDER", "template": "nowhere.jinja"}, "neither nemotron3 nor a readable Jinja file"),
        ({"gates": {"length": {"max_tokens": 5}}}, "max_tokens needs `tokenizer`"),
    ],
)
def test_wrong_token_settings_are_refused_at_once(
    tmp_path: Path, tokenizer: Path, config: dict[str, Any], words: str
) -> None:
    if config.get("tokenizer") == "FOLDER":
        config = {**config, "tokenizer": str(tokenizer)}
    with pytest.raises(ConfigError, match=words):
        blend(tmp_path, [source(tmp_path, "a", [lettered(1, 3)])], 1, **config)


@pytest.mark.shared
def test_a_published_tokenizer_counts_what_it_will_be_trained_with(tmp_path: Path, shared_data: Path) -> None:
    folder = tmp_path / "qwen3"
    folder.mkdir()
    for packed in (shared_data / "tokenizers/qwen3").glob("*.json.gz"):
        (folder / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    rows = [lettered(n, 10 + n % 9, trace=6 if n % 2 else 0) for n in range(60)]
    made = blend(
        tmp_path, [source(tmp_path, "a", rows)], 1_000, unit="supervised_tokens", tokenizer=str(folder),
        reasoning={"off": 0.25},
    )  # fmt: skip
    assert abs(made["total"]["realised"] - 1_000) < 80 and made["dropped"]["unrenderable"] == 0
    assert counted(tmp_path, folder) == {
        uuid: tuple(counts) for uuid, *counts in ask(tmp_path, "SELECT uuid, tokens, supervised_tokens FROM samples")
    }


# ---- quotas and orders


def test_quotas_divide_a_source_over_buckets(tmp_path: Path) -> None:
    rows = [record(n, category="abc"[n % 3], metadata={"tier": n % 2 == 0}) for n in range(300)]
    quota = {"by": "category", "shares": {"a": 5, "b": 2, "c": 1}}
    made = blend(tmp_path, [source(tmp_path, "s", rows, quota=quota)], 100, splits={"train": 1, "valid": 0})
    by_category = dict(ask(tmp_path, "SELECT category, count(*) FROM samples GROUP BY ALL"))
    assert by_category == {"a": 63, "b": 25, "c": 12}  # 62.5 : 25 : 12.5
    assert made["sources"][0]["quota"]["shares"] == {"a": 5.0, "b": 2.0, "c": 1.0}
    by_tier = {"by": "metadata ->> '$.tier'", "shares": {True: 1}}  # as YAML reads `true: 1`
    blend(tmp_path, [source(tmp_path, "s", rows, quota=by_tier)], 50)
    assert ask(tmp_path, "SELECT count(*) FROM dropped WHERE detail = 'in no bucket of the quota'") == [(150,)]
    assert ask(tmp_path, "SELECT DISTINCT metadata ->> '$.tier' FROM samples") == [("true",)]
    quota = {"by": "category", "shares": {"a": 1, "z": 1}}
    with pytest.raises(ConfigError, match=r"can give 1 of 50 \(its buckets have a 100, z 0\)"):
        blend(tmp_path, [source(tmp_path, "s", rows, quota=quota)], 50)
    with pytest.raises(ConfigError, match=r"its quota.by fails: Binder Error"):
        blend(tmp_path, [source(tmp_path, "s", rows, quota={"by": "colour", "shares": {"a": 1}})], 50)


def test_rows_may_be_ordered_by_length_or_difficulty(tmp_path: Path) -> None:
    rows = [lettered(n, 1 + (n * 7) % 50, metadata={"difficulty": (n * 3) % 50 / 50}) for n in range(50)]
    rows += [lettered(99, 2)]
    for order, sql in (("length", "length(messages[2].content)"), ("difficulty", "metadata ->> '$.difficulty'")):
        blend(tmp_path, [source(tmp_path, "a", rows)], 51, order=order, splits={"train": 1, "valid": 0})
        values = [value for (value,) in ask(tmp_path, f"SELECT {sql} FROM samples")]
        known = [float(value) for value in values if value is not None]
        assert known == sorted(known) and len(known) >= 50 and values[0] is not None


# ---- efforts


def test_traces_are_stripped_from_the_share_that_was_asked(tmp_path: Path, tokenizer: Path) -> None:
    sources = [
        source(tmp_path, "a", [lettered(n, 8, trace=12) for n in range(400)], weight=3),
        source(tmp_path, "b", [lettered(1000 + n, 8, trace=12 if n % 2 else 0) for n in range(200)]),
    ]
    made = blend(tmp_path, sources, 400, reasoning={"off": 0.1}, tokenizer=str(tokenizer))
    rows = ask(
        tmp_path,
        """SELECT uuid, reasoning, messages[2].reasoning_content IS NULL,
                  coalesce(metadata ->> '$.reasoning_stripped', '') = 'true', tokens, supervised_tokens FROM samples""",
    )
    stripped = [row for row in rows if row[3]]
    assert all((reasoning == "off") == untraced for _, reasoning, untraced, *_ in rows)
    with_traces = sum(row[1] == "on" for row in rows) + len(stripped)
    assert abs(len(stripped) - 0.1 * with_traces) < 2 and made["reasoning"]["stripped"] == len(stripped)
    uuids = {lettered(n, 8, trace=12).uuid for n in range(400)} | {
        lettered(1000 + n, 8, trace=12 if n % 2 else 0).uuid for n in range(200)
    }
    assert {row[0] for row in rows} <= uuids  # a changed row keeps its uuid
    assert {row[0]: row[4:] for row in rows} == counted(tmp_path, tokenizer)
    again = blend(tmp_path, sources, 400, reasoning={"off": 0.1}, tokenizer=str(tokenizer))
    assert again == made


def test_low_effort_comes_from_marked_sources_in_its_share(tmp_path: Path, tokenizer: Path) -> None:
    sources = [
        source(tmp_path, "a", [lettered(n, 8, trace=40) for n in range(300)], weight=2),
        source(tmp_path, "b", [lettered(1000 + n, 8, trace=40) for n in range(300)], weight=1),
        source(tmp_path, "c", [lettered(2000 + n, 8, trace=4) for n in range(50)], weight=5, effort="low"),
    ]
    made = blend(
        tmp_path, sources, 300, reasoning={"off": 0.03, "low": 0.02}, tokenizer=str(tokenizer),
        splits={"train": 1, "valid": 0},
    )  # fmt: skip
    assert [row["rows"] for row in made["sources"]] == [196, 98, 6]
    assert ask(tmp_path, "SELECT source, count(*) FROM samples WHERE reasoning = 'low' GROUP BY ALL") == [("c", 6)]
    assert made["reasoning"]["low"] == 6 and made["reasoning"]["stripped"] in (8, 9, 10)
    assert counted(tmp_path, tokenizer) == {
        uuid: tuple(counts) for uuid, *counts in ask(tmp_path, "SELECT uuid, tokens, supervised_tokens FROM samples")
    }  # so the template's flag is there in both


# ---- sources of other kinds


def test_blends_and_foreign_files_are_sources_too(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    write_lines(
        tmp_path / "share.jsonl",
        [
            {"conversations": [{"from": "human", "value": f"Hi {n}"}, {"from": "gpt", "value": f"Hello {n}"}]}
            for n in range(10)
        ]
        + [{"conversations": [{"from": "human", "value": "Hi"}]}],
    )
    alpaca = [{"instruction": f"Add {n}.", "input": "", "output": str(n)} for n in range(10)]
    (tmp_path / "alpaca.json").write_bytes(orjson.dumps([*alpaca, "no row"]))
    datasets.Dataset.from_list([{"question": f"{n}+1?", "answer": str(n + 1)} for n in range(10)]).save_to_disk(
        str(tmp_path / "disk")
    )
    table = pa.Table.from_pylist([{"prompt": f"Say {n}", "response": f"{n}", "tools": ""} for n in range(10)])
    with pa.OSFile(str(tmp_path / "rows.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    first = [source(tmp_path, "ours", [record(n) for n in range(40)])]
    blend(tmp_path / "stage1", first, 40, splits={"train": 0.75, "valid": 0.25})
    sources = [
        {"name": name, "path": str(tmp_path / path), "weight": 1}
        for name, path in {
            "share": "share.jsonl", "alpaca": "alpaca.json", "disk": "disk", "arrow": "rows.arrow",
            "stage1": "stage1/out",
        }.items()
    ]  # fmt: skip
    made = blend(tmp_path, sources, 50)
    assert [row["rows"] for row in made["sources"]] == [10] * 5
    assert [row["unreadable"] for row in made["sources"]] == [1, 1, 0, 0, 0]
    assert made["sources"][4]["rows_read"] == 30  # of the stage-1 blend its train split alone
    details = [detail for (detail,) in ask(tmp_path, "SELECT detail FROM dropped WHERE reason = 'unreadable'")]
    assert any("line:11: messages: none of the columns" in detail for detail in details)
    assert any("row 11: not a JSON object" in detail for detail in details)
    said = {
        (asked, told) for asked, told in ask(tmp_path, "SELECT messages[1].content, messages[2].content FROM samples")
    }
    assert {("Hi 3", "Hello 3"), ("Add 4.", "4"), ("5+1?", "6"), ("Say 7", "7")} <= said


def test_copies_are_counted_once_in_distinct_rows(tmp_path: Path) -> None:
    rows = [record(n) for n in range(20)] + [record(n) for n in range(20)]
    made = blend(tmp_path, [source(tmp_path, "a", rows, epochs=3)], 50)
    only = made["sources"][0]
    assert (only["rows"], only["distinct_rows"], only["duplicates"], only["rows_read"]) == (50, 20, 20, 40)
    copies = Counter(uuid for (uuid,) in ask(tmp_path, "SELECT uuid FROM samples"))
    assert sorted(Counter(copies.values()).items()) == [(2, 10), (3, 10)]
