"""What a blend changes in rows: personal data is masked, traces are stripped or marked as of low effort.

Which rows lose their traces is decided before any is drawn, at even steps through each source's rows in the order in
which they are drawn. So of any number that is drawn the share is right to one row, and all counts of tokens are counts
of what is written. A changed row keeps its uuid; `metadata.reasoning_stripped` tells of a lost trace.
"""

from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from blends.pii import mask_row
from blends.workbench import Workbench
from schemas.arrow import RECORDS, rows_to_table
from schemas.blend_config import BlendConfig, PIIKind

_OFF = """
    INSERT INTO edit SELECT row, false, 'off' FROM (
        SELECT row, row_number() OVER (PARTITION BY source, bucket, rule_made ORDER BY draw, digest) AS number,
               md5_number_lower($1 || '/off/' || source || '/' || coalesce(bucket, '')) / 18446744073709551616 AS start
        FROM pool WHERE traced AND reasoning = 'on' AND NOT list_contains($3, source)
    ) WHERE floor(number * $2::DOUBLE + start) > floor((number - 1) * $2::DOUBLE + start)
"""
_LOW = "INSERT INTO edit SELECT row, false, 'low' FROM pool WHERE traced AND list_contains($1, source)"
EDITS = "SELECT row, bool_or(masked) AS masked, any_value(effort) AS effort FROM edit GROUP BY row"
"""What is changed in each row that is changed."""


class Edit(NamedTuple):
    masked: bool
    effort: str | None


def plan_efforts(bench: Workbench, config: BlendConfig) -> None:
    """Adds to `edit` which rows of the pool lose their traces, and which are of low effort."""
    low = [number for number, source in enumerate(config.sources) if source.effort == "low"]
    bench.store.execute(_LOW, [low])
    if config.reasoning.off:
        bench.store.execute(_OFF, [str(config.seed), config.reasoning.off, low])


def masked_kinds(config: BlendConfig) -> list[PIIKind]:
    """The kinds of personal data that are masked."""
    gate = config.gates.pii
    return gate.kinds if gate is not None and gate.action == "mask" else []


def edits_of(bench: Workbench, first: int, rows: int) -> dict[int, Edit]:
    """The edits of the rows from number `first` on."""
    found = bench.store.sql(f"FROM ({EDITS}) WHERE row >= $1 AND row < $1 + $2", params=[first, rows]).fetchall()
    return {row: Edit(masked, effort) for row, masked, effort in found}


def edited(rows: pa.Table, edits: list[Edit | None], kinds: list[PIIKind]) -> pa.Table:
    """The rows, in the columns of `RECORDS`, with these edits applied."""
    places = [place for place, edit in enumerate(edits) if edit is not None]
    if not places:
        return rows
    changed = [
        edited_row(row, edit, kinds)
        for row, edit in zip(rows.take(places).to_pylist(), (edits[place] for place in places), strict=True)
        if edit is not None
    ]
    where = {place: rows.num_rows + number for number, place in enumerate(places)}
    both = pa.concat_tables([rows, rows_to_table(changed, RECORDS)])
    return both.take([where.get(place, place) for place in range(rows.num_rows)])


def edited_row(row: dict[str, Any], edit: Edit, kinds: list[PIIKind]) -> dict[str, Any]:
    if edit.masked:
        row = mask_row(row, kinds)
    if edit.effort == "low":
        return {**row, "reasoning": "low"}
    if edit.effort == "off":
        messages = [{**message, "reasoning_content": None} for message in row["messages"]]
        metadata = orjson.dumps({**orjson.loads(row["metadata"]), "reasoning_stripped": True}).decode()
        return {**row, "messages": messages, "reasoning": "off", "metadata": metadata}
    return row
