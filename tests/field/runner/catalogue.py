"""The servers of servers.toml."""

import os
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
ROOT = HERE.parent.parent
CACHE = Path(os.environ["GGEND_FIELD_DIR"])
NODE = CACHE / "node/node_modules/node/bin"
# What a machine may need to reach its registries.
NETWORK = ("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True)
class Call:
    """A harmless call: it changes nothing and needs no network."""

    tool: str
    args: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Server:
    """One server; what the keys mean is said at the top of servers.toml."""

    name: str
    registry: str
    package: str
    version: str
    run: list[str]
    as_of: str
    extra: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    call: Call | None = None
    sdk: str = ""
    ci: bool = False

    @property
    def home(self) -> Path:
        """Where it is installed."""
        return CACHE / "servers" / self.name

    @property
    def folder(self) -> Path:
        """Its working directory and HOME, with the files of `install.prepare`."""
        return CACHE / "work" / self.name

    @property
    def programs(self) -> Path:
        """The folder of its programs."""
        return self.home / {"npm": "node_modules/.bin", "pypi": "bin", "crates": "bin"}[self.registry]

    def entry(self) -> dict:
        """Its entry in `.mcp.json`."""
        program, *args = (self.fill(part) for part in self.run)
        path = f"{self.programs}:{NODE}:/usr/local/bin:/usr/bin:/bin"
        env = {"PATH": path, "HOME": str(self.folder), **{key: self.fill(value) for key, value in self.env.items()}}
        return {"command": str(self.programs / program), "args": args, "env": env, "cwd": str(self.folder)}

    def launched(self, cache: Path) -> dict:
        """An entry as people write it: `npx` or `uvx` fetches the package at the first start, into this cache."""
        entry = self.entry()
        entry["env"] |= {name: os.environ[name] for name in NETWORK if name in os.environ}
        program, *args = (self.fill(part) for part in self.run)
        package, more = f"{self.package}@{self.version}", []
        if self.registry == "npm":
            for extra in self.extra:
                more += ["-p", extra]
            entry["args"] = ["-y", "-p", package, *more, program, *args]
            entry["env"] |= {"npm_config_cache": str(cache / "npm"), "npm_config_ignore_scripts": "true"}
            return entry | {"command": "npx"}
        for extra in self.extra:
            more += ["--with", extra]
        package = f"{self.package}=={self.version}"
        entry["args"] = ["--python", sys.executable, "--exclude-newer", self.as_of, "--from", package, *more, program, *args]
        entry["env"]["UV_CACHE_DIR"] = str(cache / "uv")
        return entry | {"command": str(Path(sys.executable).parent / "uvx")}

    def fill(self, value):
        """Puts the working directory in place of `{dir}`, wherever it stands."""
        if isinstance(value, str):
            return value.replace("{dir}", str(self.folder))
        if isinstance(value, list):
            return [self.fill(part) for part in value]
        if isinstance(value, dict):
            return {key: self.fill(part) for key, part in value.items()}
        return value


def load() -> list[Server]:
    """All servers, in the order of the file."""
    data = tomllib.loads((HERE / "servers.toml").read_text())
    servers = []
    for entry in data["server"]:
        if "call" in entry:
            entry["call"] = Call(**entry["call"])
        servers.append(Server(**{"as_of": data["as_of"], **entry}))
    names = [server.name for server in servers]
    if len(set(names)) != len(names):
        raise SystemExit("servers.toml: a name stands there twice")
    return servers
