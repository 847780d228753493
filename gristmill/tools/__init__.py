"""Tools that a model calls: the protocol for endpoints without tool calls, and MCP servers."""
