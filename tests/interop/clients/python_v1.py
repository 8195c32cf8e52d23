"""The official Python SDK, v1 (mcp 1.x: legacy revisions only), over Streamable HTTP, through the checks that the matrix shows.

    python_v1.py URL PROFILE
"""

import json
import sys
import time
import uuid
from pathlib import Path

import anyio
import mcp.types as types
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

CHECK_LIMIT, TOTAL_LIMIT, POLL = 20, 100, 0.1
KINDS = json.loads((Path(__file__).parent / "lib/kinds.json").read_text())
CHANGES = {
    "tools": types.ToolListChangedNotification,
    "prompts": types.PromptListChangedNotification,
    "resources": types.ResourceListChangedNotification,
}
failed = 0


class Skip(Exception):
    """The server has nothing to try the check on."""


def insist(condition, reason):
    if not condition:
        raise AssertionError(reason)


def fill(value, nonce):
    return json.loads(json.dumps(value).replace("$NONCE", nonce))


def text_of(blocks):
    return "\n".join(getattr(block, "text", "") for block in blocks)


async def check(name, body, *args):
    global failed
    try:
        with anyio.fail_after(CHECK_LIMIT):
            print("ok", name, await body(*args) or "", flush=True)
    except Skip as reason:
        print("skip", name, reason, flush=True)
    except Exception as error:  # every way to fail is a finding
        failed += 1
        print("FAIL", name, repr(error).replace("\n", " ")[:400], flush=True)


