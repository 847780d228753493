"""The accounts of a blend: what each source was asked for and gave, what each split holds, what was lost and why."""

from importlib.metadata import version
from typing import Any

import duckdb
import pyarrow as pa

from blends.edits import EDITS
from blends.gates import Gated
from blends.mix import Plan
from blends.sources import Located
from schemas.blend_config import BlendConfig

# The reasons in `dropped`, and the columns of `sources` that count them.
LOSSES = {
    "unreadable": "unreadable",
    "review": "rejected_by_reviewers",
    "filter": "filtered",
    "license": "unlicensed",
    "length": "wrong_length",
    "duplicate": "duplicates",
    "language": "wrong_language",
    "pii": "personal",
    "near_duplicate": "near_duplicates",
    "contaminated": "contaminated",
    "unrenderable": "unrenderable",
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
        ("requested", pa.float64()),
        ("requested_share", pa.float64()),
        ("realised", pa.int64()),
        ("share", pa.float64()),
        ("rows", pa.int64()),
        ("distinct_rows", pa.int64()),
        ("rule_made_rows", pa.int64()),
        ("train", pa.int64()),
        ("valid", pa.int64()),
        ("tokens", pa.int64()),
        ("supervised_tokens", pa.int64()),
        ("token_loss_share", pa.float64()),
        ("sample_loss_share", pa.float64()),
    ]
)


def account(store: duckdb.DuckDBPyConnection, config: BlendConfig, plan: Plan) -> None:
    """Fills the tables `sources` and `splits` as they go into blend.duckdb.

    `requested` and `realised` are in the blend's unit, `requested` being a source's exact share of what there is. The
    loss shares are of the train split: what part of the loss, so of each batch's gradient, a source will have under
    sft's losses per token and per sample. Tokens are NULL where the config names no tokenizer.
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
               count(DISTINCT grouping) AS groups, sum(copies * tokens)::BIGINT AS tokens,
               sum(copies * supervised_tokens)::BIGINT AS supervised_tokens
        FROM requested LEFT JOIN split_of USING (split) LEFT JOIN size USING (row) GROUP BY ALL ORDER BY split
        """
    )


def manifest(
    store: duckdb.DuckDBPyConnection, config: BlendConfig, sources: list[Located], gated: Gated
) -> dict[str, Any]:
    """What was asked, from what, and what came out; the same for the same config and inputs."""
    given = store.sql("FROM sources ORDER BY number").to_arrow_table().to_pylist()
    for row, source, located in zip(given, config.sources, sources, strict=False):
        row["quota"] = source.quota.model_dump() if source.quota else None
        row["effort"] = source.effort
        row["license"] = source.license
        row["inputs"] = [found._asdict() for found in located.inputs]
    efforts = store.sql(_EFFORTS).to_arrow_table().to_pylist()[0]
    return {
        "name": config.out.name,
        "release": config.release,
        "gristmill": version("gristmill"),
        "seed": config.seed,
        "unit": config.unit,
        "short": config.short,
        "order": config.order,
        "tokenizer": config.tokenizer,
        "template": config.template if config.tokenizer else None,
        "total": {"requested": config.total, "realised": sum(row["realised"] for row in given)},
        "rows": sum(row["rows"] for row in given),
        "sources": given,
        "against": [found._asdict() for located in sources if located.earlier for found in located.inputs],
        "gates": [gate._asdict() for gate in gated.gates],
        "contamination": gated.contamination,
        "masked_rows": efforts.pop("masked"),
        "reasoning": {"requested": config.reasoning.model_dump(), **efforts},
        "dropped": {reason: sum(row[column] for row in given) for reason, column in LOSSES.items()},
        "splits": store.sql("FROM splits").to_arrow_table().to_pylist(),
    }


def _source_rows(store: duckdb.DuckDBPyConnection, config: BlendConfig, plan: Plan) -> list[dict[str, Any]]:
    lost = {
        (source, reason): rows
        for source, reason, rows in store.sql(
            "SELECT source, reason, count(*) FROM (SELECT source, reason FROM lost JOIN keys USING (row) "
            "UNION ALL SELECT source, 'unreadable' FROM unread) GROUP BY ALL"
        ).fetchall()
    }
    written = {row["source"]: row for row in store.sql(_WRITTEN).to_arrow_table().to_pylist()}
    given = [written.get(number, _NOTHING) for number in range(len(config.sources))]
    by_tokens = config.unit == "supervised_tokens"
    realised = [row["supervised_tokens"] or 0 if by_tokens else row["rows"] for row in given]
    rows = []
    for number, source in enumerate(config.sources):
        dropped = {column: lost.get((number, reason), 0) for reason, column in LOSSES.items()}
        rows.append(
            {
                **{name: value for name, value in source.model_dump().items() if name in _SOURCES.names},
                **dropped,
                **given[number],
                "number": number,
                "rows_read": sum(dropped.values()) + given[number]["distinct_rows"],
                "requested": float(plan.shares[number]),
                "requested_share": float(plan.shares[number] / plan.total),
                "realised": realised[number],
                "share": realised[number] / sum(realised),
                "token_loss_share": _share(given, number, "train_supervised_tokens"),
                "sample_loss_share": _share(given, number, "train_sequences"),
            }
        )
    return [{name: row[name] for name in _SOURCES.names} for row in rows]


def _share(given: list[dict[str, Any]], number: int, what: str) -> float | None:
    """A source's part of what the train split holds of something; None where that is not known."""
    whole = sum(row[what] or 0 for row in given)
    return (given[number][what] or 0) / whole if whole else None


_WRITTEN = """
    SELECT source, sum(copies)::BIGINT AS rows, count(*) AS distinct_rows,
           coalesce(sum(copies) FILTER (rule_made), 0)::BIGINT AS rule_made_rows,
           coalesce(sum(copies) FILTER (split = 'train'), 0)::BIGINT AS train,
           coalesce(sum(copies) FILTER (split = 'valid'), 0)::BIGINT AS valid,
           sum(copies * tokens)::BIGINT AS tokens, sum(copies * supervised_tokens)::BIGINT AS supervised_tokens,
           sum(copies * supervised_tokens) FILTER (split = 'train')::BIGINT AS train_supervised_tokens,
           sum(copies * coalesce(sequences, 1)) FILTER (split = 'train')::BIGINT AS train_sequences
    FROM split_of JOIN keys USING (row) LEFT JOIN size USING (row) GROUP BY source
"""
_NOTHING: dict[str, Any] = {
    "rows": 0, "distinct_rows": 0, "rule_made_rows": 0, "train": 0, "valid": 0,
    "tokens": None, "supervised_tokens": None, "train_supervised_tokens": None, "train_sequences": 0,
}  # fmt: skip
_EFFORTS = f"""
    SELECT coalesce(sum(copies) FILTER (effort = 'off'), 0)::BIGINT AS stripped,
           coalesce(sum(copies) FILTER (traced AND reasoning <> 'low' AND effort IS DISTINCT FROM 'low'), 0)::BIGINT
               AS with_traces,
           coalesce(sum(copies) FILTER (traced AND (reasoning = 'low' OR effort = 'low')), 0)::BIGINT AS low,
           coalesce(sum(copies) FILTER (masked), 0)::BIGINT AS masked
    FROM drawn JOIN keys USING (row)
    LEFT JOIN ({EDITS}) USING (row)
"""
