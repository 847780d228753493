"""From packs to the padded batches of one optimizer step.

Packs decide what makes an optimizer step. The model then sees each document of a pack as a row of its own,
right-padded among documents of similar length: nothing leaks between documents, neither through attention nor through
Mamba's convolution and state, because all of them are causal and padding stands on the right.

    input_ids  [[5, 9, 3, 8],      loss_mask  [[0, 1, 1, 0],      lengths  [4, 3]       1 = the next token is supervised
                [4, 7, 2, 0]]                  [0, 1, 0, 0]]
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from sft.documents import Document

COLUMNS = ["input_ids", "loss_mask", "seq_start_id", "uuids"]
ROW_GROUPS_IN_MEMORY = 16


class Batch(NamedTuple):
    """Documents as rows: `input_ids` int64 and `loss_mask` bool are [rows, length], `lengths` int64 is [rows]."""

    input_ids: Tensor
    loss_mask: Tensor
    lengths: Tensor

    def to(self, device: torch.device) -> "Batch":
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in self))


class PackFiles:
    """The packs of a folder by number, over its files in the order of their names; few row groups are in memory."""

    def __init__(self, folder: Path) -> None:
        files = [pq.ParquetFile(path) for path in sorted(folder.glob("*.parquet"))]
        self._groups = [(file, group) for file in files for group in range(file.num_row_groups)]
        rows = [file.metadata.row_group(group).num_rows for file, group in self._groups]
        self._starts = np.cumsum([0, *rows])
        self._table = lru_cache(maxsize=ROW_GROUPS_IN_MEMORY)(self._read)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def documents(self, number: int) -> list[Document]:
        """The documents of a pack, in their order."""
        group = int(np.searchsorted(self._starts, number, side="right")) - 1
        row = self._table(group).slice(number - int(self._starts[group]), 1)
        ids, mask, starts = (row[name].chunk(0)[0].values.to_numpy() for name in COLUMNS[:3])
        bounds = pairwise([*starts.tolist(), len(ids)])
        spans = zip(row["uuids"][0].as_py(), bounds, strict=True)
        return [Document(uuid, ids[start:end], mask[start:end]) for uuid, (start, end) in spans]

    def _read(self, group: int) -> pa.Table:
        file, index = self._groups[group]
        return file.read_row_group(index, columns=COLUMNS).combine_chunks()


def trainable(documents: Iterable[Document]) -> list[Document]:
    """Those with at least one supervised token; the others count nowhere."""
    return [document for document in documents if document.loss_mask.any()]


def padded_batches(documents: Sequence[Document], tokens: int) -> list[Batch]:
    """Documents of similar length together, at most `tokens` with padding in a batch (or one longer document)."""
    batches: list[Batch] = []
    rows: list[Document] = []
    for document in sorted(documents, key=lambda document: -len(document.input_ids)):
        if rows and (len(rows) + 1) * len(rows[0].input_ids) > tokens:
            batches.append(padded(rows))
            rows = []
        rows.append(document)
    if rows:
        batches.append(padded(rows))
    return batches


def padded(documents: Sequence[Document]) -> Batch:
    lengths = torch.tensor([len(document.input_ids) for document in documents])
    input_ids = torch.zeros(len(documents), int(lengths.max()), dtype=torch.int64)
    loss_mask = torch.zeros_like(input_ids, dtype=torch.bool)
    for row, document in enumerate(documents):
        input_ids[row, : len(document.input_ids)] = torch.from_numpy(document.input_ids.astype(np.int64))
        loss_mask[row, : len(document.input_ids)] = torch.from_numpy(document.loss_mask.astype(np.bool_))
    return Batch(input_ids, loss_mask, lengths)
