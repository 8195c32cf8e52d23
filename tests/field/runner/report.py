"""The figures of a run, its summary, and docs/compatibility.md."""

import re

from .catalogue import ROOT

PAGE = ROOT / "docs/compatibility.md"
WAYS = ("own legacy", "own modern", "merged legacy", "merged modern")
LANGUAGE = {"npm": "Node", "pypi": "Python", "crates": "Rust"}
# Exceptions: servers whose answers differ between two direct runs, too.
MOST_EXCEPTIONS = 2


def figures(daemon, servers: int, waiting: int) -> dict:
    """What it cost to start all of them in one daemon."""
    own, every = daemon.memory()
    line = (
        f"{servers - waiting} of {servers} ready after {daemon.took:.0f} s, load {daemon.peak_load:.1f} at most, "
        f"ggend {own} MiB, with all servers {every} MiB"
    )
    return {"line": line, "servers": servers, "seconds": round(daemon.took), "load": round(daemon.peak_load), "own": own, "every": every}


def add_ends(figures: dict, daemon, results: list) -> None:
    """Which servers ended. Those that end at the probe do so once; everything else is wrong."""
    exits = {label: int(count) for label, count in daemon.counters("ggend_upstream_exits_total").items() if count}
    allowed = [f'{{reason="exit",upstream="{result.server.name}"}}' for result in results if result.ends_at_probe]
    figures["wrong_ends"] = [f"{label} {count}" for label, count in exits.items() if count > 1 or label not in allowed]
    figures["line"] += f"; {sum(exits.values())} ended at the probe, {len(figures['wrong_ends'])} otherwise"


def row(result, sdk: str) -> dict:
    """One line of the table."""
    server, seen = result.server, result.direct
    entry = {
        "name": server.package, "entry": server.name, "version": server.version, "language": LANGUAGE[server.registry],
        "sdk": sdk, "failed": result.failed, "varies": result.varies, "notes": result.notes,
        "differences": {way: found for way, found in result.ways.items() if found},
        "answer_differences": {way: found for way, found in result.answers.items() if found},
    }  # fmt: skip
    if seen:
        entry |= {"era": seen.era, "revision": seen.version, "counts": {kind: len(items) for kind, items in seen.lists.items()}}
        names = {"call": server.call.tool if server.call else "", "read": "a resource", "prompt": "a prompt"}
        entry["answers"] = {name: names[name] for name in seen.answers}
    return entry


def is_equal(row: dict) -> bool:
    return not (row["failed"] or row["differences"] or row["answer_differences"])


def write_page(rows: list[dict], figures: dict) -> None:
    """docs/compatibility.md."""
    equal = sum(map(is_equal, rows))
    lines = [
        "# Compatibility with servers",
        "",
        "Written by `tests/field/run`, never by hand: it installs these servers by name and version, talks to each with the",
        "official Python client directly, and through one ggend that has all of them and otherwise the defaults: in the view",
        "of the server (`/mcp/<server>`) and in that of all servers (`/mcp`), as a legacy and as a modern client. Compared are",
        "all tools, prompts, resources and templates with their whole definitions, the first resource and a prompt, and a call",
        "where a server has one that needs no account and no network. What ggend changes on purpose is undone first: names in",
        "the merged view, schemas without a type, members that are null, repeated items.",
        "",
        f"**{equal} of {len(rows)} are the same in every way.** All in one daemon, on two cores that had other work as well: {figures['line']}.",
        "",
        "Era: what the server speaks when it is asked directly. *legacy (ends)*: it ends when it is asked for the modern era",
        "first, and is started again. T, P, R: tools, prompts, resources with templates.",
        "",
        "| server | version | language | SDK | era | T / P / R | own: legacy, modern | merged: legacy, modern | the same answers |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [page_row(row) for row in rows]
    notes = [note for row in rows for note in notes_of(row)]
    if notes:
        lines += ["", "## Notes", *notes]
    PAGE.write_text("\n".join(lines) + "\n")


def page_row(row: dict) -> str:
    counts = row.get("counts", {})
    sizes = f"{counts.get('tools', '–')} / {counts.get('prompts', '–')} / {counts.get('resources', 0) + counts.get('templates', 0)}"
    era = re.sub(r", ends.*", " (ends)", row.get("era", "–"))
    wrong = [line for found in row["answer_differences"].values() for line in found]
    answers = ", ".join(
        (f"`{what}`" if name == "call" else what) + (" no" if any(line.startswith(f"{name}:") for line in wrong) else "")
        for name, what in row.get("answers", {}).items()
    )

    def ways(view: str) -> str:
        if row["failed"]:
            return "no"
        return ", ".join("no" if f"{view} {client}" in row["differences"] else "yes" for client in ("legacy", "modern"))

    cells = [f"`{row['name']}`", row["version"], row["language"], row["sdk"] or "–", era, sizes, ways("own"), ways("merged"), answers or "–"]
    return "| " + " | ".join(cells) + " |"


def notes_of(row: dict) -> list[str]:
    notes = [f"* `{row['entry']}`: the Python client {note}, and takes them through ggend." for note in row["notes"]]
    if row["failed"]:
        notes.append(f"* `{row['entry']}`: {row['failed']}")
    wrong = row["differences"] | row["answer_differences"]
    if wrong:
        again = " It differs between two direct runs, too." if row["varies"] else ""
        notes.append(f"* `{row['entry']}`, {', '.join(wrong)}: {next(iter(wrong.values()))[0]}.{again}")
    return notes


def summary(results: list, broken: dict, figures: dict, seconds: float) -> int:
    """Prints what was not equal, and the sum as CI reads it; the exit status."""
    for result in results:
        for way, found in [*result.ways.items(), *result.answers.items()]:
            for line in found[:5]:
                print(f"UNEQUAL {result.server.name}, {way}: {line}" + (" (varies directly, too)" if result.varies else ""))
        if result.failed:
            print(f"FAILED {result.server.name}: {result.failed}")
    for refusal in figures["refusals"]:
        print(f"REFUSED {refusal}")
    for end in figures["wrong_ends"]:
        print(f"ENDED {end}")
    exceptions = [result for result in results if not result.equal and result.varies and not result.failed]
    failed = [result for result in results if not result.equal and result not in exceptions]
    passed = sum(result.equal for result in results)
    if len(exceptions) > MOST_EXCEPTIONS:
        failed += exceptions
    print(f"{figures['line']}; {seconds:.0f} s in all")
    passed += sum(one not in failed for one in exceptions)
    wrong = len(failed) + len(broken) + len(figures["refusals"]) + len(figures["wrong_ends"])
    print(f"{passed} passed, {wrong} failed")
    return 1 if wrong else 0
