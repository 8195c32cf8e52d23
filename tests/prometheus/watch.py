"""Starts ggend and Prometheus, makes a fault for each alert rule, and asks Prometheus what it saw. usage: watch.py WORK GGEND FIXTURE SECONDS REPOSITORY"""

import http.client
import json
import os
import pathlib
import random
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

work, ggend, fixture, seconds, repository = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), pathlib.Path(sys.argv[5])
ggen = str(pathlib.Path(ggend).with_name("ggen"))
# Few, so that they can be used up.
FILES, CONNECTIONS = 300, 260


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


port, tls_port, admin, web = free_port(), free_port(), free_port(), free_port()
environment = {**os.environ, "HOME": str(work), "GGEN_RUNTIME_DIR": str(work / "run"), "GGEN_STATE_DIR": str(work / "state")}
environment.pop("NOTIFY_SOCKET", None)
servers = {"good": {"command": fixture}}
lock = threading.RLock()
failures = []
began = time.monotonic()


def say(text):
    print(f"  ok: {text} ({time.monotonic() - began:.0f} s)", flush=True)


def configure():
    (work / "mcp.json").write_text(json.dumps({
        "transports": {"http": {"port": port, "max_connections": CONNECTIONS,
                                "ssl": {"port": tls_port, "cert": str(work / "localhost.pem"), "key": str(work / "localhost.key")}},
                       "quic": {"enabled": False}},
        "metrics": {"port": admin}, "logging": {"audit": True, "format": "json"}, "server": {"workers": 2}, "mcpServers": servers}))


def run(*arguments, check=True):
    return subprocess.run([ggen, *arguments], env=environment, cwd=work, check=check, capture_output=True, text=True).stdout


def certificate(days):
    run("mcp", "auth", "generate-cert", "--server", "localhost", "--days", str(days), "--out", str(work), "--force")


class Daemon:
    """ggend, whose log is read here so that reading can be stopped."""

    def __init__(self):
        self.reads = threading.Event()
        self.reads.set()
        self.process = subprocess.Popen([ggend, "--config", work / "mcp.json"], env=environment, cwd=work, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES)))
        threading.Thread(target=self.read, daemon=True).start()
        assert self.process.stdout.readline().startswith(b"ggend "), (work / "log").read_text()

    def read(self):
        with open(work / "log", "ab") as log:
            while part := os.read(self.process.stderr.fileno(), 65536):
                log.write(part)
                log.flush()
                self.reads.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0


def fetch(path, **query):
    with urllib.request.urlopen(f"http://127.0.0.1:{web}{path}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
        return json.load(answer)["data"]


def value(expression):
    return fetch("/api/v1/query", query=expression)["result"]


def firing():
    return {alert["labels"]["alertname"] for alert in fetch("/api/v1/alerts")["alerts"] if alert["state"] == "firing"}


def until(what, limit, condition):
    end = time.monotonic() + limit
    while time.monotonic() < end:
        try:
            if condition():
                return True
        except OSError:
            pass
        time.sleep(0.3)
    failures.append(f"not in {limit} s: {what}")
    return False


class Client:
    """A connection that is used again and again."""

    def __init__(self):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

    def ask(self, method="tools/list", name=None, arguments=None):
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2026-07-28",
                   "Mcp-Method": method, **({"Mcp-Name": name} if name else {})}
        meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
        params = {"_meta": meta, **({"name": name, "arguments": arguments or {}} if name else {})}
        try:
            self.connection.request("POST", "/mcp", json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}), headers)
            return self.connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            return b""


def worker(name):
    # Its exit status says whether all is well, which it is not while faults are made.
    status = json.loads(run("--json", "mcp", "server", "status", check=False))
    return next(worker["pid"] for worker in status["workers"] if worker["name"] == name)


def kill(name, number):
    try:
        if pid := worker(name):
            os.kill(pid, number)
    except (ProcessLookupError, StopIteration, ValueError, KeyError):
        pass


def set_servers(change):
    with lock:
        change(servers)
        configure()
        run("mcp", "server", "reload")


