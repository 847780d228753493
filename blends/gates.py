"""The gates that a row passes on its way into a blend. What each takes is kept with the reason.

Exact duplicates are conversations that agree in roles, contents, traces, calls and tools after case, blanks and Unicode
composition are made the same (`conversation_key` in store.py). Of duplicates, exact and near (near.py, semantic.py),
the first in BEST_FIRST stays: one of an earlier release, else the better scored one, else that of the first source.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from blends.cache import cached
from blends.decontaminate import Decontaminator
from blends.languages import rows_of_other_languages
from blends.near import Ranked, find_near, losers
from blends.pii import rows_with_pii
from blends.semantic import SemanticDedup
from blends.store import BEST_FIRST, LOST, count, fingerprint, registered
from blends.workbench import Workbench
from schemas.blend_config import BlendConfig, Length

NEAR = 0.8
"""The similarity from which rows are kept in one split where no gate drops near-duplicates."""


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
    bench: Workbench, config: BlendConfig, decontaminator: Decontaminator | None, semantic: SemanticDedup | None
) -> Gated:
    """Applies the configured gates, cheapest first."""
    gates, dedup = config.gates, config.gates.dedup
    unread = count(bench.store, "unread")
    readable = _gate(bench, "readable", _READABLE, [])
    done = [readable._replace(rows=readable.rows + unread, dropped=readable.dropped + unread)]
    done.append(_gate(bench, "filter", "SELECT row, 'filter', '' FROM pool WHERE NOT passed", []))
    if gates.licenses is not None:
        done.append(_gate(bench, "licenses", _LICENSES, [gates.licenses.allow]))
    if gates.length is not None:
        done.append(_gate(bench, "length", _LENGTH, _limits(gates.length)))
    if dedup.exact:
        done.append(_gate(bench, "dedup.exact", _EXACT, [len(config.sources), dedup.against]))
    if gates.languages is not None:
        scan = partial(rows_of_other_languages, gates.languages)
        done.append(_table_gate(bench, "languages", _scan(bench, "languages", gates.languages, scan, ["messages"])))
    if gates.pii is not None:
        scan = partial(rows_with_pii, gates.pii.kinds)
        personal = _scan(bench, "pii", gates.pii.kinds, scan, ["messages", "metadata"])
        if gates.pii.action == "drop":
            done.append(_table_gate(bench, "pii", personal))
        else:
            with registered(bench.store, "personal", personal):
                bench.store.execute("INSERT INTO edit SELECT row, true, NULL FROM personal")
    done += _near_duplicates(bench, config)
    if semantic is not None:
        done.append(_table_gate(bench, "dedup.semantic", _losses(bench, config, semantic.pairs(bench))))
    if decontaminator is None:
        return Gated(done, None)
    for name, losses in decontaminator.losses(bench):
        done.append(_table_gate(bench, f"decontaminate.{name}", losses))
    return Gated(done, decontaminator.account())


def pass_size_gates(bench: Workbench, config: BlendConfig) -> Iterator[GateRow]:
    """What a trainer can make nothing of, and what is too long for it; needs `size`."""
    yield _gate(bench, "renderable", _RENDERABLE, [])
    if config.gates.length is not None and config.gates.length.max_tokens is not None:
        yield _gate(bench, "length.tokens", _TOKENS, [config.gates.length.max_tokens])


_READABLE = "SELECT row, 'unreadable', fault FROM keys WHERE fault IS NOT NULL"
_LICENSES = """
    SELECT row, 'license', array_to_string(list_distinct(refused), ', ')
    FROM (SELECT row, list_filter(licenses, lambda l: NOT list_contains($1, l)) AS refused FROM pool)
    WHERE len(refused) > 0
"""
_LENGTH = """
    SELECT row, 'length', printf('%d characters, %d turns', characters, turns) FROM pool
    WHERE characters < coalesce($1, 0) OR characters > coalesce($2, characters) OR turns > coalesce($3, turns)
