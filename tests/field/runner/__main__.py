"""Installs, looks at each server directly, then at all of them through one ggend, and says what differs."""

import functools
import json
import logging
import os
import shutil
import signal
import sys
import time
import warnings

import anyio
from mcp.shared.exceptions import MCPDeprecationWarning

from . import compare, observe, report
from .catalogue import CACHE, Server, load
from .daemon import Daemon
from .install import install_all, prepare, sdk_of

# Servers at a time, both while installing and while looking at them.
JOBS = 2
MODES = {"legacy": "legacy", "modern": "auto"}


class Result:
    """What was found out about one server."""

    def __init__(self, server: Server):
        self.server = server
        self.direct: observe.Seen | None = None
        # The four ways through ggend, e.g. "own legacy": what differed in lists, and in answers.
        self.ways: dict[str, list[str]] = {}
        self.answers: dict[str, list[str]] = {}
        self.failed = ""
        self.varies = False
        self.notes: list[str] = []

    @property
    def ends_at_probe(self) -> bool:
        return self.direct is not None and "ends" in self.direct.era

    @property
    def equal(self) -> bool:
        return not self.failed and not any(self.ways.values()) and not any(self.answers.values())


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
    say(f"{result.server.name}: {seen.era} {seen.version}, {counts}, {str(seen.answers)[:120]}")
    result.notes += [f"refuses its {kind} directly" for kind in seen.refused if seen.lists[kind]]


async def look_through(daemon: Daemon, results: list[Result]) -> list[str]:
    """All four ways for each server, in one daemon. What clients do not take of the merged lists."""
    refusals = []
    for client, mode in MODES.items():
        whole = await observe.merged(f"{daemon.base}/mcp", mode)
        if whole.era != client:
            raise SystemExit(f"the {client} client came to {whole.version}")
        counts = " ".join(f"{len(whole.lists[kind])} {kind}" for kind in observe.KINDS)
        say(f"merged, {client} client: {counts}")
        refused = {kind: why for kind, why in whole.refused.items() if not compare.is_absent(kind, whole)}
        refusals += [f"merged, {client} Python client: {kind}: {why}" for kind, why in refused.items()]
        refusals += await observe.taken_by_typescript(f"{daemon.base}/mcp", mode, client, whole)

        async def look(result: Result, mode=mode, client=client, whole=whole) -> None:
            name = result.server.name
            own = await observe.through(f"{daemon.base}/mcp/{name}", mode, result.server, result.direct)
            result.ways[f"own {client}"] = compare.differences(result.direct, own)
            result.ways[f"merged {client}"] = compare.differences(result.direct, whole, name)
            result.answers[f"own {client}"] = compare.of_answers(result.direct, own)
            if result.direct.answers:
                exposed = functools.partial(compare.exposed, name)
                tried = await observe.through(f"{daemon.base}/mcp", mode, result.server, result.direct, exposed)
                result.answers[f"merged {client}"] = compare.of_answers(result.direct, tried, name)

        await each([result for result in results if not result.failed], look)
    return refusals


async def look_again(result: Result) -> None:
    """Whether two direct runs differ in the same way."""
    if not result.equal and result.direct:
        again = await observe.direct(result.server)
        result.varies = bool(compare.differences(result.direct, again) + compare.of_answers(result.direct, again))


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
        figures["refusals"] = await look_through(daemon, results)
        report.add_ends(figures, daemon, results)
    await each(results, look_again)
    return results, figures


def say(text: str) -> None:
    print(text, flush=True)


def start_cold(servers: list[Server]) -> int:
    """All in one daemon as `npx` and `uvx` start them: with empty caches, then with those of that run."""
    cache, wrong = CACHE / "cold", 0
    shutil.rmtree(cache, ignore_errors=True)
    servers = [server for server in servers if server.registry != "crates"]
    for state in ("cold", "warm"):
        with Daemon(servers, {server.name: server.launched(cache) for server in servers}) as daemon:
            waiting = daemon.wait(limit=1800)
            figures = report.figures(daemon, len(servers), len(waiting))
            exits = daemon.counters("ggend_upstream_exits_total")
        say(f"{state} caches: {figures['line']}")
        for label, count in exits.items():
            if count:
                say(f"  ended: {label} {count:.0f}")
        for name, why in waiting.items():
            say(f"NOT READY {name}: {why}")
        wrong += len(waiting)
    shutil.rmtree(cache, ignore_errors=True)
    say(f"{2 * len(servers) - wrong} passed, {wrong} failed")
    return 1 if wrong else 0


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
    # So that the daemon is ended with us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    # What the SDK logs (other text on standard output, tools beyond the first page) is no news.
    logging.disable()
    verb = words[0] if words[:1] in (["install"], ["cold"]) else ""
    servers = selected(load(), words[1:] if verb else words)
    started = time.monotonic()
    broken = install_all([] if verb == "cold" else servers, JOBS)
    for name, why in broken.items():
        say(f"{name}: NOT INSTALLED: {why}")
    say(f"{len(servers) - len(broken)} servers installed in {time.monotonic() - started:.0f} s")
    if verb == "install":
        return 1 if broken else 0
    if not os.access(os.environ.get("GGEND", ""), os.X_OK):
        raise SystemExit("GGEND has to name the program under test")
    if verb == "cold":
        for server in servers:
            prepare(server.folder)
        return start_cold(servers)
    results, figures = anyio.run(compare_all, [server for server in servers if server.name not in broken])
    rows = [report.row(result, sdk_of(result.server)) for result in results]
    if not words:
        (CACHE / "results.json").write_text(json.dumps({"rows": rows, "figures": figures}, indent=2))
        report.write_page(rows, figures)
    return report.summary(results, broken, figures, time.monotonic() - started)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
