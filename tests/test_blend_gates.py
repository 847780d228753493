"""The gates of a blend beyond exact duplicates: near and semantic ones, licences, languages, lengths, personal data."""

import random
from collections import Counter
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from blends.near import losers
from blends.pii import found_in, mask_row, masked
from blends.semantic import nearest_staying
from blends.shingles import END, band_keys, bands_for, similarities
from gristmill.errors import ConfigError
from schemas import Record, Verdict, assistant, system, user
from schemas.arrow import record_to_row
from schemas.blend_config import PIIKind
from schemas.messages import Function, ToolCall
from schemas.records import Provenance
from tests.blending import ask, blend, parquet_bytes, record, write

WORDS = ["amber", "copper", "harbour", "lantern", "meadow", "orchard", "pebble", "quarry", "river", "saddle", "timber"]
KINDS: list[PIIKind] = ["email", "phone", "card", "key"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRISTMILL_CACHE", str(tmp_path / "cache"))


def prose(rng: random.Random, words: int = 90) -> str:
    return " ".join(f"{rng.choice(WORDS)}{rng.randrange(1000)}" for _ in range(words))


def changed(rng: random.Random, text: str, share: float = 0.02) -> str:
    words = text.split()
    for place in rng.sample(range(len(words)), max(1, round(share * len(words)))):
        words[place] = f"changed{rng.randrange(10_000)}"
    return " ".join(words)


def answered(text: str, score: float | None = None, **fields: Any) -> Record:
    verdicts = [Verdict(name="rubric", passed=True, score=score)] if score is not None else []
    question, _, answer = text.partition(" ")
    return Record(messages=[user(question), assistant(answer)], verdicts=verdicts, generator="g", **fields)


def source(folder: Path, name: str, records: list[Record], **more: Any) -> dict[str, Any]:
    return {"name": name, "path": str(write(folder / f"{name}.parquet", records)), "weight": 1, **more}


def reasons(folder: Path) -> dict[str, int]:
    return dict(Counter(reason for (reason,) in ask(folder, "SELECT reason FROM dropped")))


# ---- shingles and candidates


def shingles(text: str) -> set[bytes]:
    joined = text.encode() + END.encode()
    return {joined[place : place + 5] for place in range(len(joined) - 4)}


@given(st.lists(st.text(min_size=5, max_size=60), min_size=2, max_size=8))
def test_similarities_are_jaccard_similarities(texts: list[str]) -> None:
    pairs = [(a, b) for a in range(len(texts)) for b in range(a)]
    first, second = (np.array(side, np.int64) for side in zip(*pairs, strict=True))
    found = similarities(pa.array([text + END for text in texts]), first, second)
    for (a, b), similarity in zip(pairs, found, strict=True):
        one, other = shingles(texts[a]), shingles(texts[b])
        expected = len(one & other) / len(one | other)
        assert similarity == pytest.approx(expected, abs=1.5 / len(one | other))  # the mark at the end is one more


def test_bands_find_pairs_at_the_threshold_and_few_below() -> None:
    rng = random.Random(0)
    texts = [prose(rng) for _ in range(400)]
    copies = [changed(rng, text, share) for text, share in zip(texts, [0.02, 0.05, 0.3, 0.6] * 100, strict=True)]
    keys = [band_keys(pa.array([text + END for text in side]), bands_for(0.8)) for side in (texts, copies)]
    met = (keys[0] == keys[1]).any(axis=1).reshape(-1, 4).mean(axis=0)
    assert met[0] == met[1] == 1.0 and met[3] < 0.1
    assert not (keys[0][:-1] == keys[0][1:]).any()


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.5, 0.8, 0.95, 1.0])
def test_bands_fit_their_threshold(threshold: float) -> None:
    bands = bands_for(threshold)
    assert 1 <= bands.bands * bands.rows <= 128
    recall = 1 - (1 - threshold**bands.rows) ** bands.bands
    assert recall > 0.99


