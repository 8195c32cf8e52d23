"""A small server on the official Python SDK, v1, over the deprecated HTTP+SSE: prints `listening on http://127.0.0.1:PORT/sse`."""

import socket

import anyio
from mcp.server.fastmcp import Context, FastMCP

with socket.create_server(("127.0.0.1", 0)) as probe:
    port = probe.getsockname()[1]
server = FastMCP("interop-python-sse", host="127.0.0.1", port=port, log_level="WARNING")

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
    raise ValueError("as it should")


@server.tool()
async def add_tool(name: str, ctx: Context) -> str:
    """Adds a tool of that name and says that the list changed."""
    server.add_tool(echo, name=name, description="Added while running.")
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
    from mcp.types import Completion

    towns = [town for town in ("Ghent", "Ghazni", "Porto") if town.startswith(argument.value)]
    return Completion(values=towns, total=len(towns), hasMore=False)


if __name__ == "__main__":
    print(f"listening on http://127.0.0.1:{port}/sse", flush=True)
    server.run("sse")
