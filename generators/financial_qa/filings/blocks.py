"""A filing's HTML as blocks of markdown: headings, paragraphs, tables. What belongs to the page only is left out.

Page numbers, running heads and links back to the table of contents stand beside a page break and come again and again;
a short text that does so is furniture. What is not displayed (the header of inline XBRL, too) is no text.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from generators.financial_qa.filings import tables
from generators.financial_qa.filings.html import walk
from generators.financial_qa.filings.inline import Place

_BLOCKS = {"address", "article", "aside", "blockquote", "body", "center", "dd", "div", "dl", "dt", "footer", "form"}
_BLOCKS |= {"h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "html", "li", "main", "ol", "p", "pre", "section"}
_BLOCKS |= {"table", "tbody", "td", "th", "thead", "tr", "ul"}
_SKIPPED = {"head", "script", "style", "ix:header", "noscript", "template"}
_BOLD = re.compile(r"font-weight:\s*(?:bold|[6-9]00)")
_LIGHT = re.compile(r"font-weight:\s*(?:normal|[1-5]00)")
_HIDDEN = re.compile(r"display:\s*none|visibility:\s*hidden")
_BREAK = re.compile(r"(?:page-)?break-(?:before|after):\s*(?:always|page)")
_BULLET = re.compile(r"^[•·▪●■◦–*-]\s+")
_PAGE = re.compile(r"(?:page\s*)?(?:[A-Z]-?)?\d{1,4}|[ivxl]{1,6}|table of contents", re.IGNORECASE)
_LONGEST_HEADING = 200
_FURNITURE = 120
"""Characters: what is longer is no running head."""
_OFTEN = 3


@dataclass(slots=True)
class Block:
    """`kind` is heading, text, table or break (the end of a page); `text` is markdown without the marks of headings.

    `linked` says that all of it is a link inside the document, as in a table of contents.
    """

    kind: str
    text: str
    linked: bool = False


class Entry(NamedTuple):
    """A row of a table of contents, and the block that it leads to."""

    text: str
    block: int


@dataclass(slots=True)
class Document:
    """Blocks in their order, in which of them each tagged element stands, and the table of contents."""

    blocks: list[Block]
    places: dict[Any, Place] = field(default_factory=dict)
    contents: list[Entry] = field(default_factory=list)


def read_document(root: Any) -> Document:
    reader = _Reader()
    reader.read(root)
    contents = [Entry(text, reader.anchors.get(target, -1)) for text, target in reader.contents]
    return _without_furniture(Document(reader.blocks, reader.places, contents))


class _Reader:
    """Collects the inline text of a block until the block ends."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.places: dict[Any, Place] = {}
        self.anchors: dict[str, int] = {}  # the id of an element: the block that comes next
        self.contents: list[tuple[str, str]] = []
        self._texts: list[str] = []
        self._bold = self._linked = self._all = 0
        self._waiting: list[Any] = []  # tagged elements of the text that isn't a block yet

    def read(self, root: Any) -> None:
        weights, links = [False], 0
        walker: Any = walk(root)
        for event, element in walker:
            if event in ("comment", "pi"):
                self._say(element.tail, weights[-1], links)
                continue
            tag, style = element.tag, element.get("style") or ""
            internal = tag == "a" and (element.get("href") or "").startswith("#")
            if event == "end":
                if tag in _BLOCKS:
                    self._flush()
                weights.pop()
                links -= internal
                self._say(element.tail, weights[-1], links)
                continue
            bold = weights[-1] or tag in ("b", "strong", "h1", "h2", "h3", "h4", "th") or bool(_BOLD.search(style))
            weights.append(bold and not _LIGHT.search(style))
            links += internal
            if tag in _BLOCKS:
                self._flush()
            if name := element.get("id") or element.get("name"):
                self.anchors.setdefault(name, len(self.blocks))
            if tag == "hr" or _BREAK.search(style):
                self.blocks.append(Block("break", ""))
            if tag in _SKIPPED or _HIDDEN.search(style):
                walker.skip_subtree()
            elif tag == "table" and element.find(".//table") is None:
                self._table(element)
                walker.skip_subtree()
            else:
                if tag == "ix:nonfraction":
                    self._waiting.append(element)
                self._say(" " if tag in ("br", "img") else element.text, weights[-1], links)
        self._flush()

    def _say(self, text: str | None, bold: bool, links: int) -> None:
        if not text:
            return
        size = len(text.strip())
        self._texts.append(text)
        self._all += size
        self._bold += size * bold
        self._linked += size * bool(links)

    def _flush(self) -> None:
        text = " ".join("".join(self._texts).split())
        if text:
            bold, linked = self._bold == self._all, self._linked == self._all
            kind = "heading" if bold and len(text) <= _LONGEST_HEADING and re.search(r"[^\W\d]", text) else "text"
            self._add(Block(kind, _BULLET.sub("- ", text), linked), self._waiting)
        self._texts, self._waiting = [], []
        self._bold = self._linked = self._all = 0

    def _add(self, block: Block, elements: list[Any], label: str = "") -> None:
        self.places.update(dict.fromkeys(elements, Place(len(self.blocks), label)))
        self.blocks.append(block)

    def _table(self, table: Any) -> None:
        rows = tables.read_rows(table)
        if not rows:
            return
        for tr in table.iter("tr"):
            targets = tr.xpath(".//a[starts-with(@href, '#')]/@href")
            text = " ".join(" ".join(tr.itertext()).split())
            self.contents.append((text, targets[0][1:] if targets else ""))
        if tables.is_layout(rows):
            linked = bool(table.xpath(".//a[starts-with(@href, '#')]"))
            for row in rows:
                text = _BULLET.sub("- ", " ".join(cell.text for cell in row))
                self._add(Block("text", text, linked), [fact for cell in row for fact in cell.facts])
            return
        place = len(self.blocks)
        for row in rows:
            label = "" if row[0].figure else row[0].text
            self.places.update({fact: Place(place, label) for cell in row for fact in cell.facts})
        self.blocks.append(Block("table", tables.markdown(rows)))


def _without_furniture(document: Document) -> Document:
    blocks = document.blocks
    beside = set(_beside_breaks(blocks))
    heads = Counter(_masked(blocks[n].text) for n in beside)
    kept: list[Block] = []
    moved: list[int] = []  # where each block is now, or the one that follows it
    dropped: set[int] = set()
    for number, block in enumerate(blocks):
        moved.append(len(kept))
        page = number in beside and (bool(_PAGE.fullmatch(block.text)) or heads[_masked(block.text)] >= _OFTEN)
        if block.kind == "break" or page:
            dropped.add(number)
        else:
            kept.append(block)
    places = {
        element: Place(moved[place.block], place.label)
        for element, place in document.places.items()
        if place.block not in dropped
    }
    contents = [Entry(text, moved[block]) for text, block in document.contents if 0 <= block < len(moved)]
    return Document(kept, places, contents)


def _beside_breaks(blocks: list[Block]) -> Iterator[int]:
    """The short texts among the two blocks on either side of a page's end."""
    for number, block in enumerate(blocks):
        near = (n for n in (number - 2, number - 1, number + 1, number + 2) if 0 <= n < len(blocks))
        if block.kind == "break":
            yield from (n for n in near if blocks[n].kind in ("text", "heading") and len(blocks[n].text) <= _FURNITURE)


def _masked(text: str) -> str:
    return re.sub(r"\d+", "#", text).casefold()
