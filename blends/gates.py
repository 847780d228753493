"""The gates that a row passes on its way into a blend. What each takes is kept with the reason.

Exact duplicates are conversations that agree in roles, contents, traces, calls and tools after case, blanks and Unicode
composition are made the same (`conversation_key` in store.py); the source that comes first in the config keeps its row.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa

from blends.decontaminate import Decontaminator
from blends.sources import Say
from blends.stage import Stage
from blends.store import count
from schemas.blend_config import BlendConfig


class GateRow(NamedTuple):
    """What one gate did to the rows that reached it."""

    gate: str
    rows: int
    dropped: int


class Gated(NamedTuple):
    """A row for each gate, and what decontamination found for each benchmark."""

    gates: list[GateRow]
    contamination: dict[str, Any] | None


def pass_gates(
    store: duckdb.DuckDBPyConnection,
    stage: Stage,
    config: BlendConfig,
    decontaminator: Decontaminator | None,
    say: Say,
) -> Gated:
    """Applies the configured gates, cheapest first."""
    unread = count(store, "unread")
    readable = _gate(store, "readable", _READABLE, [])
    gates = [readable._replace(rows=readable.rows + unread, dropped=readable.dropped + unread)]
    gates.append(_gate(store, "filter", "SELECT row, 'filter', '' FROM pool WHERE NOT passed", []))
    if config.gates.licenses is not None:
        gates.append(_gate(store, "licenses", _LICENSES, [config.gates.licenses.allow]))
    if config.gates.dedup.exact:
        gates.append(_gate(store, "dedup.exact", _EXACT, []))
    if decontaminator is None:
        return Gated(gates, None)
    for name, losses in decontaminator.losses(store, stage, say):
        with _registered(store, losses):
            gates.append(_gate(store, f"decontaminate.{name}", "FROM contaminated", []))
    return Gated(gates, decontaminator.account())


_READABLE = "SELECT row, 'unreadable', fault FROM keys WHERE fault IS NOT NULL"
_LICENSES = """
    SELECT row, 'license', coalesce(license, '') FROM pool WHERE NOT list_contains(?, coalesce(license, ''))
"""
_EXACT = """
    SELECT row, 'duplicate', 'of ' || first FROM (
        SELECT row, first_value(uuid) OVER same AS first, row_number() OVER same AS number FROM pool
        WINDOW same AS (PARTITION BY conversation ORDER BY source, draw, digest)
    ) WHERE number > 1
"""


@contextmanager
def _registered(store: duckdb.DuckDBPyConnection, losses: pa.Table) -> Iterator[None]:
    store.register("contaminated", losses)
    try:
        yield
    finally:
        store.unregister("contaminated")


def _gate(store: duckdb.DuckDBPyConnection, name: str, losses: str, values: list[object]) -> GateRow:
    reached = count(store, "pool")
    store.execute(f"INSERT INTO lost {losses}", values)
    return GateRow(name, reached, reached - count(store, "pool"))
