"""Tools of an MCP server, started as a process or reached over HTTP.

    params:
      search: {command: [npx, -y, tavily-mcp], env: [TAVILY_API_KEY]}
      search: {url: "https://mcp.tavily.com/mcp/", api_key_env: TAVILY_API_KEY}

    server = await ctx.resource(open_mcp, self.params.search)
    result = await server.call(ctx, "tavily_search", {"query": "..."})

One connection serves a whole run; it is opened anew when it is lost. A call that was out at that moment is
`Reject(tool, server_lost)`, because nobody knows whether the server has done it. What a tool itself calls an error, a
time-out included, is a result: agents have to live with it.

Source: Model Context Protocol, https://modelcontextprotocol.io/specification.
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from importlib.util import find_spec
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated, Self, TextIO

from pydantic import Field, ValidationError, model_validator

from gristmill.context import Context
from gristmill.errors import ConfigError, EndpointError, Reject
from schemas import Config, Data, FunctionSpec, JsonObject, Tool

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal
    from mcp import Client
    from mcp.types import CallToolResult

_LONGEST_COMPLAINT = 300  # characters of what a server wrote before it gave up


class McpConfig(Config):
    """`env` and `api_key_env` name environment variables: their values go to the server and nowhere else."""

    command: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    env: tuple[str, ...] = ()
    url: str | None = None
    api_key_env: str | None = None
    timeout: Annotated[float, Field(gt=0)] = 60.0
    max_in_flight: Annotated[int, Field(gt=0)] = 8
    result_characters: Annotated[int, Field(gt=0)] = 20_000

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.command is None) == (self.url is None):
            raise ValueError("an MCP server has either a `command` or a `url`")
        if self.url is not None and (not self.url.startswith(("http://", "https://")) or "@" in self.url):
            raise ValueError("`url` begins with http:// or https:// and holds no user, password or key")
        return self

    @property
    def name(self) -> str:
        """What it is called in messages and in the ledger."""
        return self.url or " ".join(self.command or ())


class ToolResult(Data):
    """What a tool answered: `text` has at most `result_characters`, and `cut` says how many more there were."""

    text: str
    is_error: bool = False
    cut: int = 0


@contextmanager
def open_mcp(config: McpConfig) -> Iterator["McpServer"]:
    """A connection, for `ctx.resource`.

    ConfigError where the package `mcp` or an environment variable is missing, EndpointError where no server answers.
    """
    if find_spec("mcp") is None:
        raise ConfigError("an MCP server needs the package mcp: pip install 'gristmill[mcp]'.")
    from anyio.from_thread import start_blocking_portal

    with start_blocking_portal() as portal:
        server = McpServer(config, portal)
        try:
            server.connect()
            yield server
        finally:
            server.close()


class McpServer:
    """An open connection, which lives in the event loop of `portal`; see `open_mcp`. `tools` are what it offers."""

    def __init__(self, config: McpConfig, portal: "BlockingPortal") -> None:
        self.config = config
        self.tools: list[Tool] = []
        self._portal = portal
        self._client: Client | None = None
        self._opened = ExitStack()
        self._changing = threading.Lock()
        self._free = asyncio.Semaphore(config.max_in_flight)

    async def call(self, ctx: Context, name: str, arguments: JsonObject) -> ToolResult:
        """The result of one call, from the ledger where it is known. Reject(tool, server_lost)."""

        async def perform() -> JsonObject:
            async with self._free:
                result = await self._call(name, arguments)
            return result.model_dump(mode="json")

        request: JsonObject = {"server": self.config.name, "tool": name, "arguments": arguments}
        return ToolResult.model_validate(await ctx.effect("tool", request, perform))

    async def _call(self, name: str, arguments: JsonObject) -> ToolResult:
        from mcp import MCPError
        from mcp.types import CONNECTION_CLOSED, REQUEST_TIMEOUT

        client = self._client
        if client is None:  # it could not be opened anew for an earlier call
            client = await asyncio.to_thread(self._reconnect, None)
        answer = self._portal.start_task_soon(client.call_tool, name, arguments)
        try:
            result = await asyncio.wrap_future(answer)
            return self._cut(_text(result), is_error=result.is_error)
        except MCPError as error:
            if error.code == REQUEST_TIMEOUT:
                return ToolResult(text=f"no answer within {self.config.timeout:g} s", is_error=True)
            if error.code != CONNECTION_CLOSED:
                return self._cut(error.message, is_error=True)
        except ValidationError:
            return ToolResult(text="the server's answer breaks the protocol", is_error=True)
        except asyncio.CancelledError:
            if not answer.cancelled():  # it is this task that ends
                raise
        await asyncio.to_thread(self._reconnect, client)
        raise Reject("tool", "server_lost", f"{self.config.name} went away during {name}")

    def _cut(self, text: str, *, is_error: bool) -> ToolResult:
        most = self.config.result_characters
        return ToolResult(text=text[:most], is_error=is_error, cut=max(0, len(text) - most))

    def connect(self) -> "Client":
        """Opens the connection and lists the tools. EndpointError where that fails."""
        secrets = {name: _value(name) for name in (*self.config.env, self.config.api_key_env) if name}
        with TemporaryFile("w+", errors="replace") as complaints:
            opened = _connection(self.config, secrets, complaints)
            try:
                client = self._opened.enter_context(self._portal.wrap_async_context_manager(opened))
                self.tools = self._portal.call(_list_tools, client)
            except Exception as error:  # whatever the transport raises: nested groups, errors of the system, of HTTP
                self.close()
                complaints.seek(0)
                said = " ".join(complaints.read().split()) or _innermost(error)
                for name, value in secrets.items():
                    said = said.replace(value, f"${name}")
                said = said[-_LONGEST_COMPLAINT:]
                raise EndpointError(f"the MCP server {self.config.name} can't be reached: {said}") from None
        self._client = client
        return client

    def _reconnect(self, lost: "Client | None") -> "Client":
        """The connection that stands in for a lost one; the first caller opens it."""
        with self._changing:
            if self._client is None or self._client is lost:
                self.close()
                return self.connect()
            return self._client

    def close(self) -> None:
        """Ends the connection and, where it was started here, the server."""
        self._client = None
        with suppress(Exception):  # a connection that broke tells so again while it is closed
            self._opened.close()


@asynccontextmanager
async def _connection(config: McpConfig, secrets: dict[str, str], complaints: TextIO) -> "AsyncIterator[Client]":
    """Over stdio or HTTP. `complaints` takes what the server's process writes to stderr."""
    from httpx2 import AsyncClient
    from mcp import Client, StdioServerParameters, stdio_client
    from mcp.client.streamable_http import streamable_http_client

    async with AsyncExitStack() as stack:
        if config.command is not None:
            program, *arguments = config.command
            values = {name: secrets[name] for name in config.env}
            parameters = StdioServerParameters(command=program, args=arguments, env=values)
            transport = stdio_client(parameters, errlog=complaints)
        else:
            headers = {"Authorization": f"Bearer {secrets[config.api_key_env]}"} if config.api_key_env else {}
            http = await stack.enter_async_context(AsyncClient(headers=headers, timeout=config.timeout))
            transport = streamable_http_client(config.url or "", http_client=http)
        client = Client(transport, read_timeout_seconds=config.timeout, cache=None)
        yield await stack.enter_async_context(client)


async def _list_tools(client: "Client") -> list[Tool]:
    tools, cursor = [], None
    while True:
        page = await client.list_tools(cursor=cursor)
        tools += [
            Tool(function=FunctionSpec(name=t.name, description=t.description or "", parameters=t.input_schema))
            for t in page.tools
        ]
        cursor = page.next_cursor
        if cursor is None:
            return tools


def _text(result: "CallToolResult") -> str:
    """The blocks of text; what is no text is named, not shown."""
    return "\n".join(getattr(block, "text", None) or f"[{block.type}]" for block in result.content)


def _value(variable: str) -> str:
    value = os.environ.get(variable)
    if not value:
        raise ConfigError(f"the environment variable {variable}, which an MCP server needs, is not set.")
    return value


def _innermost(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) or type(error).__name__
