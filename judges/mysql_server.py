"""Where the MySQL of a run is, and how it is made ready: users that may do nothing outside of the proof databases.

    with reachable("local", 2) as addresses:
        addresses      [Address({"unix_socket": "/tmp/gristmill-x2/sock", "user": "gristmill_loader", ...}, ...), ...]

Debian has no MySQL, so the local server is MariaDB, which every proof says. A MySQL can be named by its URL, or run
from an image.

Source: MariaDB's documentation, "mariadb-install-db", "secure_file_priv", "max_session_mem_used".
"""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import pymysql

from gristmill.errors import ConfigError, GristmillError
from judges.docker_server import container
from judges.sql_server import LOCAL, dsn_named
from judges.throwaway import Plan, has_ended, last_words, throwaway

_PATIENCE = 60.0
_POLL = 0.1
_GIB = 2**30
RIGHTS = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, REFERENCES, CREATE VIEW, SHOW VIEW"
_DANGEROUS = ("ALL PRIVILEGES ON *.*", "SUPER", "FILE", "SHUTDOWN", "PROCESS", "CREATE USER")
_QUICK = ("--debug-no-sync", "--innodb-flush-log-at-trx-commit=0", "--innodb-log-file-size=16M", "--sync-frm=off")
_SETTINGS = (
    "--skip-networking",
    "--skip-log-bin",
    "--skip-slave-start",
    "--performance-schema=off",
    "--innodb-doublewrite=off",
    "--innodb-file-per-table=off",
    "--innodb-use-native-aio=off",
    "--innodb-buffer-pool-size=32M",
    "--innodb-fast-shutdown=2",
    "--max-session-mem-used=134217728",
    "--max-allowed-packet=4M",
    "--local-infile=off",
    "--symbolic-links=off",
    "--character-set-server=utf8mb4",
    "--collation-server=utf8mb4_general_ci",
    "--default-time-zone=+00:00",
)


class Address(NamedTuple):
    """What `pymysql.connect` takes, for one that loads and one that only reads, and the database that is theirs."""

    loader: dict[str, Any]
    reader: dict[str, Any]
    database: str


@contextmanager
def reachable(where: str, workers: int) -> Iterator[list[Address]]:
    """The address of a database for each worker. GristmillError where there is no server, saying how to get one."""
    if where == LOCAL:
        with throwaway(_plan()) as folder:
            socket = {"unix_socket": str(folder / "sock")}
            _wait({**socket, "user": "root"}, folder)
            yield _made_ready({**socket, "user": "root"}, socket, workers)
    elif where.startswith("docker:"):
        secret = token_hex(16)
        environment = {"MYSQL_ROOT_PASSWORD": secret, "MARIADB_ROOT_PASSWORD": secret}
        with container(where.removeprefix("docker:"), 3306, environment) as (host, port):
            place = {"host": host, "port": port}
            _wait({**place, "user": "root", "password": secret}, None)
            yield _made_ready({**place, "user": "root", "password": secret}, place, workers)
    else:
        with _databases_at(_options(dsn_named(where, "mysql"), where), where, workers) as addresses:
            yield addresses


def programs() -> tuple[str, str] | None:
    """MariaDB's server and what makes its data folder."""
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    server, installer = shutil.which("mariadbd", path=places), shutil.which("mariadb-install-db", path=places)
    return (server, installer) if server and installer else None


def _plan() -> Plan:
    found = programs()
    if found is None:
        raise GristmillError(
            "there is neither MySQL nor MariaDB to prove queries on: apt-get install mariadb-server (no server needs "
            "to run), or name an environment variable that holds a server's URL in the parameter `mysql`."
        )
    server, installer = found
    return Plan(
        name="MariaDB",
        prepare=lambda place: [
            installer, "--no-defaults", f"--datadir={place / 'data'}", "--auth-root-authentication-method=normal",
            "--skip-test-db", "--skip-name-resolve", *_QUICK,
        ],
        serve=lambda place: [
            server, "--no-defaults", f"--datadir={place / 'data'}", f"--socket={place / 'sock'}", f"--tmpdir={place}",
            f"--pid-file={place / 'pid'}", f"--secure-file-priv={place / 'data' / 'mysql'}", *_QUICK, *_SETTINGS,
        ],
        user="mysql",
        memory=2 * _GIB,
        stop=signal.SIGKILL,  # nothing of it is kept
    )  # fmt: skip


def connect(options: dict[str, Any], **more: Any) -> "pymysql.Connection[Any]":
    return pymysql.connect(**options, charset="utf8mb4", autocommit=True, connect_timeout=10, **more)


def _wait(admin: dict[str, Any], folder: Path | None) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            connect(admin).close()
            return
        except pymysql.MySQLError as error:
            if (folder and has_ended(folder)) or time.monotonic() > deadline:
                raise last_words(folder, "MariaDB") if folder else GristmillError(f"MySQL: {error}") from None
        time.sleep(_POLL)


def _made_ready(admin: dict[str, Any], place: dict[str, Any], workers: int) -> list[Address]:
    secret = token_hex(16)
    users = {"gristmill_loader": RIGHTS, "gristmill_reader": "SELECT"}
    for user, rights in users.items():
        run_commands(
            admin,
            f"CREATE USER '{user}'@'%' IDENTIFIED BY '{secret}'",
            f"GRANT {rights} ON `proof\\_%`.* TO '{user}'@'%'",
        )
    loader, reader = ({**place, "user": user, "password": secret} for user in users)
    return [Address(loader, reader, f"proof_{number}") for number in range(workers)]


def _options(url: str, variable: str) -> dict[str, Any]:
    parts = urlsplit(url)
    if parts.scheme not in ("mysql", "mariadb") or not parts.hostname or not parts.username:
        raise ConfigError(f"mysql: {variable} holds no URL like mysql://user:password@host:3306.")
    options: dict[str, Any] = {"user": unquote(parts.username), "password": unquote(parts.password or "")}
    if sockets := parse_qs(parts.query).get("unix_socket"):
        return {**options, "unix_socket": sockets[0]}
    return {**options, "host": parts.hostname, "port": parts.port or 3306}


@contextmanager
def _databases_at(options: dict[str, Any], variable: str, workers: int) -> Iterator[list[Address]]:
    """Databases on the user's server, which are dropped in the end; its own are left alone."""
    grants = " ".join(str(row[0]).upper() for row in run_commands(options, "SHOW GRANTS"))
    if any(right in grants for right in _DANGEROUS):
        raise ConfigError(
            f"mysql: the user of {variable} may do too much (SUPER, FILE or all); give it rights on its own databases "
            f"only: GRANT {RIGHTS} ON `gristmill\\_proof\\_%`.* TO ..."
        )
    names = [f"gristmill_proof_{token_hex(6)}" for _ in range(workers)]
    try:
        yield [Address(options, options, name) for name in names]
    finally:
        run_commands(options, *(f"DROP DATABASE IF EXISTS `{name}{end}`" for name in names for end in ("", "_seen")))


def run_commands(options: dict[str, Any], *commands: str) -> list[tuple[Any, ...]]:
    """Our own statements on a connection of their own; the rows of the last one."""
    try:
        with connect(options) as connection, connection.cursor() as cursor:
            for command in commands:
                cursor.execute(command)
            return list(cursor.fetchall())
    except pymysql.MySQLError as error:
        raise GristmillError(f"MySQL: {error}") from None
