"""The working database of a blend, on disk, so that its memory is bounded whatever the sources hold.

record   every readable row that passed its source's filter; `rowid` is its number
aside    every other row read: unreadable or filtered out
keys     what the gates and draws work with: 16-byte hashes instead of conversations
lost     rows of `record` that a gate took, or that were not drawn
drawn    rows of the blend, each with its number of copies
place    one row per row written: its split and its position there
"""

from pathlib import Path

import duckdb
import pyarrow as pa

from gristmill.views import OFFLINE
from schemas.arrow import RECORDS

MEMORY = "2GB"
RECORD_COLUMNS = ", ".join(RECORDS.names)
RULE_MADE = ("grammar", "computed", "exercises")

# Why a row of the right columns is no record; NULL for a sound one. JSON functions fail on text that is not JSON, so no
# such row may come near a filter.
_FAULT = """
    CASE WHEN coalesce(uuid, '') = '' THEN 'the uuid is missing'
         WHEN coalesce(len(messages), 0) = 0 THEN 'there are no messages'
         WHEN len(list_filter(messages, lambda m: m.role IN ('system', 'user', 'assistant', 'tool'))) < len(messages)
             THEN 'a message has an unknown role'
         WHEN json_kind(metadata) IS DISTINCT FROM 'OBJECT' THEN 'metadata is not a JSON object'
         WHEN json_kind(provenance) IS DISTINCT FROM 'OBJECT' THEN 'provenance is not a JSON object'
         WHEN json_kind(tools) IS DISTINCT FROM 'ARRAY' THEN 'tools is not a JSON array' END
"""

_SCHEMA = r"""
    CREATE MACRO json_kind(text) AS CASE WHEN json_valid(text) THEN json_type(text) END;
    -- Two texts that differ in case, blanks or Unicode composition only count as the same.
    CREATE MACRO normal(text) AS trim(lower(regexp_replace(nfc_normalize(coalesce(text, '')), '[\s\p{Z}]+', ' ', 'g')));
    CREATE MACRO conversation_key(messages, tools) AS md5_number(tools || to_json(list_transform(messages, lambda m: [
        m.role, m.name, normal(m.content), normal(m.reasoning_content),
        list_transform(m.tool_calls, lambda c: [c.function.name, normal(c.function.arguments)])::VARCHAR])));
    CREATE MACRO opening(messages) AS list_filter(messages, lambda m: m.role = 'user')[1].content;
    CREATE MACRO characters(messages) AS list_sum(list_transform(messages, lambda m:
        length(coalesce(m.content, '')) + length(coalesce(m.reasoning_content, ''))
        + coalesce(list_sum(list_transform(m.tool_calls, lambda c: length(c.function.arguments))), 0)));
    CREATE TABLE record AS SELECT 0::INTEGER AS source, * FROM shape;
    CREATE TABLE aside AS SELECT source, uuid, '' AS reason, '' AS detail, messages, metadata FROM record;
    CREATE TABLE lost(row BIGINT, reason VARCHAR, detail VARCHAR);
"""


def open_store(path: Path) -> duckdb.DuckDBPyConnection:
    """An empty store in the new file `path`."""
    store = duckdb.connect(path, config={**OFFLINE, "memory_limit": MEMORY, "preserve_insertion_order": "false"})
    store.register("shape", RECORDS.empty_table())
    store.execute(_SCHEMA)
    return store


def add_rows(store: duckdb.DuckDBPyConnection, source: int, rows: pa.Table, where: str, condition: str) -> None:
    """Files the rows of one source, in the columns of `RECORDS`, under `record` or, with the reason, under `aside`."""
    store.register("batch", rows)
    store.execute(f"CREATE OR REPLACE TEMP TABLE checked AS SELECT *, {_FAULT} AS fault FROM batch")
    store.execute("CREATE OR REPLACE TEMP TABLE sound AS SELECT * EXCLUDE (fault) FROM checked WHERE fault IS NULL")
    store.execute(
        "INSERT INTO aside SELECT ?, uuid, 'unreadable', ? || ': ' || fault, messages, metadata "
        "FROM checked WHERE fault IS NOT NULL",
        [source, where],
    )
    store.execute(
        f"CREATE OR REPLACE TEMP TABLE passed AS SELECT *, coalesce((\n{condition}\n), false) AS pass FROM sound"
    )
    store.execute("INSERT INTO record SELECT ?, * EXCLUDE (pass) FROM passed WHERE pass", [source])
    store.execute(
        "INSERT INTO aside SELECT ?, uuid, 'filter', ?, messages, metadata FROM passed WHERE NOT pass",
        [source, condition],
    )
    store.unregister("batch")


def index_rows(store: duckdb.DuckDBPyConnection, seed: int) -> None:
    """Fills `keys`. `draw` orders the rows of a source by chance; `digest` settles it between rows of one uuid, so
    that no result depends on the order of files or rows."""
    store.execute(
        f"""
        CREATE TABLE keys AS
        SELECT rowid AS row, source, uuid, license,
               md5_number(? || '/draw/' || uuid) AS draw,
               md5_number(to_json(struct_pack({", ".join(f"{name} := {name}" for name in RECORDS.names)}))) AS digest,
               conversation_key(messages, tools) AS conversation,
               coalesce(md5_number(normal(opening(messages))), conversation) AS opening,
               CASE WHEN coalesce(metadata ->> '$.scenario', '') <> '' THEN generator || '/' || (metadata ->> '$.scenario')
                    ELSE nullif(task_id, '') END AS scenario,
               coalesce(metadata ->> '$.mode' IN {RULE_MADE}, false) AS rule_made,
               characters(messages) AS characters
        FROM record
        """,
        [str(seed)],
    )
    store.execute("CREATE VIEW pool AS FROM keys ANTI JOIN lost USING (row)")
