"""Where a filing's Items begin. A 10-Q numbers them anew in each part: "I.2" is its discussion, "7" that of a 10-K.

The same words stand in the table of contents, in running text ("see Item 1A, Risk Factors") and at the head of the
Item. A head is a short block of its own that is no link; of several, the one with most text up to the next head is it,
and heads come in the order of the form. An Item without a head begins where the table of contents leads.
"""

import re
from typing import NamedTuple

from generators.financial_qa.filings.blocks import Block, Document

_ITEM = re.compile(
    r"^(?:part\s+(?P<part>i{1,3}|iv)\b[\s,.—–:-]*)?item[\s ]*(?P<item>\d{1,2}[ABC]?)\b(?P<rest>.*)$", re.IGNORECASE
)
_PART = re.compile(r"^part\s+(i{1,3}|iv)\b[\s.,:—–-]*(?P<rest>.*)$", re.IGNORECASE)
_LONGEST = 250
_IN_TEXT = re.compile(
    r"^[\s.,]*(?:of|in|and|to|under|above|below|for|see|was|is)\b|\bof this (?:report|form)", re.IGNORECASE
)

PRIORITY = {
    "10-K": ["7", "8", "7A", "1A", "1", "5", "3", "2", "1C", "9A"],
    "10-Q": ["I.2", "I.1", "I.3", "II.1A", "II.1", "II.2", "I.4"],
}
"""Which sections are shown first where there is room for some only."""


class Head(NamedTuple):
    block: int
    item: str


def find_sections(document: Document, form: str) -> dict[str, range]:
    """{"1A": the blocks of Item 1A, its head included}; {} where the document has no Items."""
    blocks, quarterly = document.blocks, form.startswith("10-Q")
    heads = list(_heads(blocks, quarterly))
    sizes = _sizes(heads, blocks)
    best: dict[str, Head] = {}
    for head, size in zip(heads, sizes, strict=True):
        if head.item not in best or size >= sizes[heads.index(best[head.item])]:
            best[head.item] = head
    for head in listed_heads(document, quarterly):
        best.setdefault(head.item, head)
    chosen = _in_order([best[item] for item in sorted(best, key=order)])
    ends = [*(head.block for head in chosen[1:]), len(blocks)]
    return {head.item: range(head.block, end) for head, end in zip(chosen, ends, strict=False)}


def _heads(blocks: list[Block], quarterly: bool) -> list[Head]:
    heads: list[Head] = []
    part = "I"
    for number, block in enumerate(blocks):
        if block.kind == "table" or block.linked or len(block.text) > _LONGEST:
            continue
        if (opened := _PART.match(block.text)) and not _IN_TEXT.match(opened["rest"]):
            part = opened[1].upper()
        found = _ITEM.match(block.text)
        if found and not _IN_TEXT.match(found["rest"]) and not found["rest"].rstrip().endswith((";", ",")):
            item = found["item"].upper()
            part = (found["part"] or part).upper()
            heads.append(Head(number, f"{part}.{item}" if quarterly else item))
    return heads


def listed_heads(document: Document, quarterly: bool) -> list[Head]:
    """The Items of the table of contents, with the blocks that they lead to."""
    heads: list[Head] = []
    part = "I"
    for entry in document.contents:
        if opened := _PART.match(entry.text):
            part = opened[1].upper()
        if found := _ITEM.match(entry.text):
            heads.append(Head(entry.block, f"{part}.{found['item'].upper()}" if quarterly else found["item"].upper()))
    return heads


def _sizes(heads: list[Head], blocks: list[Block]) -> list[int]:
    ends = [*(head.block for head in heads[1:]), len(blocks)]
    return [sum(len(block.text) for block in blocks[head.block : end]) for head, end in zip(heads, ends, strict=False)]


def order(item: str) -> tuple[int, int, str]:
    """The place of an Item in its form."""
    part, _, number = item.rpartition(".")
    digits = number.rstrip("ABC")
    return len(part), int(digits), number.removeprefix(digits)


def _in_order(heads: list[Head]) -> list[Head]:
    """The longest run of heads that stand in the document as in the form."""
    runs: list[list[Head]] = []
    for head in heads:
        before = max((run for run in runs if run[-1].block < head.block), key=len, default=[])
        runs.append([*before, head])
    return max(runs, key=len, default=[])
