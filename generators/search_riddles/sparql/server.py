"""The embedded graph server: oxigraph on loopback, in memory, gone with the process that started it.

    with serving(("/.../statements.tsv.gz", "/.../entities.jsonl.gz")) as endpoint:
        await endpoint.select("SELECT ...")

Beside the statements of the files it knows how many statements each entity is in, as `wikibase:sitelinks`, where the
files don't say it: Wikidata's number of pages about an entity, which queries for hubs ask for, has the same use.

Source: Oxigraph's server (https://github.com/oxigraph/oxigraph/tree/main/cli); SPARQL 1.1 Graph Store HTTP Protocol.
"""

import asyncio
import shutil
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL

from generators.search_riddles.sparql.endpoint import Busy, QueryFailed, Row, Unreachable, ask
from generators.search_riddles.sparql.files import n_triples
from generators.search_riddles.sparql.queries import DEGREES
from gristmill.errors import ConfigError, GristmillError
from judges.throwaway import Plan, has_ended, last_words, throwaway

QUERY_SECONDS = 10
"""A local query that takes longer joins too much; the riddle that asked for it is lost."""
_PATIENCE = 20.0
_GIB = 2**30


class Embedded:
    """Queries to the server of this machine."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def select(self, query: str) -> list[Row]:
        try:
            return await asyncio.to_thread(ask, f"{self._url}/query", query, QUERY_SECONDS + 8.0, "Gristmill")
        except Unreachable as error:
            raise GristmillError(
                f"the embedded graph server is gone: {error}. Repeat the command; what was answered is kept."
            ) from None
        except Busy as error:  # it breaks a result off that takes too long
            raise QueryFailed("timeout", str(error)) from None


def program() -> str:
    """Where oxigraph is: in the environment of this Python, or on the path. ConfigError where it isn't."""
    beside = Path(sys.executable).parent / "oxigraph"
    found = str(beside) if beside.exists() else shutil.which("oxigraph")
    if not found:
        raise ConfigError("endpoint: embedded needs oxigraph: pip install 'gristmill[riddles]'.")
    return found


@contextmanager
def serving(files: tuple[str, ...]) -> Iterator[Embedded]:
    """A server with the statements of these files. ConfigError where one can't be read, GristmillError where the
    server doesn't start."""
    triples = n_triples([Path(file) for file in files])
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    command = [program(), "serve", "--bind", f"127.0.0.1:{port}", "--timeout-s", str(QUERY_SECONDS)]
    with throwaway(
        Plan("oxigraph", lambda folder: ["true"], lambda folder: command, "nobody", 8 * _GIB, SIGKILL)
    ) as at:
        _wait(url, at)
        _send(f"{url}/store?default", "application/n-triples", triples, files)
        _send(f"{url}/update", "application/sparql-update", DEGREES.encode(), files)
        yield Embedded(url)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _wait(url: str, folder: Path) -> None:
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until and not has_ended(folder):
        try:
            urllib.request.urlopen(f"{url}/query?query=ASK%20%7B%7D", timeout=5).close()
            return
        except OSError:
            time.sleep(0.02)
    raise last_words(folder, "oxigraph")


def _send(url: str, kind: str, body: bytes, files: tuple[str, ...]) -> None:
    request = urllib.request.Request(url, data=body, headers={"Content-Type": kind}, method="POST")
    try:
        urllib.request.urlopen(request, timeout=600).close()
    except urllib.error.HTTPError as error:
        said = error.read().decode(errors="replace")[:200].strip()
        raise ConfigError(f"params.graph: {', '.join(files)} can't be loaded: {said}") from None
