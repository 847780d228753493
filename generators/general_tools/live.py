"""Live MCP servers as sets of tools: their lists are kept as an artifact, their calls go to the server.

A server is one world for all conversations: what one of them changes, the next one finds.
"""

from collections.abc import Sequence

import orjson

from generators.general_tools.toolboxes import SetFile, Toolbox
from gristmill import Context
from gristmill.errors import ConfigError
from gristmill.tools.checks import arguments_of
from gristmill.tools.mcp import McpConfig, open_mcp
from schemas import Tool, ToolCall, canonical_json
from schemas.tool_formats import import_tools


async def live_toolboxes(servers: dict[str, McpConfig], ctx: Context) -> dict[str, Toolbox]:
    """A set for each server, from `artifacts/servers.json`; where that isn't there yet, the servers are asked."""
    path = ctx.artifacts / "servers.json"
    if not path.is_file():
        listed = {}
        for name, config in servers.items():
            server = await ctx.resource(open_mcp, config)
            listed[name] = [tool.function.model_dump(mode="json") for tool in server.tools]
        path.write_bytes(orjson.dumps(listed))
    found = orjson.loads(path.read_bytes())
    boxes = {}
    for name, config in servers.items():
        imported = import_tools(found[name])
        if not imported.tools:
            raise ConfigError(f"params.servers.{name}: {config.name} has no tool that can be used.")
        boxes[name] = Toolbox(name, imported.tools, SetFile(about=name), server=config, imported=imported)
    return boxes


class LiveTools:
    """The tools of one server. An error of theirs is a result."""

    def __init__(self, tools: Sequence[Tool], config: McpConfig, origin: dict[str, str]) -> None:
        self.tools = [*tools]
        self._config = config
        self._origin = origin

    async def call(self, call: ToolCall, ctx: Context) -> str:
        server = await ctx.resource(open_mcp, self._config)
        name = call.function.name
        result = await server.call(ctx, self._origin.get(name, name), arguments_of(call))
        return canonical_json({"error": result.text}).decode() if result.is_error else result.text
