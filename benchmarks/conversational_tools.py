"""What roll-outs cost on top of their calls: 200 scenarios x 16 roll-outs x 6 calls, 256 in flight, 50 ms each.

    python -P benchmarks/conversational_tools.py [--scenarios 200] [--rounds 3] [--latency 0.05]

A stub server plays both roles: the user says what it wants, the agent calls three tools on the scenario's database and
answers, the user is done. Printed, as medians over rounds of whole processes: the time from the first request to the
last reply and its ratio to the ideal (calls x latency / in flight), the same calls by raw aiohttp with the same bodies
(the floor of this machine), CPU per call, and peak memory.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import yaml

IN_FLIGHT = 256
ROLLOUTS = 16
CALLS = 6  # of a roll-out: two of the user, four of the agent

POLICY = (
    "You care for lockers. Look one up with `find_locker`, read it with `read_locker`, open it with `open_locker`.\n"
)
TOOLS = '''"""Lockers."""
from sqlite3 import Connection
from typing import Any


def find_locker(db: Connection, owner: str) -> str:
    """The id of an owner's locker."""
    return str(db.execute("SELECT id FROM lockers WHERE owner = ?", (owner,)).fetchone()["id"])


def read_locker(db: Connection, locker: str) -> dict[str, Any]:
    """All about a locker."""
    return dict(db.execute("SELECT * FROM lockers WHERE id = ?", (locker,)).fetchone())


def open_locker(db: Connection, locker: str) -> str:
    """Opens a locker."""
    db.execute("UPDATE lockers SET open = 1 WHERE id = ?", (locker,))
    return "open"
