"""Blends: exact shares, gates, splits without leaks, bytes that repeat, and what becomes of bad input."""

import fcntl
import os
import random
import subprocess
import sys
from collections import Counter, defaultdict
from fractions import Fraction
from itertools import pairwise
from math import floor
from pathlib import Path
from typing import Any
from unittest.mock import patch

import duckdb
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from blends.build import build
from blends.mix import Plan, Shortage, Stock, Supply, apportion, make_plan
from blends.splits import choose, leaders_of
from blends.stage import Stage
from gristmill.cli import main
from gristmill.config import load_config, validate
from gristmill.errors import ConfigError, GristmillError
from schemas import Record, assistant, system, user
from schemas.arrow import RECORDS, records_to_table
from schemas.blend_config import BlendConfig
from schemas.messages import Function, ToolCall
from tests.blending import ask, blend, parquet_bytes, record, write, write_lines
from tests.conftest import CLI, ROOT

# ---- shares


supplies = st.builds(
    Supply,
    name=st.just("s"),
    weight=st.fractions(Fraction(1, 50), 50, max_denominator=50),
    cap=st.none() | st.integers(1, 60),
    stocks=st.lists(
        st.builds(
            Stock,
            ordinary=st.integers(0, 60),
            rule_made=st.integers(0, 60),
            weight=st.fractions(Fraction(1, 9), 9, max_denominator=9),
        ),
        min_size=1,
        max_size=3,
    ),
    epochs=st.integers(1, 3),
    rule_limit=st.sampled_from([Fraction(0), Fraction(1, 5), Fraction(1, 3), Fraction(1)]),
)


def can_give(supply: Supply, rows: int, epochs: int) -> bool:
    """By trial: is there a number of rule-made rows in each bucket with which its part of `rows` can be had?"""

    def has(stock: Stock, part: int) -> bool:
        most = min(stock.rule_made * epochs, floor(supply.rule_limit * part))
        return any(part - by_rule <= stock.ordinary * epochs for by_rule in range(min(most, part) + 1))

    return all(map(has, supply.stocks, supply.divided(rows)))


def possible(plan: Plan, given_supplies: list[Supply], repeat: bool) -> bool:
    return sum(plan.counts) == plan.total and all(
        can_give(supply, rows, plan.total if repeat else supply.epochs)
        for supply, rows in zip(given_supplies, plan.counts, strict=True)
    )


@given(supplies)
def test_capacity_is_the_most_that_a_source_can_give(supply: Supply) -> None:
    most = sum(stock.ordinary + stock.rule_made for stock in supply.stocks) * supply.epochs
    assert supply.capacity(supply.epochs) == max(n for n in range(most + 1) if can_give(supply, n, supply.epochs))


@given(st.integers(1, 200), st.lists(supplies, min_size=1, max_size=5), st.sampled_from(["error", "repeat", "shrink"]))
def test_plans_are_exact_and_shortages_name_the_largest_total(total: int, some: list[Supply], short: str) -> None:
    repeat = short == "repeat"
    feasible = next(n for n in range(total, -1, -1) if possible(apportion(n, some), some, repeat))
    try:
        plan = make_plan(total, some, short)
    except Shortage as shortage:
        assert shortage.feasible == feasible < total
        assert short != "shrink" or feasible == 0
        return
    assert plan.total == sum(plan.counts) == feasible
    assert plan.total == total or short == "shrink"
    free = [(s, share) for s, share in zip(some, plan.shares, strict=True) if s.cap is None or share < s.cap]
    assert len({share / s.weight for s, share in free}) <= 1
    for supply, share, rows in zip(some, plan.shares, plan.counts, strict=True):
        assert abs(rows - share) < 1
        assert supply.cap is None or (rows <= supply.cap and share <= supply.cap)


def test_caps_come_first_and_shares_are_of_what_remains() -> None:
    def source(weight: int, cap: int | None = None) -> Supply:
        return Supply("s", Fraction(weight), cap, [Stock(1000, 0)], 1, Fraction(1))

    assert apportion(100, [source(36, 20), source(23), source(31)]).counts == [20, 34, 46]
    assert apportion(10, [source(1), source(1), source(1)]).counts == [4, 3, 3]
    assert apportion(10, [source(1, 2), source(1, 3)]).counts == [2, 3]


# ---- groups and splits


@given(st.lists(st.integers(1, 12), max_size=30), st.integers(0, 60))
def test_a_split_is_within_one_group_of_what_is_asked(sizes: list[int], wanted: int) -> None:
    chosen = choose(enumerate(sizes), wanted)
    taken = sum(sizes[group] for group in chosen)
    others = [size for group, size in enumerate(sizes) if group not in chosen]
    assert len(set(chosen)) == len(chosen)
    if others:
        assert abs(taken - wanted) < min(others) or abs(taken - wanted) < max(sizes[group] for group in chosen)
    else:
        assert taken <= wanted or abs(taken - wanted) < max(sizes)


