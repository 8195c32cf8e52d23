"""The official Python SDK, v1, over WebSocket: the only revision of it that has such a client."""

import asyncio
import json
import sys
import uuid
from pathlib import Path

from mcp import ClientSession
from mcp.client.websocket import websocket_client

CHECK_LIMIT = 20
KINDS = json.loads((Path(__file__).parent / "lib/kinds.json").read_text())
failed = 0


async def check(name, body):
    global failed
    try:
        async with asyncio.timeout(CHECK_LIMIT):
            print("ok", name, await body(), flush=True)
    except Exception as error:
        failed += 1
        print("FAIL", name, repr(error).replace("\n", " "), flush=True)


async def main(url, profile):
    kind, prefix = KINDS[profile["kind"]], profile.get("prefix", "")
    fill = lambda value, nonce: json.loads(json.dumps(value).replace("$NONCE", nonce))

    async def echo(session):
        nonce = str(uuid.uuid4())
        result = await session.call_tool(prefix + kind["echo"]["tool"], fill(kind["echo"]["args"], nonce))
        assert not result.isError and nonce in result.content[0].text, result
        return nonce

    async with websocket_client(url) as (read, write), ClientSession(read, write) as session:

        async def connect():
            return (await session.initialize()).protocolVersion

        async def tools():
            count, page = 0, None
            while page is None or page.nextCursor:
                page = await session.list_tools(cursor=page and page.nextCursor)
                count += len(page.tools)
            assert count >= kind["at_least"]["tools"], count
            return count

        async def parallel():
            return len(await asyncio.gather(*(echo(session) for _ in range(20))))

        async def progress():
            seen = []

            async def note(value, _total, _message):
                seen.append(value)

            step = kind["progress"]
            await session.call_tool(prefix + step["tool"], fill(step["args"], "n"), progress_callback=note)
            assert len(seen) >= step["at_least"], seen
            return len(seen)

        async def ping():
            await session.send_ping()
            return ""

        await check("connect", connect)
        await check("tools", tools)
        await check("call", lambda: echo(session))
        await check("parallel", parallel)
        await check("progress", progress)
        await check("ping", ping)


asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
sys.exit(1 if failed else 0)
