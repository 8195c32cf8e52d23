"""Makes a server for npx and one for uvx, both without anything from a registry. usage: make.py FOLDER → FOLDER/npx-server.tgz, FOLDER/*.whl"""

import base64
import hashlib
import json
import pathlib
import sys
import tarfile
import zipfile

folder = pathlib.Path(sys.argv[1])
package = folder / "npx-server"
package.mkdir()
(package / "package.json").write_text(json.dumps({"name": "npx-server", "version": "1.0.0", "bin": {"npx-server": "server.js"}}))
(package / "server.js").write_text("""#!/usr/bin/env node
const answer = (id, result) => process.stdout.write(JSON.stringify({ jsonrpc: '2.0', id, result }) + '\\n');
require('readline').createInterface({ input: process.stdin }).on('line', (line) => {
  const { id, method, params } = JSON.parse(line);
  if (id === undefined) return;
  if (method === 'initialize')
    answer(id, { protocolVersion: '2025-06-18', capabilities: { tools: {} }, serverInfo: { name: 'npx-server', version: '1' } });
  else if (method === 'tools/list') answer(id, { tools: [{ name: 'node', inputSchema: { type: 'object' } }] });
  else if (method === 'tools/call') answer(id, { content: [{ type: 'text', text: 'node ' + process.version }] });
  else process.stdout.write(JSON.stringify({ jsonrpc: '2.0', id, error: { code: -32601, message: 'no such method' } }) + '\\n');
});
""")
(package / "server.js").chmod(0o755)
with tarfile.open(folder / "npx-server.tgz", "w:gz") as tar:
    tar.add(package, "package")

program = """import json, platform, sys
def main():
    for line in sys.stdin:
        message = json.loads(line)
        method, reply = message.get("method"), {"jsonrpc": "2.0", "id": message.get("id")}
        if "id" not in message:
            continue
        if method == "initialize":
            reply["result"] = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "uvx-server", "version": "1"}}
        elif method == "tools/list":
            reply["result"] = {"tools": [{"name": "python", "inputSchema": {"type": "object"}}]}
        elif method == "tools/call":
            reply["result"] = {"content": [{"type": "text", "text": "python " + platform.python_version()}]}
        else:
            reply["error"] = {"code": -32601, "message": "no such method"}
        print(json.dumps(reply), flush=True)
"""
info = "uvx_server-1.0.0.dist-info"
members = {
    "uvx_server.py": program,
    f"{info}/METADATA": "Metadata-Version: 2.1\nName: uvx-server\nVersion: 1.0.0\n",
    f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    f"{info}/entry_points.txt": "[console_scripts]\nuvx-server = uvx_server:main\n",
}


def line(name, text):
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(text.encode())}\n"


members[f"{info}/RECORD"] = "".join(line(name, text) for name, text in members.items()) + f"{info}/RECORD,,\n"
with zipfile.ZipFile(folder / "uvx_server-1.0.0-py3-none-any.whl", "w") as wheel:
    for name, text in members.items():
        wheel.writestr(name, text)