@given(st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2)))))
def test_leaders_are_connected_components(case: tuple[int, list[tuple[int, int]]]) -> None:
    rows, pairs = case
    component = {row: {row} for row in range(rows)}
    for a, b in pairs:
        merged = component[a] | component[b]
        component.update(dict.fromkeys(merged, merged))
    assert list(leaders_of(rows, pairs)) == [min(component[row]) for row in range(rows)]


@given(st.lists(st.integers(1, 7), min_size=1, max_size=6), st.data())
def test_the_stage_gives_any_rows_in_any_order(tmp_path_factory: Any, sizes: list[int], data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("stage")
    stage = Stage(folder / "rows.arrow")
    everything = [record(number) for number in range(sum(sizes))]
    for size in sizes:
        stage.add(records_to_table(everything[stage.rows : stage.rows + size]))
    wanted = np.array(data.draw(st.lists(st.integers(0, len(everything) - 1), max_size=40)), np.int64)
    uuids = [everything[number].uuid for number in wanted]
    assert stage.take(wanted)["uuid"].to_pylist() == uuids
    assert [n for batch in stage.batches() for n in batch["row"].to_pylist()] == list(range(len(everything)))
    with patch("blends.stage.RUN_BYTES", data.draw(st.sampled_from([1, 2_000, 1_000_000]))):
        ordered, numbers = stage.rearranged(wanted, folder / "ordered.arrow")
    assert ordered.rows == len(wanted)
    assert ordered.take(numbers)["uuid"].to_pylist() == uuids


# ---- whole blends


@st.composite
def pools(draw: Any) -> list[dict[str, Any]]:
    """Two or three sources whose rows share uuids, scenarios and openings within and between them."""
    sources = []
    for number in range(draw(st.integers(1, 3))):
        rows = [
            record(
                draw(st.integers(0, 60)),
                question=draw(st.none() | st.sampled_from(["Hello?", "  hello? ", "What now?"])),
                metadata=draw(
                    st.sampled_from([{}, {"mode": "grammar"}, {"scenario": 3}, {"scenario": 4, "mode": "computed"}])
                ),
                task_id=draw(st.sampled_from(["", "a", "b", "c", "d"])),
            )
            for _ in range(draw(st.integers(1, 25)))
        ]
        sources.append(
            {
                "name": f"s{number}",
                "rows": rows,
                "weight": draw(st.sampled_from([1, 2, 7.5, 0.3])),
                "cap": draw(st.none() | st.integers(1, 12)),
                "epochs": draw(st.integers(1, 2)),
                "rule_made": draw(st.sampled_from([0.0, 0.2, 1.0])),
            }
        )
    return sources


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    pools(),
    st.integers(1, 40),
    st.sampled_from(["error", "repeat", "shrink"]),
    st.booleans(),
    st.sampled_from([0.0, 0.1, 0.5]),
)
def test_counts_meet_the_config_and_nothing_leaks(
    tmp_path: Path, pool: list[dict[str, Any]], total: int, short: str, exact: bool, valid: float
) -> None:
    for source in pool:
        write(tmp_path / f"{source['name']}.parquet", source["rows"])
    sources = [
        {**{k: v for k, v in source.items() if k != "rows"}, "path": str(tmp_path / f"{source['name']}.parquet")}
        for source in pool
    ]
    gates = {"dedup": {"exact": exact}}
    splits = {"train": 1 - valid, "valid": valid}
    try:
        made = blend(tmp_path, sources, total, short=short, gates=gates, splits=splits)
    except ConfigError as error:
        assert "largest feasible total" in str(error)
        assume(False)
    samples = ask(tmp_path, "SELECT source, split, uuid, metadata, task_id, messages[1].content FROM samples")
    assert len(samples) == made["total"]["realised"] == sum(source["rows"] for source in made["sources"])
    assert len(samples) == total or short == "shrink"
    assert exact or made["dropped"]["duplicate"] == 0
    dropped = Counter(ask(tmp_path, "SELECT source, uuid FROM dropped"))
    for source, row in zip(pool, made["sources"], strict=True):
        mine = [sample for sample in samples if sample[0] == source["name"]]
        assert len(mine) == row["rows"] and abs(row["rows"] - row["requested"]) < 1
        assert source["cap"] is None or len(mine) <= source["cap"]
        by_rule = sum("mode" in orjson.loads(sample[3]) for sample in mine)
        assert by_rule == row["rule_made_rows"] <= source["rule_made"] * len(mine)
        drawn = Counter(sample[2] for sample in mine)
        there = Counter(one.uuid for one in source["rows"])
        if short != "repeat":
            assert all(count <= source["epochs"] * there[uuid] for uuid, count in drawn.items())
        if exact:  # every row read is in the blend or among the dropped, and in one of them only
            lost = Counter({uuid: count for (name, uuid), count in dropped.items() if name == source["name"]})
            assert there == lost + Counter(dict.fromkeys(drawn, 1))
    placed: dict[tuple[str, str], set[str]] = defaultdict(set)
    for _, split, uuid, metadata, task, opening in samples:
        scenario = orjson.loads(metadata).get("scenario")
        for key in (("uuid", uuid), ("opening", opening.strip().lower()), ("scenario", scenario or task)):
            if key[1] != "":
                placed[key].add(split)
    assert all(len(splits) == 1 for splits in placed.values())
    read = {split: pq.read_table(tmp_path / "out" / split) for split in ("train", "valid")}
    assert all(table.schema.equals(RECORDS) for table in read.values())
    assert read["valid"].num_rows == sum(sample[1] == "valid" for sample in samples)


