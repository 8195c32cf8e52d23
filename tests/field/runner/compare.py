"""Whether two observations of one server are equal, once the documented changes of ggend are undone:

* names in the merged view (mcp/src/protocol/name.rs): tools and prompts are `<server>__<name>`, addresses
  `<server>+<uri>`, those of MCP Apps `ui://<server>+…`;
* repairs (mcp/src/upstream/repair.rs): members of an item that are null are left out, a schema without a type is
  one of an object, a repeated item is listed once;
* between the eras (mcp/src/translation): a tool of a legacy server has no `execution` for modern clients, who get
  its tasks by the extension.
"""

import base64
import copy
import hashlib
import re

from .observe import KEY, KINDS, Seen

LONGEST = 64


def exposed(server: str, kind: str, name: str) -> str:
    """The name of an item in the merged view."""
    if kind in ("resources", "templates"):
        return f"ui://{server}+{name[5:]}" if name.startswith("ui://") else f"{server}+{name}"
    clean = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    whole = f"{server}__{clean}"
    if len(whole) <= LONGEST and clean == name:
        return whole
    digest = hashlib.sha256(f"{server}\0{name}".encode()).digest()
    return f"{whole[: LONGEST - 9]}_{base64.b32encode(digest).decode().lower()[:8]}"


def repaired(kind: str, items: list[dict]) -> list[dict]:
    """A server's own list as ggend offers it."""
    result, keys = [], set()
    for item in items:
        item = {member: value for member, value in item.items() if value is not None}
        if kind == "tools":
            item.setdefault("inputSchema", {})
            for schema in ("inputSchema", "outputSchema"):
                if schema in item and item[schema].get("type") is None:
                    item[schema] = {**item[schema], "type": "object"}
        if item[KEY[kind]] not in keys:
            keys.add(item[KEY[kind]])
            result.append(item)
    return result


def renamed(server: str, kind: str, items: list[dict]) -> list[dict]:
    """A server's own list as it stands in the merged view."""
    items = copy.deepcopy(items)
    for item in items:
        item[KEY[kind]] = exposed(server, kind, item[KEY[kind]])
        meta = item.get("_meta") or {}
        if kind == "tools":
            for holder, member in ((meta.get("ui"), "resourceUri"), (meta, "ui/resourceUri"), (meta, "openai/outputTemplate")):
                if isinstance(holder, dict) and str(holder.get(member, "")).startswith("ui://"):
                    holder[member] = exposed(server, "resources", holder[member])
    return items


def owned(server: str, kind: str, items: list[dict]) -> list[dict]:
    """What of the merged view is a server's."""
    marks = (f"{server}__",) if kind in ("tools", "prompts") else (f"{server}+", f"ui://{server}+")
    return [item for item in items if item[KEY[kind]].startswith(marks)]


def differences(direct: Seen, through: Seen, server: str = "") -> list[str]:
    """How what was seen through ggend differs from what was seen directly; `server`: in the merged view."""
    found = []
    for kind in KINDS:
        mine, theirs = repaired(kind, direct.lists.get(kind, [])), through.lists.get(kind, [])
        if through.era == "modern" and direct.era != "modern":
            mine = [{member: value for member, value in item.items() if member != "execution"} for item in mine]
        if server:
            mine, theirs = renamed(server, kind, mine), owned(server, kind, theirs)
        found += of_lists(kind, mine, theirs)
        if not is_absent(kind, through) and kind in through.refused and not (kind in direct.refused and not theirs):
            found.append(f"{kind}: the client refuses the list: {through.refused[kind]}")
    return found


def is_absent(kind: str, seen: Seen) -> bool:
    """Whether there is no such list, which is the same as an empty one."""
    return seen.refused.get(kind, "").startswith("[-32601]") and not seen.lists[kind]


def of_lists(kind: str, mine: list[dict], theirs: list[dict]) -> list[str]:
    here, there = ({item[KEY[kind]]: item for item in items} for items in (mine, theirs))
    found = [f"{kind}: {name} is missing" for name in here if name not in there]
    found += [f"{kind}: {name} is not the server's" for name in there if name not in here]
    unequal = [name for name in here if name in there and here[name] != there[name]]
    for name in unequal[:1]:
        found.append(f"{kind}: {len(unequal)} differ, {name} at {where(here[name], there[name])}")
    if not found and list(here) != list(there):
        found.append(f"{kind}: the order differs")
    return found


def of_answers(direct: Seen, through: Seen, server: str = "") -> list[str]:
    """How answers differ; addresses in them are those of the merged view there."""
    found = []
    for name, mine in direct.answers.items():
        theirs = through.answers.get(name, {"error": "not tried"})
        if server:
            mine = with_exposed_addresses(server, mine)
        if mine == theirs:
            continue
        error = theirs.get("error")
        found.append(f"{name}: {error}" if error else f"{name}: differs at {where(mine, theirs)}")
    return found


def with_exposed_addresses(server: str, answer: dict) -> dict:
    """An answer as it comes in the merged view."""
    answer = copy.deepcopy(answer)
    blocks = [*answer.get("content", []), *(message.get("content", {}) for message in answer.get("messages", []))]
    linked = [block.get("resource", block) for block in blocks if block.get("type") in ("resource", "resource_link")]
    for holder in [*answer.get("contents", []), *linked]:
        if "uri" in holder:
            holder["uri"] = exposed(server, "resources", holder["uri"])
    return answer


def where(one: object, two: object, path: str = "") -> str:
    """The first place where two values differ."""
    if isinstance(one, dict) and isinstance(two, dict):
        for key in [*one, *two]:
            if one.get(key, "∅") != two.get(key, "∅"):
                return where(one.get(key, "∅"), two.get(key, "∅"), f"{path}.{key}")
    if isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        for at, (left, right) in enumerate(zip(one, two)):
            if left != right:
                return where(left, right, f"{path}[{at}]")
    return f"{path or '.'}: {str(one)[:160]!r} directly, {str(two)[:160]!r} through ggend"
