"""An HTML table of a filing as a markdown table: figures whole, under the headings that they belong to.

    <td>Net sales</td><td>$</td><td>391,035</td><td></td><td>(</td><td>2</td><td>)%</td>
    | Net sales | $391,035 | (2)% |

Filings are set with more columns than a reader sees: currency signs, closing parentheses and per cent signs have cells
of their own, and empty ones lie between. So the signs join their figures first, and then cells that stand above one
another, over whatever ranges of the grid, make a column. A heading over several columns is told in each of them.
"""

import re
from dataclasses import dataclass, field
from typing import Any

_PREFIX = re.compile(r"(?:US)?[$€£¥]|\(|[$€£¥]\s?\(")
_SUFFIX = re.compile(r"\)|%|\)\s?%|%\s?\)|x|pts?\.?|bps")
_NUMERIC = re.compile(
    r"(?:US)?[$€£¥]?\s?\(?\s?[$€£¥]?\s?[-–—−+]?\s?[$€£¥]?\d[\d,]*(?:\.\d+)?\s?\)?\s?(?:%|x|pts?\.?|bps)?\s?\)?"
    r"|[-–—−]+%?|[$€£¥]\s?[-–—−]+|\d+/\d+|n/?[am]|\*+",
    re.IGNORECASE,
)
_YEAR = re.compile(r"(?:19|20)\d\d")
_WIDEST = 1000
"""Columns: what spans more is an error of the file."""


@dataclass(slots=True)
class Cell:
    """What stands on the columns `start` to `end` (exclusive) of the grid, with the facts tagged in it."""

    start: int
    end: int
    text: str
    facts: list[Any] = field(default_factory=list)

    @property
    def figure(self) -> bool:
        return bool(_NUMERIC.fullmatch(self.text)) and not _YEAR.fullmatch(self.text)


Row = list[Cell]


def read_rows(table: Any) -> list[Row]:
    """The rows of a table element with their filled cells, signs joined to their figures; without empty rows."""
    rows: list[Row] = []
    blocked: dict[int, int] = {}  # column: how many more rows a cell from above reaches into
    for tr in table.iter("tr"):
        row: Row = []
        column, blocked_now = 0, dict(blocked)
        blocked = {place: left - 1 for place, left in blocked.items() if left > 1}
        for td in tr.iterchildren("td", "th"):
            while column in blocked_now:
                column += 1
            width, height = _span(td, "colspan"), _span(td, "rowspan")
            if text := " ".join("".join(_texts(td)).split()):
                row.append(Cell(column, column + width, text, list(td.iter("ix:nonfraction"))))
            if height > 1:
                blocked |= dict.fromkeys(range(column, column + width), height - 1)
            column += width
        if row:
            rows.append(_joined(row))
    return rows


def _texts(td: Any) -> list[str]:
    """The texts of a cell; a line break or a paragraph in it is a space."""
    return [f" {text}" if text.getparent().tag in ("br", "p", "div") else str(text) for text in td.xpath(".//text()")]


def _span(td: Any, name: str) -> int:
    value = (td.get(name) or "1").strip()
    return min(max(int(value), 1), _WIDEST) if value.isdecimal() else 1


def _joined(row: Row) -> Row:
    joined: Row = []
    before: Cell | None = None  # a sign that waits for its figure
    for cell in row:
        if _SUFFIX.fullmatch(cell.text) and joined and (joined[-1].figure or joined[-1].text.startswith("(")):
            last = joined[-1]
            joined[-1] = Cell(last.start, cell.end, last.text + cell.text, last.facts)
            continue
        if before is not None:
            cell = Cell(before.start, cell.end, before.text + cell.text, cell.facts)
            before = None
        if _PREFIX.fullmatch(cell.text):
            before = cell
        else:
            joined.append(cell)
    return [*joined, before] if before else joined


def is_layout(rows: list[Row]) -> bool:
    """Whether the table only sets text in place: bullets, headings, signatures."""
    return not any(cell.figure for row in rows for cell in row[1:]) and all(len(row) <= 2 for row in rows)


def markdown(rows: list[Row]) -> str:
    """The table in markdown, with one heading row."""
    columns = _columns(rows)
    placed = [_placed(row, columns) for row in rows]
    split = _headings(rows)
    head = [" ".join(dict.fromkeys(line[n] for line in placed[:split] if line[n])) for n in range(len(columns))]
    lines = [head, ["---"] * len(columns), *placed[split:]]
    return "\n".join(f"| {' | '.join(text.replace('|', '/') for text in line)} |" for line in lines)


def _columns(rows: list[Row]) -> list[tuple[int, int]]:
    """Ranges of the grid that are one column each. Narrow cells make them; what lies over several makes none."""
    columns: list[tuple[int, int]] = []
    cells = [cell for row in rows for cell in row if len(row) > 1]
    for cell in sorted(cells, key=lambda cell: (not cell.figure, cell.end - cell.start, cell.start)):
        over = [column for column in columns if column[0] < cell.end and cell.start < column[1]]
        if len(over) == 1:
            columns.remove(over[0])
            columns.append((min(over[0][0], cell.start), max(over[0][1], cell.end)))
        elif not over:
            columns.append((cell.start, cell.end))
    return sorted(columns) or [(0, _WIDEST)]


def _placed(row: Row, columns: list[tuple[int, int]]) -> list[str]:
    """The row's texts by column. A label goes to its first column, a heading over several to each."""
    line = [""] * len(columns)
    for cell in row:
        over = [n for n, (start, end) in enumerate(columns) if start < cell.end and cell.start < end]
        if not over:
            over = [min(range(len(columns)), key=lambda n: abs(columns[n][0] - cell.start))]
        if cell.figure or over[0] == 0:
            over = over[:1]
        for n in over:
            line[n] = f"{line[n]} {cell.text}".strip()
    return line


def _headings(rows: list[Row]) -> int:
    """How many of the first rows are headings."""
    for number, row in enumerate(rows):
        labelled = len(row) == 1 and row[0].start == 0 and not row[0].text.startswith("(")
        if any(cell.figure for cell in row) or (labelled and number):
            return number
    return min(1, len(rows))
