"""`gristmill serve`: the embedded model as an OpenAI-compatible endpoint on loopback, until ctrl-C."""

import signal
import socket
from argparse import ArgumentParser, Namespace

from gristmill.commands import Command, port
from gristmill.errors import GristmillError

_DEFAULT_PORT = 8788
_EXAMPLE = """\
{url}   (model {model}; ctrl-C stops it)

curl {url}/chat/completions -H 'Content-Type: application/json' \\
  -d '{{"messages": [{{"role": "user", "content": "Name three rivers."}}], "max_tokens": 60}}'
"""


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("--port", type=port, default=_DEFAULT_PORT, help="default: %(default)s; 0 takes a free one")


def _serve(arguments: Namespace) -> int:
    from gristmill.embedded import MODEL_NAME, check_packages
    from gristmill.embedded_server import create_server

    check_packages()
    _check_free(arguments.port)
    server = create_server(arguments.port)
    print(_EXAMPLE.format(url=f"{server.listening_address}/v1", model=MODEL_NAME), flush=True)
    try:
        signal.pause()
    except KeyboardInterrupt:
        print("stopped.")
    return 0


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise GristmillError(f"port {port} can't be used: {reason}; choose another with --port.") from None


command = Command(
    "the embedded model as an OpenAI-compatible endpoint on loopback",
    _configure,
    _serve,
    "gristmill serve --port 8000",
)
