"""The working database of a blend: what the gates and draws work with, 16-byte hashes instead of conversations.

keys      every row read (stage.py holds the rows themselves), with the fault that makes it unreadable
unread    what could not even be made a row
lost      rows that a gate took, or that were not drawn
compared  keys without lost; some are `earlier`, rows of former releases that the new ones are held against
pool      the others of these: what the blend can be made of
near      pairs of near-duplicates
edit      rows that are changed before they are written: masked, or with another effort
size      tokens and supervised tokens of rows, where there is a tokenizer
drawn     rows of the blend, each with its number of copies
split_of  their groups and splits
place     one row per row written: its split and its position there
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import duckdb
import pyarrow as pa

from blends.shingles import END
from gristmill.views import OFFLINE, sql_text
from schemas.arrow import RECORDS

MEMORY = "2GB"

LOST = pa.schema([("row", pa.int64()), ("reason", pa.string()), ("detail", pa.string())])

BEST_FIRST = "earlier DESC, preference DESC NULLS LAST, source, digest"
"""Of rows that say the same the first in this order stays."""

_SCHEMA = rf"""
    CREATE MACRO known_role(role) AS role IN ('system', 'user', 'assistant', 'tool');
    CREATE MACRO json_kind(text) AS CASE WHEN json_valid(text) THEN json_type(text) END;
    CREATE MACRO json_text(text, path) AS CASE WHEN json_valid(text) THEN text ->> path END;
    -- Texts that differ in case, blanks or Unicode composition only are the same; single spaces stay as they are.
    CREATE MACRO normal(text) AS
        trim(lower(regexp_replace(nfc_normalize(coalesce(text, '')), '\s{{2,}}|[^\S ]', ' ', 'g')));
    CREATE MACRO conversation_key(messages, tools) AS md5_number(tools || to_json(list_transform(messages, lambda m: [
        m.role, m.name, normal(m.content), normal(m.reasoning_content),
        list_transform(m.tool_calls, lambda c: [c.function.name, normal(c.function.arguments)])::VARCHAR])));
    CREATE MACRO opening_turn(messages) AS list_filter(messages, lambda m: m.role = 'user')[1].content;
    CREATE MACRO length_of(messages) AS list_sum(list_transform(messages, lambda m:
        length(coalesce(m.content, '')) + length(coalesce(m.reasoning_content, ''))
        + coalesce(list_sum(list_transform(m.tool_calls, lambda c: length(c.function.arguments))), 0)));
    -- What is compared for near-duplicates: all that is said, without the system prompt, which many rows share.
    CREATE MACRO said(messages) AS array_to_string(list_transform(list_filter(messages, lambda m: m.role <> 'system'),
        lambda m: normal(concat_ws(' ', m.content, m.reasoning_content,
                                   array_to_string(list_transform(m.tool_calls, lambda c: c.function.arguments), ' ')))
        ), chr(10)) || {sql_text(END)};
    CREATE MACRO traced(messages) AS
        len(list_filter(messages, lambda m: m.role = 'assistant' AND trim(m.reasoning_content) <> '')) > 0;
    CREATE MACRO licenses_of(license, provenance) AS
        list_prepend(coalesce(license, ''), CASE WHEN json_valid(provenance)
            THEN coalesce((provenance -> '$.licenses' ->> '$.*')::VARCHAR[], []) ELSE [] END);
    CREATE TABLE unread(source INTEGER, detail VARCHAR);
    CREATE TABLE lost(row BIGINT, reason VARCHAR, detail VARCHAR);
    CREATE TABLE near(first BIGINT, second BIGINT, similarity DOUBLE);
    CREATE TABLE edit(row BIGINT, masked BOOLEAN, effort VARCHAR);
    CREATE TABLE size(row BIGINT, tokens BIGINT, supervised_tokens BIGINT, sequences BIGINT, fault VARCHAR);
