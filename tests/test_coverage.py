"""The table of coverage: what of a space occurs in a run, how evenly, and what is missing."""

from gristmill.text.coverage import SHOWN, Coverage

CELLS = [
    {"dialect": "sqlite", "style": {"register": "formal", "politeness": 0}, "index": 0},
    {"dialect": "sqlite", "style": {"register": "direct", "politeness": 3}, "index": 1, "flaw": ""},
    {"dialect": "mysql", "style": {"register": "formal", "politeness": 0}, "index": 2, "extra": [1]},
]


def test_named_axes_know_what_is_missing() -> None:
    coverage = Coverage(
        {"dialect": ["sqlite", "postgres", "mysql"], "style.politeness": [0, 1, 2, 3], "flaw": ["spaces"]}
    )
    for cell in CELLS:
        coverage.add(cell)
    figures = coverage.figures()
    assert list(figures) == ["dialect", "style.politeness", "flaw"]
    assert figures["dialect"] == {"values": 3, "hit": 2, "smallest": 0, "largest": 2, "missing": ["postgres"]}
    assert figures["style.politeness"] == {"values": 4, "hit": 2, "smallest": 0, "largest": 2, "missing": ["1", "2"]}
    assert figures["flaw"] == {"values": 1, "hit": 0, "smallest": 0, "largest": 0, "missing": ["spaces"]}


def test_without_names_the_cells_tell() -> None:
    coverage = Coverage()
    for cell in CELLS:
        coverage.add(cell)
    figures = coverage.figures()
    assert figures["style.register"] == {"values": 2, "hit": 2, "smallest": 1, "largest": 2, "missing": []}
    assert "flaw" not in figures and "extra" not in figures


def test_long_lists_are_cut_and_numbers_are_no_axis() -> None:
    named = Coverage({"topic": [f"topic {number}" for number in range(700)]})
    assert len(named.figures()["topic"]["missing"]) == SHOWN
    counted = Coverage()
    for index in range(1001):
        counted.add({"index": index, "tier": "basic" if index % 2 else "advanced"})
    assert list(counted.figures()) == ["tier"]


def test_a_run_without_records_has_an_empty_table() -> None:
    assert Coverage().figures() == {}
    assert Coverage({"tier": ["basic"]}).figures()["tier"]["missing"] == ["basic"]