def test_repeated_rows_keep_their_uuid_and_all_come_before_any_comes_again(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", (record(n) for n in range(7)))
    blend(tmp_path, [{"name": "a", "path": str(path), "weight": 1}], 17, short="repeat")
    copies = Counter(uuid for (uuid,) in ask(tmp_path, "SELECT uuid FROM samples"))
    assert sorted(copies.values()) == [2, 2, 2, 2, 3, 3, 3]
    assert copies.keys() == {record(n).uuid for n in range(7)}


def test_splits_are_as_large_as_asked_and_sources_are_mixed(tmp_path: Path) -> None:
    sources = [
        {
            "name": name,
            "weight": 1,
            "path": str(write(tmp_path / f"{name}.parquet", (record(first + n) for n in range(400)))),
        }
        for name, first in (("a", 0), ("b", 1000))
    ]
    made = blend(tmp_path, sources, 600, splits={"train": 0.9, "valid": 0.1})
    assert [split["rows"] for split in made["splits"]] == [540, 60]
    train = [source for (source,) in ask(tmp_path, "SELECT source FROM samples WHERE split = 'train'")]
    runs = sum(one != two for one, two in pairwise(train))
    assert runs > 150  # in 540 rows of two sources chance makes about 270 changes


def test_one_uuid_never_straddles_the_splits_even_where_its_rows_differ(tmp_path: Path) -> None:
    rows = [record(n, uuid=f"{n // 4:032x}") for n in range(80)]  # as in somebody's file with uuids of its own
    sources = [{"name": "a", "path": str(write(tmp_path / "a.parquet", rows)), "weight": 1}]
    blend(tmp_path, sources, 80, splits={"train": 0.525, "valid": 0.475})  # 38 rows are asked: nine uuids and a half
    assert ask(tmp_path, "SELECT split, count(*), count(DISTINCT uuid) FROM samples GROUP BY 1 ORDER BY 1") == [
        ("train", 44, 11),
        ("valid", 36, 9),
    ]


def test_conversations_without_a_user_turn_are_no_group_of_their_own(tmp_path: Path) -> None:
    rows = [Record(messages=[system(f"You are number {n}."), assistant(f"I am {n}.")]) for n in range(20)]
    sources = [{"name": "a", "path": str(write(tmp_path / "a.parquet", rows)), "weight": 1}]
    made = blend(tmp_path, sources, 20, splits={"train": 0.75, "valid": 0.25})
    assert [(split["rows"], split["groups"]) for split in made["splits"]] == [(15, 15), (5, 5)]


def test_the_same_config_gives_the_same_bytes_whatever_the_order_of_the_rows(tmp_path: Path) -> None:
    # A uuid may have rows that differ in metadata, and how many rule-made rows chance draws must not differ either.
    rows = [record(n % 50, metadata={"n": n, "mode": "grammar" if n % 3 else "taught"}) for n in range(90)]
    sources = [{"name": "a", "path": str(tmp_path / "in"), "weight": 1, "rule_made": 1.0}]
    results = []
    for seed, (order, name) in enumerate([(rows, "x"), (rows[::-1], "x"), (rows[45:] + rows[:45], "z")]):
        write(tmp_path / "in" / f"{name}.parquet", order[:30])
        write(tmp_path / "in" / "y.parquet", order[30:])
        for exact in (True, False):
            blend(tmp_path, sources, 40, gates={"dedup": {"exact": exact}})
            results.append((exact, parquet_bytes(tmp_path)))
        for path in (tmp_path / "in").iterdir():
            path.unlink()
        random.seed(seed)
    for exact in (True, False):
        first, *others = [made for mode, made in results if mode == exact]
        assert all(other == first for other in others)
    write(tmp_path / "in" / "x.parquet", rows)
    blend(tmp_path, sources, 40, seed=1)
    assert parquet_bytes(tmp_path) != results[0][1]


def test_many_files_and_row_groups_stay_in_step_with_their_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blends.write.MOST_ROWS_PER_GROUP", 3)
    monkeypatch.setattr("blends.write.GROUPS_PER_CHUNK", 2)
    monkeypatch.setattr("blends.write.GROUPS_PER_FILE", 4)
    monkeypatch.setattr("blends.reading.BATCH_ROWS", 7)
    sources = [
        {
            "name": name,
            "weight": 1,
            "path": str(
                write(tmp_path / f"{name}.parquet", (record(n, category=name) for n in range(first, 60 + first)))
            ),
        }
        for name, first in (("a", 0), ("b", 100))
    ]
    blend(tmp_path, sources, 100)
    assert len(list((tmp_path / "out/train").iterdir())) == 9  # 98 rows by 12
    assert pq.ParquetFile(tmp_path / "out/train/part-00000.parquet").metadata.num_row_groups == 4
    assert ask(tmp_path, "SELECT count(*) FROM samples WHERE source = category") == [(100,)]
    with duckdb.connect(tmp_path / "out/blend.duckdb", read_only=True) as db:  # without us, where it was written
        assert db.sql("SELECT source, count(*) FROM samples GROUP BY ALL ORDER BY ALL").fetchall() == [
            ("a", 50),
            ("b", 50),
        ]


def test_row_groups_are_short_where_rows_are_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blends.write.GROUP_CHARACTERS", 1_000)
    monkeypatch.setattr("blends.write.GROUPS_PER_FILE", 3)
    monkeypatch.setattr("blends.stage.RUN_BYTES", 4_000)
    rows = [Record(messages=[user(f"{n}?"), assistant("x" * (2_000 if n % 9 == 0 else 40))]) for n in range(60)]
    sources = [{"name": "a", "path": str(write(tmp_path / "a.parquet", rows)), "weight": 1}]
    blend(tmp_path, sources, 60, order="length", splits={"train": 1, "valid": 0})
    groups = []
    for path in sorted((tmp_path / "out/train").iterdir()):
        file = pq.ParquetFile(path)
        assert file.num_row_groups <= 3
        for group in range(file.num_row_groups):
            said = file.read_row_group(group)["messages"].to_pylist()
            groups.append([sum(len(turn["content"]) for turn in turns) for turns in said])
    lengths = [length for group in groups for length in group]
    assert len(lengths) == 60 and lengths == sorted(lengths)
    assert all(sum(group) <= 1_000 or len(group) == 1 for group in groups)
    assert all(sum(group) + after[0] > 1_000 for group, after in pairwise(groups))  # no group could hold more
    assert ask(tmp_path, "SELECT count(*), count(DISTINCT uuid) FROM samples") == [(60, 60)]


def test_a_blend_loads_as_a_hugging_face_dataset(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    path = write(tmp_path / "a.parquet", (record(n) for n in range(30)))
    sources = [{"name": "a", "path": str(path), "weight": 1}]
    for valid, splits in ((0.1, {"train": 27, "valid": 3}), (0.0, {"train": 30})):
        blend(tmp_path, sources, 30, splits={"train": 1 - valid, "valid": valid})
        loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / f"cache{valid}"))
        assert loaded.num_rows == splits
        assert loaded["train"].column_names == RECORDS.names


