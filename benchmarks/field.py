"""Gristmill beside the field's tools: the job of benchmarks/engine.py by each of them, in an environment of its own.

    python benchmarks/field.py [--rows 1000] [--rounds 3] [--only curator ...]

Each row is two calls, a text and then JSON of a given schema, against a stub that takes 50 ms; 64 in flight. Printed,
as medians over rounds of whole processes, in turn:

CPU     of the client's processes per call, start-up included, and as a multiple of Gristmill's in the same run.
wall    seconds; the ideal is rows x 2 x 50 ms / 64.
again   calls bought twice: the process is killed (SIGKILL) when 35 % of the calls are sent, and the same command is
        given again. Those in flight at the kill are lost to everyone.

The environments are made once, by venv and pip, in build/field; versions are pinned in TOOLS. What each tool is asked
lies in benchmarks/field_tools.
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from statistics import median
from typing import NamedTuple

from engine import IN_FLIGHT, LATENCY, Process, Stub, measure, stats, tell, write_config

HERE = Path(__file__).parent
KILLED_AT = 0.35  # half would be the barrier between two steps of tools that have one
PATIENCE = 4  # times the wall time of a clean run, for the command that is repeated
HOME = HERE.parent / "build/field"
ANSWER = rb"{\"score\":4,\"reason\":\"clear and answerable\"}"


class Tool(NamedTuple):
    """How it is installed, and its script in field_tools."""

    script: str
    packages: tuple[str, ...]
    environment: dict[str, str] = {}


DESIGNER = Tool("data_designer_run", ("data-designer==0.9.7",), {"NEMO_TELEMETRY_ENABLED": "false"})
TOOLS = {
    "openai client": Tool("openai_client", ("openai==3.57.0",)),
    "curator": Tool(
        "curator",
        ("bespokelabs-curator==0.1.31",),
        {"CURATOR_DISABLE_RICH_DISPLAY": "1", "TELEMETRY_ENABLED": "0", "OPENAI_API_KEY": "none"},
    ),
    "data-designer": DESIGNER._replace(environment={**DESIGNER.environment, "BUFFER": "1000"}),  # as it is by default
    "data-designer, buffers of 100": DESIGNER._replace(environment={**DESIGNER.environment, "BUFFER": "100"}),
    # Its last release is of January 2025: the packages beside it are those of its time.
    "distilabel": Tool("distilabel_pipeline", ("distilabel[openai]==1.5.3", "requests", "datasets<4", "openai<2")),
}


class Measured(NamedTuple):
    """Clean runs, and for each the calls bought twice after a kill; None where the repeated command did not end."""

    runs: list[Process]
    again: list[int | None]


class FieldStub(Stub):
    """Curator asks beforehand whether the endpoint knows schemas, by one of its own."""

    def reply(self, body: bytes) -> bytes:
        about_jason = rb"{\"name\":\"Jason\",\"age\":25}"
        plain: bytes = super().reply(body)
        return self.replies[True].replace(ANSWER, about_jason) if b"Jason is 25" in body else plain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=TOOLS, default=list(TOOLS), metavar="TOOL")
    parser.add_argument("--server", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.server:
        asyncio.run(FieldStub().serve())
    tools = {name: TOOLS[name] for name in arguments.only}
    pythons = {name: python_with(tool) for name, tool in tools.items()}
    server = subprocess.Popen(
        [sys.executable, __file__, "--server"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,  # it complains of clients that are killed
    )  # fmt: skip
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    found = {name: Measured([], []) for name in ("Gristmill", *tools)}
    try:
        for _ in range(arguments.rounds):
            for name, one in found.items():
                with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                    if name == "Gristmill":
                        command = gristmill(Path(folder), url, arguments.rows)
                    else:
                        command = theirs(tools[name], pythons[name], url, arguments.rows)
                    compare(one, command, Path(folder), url, arguments.rows)
            report(found, arguments.rows)
    finally:
        server.terminate()


def python_with(tool: Tool) -> Path:
    """The Python of an environment that has the tool's packages, made where it isn't there."""
    home = HOME / tool.script
    wanted = "\n".join(tool.packages)
    made = home / "packages.txt"
    if not made.is_file() or made.read_text() != wanted:
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([home / "bin/python", "-m", "pip", "install", "--quiet", *tool.packages], check=True)
        made.write_text(wanted)
    return home / "bin/python"


def gristmill(folder: Path, url: str, rows: int) -> list[str]:
    config = write_config(folder, url, rows)
    return [sys.executable, "-m", "gristmill.cli", "generate", str(config), "--quiet", "--run", "{folder}"]


def theirs(tool: Tool, python: Path, url: str, rows: int) -> list[str]:
    settings = [f"{key}={value}" for key, value in tool.environment.items()]
    script = HERE / "field_tools" / f"{tool.script}.py"
    return ["env", *settings, str(python), str(script), f"{url}/v1", str(rows), str(IN_FLIGHT), "{folder}"]


def compare(one: Measured, command: list[str], folder: Path, url: str, rows: int) -> None:
    """A clean run, then one that is killed and repeated."""
    clean, killed = folder / "clean", folder / "killed"
    for part in (clean, killed):
        part.mkdir()
    one.runs.append(timed(command, clean, url, rows))
    needed = stats(url)["requests"]
    tell(url, "off")
    log = (folder / "log").open("wb")
    process = subprocess.Popen(filled(command, killed), stdout=log, stderr=log, start_new_session=True, cwd=folder)
    while stats(url)["requests"] < KILLED_AT * needed:
        if process.poll() is not None:
            raise SystemExit(f"{command[0]} ended by itself: {(folder / 'log').read_text()[-2000:]}")
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = stats(url)["requests"]
    ended = repeated(command, killed, url, rows, PATIENCE * one.runs[-1].wall)
    one.again.append(before + stats(url)["requests"] - needed if ended else None)


def timed(command: list[str], folder: Path, url: str, rows: int) -> Process:
    tell(url, "off")
    into_log = ["bash", "-c", 'exec "$@" 2> "$0"', str(folder / "log")]
    run = measure([*into_log, *filled(command, folder)])
    check(folder, rows)
    return run


def repeated(command: list[str], folder: Path, url: str, rows: int, seconds: float) -> bool:
    """Whether it ends within these seconds."""
    tell(url, "off")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(filled(command, folder), stdout=log, stderr=log, start_new_session=True)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return False
    check(folder, rows)
    return True


def check(folder: Path, rows: int) -> None:
    """All rows came out."""
    written = folder / "out.jsonl"
    if written.is_file():
        found = written.read_text().count("\n")
    else:
        found = json.loads((folder / "summary.json").read_text())["accepted"]
    if found != rows:
        raise SystemExit(f"{found} of {rows} rows came out: {(folder / 'log').read_text()[-2000:]}")


def filled(command: list[str], folder: Path) -> list[str]:
    return [part.replace("{folder}", str(folder)) for part in command]


def report(found: dict[str, Measured], rows: int) -> None:
    calls = 2 * rows
    cpu = {name: median(run.cpu for run in one.runs) * 1000 / calls for name, one in found.items()}
    rounds, ideal = len(found["Gristmill"].runs), calls * LATENCY / IN_FLIGHT
    print(f"\n{rows} rows x 2 calls, {IN_FLIGHT} in flight; ideal wall {ideal:.1f} s; medians of {rounds}\n")
    print("| | CPU ms per call | / Gristmill | wall s | peak MiB | calls bought twice |")
    print("|---|---|---|---|---|---|", flush=True)
    for name, one in found.items():
        wall, peak = (median(getattr(run, key) for run in one.runs) for key in ("wall", "peak"))
        counts = [count for count in one.again if count is not None]
        hung = len(one.again) - len(counts)
        again = f"{median(counts):.0f} ({median(counts) / calls:.0%})" if counts else ""
        again += f" hung in {hung} of {len(one.again)}" if hung else ""
        print(f"| {name} | {cpu[name]:.2f} | {cpu[name] / cpu['Gristmill']:.1f} | {wall:.1f} | {peak:.0f} | {again} |")


if __name__ == "__main__":
    main()