"""

# `fault` says why a row of the right columns is no record. JSON functions fail on text that is not JSON, so a source's
# own expressions see sound rows only. `draw` orders rows by chance; `digest` settles it between rows of one uuid, so
# that no result depends on the order of files or rows.
_KEYS = f"""
    SELECT row, $source::INTEGER AS source, $earlier::BOOLEAN AS earlier, uuid, category, reasoning, generator,
           licenses_of(license, provenance) AS licenses,
           CASE WHEN coalesce(uuid, '') = '' THEN 'the uuid is missing'
                WHEN coalesce(len(messages), 0) = 0 THEN 'there are no messages'
                WHEN len(list_filter(messages, lambda m: known_role(m.role))) < len(messages)
                    THEN 'a message has an unknown role'
                WHEN json_kind(metadata) IS DISTINCT FROM 'OBJECT' THEN 'metadata is not a JSON object'
                WHEN json_kind(provenance) IS DISTINCT FROM 'OBJECT' THEN 'provenance is not a JSON object'
                WHEN json_kind(tools) IS DISTINCT FROM 'ARRAY' THEN 'tools is not a JSON array' END AS fault,
           {{expressions}},
           md5_number($seed || '/draw/' || uuid) AS draw,
           md5_number(to_json(struct_pack({", ".join(f"{name} := {name}" for name in RECORDS.names)}))) AS digest,
           conversation_key(messages, tools) AS conversation,
           if(opening_turn(messages) <> '', md5_number(normal(opening_turn(messages))), conversation) AS opening,
           coalesce(generator || '/' || nullif(json_text(metadata, '$.scenario'), ''), nullif(task_id, '')) AS scenario,
           coalesce(json_text(metadata, '$.mode') IN ('grammar', 'computed', 'exercises'), false) AS rule_made,
           TRY_CAST(json_text(metadata, '$.difficulty') AS DOUBLE) AS difficulty,
           coalesce(traced(messages), false) AND reasoning <> 'off' AS traced,
           len(messages) AS turns, length_of(messages) AS characters
    FROM batch
"""


class Expressions(NamedTuple):
    """A source's own SQL over the columns of a record: what passes, how good a row is, and the bucket of its quota."""

    condition: str = "true"
    preference: str = "list_avg(list_transform(verdicts, lambda v: v.score))"
    bucket: str = "NULL"

    def sql(self) -> str:
        """As columns of `keys`; each on lines of its own, for it may end in a comment."""
        return f"""
           CASE WHEN fault IS NULL THEN coalesce((
               {self.condition}
           ), false) ELSE false END AS passed,
           CASE WHEN fault IS NULL THEN (
               {self.preference}
           )::DOUBLE END AS preference,
           CASE WHEN fault IS NULL THEN (
               {self.bucket}
           )::VARCHAR END AS bucket"""


def open_store(path: Path) -> duckdb.DuckDBPyConnection:
    """An empty store in the new file `path`."""
    store = duckdb.connect(path, config={**OFFLINE, "memory_limit": MEMORY, "preserve_insertion_order": "false"})
    store.execute(_SCHEMA)
    store.register("shape", RECORDS.empty_table())
    _with_batch(store, "CREATE TABLE keys AS", RECORDS.empty_table(), 0, 0, False, Expressions(), 0)
    store.execute("CREATE VIEW compared AS FROM keys ANTI JOIN lost USING (row)")
    store.execute("CREATE VIEW pool AS FROM compared WHERE NOT earlier")
    return store


def add_keys(
    store: duckdb.DuckDBPyConnection,
    rows: pa.Table,
    first: int,
    source: int,
    expressions: Expressions,
    seed: int,
    earlier: bool = False,
) -> None:
    """Files rows in the columns of `RECORDS`, numbered from `first`."""
    _with_batch(store, "INSERT INTO keys", rows, first, source, earlier, expressions, seed)


def _with_batch(
    store: duckdb.DuckDBPyConnection,
    into: str,
    rows: pa.Table,
    first: int,
    source: int,
    earlier: bool,
    expressions: Expressions,
    seed: int,
) -> None:
    numbers = pa.array(range(first, first + rows.num_rows), pa.int64())
    with registered(store, "batch", rows.append_column("row", numbers)):
        store.execute(
            f"{into} {_KEYS.replace('{expressions}', expressions.sql())}",
            {"source": source, "earlier": earlier, "seed": str(seed)},
        )


@contextmanager
def registered(store: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> Iterator[None]:
    """Shows the store an Arrow table under this name.

    DuckDB's Python layer leaves it in reference cycles; without the collection hundreds of megabytes may wait for one.
    """
    store.register(name, table)
    try:
        yield
    finally:
        store.unregister(name)
        del table
        gc.collect(1)


def count(store: duckdb.DuckDBPyConnection, rows: str) -> int:
    """The number of rows of a table, or of `TABLE WHERE ...`."""
    return int(store.sql(f"SELECT count(*) FROM {rows}").fetchall()[0][0])


def fingerprint(store: duckdb.DuckDBPyConnection, view: str) -> str:
    """The same for the same rows in the same places, as far as gates look at them."""
    row = "md5_number(concat_ws('/', row, source, earlier, preference, to_hex(digest)))"
    query = f"SELECT bit_xor({row}) FROM {view}"
    return str(store.sql(query).fetchall()[0][0])
