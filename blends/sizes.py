"""Tokens and supervised tokens of the rows of a pool, as `sft` will see them; counted once per content.

Counts are kept per tokenizer, template and history (cache.py), by the digest of a row and what is changed in it. So
another blend of the same rows counts none of them again, whatever else has changed.
"""

from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from blends.cache import cache_folder, store_table
from blends.edits import edited, edits_of
from blends.store import registered
from blends.workbench import Workbench
from gristmill.render import History, Renderer, RenderError, TokenSequence, load_renderer
from schemas import content_hash
from schemas.arrow import RECORDS, row_to_record
from schemas.blend_config import BlendConfig, PIIKind

AT_ONCE = 512  # rows that are rendered together
KEPT_AT_ONCE = 100_000  # counts that are held in memory
COUNTS = pa.schema(
    [
        ("key", pa.string()),
        ("tokens", pa.int64()),
        ("supervised_tokens", pa.int64()),
        ("sequences", pa.int64()),  # with supervised tokens: what the sample loss takes the mean over
        ("fault", pa.string()),
    ]
)
_WANTED = """
    CREATE TEMP TABLE wanted AS
    SELECT row, concat_ws('/', to_hex(digest), changes) AS key
    FROM pool LEFT JOIN (
        SELECT row, concat_ws('/', if(bool_or(masked), $1, ''), any_value(effort)) AS changes FROM edit GROUP BY row
    ) USING (row)
"""
_UNCOUNTED = """
    CREATE TEMP TABLE uncounted AS
    SELECT min(row) AS row, key FROM wanted ANTI JOIN counts USING (key) GROUP BY key ORDER BY row
"""
_SIZE = "INSERT INTO size SELECT row, tokens, supervised_tokens, sequences, fault FROM wanted JOIN counts USING (key)"


class Rendering(NamedTuple):
    """How sft turns rows into tokens."""

    tokenizer: str
    template: str
    history: History

    def renderer(self) -> Renderer:
        """ConfigError where the tokenizer or the template can't be had."""
        return _renderer(self)


@cache
def _renderer(rendering: Rendering) -> Renderer:
    return load_renderer(*rendering)


def rendering_of(config: BlendConfig) -> Rendering | None:
    return Rendering(config.tokenizer, config.template, config.history) if config.tokenizer else None


def measure(bench: Workbench, rendering: Rendering, kinds: list[PIIKind]) -> None:
    """Fills `size` for all rows of the pool, also for those that can't be rendered.

    `kinds` are those of the personal data that is masked.
    """
    renderer = rendering.renderer()
    fingerprint = [renderer.tokenizer.fingerprint(), renderer.template.source, rendering.history]
    folder = cache_folder("tokens") / content_hash(fingerprint)
    folder.mkdir(exist_ok=True)
    store = bench.store
    store.execute(_WANTED, [",".join(sorted(kinds))])
    with registered(store, "none", COUNTS.empty_table()):
        store.execute("CREATE TEMP TABLE counts AS FROM none")
    if known := [str(path) for path in sorted(folder.glob("*.parquet"))]:
        store.execute("INSERT INTO counts SELECT DISTINCT * FROM read_parquet(?) SEMI JOIN wanted USING (key)", [known])
    store.execute(_UNCOUNTED)
    waiting: list[pa.Table] = []
    for part in bench.executor.map(partial(count_rows, rendering), _uncounted(bench, kinds)):
        waiting.append(part)
        if len(waiting) * AT_ONCE >= KEPT_AT_ONCE:
            _keep(bench, folder, waiting)
            waiting = []
    _keep(bench, folder, waiting)
    store.execute(_SIZE)


def _keep(bench: Workbench, folder: Path, parts: list[pa.Table]) -> None:
    """Puts counts into the cache and the store."""
    if parts:
        counted = pa.concat_tables(parts)
        store_table(folder / f"{content_hash(counted['key'].to_pylist())}.parquet", counted)
        with registered(bench.store, "counted", counted):
            bench.store.execute("INSERT INTO counts FROM counted")


def _uncounted(bench: Workbench, kinds: list[PIIKind]) -> Iterator[tuple[list[str], pa.Table]]:
    """The keys and rows, edited, that no count is known of."""
    counted = 0
    for batch in bench.stage.batches():
        first = batch["row"][0].as_py()
        query = "SELECT row, key FROM uncounted WHERE row >= $1 AND row < $1 + $2 ORDER BY row"
        found = bench.store.sql(query, params=[first, batch.num_rows]).fetchall()
        edits = edits_of(bench, first, batch.num_rows) if found else {}
        for start in range(0, len(found), AT_ONCE):
            part = found[start : start + AT_ONCE]
            rows = batch.select(RECORDS.names).take([row - first for row, _ in part])
            counted += len(part)
            bench.say(f"counting tokens: {counted:,} rows")
            yield [key for _, key in part], edited(rows, [edits.get(row) for row, _ in part], kinds)


def count_rows(rendering: Rendering, work: tuple[list[str], pa.Table]) -> pa.Table:
    """The counts of rows in the columns of `RECORDS`, or why they can't be rendered."""
    keys, rows = work
    rendered = rendering.renderer().render(row_to_record(row) for row in rows.to_pylist())
    made = [{"key": key, **_counts(sequences)} for key, sequences in zip(keys, rendered, strict=True)]
    return pa.Table.from_pylist(made, schema=COUNTS)


def _counts(sequences: list[TokenSequence] | RenderError) -> dict[str, int | str]:
    if isinstance(sequences, RenderError):
        return {"fault": str(sequences)}
    supervised = [int(sequence.supervised.sum()) for sequence in sequences]
    return {
        "tokens": sum(len(sequence.ids) for sequence in sequences),
        "supervised_tokens": sum(supervised),
        "sequences": sum(count > 0 for count in supervised),
    }
