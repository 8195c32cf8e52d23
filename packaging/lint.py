"""Part of packaging/lint: manifests, container file, assets of the packages."""

import glob
import json
import pathlib
import re
import sys
import tomllib

problems = []
json.loads(pathlib.Path("packaging/mcp.json").read_text())

manifest = tomllib.loads(pathlib.Path("daemon/Cargo.toml").read_text())["package"]["metadata"]
sources = [("daemon/" + source if source.startswith("../") else source) for source, _, _ in manifest["deb"]["assets"]]
sources += [asset["source"] for asset in manifest["generate-rpm"]["assets"]]
for source in sources:
    if not source.startswith("target/") and not glob.glob(source):
        problems.append(f"daemon/Cargo.toml: {source} does not exist")
deb = {str(pathlib.PurePosixPath(target) / pathlib.PurePosixPath(source).name) if target.endswith("/") else target for source, target, _ in manifest["deb"]["assets"]}
for program in ("usr/bin/ggend", "usr/bin/ggen"):
    if program not in deb:
        problems.append(f"the .deb has no {program}")

container = pathlib.Path("packaging/container/Containerfile").read_text()
instructions = re.findall(r"^([A-Z]+) ", container.replace("\\\n", " "), re.M)
known = {"FROM", "WORKDIR", "COPY", "RUN", "USER", "ENV", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT"}
if set(instructions) - known or instructions[0] != "FROM" or instructions.index("USER") > instructions.index("ENTRYPOINT"):
    problems.append("Containerfile: unknown instruction, or it ends as root")
for source in re.findall(r"^COPY (?!--from)(?:--\S+ )*(\S+) ", container, re.M):
    if not pathlib.Path(source).exists():
        problems.append(f"Containerfile: {source} does not exist")

try:
    import yaml
except ImportError:
    print("packaging: PyYAML is not there, the Kubernetes manifest is not looked at")
else:
    kinds = {document["kind"]: document for document in yaml.safe_load_all(pathlib.Path("packaging/kubernetes/ggend.yaml").read_text())}
    json.loads(kinds["ConfigMap"]["data"]["mcp.json"])
    spec = kinds["Deployment"]["spec"]
    pod = spec["template"]["spec"]
    labels = spec["template"]["metadata"]["labels"]
    if any(labels.get(key) != value for key, value in spec["selector"]["matchLabels"].items()):
        problems.append("Deployment: the selector does not fit the pod")
    volumes = {volume["name"] for volume in pod["volumes"]}
    for one in pod["containers"]:
        ports = {port["name"] for port in one["ports"]}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if one[probe]["httpGet"]["port"] not in ports:
                problems.append(f"{probe}: no such port")
        if {mount["name"] for mount in one["volumeMounts"]} != volumes:
            problems.append("mounts and volumes differ")
        if not one["securityContext"]["readOnlyRootFilesystem"] or one["securityContext"]["capabilities"]["drop"] != ["ALL"]:
            problems.append("the container is not closed")
    for document in yaml.safe_load_all(pathlib.Path("packaging/prometheus/scrape.yml").read_text()):
        document["scrape_configs"][0]["static_configs"]

print("\n".join(problems) or "packaging: texts are well-formed, and every file is there")
sys.exit(bool(problems))
