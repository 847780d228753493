"""What a call costs more on Ray than in one process: the same runs by `executor: local` and by two workers, in turn.

    python benchmarks/scaleout.py [--rows 2000] [--rounds 3]

A server with 50 ms latency answers 2 calls per row, 64 in flight. CPU per call is the slope between a tenth of the rows
and all of them, so starting Ray isn't in it: of the driver, which is what limits the number of workers, and of the
workers together. "In series" is one task of 40 calls one after the other: what a call takes beyond the latency.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import yaml

from gristmill.testing import Faults, FaultServer

LATENCY = 0.05
STEPS = 40
TICKS = os.sysconf("SC_CLK_TCK")


class Figures(NamedTuple):
    span: float  # seconds from the first request to the last
    driver: float  # CPU seconds
    workers: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 2, "object_store_memory": 100_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    executors = {"local": {"kind": "local"}, "ray": {"kind": "ray", "address": cluster.address, "workers": 2}}
    try:
        print(f"{'':8}{'span s':>10}{'driver ms/call':>16}{'workers ms/call':>17}{'in series ms/call':>19}")
        rounds: dict[str, list[tuple[float, ...]]] = {name: [] for name in executors}
        for _ in range(arguments.rounds):
            for name, executor in executors.items():
                rounds[name].append(one_round(executor, arguments.rows))
        medians = {n: [statistics.median(column) for column in zip(*r, strict=True)] for n, r in rounds.items()}
        for name, (span, driver, workers, series) in medians.items():
            print(f"{name:8}{span:>10.2f}{driver:>16.3f}{workers:>17.3f}{series:>19.1f}")
        print(f"{'ratio':8}{medians['ray'][0] / medians['local'][0]:>10.2f}")
    finally:
        cluster.shutdown()


def one_round(executor: dict[str, Any], rows: int) -> tuple[float, ...]:
    few, many = measure(executor, rows // 10, 2), measure(executor, rows, 2)
    calls = 2 * (rows - rows // 10)
    series = measure(executor, 1, STEPS)
    return (
        many.span,
        1000 * (many.driver - few.driver) / calls,
        1000 * (many.workers - few.workers) / calls,
        1000 * (series.span / (STEPS - 1) - LATENCY),
    )


def measure(executor: dict[str, Any], rows: int, steps: int) -> Figures:
    times: list[float] = []

    def script(role: str, asked: dict[str, Any]) -> str:
        times.append(time.monotonic())
        return "a plain answer of some length " * 10

    with tempfile.TemporaryDirectory() as folder, FaultServer(Faults(latency=LATENCY), script) as server:
        config = write_config(Path(folder), server.url, executor, rows, steps)
        command = [sys.executable, "-m", "gristmill.cli", "generate", str(config), "--quiet", "--run", f"{folder}/run"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        ended = threading.Event()
        used: dict[str, float] = {}
        watch = threading.Thread(target=watch_workers, args=(used, ended))
        watch.start()
        _, status, usage = os.wait4(process.pid, 0)
        ended.set()
        watch.join()
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {status}")
    return Figures(times[-1] - times[0], usage.ru_utime + usage.ru_stime, sum(used.values()))


def watch_workers(used: dict[str, float], ended: threading.Event) -> None:
    """The CPU seconds of each worker process, as long as it lives."""
    while not ended.wait(0.1):
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if (folder / "cmdline").read_bytes().startswith(b"ray::Worker"):
                    fields = (folder / "stat").read_text().rpartition(")")[2].split()
                    used[folder.name] = (int(fields[11]) + int(fields[12])) / TICKS
            except OSError:  # it has just ended
                continue


def write_config(folder: Path, url: str, executor: dict[str, Any], rows: int, steps: int) -> Path:
    seeds = folder / "seeds.jsonl"
    seeds.write_bytes(b"".join(orjson.dumps({"text": f"fact {n}"}) + b"\n" for n in range(rows)))
    prompt = "Say something about {{ text }}"
    config = {
        "generator": "template",
        "seeds": str(seeds),
        "executor": executor,
        "models": {"default": {"endpoint": url, "model": "stub"}},
        "params": {
            "steps": [{"name": f"step{n}", "role": "writer", "prompt": f"{prompt}, {n}"} for n in range(steps)],
            "messages": [{"role": "user", "content": "{{ text }}"}, {"role": "assistant", "content": "{{ step0 }}"}],
        },
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


if __name__ == "__main__":
    main()
