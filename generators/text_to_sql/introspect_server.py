"""A user's own PostgreSQL or MySQL database as tables: the current schema, read in one read-only transaction.

    read_server("postgresql://reader:...@db.example/shop", 60)   ->   Database("shop", "shop", (...))

Words and kinds come from names and values, as they do for an SQLite file (see `introspect`). Only tables are read, with
the keys of one column between them; columns of binary data are left out.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from generators.text_to_sql.grammar.sql import quoted
from generators.text_to_sql.introspect import READ_ROWS, database_of
from generators.text_to_sql.schema import Column, Database, Dialect, ForeignKey, Table, Value
from gristmill.errors import ConfigError

Run = Callable[[str], Sequence[tuple[Any, ...]]]

_SCHEMES: dict[str, Dialect] = {"postgres": "postgres", "postgresql": "postgres", "mysql": "mysql", "mariadb": "mysql"}
_HERE: dict[Dialect, str] = {"postgres": "CURRENT_SCHEMA()", "mysql": "DATABASE()"}
# The standard's views of constraints hide them from a role that may only read.
_PRIMARY: dict[Dialect, str] = {
    "postgres": """
        SELECT t.relname, a.attname
        FROM pg_constraint AS c
        JOIN pg_class AS t ON t.oid = c.conrelid
        JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)
        WHERE c.contype = 'p' AND t.relnamespace = CURRENT_SCHEMA()::text::regnamespace
        ORDER BY t.relname, ARRAY_POSITION(c.conkey, a.attnum)""",
    "mysql": """
        SELECT table_name, column_name
        FROM information_schema.columns
        WHERE table_schema = DATABASE() AND column_key = 'PRI'
        ORDER BY table_name, ordinal_position""",
}
_KEYS: dict[Dialect, str] = {
    "postgres": """
        SELECT t.relname, a.attname, r.relname, b.attname
        FROM pg_constraint AS c
        JOIN pg_class AS t ON t.oid = c.conrelid
        JOIN pg_class AS r ON r.oid = c.confrelid
        JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
        JOIN pg_attribute AS b ON b.attrelid = c.confrelid AND b.attnum = c.confkey[1]
        WHERE c.contype = 'f' AND CARDINALITY(c.conkey) = 1 AND t.relnamespace = CURRENT_SCHEMA()::text::regnamespace
        ORDER BY t.relname, a.attname""",
    "mysql": """
        SELECT table_name, MIN(column_name), MIN(referenced_table_name), MIN(referenced_column_name)
        FROM information_schema.key_column_usage
        WHERE table_schema = DATABASE() AND referenced_table_name IS NOT NULL
        GROUP BY constraint_name, table_name
        HAVING COUNT(*) = 1
        ORDER BY table_name, MIN(column_name)""",
}
_TYPES = {
    "INTEGER": ("smallint", "integer", "bigint", "int", "mediumint", "year"),
    "REAL": ("numeric", "decimal", "real", "double precision", "double", "float"),
    "BOOLEAN": ("boolean", "tinyint"),
    "DATE": ("date", "datetime", "timestamp", "timestamp without time zone", "timestamp with time zone"),
}


def dialect_of(url: str) -> Dialect | None:
    return _SCHEMES.get(urlsplit(url).scheme)


def read_server(url: str, max_rows: int, industry: str = "") -> Database:
    """The tables of the URL's database that have rows; ConfigError where it can't be read or holds none."""
    dialect = _SCHEMES[urlsplit(url).scheme]
    name = unquote(urlsplit(url).path.strip("/"))
    with _PORTALS[dialect](url) as run:
        tables = _tables(run, dialect)
    return database_of(tables, name, max_rows, industry)


# --- the two servers -------------------------------------------------------------------------------------------------


@contextmanager
def _postgres(url: str) -> Iterator[Run]:
    import psycopg

    try:
        with psycopg.connect(url, options="-c default_transaction_read_only=on", connect_timeout=10) as connection:
            yield lambda query: connection.execute(query.encode()).fetchall()
    except psycopg.Error as error:
        raise ConfigError(f"params.database: the PostgreSQL database can't be read: {error}") from None


@contextmanager
def _mysql(url: str) -> Iterator[Run]:
    import pymysql

    parts = urlsplit(url)
    socket = parse_qs(parts.query).get("unix_socket", [None])[0]
    try:
        connection = pymysql.connect(
            host=parts.hostname,
            port=parts.port or 3306,
            unix_socket=socket,
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            database=unquote(parts.path.strip("/")),
            charset="utf8mb4",
            connect_timeout=10,
        )
        with closing(connection), connection.cursor() as cursor:
            cursor.execute("START TRANSACTION READ ONLY")

            def run(query: str) -> Sequence[tuple[Any, ...]]:
                cursor.execute(query)
                return cursor.fetchall()

            yield run
    except pymysql.MySQLError as error:
        raise ConfigError(f"params.database: the MySQL database can't be read: {error}") from None


_PORTALS = {"postgres": _postgres, "mysql": _mysql}


# --- the tables ------------------------------------------------------------------------------------------------------


def _tables(run: Run, dialect: Dialect) -> dict[str, Table]:
    here = _HERE[dialect]
    columns = run(
        "SELECT c.table_name, c.column_name, LOWER(c.data_type) FROM information_schema.columns AS c "
        "JOIN information_schema.tables AS t ON t.table_schema = c.table_schema AND t.table_name = c.table_name "
        f"WHERE c.table_schema = {here} AND t.table_type = 'BASE TABLE' ORDER BY c.table_name, c.ordinal_position"
    )
    primary = run(_PRIMARY[dialect])
    foreign = [(table, ForeignKey(*ends)) for table, *ends in run(_KEYS[dialect])]
    return {
        name: _table(
            run,
            dialect,
            name,
            [(column, kind) for table, column, kind in columns if table == name],
            tuple(column for table, column in primary if table == name),
            tuple(key for table, key in foreign if table == name),
        )
        for name in dict.fromkeys(row[0] for row in columns)
    }


def _table(
    run: Run,
    dialect: Dialect,
    name: str,
    columns: list[tuple[str, str]],
    primary_key: tuple[str, ...],
    foreign_keys: tuple[ForeignKey, ...],
) -> Table:
    """The rows in the order of the primary key, so that every run reads the same ones."""
    names = [quoted(column, dialect) for column, _ in columns]
    order = f" ORDER BY {', '.join(quoted(column, dialect) for column in primary_key)}" if primary_key else ""
    found = run(f"SELECT {', '.join(names)} FROM {quoted(name, dialect)}{order} LIMIT {READ_ROWS}")
    kept = [i for i in range(len(columns)) if not any(isinstance(row[i], bytes | memoryview) for row in found)]
    return Table(
        name,
        "",
        "",
        columns=tuple(Column(columns[i][0], _type(columns[i][1]), "", "text") for i in kept),
        primary_key=primary_key,
        foreign_keys=foreign_keys,
        rows=tuple(tuple(_value(row[i]) for i in kept) for row in found),
    )


def _type(declared: str) -> str:
    return next((ours for ours, theirs in _TYPES.items() if declared in theirs), "TEXT")


def _value(value: Any) -> Value:
    match value:
        case None | str():
            return value
        case bool() | int():
            return int(value)
        case float():
            return value
        case Decimal():
            return int(value) if value == value.to_integral_value() and value.as_tuple().exponent == 0 else float(value)
        case datetime():
            return value.replace(tzinfo=None).isoformat(" ", "seconds")
        case date():
            return value.isoformat()
    return str(value)
