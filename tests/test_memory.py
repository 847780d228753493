"""A run's memory doesn't grow with its rows."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from tests.memory import peak_of
from tests.runs import two_calls, write

QUESTION = "What is known about it? " * 12
MOST_MIB = 100
GROWTH = 1.15


class Lean(asyncio.Protocol):
    """Answers each request at once, with little work: a verdict where a schema is sent, else a question."""

    answers = {
        schema: b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        for schema, content in ((True, '{"score": 4}'), (False, QUESTION))
        for body in [
            orjson.dumps(
                {
                    "choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
                    "usage": {"prompt_tokens": 50, "completion_tokens": 60},
                }
            )
        ]
    }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]):
            return
        self.received = b""
        self.transport.write(self.answers[b"response_format" in body])


@contextmanager
def lean_server() -> Iterator[str]:
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(Lean, "127.0.0.1", 0, backlog=1024))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def peak_mib(folder: Path, rows: int) -> float:
    """The largest memory of a whole process, from its start to the export."""
    command = [sys.executable, "-m", "gristmill.cli", "generate", "run.yaml", "--quiet", "--run", f"run{rows}"]
    with lean_server() as url:
        write(two_calls(folder, url, rows), folder / "run.yaml")
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
        peak = peak_of(process)
    assert orjson.loads((folder / f"run{rows}" / "summary.json").read_bytes())["records"] == rows
    return peak


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read from /proc")
def test_memory_is_small_and_flat(tmp_path: Path) -> None:
    few, many = peak_mib(tmp_path, 10_000), peak_mib(tmp_path, 30_000)
    assert few <= MOST_MIB and many <= GROWTH * few, f"{few:.0f} MiB for 10,000 rows, {many:.0f} for 30,000"
