"""What the inspect page asks of a folder: tables of rows, filters, single rows; all by DuckDB, nothing is changed.

    source = open_source(Path("runs/sql"))
    source.tables                                      {"records": Table(...), "rejects": Table(...)}
    table.page({"category": "advanced"}, "harbour", 0) 50 rows, short
    table.row("9f31...")                               one row with all its columns

A table is a view `rows` of DuckDB with one more column, `id`: the uuid where there is one, else file and row. Filters
compare a column with a value; `text` is looked for in the whole row's messages, whatever the case. Pages follow the
order of the files, so the same link shows the same rows.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from gristmill.errors import ConfigError
from gristmill.runs import RunFolder
from gristmill.views import BLEND_FILE, OFFLINE, connect, parquet_files, sentence, sql_text

PAGE = 50
MOST_CHOICES = 60
"""Of a filter; a column with more different values is none."""
SQL_SECONDS = 30.0
SQL_ROWS = 500

_FILTERS = ("source", "split", "generator", "category", "reasoning", "license", "status", "stage", "reason")
_SHORT = (
    "source", "split", "generator", "category", "reasoning", "stage", "reason", "detail", "tokens", "n_turns",
    "n_tools", "score",
)  # fmt: skip


@dataclass(frozen=True)
class Table:
    """One table of the source, under the name of its view."""

    name: str
    source: "Source" = field(repr=False)
    _counts: dict[tuple[Any, ...], int] = field(default_factory=dict, repr=False)

    @cached_property
    def columns(self) -> dict[str, str]:
        """Name and type of each column."""
        return {name: kind for name, kind, *_ in self.source.ask(f"DESCRIBE SELECT * FROM {self.name}")}

    @property
    def id(self) -> str:
        return "uuid" if "uuid" in self.columns else "id"

    @property
    def text(self) -> str | None:
        """The column in which text is looked for."""
        return next((name for name in ("messages", "payload", "conversations", "text") if name in self.columns), None)

    @cached_property
    def filters(self) -> dict[str, list[str]]:
        """The columns that can be filtered by, with their values."""
        found = {}
        for column in (name for name in _FILTERS if name in self.columns):
            rows = self.source.ask(
                f"SELECT DISTINCT {column} FROM {self.name} WHERE {column} IS NOT NULL "
                f"ORDER BY 1 LIMIT {MOST_CHOICES + 1}"
            )
            if 1 < len(rows) <= MOST_CHOICES:
                found[column] = [str(value) for (value,) in rows]
        if "verdicts" in self.columns and (judges := self.judges):
            found["verdict"] = [
                f"{judge} {outcome}" for judge in judges for outcome in ("passed", "failed", "undecided")
            ]
        return found

    @cached_property
    def judges(self) -> list[str]:
        names = self.source.ask(
            f"SELECT DISTINCT unnest(list_transform(verdicts, lambda v: v.name)) FROM {self.name} ORDER BY 1 LIMIT 20"
        )
        return [name for (name,) in names]

    @cached_property
    def size(self) -> int:
        return int(self.source.ask(f"SELECT count(*) FROM {self.name}")[0][0])

    def count(self, filters: Mapping[str, str], text: str) -> int:
        if not filters and not text:
            return self.size
        key = (*sorted(filters.items()), text)
        if key not in self._counts:
            where, values = self._where(filters, text)
            self._counts[key] = int(self.source.ask(f"SELECT count(*) FROM {self.name} WHERE {where}", values)[0][0])
        return self._counts[key]

    def page(self, filters: Mapping[str, str], text: str, start: int) -> list[dict[str, Any]]:
        """At most `PAGE` rows from `start` on: id, the short columns, and the beginning of what was asked."""
        where, values = self._where(filters, text)
        shown = [name for name in _SHORT if name in self.columns]
        asked = self._asked()
        return self.source.rows(
            f"SELECT {', '.join([f'{self.id} AS id', *shown, f'{asked} AS asked'])} FROM {self.name} WHERE {where} "
            f"LIMIT {PAGE} OFFSET {int(start)}",
            values,
        )

    def _asked(self) -> str:
        if "messages" in self.columns and "role" in self.columns["messages"]:
            asked = "list_filter(messages, lambda m: m.role = 'user')[1].content"
            return f"left(trim(regexp_replace({asked}, '(?s)```.*?```', ' … ', 'g')), 200)"
        return f"left({self.text}::VARCHAR, 200)" if self.text else "''"

    def row(self, id: str) -> dict[str, Any] | None:
        found = self.source.rows(f"SELECT * FROM {self.name} WHERE {self.id} = ? LIMIT 1", [id])
        return found[0] if found else None

    def neighbours(self, filters: Mapping[str, str], text: str, place: int) -> tuple[str | None, str | None]:
        """The ids before and after the row at `place` of a filtered table."""
        where, values = self._where(filters, text)
        first = max(place - 1, 0)
        ids = [
            id
            for (id,) in self.source.ask(
                f"SELECT {self.id} FROM {self.name} WHERE {where} LIMIT {place + 2 - first} OFFSET {first}", values
            )
        ]
        after = ids[place - first + 1 : place - first + 2]
        return (ids[0] if place > 0 and ids else None), (after[0] if after else None)

    def batches(self, filters: Mapping[str, str], text: str) -> Any:
        """All rows as an Arrow reader, for an export."""
        where, values = self._where(filters, text)
        return self.source.cursor().sql(f"SELECT * FROM {self.name} WHERE {where}", params=values).to_arrow_reader(2048)

    def _where(self, filters: Mapping[str, str], text: str) -> tuple[str, list[Any]]:
        conditions, values = ["true"], list[Any]()
        for column, value in filters.items():
            if column == "verdict":
                judge, _, outcome = value.rpartition(" ")
                passed = {"passed": "v.passed", "failed": "NOT v.passed"}.get(outcome, "v.passed IS NULL")
                conditions.append(f"len(list_filter(verdicts, lambda v: v.name = ? AND {passed})) > 0")
                values.append(judge)
            else:
                conditions.append(f"{column}::VARCHAR = ?")
                values.append(value)
        if text and self.text:
            if "content" in self.columns[self.text]:
                found = f"list_transform({self.text}, lambda m: contains(lower(m.content), ?))"
                conditions.append(f"list_bool_or({found})")
            else:
                conditions.append(f"contains(lower({self.text}::VARCHAR), ?)")
            values.append(text.lower())
        return " AND ".join(conditions), values

    def known(self, given: Mapping[str, str]) -> dict[str, str]:
        """Of what a link asks for, the filters that there are."""
        return {name: given[name] for name in self.filters if given.get(name)}


class QueryResult(NamedTuple):
    """`more` says that there were more rows than these."""

    columns: list[str]
    rows: list[tuple[Any, ...]]
    more: bool


class Source:
    """A folder that is looked at. Each request has a cursor of its own, so that slow ones hold nobody up."""

    def __init__(self, path: Path, kind: str, connection: duckdb.DuckDBPyConnection, tables: Sequence[str]) -> None:
        self.path, self.kind = path, kind
        self._connection = connection
        self._lock = threading.Lock()
        self.tables = {name: Table(name, self) for name in tables}

    @property
    def main(self) -> Table:
        return next(iter(self.tables.values()))

    def cursor(self) -> duckdb.DuckDBPyConnection:
        with self._lock:
            return self._connection.cursor()

    def ask(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self.cursor() as cursor:
            return cursor.execute(sql, list(values)).fetchall()

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        with self.cursor() as cursor:
            result = cursor.execute(sql, list(values))
            names = [column[0] for column in result.description or []]
            return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    def query(self, sql: str) -> QueryResult:
        """What a person's own query gives. ConfigError where it is none, is wrong or takes too long."""
        with self.cursor() as cursor, _limit(cursor):
            try:
                statements = cursor.extract_statements(sql)
                if len(statements) != 1 or statements[0].type not in (duckdb.StatementType.SELECT, _EXPLAIN):
                    raise ConfigError("One SELECT, please: this page changes nothing.")
                result = cursor.execute(sql)
                names = [column[0] for column in result.description or []]
                found = result.fetchmany(SQL_ROWS + 1)
            except duckdb.InterruptException:
                raise ConfigError(f"Stopped after {SQL_SECONDS:g} s.") from None
            except duckdb.Error as error:
                raise ConfigError(sentence(error)) from None
        return QueryResult(names, found[:SQL_ROWS], len(found) > SQL_ROWS)

    def close(self) -> None:
        self._connection.close()


