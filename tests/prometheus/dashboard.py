"""Checks packaging/prometheus/dashboard.json: its shape, that its metrics are those of docs/metrics.md with labels that they have, that nothing overlaps,
and that every expression is one that promtool takes. usage: dashboard.py [--expressions FILE] (writes them as recording rules for promtool)."""

import json
import pathlib
import re
import sys

root = pathlib.Path(__file__).resolve().parents[2]
board = json.loads((root / "packaging/prometheus/dashboard.json").read_text())
known = {}
for line in (root / "docs/metrics.md").read_text().splitlines():
    if match := re.match(r"\| `(ggend_\w+)` \|([^|]*)\|", line):
        known[match[1]] = {label.strip() for label in match[2].split(",") if label.strip()}
common = {"job", "instance", "le"}
problems, expressions, ids, cells = [], [], set(), set()


def names(expression):
    for name in re.findall(r"\bggend_\w+", expression):
        yield name, re.sub(r"_(bucket|count|sum)$", "", name) if name not in known else name


for panel in board["panels"]:
    title = panel["title"]
    if panel["id"] in ids:
        problems.append(f"{title}: id {panel['id']} is taken")
    ids.add(panel["id"])
    at = panel["gridPos"]
    own = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
    if own & cells or at["x"] + at["w"] > 24:
        problems.append(f"{title}: overlaps or sticks out")
    cells |= own
    if panel["type"] == "row":
        continue
    if not panel.get("description") or not panel["fieldConfig"]["defaults"].get("unit"):
        problems.append(f"{title}: no description or no unit")
    if panel["datasource"]["uid"] != "${datasource}":
        problems.append(f"{title}: a fixed data source")
    for target in panel["targets"]:
        expression = target["expr"]
        expressions.append(expression)
        labels = set()
        for name, base in names(expression):
            if base not in known:
                problems.append(f"{title}: {name} is not in docs/metrics.md")
            labels |= known.get(base, set())
        used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        used |= {label.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(",")}
        if used - labels - common:
            problems.append(f"{title}: no such label: {', '.join(sorted(used - labels - common))}")

for rule in re.findall(r"\bggend_\w+", (root / "packaging/prometheus/alerts.yml").read_text()):
    base = re.sub(r"_(bucket|count|sum)$", "", rule)
    if rule not in known and base not in known:
        problems.append(f"alerts.yml: {rule} is not in docs/metrics.md")

runbook = (root / "docs/operate.md").read_text()
for alert in re.findall(r"- alert: (\w+)", (root / "packaging/prometheus/alerts.yml").read_text()):
    if f"### {alert}\n" not in runbook:
        problems.append(f"docs/operate.md has nothing about {alert}")

if sys.argv[1:2] == ["--expressions"]:
    rules = []
    for number, expression in enumerate(expressions):
        plain = expression.replace("$__rate_interval", "5m").replace("$job", "ggend").replace("$instance", ".*")
        rules.append({"record": f"panel:{number}", "expr": plain})
    pathlib.Path(sys.argv[2]).write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
for problem in problems:
    print(problem, file=sys.stderr)
print(f"dashboard: {len(board['panels'])} panels, {len(expressions)} expressions, {len(problems)} problems")
sys.exit(bool(problems))
