"""The accounts of a blend: what each source was asked for and gave, what each split holds, what was lost and why."""

from importlib.metadata import version
from typing import Any

import duckdb
import pyarrow as pa

from blends.gates import Gated
from blends.mix import Plan
from blends.sources import Located
from schemas.blend_config import BlendConfig

# The reasons in `dropped`, and the columns of `sources` that count them.
LOSSES = {
    "unreadable": "unreadable",
    "filter": "filtered",
    "license": "unlicensed",
    "duplicate": "duplicates",
    "contaminated": "contaminated",
    "not_drawn": "not_drawn",
}

_SOURCES = pa.schema(
    [
        ("number", pa.int32()),
        ("name", pa.string()),
        ("path", pa.string()),
        ("weight", pa.float64()),
        ("cap", pa.int64()),
        ("epochs", pa.int64()),
        ("filter", pa.string()),
        ("rule_made", pa.float64()),
        ("rows_read", pa.int64()),
        *((column, pa.int64()) for column in LOSSES.values()),
        ("requested_rows", pa.float64()),
        ("requested_share", pa.float64()),
        ("rows", pa.int64()),
        ("share", pa.float64()),
        ("distinct_rows", pa.int64()),
        ("rule_made_rows", pa.int64()),
        ("train", pa.int64()),
        ("valid", pa.int64()),
        ("tokens", pa.int64()),
        ("supervised_tokens", pa.int64()),
    ]
)


def account(store: duckdb.DuckDBPyConnection, config: BlendConfig, plan: Plan) -> None:
    """Fills the tables `sources` and `splits` as they go into blend.duckdb.

    `requested_rows` is a source's exact share of the rows that there are. Token counts are NULL: none were made.
    """
    store.register("source_rows", pa.Table.from_pylist(_source_rows(store, config, plan), schema=_SOURCES))
    store.execute("CREATE TABLE sources AS FROM source_rows")
    asked = config.splits.model_dump()
    store.register("requested", pa.table({"split": list(asked), "requested_share": list(asked.values())}))
    store.execute(
        """
        CREATE TABLE splits AS
        SELECT split, requested_share, coalesce(sum(copies), 0)::BIGINT AS rows,
               rows / sum(rows) OVER () AS share, count(DISTINCT row) AS distinct_rows,
               count(DISTINCT grouping) AS groups, NULL::BIGINT AS tokens, NULL::BIGINT AS supervised_tokens
        FROM requested LEFT JOIN split_of USING (split) GROUP BY ALL ORDER BY split
        """
    )


def manifest(
    store: duckdb.DuckDBPyConnection, config: BlendConfig, sources: list[Located], gated: Gated
) -> dict[str, Any]:
    """What was asked, from what, and what came out; the same for the same config and inputs."""
    given = store.sql("FROM sources ORDER BY number").to_arrow_table().to_pylist()
    for row, located in zip(given, sources, strict=True):
        row["inputs"] = [found._asdict() for found in located.inputs]
    return {
        "name": config.out.name,
        "release": config.release,
        "gristmill": version("gristmill"),
        "seed": config.seed,
        "unit": config.unit,
        "short": config.short,
        "total": {"requested": config.total, "realised": sum(row["rows"] for row in given)},
        "sources": given,
        "gates": [gate._asdict() for gate in gated.gates],
        "contamination": gated.contamination,
        "dropped": {reason: sum(row[column] for row in given) for reason, column in LOSSES.items()},
        "splits": store.sql("FROM splits").to_arrow_table().to_pylist(),
    }


def _source_rows(store: duckdb.DuckDBPyConnection, config: BlendConfig, plan: Plan) -> list[dict[str, Any]]:
    lost = _counts(
        store,
        "SELECT source, reason, count(*) FROM (SELECT source, reason FROM lost JOIN keys USING (row) "
        "UNION ALL SELECT source, 'unreadable' FROM unread) GROUP BY ALL",
    )
    split = _counts(store, "SELECT source, split, sum(copies) FROM split_of JOIN keys USING (row) GROUP BY ALL")
    distinct = _counts(store, "SELECT source, '', count(*) FROM split_of JOIN keys USING (row) GROUP BY ALL")
    by_rule = _counts(
        store, "SELECT source, '', sum(copies) FROM split_of JOIN keys USING (row) WHERE rule_made GROUP BY ALL"
    )
    total = sum(plan.rows)
    rows = []
    for number, source in enumerate(config.sources):
        dropped = {column: lost.get((number, reason), 0) for reason, column in LOSSES.items()}
        rows.append(
            {
                **source.model_dump(),
                **dropped,
                "number": number,
                "rows_read": sum(dropped.values()) + distinct.get((number, ""), 0),
                "requested_rows": float(plan.shares[number]),
                "requested_share": float(plan.shares[number] / total),
                "rows": plan.rows[number],
                "share": plan.rows[number] / total,
                "distinct_rows": distinct.get((number, ""), 0),
                "rule_made_rows": by_rule.get((number, ""), 0),
                "train": split.get((number, "train"), 0),
                "valid": split.get((number, "valid"), 0),
            }
        )
    return rows


def _counts(store: duckdb.DuckDBPyConnection, query: str) -> dict[tuple[int, str], int]:
    return {(source, key): int(count) for source, key, count in store.sql(query).fetchall()}
