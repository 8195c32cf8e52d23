"""The official Python SDK's client (mcp 2.x), through the same checks as lib/checks.mjs.

    python_v2.py MODE URL PROFILE

MODE: `legacy` (plain initialize), `auto` (asks server/discover first; the SDK's
default) or `pin` (2026-07-28 from the first request on, without asking).
"""

import json
import sys
import time
import uuid
import warnings
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import mcp_types as types
from mcp import Client
from mcp.shared.exceptions import MCPDeprecationWarning
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

# Seconds: for one check, for the whole program, for a client side abort.
CHECK_LIMIT, TOTAL_LIMIT, ABORT_LIMIT = 20, 100, 2
POLL = 0.1

KINDS = json.loads((Path(__file__).parent / "lib" / "kinds.json").read_text())
MODES = {"legacy": "legacy", "auto": "auto", "pin": "2026-07-28"}


class Skip(Exception):
    """The server has nothing to try the check on."""


def insist(condition, reason):
    if not condition:
        raise AssertionError(reason)


def fill(value, nonce):
    return json.loads(json.dumps(value).replace("$NONCE", nonce))


def text_of(blocks):
    def one(block):
        resource = getattr(block, "resource", None)
        return getattr(block, "text", None) or getattr(resource, "text", None) or ""

    return "\n".join(one(block) for block in blocks)


def describe(error):
    """An error, its causes and the members of its group, on one line."""
    parts = [getattr(error, "message", None) or str(error) or type(error).__name__]
    code = getattr(error, "code", None)
    if code is not None:
        parts[0] = f"[{code}] {parts[0]}"
    parts += [describe(member) for member in getattr(error, "exceptions", ())]
    if error.__cause__ is not None:
        parts.append(describe(error.__cause__))
    return " <- ".join(parts).replace("\n", " ")[:400]


