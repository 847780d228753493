"""An MCP server for tests: `python tests/mcp_server.py [PORT]` speaks over HTTP on that port, else over stdio."""

import asyncio
import os
import sys

from mcp.server.mcpserver import MCPServer

server = MCPServer("test", log_level="CRITICAL")


@server.tool()
def search(query: str, count: int = 3) -> list[dict[str, str]]:
    """Pages about a query."""
    return [{"url": f"https://example.org/{place}", "title": query} for place in range(count)]


@server.tool()
async def sleep(seconds: float) -> str:
    """Answers late."""
    await asyncio.sleep(seconds)
    return "awake"


@server.tool()
def fail() -> str:
    """Never succeeds."""
    raise ValueError("no luck")


@server.tool()
def large(size: int) -> str:
    """A long result."""
    return "x" * size


@server.tool()
def die() -> str:
    """Ends the server."""
    os._exit(3)


if __name__ == "__main__":
    if key := os.environ.get("TEST_MCP_KEY"):
        sys.exit(f"the key {key} is refused")
    if len(sys.argv) > 1:
        server.run("streamable-http", port=int(sys.argv[1]))
    else:
        server.run()
