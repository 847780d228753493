"""Builds a blend: read, pass the gates, draw exact shares, divide without leaks, write.

Rows wait on disk (stage.py), their keys in a database (store.py), and what comes out goes to a folder beside `out` that
replaces it at the end: memory is bounded, and an interrupted blend leaves the former one whole.
The same config and inputs give byte-identical parquet, whatever the order of files and rows.
"""

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import orjson

from blends.account import account, manifest
from blends.decontaminate import Decontaminator
from blends.draw import draw
from blends.folder import replacing
from blends.gates import pass_gates
from blends.report import write_pages
from blends.sources import Say, check_filter, locate, read_source
from blends.splits import split
from blends.stage import Stage
from blends.store import open_store
from blends.write import add_samples, write_parquet, write_tables
from gristmill.errors import ConfigError, GristmillError
from gristmill.views import BLEND_FILE, sentence
from schemas.blend_config import BlendConfig


def build(config: BlendConfig, say: Say = lambda line: None) -> dict[str, Any]:
    """Writes the blend to `config.out`; its manifest. `say` hears what is being done.

    ConfigError for a source that can't be found or read, a wrong filter, or a total that can't be had.
    """
    _check_places(config)
    with replacing(config.out, BLEND_FILE) as folder:
        work = folder / "work"
        work.mkdir()
        try:
            with closing(open_store(work / "store.duckdb")) as store:
                made = _build_in(folder, store, Stage(work / "rows.arrow"), config, say)
        except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
            raise GristmillError(f"the blend's working database in {work} can't go on: {sentence(error)}") from None
        shutil.rmtree(work)
    add_samples(config.out)
    return made


def _build_in(
    folder: Path, store: duckdb.DuckDBPyConnection, stage: Stage, config: BlendConfig, say: Say
) -> dict[str, Any]:
    for source in config.sources:
        check_filter(store, source)
    sources = [locate(source) for source in config.sources]
    decontaminator = Decontaminator.of(config)
    for number, located in enumerate(sources):
        read_source(store, stage, number, located, config.seed, say)
    say("comparing rows")
    gated = pass_gates(store, stage, config, decontaminator, say)
    plan = draw(store, config)
    split(store, config.splits, config.seed)
    account(store, config, plan)
    say("writing")
    write_parquet(store, stage, folder, config.seed)
    write_tables(store, stage, folder)
    made = manifest(store, config, sources, gated)
    (folder / "manifest.json").write_bytes(orjson.dumps(made, option=orjson.OPT_INDENT_2) + b"\n")
    write_pages(folder, store, made)
    return made


def _check_places(config: BlendConfig) -> None:
    out = config.out.resolve()
    for source in config.sources:
        if Path(source.path).resolve().is_relative_to(out):
            raise ConfigError(f"source {source.name}: {source.path} lies in out ({config.out}), which is replaced.")