"""
_RENDERABLE = """
    SELECT row, 'unrenderable', coalesce(size.fault, 'nothing in it is written by the assistant')
    FROM pool JOIN size USING (row) WHERE size.fault IS NOT NULL OR supervised_tokens = 0
"""
_TOKENS = "SELECT row, 'length', printf('%d tokens', tokens) FROM pool JOIN size USING (row) WHERE tokens > $1"
_EXACT = f"""
    SELECT row, 'duplicate', 'of ' || first || coalesce(' in ' || $2[best - $1 + 1], '') FROM (
        SELECT row, earlier, first_value(uuid) OVER same AS first, first_value(source) OVER same AS best,
               row_number() OVER same AS number
        FROM compared WINDOW same AS (PARTITION BY conversation ORDER BY {BEST_FIRST})
    ) WHERE number > 1 AND NOT earlier
"""


def _limits(length: Length) -> list[object]:
    return [length.min_characters, length.max_characters, length.max_turns]


def _near_duplicates(bench: Workbench, config: BlendConfig) -> Iterator[GateRow]:
    """Fills `near`, which the splits need too, and takes the near-duplicates if the config says so."""
    threshold = config.gates.dedup.minhash
    if threshold is None and config.splits.valid == 0:
        return
    at = threshold or NEAR
    near = cached("near", [at, fingerprint(bench.store, "compared")], lambda: find_near(bench, at))
    with registered(bench.store, "pairs", near):
        bench.store.execute("INSERT INTO near FROM pairs")
    if threshold is not None:
        yield _table_gate(bench, "dedup.minhash", _losses(bench, config, near))


def _losses(bench: Workbench, config: BlendConfig, near: pa.Table) -> pa.Table:
    """Those of the pairs' rows that go, each with the row that it goes for."""
    ranked = Ranked.of(bench.store)
    rank = np.zeros(bench.stage.rows, np.int64)
    rank[ranked.rows] = np.arange(len(ranked.rows))
    lost = losers(len(ranked.rows), ranked.earlier, rank[near["first"].to_numpy()], rank[near["second"].to_numpy()])
    gone = np.flatnonzero(lost >= 0)
    pairs = pa.table({"row": ranked.rows[gone], "best": ranked.rows[lost[gone]]})
    with registered(bench.store, "pairs", pairs), registered(bench.store, "alike", near):
        return bench.store.sql(
            """
            SELECT pairs.row, 'near_duplicate' AS reason, 'of ' || uuid || coalesce(' in ' || $2[source - $1 + 1], '')
                || printf(', %.2f alike', similarity) AS detail
            FROM pairs JOIN keys ON keys.row = best
            JOIN alike ON alike.first = best AND alike.second = pairs.row
            """,
            params=[len(config.sources), config.gates.dedup.against],
        ).to_arrow_table()


def _scan(
    bench: Workbench, kind: str, settings: Any, scan: Callable[[pa.Table], pa.Table], columns: list[str]
) -> pa.Table:
    """What `scan` finds in the rows of the pool, or found before."""

    def make() -> pa.Table:
        found = []
        for part in bench.executor.map(scan, bench.pool(columns)):
            found.append(part)
            bench.say(f"{kind}: {sum(part.num_rows for part in found):,} rows found")
        return pa.concat_tables([LOST.empty_table(), *found])

    plain = settings if isinstance(settings, list) else settings.model_dump()
    return cached(kind, [plain, fingerprint(bench.store, "pool")], make)


def _table_gate(bench: Workbench, name: str, losses: pa.Table) -> GateRow:
    with registered(bench.store, "losses", losses):
        return _gate(bench, name, "SELECT row, reason, detail FROM losses", [])


def _gate(bench: Workbench, name: str, losses: str, values: list[object]) -> GateRow:
    reached = count(bench.store, "pool")
    bench.store.execute(f"INSERT INTO lost {losses}", values)
    return GateRow(name, reached, reached - count(bench.store, "pool"))
