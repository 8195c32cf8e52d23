"""A small server on the official Python SDK (mcp 2.x), both eras.

Over stdio, as a gateway starts it. With `--http` it listens on a free loopback
port instead and prints `listening on http://127.0.0.1:PORT/mcp`, so that the
client programs can be tried on it without a gateway.
"""

import socket
import sys

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import Completion
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

server = MCPServer("interop-python", version="1.0.0", instructions="A server for interoperability tests.")

# Keys of the `slow` calls that were cancelled while they ran.
cancelled: set[str] = set()


@server.tool()
async def echo(message: str) -> str:
    """Answers with the message."""
    return message


@server.tool()
async def progress(steps: int, ctx: Context) -> str:
    """Reports progress in so many steps."""
    for step in range(1, steps + 1):
        await ctx.report_progress(step, steps)
        await anyio.sleep(0.02)
    return "done"


@server.tool()
async def slow(seconds: float, key: str, ctx: Context) -> str:
    """Reports once that it runs, then takes its time; remembers being cancelled."""
    try:
        await ctx.report_progress(0, seconds)
        await anyio.sleep(seconds)
    except anyio.get_cancelled_exc_class():
        cancelled.add(key)
        raise
    return "not cancelled"


@server.tool()
async def was_cancelled(key: str) -> str:
    """Whether the `slow` call of that key was cancelled."""
    return "yes" if key in cancelled else "no"


@server.tool()
async def fails() -> str:
    """Always fails."""
    raise ToolError("as it should")


@server.tool()
async def add_tool(name: str, ctx: Context) -> str:
    """Adds a tool of that name and says that the list changed."""
    server.add_tool(echo, name=name, description="Added while running.")
    if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
        await ctx.notify_tools_changed()
    else:
        await ctx.session.send_tool_list_changed()
    return name


@server.resource("interop://note", mime_type="text/plain")
def note() -> str:
    """A fixed text."""
    return "written by the Python server"


@server.resource("interop://square/{number}", mime_type="text/plain")
def square(number: str) -> str:
    """The square of a number."""
    return str(int(number) ** 2)


@server.prompt()
def greet(who: str) -> str:
    """A greeting."""
    return f"Please greet {who}."


@server.completion()
async def complete(ref, argument, context):
    """Names of towns."""
    towns = [town for town in ("Ghent", "Ghazni", "Porto") if town.startswith(argument.value)]
    return Completion(values=towns, total=len(towns), has_more=False)


if __name__ == "__main__":
    if "--http" in sys.argv:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        print(f"listening on http://127.0.0.1:{port}/mcp", flush=True)
        server.run("streamable-http", host="127.0.0.1", port=port)
    else:
        server.run("stdio")
