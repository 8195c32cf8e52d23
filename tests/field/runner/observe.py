"""What an official client (the Python SDK's) sees of a server: its lists as they came, whether the client
took them, and the answer to a call."""

import copy
import json
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from .catalogue import CACHE, NODE, Server

KINDS = ("tools", "prompts", "resources", "templates")
MEMBER = {"templates": "resourceTemplates"}
KEY = {"tools": "name", "prompts": "name", "resources": "uri", "templates": "uriTemplate"}
PAGES = 50
# Seconds: for a server to start and answer, for one list, for one call.
CONNECT_LIMIT, LIST_LIMIT, CALL_LIMIT = 90, 60, 60


@dataclass
class Seen:
    """What was seen over one connection."""

    era: str = ""
    version: str = ""
    lists: dict[str, list[dict]] = field(default_factory=dict)
    # Lists that the client did not take, or that the server refused, with the reason.
    refused: dict[str, str] = field(default_factory=dict)
    # Answers: of the `call`, of reading the first resource (`read`), of the first `prompt` that needs no argument.
    answers: dict[str, object] = field(default_factory=dict)


class Connection:
    """A connected client that keeps the last result as it came from the wire."""

    def __init__(self, client: Client):
        self.client = client
        # Method: the last result, as it came. (A client lists tools by itself when it calls one.)
        self.results: dict[str, dict] = {}
        dispatcher = client.session._dispatcher
        send = dispatcher.send_raw_request

        async def recorded(method, *args, **options):
            result = await send(method, *args, **options)
            self.results[method] = copy.deepcopy(result)
            return result

        dispatcher.send_raw_request = recorded

    async def lists(self, seen: Seen) -> None:
        """Reads all lists."""
        seen.version = self.client.protocol_version
        seen.era = "modern" if seen.version in MODERN_PROTOCOL_VERSIONS else "legacy"
        for kind in KINDS:
            seen.lists[kind] = await self.list(kind, seen)

    async def list(self, kind: str, seen: Seen) -> list[dict]:
        """Reads one list, page by page; what the client does not take is read all the same."""
        verb = {
            "tools": self.client.list_tools,
            "prompts": self.client.list_prompts,
            "resources": self.client.list_resources,
            "templates": self.client.list_resource_templates,
        }[kind]
        method = f"{'resources/templates' if kind == 'templates' else kind}/list"
        items, cursor = [], None
        for _ in range(PAGES):
            self.results.pop(method, None)
            try:
                with anyio.fail_after(LIST_LIMIT):
                    await verb(cursor=cursor)
            except Exception as error:  # noqa: BLE001: every way to fail is a finding
                seen.refused[kind] = reason(error)
                if method not in self.results:
                    break
            items += self.results[method].get(MEMBER.get(kind, kind), [])
            cursor = self.results[method].get("nextCursor")
            if cursor is None:
                break
        return items

    async def answers(self, seen: Seen, wanted: dict[str, tuple]) -> None:
        """Tries what `wanted` names: the name of an answer, the verb, its arguments."""
        verbs = {"call": self.client.call_tool, "read": self.client.read_resource, "prompt": self.client.get_prompt}
        for name, arguments in wanted.items():
            method = {"call": "tools/call", "read": "resources/read", "prompt": "prompts/get"}[name]
            try:
                with anyio.fail_after(CALL_LIMIT):
                    await verbs[name](*arguments)
            except Exception as error:  # noqa: BLE001
                if method not in self.results:
                    seen.answers[name] = {"error": reason(error)}
                    continue
            # Without what belongs to the connection.
            result = self.results[method]
            apart = ("resultType", "_meta", "ttlMs", "cacheScope")
            seen.answers[name] = {key: value for key, value in result.items() if key not in apart}


def wanted(server: Server, lists: dict[str, list[dict]], exposed=lambda _kind, name: name) -> dict[str, tuple]:
    """What to try at a server, by its own lists; `exposed` gives the names of another view."""
    found = {}
    if server.call:
        found["call"] = (exposed("tools", server.call.tool), server.fill(server.call.args))
    if lists["resources"]:
        found["read"] = (exposed("resources", lists["resources"][0]["uri"]),)
    for prompt in lists["prompts"]:
        if not any(argument.get("required") for argument in prompt.get("arguments") or []):
            return found | {"prompt": (exposed("prompts", prompt["name"]),)}
    return found


def reason(error: BaseException) -> str:
    """An error on one line."""
    while getattr(error, "exceptions", ()):
        error = error.exceptions[0]
    code = getattr(getattr(error, "error", None), "code", None)
    text = " ".join(str(error).split())[:300] or type(error).__name__
    return f"[{code}] {text}" if code is not None else f"{type(error).__name__}: {text}"


@asynccontextmanager
async def connected(target, mode: str):
    """A connection to an address or a transport."""
    async with Client(target, mode=mode, read_timeout_seconds=CONNECT_LIMIT, cache=None) as client:
        yield Connection(client)


async def direct(server: Server) -> Seen:
    """A server itself, in the newest era that it knows. One that ends at the question is started again."""
    try:
        return await direct_in(server, "auto")
    except Exception as error:  # noqa: BLE001
        print(f"  {server.name}: `auto` failed ({reason(error)}), trying `legacy`", file=sys.stderr, flush=True)
        seen = await direct_in(server, "legacy")
        seen.era = "legacy, ends at the probe"
        return seen


async def direct_in(server: Server, mode: str) -> Seen:
    seen, log = Seen(), CACHE / "logs" / f"{server.name}.stderr"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as stderr, anyio.fail_after(CONNECT_LIMIT * 2):
        transport = stdio_client(StdioServerParameters(**server.entry()), errlog=stderr)
        async with connected(transport, mode) as connection:
            await connection.lists(seen)
            await connection.answers(seen, wanted(server, seen.lists))
    return seen


async def through(url: str, mode: str, server: Server, direct: Seen, exposed=None) -> Seen:
    """A server through ggend, in its own view; or (with `exposed`) only its answers in the merged view."""
    seen = Seen()
    with anyio.fail_after(CONNECT_LIMIT * 2):
        async with connected(url, mode) as connection:
            if exposed:
                await connection.answers(seen, wanted(server, direct.lists, exposed))
            else:
                await connection.lists(seen)
                await connection.answers(seen, wanted(server, direct.lists))
    return seen


async def merged(url: str, mode: str) -> Seen:
    """The lists of the merged view."""
    seen = Seen()
    async with connected(url, mode) as connection:
        await connection.lists(seen)
    return seen


async def taken_by_typescript(url: str, mode: str, era: str, python: Seen) -> list[str]:
    """Whether the official TypeScript client takes the merged lists, and as many of them: what is wrong."""
    home = CACHE / "typescript"
    program = home / "merged.mjs"
    program.write_bytes(Path(__file__).with_name("merged.mjs").read_bytes())
    done = await anyio.run_process([str(NODE / "node"), str(program), url, mode], cwd=home, check=False)
    if done.returncode != 0:
        return [f"merged, {era} TypeScript client: " + " ".join(done.stderr.decode().split())[:400]]
    # The client itself writes remarks there, too.
    seen = json.loads(done.stdout.decode().splitlines()[-1])
    mine = {"era": era, "lengths": {kind: len(items) for kind, items in python.lists.items()}}
    return [] if seen == mine else [f"merged, {era} TypeScript client: {seen}, Python's: {mine}"]

