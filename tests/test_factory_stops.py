"""`gristmill factory` stopped anywhere: the same command goes on, pays nothing twice, and ends with the same bytes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gristmill.cli import main
from gristmill.factory.work import terminated_as_interrupted
from gristmill.testing import Faults, FaultServer
from tests.conftest import CLI
from tests.factories import TRAINING, digests, factory_config, run_config, summary_of


def test_sigterm_is_an_interruption() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), terminated_as_interrupted():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert signal.getsignal(signal.SIGTERM) == before


COMMAND = [sys.executable, "-m", "gristmill.cli", "factory", "factory.yaml", "--quiet"]


def start(folder: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(COMMAND, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def stopped_when(folder: Path, reached: Callable[[], bool], number: signal.Signals) -> int:
    """Starts the factory and stops it there; its exit status."""
    process = start(folder)
    while process.poll() is None and not reached():
        time.sleep(0.002)
    process.send_signal(number)
    return process.wait(600)


def test_interrupted_in_a_run_it_goes_on(tmp_path: Path, cli: CLI) -> None:
    with FaultServer(Faults(latency=1)) as server:
        factory_config(tmp_path, server.url, estimate=0)
        assert stopped_when(tmp_path, lambda: server.requests > 30, signal.SIGTERM) == 130
        assert not (tmp_path / "out/blend").exists()
        assert (done := cli("factory", "factory.yaml", "--quiet", timeout=600)).returncode == 0, done.stderr
    assert summary_of(tmp_path / "out")["reasoning"]["rows"] == 36


def test_a_run_leaves_sigterm_to_whom_it_belonged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two runs a SIGTERM is still the factory's."""
    monkeypatch.chdir(tmp_path)
    with FaultServer() as server, terminated_as_interrupted():
        config = run_config(tmp_path, "code", server.url, 3)
        assert main(["generate", str(config), "--quiet"]) == 0
        assert signal.getsignal(signal.SIGTERM) == signal.default_int_handler


IN_FLIGHT = 4


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(Faults(latency=0.02)) as opened:
        yield opened


@pytest.mark.slow
def test_killed_anywhere_it_ends_with_the_same_bytes(tmp_path: Path, server: FaultServer, cli: CLI) -> None:
    """SIGKILL in the forecast, in each run, in the blend and in the training."""
    factory_config(tmp_path, server.url, training=TRAINING, models={"m": {"max_in_flight": IN_FLIGHT}})
    assert (done := cli("factory", "factory.yaml", "--quiet", timeout=600)).returncode == 0, done.stderr
    out = tmp_path / "out"
    undisturbed, undisturbed_mix = digests(out), summary_of(out)
    assert any("heal" in name for name in undisturbed)
    shutil.rmtree(out)
    server.answered.clear()
    bought = server.requests
    points: list[Callable[[], bool]] = [
        lambda: server.requests - bought >= 2,  # the forecast
        lambda: server.requests - bought >= 40,  # the first run
        lambda: server.requests - bought >= 110,  # the second
        lambda: (out / ".blend.partial").exists() or (out / "blend").exists(),
        lambda: (out / "training/state").exists(),
    ]
    for reached in points:
        assert stopped_when(tmp_path, reached, signal.SIGKILL) == -signal.SIGKILL
    assert (done := cli("factory", "factory.yaml", "--quiet", timeout=600)).returncode == 0, done.stderr
    assert digests(out) == undisturbed and summary_of(out) == undisturbed_mix
    paid_twice = server.answered.total() - len(server.answered)
    assert paid_twice <= 3 * 2 * IN_FLIGHT < len(server.answered), "what was in flight, and the last 10 ms"
    again = server.requests
    assert (done := cli("factory", "factory.yaml", "--quiet", timeout=600)).returncode == 0, done.stderr
    assert server.requests == again and digests(out) == undisturbed
    assert done.stdout.count("done: gristmill generate") == 2
