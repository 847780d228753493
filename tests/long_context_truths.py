"""What templates of long_context ask, worked out in Python on the rows that matter, without SQL.

`TRUTHS[template](rows, shows, question)` gets the rows of the evidence as dicts, the columns that are read in the order
of the template, and the question's text.
"""

import re
import statistics
import unicodedata
from collections import Counter
from collections.abc import Callable
from datetime import date
from typing import Any

Row = dict[str, Any]
Truth = Callable[[list[Row], list[str], str], Any]

_NTH = {"second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7}


def _bare(name: str) -> str:
    return "".join(one for one in unicodedata.normalize("NFD", name) if not unicodedata.combining(one)).lower()


def _names(rows: list[Row]) -> list[str]:
    return sorted((row["name"] for row in rows), key=_bare)


def _column(rows: list[Row], name: str) -> list[Any]:
    return [row[name] for row in rows if row[name] is not None]


def _extreme(rows: list[Row], name: str, choose: Callable[[list[Any]], Any]) -> list[Row]:
    best = choose(_column(rows, name))
    return [row for row in rows if row[name] == best]


def _only(rows: list[Row]) -> Any:
    (row,) = rows
    return row["name"]


def _number_in(question: str, pattern: str) -> int:
    found = re.search(pattern, question)
    assert found, question
    return int(found[1])


def _kth(rows: list[Row], shows: list[str], question: str) -> Any:
    nth = next(place for word, place in _NTH.items() if f"comes {word}?" in question)
    by_name = sorted(rows, key=lambda row: _bare(row["name"]))
    down = "high to low" in question
    return [row["name"] for row in sorted(by_name, key=lambda row: -row[shows[-1]] if down else row[shows[-1]])][
        nth - 1
    ]


def _mode(values: list[Any]) -> Any:
    (best, most), *rest = Counter(values).most_common(2)
    assert not rest or rest[0][1] < most
    return best


def _sums(rows: list[Row], shows: list[str]) -> dict[Any, float]:
    return {
        value: sum(row[shows[-1]] for row in rows if row[shows[0]] == value) for value in set(_column(rows, shows[0]))
    }


def _years(row: Row, shows: list[str]) -> int:
    first, last = sorted(row[name] for name in shows)
    assert isinstance(first, date) and isinstance(last, date)
    return last.year - first.year - ((last.month, last.day) < (first.month, first.day))


TRUTHS: dict[str, Truth] = {
    **{
        name: lambda rows, shows, question: len(rows)
        for name in ("count_one", "count_two", "count_either", "count_one_of", "count_between", "in_years", "in_month",
                     "count_by_second", "same_as_linked")
    },
    "count_distinct": lambda rows, shows, question: len(set(_column(rows, shows[-1]))),
    "list_matching": lambda rows, shows, question: _names(rows),
    "only_match": lambda rows, shows, question: _only(rows),
    "top_without": lambda rows, shows, question: _only(_extreme(_not_told(rows, shows[0], question), shows[-1], max)),
    "of_the_linked": lambda rows, shows, question: _followed(rows, shows, 1),
    "of_the_twice_linked": lambda rows, shows, question: _followed(rows, shows, 2),
    "linked_differently": lambda rows, shows, question: abs(rows[0][shows[-1]] - rows[1][shows[-1]]),
    "top_by_second": lambda rows, shows, question: _only(_extreme(rows, shows[-1], max)),
    "leading_to": lambda rows, shows, question: _names(rows),
    "number_of_leading": lambda rows, shows, question: sum(_column(rows, shows[-1])),
    "sharing_with": lambda rows, shows, question: len(rows) - 1,
    "top_sharing_with": lambda rows, shows, question: _only(
        _extreme([row for row in rows if row["name"] not in question], shows[-1], min)
    ),
    "top_sharing_with_extreme": lambda rows, shows, question: _only(_extreme(rows, shows[-1], max)),
    "commonest": lambda rows, shows, question: _mode(_column(rows, shows[-1])),
    "groups_of_size": lambda rows, shows, question: len(set(_column(rows, shows[0]))),
    "mean_of": lambda rows, shows, question: statistics.fmean(_column(rows, shows[-1])),
    "sum_of": lambda rows, shows, question: sum(_column(rows, shows[-1])),
    "range_of": lambda rows, shows, question: max(_column(rows, shows[-1])) - min(_column(rows, shows[-1])),
    "median_of": lambda rows, shows, question: statistics.median(_column(rows, shows[-1])),
    "counts_of_three": lambda rows, shows, question: dict(Counter(_column(rows, shows[0]))),
    "best_mean": lambda rows, shows, question: max(
        (statistics.fmean(row[shows[-1]] for row in rows if row[shows[0]] == value), value)
        for value in set(_column(rows, shows[0]))
    )[1],
    "largest_sum": lambda rows, shows, question: max((total, value) for value, total in _sums(rows, shows).items())[1],
    "highest": lambda rows, shows, question: _only(_extreme(rows, shows[-1], max)),
    "lowest": lambda rows, shows, question: _only(_extreme(rows, shows[-1], min)),
    "top_k": lambda rows, shows, question: sorted(
        sorted(rows, key=lambda row: _bare(row["name"])), key=lambda row: -row[shows[-1]]
    )[: _number_in(question, r"Which (\d+) people")],
    "kth": _kth,
    "sum_of_top": lambda rows, shows, question: sum(
        sorted(_column(rows, shows[-1]))[-_number_in(question, r"the (\d+) (?:highest|largest)") :]
    ),
    "all_highest": lambda rows, shows, question: _names(_extreme(rows, shows[-1], max)),
    "value_of_highest": lambda rows, shows, question: _extreme(rows, shows[1], max)[0][shows[2]],
    "difference": lambda rows, shows, question: abs(rows[0][shows[0]] - rows[1][shows[0]]),
    "above_the_other": lambda rows, shows, question: _first_named(rows, question)[shows[0]]
    > _last_named(rows, question)[shows[0]],
    "same_value": lambda rows, shows, question: rows[0][shows[0]] == rows[1][shows[0]],
    "larger_group": lambda rows, shows, question: _mode(_column(rows, shows[-1])),
    "above_the_mean": lambda rows, shows, question: sum(
        value > statistics.fmean(_column(rows, shows[-1])) for value in _column(rows, shows[-1])
    ),
    "between_two": lambda rows, shows, question: len(rows) - sum(row["name"] in question for row in rows),
    "days_between": lambda rows, shows, question: abs((rows[0][shows[0]] - rows[1][shows[0]]).days),
    "earliest": lambda rows, shows, question: _only(_extreme(rows, shows[-1], min)),
    "weekday": lambda rows, shows, question: len(rows)
    if all(row[shows[-1]].weekday() >= 5 for row in rows)
    else None,
    "span": lambda rows, shows, question: (max(_column(rows, shows[-1])) - min(_column(rows, shows[-1]))).days,
    "full_years": lambda rows, shows, question: _years(rows[0], shows),
}  # fmt: skip


def _followed(rows: list[Row], shows: list[str], hops: int) -> Any:
    """From the row that no other one leads to, along the links."""
    by_name = {row["name"]: row for row in rows}
    led_to = {row[shows[0]] for row in rows}
    start = next(row for row in rows if row["name"] not in led_to)
    for _ in range(hops):
        start = by_name[start[shows[0]]]
    return start[shows[-1]]


def _not_told(rows: list[Row], name: str, question: str) -> list[Row]:
    """Rows without the value that the question leaves out."""
    return [row for row in rows if not re.search(rf"\b{re.escape(row[name])}\b", question)]


def _first_named(rows: list[Row], question: str) -> Row:
    return min(rows, key=lambda row: question.index(row["name"]))


def _last_named(rows: list[Row], question: str) -> Row:
    return max(rows, key=lambda row: question.index(row["name"]))
