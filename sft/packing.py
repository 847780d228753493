"""Packs: sequences of one stage put together into rows of at most `pack_tokens` tokens. One row:

    input_ids     list<int32>   [5, 9, 9, 2,  5, 7, 2]     two sequences, of 4 and 3 tokens
    loss_mask     list<uint8>   [0, 1, 1, 0,  0, 1, 0]     1 where the next token is supervised and in the same sequence
    seq_start_id  list<int32>   [0, 4]
    uuids         list<string>  ["3f...", "a0..."]         the record that each sequence comes from

The first three columns are what Megatron-Bridge's packed-parquet dataset reads. The plan is best-fit decreasing on the
histogram of lengths: packs with equal room are handled together, so the cost grows with the number of distinct lengths
and rooms, not with the number of sequences. The sequences wait on disk (see sft/shards.py).
"""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gristmill.render import Mask, TokenIds
from sft.documents import Document
from sft.shards import OverLong, Shards, ShardSummary, lists, write_shard

PACKS = pa.schema(
    [
        ("input_ids", pa.list_(pa.int32())),
        ("loss_mask", pa.list_(pa.uint8())),
        ("seq_start_id", pa.list_(pa.int32())),
        ("uuids", pa.list_(pa.string())),
    ]
)
ROW_GROUP_TOKENS = 2**18  # what one must read to see one pack, if that isn't longer
FILE_TOKENS = 2**27


class Pack(NamedTuple):
    """One row of the packs, as in the module's docstring."""

    input_ids: TokenIds
    loss_mask: Mask
    seq_start_id: NDArray[np.int32]
    uuids: list[str]


class PackSummary(ShardSummary):
    """What became of a stage's rows. `utilisation` is tokens / (packs x pack_tokens)."""

    packs: int = 0
    utilisation: float = 0.0


class PackPlan(NamedTuple):
    """`sequences[starts[i] : starts[i + 1]]` are the indices of the sequences in pack i."""

    sequences: NDArray[np.int64]
    starts: NDArray[np.int64]


def plan_packs(lengths: NDArray[np.int64], pack_tokens: int, seed: int, packing: bool = True) -> PackPlan:
    """Best-fit decreasing; the order of the packs, and of sequences of equal length, is drawn from `seed`.

    ValueError where a length isn't within 1..pack_tokens."""
    if len(lengths) and not 1 <= lengths.min() <= lengths.max() <= pack_tokens:
        raise ValueError(f"lengths of {lengths.min()} to {lengths.max()} tokens don't fit packs of {pack_tokens}")
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(lengths))
    if not packing:
        return PackPlan(shuffled, np.arange(len(lengths) + 1))
    longest_first = shuffled[np.argsort(-lengths[shuffled], kind="stable")]
    pack_of, packs = _best_fit(lengths, pack_tokens)
    place = rng.permutation(packs)[pack_of]
    starts = np.concatenate([[0], np.cumsum(np.bincount(place, minlength=packs))])
    return PackPlan(longest_first[np.argsort(place, kind="stable")], starts)


