"""One ggend with all servers and otherwise the defaults."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from .catalogue import CACHE, Server

# Seconds: for all servers to be ready, for the daemon to end after SIGTERM.
READY_LIMIT, STOP_LIMIT = 600, 60
HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


class Daemon:
    """A running daemon; `with` ends it."""

    def __init__(self, servers: list[Server], entries: dict[str, dict] | None = None):
        self.names = [server.name for server in servers]
        self.home = CACHE / "daemon"
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(parents=True)
        entries = entries or {server.name: server.entry() for server in servers}
        self.file = self.home / ".mcp.json"
        self.file.write_text(json.dumps({"mcpServers": entries}, indent=2))
        self.file.chmod(0o600)
        self.port, self.metrics = free_port(), free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.log = CACHE / "logs/ggend"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.peak_load = 0.0

    def __enter__(self) -> "Daemon":
        env = {
            "HOME": str(self.home),
            "PATH": os.environ["PATH"],
            "GGEN_RUNTIME_DIR": str(self.home / "run"),
            "GGEN_STATE_DIR": str(self.home / "state"),
            "GGEN_MCP_TRANSPORTS_HTTP_PORT": str(self.port),
            "GGEN_MCP_METRICS_PORT": str(self.metrics),
            "GGEN_MCP_TRANSPORTS_HTTP_SSL_PORT": "0",
            "GGEN_MCP_TRANSPORTS_QUIC_PORT": "0",
        }
        self.started = time.monotonic()
        with self.log.open("w") as out:
            self.process = subprocess.Popen(
                [os.environ["GGEND"], "--foreground", "--config", str(self.file)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, cwd=self.home, start_new_session=True,
            )  # fmt: skip
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def states(self) -> dict[str, dict]:
        """The servers as /health says: {name: member}."""
        try:
            with HTTP.open(f"{self.base}/health", timeout=10) as answer:
                health = json.load(answer)
        except urllib.error.HTTPError as error:
            health = json.loads(error.read() or b"{}")
        except (OSError, ValueError):
            return {}
        return {upstream["name"]: upstream for upstream in health.get("upstreams", [])}

    def wait(self, limit: float = READY_LIMIT) -> dict[str, str]:
        """Waits until all are ready: {name: why it is not}."""
        deadline = time.monotonic() + limit
        waiting = {name: "not started" for name in self.names}
        while waiting and time.monotonic() < deadline and self.process.poll() is None:
            self.peak_load = max(self.peak_load, os.getloadavg()[0])
            states = self.states()
            for name in list(waiting):
                state = states.get(name, {})
                waiting[name] = f"{state.get('state')}: {state.get('last_exit') or state.get('code') or ''}"
                if state.get("state") == "ready":
                    del waiting[name]
            time.sleep(0.25)
        self.took = time.monotonic() - self.started
        return waiting

    def counters(self, name: str) -> dict[str, float]:
        """The samples of a metric: {labels: value}."""
        with HTTP.open(f"http://127.0.0.1:{self.metrics}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        samples = (line.rsplit(" ", 1) for line in lines if line.startswith(name + "{"))
        return {labels.removeprefix(name): float(value) for labels, value in samples}

    def memory(self) -> tuple[int, int]:
        """MiB of ggend's own processes (without shims) and of all that it started, proportional."""
        children: dict[int, list[int]] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                pid, rest = stat.parent.name, stat.read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            children.setdefault(int(rest[1]), []).append(int(pid))
        own = every = 0
        todo = [self.process.pid]
        while todo:
            pid = todo.pop()
            todo += children.get(pid, [])
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except OSError:
                continue
            size = next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")), 0)
            every += size
            if pid == self.process.pid or (b"worker" in command[:3] and b"ggend" in command[0]):
                own += size
        return own // 1024, every // 1024