# ---- sources


OPENAI = {"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]}


def test_rows_of_anybody_become_records_and_bad_ones_are_listed(tmp_path: Path) -> None:
    called = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": {"a": 2}}}
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
    rows = [
        {**OPENAI, "tools": tools, "metadata": {"topic": "sums"}, "version": 3, "difficulty": 0.5},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Add 2."}]},
                      {"role": "assistant", "content": None, "tool_calls": [called], "refusal": None}]},
        orjson.loads(record(1, license="MIT").model_dump_json()),
        b"{not json",
        b"[1, 2]",
        {"prompt": "no messages"},
        {"messages": []},
        {"messages": [{"role": "robot", "content": "x"}]},
        {**OPENAI, "metadata": "not json"},
    ]  # fmt: skip
    path = write_lines(tmp_path / "rows.jsonl", rows)
    made = blend(tmp_path, [{"name": "x", "path": str(path), "weight": 1}], 3)
    assert made["dropped"]["unreadable"] == 6 and made["gates"][0] == {"gate": "readable", "rows": 9, "dropped": 6}
    details = [detail for (detail,) in ask(tmp_path, "SELECT detail FROM dropped WHERE reason = 'unreadable'")]
    for words in (
        "line:4: not valid JSON",
        "line:5: not a JSON object",
        "line:6: messages",
        "messages.0.role",
        "line:9",
    ):
        assert any(words in detail for detail in details), (words, details)
    by_question = {
        row[0]: row[1:]
        for row in ask(tmp_path, "SELECT messages[1].content, generator, tools, metadata, uuid, messages FROM samples")
    }
    plain = by_question["2+2?"]
    assert plain[0] == "external" and orjson.loads(plain[1])[0]["function"]["name"] == "add"
    assert orjson.loads(plain[2]) == {"topic": "sums", "difficulty": 0.5}
    asked = Record(
        messages=[
            user("Add 2."),
            assistant(tool_calls=[ToolCall(id="c1", function=Function(name="add", arguments='{"a":2}'))]),
        ]
    )
    assert by_question["Add 2."][3] == asked.uuid
    assert by_question["Question 1?"][0] == "g" and by_question["Question 1?"][3] == record(1).uuid


