"""Installs servers, each in a folder of its own."""

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .catalogue import CACHE, NODE, ROOT, Server

# Seconds for one install. A crate is compiled.
LIMIT = {"npm": 300, "pypi": 300, "crates": 1500}


def environment() -> dict[str, str]:
    """Caches of our own; nothing asks whether a newer version exists."""
    return os.environ | {
        "PATH": f"{NODE}:{os.environ['PATH']}",
        "UV_CACHE_DIR": str(CACHE / "cache/uv"),
        "npm_config_cache": str(CACHE / "cache/npm"),
        "npm_config_update_notifier": "false",
        "NO_UPDATE_NOTIFIER": "1",
    }


def command(server: Server) -> list[list[str]]:
    """The commands that install a server."""
    home, wanted = str(server.home), server.package
    if server.registry == "npm":
        npm = ["npm", "install", "--prefix", home, "--omit=dev", "--ignore-scripts"]
        quiet = ["--no-audit", "--no-fund", "--loglevel=error", "--prefer-offline"]
        return [[*npm, *quiet, f"{wanted}@{server.version}", *server.extra]]
    if server.registry == "pypi":
        uv = str(Path(sys.executable).parent / "uv")
        install = [uv, "pip", "install", "--quiet", "--python", home, "--exclude-newer", server.as_of]
        return [
            [uv, "venv", "--quiet", "--clear", "--python", "python3", home],
            [*install, f"{wanted}=={server.version}", *server.extra],
        ]
    cargo = ["cargo", "install", "--quiet", "--locked", "--debug", "--root", home, "--target-dir", f"{home}/build"]
    return [[*cargo, f"{wanted}@{server.version}", *server.extra]]


def install(server: Server) -> str | None:
    """Installs one, unless it is there as pinned. The end of the log if that failed."""
    commands = command(server)
    pin = hashlib.sha256(json.dumps(commands).encode()).hexdigest()
    mark, log = server.home / ".pin", CACHE / "logs" / f"{server.name}.install"
    if not (mark.exists() and mark.read_text() == pin):
        shutil.rmtree(server.home, ignore_errors=True)
        server.home.mkdir(parents=True)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as out:
            for line in commands:
                try:
                    done = subprocess.run(
                        line, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment(),
                        cwd=server.home, timeout=LIMIT[server.registry],
                    )  # fmt: skip
                except (subprocess.TimeoutExpired, OSError) as error:
                    return str(error)
                if done.returncode != 0:
                    return log.read_text()[-1500:]
        shutil.rmtree(server.home / "build", ignore_errors=True)
        mark.write_text(pin)
    prepare(server.folder)
    return None


def install_pinned(name: str, pinned: str) -> Path:
    """A folder of npm packages, as the interoperability tests pin them."""
    home, lock = CACHE / name, (ROOT / "tests/interop/packages" / pinned / "package-lock.json").read_text()
    if not (home / ".pin").exists() or (home / ".pin").read_text() != lock:
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        for file in ("package.json", "package-lock.json"):
            shutil.copy(ROOT / "tests/interop/packages" / pinned / file, home)
        npm = ["npm", "ci", "--omit-lockfile-registry-resolved", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(npm, cwd=home, env=environment(), check=True, timeout=LIMIT["npm"], stdout=sys.stderr)
        (home / ".pin").write_text(lock)
    return home


def install_all(servers: list[Server], jobs: int) -> dict[str, str]:
    """Installs all, some at a time: {name: why it failed}."""
    (CACHE / "servers").mkdir(parents=True, exist_ok=True)
    # The Node that runs servers, and the TypeScript client.
    install_pinned("node", "node22")
    install_pinned("typescript", "clients")
    with ThreadPoolExecutor(jobs) as pool:
        results = pool.map(install, servers)
        return {server.name: why for server, why in zip(servers, results) if why is not None}


def prepare(folder: Path) -> None:
    """The files that servers may work on: the same in every run."""
    if (folder / "ready").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "files").mkdir(parents=True)
    (folder / "files/hello.txt").write_text("hello, field\n")
    (folder / "files/notes.md").write_text("# Notes\n\nOne [[link]].\n")
    (folder / "files/table.csv").write_text("name,count\none,1\ntwo,2\n")
    with sqlite3.connect(folder / "data.db") as database:
        database.execute("create table fruit (name text, count integer)")
        database.executemany("insert into fruit values (?, ?)", [("apple", 3), ("pear", 5)])
    database.close()
    git = ["git", "-c", "user.name=field", "-c", "user.email=field@localhost", "-c", "init.defaultBranch=main"]
    when = {"GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z"}
    (folder / "repo").mkdir()
    (folder / "repo/file.txt").write_text("one line\n")
    for args in (["init", "-q"], ["add", "file.txt"], ["commit", "-q", "-m", "First"]):
        subprocess.run([*git, *args], cwd=folder / "repo", env=os.environ | when, check=True)
    (folder / "ready").touch()


def sdk_of(server: Server) -> str:
    """The SDK that is installed with a server, by what is in its folder."""
    if server.sdk:
        return server.sdk
    if server.registry == "npm":
        modules = server.home / "node_modules"
        for package in ("sdk", "server", "core"):
            for manifest in sorted(modules.glob(f"**/@modelcontextprotocol/{package}/package.json")):
                label = "TypeScript" if package == "sdk" else f"TypeScript {package}"
                return f"{label} {json.loads(manifest.read_text())['version']}"
    if server.registry == "pypi":
        found = {}
        for info in server.home.glob("lib/python*/site-packages/*.dist-info"):
            name, _, version = info.name.removesuffix(".dist-info").partition("-")
            found[name] = version
        for name in ("fastmcp", "fastmcp_slim", "mcp"):
            if name in found:
                label = {"mcp": "Python"}.get(name, "FastMCP")
                return f"{label} {found[name]}" + (f", mcp {found['mcp']}" if name != "mcp" and "mcp" in found else "")
    return ""