class Checks:
    """The list of checks against one connected client."""

    def __init__(self, client, profile):
        self.client = client
        self.profile = profile
        self.prefix = profile.get("prefix", "")
        self.kind = KINDS[profile["kind"]]
        self.lists = {}
        self.failed = 0
        # Set whenever a list_changed notification arrives: {"tools": n, ...}
        self.changes = {"tools": 0, "prompts": 0, "resources": 0}
        # URIs of which an update was announced.
        self.updated = set()

    async def on_message(self, message):
        """Counts legacy change notifications."""
        names = {
            types.ToolListChangedNotification: "tools",
            types.PromptListChangedNotification: "prompts",
            types.ResourceListChangedNotification: "resources",
        }
        if type(message) in names:
            self.changes[names[type(message)]] += 1
        if isinstance(message, types.ResourceUpdatedNotification):
            self.updated.add(message.params.uri)

    async def run(self, name, body, *args):
        try:
            with anyio.fail_after(CHECK_LIMIT):
                detail = await body(*args)
            print("ok", name, detail or "", flush=True)
        except Skip as reason:
            print("skip", name, reason, flush=True)
        except TimeoutError:
            self.failed += 1
            print("FAIL", name, f"nothing within {CHECK_LIMIT} s", flush=True)
        except Exception as error:  # every way to fail is a finding
            self.failed += 1
            print("FAIL", name, describe(error), flush=True)

    def need(self, part, what):
        if part not in self.kind:
            raise Skip(f"the {self.profile['kind']} server has no {what}")
        return self.kind[part]

    def call_named(self, step, nonce, **options):
        return self.client.call_tool(self.prefix + step["tool"], fill(step["args"], nonce), **options)

    def address_of(self, entries, key, wanted):
        """The view of all servers marks each address with its server: `<server>+<uri>`."""
        addresses = [getattr(entry, key) for entry in entries]
        marked = f"{self.prefix.removesuffix('__')}+{wanted}"
        found = [address for address in (wanted, marked) if address in addresses]
        insist(found, f"neither {wanted} nor {marked} is among the {len(addresses)} listed")
        return found[0]

    async def all_pages(self, what):
        call = {
            "tools": self.client.list_tools,
            "prompts": self.client.list_prompts,
            "resources": self.client.list_resources,
            "templates": self.client.list_resource_templates,
        }[what]
        member = "resource_templates" if what == "templates" else what
        entries, cursor = [], None
        while True:
            page = await call(cursor=cursor)
            entries += getattr(page, member)
            cursor = page.next_cursor
            if cursor is None:
                return entries

    async def connect(self):
        version = self.client.protocol_version
        era = "modern" if version in MODERN_PROTOCOL_VERSIONS else "legacy"
        expected = self.profile.get("era")
        insist(expected in (None, era), f"negotiated {version} ({era}), expected {expected}")
        return f"{version} {era}"

    async def list(self, what):
        entries = self.lists[what] = await self.all_pages(what)
        own = entries
        if what in ("tools", "prompts"):
            own = [entry for entry in entries if entry.name.startswith(self.prefix)]
        least = self.kind["at_least"][what]
        insist(len(own) >= least, f"{len(own)} {what}, expected at least {least}")
        names = [getattr(e, "uri", None) or getattr(e, "uri_template", None) or e.name for e in own]
        insist(len(set(names)) == len(names), f"duplicate names: {names}")
        return f"{len(own)} of {len(entries)}"

    async def echo(self):
        nonce = str(uuid.uuid4())
        step = self.kind["echo"]
        result = await self.call_named(step, nonce)
        insist(not result.is_error, "the echo tool reported an error")
        text = text_of(result.content)
        insist(fill(step["text"], nonce) in text, f"answer of another call: {text}")

    async def echo_parallel(self):
        async with anyio.create_task_group() as group:
            for _ in range(16):
                group.start_soon(self.echo)
        return "16 at once"

    async def progress(self):
        step = self.need("progress", "progress tool")
        seen = []

        async def on_progress(progress, _total, _message):
            seen.append(progress)

        result = await self.call_named(step, str(uuid.uuid4()), progress_callback=on_progress)
        insist(not result.is_error, "the tool reported an error")
        insist(len(seen) >= step["at_least"], f"{len(seen)} notifications {seen}, expected at least {step['at_least']}")
        insist(all(a < b for a, b in zip(seen, seen[1:])), f"not increasing: {seen}")
        return " ".join(f"{value:g}" for value in seen)

    async def cancel(self):
        step = self.need("slow", "slow tool")
        nonce = str(uuid.uuid4())
        begun, answered = anyio.Event(), []

        async def counted():
            step = self.kind["cancelled_count"]
            return (await self.call_named(step, nonce)).structured_content[step["member"]]

        before = await counted() if "cancelled_count" in self.kind else None

        async def on_progress(_progress, _total, _message):
            begun.set()

        async def call():
            answered.append(await self.call_named(step, nonce, progress_callback=on_progress))

        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await begun.wait()
            given_up = time.monotonic()
            group.cancel_scope.cancel()
        insist(time.monotonic() - given_up < ABORT_LIMIT, f"giving up took over {ABORT_LIMIT} s")
        insist(not answered, "the call was answered before it was given up")
        await self.echo()
        if "was_cancelled" not in self.kind and before is None:
            return "echo answers afterwards"
        started = time.monotonic()
        while True:
            if before is not None and await counted() > before:
                return "counted by the server"
            if "was_cancelled" in self.kind:
                told = await self.call_named(self.kind["was_cancelled"], nonce)
                if self.kind["was_cancelled"]["text"] in text_of(told.content):
                    return "seen by the server"
            insist(time.monotonic() - started < 5, "the server was not told within 5 s")
            await anyio.sleep(POLL)

    async def read_resource(self):
        step = self.need("resource", "resource")
        uri = self.address_of(self.lists["resources"], "uri", step["uri"])
        return await self.read(uri, step["text"])

    async def read_template(self):
        step = self.need("template", "resource template")
        template = self.address_of(self.lists["templates"], "uri_template", step["of"])
        return await self.read(template.removesuffix(step["of"]) + step["uri"], step["text"])

    async def read(self, uri, text):
        contents = (await self.client.read_resource(uri)).contents
        insist(text in text_of(contents), f"unexpected text: {text_of(contents)[:200]}")
        insist(all(c.uri == uri for c in contents), f"asked for {uri}, got {[c.uri for c in contents]}")
        return uri

    async def get_prompt(self):
        step = self.need("prompt", "prompt")
        result = await self.client.get_prompt(self.prefix + step["name"], step["args"])
        text = text_of(message.content for message in result.messages)
        insist(step["text"] in text, f"unexpected text: {text}")

    async def completion(self):
        step = self.need("completion", "completion")
        ref = types.PromptReference(type="ref/prompt", name=self.prefix + step["prompt"])
        values = (await self.client.complete(ref, step["argument"])).completion.values
        insist("value" not in step or step["value"] in values, f"unexpected values: {values}")
        return " ".join(values)

    async def tool_error(self):
        step = self.need("error", "failing tool")
        try:
            result = await self.call_named(step, str(uuid.uuid4()))
        except Exception as error:
            raise AssertionError(f"the call was refused instead: {describe(error)}") from None
        insist(result.is_error is True, "the result does not say isError")

    async def unknown_tool(self):
        try:
            result = await self.client.call_tool(self.prefix + "no-such-tool", {})
        except Exception as error:
            return f"error {getattr(error, 'code', '')}"
        insist(result.is_error, "a tool that does not exist was answered with success")
        return "isError"

    async def list_change(self):
        step = self.need("change", "tool that changes a list")
        what = step["list"]
        nonce = f"interop-{uuid.uuid4().hex[:8]}"
        async with AsyncExitStack() as stack:
            if self.client.protocol_version in MODERN_PROTOCOL_VERSIONS:
                wanted = f"{what}_list_changed"
                subscription = await stack.enter_async_context(self.client.listen(**{wanted: True}))
                insist(getattr(subscription.honored, wanted), f"{wanted} is not in the acknowledged filter")
                group = await stack.enter_async_context(anyio.create_task_group())
                stack.callback(group.cancel_scope.cancel)

                async def follow():
                    async for _ in subscription:
                        self.changes[what] += 1

                group.start_soon(follow)
            before = self.changes[what]
            started = time.monotonic()
            # The stream that carries the notification opens on its own time:
            # make the change again until one is seen.
            while self.changes[what] == before:
                insist(time.monotonic() - started < 12, "no list_changed notification within 12 s")
                await self.call_named(step, nonce)
                with anyio.move_on_after(1.5):
                    while self.changes[what] == before:
                        await anyio.sleep(POLL)
            if "listed" not in step:
                return "notified"
            name = fill(step["listed"], nonce)
            started = time.monotonic()
            while not any(entry.name.endswith(name) for entry in await self.all_pages(what)):
                insist(time.monotonic() - started < 5, "notified, but the new entry is not listed within 5 s")
                await anyio.sleep(POLL)
            return "notified and listed"

    async def subscribe(self):
        step = self.need("watch", "resource that changes")
        uri = self.address_of(self.lists["resources"], "uri", step["uri"])
        async with AsyncExitStack() as stack:
            if self.client.protocol_version in MODERN_PROTOCOL_VERSIONS:
                subscription = await stack.enter_async_context(self.client.listen(resource_subscriptions=[uri]))
                insist(uri in (subscription.honored.resource_subscriptions or ()), f"{uri} is not in the acknowledged filter")
                group = await stack.enter_async_context(anyio.create_task_group())
                stack.callback(group.cancel_scope.cancel)

                async def follow():
                    async for event in subscription:
                        self.updated.add(getattr(event, "uri", None))

                group.start_soon(follow)
            else:
                await self.client.subscribe_resource(uri)
                stack.push_async_callback(self.client.unsubscribe_resource, uri)
            started = time.monotonic()
            # As above: the stream opens on its own time.
            while uri not in self.updated:
                insist(time.monotonic() - started < 12, f"no notifications/resources/updated for {uri} within 12 s; seen: {self.updated}")
                result = await self.call_named(step, str(uuid.uuid4()))
                if "again" in step and step["again"] in text_of(result.content):
                    continue
                with anyio.move_on_after(1.5):
                    while uri not in self.updated:
                        await anyio.sleep(POLL)
        return f"{uri} updated"

    async def asked(self, name, client, questions, answers):
        """A call whose server asks; `client` can be asked, and answers with what stands in `answers`."""
        step = self.need(name, f"tool that needs {name}")
        nonce = str(uuid.uuid4())
        answers["elicit"] = fill(step.get("answer", {}), nonce)
        questions.clear()
        result = await client.call_tool(self.prefix + step["tool"], fill(step["args"], nonce))
        text = text_of(result.content)
        insist(not result.is_error, f"the tool reported an error: {text}")
        insist(fill(step["text"], nonce) in text, f"the answer is not in the result: {text[:200]}")
        insist(len(questions) == 1, f"asked {len(questions)} times")
        insist(fill(step.get("asks", ""), nonce) in questions[0], f"asked for something else: {questions[0]}")

    async def all(self):
        await self.run("connect", self.connect)
        for what in ("tools", "prompts", "resources", "templates"):
            await self.run(f"list-{what}", self.list, what)
        await self.run("echo", self.echo)
        await self.run("echo-parallel", self.echo_parallel)
        await self.run("progress", self.progress)
        await self.run("cancel", self.cancel)
        await self.run("read-resource", self.read_resource)
        await self.run("read-template", self.read_template)
        await self.run("get-prompt", self.get_prompt)
        await self.run("completion", self.completion)
        await self.run("tool-error", self.tool_error)
        await self.run("unknown-tool", self.unknown_tool)
        await self.run("list-change", self.list_change)
        await self.run("subscribe", self.subscribe)

    async def interactive(self, url, mode):
        """A connection of its own, because what a client declares is said once: this one can be asked for something."""
        questions, answers = [], {}

        async def elicit(_context, params):
            questions.append(params.model_dump_json())
            return types.ElicitResult(action="accept", content=answers["elicit"])

        async def sample(_context, params):
            questions.append(params.model_dump_json())
            content = types.TextContent(type="text", text="interop-sampled")
            return types.CreateMessageResult(role="assistant", model="interop", stop_reason="endTurn", content=content)

        options = {"elicitation_callback": elicit, "sampling_callback": sample, "read_timeout_seconds": CHECK_LIMIT}
        async with Client(url, mode=MODES[mode], **options) as client:
            for name in ("elicit", "sample"):
                await self.run(name, self.asked, name, client, questions, answers)


async def main(mode, url, profile):
    checks = None

    async def on_message(message):
        if checks is not None:
            await checks.on_message(message)

    client = Client(url, mode=MODES[mode], message_handler=on_message, read_timeout_seconds=CHECK_LIMIT)
    stage = "connect"
    try:
        with anyio.fail_after(TOTAL_LIMIT):
            async with client:
                checks = Checks(client, profile)
                await checks.all()
                await checks.interactive(url, mode)
                stage = "close"
        print("ok close", flush=True)
    except TimeoutError:
        print(f"FAIL {stage} the client did not end within {TOTAL_LIMIT} s", flush=True)
        return 1
    except Exception as error:
        print("FAIL", stage, describe(error), flush=True)
        return 1
    return 1 if checks.failed else 0


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in MODES:
        sys.exit(__doc__)
    # The suite speaks the deprecated revisions on purpose.
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    sys.exit(anyio.run(main, sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))
