"""The servers of a run: what starts once for its dialect, and the few workers that its tasks share.

server = await server_for("postgres", limits, ctx)
future = server.workers.submit(work)         # work: with server.database(context, limits) as database: ...
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

from gristmill import Context
from gristmill.errors import ConfigError, GristmillError
from judges.sql_engine import Database, Limits
from judges.sql_world import Dialect

LOCAL = "local"


class Server(ABC):
    """`workers` are as many threads as there are connections, so that none waits for another."""

    workers: ThreadPoolExecutor

    @abstractmethod
    def database(self, context: str, limits: Limits) -> AbstractContextManager[Database]:
        """A fresh database with the context, gone after the block. Refuted `context` where it doesn't load."""


async def server_for(dialect: Dialect, limits: Limits, ctx: Context) -> Server:
    """The run's server of this dialect, started on first use. GristmillError where there is none to be had."""
    try:
        start = starter(dialect)
    except ImportError as error:
        raise GristmillError(
            f"queries of {dialect} need the package {error.name}: pip install 'gristmill[sql]'."
        ) from None
    return await ctx.resource(start, limits.postgres if dialect == "postgres" else limits.mysql, limits.workers)


def starter(dialect: Dialect) -> Callable[[str, int], AbstractContextManager[Server]]:
    """What starts a server, of a place (see `Limits`) and a number of workers."""
    if dialect == "postgres":
        from judges.postgres_engine import postgres

        return postgres
    from judges.mysql_engine import mysql

    return mysql


def dsn_named(variable: str, key: str) -> str:
    """The URL that the config names by an environment variable; it may hold a password, so it is never written."""
    if not variable.isidentifier() or variable not in os.environ:
        raise ConfigError(
            f"{key}: {variable!r} is neither {LOCAL!r}, nor 'docker:IMAGE', nor an environment variable that is set; "
            "put the server's URL in one and name it here."
        )
    return os.environ[variable]
