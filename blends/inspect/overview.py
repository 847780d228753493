"""The figures of the first page: one query each, over the columns that a source has."""

from typing import Any, NamedTuple

from blends.inspect.source import Source, Table

BINS = 12
MEASURED = 100_000
"""Rows, the first ones, of which lengths are measured: reading all conversations of a large table takes too long."""


class Bar(NamedTuple):
    label: str
    rows: float
    share: float  # of the longest bar
    filter: tuple[str, str] | None = None


class Chart(NamedTuple):
    title: str
    table: str
    bars: list[Bar]


def overview(source: Source) -> dict[str, Any]:
    """{"counts": [(table, rows)], "charts": [Chart, ...]}"""
    table = source.main
    charts = []
    if source.kind == "run":
        charts.append(_counted("Funnel", table, _funnel(source)))
    if source.kind == "blend":
        charts.append(_counted("Left out", source.tables["dropped"], source.ask(_BY_REASON), "reason"))
    for column, title in _COLUMNS:
        if column in table.filters:
            charts.append(_counted(title, table, source.ask(_BY.format(column=column, table=table.name)), column))
    if "tokens" in table.columns and "source" in table.columns:
        charts.append(_counted("Tokens by source", table, source.ask(_TOKENS), "source"))
        charts.append(_counted("Supervised tokens by source", table, source.ask(_SUPERVISED), "source"))
    for title, value in _numbers(table):
        charts.append(_histogram(source, title, table, value))
    return {
        "counts": [(one.name, one.size) for one in source.tables.values()],
        "charts": [chart for chart in charts if chart.bars],
        "judges": _judges(source, table),
    }


_COLUMNS = (
    ("source", "Sources"), ("generator", "Generators"), ("category", "Categories"), ("split", "Splits"),
    ("reasoning", "Reasoning"), ("license", "Licences"),
)  # fmt: skip
_BY = "SELECT {column}::VARCHAR, count(*) FROM {table} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 20"
_BY_REASON = "SELECT reason, count(*) FROM dropped GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 20"
_TOKENS = "SELECT source, sum(tokens) FROM samples GROUP BY 1 HAVING sum(tokens) > 0 ORDER BY 2 DESC LIMIT 20"
_SUPERVISED = """
    SELECT source, sum(supervised_tokens) FROM samples GROUP BY 1 HAVING sum(supervised_tokens) > 0
    ORDER BY 2 DESC LIMIT 20
"""


def _funnel(source: Source) -> list[tuple[Any, ...]]:
    return source.ask(
        "SELECT CASE WHEN stage = '' THEN status ELSE stage || ' / ' || reason END, tasks FROM funnel LIMIT 20"
    )


def _counted(title: str, table: Table, rows: list[tuple[Any, ...]], column: str = "") -> Chart:
    most = max((count for _, count in rows), default=1) or 1
    bars = [
        Bar(label or "(none)", count, count / most, (column, label) if column in table.filters and label else None)
        for label, count in rows
    ]
    return Chart(title, table.name, bars)


def _numbers(table: Table) -> list[tuple[str, str]]:
    found = []
    if "messages" in table.columns and "role" in table.columns["messages"]:
        answer = "list_filter(messages, lambda m: m.role = 'assistant')[-1].content"
        found = [("Turns", "len(messages)"), ("Characters of the last answer", f"length({answer})")]
    if "tokens" in table.columns:
        found.append(("Tokens", "tokens"))
    if "score" in table.columns:
        found.append(("Mean score of the judges", "score"))
    return found


def _histogram(source: Source, title: str, table: Table, value: str) -> Chart:
    """Bins of one width from the smallest value to the 99th percentile; the last one takes what is above it."""
    values = f"(SELECT {value} AS v FROM {table.name} LIMIT {MEASURED})"
    title += f", of the first {MEASURED:,}" if table.size > MEASURED else ""
    ((low, high),) = source.ask(f"SELECT min(v), quantile_cont(v, 0.99) FROM {values}")
    if low is None or high <= low:
        return Chart(title, table.name, [])
    width = (high - low) / BINS
    width = max(1, -(-(high - low) // BINS)) if isinstance(low, int) else width
    rows = source.ask(
        f"SELECT least({BINS - 1}, floor((v - ?) / ?))::INT AS bin, count(*) FROM {values} "
        "WHERE v IS NOT NULL GROUP BY 1 ORDER BY 1",
        [low, width],
    )
    counts = dict(rows)
    last = max(counts)
    most = max(counts.values())
    bars = [
        Bar(
            _bin_label(low + number * width, width, number == last), counts.get(number, 0), counts.get(number, 0) / most
        )
        for number in range(last + 1)
    ]
    return Chart(title, table.name, bars)


def _bin_label(low: float, width: float, is_last: bool) -> str:
    if width == 1 and not is_last:
        return f"{low:g}"
    return f"{low:,.6g} and more" if is_last else f"{low:,.6g} to {low + width:,.6g}"


def _judges(source: Source, table: Table) -> list[tuple[Any, ...]]:
    """(name, passed, failed, undecided, mean score) of each judge."""
    if "verdicts" not in table.columns or not table.judges:
        return []
    return source.ask(
        "SELECT v.name, count(*) FILTER (v.passed), count(*) FILTER (NOT v.passed), "
        "count(*) FILTER (v.passed IS NULL), round(avg(v.score), 3) "
        f"FROM (SELECT unnest(verdicts) AS v FROM {table.name}) GROUP BY 1 ORDER BY 1"
    )
