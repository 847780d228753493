"""Divides the drawn rows into train and valid without leaks.

Rows with a common uuid, scenario (else task) or first user turn are one group, and so are near-duplicates, also over
several steps: if a shares a scenario with b, and b its first turn with c, then a and c go together, and two rows that
are near a dropped third one do, too. Groups are never divided.
"""

from array import array
from collections.abc import Iterable
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from blends.store import count
from schemas.blend_config import Splits

_EDGES = """
    WITH key AS (
        SELECT row, md5_number('uuid/' || uuid) AS key FROM keys SEMI JOIN drawn USING (row)
        UNION ALL SELECT row, opening FROM keys SEMI JOIN drawn USING (row)
        UNION ALL SELECT row, md5_number('scenario/' || scenario) FROM keys SEMI JOIN drawn USING (row)
            WHERE scenario IS NOT NULL
    ), shared AS (SELECT key, min(row) AS first FROM key GROUP BY key HAVING count(*) > 1)
    SELECT row, first FROM key JOIN shared USING (key) WHERE row > first
    UNION ALL SELECT first, second FROM near
"""


def split(store: duckdb.DuckDBPyConnection, splits: Splits, seed: int) -> None:
    """Fills `split_of`: the row, its group and its split."""
    rows = count(store, "keys")
    total = int(store.sql("SELECT coalesce(sum(copies), 0) FROM drawn").fetchall()[0][0])
    leaders = leaders_of(rows, store.sql(_EDGES).iter_rows())
    leader = pa.Array.from_buffers(pa.int64(), rows, [None, pa.py_buffer(leaders)])
    store.register("leaders", pa.table({"row": pa.array(np.arange(rows)), "leader": leader}))
    store.execute("CREATE TABLE grouped AS SELECT row, leader, copies FROM drawn JOIN leaders USING (row)")
    groups = store.sql(
        "SELECT leader, sum(copies) FROM grouped JOIN keys USING (row) GROUP BY leader "
        "ORDER BY md5_number(? || '/split/' || min(uuid))",
        params=[str(seed)],
    )
    chosen = choose(((int(group), int(size)) for group, size in groups.iter_rows()), round(splits.valid * total))
    store.register("chosen", pa.table({"leader": pa.array(chosen, pa.int64())}))
    store.execute(
        "CREATE TABLE split_of AS SELECT row, grouped.leader AS grouping, copies, "
        "CASE WHEN chosen.leader IS NULL THEN 'train' ELSE 'valid' END AS split "
        "FROM grouped LEFT JOIN chosen ON chosen.leader = grouped.leader"
    )


def leaders_of(rows: int, pairs: Iterable[tuple[Any, ...]]) -> "array[int]":
    """The leader of each of the rows 0..rows-1, the same for all that the pairs connect (union-find, path halving)."""
    leader = array("q", range(rows))

    def find(row: int) -> int:
        while leader[row] != row:
            leader[row] = leader[leader[row]]
            row = leader[row]
        return row

    for a, b in pairs:
        first, second = sorted((find(a), find(b)))
        leader[second] = first
    for row in range(rows):
        leader[row] = find(row)
    return leader


def choose(groups: Iterable[tuple[int, int]], wanted: int) -> list[int]:
    """Groups whose sizes come as near to `wanted` rows as taking what still fits, in order, comes.

    If that leaves a gap that the smallest group left out would fill better than nothing, it is taken as well.
    """
    chosen: list[int] = []
    left = wanted
    spare: tuple[int, int] | None = None  # (size, group) of the smallest that did not fit
    for group, size in groups:
        if left == 0:
            break
        if size <= left:
            chosen.append(group)
            left -= size
        elif spare is None or size < spare[0]:
            spare = (size, group)
    if left and spare and spare[0] - left < left:
        chosen.append(spare[1])
    return chosen
