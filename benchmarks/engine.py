"""What Gristmill costs on top of the wire: the same calls by raw aiohttp + orjson and by `gristmill generate`, in turn.

    python benchmarks/engine.py [--rows 2000] [--rounds 3]

A stub server with 50 ms latency answers 2 calls per row, 64 in flight. Printed: CPU per call and wall time of the whole
process, medians over rounds, and the ratio Gristmill / floor. The floor does nothing but send and read JSON.
"""

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import yaml

IN_FLIGHT = 64
LATENCY = 0.05
SCHEMA = {"score": {"type": "integer", "minimum": 1, "maximum": 5}, "reason": {"type": "string", "maxLength": 200}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--part", choices=["server", "floor"], help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part == "server":
        asyncio.run(serve())
    elif arguments.part == "floor":
        asyncio.run(floor(arguments.url, arguments.rows))
    else:
        compare(arguments.rows, arguments.rounds)


async def serve() -> None:
    """A minimal HTTP/1.1 responder, so that the machine's time goes to the client."""
    text = b'{"choices":[{"message":{"role":"assistant","content":"%b"},"finish_reason":"stop"}],"model":"stub",' \
           b'"usage":{"prompt_tokens":100,"completion_tokens":75}}'  # fmt: skip
    replies = {
        True: text % rb"{\"score\":4,\"reason\":\"clear and answerable\"}",
        False: text % (b"a plain answer of some length " * 10),
    }

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
            await asyncio.sleep(LATENCY)
            reply = replies[b'"response_format"' in body]
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(reply)
            )
            writer.write(reply)
        writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


async def floor(url: str, rows: int) -> None:
    """The least that any client must do: send JSON, read JSON."""
    slots = asyncio.Semaphore(IN_FLIGHT)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(prompt: str, schema: bool) -> str:
            request: dict[str, Any] = {"model": "stub", "messages": [{"role": "user", "content": prompt}]}
            if schema:
                request["response_format"] = {"type": "json_schema", "json_schema": {"name": "v", "schema": SCHEMA}}
            async with slots, session.post(f"{url}/chat/completions", data=orjson.dumps(request)) as response:
                content: str = orjson.loads(await response.read())["choices"][0]["message"]["content"]
                return content

        async def row(number: int) -> None:
            question = await ask(f"Write one question about: fact {number}", False)
            await ask(f"Score the question {question} for the text fact {number}", True)

        await asyncio.gather(*(row(number) for number in range(rows)))


def compare(rows: int, rounds: int) -> None:
    here = [sys.executable, __file__, "--rows", str(rows)]
    server = subprocess.Popen([*here, "--part", "server"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    figures: dict[str, list[tuple[float, float, float]]] = {"floor": [], "gristmill": []}
    try:
        with tempfile.TemporaryDirectory() as folder:
            config = write_config(Path(folder), url, rows)
            for turn in range(rounds):
                figures["floor"].append(measure([*here, "--part", "floor", "--url", url]))
                run = ["generate", str(config), "--run", f"{folder}/run{turn}", "--quiet"]
                figures["gristmill"].append(measure([sys.executable, "-m", "gristmill.cli", *run]))
    finally:
        server.terminate()
    report(figures, rows)


def write_config(folder: Path, url: str, rows: int) -> Path:
    seeds = folder / "seeds.jsonl"
    seeds.write_text("".join(json.dumps({"text": f"fact {number}"}) + "\n" for number in range(rows)))
    score = "Score the question {{ question }} for the text {{ text }}"
    steps = [
        {"name": "question", "role": "writer", "prompt": "Write one question about: {{ text }}"},
        {"name": "verdict", "role": "judge", "prompt": score, "schema": SCHEMA},
    ]
    turns = [{"role": "user", "content": "{{ question }}"}, {"role": "assistant", "content": "{{ text }}"}]
    config = {
        "generator": "template",
        "seeds": str(seeds),
        "models": {"default": {"endpoint": url, "model": "stub", "max_in_flight": IN_FLIGHT}},
        "params": {"steps": steps, "keep_if": "verdict.score >= 3", "messages": turns},
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def measure(command: list[str]) -> tuple[float, float, float]:
    """(wall seconds, CPU seconds, peak MiB) of a whole process."""
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {status}")
    return time.monotonic() - started, used.ru_utime + used.ru_stime, peak_mib(used)


def peak_mib(used: resource.struct_rusage) -> float:
    return used.ru_maxrss / 1024


def report(figures: dict[str, list[tuple[float, float, float]]], rows: int) -> None:
    medians = {
        name: [statistics.median(column) for column in zip(*runs, strict=True)] for name, runs in figures.items()
    }
    ideal = 2 * rows * LATENCY / IN_FLIGHT
    print(f"{rows} rows x 2 calls, {IN_FLIGHT} in flight, {LATENCY * 1000:.0f} ms latency; ideal wall {ideal:.2f} s")
    print(f"{'':12}{'wall s':>10}{'CPU ms/call':>14}{'peak MiB':>10}")
    for name, (wall, cpu, peak) in medians.items():
        print(f"{name:12}{wall:>10.2f}{cpu * 1000 / (2 * rows):>14.3f}{peak:>10.0f}")
    ratios = [ours / theirs for ours, theirs in zip(medians["gristmill"], medians["floor"], strict=True)]
    print(f"{'ratio':12}{ratios[0]:>10.2f}{ratios[1]:>14.2f}{ratios[2]:>10.2f}")


if __name__ == "__main__":
    main()
