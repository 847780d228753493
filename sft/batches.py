"""From packs to the padded batches of one optimizer step.

Packs decide what makes an optimizer step. The model then sees each document of a pack as a row of its own,
right-padded among documents of similar length: nothing leaks between documents, neither through attention nor through
Mamba's convolution and state, because all of them are causal and padding stands on the right.

    input_ids  [[5, 9, 3, 8],      loss_mask  [[0, 1, 1, 0],      lengths  [4, 3]       1 = the next token is supervised
                [4, 7, 2, 0]]                  [0, 1, 0, 0]]
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gristmill.render import Mask, TokenIds
from sft.packing import Pack


class Document(NamedTuple):
    """One sequence: `loss_mask[t]` is 1 where the token t + 1 is supervised."""

    input_ids: TokenIds
    loss_mask: Mask


class Batch(NamedTuple):
    """Documents as rows: `input_ids` int64 and `loss_mask` bool are [rows, length], `lengths` int64 is [rows]."""

    input_ids: Tensor
    loss_mask: Tensor
    lengths: Tensor

    def to(self, device: torch.device) -> "Batch":
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in self))


def documents_of(pack: Pack) -> list[Document]:
    bounds = [*pack.seq_start_id.tolist(), len(pack.input_ids)]
    return [Document(pack.input_ids[a:b], pack.loss_mask[a:b]) for a, b in pairwise(bounds)]


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