@given(st.integers(1, 20).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2)))))
def test_what_stays_has_no_better_neighbour_and_what_goes_has_one(case: tuple[int, list[tuple[int, int]]]) -> None:
    count, drawn = case
    pairs = [(min(pair), max(pair)) for pair in drawn if pair[0] != pair[1]]
    sides = np.array(pairs, np.int64).reshape(-1, 2)
    lost = losers(count, 0, sides[:, 0], sides[:, 1])
    for better, worse in pairs:
        assert lost[worse] >= 0 or lost[better] >= 0
    for row, best in enumerate(lost):
        assert best < 0 or (lost[best] < 0 and (best, row) in pairs)


# ---- near-duplicates


def test_near_duplicates_go_across_sources_and_the_better_scored_one_stays(tmp_path: Path) -> None:
    rng = random.Random(1)
    texts = [prose(rng) for _ in range(60)]
    first = [answered(text, score=1.0) for text in texts]
    second = [answered(changed(rng, text), score=float(n % 3)) for n, text in enumerate(texts[:30])]
    second += [answered(prose(rng), score=0.0) for _ in range(20)]
    made = blend(
        tmp_path, [source(tmp_path, "a", first), source(tmp_path, "b", second)], 80, short="shrink",
        gates={"dedup": {"minhash": 0.8}},
    )  # fmt: skip
    assert made["dropped"]["near_duplicate"] == 30
    assert {gate["gate"]: gate["dropped"] for gate in made["gates"]}["dedup.minhash"] == 30
    lost = dict(ask(tmp_path, "SELECT uuid, source FROM dropped WHERE reason = 'near_duplicate'"))
    for n, (one, copy) in enumerate(zip(first, second[:30], strict=False)):
        worse = one if n % 3 == 2 else copy  # scores 0, 1, 2: of equal ones the first source's stays
        assert worse.uuid in lost
    details = [detail for (detail,) in ask(tmp_path, "SELECT detail FROM dropped WHERE reason = 'near_duplicate'")]
    assert all(float(detail.split()[-2]) >= 0.8 for detail in details)


def test_prefer_says_which_near_duplicate_is_better(tmp_path: Path) -> None:
    rng = random.Random(2)
    text = prose(rng)
    rows = [answered(text, metadata={"n": 1}), answered(changed(rng, text), metadata={"n": 7})]
    rows += [answered(prose(rng), metadata={"n": 0}) for _ in range(3)]
    dedup = {"minhash": 0.8, "prefer": "(metadata ->> '$.n')::INTEGER"}
    blend(tmp_path, [source(tmp_path, "a", rows)], 4, gates={"dedup": dedup})
    assert ask(tmp_path, "SELECT uuid FROM dropped") == [(rows[0].uuid,)]
    with pytest.raises(ConfigError, match=r"its dedup\.prefer fails"):
        blend(tmp_path, [source(tmp_path, "a", rows)], 4, gates={"dedup": {"minhash": 0.8, "prefer": "nothing"}})


def test_a_chain_of_neighbours_loses_only_those_near_a_kept_row(tmp_path: Path) -> None:
    rng = random.Random(3)
    words = prose(rng, 200).split()
    chain = []
    for step in range(6):  # neighbours differ in 14 of 200 words, rows two steps apart in 28
        for place in range(14 * step, 14 * step + 14):
            words[place] = f"step{step}x{place}"
        chain.append(answered(" ".join(words), score=10.0 - step))
    blend(tmp_path, [source(tmp_path, "a", chain)], 6, short="shrink", gates={"dedup": {"minhash": 0.85}})
    kept = {uuid for (uuid,) in ask(tmp_path, "SELECT uuid FROM samples")}
    assert kept == {chain[n].uuid for n in (0, 2, 4)}
    splits = {split for (split,) in ask(tmp_path, "SELECT split FROM samples")}
    assert len(splits) == 1  # they are one cluster through the dropped ones


