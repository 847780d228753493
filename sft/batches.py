"""From packs to the batches of one optimizer step.

Packs decide what makes an optimizer step. The model then sees its documents in one of two layouts, and in both nothing
leaks between them, neither through attention nor through Mamba's convolution and state:

    padded   each document is a row of its own, among others of similar length; padding stands on the right, and all
             layers are causal
    flat     documents stand one after another in a single row, without padding, and kernels that know where each one
             begins keep them apart (see sft/kernels.py)

                     padded          flat
    input_ids        [[5, 9, 3],     [[5, 9, 3, 4, 7]]
                      [4, 7, 0]]
    loss_mask        [[0, 1, 0],     [[0, 1, 0, 1, 0]]     1 = the next token of the document is supervised
                      [1, 0, 0]]
    document         [[0, 0, 0],     [[0, 0, 0, 1, 1]]
                      [1, 1, 1]]
    remaining        [[3, 2, 1],     [[3, 2, 1, 2, 1]]     tokens of the document from here on, 0 for padding
                      [2, 1, 0]]
    lengths          [3, 2]          [3, 2]
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from gristmill.errors import ConfigError
from sft.documents import Document, open_parquet
from sft.sources import NO_SOURCES, Sources

COLUMNS = ["input_ids", "loss_mask", "seq_start_id", "uuids"]
ROW_GROUPS_IN_MEMORY = 16


class Batch(NamedTuple):
    """Documents as the model sees them; `lengths` int64 is [documents], all else [rows, length]: bool or int64."""

    input_ids: Tensor
    loss_mask: Tensor
    document: Tensor
    remaining: Tensor
    lengths: Tensor

    def to(self, device: torch.device) -> "Batch":
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in self))

    def ahead(self, tokens: Tensor, by: int) -> Tensor:
        """What stands `by` places further on in the same document; zero where it ends before that."""
        moved = nn.functional.pad(tokens[:, by:], (0, min(by, tokens.shape[1])))
        return moved.masked_fill(self.remaining <= by, 0)

    def per_document(self, values: Tensor) -> Tensor:
        """Sums of `values` [rows x length, ...], each of a position's: [documents, ...]."""
        sums = values.new_zeros(len(self.lengths), *values.shape[1:])
        return sums.index_add(0, self.document.flatten(), values)

    def bounds(self) -> dict[str, Any]:
        """What layers must be told of documents that share a row, in the words of transformers and of its kernels."""
        if len(self.lengths) == len(self.input_ids):
            return {}
        return {
            "position_ids": self.lengths[self.document] - self.remaining,
            "seq_idx": self.document.int(),  # Mamba's, the others attention's
            "cu_seq_lens_q": nn.functional.pad(self.lengths.cumsum(0), (1, 0)).int(),
            "max_length_q": int(self.lengths.max()),
        }


class PackFiles:
    """The packs of a folder by number, over its files in the order of their names; few row groups are in memory.

    ConfigError where the folder holds none, or one that can't be read.
    """

    def __init__(self, folder: Path, sources: Sources = NO_SOURCES) -> None:
        """`sources` tells those of its documents."""
        self.sources = sources
        files = [(path, open_parquet(path).metadata) for path in sorted(folder.glob("*.parquet"))]
        self._groups = [(*file, group) for file in files for group in range(file[1].num_row_groups)]
        rows = [metadata.row_group(group).num_rows for _, metadata, group in self._groups]
        self._starts = np.cumsum([0, *rows])
        self._table = lru_cache(maxsize=ROW_GROUPS_IN_MEMORY)(self._read)
        if not len(self):
            raise ConfigError(
                f"{folder}: the packs are gone. Bring them back; or remove the folder, and those of a blend are made "
                "anew. A stage on roll-outs makes them anew with --reset-optimizer."
            )

    def __len__(self) -> int:
        return int(self._starts[-1])

    def documents(self, number: int) -> list[Document]:
        """The documents of a pack, in their order."""
        group = int(np.searchsorted(self._starts, number, side="right")) - 1
        row = self._table(group).slice(number - int(self._starts[group]), 1)
        ids, mask, starts = (row[name].chunk(0)[0].values.to_numpy() for name in COLUMNS[:3])
        bounds = pairwise([*starts.tolist(), len(ids)])
        spans = zip(row["uuids"][0].as_py(), bounds, strict=True)
        return [
            Document(uuid, ids[start:end], mask[start:end], source=self.sources.source(uuid))
            for uuid, (start, end) in spans
        ]

    def _read(self, group: int) -> pa.Table:
        path, metadata, index = self._groups[group]
        with pq.ParquetFile(path, metadata=metadata) as file:  # a reader keeps what it has read until it ends
            return file.read_row_group(index, columns=COLUMNS).combine_chunks()


def trainable(documents: Iterable[Document]) -> list[Document]:
    """Those with at least one supervised token; the others count nowhere."""
    return [document for document in documents if document.loss_mask.any()]


def longest_first(documents: Iterable[Document]) -> list[Document]:
    return sorted(documents, key=lambda document: -len(document.input_ids))


def micro_batches(documents: Iterable[Document], tokens: int, flat: bool = False) -> list[list[Document]]:
    """The documents of each batch, the longest first; with padding they have at most `tokens` (or are one longer)."""
    made: list[list[Document]] = []
    rows: list[Document] = []
    held = 0
    for document in longest_first(documents):
        length = len(document.input_ids)
        grown = held + (length if flat or not rows else len(rows[0].input_ids))
        if rows and grown > tokens:
            made.append(rows)
            rows, grown = [], length
        rows.append(document)
        held = grown
    return [*made, rows] if rows else made


def batch_of(documents: Sequence[Document], flat: bool = False) -> Batch:
    lengths = torch.tensor([len(document.input_ids) for document in documents])
    columns = [
        [torch.from_numpy(document.input_ids.astype(np.int64)) for document in documents],
        [torch.from_numpy(document.loss_mask.astype(np.bool_)) for document in documents],
        [torch.arange(length, 0, -1) for length in lengths.tolist()],
    ]
    if flat:
        input_ids, loss_mask, remaining = (torch.cat(column)[None] for column in columns)
        document = torch.repeat_interleave(lengths)[None]
    else:
        input_ids, loss_mask, remaining = (nn.utils.rnn.pad_sequence(column, True) for column in columns)
        document = torch.arange(len(documents))[:, None].expand_as(input_ids)
    return Batch(input_ids, loss_mask, document, remaining, lengths)
