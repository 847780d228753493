"""What people said of a run's records (`gristmill audit`) holds in a blend: what they mended goes in as they mended it,
what they rejected is left out with the reason `review`. The last decision on a record counts, whoever made it."""

from pathlib import Path

import duckdb
import orjson
import pyarrow as pa

from gristmill.audit import Review, Reviews
from gristmill.runs import RunFolder
from schemas import Message
from schemas.arrow import RECORDS, rows_to_table


def reviews_of(file: str) -> dict[str, Review]:
    """By uuid, the reviews that change something of the records in a file; none where it isn't part of a run."""
    path = Path(file)
    if path.parent.name != "records":
        return {}
    latest = Reviews(RunFolder(path.parent.parent).reviews).latest()
    return {id: one for (id, side), one in latest.items() if side == "accepted" and one.decision != "accept"}


def mended(rows: pa.Table, reviews: dict[str, Review]) -> pa.Table:
    """The rows with the messages that reviewers gave them; they keep their uuid, and `metadata.review` says so."""
    if not any(one.decision == "fix" for one in reviews.values()):
        return rows
    return rows_to_table([_mended(row, reviews.get(row["uuid"])) for row in rows.to_pylist()], RECORDS)


def _mended(row: dict[str, object], review: Review | None) -> dict[str, object]:
    if review is None or review.edited is None:
        return row
    messages = [Message.model_validate(message).model_dump(mode="json") for message in orjson.loads(review.edited)]
    metadata = {**orjson.loads(str(row["metadata"])), "review": {"decision": "fix", "note": review.note}}
    return {**row, "messages": messages, "metadata": orjson.dumps(metadata).decode()}


def leave_out(store: duckdb.DuckDBPyConnection, rows: pa.Table, first: int, reviews: dict[str, Review]) -> None:
    """Rows, numbered from `first`, that a reviewer rejected are lost."""
    lost = [
        (first + place, "review", review.note)
        for place, uuid in enumerate(rows["uuid"].to_pylist())
        if (review := reviews.get(uuid)) is not None and review.decision == "reject"
    ]
    if lost:
        store.executemany("INSERT INTO lost VALUES (?, ?, ?)", lost)
