"""Installs, looks at each server directly, then at all of them through one ggend, and says what differs."""

import json
import os
import sys
import time
import warnings

import anyio
from mcp.shared.exceptions import MCPDeprecationWarning

from . import compare, observe, report
from .catalogue import CACHE, Server, load
from .daemon import Daemon
from .install import install_all, sdk_of

# Servers at a time, both while installing and while looking at them.
JOBS = 2
MODES = {"legacy": "legacy", "modern": "auto"}


class Result:
    """What was found out about one server."""

    def __init__(self, server: Server):
        self.server = server
        self.direct: observe.Seen | None = None
        # The four ways through ggend, e.g. "own legacy": what differed.
        self.ways: dict[str, list[str]] = {}
        self.calls: dict[str, list[str]] = {}
        self.failed = ""
        self.varies = False
        self.notes: list[str] = []

    @property
    def equal(self) -> bool:
        return not self.failed and not any(self.ways.values()) and not any(self.calls.values())


async def each(results: list[Result], look) -> None:
    """Runs `look` for each server, some at a time; an exception is that server's failure."""
    limiter = anyio.CapacityLimiter(JOBS)

    async def one(result: Result) -> None:
        async with limiter:
            try:
                await look(result)
            except Exception as error:  # noqa: BLE001
                result.failed = observe.reason(error)
                say(f"{result.server.name}: {result.failed}")

    async with anyio.create_task_group() as group:
        for result in results:
            group.start_soon(one, result)


async def look_directly(result: Result) -> None:
    result.direct = seen = await observe.direct(result.server)
    counts = " ".join(f"{len(seen.lists[kind])} {kind}" for kind in observe.KINDS)
    say(f"{result.server.name}: {seen.era} {seen.version}, {counts}, call {str(seen.call)[:100]}")
    result.notes += [f"refuses its {kind} directly" for kind in seen.refused if seen.lists[kind]]


async def look_through(daemon: Daemon, results: list[Result]) -> None:
    """All four ways for each server, in one daemon."""
    for client, mode in MODES.items():
        whole = await observe.merged(f"{daemon.base}/mcp", mode)
        if whole.era != client:
            raise SystemExit(f"the {client} client came to {whole.version}")
        counts = " ".join(f"{len(whole.lists[kind])} {kind}" for kind in observe.KINDS)
        say(f"merged, {client} client: {counts}" + "".join(f"; REFUSED {kind}: {why}" for kind, why in whole.refused.items()))

        async def look(result: Result, mode=mode, client=client, whole=whole) -> None:
            name = result.server.name
            own = await observe.through(f"{daemon.base}/mcp/{name}", mode, result.server)
            result.ways[f"own {client}"] = compare.differences(result.direct, own)
            result.ways[f"merged {client}"] = compare.differences(result.direct, whole, name)
            if result.server.call:
                result.calls[f"own {client}"] = compare.of_calls(result.direct.call, own.call)
                call = await observe.through(f"{daemon.base}/mcp", mode, result.server, f"{name}__")
                result.calls[f"merged {client}"] = compare.of_calls(result.direct.call, call.call, name)

        await each([result for result in results if not result.failed], look)


async def look_again(result: Result) -> None:
    """Whether two direct runs differ in the same way."""
    if not result.equal and result.direct:
        again = await observe.direct(result.server)
        result.varies = bool(compare.differences(result.direct, again) + compare.of_calls(result.direct.call, again.call))


async def compare_all(servers: list[Server]) -> tuple[list[Result], dict]:
    results = [Result(server) for server in servers]
    await each(results, look_directly)
    working = [result for result in results if not result.failed]
    with Daemon([result.server for result in working]) as daemon:
        waiting = await anyio.to_thread.run_sync(daemon.wait)
        figures = report.figures(daemon, len(working), len(waiting))
        say(figures["line"])
        for result in working:
            if result.server.name in waiting:
                result.failed = f"not ready through ggend: {waiting[result.server.name]}"
        await look_through(daemon, results)
        report.add_restarts(figures, daemon)
    await each(results, look_again)
    return results, figures


def say(text: str) -> None:
    print(text, flush=True)


def selected(servers: list[Server], words: list[str]) -> list[Server]:
    """The servers that the command line names."""
    if not words:
        return servers
    if words == ["ci"]:
        return [server for server in servers if server.ci]
    unknown = set(words) - {server.name for server in servers}
    if unknown:
        raise SystemExit(f"not in servers.toml: {' '.join(sorted(unknown))}")
    return [server for server in servers if server.name in words]


def main(words: list[str]) -> int:
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    only_install = words[:1] == ["install"]
    servers = selected(load(), words[1:] if only_install else words)
    started = time.monotonic()
    broken = install_all(servers, JOBS)
    for name, why in broken.items():
        say(f"{name}: NOT INSTALLED: {why}")
    say(f"{len(servers) - len(broken)} servers installed in {time.monotonic() - started:.0f} s")
    if only_install:
        return 1 if broken else 0
    if not os.access(os.environ.get("GGEND", ""), os.X_OK):
        raise SystemExit("GGEND has to name the program under test")
    results, figures = anyio.run(compare_all, [server for server in servers if server.name not in broken])
    rows = [report.row(result, sdk_of(result.server)) for result in results]
    (CACHE / "results.json").write_text(json.dumps({"rows": rows, "figures": figures}, indent=2))
    if not words:
        report.write_page(rows, figures)
    return report.summary(results, broken, figures, time.monotonic() - started)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