def test_files_as_other_tools_write_them(tmp_path: Path) -> None:
    def chats(start: int) -> list[dict[str, Any]]:
        return [{"messages": [m.model_dump() for m in record(start + n).messages]} for n in range(4)]

    (tmp_path / "windows.jsonl").write_bytes(
        "\r\n".join(orjson.dumps(row).decode() for row in chats(0)).encode("utf-8-sig")
    )
    messages = [row["messages"] for row in chats(4)]
    kinds = pa.map_(pa.string(), pa.int64())
    maps = pa.table({"messages": messages, "metadata": pa.array([[("topic", n)] for n in range(4)], kinds)})
    pq.write_table(maps, tmp_path / "maps.parquet")
    named = pa.table({"messages": [row["messages"] for row in chats(8)], "uuid": ["first", "first", "7", "8"]})
    pq.write_table(named, tmp_path / "named.parquet")
    path = write(tmp_path / "torn" / "page.parquet", [record(n, f"{n} {'why? ' * 900}") for n in range(200)])
    content = bytearray(path.read_bytes())
    content[200:400] = bytes(random.Random(0).randbytes(200))
    path.write_bytes(content)
    write(tmp_path / "torn" / "whole.parquet", [record(12 + n) for n in range(4)])
    names = {"windows": "windows.jsonl", "maps": "maps.parquet", "named": "named.parquet", "torn": "torn"}
    sources = [{"name": name, "path": str(tmp_path / path), "weight": 1} for name, path in names.items()]
    made = blend(tmp_path, sources, 16)
    assert [row["rows"] for row in made["sources"]] == [4, 4, 4, 4]
    assert [row["unreadable"] for row in made["sources"]] == [0, 0, 0, 1]
    assert ask(tmp_path, "SELECT count(DISTINCT uuid), min(length(uuid)) FROM samples") == [(16, 32)]
    told = ask(tmp_path, "SELECT metadata FROM samples WHERE source IN ('maps', 'named')")
    known = [orjson.loads(one) for (one,) in told]
    assert {one["topic"] for one in known if "topic" in one} == {0, 1, 2, 3}
    assert sorted(one["uuid"] for one in known if "uuid" in one) == ["7", "8", "first", "first"]


def test_parquet_of_other_columns_and_broken_rows_in_ours(tmp_path: Path) -> None:
    foreign = pa.Table.from_pylist([{**OPENAI, "metadata": {"k": n}, "made": pa.scalar(n).as_py()} for n in range(4)])
    pq.write_table(foreign, tmp_path / "foreign.parquet")
    ours = records_to_table([record(n, metadata={"n": n}) for n in range(6)]).to_pylist()
    ours[0]["metadata"], ours[1]["messages"], ours[2]["uuid"], ours[3]["tools"] = "{broken", [], "", None
    pq.write_table(pa.Table.from_pylist(ours, schema=RECORDS), tmp_path / "ours.parquet")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "torn.parquet").write_bytes(b"PAR1 torn")
    write(tmp_path / "in" / "whole.parquet", [record(9)])
    sources = [
        {"name": "foreign", "path": str(tmp_path / "foreign.parquet"), "weight": 1, "cap": 1},
        {"name": "ours", "path": str(tmp_path / "ours.parquet"), "weight": 2, "cap": 2,
         "filter": "(metadata ->> '$.n')::INTEGER >= 4"},
        {"name": "in", "path": str(tmp_path / "in"), "weight": 1, "cap": 1},
    ]  # fmt: skip
    made = blend(tmp_path, sources, 4)
    assert [row["rows"] for row in made["sources"]] == [1, 2, 1]
    assert made["sources"][0]["duplicates"] == 3  # they differ in metadata only
    listed = dict(ask(tmp_path, "SELECT detail, source FROM dropped WHERE reason = 'unreadable'"))
    faults = {
        "metadata is not a JSON object",
        "there are no messages",
        "the uuid is missing",
        "tools is not a JSON array",
    }
    assert {detail for detail, source in listed.items() if source == "ours"} == faults
    assert any("torn.parquet: not readable as parquet" in detail for detail in listed)


