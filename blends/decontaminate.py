"""The gate `decontaminate` of a blend: rows that give away a benchmark's item, with the item, method and score.

    dropped   contaminated   HumanEval: HumanEval/12, code 1.00

Rows are read once for text, code and n-grams; what is left is embedded where the config asks for `similarity`.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from typing import Any, Self

import pyarrow as pa

from blends.cache import cached
from blends.store import LOST, fingerprint
from blends.workbench import Workbench
from gristmill.decontamination import METHODS, Benchmark, Hit, Index, read_benchmark, record_texts
from gristmill.decontamination.calibration import resolve
from gristmill.decontamination.similarity import Neighbours, benchmark_passages, record_passages
from gristmill.embedding import Embedder
from schemas.blend_config import BlendConfig
from schemas.decontamination import Calibration, Decontaminate
from schemas.run_config import ModelConfig

SHOWN = 3  # items in a row's detail
CHUNK = 1024  # rows that are embedded at a time

_GATES = {"exact": ("text", "code"), "ngram": ("ngram",)}
_HITS = pa.schema(
    [
        ("row", pa.int64()),
        ("benchmark", pa.string()),
        ("item", pa.string()),
        ("method", pa.string()),
        ("score", pa.float64()),
    ]
)

Found = dict[int, list[Hit]]  # the hits of each row that has some


class Decontaminator:
    """Benchmarks and embedder are looked at before a row is read: what is wrong with them is said at once."""

    def __init__(self, gate: Decontaminate, model: ModelConfig | None) -> None:
        self._gate = gate
        self._benchmarks: list[Benchmark] = [read_benchmark(location) for location in gate.against]
        self._index = Index(self._benchmarks, gate.ngram)
        self._embedder = Embedder(model) if model is not None and gate.similarity is not None else None
        self._calibration: Calibration | None = None
        if self._embedder is not None and gate.similarity is not None:
            self._calibration = resolve(gate.similarity, self._embedder.model)
        self._found: Counter[tuple[str, str]] = Counter()  # (benchmark, method) -> rows
        self._items: defaultdict[str, set[str]] = defaultdict(set)  # benchmark -> items that were found

    @classmethod
    def of(cls, config: BlendConfig) -> Self | None:
        gate = config.gates.decontaminate
        return cls(gate, config.models.get("embedder")) if gate is not None else None

    def losses(self, bench: Workbench) -> Iterator[tuple[str, pa.Table]]:
        """(name of a gate, rows of `lost`); each gate sees the rows that those before it left."""
        against = [[benchmark.location, benchmark.version] for benchmark in self._benchmarks]
        depends_on = [against, self._gate.ngram, fingerprint(bench.store, "pool")]
        found = _found(cached("contamination", depends_on, lambda: _table(self._compare(bench))))
        for name, methods in _GATES.items():
            yield name, self._losses({row: hits for row, hits in found.items() if hits[0].method in methods})
        embedder, calibration = self._embedder, self._calibration
        if embedder is not None and calibration is not None:
            depends_on = [against, embedder.model, calibration.threshold, fingerprint(bench.store, "pool")]
            similar = cached(
                "similarity", depends_on, lambda: _table(asyncio.run(self._embed(embedder, calibration, bench)))
            )
            yield "similarity", self._losses(_found(similar))

    def account(self) -> dict[str, Any]:
        """What was found for each benchmark, in rows by the method that found them first."""
        calibration = self._calibration
        return {
            "benchmarks": [
                {
                    "benchmark": benchmark.name,
                    "location": benchmark.location,
                    "version": benchmark.version,
                    "items": len(benchmark.items),
                    "items_found": len(self._items[benchmark.name]),
                    **{method: self._found[benchmark.name, method] for method in METHODS},
                }
                for benchmark in self._benchmarks
            ],
            "embedder": calibration.model_dump() if calibration else None,
        }

    def _compare(self, bench: Workbench) -> Found:
        found = {}
        for seen, (row, messages) in enumerate(_pool_rows(bench), start=1):
            if hits := self._index.hits(record_texts(messages)):
                found[row] = hits
            if seen % CHUNK == 0:
                bench.say(f"comparing with benchmarks: {seen:,} rows, {len(found):,} found")
        return found

    async def _embed(self, embedder: Embedder, calibration: Calibration, bench: Workbench) -> Found:
        found: Found = {}
        seen = 0
        async with embedder:
            neighbours = Neighbours(self._benchmarks, await embedder.embed(benchmark_passages(self._benchmarks)))
            async for row, hits in _nearest(embedder, neighbours, _pool_rows(bench)):
                if similar := [hit for hit in hits if hit.score >= calibration.threshold]:
                    found[row] = sorted(similar, key=lambda hit: -hit.score)
                seen += 1
                if seen % CHUNK == 0:
                    bench.say(f"embedding: {seen:,} rows, {len(found):,} found")
        return found

    def _losses(self, found: Found) -> pa.Table:
        for hits in found.values():
            self._found[hits[0].benchmark, hits[0].method] += 1
            for hit in hits:
                self._items[hit.benchmark].add(hit.item)
        rows = [{"row": row, "reason": "contaminated", "detail": _detail(hits)} for row, hits in found.items()]
        return pa.Table.from_pylist(rows, schema=LOST)


def _table(found: Found) -> pa.Table:
    rows = [{"row": row, **hit._asdict()} for row, hits in found.items() for hit in hits]
    return pa.Table.from_pylist(rows, schema=_HITS)


def _found(table: pa.Table) -> Found:
    found: defaultdict[int, list[Hit]] = defaultdict(list)
    for row in table.to_pylist():
        found[row.pop("row")].append(Hit(**row))
    return found


def _detail(hits: list[Hit]) -> str:
    more = f"; {len(hits) - SHOWN} more" if len(hits) > SHOWN else ""
    return "; ".join(map(str, hits[:SHOWN])) + more


def _pool_rows(bench: Workbench) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Number and messages of the rows that no gate has taken."""
    for batch in bench.pool(["messages"]):
        yield from zip(batch["row"].to_pylist(), batch["messages"].to_pylist(), strict=True)


async def _nearest(
    embedder: Embedder, neighbours: Neighbours, rows: Iterator[tuple[int, list[dict[str, Any]]]]
) -> AsyncIterator[tuple[int, list[Hit]]]:
    """Each row with the item that each of its exchanges is most like."""
    while chunk := [(row, record_passages(messages)) for row, messages in islice(rows, CHUNK)]:
        hits = iter(neighbours.nearest(await embedder.embed([text for _, texts in chunk for text in texts])))
        for row, texts in chunk:
            yield row, [next(hits) for _ in texts]