'''


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenarios", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--part", choices=["server", "floor"], help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part == "server":
        asyncio.run(Stub(arguments.latency).serve())
    elif arguments.part == "floor":
        asyncio.run(floor(arguments.url, arguments.scenarios))
    else:
        compare(arguments.scenarios, arguments.rounds, arguments.latency)


class Stub:
    """A minimal HTTP/1.1 responder that answers both roles by what stands in the request. GET /stats reads and clears
    when the first request came and the last reply went."""

    def __init__(self, latency: float) -> None:
        self.latency = latency
        self.first = self.last = 0.0
        self.requests = 0
        calls = (
            ("find_locker", {"owner": "owner 7"}),
            ("read_locker", {"locker": "L7"}),
            ("open_locker", {"locker": "L7"}),
        )
        self.calls = [_called(name, arguments) for name, arguments in calls]
        self.says = _body({"role": "assistant", "content": "Your locker L7 is open."})
        self.asks = _body(
            {"role": "assistant", "content": json.dumps({"done": False, "text": "Open my locker, please."})}
        )
        self.done = _body({"role": "assistant", "content": json.dumps({"done": True, "text": ""})})

    async def serve(self) -> None:
        server = await asyncio.start_server(self.connection, "127.0.0.1", 0, backlog=1024)
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
            if b"/stats" in head:
                answer = orjson.dumps({"requests": self.requests, "span": self.last - self.first})
                self.requests, self.first = 0, 0.0
            else:
                self.first = self.first or time.monotonic()
                self.requests += 1
                await asyncio.sleep(self.latency)
                answer = self.answer(body)
                self.last = time.monotonic()
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(answer)
                + answer
            )
        writer.close()

    def answer(self, body: bytes) -> bytes:
        if b'"response_format"' in body:
            return self.done if b"Assistant:" in body else self.asks
        results = body.count(b'"role":"tool"')
        return self.calls[results] if results < len(self.calls) else self.says


def _called(name: str, arguments: dict[str, str]) -> bytes:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return _body(
        {"role": "assistant", "content": None, "tool_calls": [{"id": name, "type": "function", "function": function}]}
    )


def _body(message: dict[str, Any]) -> bytes:
    choice = {"message": message, "finish_reason": "tool_calls" if "tool_calls" in message else "stop"}
    return orjson.dumps(
        {"choices": [choice], "model": "stub", "usage": {"prompt_tokens": 400, "completion_tokens": 20}}
    )


async def floor(url: str, scenarios: int) -> None:
    """As many calls with bodies of the usual size, each read as JSON."""
    body = orjson.dumps({"model": "stub", "messages": [{"role": "user", "content": "x" * 2500}], "response_format": {}})
    slots = asyncio.Semaphore(IN_FLIGHT)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask() -> None:
            async with slots, session.post(f"{url}/v1/chat/completions", data=body) as response:
                orjson.loads(await response.read())

        await asyncio.gather(*(ask() for _ in range(scenarios * ROLLOUTS * CALLS)))


def compare(scenarios: int, rounds: int, latency: float) -> None:
    here = [sys.executable, "-P", __file__, "--scenarios", str(scenarios), "--latency", str(latency)]
    server = subprocess.Popen([*here, "--part", "server"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    calls = scenarios * ROLLOUTS * CALLS
    measured: dict[str, list[list[float]]] = {"floor": [], "gristmill": []}
    try:
        with tempfile.TemporaryDirectory() as folder:
            config = str(write_config(Path(folder), url, scenarios))
            for turn in range(rounds):
                run = [
                    sys.executable,
                    "-P",
                    "-m",
                    "gristmill.cli",
                    "generate",
                    config,
                    "--run",
                    f"{folder}/{turn}",
                    "--quiet",
                ]
                for name, command in (("floor", [*here, "--part", "floor", "--url", url]), ("gristmill", run)):
                    cpu, peak = measure(command)
                    stats = json.load(urllib.request.urlopen(f"{url}/stats"))
                    if stats["requests"] != calls:
                        raise SystemExit(f"{name} made {stats['requests']} calls instead of {calls}")
                    measured[name].append([stats["span"], cpu * 1000 / calls, peak])
                accepted = json.loads(Path(f"{folder}/{turn}/summary.json").read_text())["accepted"]
                if accepted != scenarios * ROLLOUTS:
                    raise SystemExit(f"of {scenarios * ROLLOUTS} roll-outs only {accepted} succeeded")
    finally:
        server.terminate()
    ideal = calls * latency / IN_FLIGHT
    size = f"{scenarios} scenarios x {ROLLOUTS} roll-outs x {CALLS}"
    print(f"{size} = {calls:,} calls of {latency:g} s; ideal {ideal:.2f} s")
    print(f"{'':12}{'span s':>10}{'/ ideal':>10}{'CPU ms/call':>14}{'peak MiB':>10}")
    for name, rows in measured.items():
        span, cpu, peak = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"{name:12}{span:>10.2f}{span / ideal:>10.2f}{cpu:>14.3f}{peak:>10.0f}")


def write_config(folder: Path, url: str, scenarios: int) -> Path:
    domain = folder / "lockers"
    domain.mkdir()
    rows = ", ".join(f"('L{number}', 'owner {number}', 0)" for number in range(40))
    (domain / "policy.md").write_text(POLICY)
    (domain / "tools.py").write_text(TOOLS)
    (domain / "database.sql").write_text(
        "CREATE TABLE lockers (id TEXT PRIMARY KEY, owner TEXT, open INTEGER); INSERT INTO lockers VALUES " + rows
    )
    action = {"name": "open_locker", "arguments": {"locker": "L7"}}
    goal = "You are owner 7 and want your locker to be opened; this is your letter number {}."
    wanted = [{"id": f"s{number}", "goal": goal.format(number), "actions": [action]} for number in range(scenarios)]
    (domain / "scenarios.yaml").write_text(yaml.safe_dump(wanted))
    config = {
        "generator": "conversational_tools",
        "tasks": scenarios * ROLLOUTS,
        "models": {
            "default": {"endpoint": f"{url}/v1", "model": "stub", "max_in_flight": IN_FLIGHT, "max_tokens": 512}
        },
        "params": {"domains": [str(domain)], "rollouts": ROLLOUTS},
        "judges": [{"name": "tool_calls"}],
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def measure(command: list[str]) -> tuple[float, float]:
    """(CPU seconds, peak MiB) of a whole process."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {status}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


if __name__ == "__main__":
    main()
