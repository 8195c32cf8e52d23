//! Attacks that are known from other MCP programs, from containers and from programs of root, each by
//! its public report. Those that need root are left out without it.

use crate::known_network::{Attack, raw, rss, run};
use ggend_tests::{sandbox::binary, *};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt, chown, symlink},
        process::CommandExt,
    },
    process::Command,
};

/// Two servers with the tool `reach`, one of which sees one folder.
fn house() -> Daemon {
    let mut daemon = daemon(Value::Null).idle();
    let data = daemon.sandbox.path("data");
    for name in ["shown", "shown-not", "secret"] {
        fs::create_dir_all(data.join(name)).unwrap();
        fs::write(data.join(name).join("file"), "1234567").unwrap();
    }
    symlink(data.join("secret/file"), data.join("shown/link")).unwrap();
    let open = json!({ "command": binary("ggend-fixture"), "args": ["--reach"] });
    let mut walled = open.clone();
    walled["sandbox"] = json!({ "read": [data.join("shown"), "/usr"], "write": [] });
    // Inherited by the daemon, as from a shell.
    let left = fs::File::open("/etc/passwd").unwrap();
    fcntl(&left, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    daemon = daemon.begin(&json!({
        "server": { "workers": 1 },
        "mcpServers": { "open": open, "walled": walled },
    }));
    daemon.until_ready(&["open", "walled"]);
    daemon
}

fn reach(daemon: &Daemon, server: &str, what: &str, target: &str) -> String {
    Client::new(daemon.http, server, Era::Modern)
        .tool("reach", json!({ "what": what, "target": target }))
        .text()
        .to_owned()
}

fn refused(answer: String) -> Result<String, String> {
    if answer.starts_with("refused") {
        Ok(answer)
    } else {
        Err(answer)
    }
}

/// A POST of `initialize` as a page would send it.
fn page(daemon: &Daemon, host: &str, lines: &str) -> Result<String, String> {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"open__reach","arguments":{"what":"identity"}}}"#;
    let text = format!(
        "POST /mcp HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n{lines}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = raw(daemon.http, text.as_bytes());
    let status = answer.get(9..12).unwrap_or_default();
    if ["403", "415"].contains(&status) {
        Ok(status.to_owned())
    } else {
        Err(answer)
    }
}

const MCP: &[Attack] = &[
    (
        "CVE-2025-49596",
        "MCP Inspector: a page calls the daemon at 0.0.0.0",
        |daemon| {
            let port = daemon.http.port();
            let lines = "Origin: https://evil.example\r\nContent-Type: text/plain\r\n";
            page(daemon, &format!("0.0.0.0:{port}"), lines)
        },
    ),
    (
        "CVE-2025-66414",
        "MCP SDKs: another name for loopback (DNS rebinding)",
        |daemon| page(daemon, "evil.example", "Content-Type: application/json\r\n"),
    ),
    (
        "CVE-2025-9611",
        "Playwright MCP: a page of another origin, by the right name",
        |daemon| {
            page(
                daemon,
                "localhost",
                "Origin: http://evil.example\r\nContent-Type: application/json\r\n",
            )
        },
    ),
    (
        "CVE-2025-53366",
        "MCP's Python SDK: requests that are not valid end the server",
        |daemon| {
            let bodies = [
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":5}"#,
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":{"a":1}}}"#,
                r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#,
                r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":[]}}"#,
                r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":7}}"#,
                r#"{"jsonrpc":"2.0","id":1,"result":null,"error":null}"#,
            ];
            let headers = [
                ("content-type", "application/json"),
                ("accept", "application/json, text/event-stream"),
            ];
            for body in bodies {
                let answer =
                    Connection::once(daemon.http, "POST", "/mcp/open", &headers, body.as_bytes());
                let answer = answer.map_err(|error| error.to_string())?;
                if answer.head.status >= 500 {
                    return Err(format!("{body}: {}", answer.head.status));
                }
            }
            if daemon.upstream("open").restarts == 0 {
                Ok("answered".to_owned())
            } else {
                Err("died".to_owned())
            }
        },
    ),
    (
        "CVE-2025-53365",
        "MCP's Python SDK: clients that leave before their answer",
        |daemon| {
            let before = rss(daemon, "gateway-0");
            let body = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
            let text = format!(
                "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            for _ in 0..300 {
                use std::io::Write;
                let mut socket =
                    std::net::TcpStream::connect(daemon.http).map_err(|error| error.to_string())?;
                socket
                    .write_all(text.as_bytes())
                    .map_err(|error| error.to_string())?;
            }
            let grown = rss(daemon, "gateway-0").saturating_sub(before);
            if grown < 16 << 20 {
                Ok(format!("{grown} bytes"))
            } else {
                Err(format!("{grown} bytes"))
            }
        },
    ),
    (
        "CVE-2025-53109",
        "filesystem server: a link out of the folder",
        |daemon| {
            let link = daemon.sandbox.path("data/shown/link");
            refused(reach(
                daemon,
                "walled",
                "read",
                link.to_str().unwrap_or_default(),
            ))
        },
    ),
    (
        "CVE-2025-53110",
        "filesystem server: a folder whose name begins alike",
        |daemon| {
            let other = daemon.sandbox.path("data/shown-not/file");
            refused(reach(
                daemon,
                "walled",
                "read",
                other.to_str().unwrap_or_default(),
            ))
        },
    ),
    (
        "CVE-2019-5736",
        "runc: the daemon's program is written over by way of /proc",
        |daemon| {
            for pid in ["self".to_owned(), daemon.pid.to_string()] {
                refused(reach(
                    daemon,
                    "walled",
                    "write",
                    &format!("/proc/{pid}/exe"),
                ))?;
            }
            let beside = binary("ggend").with_file_name("ggend-test-planted");
            let answer = reach(daemon, "walled", "write", &beside.display().to_string());
            if beside.exists() {
                fs::remove_file(&beside).map_err(|error| error.to_string())?;
            }
            refused(answer)
        },
    ),
    (
        "CVE-2024-21626",
        "runc: a descriptor of the host is left open",
        |daemon| {
            let pid = daemon.upstream("open").pid.ok_or("not there")?;
            let links =
                fs::read_dir(format!("/proc/{pid}/fd")).map_err(|error| error.to_string())?;
            for link in links.flatten() {
                let to = fs::read_link(link.path()).map_err(|error| error.to_string())?;
                let to = to.to_string_lossy();
                let own = ["pipe:", "anon_inode:", "socket:"]
                    .iter()
                    .any(|kind| to.starts_with(kind));
                if !own {
                    return Err(format!("{}: {to}", link.path().display()));
                }
            }
            // What a child of it inherits: three, and the folder that ls reads.
            let inherited = reach(daemon, "open", "run", "ls /proc/self/fd");
            if inherited.split_whitespace().count() == 6 {
                Ok(inherited)
            } else {
                Err(inherited)
            }
        },
    ),
    (
        "CVE-2021-4034",
        "pkexec: a program without a name of its own",
        |daemon| {
            for name in ["ggend", "ggen"] {
                let output = Command::new(binary(name))
                    .arg0("")
                    .env_clear()
                    .arg("--version")
                    .output();
                let output = output.map_err(|error| error.to_string())?;
                if !output.status.success() {
                    return Err(format!("{name}: {}", output.status));
                }
            }
            Ok(daemon.status().version)
        },
    ),
];

