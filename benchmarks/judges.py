"""How near a panel of three judges comes to what its endpoint allows: `gristmill judge` against a stub of 50 ms.

    python benchmarks/judges.py [--records 10000]

The stub answers each of the three schemas, 64 calls in flight. The ideal is records x 3 calls x 50 ms / 64. Printed:
wall time of the whole command, the ideal, their ratio, CPU per record; and the same command once more, which only
reads its ledger.
"""

import argparse
import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import orjson
import yaml

IN_FLIGHT = 64
LATENCY = 0.05
CALLS = 3
GRADE = {"reason": "as the text says", "score": 5}
REPLIES = {
    b'"Grades"': dict.fromkeys(("correctness", "completeness", "grounding", "clarity"), GRADE),
    b'"Label"': {"reason": "common knowledge", "verdict": "ANSWERABLE"},
    b'"Moderated"': {"reason": "harmless", "violated": []},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve())
    else:
        measure(arguments.records)


async def serve() -> None:
    """A minimal HTTP/1.1 responder, so that the machine's time goes to the client."""
    bodies = {
        mark: orjson.dumps(
            {
                "model": "stub",
                "choices": [
                    {
                        "message": {"role": "assistant", "content": orjson.dumps(reply).decode()},
                        "finish_reason": "stop",
                    }
                ],
                "usage": {"prompt_tokens": 300, "completion_tokens": 60},
            }
        )
        for mark, reply in REPLIES.items()
    }

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            asked = await reader.readexactly(length)
            await asyncio.sleep(LATENCY)
            body = next(body for mark, body in bodies.items() if mark in asked)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body))
            writer.write(body)
        writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


def measure(records: int) -> None:
    stub = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    assert stub.stdout is not None
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_inputs(folder, records, stub.stdout.readline().strip())
            wall, cpu = judge(folder)
            again, _ = judge(folder)
    finally:
        stub.terminate()
        stub.wait()
    ideal = records * CALLS * LATENCY / IN_FLIGHT
    print(f"{records} records x {CALLS} calls: {wall:.1f} s, ideal {ideal:.1f} s, ratio {wall / ideal:.2f}")
    print(f"CPU per record: {1000 * cpu / records:.2f} ms; once more, from the ledger: {again:.1f} s")


def write_inputs(folder: Path, records: int, url: str) -> None:
    with (folder / "records.jsonl").open("wb") as lines:
        for number in range(records):
            turns = [
                {"role": "user", "content": f"What is fact {number} about the harbour of Ghent? " * 4},
                {"role": "assistant", "content": f"Fact {number}: its cranes were turned by men in wheels. " * 6},
            ]
            lines.write(orjson.dumps({"messages": turns}) + b"\n")
    panel = {"name": "quality", "members": [{"name": "rubric"}, {"name": "answerable"}, {"name": "moderation"}]}
    models = {"judge": {"endpoint": url, "model": "stub", "max_in_flight": IN_FLIGHT}}
    (folder / "judges.yaml").write_text(yaml.safe_dump({"judges": [panel], "models": models}))


def judge(folder: Path) -> tuple[float, float]:
    """Wall and CPU seconds of the command."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [
        sys.executable,
        "-m",
        "gristmill.cli",
        "judge",
        "records.jsonl",
        "judges.yaml",
        "--run",
        "out",
        "--quiet",
    ]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, env=dict(os.environ))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - started, cpu


if __name__ == "__main__":
    main()
