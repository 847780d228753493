"""Where the PostgreSQL of a run is, and how it is made ready: a role that may do nothing, a database for each worker.

    with reachable("local", 2) as addresses:
        addresses      [b"host='/tmp/gristmill-x2' user='gristmill' dbname='proof_0'", ...]

Source: PostgreSQL's manual, "initdb", "Function Volatility Categories", "Resource Consumption".
"""

import re
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

from psycopg import ProgrammingError, pq
from psycopg.conninfo import make_conninfo

from gristmill.errors import ConfigError, GristmillError
from judges.docker_server import container
from judges.sql_server import LOCAL, dsn_named
from judges.throwaway import Plan, has_ended, last_words, throwaway

Address = bytes

_ROLE = "gristmill"
_PATIENCE = 60.0
_POLL = 0.05
_GIB = 2**30
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "50",
    "shared_buffers": "32MB",
    "autovacuum_naptime": "10s",
    "dynamic_shared_memory_type": "mmap",  # a file in its folder, and so gone with it
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",
    "log_min_error_statement": "panic",
}
_ROLE_SETTINGS = {
    "temp_file_limit": "200MB",  # which a role can't change for itself
    "work_mem": "8MB",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "timezone": "UTC",
}
_NOT_GRANTED = """
DO $$ DECLARE f regprocedure; BEGIN
  FOR f IN SELECT p.oid FROM pg_proc p WHERE p.provolatile = 'v' AND p.prokind = 'f'
    AND p.pronamespace = 'pg_catalog'::regnamespace
    AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype, 'language_handler'::regtype,
                             'internal'::regtype)
    AND p.proname NOT IN ('nextval', 'setval', 'currval', 'lastval', 'pg_sequence_last_value')
  LOOP EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', f); END LOOP;
END $$
"""


@contextmanager
def reachable(where: str, workers: int) -> Iterator[list[Address]]:
    """The address of a database for each worker. GristmillError where there is no server, saying how to get one."""
    if where == LOCAL:
        with throwaway(_plan()) as folder:
            admin = make_conninfo(host=str(folder), user="postgres", dbname="postgres")
            _wait(admin, folder)
            yield _made_ready(admin, workers)
    elif where.startswith("docker:"):
        secret = token_hex(16)
        with container(where.removeprefix("docker:"), 5432, {"POSTGRES_PASSWORD": secret}) as (host, port):
            admin = make_conninfo(host=host, port=port, user="postgres", password=secret, dbname="postgres")
            _wait(admin, None)
            yield _made_ready(admin, workers)
    else:
        with _databases_at(dsn_named(where, "postgres"), where, workers) as addresses:
            yield addresses


def programs() -> Path | None:
    """The folder of `initdb` and `postgres`: on the PATH, or where Debian and Red Hat keep them."""
    on_path = shutil.which("initdb")
    if on_path and (Path(on_path).resolve().parent / "postgres").exists():
        return Path(on_path).resolve().parent
    folders = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    complete = [folder for folder in folders if (folder / "initdb").exists() and (folder / "postgres").exists()]
    return max(complete, key=lambda folder: int(re.findall(r"\d+", str(folder))[0]), default=None)


def _plan() -> Plan:
    folder = programs()
    if folder is None:
        raise GristmillError(
            "there is no PostgreSQL to prove queries on: apt-get install postgresql (no server needs to run), or name "
            "an environment variable that holds a server's URL in the parameter `postgres`."
        )
    options = [option for name, value in _SETTINGS.items() for option in ("-c", f"{name}={value}")]
    initdb = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"]
    return Plan(
        name="PostgreSQL",
        prepare=lambda place: [str(folder / "initdb"), "-D", str(place / "data"), *initdb],
        serve=lambda place: [str(folder / "postgres"), "-D", str(place / "data"), "-k", str(place), *options],
        user="postgres",
        memory=_GIB,
        stop=signal.SIGINT,
    )


def _wait(admin: str, folder: Path | None) -> None:
    deadline = time.monotonic() + _PATIENCE
    while pq.PGconn.ping(admin.encode()) != pq.Ping.OK:
        if (folder and has_ended(folder)) or time.monotonic() > deadline:
            raise last_words(folder, "PostgreSQL") if folder else GristmillError("PostgreSQL did not start in time.")
        time.sleep(_POLL)


def _made_ready(admin: str, workers: int) -> list[Address]:
    """A role without any right, and a database of its own for each worker. The first one is the others' template."""
    secret = token_hex(16)
    run_commands(admin, f"CREATE ROLE {_ROLE} LOGIN PASSWORD '{secret}'", "CREATE DATABASE proof_0")
    run_commands(admin, *(f"ALTER ROLE {_ROLE} SET {name} = '{value}'" for name, value in _ROLE_SETTINGS.items()))
    run_commands(make_conninfo(admin, dbname="proof_0"), _NOT_GRANTED)
    run_commands(admin, *(f"CREATE DATABASE proof_{number} TEMPLATE proof_0" for number in range(1, workers)))
    names = [f"proof_{number}" for number in range(workers)]
    run_commands(admin, *(f"ALTER DATABASE {name} OWNER TO {_ROLE}" for name in names))
    run_commands(
        admin, *(f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC" for name in (*names, "postgres", "template1"))
    )
    return [make_conninfo(admin, user=_ROLE, password=secret, dbname=name).encode() for name in names]


@contextmanager
def _databases_at(dsn: str, variable: str, workers: int) -> Iterator[list[Address]]:
    """Databases on the user's server, which are dropped in the end; its own are left alone."""
    names = [f"gristmill_proof_{token_hex(6)}" for _ in range(workers)]
    try:
        rights = run_commands(dsn, "SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = current_user")
    except ProgrammingError as error:
        raise ConfigError(f"postgres: {variable} holds no URL of a PostgreSQL server: {error}") from None
    if rights != [b"f", b"t"]:
        raise ConfigError(
            f"postgres: the role of {variable} must be able to create databases and must not be a superuser: "
            "CREATE ROLE gristmill LOGIN CREATEDB."
        )
    try:
        run_commands(dsn, *(f"CREATE DATABASE {name}" for name in names))
        yield [make_conninfo(dsn, dbname=name).encode() for name in names]
    finally:
        run_commands(dsn, *(f"DROP DATABASE IF EXISTS {name}" for name in names))


def opened(address: Address, patience: float = 0.0) -> pq.abc.PGconn:
    """A connection; GristmillError where there is none to be had for `patience` seconds."""
    deadline = time.monotonic() + patience
    while (connection := pq.PGconn.connect(address)).status != pq.ConnStatus.OK and time.monotonic() < deadline:
        time.sleep(_POLL)
    if connection.status != pq.ConnStatus.OK:
        said = connection.error_message.decode(errors="replace").strip()
        raise GristmillError(
            f"PostgreSQL can't be reached: {said}. Start it or correct its URL, then repeat the command."
        )
    return connection


def run_commands(address: str, *commands: str) -> list[bytes | None]:
    """Our own statements on a connection of their own; the first row of the last one."""
    connection = opened(address.encode())
    try:
        row: list[bytes | None] = []
        for command in commands:
            result = connection.exec_(command.encode())
            if result.status == pq.ExecStatus.FATAL_ERROR:
                raise GristmillError(f"PostgreSQL: {result.error_message.decode().strip()}")
            row = [result.get_value(0, place) for place in range(result.nfields)] if result.ntuples else []
        return row
    finally:
        connection.finish()
