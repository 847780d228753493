"""A user's own database on a server: read as it is, asked about, and never changed."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from generators.text_to_sql.grammar import suited_concepts
from generators.text_to_sql.introspect_server import read_server
from generators.text_to_sql.load import load
from generators.text_to_sql.schema import Database
from generators.text_to_sql.statements import ddl, inserts
from gristmill.errors import ConfigError
from gristmill.testing import run_scripted
from tests.sql_worlds import own_worlds

FREIGHT = own_worlds()["freight"]


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    """The freight world on a throwaway PostgreSQL."""
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    from judges.postgres_server import reachable

    with reachable("local", 1) as (address,):
        with psycopg.connect(address.decode(), autocommit=True) as connection:
            for statement in [*ddl(FREIGHT.tables, "postgres"), *inserts(FREIGHT.tables, "postgres")]:
                connection.execute(statement.encode())
        known = conninfo_to_dict(address.decode())
        place = quote(str(known["host"]), safe="")
        yield f"postgresql://{known['user']}:{known['password']}@/{known['dbname']}?host={place}"


@pytest.fixture(scope="module")
def mysql_url() -> Iterator[str]:
    """The freight world on a throwaway MariaDB."""
    from judges.mysql_server import connect, reachable

    with reachable("local", 1) as (address,):
        with closing(connect(address.loader)) as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {address.database} CHARACTER SET utf8mb4")
            cursor.execute(f"USE {address.database}")
            for statement in [*ddl(FREIGHT.tables, "mysql"), *inserts(FREIGHT.tables, "mysql")]:
                cursor.execute(statement)
        user, place = address.reader, quote(str(address.reader["unix_socket"]), safe="")
        yield f"mysql://{user['user']}:{user['password']}@localhost/{address.database}?unix_socket={place}"


SERVED = [pytest.param(f"{name}_url", marks=getattr(pytest.mark, name)) for name in ("postgres", "mysql")]


def described(database: Database) -> dict[str, Any]:
    return {
        table.name: (
            {column.name: column.kind for column in table.columns},
            table.primary_key,
            sorted((key.column, key.table, key.to_column) for key in table.foreign_keys),
            sorted(map(repr, table.rows)),
        )
        for table in database.tables
    }


@pytest.mark.parametrize("fixture", SERVED)
def test_tables_keys_kinds_and_rows(fixture: str, request: pytest.FixtureRequest) -> None:
    read = described(read_server(request.getfixturevalue(fixture), 60, "sea freight"))
    for table in FREIGHT.tables:
        kinds, primary_key, keys, rows = read[table.name]
        assert primary_key == table.primary_key
        assert keys == sorted((key.column, key.table, key.to_column) for key in table.foreign_keys)
        for column in table.columns:
            if column.kind in ("id", "key", "flag", "date", "measure"):
                assert kinds[column.name] == column.kind, column.name
        assert len(rows) == len(table.rows)
    shipments = read["shipment"]
    assert "'2023-12-12 12:00:00'" in "".join(shipments[3]), "a moment is ISO text"
    assert not any("Decimal" in row or "True" in row for row in shipments[3])


@pytest.mark.parametrize("fixture", SERVED)
def test_records_about_it(
    fixture: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_FREIGHT", request.getfixturevalue(fixture))
    assert len(suited_concepts(load(Path("MY_FREIGHT"), 60))) >= 60
    params = {"database": "MY_FREIGHT", "industry": "sea freight", "paraphrase": False, "dialects": ["sqlite"]}
    config = {
        "generator": "text_to_sql",
        "tasks": 30,
        "models": {"default": {"endpoint": "http://scripted.invalid/v1", "model": "scripted"}},
        "params": params,
    }
    summary = run_scripted(config, tmp_path)
    assert summary["accepted"] >= 28, summary["by_reason"]
    assert (
        "password" not in (tmp_path / "config.yaml").read_text()
        and "MY_FREIGHT" in (tmp_path / "config.yaml").read_text()
    )


@pytest.mark.postgres
def test_a_server_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="PostgreSQL database can't be read"):
        read_server("postgresql://nobody@127.0.0.1:9/nowhere", 60)


@pytest.mark.mysql
def test_a_mysql_server_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="MySQL database can't be read"):
        read_server("mysql://nobody@127.0.0.1:9/nowhere", 60)