def _best_fit(lengths: NDArray[np.int64], pack_tokens: int) -> tuple[NDArray[np.int64], int]:
    """(the pack of each sequence, longest first; the number of packs).

    A *range* is consecutive packs with equal room. As long as sequences of one length are left, the range with the
    tightest room that takes one gets as many as fit into each of its packs: what one-by-one best fit does, since a pack
    that has just taken a sequence is the tightest of all as long as another one fits.
    """
    values, counts = np.unique(lengths, return_counts=True)
    ranges: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)  # room -> (first pack, packs)
    rooms: list[int] = []  # the keys of `ranges`, sorted
    steps: list[tuple[int, int, int]] = []  # (first pack, packs, sequences into each of them)
    opened = 0

    def release(room: int, first: int, packs: int) -> None:
        if room and packs:
            if room not in ranges:
                insort(rooms, room)
            ranges[room].append((first, packs))

    for length, count in zip(values[::-1].tolist(), counts[::-1].tolist(), strict=True):
        left = count
        while left:
            tightest = bisect_left(rooms, length)
            if tightest < len(rooms):
                room = rooms[tightest]
                first, packs = ranges[room].pop()
                if not ranges[room]:
                    del ranges[room], rooms[tightest]
            else:
                room, first = pack_tokens, opened
                packs = -(-left // (pack_tokens // length))
                opened += packs
            each = min(room // length, left)
            filled = min(packs, left // each)
            steps.append((first, filled, each))
            release(room - each * length, first, filled)
            release(room, first + filled, packs - filled)
            left -= filled * each
    if not steps:
        return np.empty(0, np.int64), 0
    firsts, filled_packs, per_pack = np.array(steps, np.int64).T
    taken = filled_packs * per_pack
    within_step = np.arange(len(lengths)) - np.repeat(np.cumsum(taken) - taken, taken)
    return np.repeat(firsts, taken) + within_step // np.repeat(per_pack, taken), opened


def write_packs(
    documents: Iterable[Document],
    folder: Path,
    *,
    pack_tokens: int,
    seed: int,
    packing: bool = True,
    over_long: OverLong = "drop",
) -> PackSummary:
    """Packs the documents into `folder`/*.parquet. ConfigError for an over-long one where `over_long` is error."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as scratch:
        shard = Path(scratch) / "sequences.arrow"
        write_shard(documents, shard, pack_tokens, over_long, ShardSummary())
        return pack_shards([shard], folder, pack_tokens=pack_tokens, seed=seed, packing=packing)


def pack_shards(
    paths: Iterable[Path], folder: Path, *, pack_tokens: int, seed: int, packing: bool = True
) -> PackSummary:
    """Packs what the shards hold into `folder`/*.parquet."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = Shards(paths)
    plan = plan_packs(shards.lengths, pack_tokens, seed, packing)
    _write(_packs(shards, plan), folder)
    packs = len(plan.starts) - 1
    utilisation = round(shards.summary.tokens / (packs * pack_tokens), 5) if packs else 0.0
    return PackSummary(**dict(shards.summary), packs=packs, utilisation=utilisation)


def _packs(shards: Shards, plan: PackPlan) -> Iterator[Pack]:
    for first, end in pairwise(plan.starts.tolist()):
        documents = list(shards.documents(plan.sequences[first:end]))
        starts = np.cumsum([0, *(len(document.input_ids) for document in documents[:-1])], dtype=np.int32)
        ids = np.concatenate([document.input_ids for document in documents])
        masks = np.concatenate([document.loss_mask for document in documents])
        yield Pack(ids, masks, starts, [document.uuid for document in documents])


def _write(packs: Iterator[Pack], folder: Path) -> None:
    """Row groups of about ROW_GROUP_TOKENS, files of about FILE_TOKENS; at least one file, if with no rows."""
    group: list[Pack] = []
    number = group_tokens = file_tokens = 0
    writer = pq.ParquetWriter(folder / "packs-00000.parquet", PACKS, compression="zstd")
    try:
        for pack in packs:
            group.append(pack)
            group_tokens += len(pack.input_ids)
            if group_tokens < ROW_GROUP_TOKENS:
                continue
            if file_tokens >= FILE_TOKENS:
                writer.close()
                number, file_tokens = number + 1, 0
                writer = pq.ParquetWriter(folder / f"packs-{number:05}.parquet", PACKS, compression="zstd")
            writer.write_table(_table(group))
            file_tokens += group_tokens
            group, group_tokens = [], 0
        if group:
            writer.write_table(_table(group))
    finally:
        writer.close()


def _table(packs: list[Pack]) -> pa.Table:
    numbers = [lists(column) for column in list(zip(*packs, strict=True))[:3]]
    return pa.table([*numbers, pa.array([pack.uuids for pack in packs], pa.list_(pa.string()))], schema=PACKS)
