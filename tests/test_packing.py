"""Packing: the plan against one-by-one best fit, how full packs are, and the packs that are written."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gristmill.errors import ConfigError
from sft.batches import PackFiles
from sft.documents import Document
from sft.packing import PACKS, PackSummary, plan_packs, write_packs
from sft.shards import Counts

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def planned(lengths: list[int], pack_tokens: int, seed: int = 0, packing: bool = True) -> list[list[int]]:
    plan = plan_packs(np.array(lengths, np.int64), pack_tokens, seed, packing)
    return [plan.sequences[a:b].tolist() for a, b in pairwise(plan.starts.tolist())]


def best_fit_decreasing(lengths: list[int], pack_tokens: int) -> list[list[int]]:
    """The textbook's, one by one: the lengths in each pack."""
    packs: list[list[int]] = []
    for length in sorted(lengths, reverse=True):
        fitting = [pack for pack in packs if sum(pack) + length <= pack_tokens]
        if fitting:
            max(fitting, key=sum).append(length)
        else:
            packs.append([length])
    return packs


LENGTHS = st.lists(st.integers(1, 40), max_size=60)


@PATIENT
@given(LENGTHS, st.integers(40, 120), st.integers(0, 5), st.booleans())
def test_each_sequence_is_in_one_pack_that_holds_it(lengths: list[int], size: int, seed: int, packing: bool) -> None:
    packs = planned(lengths, size, seed, packing)
    assert sorted(i for pack in packs for i in pack) == list(range(len(lengths)))
    assert all(0 < sum(lengths[i] for i in pack) <= size for pack in packs)
    assert packs == planned(lengths, size, seed, packing)
    if not packing:
        assert all(len(pack) == 1 for pack in packs)


@PATIENT
@given(LENGTHS, st.integers(40, 120), st.integers(0, 5))
def test_the_plan_is_best_fit_decreasing(lengths: list[int], size: int, seed: int) -> None:
    """Packs of equal room are as good as each other, so how full the packs are is all that best fit determines."""
    found = sorted(sum(lengths[i] for i in pack) for pack in planned(lengths, size, seed))
    assert found == sorted(map(sum, best_fit_decreasing(lengths, size)))


def test_the_seed_orders_packs_and_sequences_of_one_length() -> None:
    lengths = [10] * 40 + list(range(1, 30))
    first, second = planned(lengths, 50, seed=1), planned(lengths, 50, seed=2)
    assert first != second
    assert sorted(map(sorted, first)) != sorted(map(sorted, second))
    packed_sizes = [[sum(lengths[i] for i in pack) for pack in packs] for packs in (first, second)]
    assert packed_sizes[0] != packed_sizes[1]
    assert sorted(packed_sizes[0]) == sorted(packed_sizes[1])


@pytest.mark.parametrize("length", [0, 101])
def test_a_length_that_fits_no_pack_is_an_error(length: int) -> None:
    with pytest.raises(ValueError, match="don't fit packs of 100"):
        planned([5, length], 100)


def realistic_lengths(conversations: int, pack_tokens: int) -> NDArray[np.int64]:
    """A third agents' trajectories, two thirds chat and reasoning, a few long contexts, as far as they fit."""
    rng = np.random.default_rng(0)
    kind = rng.random(conversations)
    agents, chat = rng.lognormal(np.log(6000), 0.8, conversations), rng.lognormal(np.log(1200), 1.0, conversations)
    long_context = rng.uniform(pack_tokens / 4, pack_tokens, conversations)
    drawn = np.where(kind < 0.36, agents, np.where(kind < 0.98, chat, long_context))
    clipped: NDArray[np.int64] = np.clip(drawn, 16, pack_tokens).astype(np.int64)
    return clipped


@pytest.mark.parametrize("pack_tokens", [4096, 65536, 262144, 524288])
def test_packs_are_full(pack_tokens: int) -> None:
    lengths = realistic_lengths(1_000_000, pack_tokens)
    plan = plan_packs(lengths, pack_tokens, seed=0)
    assert lengths.sum() / ((len(plan.starts) - 1) * pack_tokens) >= 0.999


# --- what is written


@st.composite
def documents(draw: st.DrawFn, longest: int = 60) -> list[Document]:
    found = []
    for number in range(draw(st.integers(0, 25))):
        mask = np.array(draw(st.lists(st.integers(0, 1), min_size=1, max_size=longest)), np.uint8)
        mask[-1] = 0
        ids = np.arange(len(mask), dtype=np.int32) + 1000 * number
        found.append(Document(f"u{number}", ids, mask, draw(st.sampled_from(["sql", "chat"]))))
    return found


def rows(folder: Path) -> list[dict[str, Any]]:
    tables = [pq.read_table(path) for path in sorted(folder.glob("*.parquet"))]
    assert all(table.schema.equals(PACKS) for table in tables)
    return [row for table in tables for row in table.to_pylist()]


def unpacked(folder: Path) -> list[tuple[str, list[int], list[int]]]:
    """(uuid, ids, mask) of each sequence in the packs."""
    found = []
    for row in rows(folder):
        bounds = [*row["seq_start_id"], len(row["input_ids"])]
        assert bounds[0] == 0
        assert len(row["uuids"]) == len(row["seq_start_id"])
        assert len(row["loss_mask"]) == len(row["input_ids"])
        for uuid, (a, b) in zip(row["uuids"], pairwise(bounds), strict=True):
            found.append((uuid, row["input_ids"][a:b], row["loss_mask"][a:b]))
    return found


