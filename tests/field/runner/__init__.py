"""Real MCP servers, directly and through ggend. See ../README.md."""
