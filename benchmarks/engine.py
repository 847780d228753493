"""What Gristmill costs on top of the wire: the same calls by raw aiohttp + orjson and by `gristmill generate`, in turn.

    python benchmarks/engine.py [--rows 2000] [--faulty-rows 10000] [--rounds 3] [--long]

A stub server with 50 ms latency answers 2 calls per row, 64 in flight. Printed, as medians over rounds of whole
processes:

speed   wall time, CPU per call and peak memory, and their ratios Gristmill / floor. The floor sends and reads JSON.
start   from the launch of the process to its first request.
faults  a run of `--faulty-rows` against 5 % 429 (Retry-After 1 s), 5 % 500, 2 % resets and 5 % malformed JSON: time
        and CPU as ratios to a clean run of the same round, requests beyond the clean run's and faults met. A run of
        2,000 rows lasts 3 s, so its ratio says how often its last tasks are told to wait a second, whatever the client.
memory  with --long: the peak for 50,000 rows beside that for `--rows`.
"""

import argparse
import asyncio
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import orjson
import yaml

IN_FLIGHT = 64
LATENCY = 0.05
FAULT_LATENCY = 0.005
FAULTS = {"429": 0.05, "500": 0.05, "reset": 0.02, "malformed": 0.05}
LONG = 50_000
STRUCTURED = b"Score the question"  # how a prompt begins that wants JSON
SCHEMA = {"score": {"type": "integer", "minimum": 1, "maximum": 5}, "reason": {"type": "string", "maxLength": 200}}