def test_a_source_may_be_a_run_and_only_its_records_count(tmp_path: Path) -> None:
    write(tmp_path / "run/records/part-00000.parquet", (record(n) for n in range(5)))
    write(tmp_path / "run/surplus/part-00000.parquet", (record(n) for n in range(5, 9)))
    made = blend(tmp_path, [{"name": "run", "path": str(tmp_path / "run"), "weight": 1}], 5)
    assert made["sources"][0]["rows_read"] == 5
    assert [Path(found["path"]).parent.name for found in made["sources"][0]["inputs"]] == ["records"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"path": "nowhere"}, "source a: nowhere is no folder"),
        ({"path": "empty"}, "source a: empty is no run and holds no .parquet file"),
        ({"path": "bad.jsonl"}, "none of its 2 rows can be read; for example bad.jsonl: line:1: not valid JSON"),
        ({"filter": "catgory = 'x'"}, 'source a: its filter fails: Binder Error: Referenced column "catgory"'),
        ({"filter": "category = "}, "source a: its filter fails: Parser Error"),
        ({"filter": "category::INTEGER > 3"}, "source a: its filter fails: Conversion Error"),
        ({"filter": "true); SELECT (true"}, "source a: its filter is more than one SQL expression"),
        ({"filter": "passed"}, "source a: its filter fails: Binder Error"),
        ({"path": "out/train"}, "source a: out/train lies in out (out), which is replaced"),
        ({"rule_made": 0.2, "filter": "metadata ->> '$.mode' = 'grammar'"}, "10 of its 10 rows are rule-made"),
        ({"filter": "false"}, "source a can give 0 of 10"),
    ],
)  # fmt: skip
def test_a_wrong_source_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    write_lines(tmp_path / "bad.jsonl", [b"{", b"}"])
    rows = [record(n, category="x", metadata={"mode": "grammar"} if n < 10 else {}) for n in range(40)]
    write(tmp_path / "a.parquet", rows)
    sources = [{"name": "a", "path": "a.parquet", "weight": 1, **change}]
    with pytest.raises(ConfigError) as caught:
        build(validate({"out": "out", "total": 10, "sources": sources}, BlendConfig, "test"))
    assert words in str(caught.value)
    assert not list(tmp_path.glob(".out*")) and not (tmp_path / "out").exists()


HUB = """
import json, os, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT, DATA = "c" * 40, Path(sys.argv[1]).read_bytes()

class Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments): pass

    def reply(self, body, status=200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self):
        path = self.path.partition("?")[0]
        if path in ("/api/datasets/o/sums/revision/main", f"/api/datasets/o/sums/revision/{COMMIT}"):
            files = [{"rfilename": "train.parquet"}]
            self.reply(json.dumps({"id": "o/sums", "sha": COMMIT, "siblings": files}).encode())
        elif path == f"/api/datasets/o/sums/tree/{COMMIT}":
            self.reply(json.dumps([{"type": "file", "oid": "1", "size": len(DATA), "path": "train.parquet"}]).encode())
        elif path.endswith(f"/resolve/{COMMIT}/train.parquet"):
            first, last = self.headers.get("Range", f"bytes=0-{len(DATA) - 1}").partition("=")[2].split("-")
            part = DATA[int(first) : int(last) + 1]
            self.reply(part, 206, Content_Range=f"bytes {first}-{last}/{len(DATA)}", ETag='"1"', X_Repo_Commit=COMMIT)
        else:
            self.reply(b"{}", 404, X_Error_Code="EntryNotFound" if COMMIT in path else "RepoNotFound")

    do_HEAD = do_GET

server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{server.server_port}"
from gristmill.cli import main
sys.exit(main(["blend", *sys.argv[2:]]))
"""


