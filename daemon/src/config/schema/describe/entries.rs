//! The JSON Schema of an entry of `mcpServers`. Data only.

use super::DAY;
use serde_json::{Value, json};

/// An entry of `mcpServers`. Keys of other clients may stand in it; null means that a key is
/// absent.
pub(super) fn server() -> Value {
    let text = |meaning: &str| json!({"type": ["string", "null"], "description": meaning});
    let texts = |meaning: &str| {
        let one = json!({"type": ["string", "number", "boolean"]});
        json!({"type": ["object", "null"], "additionalProperties": one, "description": meaning})
    };
    let flag = |meaning: &str| json!({"type": ["boolean", "null"], "description": meaning});
    let time = json!({"type": ["integer", "null"], "minimum": 1, "maximum": DAY, "default": 60_000, "description": "Time for one call, in milliseconds."});
    json!({
        "type": "object",
        "properties": {
            "command": {"type": ["string", "array", "object", "null"], "description": "The program of a stdio server, looked up in PATH; also with its arguments, as a list or as one text."},
            "args": {"type": ["array", "null"], "items": {"type": ["string", "number", "boolean"]}, "description": "Its arguments."},
            "env": texts("Its environment, on top of a small clean one."),
            "envFile": text("A file of NAME=value lines; env goes before it."),
            "cwd": text("Its working directory; a relative one is meant from the folder of the file."),
            "type": {"type": ["string", "null"], "examples": ["stdio", "http", "sse"], "description": "How it is reached: stdio (local), http (streamable-http, remote) or sse, the deprecated HTTP+SSE of 2024-11-05. Also called transport or transportType."},
            "url": text("The MCP endpoint of a remote server over Streamable HTTP."),
            "serverUrl": text("The same as url, as Windsurf writes it."),
            "httpUrl": text("The same as url, as Gemini CLI writes it."),
            "headers": texts("Headers sent to it with every request."),
            "enabled": flag("Whether it is served."),
            "disabled": flag("The opposite of enabled."),
            "timeout": time.clone(),
            "timeout_ms": time,
            "startup_timeout": {"type": ["integer", "null"], "minimum": 1, "maximum": DAY, "default": 120_000, "description": "Time from its start until it has answered the handshake, in milliseconds."},
            "max_restarts": {"type": ["integer", "null"], "minimum": 0, "maximum": u32::MAX, "description": "Restarts before it is given up; none: for ever, with backoff."},
            "era": {"enum": ["auto", "legacy", "modern", null], "default": "auto", "description": "Which protocol era it speaks."},
            "protocol_version": {"enum": ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05", null], "description": "The revision that it is offered; none: the newest one that it takes."},
            "isolation": {"enum": ["auto", "shared", "single", "per-session", "per-principal", "per-call", null], "default": "auto", "description": "Which calls may meet in one process of a stdio server, or in one session of a remote one."},
            "stateful": flag("It remembers something from call to call, so that clients do not share it with isolation auto."),
            "sandbox": sandbox()
        },
        "anyOf": [{"required": ["command"]}, {"required": ["url"]}, {"required": ["serverUrl"]}, {"required": ["httpUrl"]}]
    })
}

fn sandbox() -> Value {
    let size = |meaning: &str| json!({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string"}], "description": meaning});
    let paths = |meaning: &str| json!({"type": "array", "items": {"type": "string"}, "description": meaning});
    let number = |meaning: &str| json!({"type": "integer", "minimum": 1, "description": meaning});
    json!({
        "description": "What a stdio server may do less than the daemon; refused where the kernel cannot hold it.",
        "anyOf": [{"enum": [null, false, "none"]}, {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "user": {"type": "string", "description": "The user that it runs as; for daemons that are root or have CAP_SETUID, CAP_SETGID and CAP_KILL."},
                "read": paths("Files and folders that it may read, beside the system's."),
                "write": paths("Files and folders that it may read and write."),
                "network": {"enum": ["full", "none"], "default": "full", "description": "Whether it reaches the network."},
                "unix_sockets": {"type": "boolean", "default": false, "description": "Whether it may make Unix sockets although read, write or network confine it."},
                "limits": {
                    "type": "object",
                    "additionalProperties": false,
                    "properties": {
                        "memory": size("Memory of one process for its data, in bytes or as text such as 512M."),
                        "cpu_seconds": number("Processor time of one process."),
                        "open_files": number("Descriptors of one process."),
                        "processes": number("Processes and threads of its user; needs user."),
                        "file_size": size("Largest file that it may write."),
                        "family": {
                            "type": "object",
                            "additionalProperties": false,
                            "properties": {
                                "memory": size("Memory of the server and whatever it starts, together."),
                                "processes": number("Processes and threads of the server and whatever it starts."),
                                "cpu_percent": number("Processor time of all of them; 100 is one processor.")
                            }
                        }
                    }
                }
            }
        }]
    })
}
