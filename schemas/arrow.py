"""The Arrow schemas of everything that Gristmill writes as parquet, and the way from a record to a row and back."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

import orjson
import pyarrow as pa
import pyarrow.json

from schemas.chat_shapes import conversation_in
from schemas.records import ReasoningMode, Record

_UUID = re.compile(r"(?:[0-9a-f]{32})?")  # of a record; others give their rows what they like
_string = pa.string()

TOOL_CALL = pa.struct(
    [
        ("id", _string),
        ("type", _string),
        ("function", pa.struct([("name", _string), ("arguments", _string)])),
    ]
)
MESSAGE = pa.struct(
    [
        ("role", _string),
        ("content", _string),
        ("reasoning_content", _string),
        ("tool_calls", pa.list_(TOOL_CALL)),
        ("tool_call_id", _string),
        ("name", _string),
    ]
)
VERDICT = pa.struct(
    [
        ("name", _string),
        ("passed", pa.bool_()),
        ("score", pa.float64()),
        ("reason", _string),
        ("model", _string),
        ("cost", pa.float64()),
    ]
)
RECORDS = pa.schema(
    [
        ("uuid", _string),
        ("generator", _string),
        ("version", _string),
        ("category", _string),
        ("task_id", _string),
        ("messages", pa.list_(MESSAGE)),
        ("tools", _string),
        ("reasoning", _string),
        ("license", _string),
        ("used_in", pa.list_(_string)),
        ("metadata", _string),
        ("verdicts", pa.list_(VERDICT)),
        ("provenance", _string),
    ]
)
REJECTS = pa.schema(
    [
        ("task_id", _string),
        ("status", _string),
        ("stage", _string),
        ("reason", _string),
        ("detail", _string),
        ("payload", _string),
    ]
)
CALLS = pa.schema(
    [
        ("task_id", _string),
        ("key", _string),
        ("scope", _string),
        ("stage", _string),
        ("role", _string),
        ("model", _string),
        ("finish_reason", _string),
        ("input_tokens", pa.int64()),
        ("output_tokens", pa.int64()),
        ("reasoning_tokens", pa.int64()),
        ("cached_tokens", pa.int64()),
        ("usd", pa.float64()),
        ("seconds", pa.float64()),
        ("finished_at", pa.float64()),
        ("paid", pa.bool_()),
    ]
)

_JSON_COLUMNS = ("tools", "metadata", "provenance")


def record_to_row(record: Record) -> dict[str, Any]:
    """One record as a row of `RECORDS`. A tool's parameters keep their order, in which the teacher saw them."""
    row = record.model_dump(mode="json")
    for column in _JSON_COLUMNS:
        row[column] = orjson.dumps(row[column]).decode()
    return row


def row_to_record(row: dict[str, Any]) -> Record:
    """One row of `RECORDS` as a record; pydantic's ValidationError where the row isn't one."""
    parsed = {column: orjson.loads(row[column]) for column in _JSON_COLUMNS}
    return Record.model_validate({**row, **parsed})


def foreign_row_to_record(row: dict[str, Any]) -> Record:
    """A row of anybody's: ours, or a conversation in one of the shapes of schemas.chat_shapes.

    Columns that we don't have go to `metadata`. ValueError (pydantic's included) where there is no conversation in it.
    """
    found = conversation_in(row)
    parsed: dict[str, Any] = {name: value for name, value in row.items() if value is not None and name in RECORDS.names}
    others = {name: value for name, value in row.items() if name not in {*RECORDS.names, *found.columns}}
    for column in ("metadata", "provenance"):
        value = parsed.get(column) or {}
        parsed[column] = orjson.loads(value) if isinstance(value, str | bytes) else value
    if not isinstance(parsed["metadata"], dict):
        raise ValueError("metadata is no object")
    if "uuid" in parsed and not _UUID.fullmatch(str(parsed["uuid"])):
        others["uuid"] = parsed.pop("uuid")
    if parsed.get("reasoning", "on") not in get_args(ReasoningMode):
        others["reasoning"] = parsed.pop("reasoning")
    parsed["messages"], parsed["tools"] = found.messages, found.tools
    parsed["metadata"] = {**others, **parsed["metadata"]}
    return Record.model_validate(parsed)


def records_to_table(records: Iterable[Record]) -> pa.Table:
    return rows_to_table([record_to_row(record) for record in records], RECORDS)


def rows_to_table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as a table of exactly this schema; pyarrow's ArrowInvalid where one doesn't fit.

    They go through JSON: `Table.from_pylist` would import pandas wherever it is installed, at 0.2 s and 40 MB.
    """
    return lines_to_table(b"\n".join(map(orjson.dumps, rows)), schema)


def lines_to_table(lines: bytes, schema: pa.Schema) -> pa.Table:
    """The same for rows that are JSON lines already."""
    if not lines:
        return pa.Table.from_batches([], schema)
    return pyarrow.json.read_json(
        pa.BufferReader(lines),
        read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(lines) + 1),
        parse_options=pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error"),
    )
