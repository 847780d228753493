"""Tools of a real MCP server, over stdio and over HTTP: results, errors, time-outs, a server that dies."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gristmill import Context, Generator, Record, Seed
from gristmill.commands.generate import run_plan
from gristmill.errors import ConfigError, EndpointError
from gristmill.llm import Roles
from gristmill.plan import Plan
from gristmill.runs import RunFolder
from gristmill.testing import ScriptedModel
from gristmill.tools.mcp import McpConfig, open_mcp
from schemas import Config, JsonObject, assistant, user
from schemas.run_config import RunConfig
from tests.runs import rows_of

pytestmark = pytest.mark.mcp
SERVER = str(Path(__file__).with_name("mcp_server.py"))
LOCAL = McpConfig(command=(sys.executable, SERVER), timeout=3, result_characters=1000)


class Wanted(Seed):
    n: int
    tool: str
    arguments: JsonObject


class Params(Config):
    server: McpConfig
    calls: list[tuple[str, JsonObject]]


class Calling(Generator[Wanted, Params]):
    """One call of a tool a task; its result is the answer."""

    name, version = "calling", "1"

    def tasks(self) -> Iterator[Wanted]:
        for n, (tool, arguments) in enumerate(self.params.calls):
            yield Wanted(n=n, tool=tool, arguments=arguments)

    async def run(self, seed: Wanted, ctx: Context) -> Record:
        server = await ctx.resource(open_mcp, self.params.server)
        result = await server.call(ctx, seed.tool, seed.arguments)
        return Record(messages=[user(seed.tool), assistant(result.to_json())])


def call(folder: Path, server: McpConfig, *calls: tuple[str, JsonObject], code: str = "unchanged") -> dict[str, Any]:
    """The summary of a run with one task a call, two tasks at a time."""
    models = {"default": {"endpoint": "http://x.invalid/v1", "model": "m", "max_in_flight": 1}}
    config = RunConfig.model_validate({"generator": "calling", "models": models, "tasks": len(calls)})
    generator = Calling(Params(server=server, calls=list(calls)), seed=0)
    plan = Plan(config, generator, [], Roles(config.models), code)
    return run_plan(plan, RunFolder(folder), transport=ScriptedModel(), quiet=True)


def results(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(row["messages"][1]["content"]) for row in rows_of(folder)]


@pytest.fixture(scope="module")
def http_server() -> Iterator[McpConfig]:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, SERVER, str(port)])
    try:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield McpConfig(url=f"http://127.0.0.1:{port}/mcp", timeout=3, result_characters=1000)
    finally:
        process.kill()
        process.wait()


CALLS: list[tuple[str, JsonObject]] = [
    ("search", {"query": "otters"}),
    ("fail", {}),
    ("absent", {}),
    ("search", {"count": 1}),
    ("large", {"size": 1500}),
    ("sleep", {"seconds": 30}),
]


@pytest.mark.parametrize("over", ["stdio", "http"])
def test_results_errors_and_time_outs_are_results(over: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    server = LOCAL if over == "stdio" else request.getfixturevalue("http_server")
    assert call(tmp_path, server, *CALLS)["accepted"] == len(CALLS)
    found, failed, absent, refused, large, late = results(tmp_path)
    assert "https://example.org/2" in found["text"] and not found["is_error"]
    assert all(result["is_error"] for result in (failed, absent, refused, late))
    assert "absent" in absent["text"] and "query" in refused["text"] and late["text"] == "no answer within 3 s"
    assert (len(large["text"]), large["cut"]) == (1000, 500)


def test_a_replay_takes_results_from_the_ledger(tmp_path: Path) -> None:
    calls: list[tuple[str, JsonObject]] = [("search", {"query": "otters"}), ("search", {"query": "herons"})]
    call(tmp_path, LOCAL, *calls)
    first = results(tmp_path)
    again = call(tmp_path, LOCAL, *calls, code="changed")
    assert results(tmp_path) == first and again["calls_reused"] == 2


def test_a_server_that_dies_costs_what_was_out_and_comes_back(tmp_path: Path) -> None:
    searches: list[tuple[str, JsonObject]] = [("search", {"query": f"number {n}"}) for n in range(8)]
    summary = call(tmp_path, LOCAL, ("die", {}), *searches)
    assert list(summary["by_reason"]) == ["tool/server_lost"]
    assert summary["accepted"] >= 7  # two tasks are in flight


@pytest.mark.parametrize(
    ("server", "sentence"),
    [
        (McpConfig(command=("gristmill-no-such-program",)), "No such file"),
        (McpConfig(command=(sys.executable, "-c", "import sys; sys.exit('out of order')")), "out of order"),
        (McpConfig(url="http://127.0.0.1:9/mcp", timeout=3), "connection"),
    ],
)
def test_a_server_that_cannot_be_reached_ends_the_run_with_a_sentence(
    server: McpConfig, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(EndpointError, match="can't be reached") as error:
        call(tmp_path, server, ("search", {"query": "a"}))
    assert sentence in str(error.value)


def test_a_key_goes_to_the_server_and_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_MCP_KEY", "k3y-of-a-service")
    server = LOCAL.model_copy(update={"env": ("TEST_MCP_KEY",)})
    with pytest.raises(EndpointError, match=r"the key \$TEST_MCP_KEY is refused"):
        call(tmp_path, server, ("search", {"query": "a"}))
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"k3y-of-a-service" not in kept


def test_a_missing_variable_is_a_config_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_MCP_KEY", raising=False)
    with (
        pytest.raises(ConfigError, match="TEST_MCP_KEY"),
        open_mcp(McpConfig(url="http://x/", api_key_env="TEST_MCP_KEY")),
    ):
        pass


@pytest.mark.parametrize("wrong", [{}, {"command": ["a"], "url": "http://x/"}, {"url": "http://u:p@x/"}, {"url": "x"}])
def test_a_server_is_a_command_or_a_url(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"command|url"):
        McpConfig.model_validate(wrong)