def as_lists(document: Document) -> tuple[str, list[int], list[int]]:
    return document.uuid, document.input_ids.tolist(), document.loss_mask.tolist()


@PATIENT
@given(given_documents=documents(), packing=st.booleans(), size=st.integers(60, 200))
def test_what_goes_in_comes_out(
    tmp_path_factory: pytest.TempPathFactory, given_documents: list[Document], packing: bool, size: int
) -> None:
    folder = tmp_path_factory.mktemp("packs")
    summary = write_packs(given_documents, folder, pack_tokens=size, seed=3, packing=packing)
    written = unpacked(folder)
    trained = [document for document in given_documents if document.loss_mask.any()]
    assert sorted(written) == sorted(map(as_lists, trained))
    assert all(len(row["input_ids"]) <= size for row in rows(folder))
    assert summary.without_output == [d.uuid for d in given_documents if not d.loss_mask.any()]
    assert summary.tokens == sum(len(d.input_ids) for d in trained)
    assert summary.supervised_tokens == sum(int(d.loss_mask.sum()) for d in trained)
    assert summary.longest == max((len(d.input_ids) for d in trained), default=0)
    assert (summary.sequences, summary.packs) == (len(trained), len(rows(folder)))
    assert sum(counts.tokens for counts in summary.by_category.values()) == summary.tokens
    assert not [path for path in folder.iterdir() if path.suffix != ".parquet"]


@PATIENT
@given(given_documents=documents(), size=st.integers(2, 30))
def test_splitting_keeps_every_target(
    tmp_path_factory: pytest.TempPathFactory, given_documents: list[Document], size: int
) -> None:
    """A target is a supervised token and the token before it; the documents' tokens are all different."""
    folder = tmp_path_factory.mktemp("packs")
    summary = write_packs(given_documents, folder, pack_tokens=size, seed=0, over_long="split")

    def targets(ids: list[int], mask: list[int]) -> list[tuple[int, int]]:
        assert mask[-1] == 0
        return [(token, following) for (token, following), flag in zip(pairwise(ids), mask[:-1], strict=True) if flag]

    written = [target for _, ids, mask in unpacked(folder) for target in targets(ids, mask)]
    expected = [target for document in given_documents for target in targets(*as_lists(document)[1:])]
    assert sorted(written) == sorted(expected)
    assert summary.supervised_tokens == len(expected)
    trained = [d for d in given_documents if d.loss_mask.any()]
    assert summary.over_long == [d.uuid for d in trained if len(d.input_ids) > size]


def document(uuid: str, length: int) -> Document:
    mask = np.ones(length, np.uint8)
    mask[-1] = 0
    return Document(uuid, np.arange(length, dtype=np.int32), mask, "chat")


def test_packs_that_are_gone_or_damaged_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{tmp_path}: the packs are gone"):
        PackFiles(tmp_path)
    write_packs([], tmp_path, pack_tokens=8, seed=0)
    with pytest.raises(ConfigError, match="the packs are gone"):
        PackFiles(tmp_path)
    (tmp_path / "packs-00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(ConfigError, match=r"packs-00000\.parquet: can't be read as parquet"):
        PackFiles(tmp_path)


def test_over_long_is_dropped_and_listed_or_an_error(tmp_path: Path) -> None:
    given_documents = [document("short", 10), document("long", 11)]
    summary = write_packs(given_documents, tmp_path / "drop", pack_tokens=10, seed=0)
    assert summary == PackSummary(
        sequences=1,
        tokens=10,
        supervised_tokens=9,
        packs=1,
        utilisation=1.0,
        over_long=["long"],
        by_category={"chat": Counts(sequences=1, tokens=10, supervised_tokens=9)},
    )
    with pytest.raises(ConfigError, match=r"conversation long has 11 tokens and data\.pack_tokens is 10"):
        write_packs(given_documents, tmp_path / "error", pack_tokens=10, seed=0, over_long="error")


def test_many_sequences_make_row_groups_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sft.packing.ROW_GROUP_TOKENS", 100)
    monkeypatch.setattr("sft.packing.FILE_TOKENS", 1000)
    given_documents = [document(f"u{i}", 5 + i % 30) for i in range(300)]
    write_packs(given_documents, tmp_path, pack_tokens=64, seed=0)
    paths = sorted(tmp_path.glob("*.parquet"))
    assert len(paths) > 3
    assert all(pq.read_metadata(path).num_row_groups > 3 for path in paths[:-1])
    assert sorted(unpacked(tmp_path)) == sorted(map(as_lists, given_documents))


MANY = """
import sys, tracemalloc
from pathlib import Path
import numpy as np, pyarrow as pa
from sft.documents import Document; from sft.packing import write_packs
ids, mask = np.arange(20_000, dtype=np.int32), np.ones(20_000, np.uint8)
tracemalloc.start()
write_packs((Document(str(i), ids.copy(), mask) for i in range(2000)), Path(sys.argv[1]), pack_tokens=65536, seed=0)
print(tracemalloc.get_traced_memory()[1], pa.default_memory_pool().max_memory())
"""


def test_memory_is_bounded(tmp_path: Path) -> None:
    """200 MB of ids and masks pass through; neither numpy nor Arrow ever holds much of them."""
    done = subprocess.run([sys.executable, "-c", MANY, str(tmp_path)], capture_output=True, text=True, check=True)
    assert all(int(peak) < 40_000_000 for peak in done.stdout.split())