def test_a_source_may_be_a_hub_dataset_at_a_revision(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    data = write(tmp_path / "data.parquet", (record(n) for n in range(12)))
    config = {"out": "out", "total": 10, "sources": [{"name": "hub", "path": "hf://o/sums@main", "weight": 1}]}
    (tmp_path / "blend.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "hub.py").write_text(HUB)

    def run(*overrides: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "hub.py", str(data), "blend.yaml", *overrides]
        home = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0"}
        return subprocess.run(
            command, cwd=tmp_path, env={**os.environ, **home}, capture_output=True, text=True, timeout=120
        )

    done = run()
    assert done.returncode == 0, done.stderr
    manifest = orjson.loads((tmp_path / "out/manifest.json").read_bytes())
    assert manifest["sources"][0]["inputs"] == [{"path": "hf://o/sums", "sha256": None, "revision": "c" * 40}]
    assert manifest["sources"][0]["rows_read"] == 12
    unknown = run("sources.hub.path=hf://o/other@main")
    assert unknown.returncode == 2 and "hf://o/other@main is not on the hub" in unknown.stderr


# ---- gates


def test_exact_duplicates_are_kept_once_and_the_first_source_wins(tmp_path: Path) -> None:
    def call(identity: str) -> Record:
        made = ToolCall(id=identity, function=Function(name="f", arguments="{}"))
        return Record(messages=[user("Go"), assistant(tool_calls=[made])])

    def traced(trace: str) -> Record:
        return Record(messages=[user("Why?"), assistant("So.", reasoning=trace)])

    first = [Record(messages=[user("Caf\u00e9  au\nlait?"), assistant("Yes")]), call("1"), traced("because")]
    second = [
        Record(messages=[user(" cafe\u0301 au lait?"), assistant("yes")]),  # case, blanks, composition
        call("2"),  # the identity of a call is chance
        traced("because"),
        traced("as it is"),  # another trace is another sample
        Record(messages=[user("Caf\u00e9 au lait?"), assistant("No")]),
        Record(messages=[user("Caf\u00e9 au lait?"), assistant("No")], metadata={"again": True}),
    ]
    sources = [
        {"name": "b", "path": str(write(tmp_path / "b.parquet", second)), "weight": 2},
        {"name": "a", "path": str(write(tmp_path / "a.parquet", first)), "weight": 1},
    ]
    for order, kept in ((sources, {"b": 5}), (sources[::-1], {"a": 3, "b": 2})):
        blend(tmp_path, order, 5, short="shrink") if len(kept) == 2 else blend(tmp_path, order[:1], 5)
        dropped = Counter(ask(tmp_path, "SELECT source, reason FROM dropped"))
        read = {"a": 3, "b": 6}
        for name, rows in kept.items():
            assert read[name] - dropped[name, "duplicate"] == rows
    assert made_of(tmp_path, "duplicate") == {("of " + row.uuid) for row in (*first, second[4])}


def made_of(folder: Path, reason: str) -> set[str]:
    return {detail for (detail,) in ask(folder, f"SELECT detail FROM dropped WHERE reason = '{reason}'")}


def test_licenses_are_gated_before_duplicates(tmp_path: Path) -> None:
    closed = write(tmp_path / "closed.parquet", [record(1, license="proprietary"), record(2, license="")])
    free = write(tmp_path / "free.parquet", [record(1, license="CC0-1.0"), record(3, license="CC0-1.0")])
    sources = [
        {"name": "closed", "path": str(closed), "weight": 1},
        {"name": "free", "path": str(free), "weight": 1, "epochs": 2},
    ]
    with pytest.raises(ConfigError, match="source closed can give 0 of 1"):
        blend(tmp_path, sources, 2, gates={"licenses": {"allow": ["CC0-1.0"]}})
    made = blend(tmp_path, sources[1:], 2, gates={"licenses": {"allow": ["CC0-1.0"]}})
    assert [gate["gate"] for gate in made["gates"]] == ["readable", "filter", "licenses", "dedup.exact"]
    both = write(
        tmp_path / "both.parquet",
        [record(1, license="proprietary"), record(1, license="CC0-1.0"), record(2, license="")],
    )
    made = blend(
        tmp_path, [{"name": "both", "path": str(both), "weight": 1}], 1, gates={"licenses": {"allow": ["CC0-1.0"]}}
    )
    assert made["sources"][0]["unlicensed"] == 2 and made["sources"][0]["duplicates"] == 0
    assert made_of(tmp_path, "license") == {"proprietary", ""}


# ---- the folder


def test_what_fails_leaves_the_former_blend_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [{"name": "a", "path": str(write(tmp_path / "a.parquet", (record(n) for n in range(20)))), "weight": 1}]
    blend(tmp_path, sources, 20)
    former = parquet_bytes(tmp_path)

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("blends.build.write_pages", interrupt)
        with pytest.raises(KeyboardInterrupt):
            blend(tmp_path, sources, 5)
    assert parquet_bytes(tmp_path) == former and not list(tmp_path.glob(".out*"))
    (tmp_path / "out").rename(tmp_path / ".out.former")  # as if killed between the two renames,
    (tmp_path / ".out.partial/work").mkdir(parents=True)  # or before
    with pytest.raises(ConfigError):
        blend(tmp_path, sources, 21)
    assert parquet_bytes(tmp_path) == former and not list(tmp_path.glob(".out*"))
    assert ask(tmp_path, "SELECT count(*) FROM samples") == [(20,)]
    blend(tmp_path, sources, 5)
    assert ask(tmp_path, "SELECT count(*) FROM samples") == [(5,)] and not list(tmp_path.glob(".out*"))


def test_a_folder_that_is_no_blend_is_never_replaced(tmp_path: Path) -> None:
    sources = [{"name": "a", "path": str(write(tmp_path / "a.parquet", (record(n) for n in range(20)))), "weight": 1}]
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="holds something else"):
        blend(tmp_path, sources, 5)
    assert (tmp_path / "out/thesis.tex").read_text() == "years of work"


def test_two_blends_do_not_write_one_folder(tmp_path: Path) -> None:
    sources = [{"name": "a", "path": str(write(tmp_path / "a.parquet", (record(n) for n in range(20)))), "weight": 1}]
    (tmp_path / ".out.partial").mkdir()
    handle = os.open(tmp_path / ".out.partial", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        with pytest.raises(GristmillError, match="in use by another process"):
            blend(tmp_path, sources, 5)
    finally:
        os.close(handle)
    blend(tmp_path, sources, 5)


def test_card_and_report_say_what_came_out(tmp_path: Path) -> None:
    rows = [record(n, category="<b>sums</b>", license="Apache-2.0") for n in range(20)]
    sources = [{"name": "a", "path": str(write(tmp_path / "a.parquet", rows)), "weight": 1}]
    blend(tmp_path, sources, 15, release="2.1.0")
    front_matter = yaml.safe_load((tmp_path / "out/README.md").read_text().split("---\n")[1])
    assert front_matter["license"] == "apache-2.0"
    assert front_matter["configs"][0]["data_files"][0] == {"split": "train", "path": "train/*.parquet"}
    report = (tmp_path / "out/report.html").read_text()
    assert "&lt;b&gt;sums&lt;/b&gt;" in report and "<b>sums</b>" not in report
    assert "release 2.1.0" in report and "http" not in report


# ---- the command line


def test_blend_command(cli: CLI, tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", (record(n) for n in range(20)))
    (tmp_path / "blend.yaml").write_text(
        "out: out\ntotal: 10\nreasoning: {off: 0.03, low: 0.02}\nsources: [{name: a, path: a.parquet, weight: 1}]\n"
    )
    done = cli("blend", "blend.yaml", "total=12", "--out", "a: b")
    assert done.returncode == 0, done.stderr
    assert "12 in a: b (train 12, valid 0)" in done.stdout and (tmp_path / "a: b/blend.duckdb").is_file()
    assert "reasoning 0 rows lost their traces" in done.stdout and "no source is marked" in done.stdout


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("total=50", "The largest feasible total is 20. Set total: 20 or short: shrink or short: repeat."),
        ("gates.dedup.minhsh=0.8", "unknown key gates.dedup.minhsh. Did you mean minhash?"),
        ("unit=supervised_tokens", "unit: "),
        ("sources.a.weight=0", "sources.0.weight"),
        ("splits.valid=0.5", "train and valid must make 1 together"),
        ("totl=3", "Did you mean total?"),
    ],
)
def test_a_wrong_config_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], override: str, words: str
) -> None:
    source = {"name": "a", "path": str(write(tmp_path / "a.parquet", (record(n) for n in range(20)))), "weight": 1}
    (tmp_path / "blend.yaml").write_text(
        yaml.safe_dump({"out": str(tmp_path / "out"), "total": 10, "sources": [source]})
    )
    assert main(["blend", str(tmp_path / "blend.yaml"), override]) == 2
    assert words in capsys.readouterr().err and not (tmp_path / "out").exists()