def test_rows_of_earlier_releases_do_not_come_again(tmp_path: Path) -> None:
    rng = random.Random(4)
    texts = [prose(rng) for _ in range(40)]
    old = [answered(text, score=0.0) for text in texts]
    blend(tmp_path / "one", [source(tmp_path, "old", old)], 40)
    new = [answered(texts[0], score=9.0), *(answered(changed(rng, text), score=9.0) for text in texts[1:20])]
    new += [answered(prose(rng)) for _ in range(15)]
    gates = {"dedup": {"minhash": 0.8, "against": [str(tmp_path / "one/out")]}}
    made = blend(tmp_path, [source(tmp_path, "new", new)], 15, gates=gates)
    assert made["dropped"] | {"duplicate": 1, "near_duplicate": 19, "not_drawn": 0} == made["dropped"]
    assert {Path(found["path"]).parent.name for found in made["against"]} == {"train", "valid"}
    details = [detail for (detail,) in ask(tmp_path, "SELECT detail FROM dropped")]
    assert all("one/out" in detail for detail in details)
    missing = {"dedup": {"against": [str(tmp_path / "nowhere")]}}
    with pytest.raises(ConfigError, match=r"gates.dedup.against: .*nowhere is no folder"):
        blend(tmp_path, [source(tmp_path, "new", new)], 15, gates=missing)


def test_near_duplicates_stay_in_one_split_also_where_no_gate_drops_them(tmp_path: Path) -> None:
    rng = random.Random(5)
    texts = [prose(rng) for _ in range(60)]
    rows = [answered(text, task_id=f"a{n}") for n, text in enumerate(texts)]
    rows += [answered("x" + changed(rng, text), task_id=f"b{n}") for n, text in enumerate(texts)]
    blend(tmp_path, [source(tmp_path, "a", rows)], 120, splits={"train": 0.5, "valid": 0.5})
    split = dict(ask(tmp_path, "SELECT uuid, split FROM samples"))
    assert all(split[one.uuid] == split[copy.uuid] for one, copy in zip(rows[:60], rows[60:], strict=True))
    assert Counter(split.values()) == {"train": 60, "valid": 60}


def test_the_order_of_rows_changes_nothing(tmp_path: Path) -> None:
    rng = random.Random(6)
    texts = [prose(rng) for _ in range(40)]
    rows = [answered(text) for text in texts] + [answered(changed(rng, text)) for text in texts * 2]
    results = []
    for order in (rows, rows[::-1]):
        blend(tmp_path, [source(tmp_path, "a", order)], 30, gates={"dedup": {"minhash": 0.8}})
        results.append(parquet_bytes(tmp_path))
    assert results[0] == results[1]


def test_other_weights_compare_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(7)
    texts = [prose(rng) for _ in range(40)]
    sources = [
        source(tmp_path, "a", [answered(text) for text in texts]),
        source(tmp_path, "b", [answered(changed(rng, text)) for text in texts[:20]] + [answered(prose(rng))]),
    ]
    gates = {"dedup": {"minhash": 0.8}}
    blend(tmp_path, sources, 20, short="shrink", gates=gates)

    def never(*arguments: object) -> None:
        raise AssertionError("compared again")

    monkeypatch.setattr("blends.gates.find_near", never)
    made = blend(tmp_path, [{**sources[0], "weight": 5}, sources[1]], 6, seed=3, gates=gates)
    assert [row["rows"] for row in made["sources"]] == [5, 1] and made["dropped"]["near_duplicate"] == 20
    with pytest.raises(AssertionError, match="compared again"):
        blend(tmp_path, sources, 20, short="shrink", gates={"dedup": {"minhash": 0.7}})


@pytest.mark.embedder
def test_semantic_duplicates_go(tmp_path: Path) -> None:
    texts = [
        ("How do I boil an egg?", "Put it into boiling water for eight minutes."),
        ("What is the way to boil an egg?", "Put the egg in boiling water for about eight minutes."),
        ("Who wrote Faust?", "Johann Wolfgang von Goethe wrote it."),
        ("How far is the moon?", "About 384,000 kilometres."),
    ]
    rows = [Record(messages=[user(question), assistant(answer)]) for question, answer in texts]
    made = blend(
        tmp_path, [source(tmp_path, "a", rows)], 3, gates={"dedup": {"semantic": 0.85}},
        models={"embedder": {"endpoint": "embedded"}},
    )  # fmt: skip
    assert made["dropped"]["near_duplicate"] == 1 and made["gates"][-1]["gate"] == "dedup.semantic"
    assert {uuid for (uuid,) in ask(tmp_path, "SELECT uuid FROM dropped")} <= {rows[0].uuid, rows[1].uuid}


