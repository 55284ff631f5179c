"""MCP, the Model Context Protocol: tools for agents. `server` speaks the protocol, `tools` are what it offers."""
