"""Packs: sequences of one stage put together into rows of at most `pack_tokens` tokens. One row:

    input_ids     list<int32>   [5, 9, 9, 2,  5, 7, 2]     two sequences, of 4 and 3 tokens
    loss_mask     list<uint8>   [0, 1, 1, 0,  0, 1, 0]     1 where the next token is supervised and in the same sequence
    seq_start_id  list<int32>   [0, 4]
    uuids         list<string>  ["3f...", "a0..."]         the record that each sequence comes from

The first three columns are what Megatron-Bridge's packed-parquet dataset reads. The plan is best-fit decreasing on the
histogram of lengths: packs with equal room are handled together, so the cost grows with the number of distinct lengths
and rooms, not with the number of sequences. Sequences wait on disk, in an Arrow file; only their lengths are in memory.
"""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gristmill.errors import ConfigError
from gristmill.render import Mask, TokenIds
from schemas import Data

PACKS = pa.schema(
    [
        ("input_ids", pa.list_(pa.int32())),
        ("loss_mask", pa.list_(pa.uint8())),
        ("seq_start_id", pa.list_(pa.int32())),
        ("uuids", pa.list_(pa.string())),
    ]
)
WAITING = pa.schema([("input_ids", pa.list_(pa.int32())), ("loss_mask", pa.list_(pa.uint8())), ("uuid", pa.string())])
ROW_GROUP_TOKENS = 2**18  # what one must read to see one pack, if that isn't longer
FILE_TOKENS = 2**27

OverLong = Literal["drop", "split", "error"]


class Document(NamedTuple):
    """One sequence of a record. `loss_mask[t]` is 1 where token t + 1 is supervised; the last is 0."""

    uuid: str
    input_ids: TokenIds
    loss_mask: Mask
    category: str = ""


class Pack(NamedTuple):
    """One row of the packs, as in the module's docstring."""

    input_ids: TokenIds
    loss_mask: Mask
    seq_start_id: NDArray[np.int32]
    uuids: list[str]


class Counts(Data):
    sequences: int = 0
    tokens: int = 0
    supervised_tokens: int = 0

    def add(self, mask: Mask) -> None:
        self.sequences += 1
        self.tokens += len(mask)
        self.supervised_tokens += int(mask.sum())


class PackSummary(Counts):
    """What became of the documents. `utilisation` is tokens / (packs x pack_tokens)."""

    packs: int = 0
    utilisation: float = 0.0
    over_long: list[str] = []  # one uuid for each sequence longer than a pack, dropped or split
    split_left_out: int = 0  # pieces of split sequences that hold no output
    without_output: list[str] = []  # one uuid for each sequence that supervises nothing, left out
    by_category: dict[str, Counts] = {}


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
    summary = PackSummary()
    with TemporaryDirectory(dir=folder) as scratch:
        waiting = _WaitingRoom(Path(scratch) / "sequences.arrow")
        for document in documents:
            for ids, mask in _fitted(document, pack_tokens, over_long, summary):
                waiting.add(ids, mask, document.uuid)
                summary.add(mask)
                summary.by_category.setdefault(document.category, Counts()).add(mask)
        lengths = waiting.close()
        plan = plan_packs(lengths, pack_tokens, seed, packing)
        _write(waiting.packs(plan), folder)
    summary.packs = len(plan.starts) - 1
    summary.utilisation = round(summary.tokens / (summary.packs * pack_tokens), 5) if summary.packs else 0.0
    return summary


def _fitted(
    document: Document, pack_tokens: int, over_long: OverLong, summary: PackSummary
) -> Iterator[tuple[TokenIds, Mask]]:
    """The document as (ids, loss mask) that fit a pack and hold output; what is left out goes into `summary`.

    A split document's pieces overlap by one token, so that the first token of each but the first is a target too.
    """
    ids, mask = document.input_ids, document.loss_mask
    if not mask.any():
        summary.without_output.append(document.uuid)
    elif len(ids) <= pack_tokens:
        yield ids, mask
    elif over_long == "error":
        raise ConfigError(
            f"conversation {document.uuid} has {len(ids)} tokens and data.pack_tokens is {pack_tokens}; "
            "raise it, or set data.over_long to drop or split."
        )
    else:
        summary.over_long.append(document.uuid)
        if over_long == "split":
            for start in range(0, len(ids) - 1, max(pack_tokens - 1, 1)):
                piece = mask[start : start + pack_tokens].copy()
                piece[-1] = 0
                if piece.any():
                    yield ids[start : start + pack_tokens], piece
                else:
                    summary.split_left_out += 1


class _WaitingRoom:
    """Sequences on disk between rendering and packing, in an Arrow file that is read through a memory map."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lengths: list[NDArray[np.int64]] = []
        self.rows: list[tuple[TokenIds, Mask, str]] = []
        self.tokens = 0
        self.writer = pa.ipc.new_file(str(path), WAITING)

    def add(self, ids: TokenIds, mask: Mask, uuid: str) -> None:
        self.rows.append((ids, mask, uuid))
        self.tokens += len(ids)
        if self.tokens >= ROW_GROUP_TOKENS:
            self._flush()

    def _flush(self) -> None:
        ids, masks, uuids = ([row[column] for row in self.rows] for column in range(3))
        self.writer.write_batch(pa.record_batch([_lists(ids), _lists(masks), pa.array(uuids)], schema=WAITING))
        self.lengths.append(np.array([len(row) for row in ids], np.int64))
        self.rows, self.tokens = [], 0

    def close(self) -> NDArray[np.int64]:
        """Ends writing; the length of each sequence."""
        if self.rows:
            self._flush()
        self.writer.close()
        return np.concatenate([np.empty(0, np.int64), *self.lengths])

    def packs(self, plan: PackPlan) -> Iterator[Pack]:
        with pa.memory_map(str(self.path)) as source:
            reader = pa.ipc.open_file(source)
            batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
            columns = [(_flat(b.column(0)), _flat(b.column(1)), b.column(2)) for b in batches]
            ends = np.cumsum([b.num_rows for b in batches])
            batch_of = np.searchsorted(ends, plan.sequences, side="right")
            row_of = plan.sequences - (ends - [b.num_rows for b in batches])[batch_of]
            for first, end in zip(plan.starts[:-1].tolist(), plan.starts[1:].tolist(), strict=True):
                places = zip(batch_of[first:end].tolist(), row_of[first:end].tolist(), strict=True)
                parts = [(_row(columns[b][0], r), _row(columns[b][1], r), columns[b][2][r].as_py()) for b, r in places]
                ids, masks, uuids = zip(*parts, strict=True)
                starts = np.cumsum([0, *(len(part) for part in ids[:-1])], dtype=np.int32)
                yield Pack(np.concatenate(ids), np.concatenate(masks), starts, list(uuids))


def _lists(arrays: list[Any]) -> pa.Array:
    offsets = np.cumsum([0, *(len(array) for array in arrays)], dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, np.concatenate(arrays))


def _flat(column: pa.Array) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """A list column as (values, offsets), without a copy."""
    return column.values.to_numpy(), column.offsets.to_numpy()


def _row(column: tuple[NDArray[Any], NDArray[np.int32]], row: int) -> NDArray[Any]:
    values, offsets = column
    return values[offsets[row] : offsets[row + 1]]


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
    numbers = [_lists([pack[column] for pack in packs]) for column in range(3)]
    return pa.table([*numbers, pa.array([pack.uuids for pack in packs], pa.list_(pa.string()))], schema=PACKS)