@given(
    st.lists(st.tuples(*[st.integers(-3, 3)] * 3).filter(any), max_size=40),
    st.integers(0, 40),
    st.sampled_from([0.5, 0.9, 0.999]),
    st.sampled_from([1, 7, 64]),
)
def test_semantic_losses_are_those_of_all_pairs_whatever_the_blocks(
    rows: list[tuple[int, ...]], earlier: int, threshold: float, block: int
) -> None:
    vectors = np.array(rows, np.float32).reshape(-1, 3)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    earlier = min(earlier, len(rows))
    alike = vectors @ vectors.T
    assume(not np.any(np.abs(alike - threshold) < 1e-5))
    first, second = np.nonzero(np.triu(alike >= threshold, 1))
    with patch("blends.semantic.BLOCK", block):
        best, similarity = nearest_staying(vectors.__getitem__, len(rows), earlier, threshold, lambda done: None)
    assert best.tolist() == losers(len(rows), earlier, first, second).tolist()
    lost = np.flatnonzero(best >= 0)
    assert np.allclose(similarity[lost], alike[best[lost], lost], atol=1e-6)


# ---- licences, languages, lengths


def test_licences_of_teachers_and_seeds_count(tmp_path: Path) -> None:
    def taught(number: int, **licenses: str) -> Record:
        return record(number, license="CC-BY-4.0", provenance=Provenance(licenses=licenses))

    rows = [taught(1), taught(2, writer="Apache-2.0"), taught(3, writer="Llama 3.1"), taught(4, seeds="CC-BY-NC-4.0")]
    gates = {"licenses": {"allow": ["CC-BY-4.0", "Apache-2.0"]}}
    made = blend(tmp_path, [source(tmp_path, "a", rows)], 2, gates=gates)
    assert made["dropped"]["license"] == 2
    assert {detail for (detail,) in ask(tmp_path, "SELECT detail FROM dropped")} == {"Llama 3.1", "CC-BY-NC-4.0"}
    with pytest.raises(ConfigError, match=r"source a can give 2 of 3\b.* Left out before: license 2\.$"):
        blend(tmp_path, [source(tmp_path, "a", rows)], 3, gates=gates)


def test_a_source_may_state_the_licence_of_its_rows(tmp_path: Path) -> None:
    rows = [record(1, license=""), record(2, license="MIT"), record(3, license="")]
    gates = {"licenses": {"allow": ["ODC-BY"]}}
    blend(tmp_path, [source(tmp_path, "a", rows, license="ODC-BY")], 2, gates=gates)
    assert ask(tmp_path, "SELECT DISTINCT license FROM samples") == [("ODC-BY",)]
    assert ask(tmp_path, "SELECT reason, detail FROM dropped") == [("license", "MIT")]


def test_answers_in_other_languages_go_and_code_is_in_none(tmp_path: Path) -> None:
    pytest.importorskip("py3langid")
    answers = [
        "The harbour was quiet in the morning, and nobody was on the pier yet.",
        "Das Meer war am Morgen ruhig, und niemand stand schon auf dem Steg.",
        "```python\nfor zahl in zahlen_und_worte_der_woche:\n    print(zahl)\n```",
        "42",
    ]
    rows = [Record(messages=[user(f"Question {n}?"), assistant(answer)]) for n, answer in enumerate(answers)]
    made = blend(tmp_path, [source(tmp_path, "a", rows)], 3, gates={"languages": {"allow": ["en"]}})
    assert made["dropped"]["language"] == 1
    assert ask(tmp_path, "SELECT uuid, split_part(detail, ' ', 1) FROM dropped") == [(rows[1].uuid, "de")]
    with pytest.raises(ConfigError, match="no such language: english"):
        blend(tmp_path, [source(tmp_path, "a", rows)], 3, gates={"languages": {"allow": ["english"]}})