class While:
    """Does something again and again until the end of the block."""

    def __init__(self, step, pause=0.0, threads=1):
        self.over = threading.Event()

        def loop():
            while not self.over.is_set():
                step()
                self.over.wait(pause)

        self.threads = [threading.Thread(target=loop) for _ in range(threads)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()


def fires(name, limit=40):
    return until(f"{name} fires", limit, lambda: name in firing())


def clears(name, limit=60):
    if until(f"{name} clears", limit, lambda: name not in firing()):
        say(f"{name} fires when its fault is made, and clears after")


def together(*tasks):
    """Faults that do not touch each other, at once."""

    def guarded(task):
        try:
            task()
        except Exception as error:
            failures.append(f"{task.__name__}: {error!r}")

    threads = [threading.Thread(target=guarded, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def certificate_expires():
    fires("GgendCertificateExpires")
    certificate(365)
    clears("GgendCertificateExpires")


def crash_loop():
    set_servers(lambda all: all.update(bad={"command": "sh", "args": ["-c", "exit 1"]}))
    fires("GgendUpstreamCrashLoop")
    fires("GgendUpstreamDown")
    set_servers(lambda all: all.pop("bad"))
    clears("GgendUpstreamDown")
    clears("GgendUpstreamCrashLoop")


def hung():
    kill("http-1", signal.SIGSTOP)
    fires("GgendWorkerHung")
    clears("GgendWorkerHung")


def late():
    # Between two stops it has time for some of the probes that make a beat, or it would be replaced as one that hangs. Its process is asked for anew
    # only when it has gone: the command takes longer while other workers die.
    pid = worker("websocket-1")

    def stumble():
        nonlocal pid
        try:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.9)
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pid = worker("websocket-1") or pid

    with While(stumble, 0.6):
        fires("GgendLoopLag")
    clears("GgendLoopLag")


def degraded():
    with While(lambda: kill("websocket-0", signal.SIGKILL), 0.05):
        fires("GgendTransportDegraded")
    clears("GgendTransportDegraded")


def errors():
    clients = threading.local()

    def ask(*arguments):
        if not hasattr(clients, "own"):
            clients.own = Client()
        clients.own.ask(*arguments)

    def slowly():
        # Not in step, or there would be seconds without any.
        ask("tools/call", "good__slow", {"ms": random.randrange(5200, 8000)})

    # At the same time a twentieth of the answers takes longer than five seconds.
    with While(lambda: ask("tools/call", "no__such-tool"), 0.1), While(slowly, 0, 80):
        fires("GgendErrorRatio")
        fires("GgendSlow")
    with While(ask, 0.01):
        clears("GgendErrorRatio")
        clears("GgendSlow")


def dropped():
    def flood():
        client = Client()
        for _ in range(1500):
            client.ask("tools/call", "good__echo", {"message": "x"})

    daemon.reads.clear()
    together(*[flood] * 4)
    daemon.reads.set()
    fires("GgendLogLinesDropped")
    clears("GgendLogLinesDropped")


def files():
    open_ones = []

    def fill():
        for connection in [one for one in open_ones if gone(one)]:
            open_ones.remove(connection)
            connection.close()
        while len(open_ones) < 2 * CONNECTIONS - 5:
            open_ones.append(socket.create_connection(("127.0.0.1", port), timeout=5))

    with While(fill, 0.2):
        fires("GgendFilesNearlyOut")
    for connection in open_ones:
        connection.close()
    clears("GgendFilesNearlyOut")


def gone(connection):
    try:
        connection.setblocking(False)
        connection.recv(1024)
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True


def silence():
    client = Client()
    for _ in range(50):
        client.ask()
    fires("GgendNoTraffic")
    with While(client.ask, 0.05):
        clears("GgendNoTraffic")


# A minute of the rules is a second here, and an hour not much more. Thresholds stay as they are.
rules = (repository / "packaging/prometheus/alerts.yml").read_text()
rules = re.sub(r"\[(\d+)m\]", lambda match: f"[{max(int(match[1]), 5)}s]", rules)
rules = re.sub(r"for: (\d+)[mh]\b", lambda match: f"for: {min(int(match[1]), 5)}s", rules)
rules = rules.replace("offset 1h", "offset 20s")
(work / "alerts.yml").write_text(rules)
(work / "prometheus.yml").write_text(f"""
global: {{ scrape_interval: 1s, evaluation_interval: 1s }}
rule_files: [{work}/alerts.yml, {work}/panels.yml]
scrape_configs: [{{ job_name: ggend, static_configs: [{{ targets: ["127.0.0.1:{admin}"] }}] }}]
""")
subprocess.run(["promtool", "check", "config", work / "prometheus.yml"], check=True, stdout=subprocess.DEVNULL)
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, max(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
run("mcp", "auth", "generate-ca", "--out", str(work))
certificate(5)
configure()
daemon = Daemon()
prometheus = subprocess.Popen(
    ["prometheus", f"--config.file={work}/prometheus.yml", f"--storage.tsdb.path={work}/tsdb", f"--web.listen-address=127.0.0.1:{web}"],
    stdout=subprocess.DEVNULL, stderr=open(work / "prometheus.log", "w"))
try:
    until("the first scrape", 20, lambda: value('up{job="ggend"} == 1'))
    first = time.monotonic()
    exposition = urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=5).read()
    lint = subprocess.run(["promtool", "check", "metrics"], input=exposition, capture_output=True)
    if lint.returncode or lint.stderr or lint.stdout:
        failures.append("promtool check metrics: " + (lint.stdout + lint.stderr).decode())
    client = Client()
    for victim in ("http-0", "gateway-0"):
        for _ in range(50):
            client.ask()
        kill(victim, signal.SIGKILL)
    until("answers after two deaths", 20, lambda: b'"result"' in client.ask("tools/call", "good__echo", {"message": "x"}))

    together(certificate_expires, crash_loop, hung, late, degraded)
    # One after the other: a flood of quick answers would hide the slow ones.
    errors()
    dropped()
    files()
    silence()
    with While(client.ask, 0.2):
        while time.monotonic() - first < seconds:
            time.sleep(0.2)

    window = f"{int(time.monotonic() - first)}s"
    up = value(f'min_over_time(up{{job="ggend"}}[{window}])')
    if not up or up[0]["value"][1] != "1":
        failures.append(f"the target was not up all the time: {up}")
    counters = [name for name in fetch("/api/v1/label/__name__/values") if re.fullmatch(r"ggend_\w+_(total|count|bucket|sum)", name)]
    for name in counters:
        for series in value(f"resets({name}[{window}]) > 0"):
            failures.append(f"{name} went backwards: {series['metric']}")
    bad = [rule["name"] for group in fetch("/api/v1/rules")["groups"] for rule in group["rules"] if rule["health"] != "ok"]
    if bad:
        failures.append(f"rules do not evaluate: {bad}")
    scrapes = value(f'count_over_time(up{{job="ggend"}}[{window}])')[0]["value"][1]
    series = value('count({__name__=~"ggend_.*"})')[0]["value"][1]
    say(f"{scrapes} scrapes in {window}, {series} series, target up throughout, no reset of {len(counters)} counters, all rules evaluate")

    daemon.stop()
    fires("GgendDown")
    for last in (False, False, True):
        daemon = Daemon()
        # Each start has to be seen by a scrape.
        time.sleep(2)
        if not last:
            daemon.stop()
    fires("GgendRestarted")
    clears("GgendDown")
    clears("GgendRestarted")
    tried = set(re.findall(r'fires\("(\w+)"', pathlib.Path(__file__).read_text()))
    for name in set(re.findall(r"- alert: (\w+)", rules)) - tried:
        failures.append(f"no fault is made for {name}")
finally:
    daemon.reads.set()
    for process in (daemon.process, prometheus):
        if process.poll() is None:
            process.terminate()
            process.wait(60)
for failure in failures:
    print(failure, file=sys.stderr)
print(f"prometheus: {len(tried)} alerts, {len(failures)} failures, {time.monotonic() - began:.0f} s")
sys.exit(bool(failures))
