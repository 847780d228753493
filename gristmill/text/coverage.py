"""How much of its space a run has covered: for each axis of its tasks, how many values occur, and how evenly.

    coverage = Coverage({"dialect": ["sqlite", "postgres", "mysql"], "style.register": [...]})
    coverage.add(record["metadata"]["cell"])
    coverage.figures()["dialect"]
    {"values": 3, "hit": 2, "smallest": 0, "largest": 71, "missing": ["mysql"]}

An axis is a key of the records' `metadata.cell`, with dots for what lies deeper; what isn't there counts as no value.
An axis whose values nobody named has those that occur: then nothing can be missing.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

SHOWN = 10
"""How many of the missing values are named."""

_MOST = 1000
"""An axis with more values than this is no axis but a number or a text."""


class Coverage:
    """Counts the values of cells. `axes` names for each axis all that it can be; without it the cells tell."""

    def __init__(self, axes: Mapping[str, Collection[Any]] | None = None) -> None:
        self._axes = {axis: [str(value) for value in values] for axis, values in (axes or {}).items()}
        self._counts: dict[str, Counter[str]] = {axis: Counter() for axis in self._axes}
        self._open = axes is None

    def add(self, cell: Mapping[str, Any]) -> None:
        for axis, value in _flat(cell):
            if self._open:
                self._counts.setdefault(axis, Counter())
            if axis in self._counts:
                self._counts[axis][value] += 1

    def figures(self) -> dict[str, dict[str, Any]]:
        """For each axis: values it has, values that occur, smallest and largest count, the first missing ones."""
        return {
            axis: _figures(counts, self._axes.get(axis, list(counts)))
            for axis, counts in self._counts.items()
            if not self._open or 1 < len(counts) <= _MOST
        }


def _flat(cell: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in cell.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, str | int) and value != "":
            yield f"{prefix}{key}", str(value)


def _figures(counts: Counter[str], values: Collection[str]) -> dict[str, Any]:
    known = [counts[value] for value in values]
    return {
        "values": len(values),
        "hit": sum(count > 0 for count in known),
        "smallest": min(known, default=0),
        "largest": max(known, default=0),
        "missing": [value for value in values if not counts[value]][:SHOWN],
    }