def test_lengths_have_limits(tmp_path: Path) -> None:
    rows = [Record(messages=[user("q" * n), assistant("a")] * turns) for n, turns in ((1, 1), (20, 1), (90, 1), (6, 3))]
    gates = {"length": {"min_characters": 10, "max_characters": 80, "max_turns": 4}}
    made = blend(tmp_path, [source(tmp_path, "a", rows)], 1, gates=gates)
    assert made["dropped"]["length"] == 3
    assert ask(tmp_path, "SELECT uuid FROM samples") == [(rows[1].uuid,)]


# ---- personal data


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("Write to ana.b+c@firm.co.uk, please.", ["email"]),
        ("Write to ana@example.com or root@localhost.", []),
        ("Call +49 (0)30 1234567 or (212) 664-7665 or 212-664-7665.", ["phone", "phone", "phone"]),
        ("Call 212-555-0143.", []),  # reserved for fiction
        ("On 2024-10-11 at 192.168.100.200 we had 1,000,000 hits, 100 200 3000, build 20240101120000.", []),
        ("Card 4539 1488 0343 6467, exp 10/27", ["card"]),
        ("Card 4539 1488 0343 6468", []),  # a wrong check digit
        ("AKIAIOSFODNN7EXAMPLE and sk-" + "a1B2" * 6, ["key", "key"]),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----", ["key"]),
        ("task-force-sk-and-a-much-longer-hyphenated-word", []),
        ("f(x) = x@y.T; print(3.14159265358979)", []),
    ],
)
def test_personal_data_is_told_from_what_looks_like_it(text: str, kinds: list[str]) -> None:
    assert list(found_in(text, KINDS)) == kinds
    hidden = masked(text, KINDS)
    assert hidden.count("[") == len(kinds) + text.count("[") and (hidden == text) == (not kinds)


def test_masks_leave_json_json() -> None:
    call = ToolCall(id="1", function=Function(name="pay", arguments='{"card": 4539148803436467, "to": ["a@firm.de"]}'))
    row = record_to_row(
        Record(
            messages=[system("s"), user("I am a@firm.de"), assistant(tool_calls=[call], reasoning="mail a@firm.de")],
            metadata={"persona": {"mail": "a@firm.de", "age": 4539}},
        )
    )
    hidden = mask_row(row, KINDS)
    assert [message["content"] for message in hidden["messages"]] == ["s", "I am [EMAIL]", ""]
    assert hidden["messages"][2]["reasoning_content"] == "mail [EMAIL]"
    arguments = orjson.loads(hidden["messages"][2]["tool_calls"][0]["function"]["arguments"])
    assert arguments == {"card": "[CARD]", "to": ["[EMAIL]"]}
    assert orjson.loads(hidden["metadata"]) == {"persona": {"mail": "[EMAIL]", "age": 4539}}
    assert hidden["uuid"] == row["uuid"]


@pytest.mark.parametrize("action", ["mask", "drop"])
def test_personal_data_is_masked_or_dropped(tmp_path: Path, action: str) -> None:
    rows = [record(n, question=f"Is {n} the code of bob{n}@firm.de?" if n < 5 else None) for n in range(20)]
    gates = {"pii": {"action": action}}
    made = blend(tmp_path, [source(tmp_path, "a", rows)], 20 if action == "mask" else 15, gates=gates)
    texts = [text for (text,) in ask(tmp_path, "SELECT messages[1].content FROM samples")]
    assert sum("[EMAIL]" in text for text in texts) == (5 if action == "mask" else 0)
    assert not any("@firm" in text for text in texts)
    assert made["masked_rows"] == (5 if action == "mask" else 0)
    assert made["dropped"]["pii"] == (0 if action == "mask" else 5)
    uuids = {uuid for (uuid,) in ask(tmp_path, "SELECT uuid FROM samples")}
    assert uuids <= {row.uuid for row in rows}
