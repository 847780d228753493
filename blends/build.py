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
from blends.edits import masked_kinds, plan_efforts
from blends.executor import open_executor
from blends.folder import replacing
from blends.gates import pass_gates, pass_size_gates
from blends.languages import check_languages
from blends.report import write_pages
from blends.semantic import SemanticDedup
from blends.sizes import measure, rendering_of
from blends.sources import check_expressions, locate, locate_earlier, read_source
from blends.splits import split
from blends.stage import Stage
from blends.store import open_store
from blends.workbench import Say, Workbench
from blends.write import add_samples, write_parquet, write_tables
from gristmill.errors import ConfigError, GristmillError
from gristmill.views import BLEND_FILE, sentence
from schemas.blend_config import BlendConfig


def build(config: BlendConfig, say: Say = lambda line: None) -> dict[str, Any]:
    """Writes the blend to `config.out`; its manifest. `say` hears what is being done.

    ConfigError for a source that can't be found or read, a wrong expression, or a total that can't be had.
    """
    _check_places(config)
    with replacing(config.out, BLEND_FILE) as folder:
        work = folder / "work"
        work.mkdir()
        try:
            with closing(open_store(work / "store.duckdb")) as store, open_executor(config.executor) as executor:
                bench = Workbench(store, Stage(work / "rows.arrow"), work, executor, say)
                made = _build_in(folder, bench, config)
        except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
            raise GristmillError(f"the blend's working database in {work} can't go on: {sentence(error)}") from None
        shutil.rmtree(work)
    add_samples(config.out)
    return made


def _build_in(folder: Path, bench: Workbench, config: BlendConfig) -> dict[str, Any]:
    dedup, rendering = config.gates.dedup, rendering_of(config)
    sources = [locate(source, dedup.prefer) for source in config.sources]
    for located in sources:
        check_expressions(bench.store, located)
    sources += map(locate_earlier, dedup.against)
    decontaminator, semantic = Decontaminator.of(config), SemanticDedup.of(config)
    if config.gates.languages is not None:
        check_languages(config.gates.languages)
    if rendering is not None:
        rendering.renderer()
    for number, located in enumerate(sources):
        read_source(bench, number, located, config.seed)
    bench.say("comparing rows")
    gated = pass_gates(bench, config, decontaminator, semantic)
    plan_efforts(bench, config)
    if rendering is not None:
        measure(bench, rendering, masked_kinds(config))
        gated.gates.extend(pass_size_gates(bench, config))
    plan = draw(bench.store, config)
    split(bench.store, config.splits, config.seed)
    account(bench.store, config, plan)
    bench.say("writing")
    write_parquet(bench, folder, config)
    write_tables(bench, folder)
    made = manifest(bench.store, config, sources, gated)
    (folder / "manifest.json").write_bytes(orjson.dumps(made, option=orjson.OPT_INDENT_2) + b"\n")
    write_pages(folder, bench.store, made)
    return made


def _check_places(config: BlendConfig) -> None:
    out = config.out.resolve()
    for source in config.sources:
        if Path(source.path).resolve().is_relative_to(out):
            raise ConfigError(f"source {source.name}: {source.path} lies in out ({config.out}), which is replaced.")
