"""Starts ggend and Prometheus, makes faults, and asks Prometheus what it saw. usage: watch.py WORK GGEND FIXTURE SECONDS REPOSITORY"""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request

work, ggend, fixture, seconds, repository = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), pathlib.Path(sys.argv[5])
ggen = str(pathlib.Path(ggend).with_name("ggen"))


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


http, admin, web = free_port(), free_port(), free_port()
environment = {**os.environ, "HOME": str(work), "GGEN_RUNTIME_DIR": str(work / "run"), "GGEN_STATE_DIR": str(work / "state")}
environment.pop("NOTIFY_SOCKET", None)
healthy = {"command": fixture}
broken = {"command": "sh", "args": ["-c", "exit 1"]}


def configure(servers):
    (work / "mcp.json").write_text(json.dumps({
        "transports": {"http": {"port": http}}, "metrics": {"port": admin}, "server": {"workers": 2}, "mcpServers": servers}))


# A minute of the rules is a second here, and so are an hour's. Thresholds stay, but for one that counts requests in a window.
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
configure({"good": healthy})
daemon = subprocess.Popen([ggend, "--config", work / "mcp.json"], env=environment, cwd=work, stdout=subprocess.PIPE, stderr=open(work / "log", "w"))
assert daemon.stdout.readline().startswith(b"ggend "), (work / "log").read_text()
prometheus = subprocess.Popen(
    ["prometheus", f"--config.file={work}/prometheus.yml", f"--storage.tsdb.path={work}/tsdb", f"--web.listen-address=127.0.0.1:{web}"],
    stdout=subprocess.DEVNULL, stderr=open(work / "prometheus.log", "w"))
failures = []


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


def ask(method="tools/list", name=None):
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2026-07-28",
               "Mcp-Method": method, **({"Mcp-Name": name} if name else {})}
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": meta, **({"name": name, "arguments": {}} if name else {})}}
    request = urllib.request.Request(f"http://127.0.0.1:{http}/mcp", json.dumps(body).encode(), headers)
    try:
        urllib.request.urlopen(request, timeout=5).read()
    except OSError:
        pass


def worker(name):
    status = json.loads(subprocess.run([ggen, "--json", "mcp", "server", "status"], env=environment, cwd=work, capture_output=True).stdout)
    return next(worker["pid"] for worker in status["workers"] if worker["name"] == name)


def reload(servers):
    configure(servers)
    subprocess.run([ggen, "mcp", "server", "reload"], env=environment, cwd=work, check=True, stdout=subprocess.DEVNULL)


def alert(name, make, mend, limit=30):
    make()
    if until(f"{name} fires", limit, lambda: name in firing()):
        mend()
        if until(f"{name} clears", limit + 15, lambda: name not in firing()):
            print(f"  ok: {name} fires and clears", flush=True)


began = time.monotonic()
try:
    until("the first scrape", 20, lambda: value('up{job="ggend"} == 1'))
    exposition = urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=5).read()
    lint = subprocess.run(["promtool", "check", "metrics"], input=exposition, capture_output=True)
    if lint.returncode or lint.stderr or lint.stdout:
        failures.append("promtool check metrics: " + (lint.stdout + lint.stderr).decode())
    for _ in range(50):
        ask()
    os.kill(worker("http-0"), signal.SIGKILL)
    for _ in range(50):
        ask()
    os.kill(worker("gateway-0"), signal.SIGKILL)

    alert("GgendUpstreamCrashLoop", lambda: reload({"good": healthy, "bad": {**broken}}), lambda: None, 40)
    alert("GgendUpstreamDown", lambda: None, lambda: reload({"good": healthy}))
    stopped = worker("http-1")
    alert("GgendWorkerHung", lambda: os.kill(stopped, signal.SIGSTOP), lambda: None)

    def errors():
        for _ in range(12):
            for _ in range(10):
                ask("tools/call", "no__such-tool")
            time.sleep(0.5)

    alert("GgendErrorRatio", errors, lambda: [ask() for _ in range(200)])
    while time.monotonic() - began < seconds:
        ask()
        time.sleep(0.2)

    window = f"{int(time.monotonic() - began)}s"
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
    print(f"  ok: {scrapes} scrapes in {window}, {series} series, target up throughout, no counter reset, rules evaluate", flush=True)

    os.kill(daemon.pid, signal.SIGTERM)
    daemon.wait(60)
    if until("GgendDown fires", 20, lambda: "GgendDown" in firing()):
        print("  ok: GgendDown fires when the daemon is stopped")
finally:
    for process in (daemon, prometheus):
        if process.poll() is None:
            process.terminate()
            process.wait(60)
for failure in failures:
    print(failure, file=sys.stderr)
print(f"prometheus: {len(failures)} failures, {time.monotonic() - began:.0f} s")
sys.exit(bool(failures))