CONTRACT = """
out: out/blend1
seed: 0
total: 10000
unit: rows
sources:
  - {name: sql, path: runs/text_to_sql, weight: 36, cap: 3000, epochs: 1, filter: "category = 'advanced'"}
  - {name: chat, path: "hf://NAME@REVISION", weight: 23}
short: error
gates:
  dedup: {exact: true, minhash: 0.8, against: [out/blend0]}
  decontaminate: {against: [humaneval.jsonl], ngram: 13, similarity: 0.8}
  licenses: {allow: [MIT]}
models: {embedder: {endpoint: embedded}}
reasoning: {off: 0.03, low: 0.02}
splits: {train: 0.98, valid: 0.02}
release: 1.0.0
executor: {kind: local}
"""


def test_the_documented_config_is_one(tmp_path: Path) -> None:
    (tmp_path / "blend.yaml").write_text(CONTRACT)
    config = load_config(tmp_path / "blend.yaml", ["reasoning.low=0.05"], BlendConfig)
    assert (config.reasoning.off, config.reasoning.low) == (0.03, 0.05)
    assert config.gates.dedup.against == ["out/blend0"] and config.executor.kind == "local"


def test_the_bundled_recipes_are_valid() -> None:
    recipes = sorted((ROOT / "recipes/blend").glob("*.yaml"))
    assert recipes
    for path in recipes:
        load_config(path, [], BlendConfig)
