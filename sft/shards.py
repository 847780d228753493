"""Rendered sequences waiting on disk to be packed: shards of a split, each of them written whole or not at all.

    00012.arrow   input_ids list<int32>, loss_mask list<uint8>, uuid string: one row per sequence
    00012.json    what was counted in its rows; written last, so it says that the shard is complete

They are read through memory maps: of all sequences only the lengths are in memory.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.errors import ConfigError
from gristmill.render import Mask
from gristmill.runs import write_atomically
from schemas import Data
from sft.documents import Document

BATCH_TOKENS = 2**18  # of sequences that are written together
SEQUENCES = pa.schema([("input_ids", pa.list_(pa.int32())), ("loss_mask", pa.list_(pa.uint8())), ("uuid", pa.string())])

OverLong = Literal["drop", "split", "error"]


class Counts(Data):
    sequences: int = 0
    tokens: int = 0
    supervised_tokens: int = 0

    def count(self, mask: Mask) -> None:
        self.sequences += 1
        self.tokens += len(mask)
        self.supervised_tokens += int(mask.sum())

    def add(self, other: "Counts") -> None:
        self.sequences += other.sequences
        self.tokens += other.tokens
        self.supervised_tokens += other.supervised_tokens


class ShardSummary(Counts):
    """What became of the rows of a shard, or of a split."""

    conversations: int = 0  # rows read
    longest: int = 0  # tokens of the longest sequence
    unreadable: dict[str, str] = {}  # why a row can't be rendered, by uuid
    over_long: list[str] = []  # one uuid for each sequence longer than a pack, dropped or split
    split_left_out: int = 0  # pieces of split sequences that hold no output
    without_output: list[str] = []  # one uuid for each sequence that supervises nothing, left out
    by_category: dict[str, Counts] = {}

    def merge(self, other: "ShardSummary") -> None:
        self.add(other)
        self.conversations += other.conversations
        self.longest = max(self.longest, other.longest)
        self.unreadable.update(other.unreadable)
        self.over_long += other.over_long
        self.split_left_out += other.split_left_out
        self.without_output += other.without_output
        for category, counts in other.by_category.items():
            self.by_category.setdefault(category, Counts()).add(counts)


def write_shard(
    documents: Iterable[Document], path: Path, pack_tokens: int, over_long: OverLong, summary: ShardSummary
) -> None:
    """The documents that fit a pack and hold output; `summary` is filled, and written when all is done. ConfigError for
    an over-long one where `over_long` is error."""
    rows: list[Document] = []
    tokens = 0
    with pa.ipc.new_file(str(path), SEQUENCES) as writer:
        for document in documents:
            for fitting in _fitted(document, pack_tokens, over_long, summary):
                rows.append(fitting)
                tokens += len(fitting.input_ids)
                summary.count(fitting.loss_mask)
                summary.longest = max(summary.longest, len(fitting.loss_mask))
                summary.by_category.setdefault(document.category, Counts()).count(fitting.loss_mask)
            if tokens >= BATCH_TOKENS:
                writer.write_batch(_batch(rows))
                rows, tokens = [], 0
        if rows:
            writer.write_batch(_batch(rows))
    write_atomically(summary_path(path), summary.to_json())


def summary_path(path: Path) -> Path:
    return path.with_suffix(".json")


def _batch(rows: list[Document]) -> pa.RecordBatch:
    ids, masks = lists([row.input_ids for row in rows]), lists([row.loss_mask for row in rows])
    return pa.record_batch([ids, masks, pa.array([row.uuid for row in rows])], schema=SEQUENCES)


def lists(arrays: Sequence[NDArray[Any]]) -> pa.Array:
    """One list column from a numpy array per row."""
    offsets = np.cumsum([0, *map(len, arrays)], dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, np.concatenate(arrays))


def _fitted(document: Document, pack_tokens: int, over_long: OverLong, summary: ShardSummary) -> Iterator[Document]:
    """The document, or its pieces, that fit a pack and hold output; what is left out goes into `summary`.

    The pieces overlap by one token, so that the first token of each but the first is a target too.
    """
    ids, mask = document.input_ids, document.loss_mask
    if not mask.any():
        summary.without_output.append(document.uuid)
    elif len(ids) <= pack_tokens:
        yield document
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
                    yield document._replace(input_ids=ids[start : start + pack_tokens], loss_mask=piece)
                else:
                    summary.split_left_out += 1


class Shards:
    """The sequences of shards, numbered through."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.summary = ShardSummary()
        self._columns: list[tuple[_ListColumn, _ListColumn, pa.Array]] = []
        for path in paths:
            self.summary.merge(ShardSummary.from_json(summary_path(path).read_bytes()))
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
            self._columns += [(_ListColumn.of(b.column(0)), _ListColumn.of(b.column(1)), b.column(2)) for b in batches]
        lengths = [np.diff(ids.offsets) for ids, _, _ in self._columns]
        self.lengths: NDArray[np.int64] = np.concatenate([np.empty(0, np.int64), *lengths]).astype(np.int64)
        self._ends = np.cumsum([0, *map(len, lengths)])[1:]

    def documents(self, numbers: NDArray[np.int64]) -> Iterator[Document]:
        """The sequences of these numbers, without a copy."""
        batches = np.searchsorted(self._ends, numbers, side="right")
        rows = numbers - np.concatenate([[0], self._ends])[batches]
        for batch, row in zip(batches.tolist(), rows.tolist(), strict=True):
            ids, masks, uuids = self._columns[batch]
            yield Document(uuids[row].as_py(), ids.row(row), masks.row(row))


class _ListColumn(NamedTuple):
    values: NDArray[Any]
    offsets: NDArray[np.int32]

    @classmethod
    def of(cls, column: pa.Array) -> "_ListColumn":
        return cls(column.values.to_numpy(), column.offsets.to_numpy())

    def row(self, number: int) -> NDArray[Any]:
        return self.values[self.offsets[number] : self.offsets[number + 1]]