_EXPLAIN = duckdb.StatementType.EXPLAIN


@contextmanager
def _limit(cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
    timer = threading.Timer(SQL_SECONDS, cursor.interrupt)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def open_source(path: Path) -> Source:
    """ConfigError where `path` is neither a run, a blend, a parquet file nor a folder of them.

    From then on the connection reads nothing but what lies in `path`, and its settings are locked.
    """
    if (path / BLEND_FILE).is_file():
        source = Source(path, "blend", connect(path), ["samples", "dropped"])
    elif RunFolder(path).is_run() or (path / "records").is_dir():
        source = Source(path, "run", connect(path), ["records", "rejects"])
    else:
        source = Source(path, "parquet", _plain(path), ["records"])
    folder = path.absolute() if path.is_dir() else path.absolute().parent
    with source.cursor() as cursor:
        cursor.execute(f"SET allowed_directories = [{sql_text(str(folder))}]")
        cursor.execute("SET enable_external_access = false")
        cursor.execute("SET lock_configuration = true")
    return source


def _plain(path: Path) -> duckdb.DuckDBPyConnection:
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path] if path.suffix == ".parquet" else []
    if not files:
        raise ConfigError(f"{path} is neither a run, a blend nor parquet.")
    connection = duckdb.connect(config={**OFFLINE})
    try:
        connection.execute(
            "CREATE VIEW records AS SELECT * EXCLUDE (file_row_number), "
            "file_index || '-' || file_row_number AS id "
            f"FROM read_parquet({parquet_files(*files)}, union_by_name = true, file_row_number = true)"
        )
    except duckdb.Error as error:
        raise ConfigError(f"{path} can't be read: {sentence(error)}") from None
    return connection
