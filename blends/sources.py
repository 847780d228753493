"""Finds the sources of a blend, checks their SQL, and reads them: runs, blends, files and hub datasets.

A row that can't be read is counted and listed with its place and its fault, never a reason to stop, unless every row of
a source is so.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from blends.reading import Fault, Input, batches, first_line
from blends.reviews import leave_out, mended, reviews_of
from blends.store import Expressions, add_keys, registered
from blends.workbench import Workbench
from gristmill.errors import ConfigError, EndpointError
from gristmill.views import BLEND_FILE, open_run, sentence
from schemas.arrow import RECORDS
from schemas.blend_config import Source

_HUB = "hf://"
_SUFFIXES = (".parquet", ".jsonl", ".json", ".arrow")
_KEYS = {"condition": "filter", "preference": "dedup.prefer", "bucket": "quota.by"}  # as the config calls them


class Located(NamedTuple):
    """A source whose inputs have been found."""

    name: str
    inputs: list[Input]
    expressions: Expressions = Expressions()
    earlier: bool = False
    license: str | None = None  # of the rows that state none


def locate(source: Source, prefer: str | None) -> Located:
    """Finds the files of a source; ConfigError where there are none, EndpointError where the hub can't be asked."""
    own = {
        "condition": source.filter,
        "preference": prefer,
        "bucket": source.quota.by if source.quota else None,
    }
    expressions = Expressions(**{name: sql for name, sql in own.items() if sql is not None})
    where = f"source {source.name}"
    return Located(where, inputs_at(source.path, where), expressions, license=source.license)


def locate_earlier(path: str) -> Located:
    """The same for an earlier release, of which all splits count."""
    where = f"gates.dedup.against: {path}"
    return Located(where, inputs_at(path, where, splits=("train", "valid")), earlier=True)


def inputs_at(path: str, where: str, splits: tuple[str, ...] = ("train",)) -> list[Input]:
    """The files of a dataset, or its commit on the hub; of a blend those of `splits`. ConfigError where there are none.

    A blend's valid split is read only where it is asked for: what is trained on must not come from there.
    """
    if path.startswith(_HUB):
        return [_resolve_on_hub(path, where)]
    place = Path(path)
    if place.is_dir():
        files = _files_in(place, splits)
        if not files:
            raise ConfigError(f"{where}: {path} is no run and holds no .parquet file.")
    elif place.suffix in _SUFFIXES and place.is_file():
        files = [place]
    else:
        raise ConfigError(
            f"{where}: {path} is no folder and no {', '.join(_SUFFIXES)} file that exists "
            "(paths are relative to the working directory)."
        )
    return [Input(str(file), sha256=_sha256(file)) for file in files]


def _files_in(folder: Path, splits: tuple[str, ...]) -> list[Path]:
    """The files of a run, of a blend, of `save_to_disk` (also of several splits), or any .parquet files."""
    open_run(folder)
    if (folder / BLEND_FILE).is_file():
        return [path for split in splits for path in sorted((folder / split).glob("*.parquet"))]
    if (folder / "records").is_dir():
        return sorted((folder / "records").glob("*.parquet"))
    if (folder / "dataset_dict.json").is_file():
        return [path for split in splits for path in sorted((folder / split).glob("*.arrow"))]
    return sorted(folder.glob("*.parquet")) or sorted(folder.glob("data-*.arrow"))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_expressions(store: duckdb.DuckDBPyConnection, located: Located) -> None:
    """ConfigError with DuckDB's own sentence where a source's SQL is no expression over the columns of a record."""
    for name, sql in located.expressions._asdict().items():
        query = f"SELECT 1 FROM shape WHERE ((\n{sql}\n) IS NULL)"
        if name == "condition":
            query = f"SELECT 1 FROM shape WHERE (\n{sql}\n)"
        try:
            if len(store.extract_statements(query)) != 1:
                raise ConfigError(f"{located.name}: its {_KEYS[name]} is more than one SQL expression.")
            store.sql(query).fetchall()
        except duckdb.Error as error:
            raise ConfigError(f"{located.name}: its {_KEYS[name]} fails: {sentence(error)}") from None


def read_source(bench: Workbench, number: int, located: Located, seed: int) -> None:
    """Reads every row of source `number` into the stage, and its keys into the store."""
    store, stage, before = bench.store, bench.stage, bench.stage.rows
    for found in located.inputs:
        reviews = reviews_of(found.path)
        for batch in batches(found):
            if isinstance(batch, Fault):
                store.execute("INSERT INTO unread VALUES (?, ?)", [number, f"{found.path}: {batch.detail}"])
                continue
            batch = mended(_licensed(batch, located.license), reviews)
            try:
                add_keys(store, batch, stage.rows, number, located.expressions, seed, located.earlier)
            except (duckdb.DataError, duckdb.ProgrammingError) as error:
                if located.expressions == Expressions():
                    raise
                raise ConfigError(f"{located.name}: its {_failing(store, located, batch)}: {sentence(error)}") from None
            leave_out(store, batch, stage.rows, reviews)
            stage.add(batch)
            bench.say(f"reading {located.name}: {stage.rows - before:,} rows")
    _check_readable(store, number, located)


def _licensed(rows: pa.Table, license: str | None) -> pa.Table:
    if license is None:
        return rows
    stated = pc.equal(pc.coalesce(rows["license"], ""), "")
    return rows.set_column(RECORDS.names.index("license"), "license", pc.if_else(stated, license, rows["license"]))


def _failing(store: duckdb.DuckDBPyConnection, located: Located, batch: pa.Table) -> str:
    """Which of a source's expressions fails on these rows."""
    with registered(store, "batch", batch):
        for name, sql in located.expressions._asdict().items():
            try:
                store.sql(f"SELECT (\n{sql}\n) FROM batch").fetchall()
            except duckdb.Error:
                return f"{_KEYS[name]} fails"
    return "filter, quota or preference fails"


def _check_readable(store: duckdb.DuckDBPyConnection, number: int, located: Located) -> None:
    faults = "SELECT detail FROM unread WHERE source = $1 UNION ALL SELECT fault FROM keys WHERE source = $1"
    rows, unreadable, example = store.sql(
        f"SELECT count(*), count(detail), min(detail) FROM ({faults})", params=[number]
    ).fetchall()[0]
    if rows and unreadable == rows:
        raise ConfigError(f"{located.name}: none of its {rows} rows can be read; for example {example}.")
    if unreadable and located.earlier:
        raise ConfigError(f"{located.name}: {unreadable} of its rows can't be read; for example {example}.")


def _resolve_on_hub(path: str, where: str) -> Input:
    """The commit that a branch or tag means today, so that the manifest names what was read."""
    name, _, revision = path.removeprefix(_HUB).partition("@")
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
    except ImportError:
        raise ConfigError(f"{where}: a hub dataset needs the extra: pip install 'gristmill[hub]'.") from None
    try:
        commit = HfApi().dataset_info(name, revision=revision or None).sha
    except (HFValidationError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise ConfigError(f"{where}: {path} is not on the hub: {first_line(error)}") from None
    except Exception as error:  # whatever the HTTP library of this version of the client raises
        raise EndpointError(f"{where}: the hub can't be asked for {path}: {error}") from error
    return Input(_HUB + name, revision=commit)
