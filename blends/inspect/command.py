"""`gristmill inspect DIR` serves a local web page over a run, a blend or any parquet."""

import socket
from argparse import ArgumentParser, Namespace
from pathlib import Path

from gristmill.commands import Command, port


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="a run, a blend, a .parquet file or a folder of them")
    parser.add_argument("--port", type=port, default=8787, help="on 127.0.0.1 (default 8787; 0 takes a free one)")


def _inspect(arguments: Namespace) -> int:
    from gristmill.errors import ConfigError, GristmillError

    try:
        import uvicorn

        from blends.inspect.app import make_app
    except ImportError as error:
        raise ConfigError(f"inspect needs {error.name}: pip install 'gristmill[inspect]'.") from None
    from blends.inspect.source import open_source

    source = open_source(arguments.folder)
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", arguments.port))
            listening.listen()  # so that the page can be asked for as soon as its address is told
        except OSError:
            raise GristmillError(f"port {arguments.port} is taken; choose another: --port 0.") from None
        print(f"{arguments.folder} at http://127.0.0.1:{listening.getsockname()[1]}  (Ctrl-C ends it)", flush=True)
        server = uvicorn.Server(uvicorn.Config(make_app(source), log_level="warning", lifespan="off"))
        server.run(sockets=[listening])
    source.close()
    return 0


command = Command(
    "look at a run, a blend or any parquet in the browser",
    _configure,
    _inspect,
    "gristmill inspect runs/my",
)