class Process(NamedTuple):
    """A whole process: wall seconds, CPU seconds, peak MiB, and the monotonic time of its launch."""

    wall: float
    cpu: float
    peak: float
    launched: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--faulty-rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--long", action="store_true", help="also the memory of 50,000 rows (80 s more)")
    parser.add_argument("--part", choices=["server", "floor"], help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part == "server":
        asyncio.run(Stub().serve())
    elif arguments.part == "floor":
        asyncio.run(floor(arguments.url, arguments.rows))
    else:
        compare(arguments.rows, arguments.faulty_rows, arguments.rounds, arguments.long)


class Stub:
    """A minimal HTTP/1.1 responder, so that the machine's time goes to the client. POST /faults/on|off sets whether it
    has faults and clears the counters, GET /stats reads them."""

    def __init__(self) -> None:
        text = b'{"choices":[{"message":{"role":"assistant","content":"%b"},"finish_reason":"stop"}],"model":"stub",' \
               b'"usage":{"prompt_tokens":100,"completion_tokens":75,"total_tokens":175}}'  # fmt: skip
        self.replies = {
            True: text % rb"{\"score\":4,\"reason\":\"clear and answerable\"}",
            False: text % (b"a plain answer of some length " * 10),
        }
        self.malformed = text % rb"{\"score\":4,\"reason"
        self.faulty = False
        self.clear()

    def clear(self) -> None:
        self.requests, self.first, self.last = 0, 0.0, 0.0
        self.met: Counter[str] = Counter()
        self.attempts: Counter[int] = Counter()

    async def serve(self) -> None:
        server = await asyncio.start_server(self.connection, "127.0.0.1", 0)
        print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await server.serve_forever()

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            body = await reader.readexactly(int(length or 0))
            if b"/chat/completions" in head:
                if not await self.answer(body, writer):
                    return
                continue
            if b"/faults/" in head:
                self.faulty = b"/faults/on" in head
                self.clear()
            stats = {"requests": self.requests, "first": self.first, "last": self.last, "met": self.met}
            respond(writer, b"200 OK", orjson.dumps(stats))
        writer.close()

    async def answer(self, body: bytes, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection is still there afterwards."""
        self.first = self.first or time.monotonic()
        self.requests += 1
        structured = STRUCTURED in body
        fault = self.draw(body, structured) if self.faulty else ""
        self.met[fault] += bool(fault)
        await asyncio.sleep(FAULT_LATENCY if fault in ("429", "500", "reset") else LATENCY)
        self.last = time.monotonic()
        if fault == "reset":
            writer.transport.abort()
            return False
        if fault in ("429", "500"):
            respond(writer, fault.encode() + b" no", b"{}", b"retry-after: 1\r\n" if fault == "429" else b"")
        else:
            respond(writer, b"200 OK", self.malformed if fault == "malformed" else self.reply(body))
        return True

    def reply(self, body: bytes) -> bytes:
        return self.replies[STRUCTURED in body]

    def draw(self, body: bytes, structured: bool) -> str:
        """From the request and how often it came, so that each round meets the same faults."""
        key = hash(body)
        self.attempts[key] += 1
        draw = random.Random(f"{body!r}{self.attempts[key]}").random()
        for fault, share in FAULTS.items():
            if draw < share:
                return fault if fault != "malformed" or structured else ""
            draw -= share
        return ""


def respond(writer: asyncio.StreamWriter, status: bytes, content: bytes, headers: bytes = b"") -> None:
    head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n"
    writer.write(head % (status, headers, len(content)))
    writer.write(content)


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


def compare(rows: int, faulty_rows: int, rounds: int, long: bool) -> None:
    here = [sys.executable, __file__, "--rows", str(rows)]
    server = subprocess.Popen([*here, "--part", "server"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    try:
        with tempfile.TemporaryDirectory() as folder:
            runs = Runs(url, Path(folder))
            compare_with_floor([*here, "--part", "floor", "--url", f"{url}/v1"], runs, rows, rounds)
            compare_with_faults(runs, faulty_rows, rounds)
            if long:
                run, _ = runs.run(LONG)
                print(f"memory: {LONG:,} rows {run.peak:.0f} MiB, {run.cpu * 1000 / (2 * LONG):.3f} ms CPU per call")
    finally:
        server.terminate()


class Runs:
    """Runs of `gristmill generate` against the stub, each in a folder of its own."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self._number = 0

    def run(self, rows: int, faults: str = "off") -> tuple[Process, dict[str, Any]]:
        """The process, and what the stub counted."""
        self._number += 1
        config, run = write_config(self.folder, self.url, rows), self.folder / f"run{self._number}"
        tell(self.url, faults)
        process = measure(
            [sys.executable, "-m", "gristmill.cli", "generate", str(config), "--run", str(run), "--quiet"]
        )
        accepted = json.loads((run / "summary.json").read_text())["accepted"]
        if accepted != rows:
            raise SystemExit(f"of {rows} rows only {accepted} came out")
        return process, stats(self.url)


def compare_with_floor(floor: list[str], runs: Runs, rows: int, rounds: int) -> None:
    processes: dict[str, list[Process]] = {"floor": [], "gristmill": []}
    starts = []
    for _ in range(rounds):
        tell(runs.url, "off")
        processes["floor"].append(measure(floor))
        run, counted = runs.run(rows)
        processes["gristmill"].append(run)
        starts.append(counted["first"] - run.launched)
    report(processes, rows, starts)


def compare_with_faults(runs: Runs, rows: int, rounds: int) -> None:
    spans, cpu = [], []
    for _ in range(rounds):
        clean, counted = runs.run(rows)
        faulty, met = runs.run(rows, "on")
        spans.append((met["last"] - met["first"]) / (counted["last"] - counted["first"]))
        cpu.append(faulty.cpu / clean.cpu)
        extra = met["requests"] - counted["requests"]
    print(
        f"faults: {rows:,} rows, span ratio {median(spans):.2f}, CPU ratio {median(cpu):.2f}; {extra} requests more, "
        f"faults met: {met['met']}"
    )


def tell(url: str, faults: str) -> None:
    urllib.request.urlopen(urllib.request.Request(f"{url}/faults/{faults}", method="POST")).read()


def stats(url: str) -> dict[str, Any]:
    counted: dict[str, Any] = json.loads(urllib.request.urlopen(f"{url}/stats").read())
    return counted


def write_config(folder: Path, url: str, rows: int) -> Path:
    seeds = folder / f"seeds{rows}.jsonl"
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
        "models": {"default": {"endpoint": f"{url}/v1", "model": "stub", "max_in_flight": IN_FLIGHT}},
        "params": {"steps": steps, "keep_if": "verdict.score >= 3", "messages": turns},
    }
    path = folder / f"run{rows}.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def measure(command: list[str]) -> Process:
    """Every Python file runs from its bytecode, as where Gristmill is installed: the first round writes what lacks."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    launched = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {status}")
    return Process(time.monotonic() - launched, cpu_seconds(used), used.ru_maxrss / 1024, launched)


def cpu_seconds(used: resource.struct_rusage) -> float:
    return used.ru_utime + used.ru_stime


def median(values: list[float]) -> float:
    return statistics.median(values)


def report(runs: dict[str, list[Process]], rows: int, starts: list[float]) -> None:
    ideal = 2 * rows * LATENCY / IN_FLIGHT
    print(f"{rows} rows x 2 calls, {IN_FLIGHT} in flight, {LATENCY * 1000:.0f} ms latency; ideal wall {ideal:.2f} s")
    print(f"{'':12}{'wall s':>10}{'CPU ms/call':>14}{'peak MiB':>10}")
    medians = {
        name: [median(list(column)) for column in zip(*runs[name], strict=True)] for name in ("floor", "gristmill")
    }
    for name, (wall, cpu, peak, _) in medians.items():
        print(f"{name:12}{wall:>10.2f}{cpu * 1000 / (2 * rows):>14.3f}{peak:>10.0f}")
    ratios = [ours / theirs for ours, theirs in zip(medians["gristmill"], medians["floor"], strict=True)]
    print(f"{'ratio':12}{ratios[0]:>10.2f}{ratios[1]:>14.2f}{ratios[2]:>10.2f}")
    print(f"start: first request after {median(starts):.2f} s")


if __name__ == "__main__":
    main()