class Checks:
    def __init__(self, session, profile):
        self.session, self.profile = session, profile
        self.kind, self.prefix = KINDS[profile["kind"]], profile.get("prefix", "")
        self.changed, self.updated = [], set()

    async def on_message(self, message):
        if isinstance(message, types.ServerNotification):
            self.changed.append(type(message.root))
            if isinstance(message.root, types.ResourceUpdatedNotification):
                self.updated.add(str(message.root.params.uri))

    def need(self, part):
        if part not in self.kind:
            raise Skip(f"the {self.profile['kind']} server has nothing for {part}")
        return self.kind[part]

    def call(self, step, nonce, session=None, **options):
        return (session or self.session).call_tool(self.prefix + step["tool"], fill(step["args"], nonce), **options)

    async def connect(self):
        return (await self.session.initialize()).protocolVersion

    async def list_tools(self):
        count, cursor = 0, None
        while True:
            page = await self.session.list_tools(params=types.PaginatedRequestParams(cursor=cursor))
            count, cursor = count + len(page.tools), page.nextCursor
            if cursor is None:
                break
        insist(count >= self.kind["at_least"]["tools"], f"{count} tools")
        return str(count)

    async def echo(self):
        nonce = str(uuid.uuid4())
        result = await self.call(self.kind["echo"], nonce)
        insist(not result.isError and fill(self.kind["echo"]["text"], nonce) in text_of(result.content), f"{result}")

    async def progress(self):
        step, seen = self.need("progress"), []

        async def note(value, _total, _message):
            seen.append(value)

        await self.call(step, "n", progress_callback=note)
        insist(len(seen) >= step["at_least"] and seen == sorted(set(seen)), f"progress {seen}")
        return " ".join(f"{value:g}" for value in seen)

    async def cancel(self):
        """The SDK has no cancelling of its own: the notification of the specification is sent by hand, with the id that its counter gives next."""
        step, nonce = self.need("slow"), str(uuid.uuid4())
        begun, ended = anyio.Event(), []

        async def counted():
            count = self.kind["cancelled_count"]
            return (await self.call(count, nonce)).structuredContent[count["member"]]

        before = await counted() if "cancelled_count" in self.kind else None

        async def note(_value, _total, _message):
            begun.set()

        async def call():
            ended.append(await self.call(step, nonce, progress_callback=note))

        async with anyio.create_task_group() as group:
            number = self.session._request_id
            group.start_soon(call)
            await begun.wait()
            params = types.CancelledNotificationParams(requestId=number, reason="given up by the check")
            await self.session.send_notification(types.ClientNotification(types.CancelledNotification(params=params)))
            group.cancel_scope.cancel()
        insist(not ended, "the call was answered before it was given up")
        await self.echo()
        started = time.monotonic()
        while "was_cancelled" in self.kind or before is not None:
            if before is not None and await counted() > before:
                return "counted by the server"
            if "was_cancelled" in self.kind and "yes" in text_of((await self.call(self.kind["was_cancelled"], nonce)).content):
                return "seen by the server"
            insist(time.monotonic() - started < 5, "the server was not told within 5 s")
            await anyio.sleep(POLL)
        return "echo answers afterwards"

    async def until(self, seen, step, what):
        started = time.monotonic()
        while not seen():
            insist(time.monotonic() - started < 12, f"no {what} within 12 s")
            result = await self.call(step, f"interop-{uuid.uuid4().hex[:8]}")
            if "again" in step and step["again"] in text_of(result.content):
                continue
            with anyio.move_on_after(1.5):
                while not seen():
                    await anyio.sleep(POLL)

    async def list_change(self):
        step = self.need("change")
        self.changed.clear()
        await self.until(lambda: CHANGES[step["list"]] in self.changed, step, "list_changed notification")
        return "notified"

    async def subscribe(self):
        step = self.need("watch")
        own = {str(entry.uri) for entry in (await self.session.list_resources()).resources}
        marked = f"{self.prefix.removesuffix('__')}+{step['uri']}"
        uri = step["uri"] if step["uri"] in own else marked
        await self.session.subscribe_resource(uri)
        await self.until(lambda: uri in self.updated, step, f"update of {uri}")
        await self.session.unsubscribe_resource(uri)
        return f"{uri} updated"

    async def asked(self, name, session, questions, answers):
        step, nonce = self.need(name), str(uuid.uuid4())
        answers["elicit"] = fill(step.get("answer", {}), nonce)
        questions.clear()
        result = await self.call(step, nonce, session)
        text = text_of(result.content)
        insist(not result.isError and fill(step["text"], nonce) in text, f"the answer is not in the result: {text[:300]}")
        insist(len(questions) == 1, f"asked {len(questions)} times")
        insist(fill(step.get("asks", ""), nonce) in questions[0], f"asked for something else: {questions[0]}")


async def main(url, profile):
    checks = Checks(None, profile)
    async with streamable_http_client(url) as (read, write, _), ClientSession(read, write, message_handler=checks.on_message) as session:
        checks.session = session
        await check("connect", checks.connect)
        await check("list-tools", checks.list_tools)
        await check("echo", checks.echo)
        await check("progress", checks.progress)
        await check("cancel", checks.cancel)
        await check("list-change", checks.list_change)
        await check("subscribe", checks.subscribe)

    # Another connection, because what a client declares is said once: this one can be asked for something.
    questions, answers = [], {}

    async def elicit(_context, params):
        questions.append(params.model_dump_json())
        return types.ElicitResult(action="accept", content=answers["elicit"])

    async def sample(_context, params):
        questions.append(params.model_dump_json())
        content = types.TextContent(type="text", text="interop-sampled")
        return types.CreateMessageResult(role="assistant", model="interop", stopReason="endTurn", content=content)

    async with streamable_http_client(url) as (read, write, _):
        async with ClientSession(read, write, elicitation_callback=elicit, sampling_callback=sample) as session:
            await session.initialize()
            for name in ("elicit", "sample"):
                await check(name, checks.asked, name, session, questions, answers)


async def bounded(url, profile):
    with anyio.fail_after(TOTAL_LIMIT):
        await main(url, profile)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    anyio.run(bounded, sys.argv[1], json.loads(sys.argv[2]))
    sys.exit(1 if failed else 0)