#[test]
fn known_attacks_on_mcp_programs_and_containers() {
    let daemon = house();
    run(&daemon, MCP);
    daemon.stop();
}

/// What came of a daemon with this entry, and another one beside it that has to be served.
fn beside(name: &str, entry: Value) -> (Daemon, String) {
    let daemon = daemon(json!({ "mcpServers": { name: entry, "good": fixture(&[]) } })).start();
    daemon.until_ready(&["good"]);
    let row = daemon.until_upstream(name, |row| row.code.is_some());
    let why = row.last_exit.unwrap_or_default();
    (daemon, why)
}

/// sudo took -1 and 4294967295 for "change nothing", and so for root (CVE-2019-14287).
#[test]
fn a_user_of_minus_one_is_nobody() {
    for user in ["-1", "4294967295", "#0", "4294967296"] {
        let mut entry = fixture(&[]);
        entry["sandbox"] = json!({ "user": user });
        let (daemon, why) = beside("odd", entry);
        println!("CVE-2019-14287   sudo: user {user}: {why}");
        assert!(why.contains("user"), "{user}: {why}");
        daemon.stop();
    }
}

/// systemd copied a path of any length to its stack (CVE-2021-33910).
#[test]
fn a_path_without_end_costs_only_its_server() {
    let mut entry = fixture(&[]);
    entry["cwd"] = format!("/{}", "a/".repeat(2_000_000)).into();
    let (daemon, why) = beside("long", entry);
    println!(
        "CVE-2021-33910   systemd: a path of 4 MB: {} bytes said",
        why.len()
    );
    assert!(why.len() < 4_000, "{}", why.len());
    assert!(daemon.log().len() < 16 << 20);
    daemon.stop();
}

/// systemd's journal died of a line that a program wrote (CVE-2018-16864).
#[test]
fn a_line_without_end_on_standard_error_costs_nothing() {
    let flood = "head -c 50000000 /dev/zero | tr '\\0' x >&2; echo >&2; sleep 60";
    let entry = json!({ "command": "sh", "args": ["-c", flood], "startup_timeout": 60_000 });
    let daemon = daemon(json!({ "mcpServers": { "loud": entry, "good": fixture(&[]) } })).start();
    daemon.until_ready(&["good"]);
    let log = until("the line is cut", || {
        let log = daemon.log();
        log.contains("xxxx").then_some(log)
    });
    println!(
        "CVE-2018-16864   systemd: a line of 50 MB: {} bytes in the log",
        log.len()
    );
    assert!(log.len() < 1 << 20, "{}", log.len());
    daemon.stop();
}

/// nginx opened its log as root in a folder of www-data, through a link (CVE-2016-1247).
#[test]
fn root_writes_no_log_through_a_link_of_others() {
    if !root_or_skipped("opens a log as root") {
        return;
    }
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let idle = daemon(Value::Null).idle();
    let (folder, target) = (idle.sandbox.path("logs"), idle.sandbox.path("target"));
    fs::create_dir(&folder).unwrap();
    fs::write(&target, "").unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
    symlink(&target, folder.join("ggend.log")).unwrap();
    let own = (Some(nobody.uid.as_raw()), Some(nobody.gid.as_raw()));
    chown(&folder, own.0, own.1).unwrap();
    let config = json!({ "logging": { "file": { "path": folder.join("ggend.log") } } });
    let daemon = idle.begin(&config);
    let log = daemon.log();
    println!("CVE-2016-1247    nginx: a log of root behind a link: not written");
    assert_eq!(fs::read(&target).unwrap(), b"");
    assert!(log.contains("symbolic link"), "{log}");
    daemon.stop();
}
