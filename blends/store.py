"""The working database of a blend: what the gates and draws work with, 16-byte hashes instead of conversations.

keys      every row read (stage.py holds the rows themselves), with the fault that makes it unreadable
unread    what could not even be made a row
lost      rows that a gate took, or that were not drawn
pool      keys without lost
drawn     rows of the blend, each with its number of copies
split_of  their groups and splits
place     one row per row written: its split and its position there
"""

from pathlib import Path

import duckdb
import pyarrow as pa

from gristmill.views import OFFLINE
from schemas.arrow import RECORDS

MEMORY = "2GB"

_SCHEMA = r"""
    CREATE MACRO known_role(role) AS role IN ('system', 'user', 'assistant', 'tool');
    CREATE MACRO json_kind(text) AS CASE WHEN json_valid(text) THEN json_type(text) END;
    CREATE MACRO json_text(text, path) AS CASE WHEN json_valid(text) THEN text ->> path END;
    -- Texts that differ in case, blanks or Unicode composition only are the same; single spaces stay as they are.
    CREATE MACRO normal(text) AS
        trim(lower(regexp_replace(nfc_normalize(coalesce(text, '')), '\s{2,}|[^\S ]', ' ', 'g')));
    CREATE MACRO conversation_key(messages, tools) AS md5_number(tools || to_json(list_transform(messages, lambda m: [
        m.role, m.name, normal(m.content), normal(m.reasoning_content),
        list_transform(m.tool_calls, lambda c: [c.function.name, normal(c.function.arguments)])::VARCHAR])));
    CREATE MACRO opening_turn(messages) AS list_filter(messages, lambda m: m.role = 'user')[1].content;
    CREATE MACRO length_of(messages) AS list_sum(list_transform(messages, lambda m:
        length(coalesce(m.content, '')) + length(coalesce(m.reasoning_content, ''))
        + coalesce(list_sum(list_transform(m.tool_calls, lambda c: length(c.function.arguments))), 0)));
    CREATE TABLE unread(source INTEGER, detail VARCHAR);
    CREATE TABLE lost(row BIGINT, reason VARCHAR, detail VARCHAR);
"""

# `fault` says why a row of the right columns is no record. JSON functions fail on text that is not JSON, so a filter
# sees sound rows only. `draw` orders rows by chance; `digest` settles it between rows of one uuid, so that no result
# depends on the order of files or rows.
_KEYS = f"""
    SELECT row, $source::INTEGER AS source, uuid, category, reasoning, license, generator,
           CASE WHEN coalesce(uuid, '') = '' THEN 'the uuid is missing'
                WHEN coalesce(len(messages), 0) = 0 THEN 'there are no messages'
                WHEN len(list_filter(messages, lambda m: known_role(m.role))) < len(messages)
                    THEN 'a message has an unknown role'
                WHEN json_kind(metadata) IS DISTINCT FROM 'OBJECT' THEN 'metadata is not a JSON object'
                WHEN json_kind(provenance) IS DISTINCT FROM 'OBJECT' THEN 'provenance is not a JSON object'
                WHEN json_kind(tools) IS DISTINCT FROM 'ARRAY' THEN 'tools is not a JSON array' END AS fault,
           CASE WHEN fault IS NULL THEN coalesce((
               {{condition}}
           ), false) ELSE false END AS passed,
           md5_number($seed || '/draw/' || uuid) AS draw,
           md5_number(to_json(struct_pack({", ".join(f"{name} := {name}" for name in RECORDS.names)}))) AS digest,
           conversation_key(messages, tools) AS conversation,
           if(opening_turn(messages) <> '', md5_number(normal(opening_turn(messages))), conversation) AS opening,
           coalesce(generator || '/' || nullif(json_text(metadata, '$.scenario'), ''), nullif(task_id, '')) AS scenario,
           coalesce(json_text(metadata, '$.mode') IN ('grammar', 'computed', 'exercises'), false) AS rule_made,
           len(messages) AS turns, length_of(messages) AS characters
    FROM batch
"""


def open_store(path: Path) -> duckdb.DuckDBPyConnection:
    """An empty store in the new file `path`."""
    store = duckdb.connect(path, config={**OFFLINE, "memory_limit": MEMORY, "preserve_insertion_order": "false"})
    store.execute(_SCHEMA)
    store.register("shape", RECORDS.empty_table())
    _with_batch(store, "CREATE TABLE keys AS", RECORDS.empty_table(), 0, 0, "true", 0)
    store.execute("CREATE VIEW pool AS FROM keys ANTI JOIN lost USING (row)")
    return store


def add_keys(
    store: duckdb.DuckDBPyConnection, rows: pa.Table, first: int, source: int, condition: str, seed: int
) -> None:
    """Files rows in the columns of `RECORDS`, numbered from `first`; `condition` is the source's filter."""
    _with_batch(store, "INSERT INTO keys", rows, first, source, condition, seed)


def _with_batch(
    store: duckdb.DuckDBPyConnection, into: str, rows: pa.Table, first: int, source: int, condition: str, seed: int
) -> None:
    numbers = pa.array(range(first, first + rows.num_rows), pa.int64())
    store.register("batch", rows.append_column("row", numbers))
    store.execute(f"{into} {_KEYS.replace('{condition}', condition)}", {"source": source, "seed": str(seed)})
    store.unregister("batch")


def count(store: duckdb.DuckDBPyConnection, rows: str) -> int:
    """The number of rows of a table, or of `TABLE WHERE ...`."""
    return int(store.sql(f"SELECT count(*) FROM {rows}").fetchall()[0][0])
