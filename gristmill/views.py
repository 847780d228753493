"""The DuckDB views of a run's or a blend's folder, as `gristmill query` shows them.

A run has `records`, `rejects`, `calls` and `funnel`; a blend has `samples`, `sources`, `dropped` and `splits`. Beside
a record's columns `samples` has source, split, tokens, supervised_tokens, n_turns, n_tools, n_calls and score, the mean
of its verdicts' scores. The columns `metadata`, `tools`, `provenance` and `payload` hold JSON as text:
`metadata ->> '$.mode'` reads into them.
"""

from glob import escape
from pathlib import Path

import duckdb
import pyarrow as pa

from gristmill.errors import ConfigError
from gristmill.runs import RunFolder, refresh
from schemas.arrow import CALLS, RECORDS, REJECTS

# What we need of DuckDB is compiled in; without these it would look for extensions in the network.
OFFLINE = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
BLEND_FILE = "blend.duckdb"

_FUNNEL = """
    SELECT stage, reason, status, count(DISTINCT task_id) AS tasks FROM rejects GROUP BY ALL
    UNION ALL SELECT '', '', 'accepted', count(DISTINCT task_id) FROM records
    ORDER BY tasks DESC, stage, reason, status
"""


def open_run(folder: Path) -> None:
    """Brings a run's parquet files up to date with its ledger; does nothing for a folder that has only the files."""
    if RunFolder(folder).is_run():
        refresh(folder)


def connect(folder: Path) -> duckdb.DuckDBPyConnection:
    """A connection in memory with the views of `folder`; ConfigError where it is neither a run nor a blend."""
    run = RunFolder(folder)
    is_blend = (folder / BLEND_FILE).is_file()
    if not is_blend and not run.is_run() and not run.records.is_dir():
        raise ConfigError(f"{folder} is neither a run (records/) nor a blend ({BLEND_FILE}).")
    connection = duckdb.connect(config={**OFFLINE})
    try:
        if is_blend:
            _show_blend(connection, folder)
        else:
            open_run(folder)
            _show_run(connection, run)
    except duckdb.Error as error:
        raise ConfigError(f"{folder} can't be opened: {sentence(error)}") from None
    return connection


def samples_sql(folder: Path, placement: str) -> str:
    """A blend's rows from its parquet files, each with where it came from as the table `placement` tells."""
    return f"""
        SELECT r.* EXCLUDE (filename, file_row_number), p.source, p.split, p.tokens, p.supervised_tokens,
               len(r.messages) AS n_turns, json_array_length(r.tools)::BIGINT AS n_tools,
               list_sum(list_transform(r.messages, lambda m: len(m.tool_calls))) AS n_calls,
               list_avg(list_transform(r.verdicts, lambda v: v.score)) AS score
        FROM read_parquet({parquet_files(folder / "train" / "*.parquet", folder / "valid" / "*.parquet")},
                          filename = true, file_row_number = true) AS r
        JOIN {placement} AS p
          ON p.file = regexp_extract(r.filename, '(train|valid)/[^/]+$') AND p.file_row = r.file_row_number
    """


def sentence(error: duckdb.Error) -> str:
    """What DuckDB says, as one line, without the picture of the query below it."""
    return " ".join(str(error).partition("\n\nLINE ")[0].split())


def sql_text(value: str) -> str:
    """`value` as a string literal."""
    return "'" + value.replace("'", "''") + "'"


def _show_run(connection: duckdb.DuckDBPyConnection, run: RunFolder) -> None:
    _view(connection, "records", sorted(run.records.glob("*.parquet")), RECORDS)
    _view(connection, "rejects", sorted(run.rejects.glob("*.parquet")), REJECTS)
    _view(connection, "calls", [run.calls] if run.calls.is_file() else [], CALLS)
    connection.execute(f"CREATE VIEW funnel AS {_FUNNEL}")


def _show_blend(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """The view `samples` inside the file points to where the blend was written; this one to where it lies now."""
    connection.execute(f"ATTACH {sql_text(str(folder / BLEND_FILE))} AS blend (READ_ONLY)")
    connection.execute(f"CREATE VIEW samples AS {samples_sql(folder.absolute(), 'blend.placement')}")
    for table in ("sources", "dropped", "splits"):
        connection.execute(f"CREATE VIEW {table} AS FROM blend.{table}")


def _view(connection: duckdb.DuckDBPyConnection, name: str, files: list[Path], schema: pa.Schema) -> None:
    """A view on parquet files, or a table without rows, with the same columns, where there are none."""
    if files:
        connection.execute(
            f"CREATE VIEW {name} AS FROM read_parquet({parquet_files(*(_exact(file) for file in files))})"
        )
    else:
        connection.register("no_rows", schema.empty_table())
        connection.execute(f"CREATE TABLE {name} AS FROM no_rows")
        connection.unregister("no_rows")


def _exact(file: Path) -> Path:
    return file.with_name(escape(file.name))


def parquet_files(*patterns: Path) -> str:
    """A DuckDB list of absolute paths; only the last part of each is a pattern."""
    paths = (str(Path(escape(str(pattern.parent.absolute())), pattern.name)) for pattern in patterns)
    return "[" + ", ".join(sql_text(path) for path in paths) + "]"
