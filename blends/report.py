"""What people read of a blend: README.md, a dataset card, and report.html, one file that works offline."""

from pathlib import Path
from typing import Any

import duckdb
import yaml

from blends.account import LOSSES
from gristmill.report import page_environment

_WRITTEN = """
    CREATE OR REPLACE TEMP VIEW written AS
    SELECT sources.name AS source, characters, turns, category, coalesce(effort, reasoning) AS reasoning,
           licenses[1] AS license, generator
    FROM place JOIN keys USING (row) JOIN sources ON number = place.source
"""
_LENGTHS = """
    SELECT source, count(*) AS rows, round(avg(turns), 1) AS turns,
           quantile_disc(characters, [0.1, 0.5, 0.9]) AS deciles, max(characters) AS longest
    FROM written GROUP BY source ORDER BY source
"""
_HISTOGRAM = """
    SELECT (2 ** power)::BIGINT AS least, count(*) AS rows
    FROM (SELECT floor(log2(greatest(characters, 1)))::INTEGER AS power FROM written) GROUP BY power ORDER BY power
"""
_CATEGORIES = """
    SELECT source, category, count(*) AS rows FROM written GROUP BY ALL ORDER BY rows DESC, source, category LIMIT 30
"""
_KIND = "SELECT coalesce({column}, '') AS value, count(*) AS rows FROM written GROUP BY ALL ORDER BY rows DESC, value"
_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)


def write_pages(folder: Path, store: duckdb.DuckDBPyConnection, manifest: dict[str, Any]) -> None:
    """Writes README.md and report.html from the store, in which everything is placed, and the manifest."""
    store.execute(_WRITTEN)
    kinds = {column: _rows(store, _KIND.format(column=column)) for column in ("reasoning", "license", "generator")}
    licenses = [row["value"] for row in kinds["license"] if row["value"]]
    card = _render("card.md.jinja", manifest, licenses=licenses, front_matter=_front_matter(manifest, licenses))
    page = _render(
        "report.html.jinja",
        manifest,
        losses=list(LOSSES.values()),
        lengths=_rows(store, _LENGTHS),
        histogram=_rows(store, _HISTOGRAM),
        categories=_rows(store, _CATEGORIES),
        kinds=kinds,
    )
    (folder / "README.md").write_text(card + "\n", encoding="utf-8")
    (folder / "report.html").write_text(page, encoding="utf-8")


def _front_matter(manifest: dict[str, Any], licenses: list[str]) -> str:
    """Names only the splits that hold rows: `datasets` loads no empty one."""
    files = [
        {"split": split["split"], "path": f"{split['split']}/*.parquet"}
        for split in manifest["splits"]
        if split["rows"]
    ]
    fields = {
        "pretty_name": manifest["name"],
        "license": licenses[0].lower() if len(licenses) == 1 else "other",
        "size_categories": [_size_category(manifest["rows"])],
        "tags": ["synthetic", "conversational", "gristmill"],
        "configs": [{"config_name": "default", "data_files": files}],
    }
    return yaml.safe_dump(fields, sort_keys=False)


def _render(template: str, manifest: dict[str, Any], **facts: Any) -> str:
    environment = page_environment(Path(__file__).parent)
    return environment.get_template(template).render(blend=manifest, version=manifest["gristmill"], **facts)


def _rows(store: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = store.sql(query).to_arrow_table().to_pylist()
    return rows


def _size_category(rows: int) -> str:
    return next((name for limit, name in _SIZES if rows < limit), "n>10M")
