//! `mcpServers.<name>.sandbox`: what each part of it refuses a real server, that a limit costs only
//! the server that has it, and that what cannot be held refuses the server instead of being
//! forgotten.

use ggen_wire::{Code, status::UpstreamState};
use ggend_tests::{sandbox::binary, *};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt};

/// A fixture with the tool `reach` and this sandbox.
fn walled(sandbox: Value) -> Value {
    json!({ "command": binary("ggend-fixture"), "args": ["--reach"], "sandbox": sandbox })
}

/// What came of a try.
#[track_caller]
fn reach(daemon: &Daemon, server: &str, arguments: Value) -> String {
    Client::new(daemon.http, server, Era::Modern)
        .tool("reach", arguments)
        .text()
        .to_owned()
}

#[test]
fn files_that_are_not_named_are_refused_and_named_ones_are_not() {
    let mut daemon = daemon(Value::Null).idle();
    let data = daemon.sandbox.path("data");
    for name in ["shown", "kept", "secret"] {
        fs::create_dir_all(data.join(name)).unwrap();
        fs::write(data.join(name).join("file"), "1234567").unwrap();
    }
    let (shown, kept, secret) = (data.join("shown"), data.join("kept"), data.join("secret"));
    let servers = json!({ "walled": walled(json!({ "read": [shown], "write": [kept] })), "open": walled(Value::Null) });
    daemon = daemon.begin(&json!({ "mcpServers": servers }));
    daemon.until_ready(&["walled", "open"]);
    let file = |folder: &std::path::Path| folder.join("file").display().to_string();
    let tried = |server: &str, what: &str, folder: &std::path::Path| {
        reach(
            &daemon,
            server,
            json!({ "what": what, "target": file(folder) }),
        )
    };
    assert_eq!(tried("walled", "read", &shown), "done 7");
    assert_eq!(tried("walled", "read", &kept), "done 7");
    assert_eq!(tried("walled", "write", &kept), "done ");
    for (what, folder) in [("read", &secret), ("write", &secret), ("write", &shown)] {
        assert!(
            tried("walled", what, folder).starts_with("refused: Permission denied"),
            "{what} {}",
            folder.display()
        );
    }
    // Without a sandbox the same server does all of that.
    for (what, folder) in [("read", &secret), ("write", &secret), ("write", &shown)] {
        assert!(
            tried("open", what, folder).starts_with("done"),
            "{what} {}",
            folder.display()
        );
    }
    daemon.stop();
}

#[test]
fn without_network_there_is_neither_tcp_nor_udp() {
    let daemon = daemon(json!({ "mcpServers": { "walled": walled(json!({ "network": "none" })), "open": walled(Value::Null) } })).start();
    daemon.until_ready(&["walled", "open"]);
    let target = daemon.http.to_string();
    for what in ["tcp", "udp"] {
        assert!(
            reach(&daemon, "walled", json!({ "what": what, "target": target }))
                .starts_with("refused: Permission denied"),
            "{what}"
        );
        assert!(
            reach(&daemon, "open", json!({ "what": what, "target": target })).starts_with("done"),
            "{what}"
        );
    }
    daemon.stop();
}

#[test]
fn a_limit_costs_only_the_server_that_has_it() {
    let limits = json!({ "memory": "160MB", "cpu_seconds": 2, "open_files": 40 });
    let servers =
        json!({ "walled": walled(json!({ "limits": limits })), "good": walled(Value::Null) });
    let daemon = daemon(json!({ "mcpServers": servers })).start();
    daemon.until_ready(&["walled", "good"]);
    let good = daemon.upstream("good").pid;
    assert!(
        reach(&daemon, "walled", json!({ "what": "files", "count": 100 }))
            .starts_with("refused: Too many open files")
    );
    assert!(reach(&daemon, "good", json!({ "what": "files", "count": 100 })).starts_with("done"));
    for (number, arguments) in [
        json!({ "what": "memory", "count": 400 << 20 }),
        json!({ "what": "spin" }),
    ]
    .into_iter()
    .enumerate()
    {
        let reply =
            Client::new(daemon.http, "walled", Era::Modern).tool("reach", arguments.clone());
        assert!(
            reply.response().raw.contains("GGEN-E2102"),
            "{arguments}: {}",
            reply.response().raw
        );
        let back = daemon.until_upstream("walled", |row| {
            row.restarts > number as u64 && row.state == UpstreamState::Ready
        });
        assert!(back.last_exit.unwrap().contains("killed by signal"));
    }
    assert!(
        reach(
            &daemon,
            "good",
            json!({ "what": "memory", "count": 400 << 20 })
        )
        .starts_with("done")
    );
    let row = daemon.upstream("good");
    assert_eq!(
        (row.pid, row.restarts, row.state),
        (good, 0, UpstreamState::Ready)
    );
    daemon.stop();
}

#[test]
fn a_server_runs_as_its_own_user_and_with_so_many_processes() {
    if !nix::unistd::geteuid().is_root() {
        let daemon =
            daemon(json!({ "mcpServers": { "walled": walled(json!({ "user": "root" })) } }))
                .start();
        let row = daemon.until_upstream("walled", |row| row.code.is_some());
        assert_eq!(
            (row.code, row.state),
            (Some(Code::SandboxUnavailable), UpstreamState::Stopped)
        );
        daemon.stop();
        let _ = root_or_skipped("becomes another user; that it is refused was tried");
        return;
    }
    // Where every user may go.
    let place = tempfile::Builder::new()
        .prefix("ggend-test-")
        .tempdir_in("/tmp")
        .unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = place.path().join("server");
    fs::copy(binary("ggend-fixture"), &program).unwrap();
    let entry = json!({ "command": program, "args": ["--reach"], "cwd": "/", "sandbox": { "user": "games", "limits": { "processes": 10 } } });
    let daemon =
        daemon(json!({ "mcpServers": { "walled": entry, "good": walled(Value::Null) } })).start();
    daemon.until_ready(&["walled", "good"]);
    let games = nix::unistd::User::from_name("games").unwrap().unwrap();
    let identity = reach(&daemon, "walled", json!({ "what": "identity" }));
    assert_eq!(
        identity,
        format!("done {} {}", games.uid, games.dir.display())
    );
    assert!(
        reach(
            &daemon,
            "walled",
            json!({ "what": "processes", "count": 40 })
        )
        .starts_with("refused: Resource temporarily unavailable")
    );
    assert!(
        reach(&daemon, "good", json!({ "what": "processes", "count": 40 })).starts_with("done")
    );
    let pid = daemon.upstream("walled").pid.unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    for line in [
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "Groups:\t",
    ] {
        assert!(status.contains(line), "{line} in {status}");
    }
    daemon.stop();
}

#[test]
fn what_cannot_be_held_refuses_the_server_and_no_other() {
    let servers = json!({
        "files": walled(json!({ "read": ["/usr"] })),
        "network": walled(json!({ "network": "none" })),
        "nobody": walled(json!({ "user": "nobody-of-that-name" })),
        "nowhere": walled(json!({ "write": ["/no/such/folder"] })),
        "good": fixture(&[]),
    });
    let older = ["ggend-fixture", "without", "--landlock", "--seccomp"];
    let without = daemon(json!({ "mcpServers": servers })).by(&older).start();
    without.until_ready(&["good"]);
    for name in ["files", "network", "nobody", "nowhere"] {
        let row = without.until_upstream(name, |row| row.code.is_some());
        assert_eq!(
            (row.code, row.state),
            (Some(Code::SandboxUnavailable), UpstreamState::Stopped),
            "{name}: {row:?}"
        );
        assert!(
            row.last_exit.unwrap().contains("its sandbox cannot be had"),
            "{name}"
        );
    }
    without.stop();
    // With the kernel as it is, only those are refused that ask for what nobody has.
    let daemon = daemon(json!({ "mcpServers": servers })).start();
    daemon.until_ready(&["good", "files", "network"]);
    for name in ["nobody", "nowhere"] {
        daemon.until_upstream(name, |row| row.code == Some(Code::SandboxUnavailable));
    }
    daemon.stop();
}

#[test]
fn a_confined_server_makes_no_unix_socket_but_connected_pairs() {
    let sandboxes = [
        ("files", json!({ "write": [] })),
        ("network", json!({ "network": "none" })),
        (
            "allowed",
            json!({ "network": "none", "unix_sockets": true }),
        ),
        ("limits", json!({ "limits": { "open_files": 100 } })),
    ];
    let servers: serde_json::Map<_, _> = sandboxes
        .into_iter()
        .map(|(name, sandbox)| (name.to_owned(), walled(sandbox)))
        .collect();
    let daemon = daemon(json!({ "mcpServers": servers })).start();
    let names = ["files", "network", "allowed", "limits"];
    daemon.until_ready(&names);
    let socket = daemon.sandbox.socket();
    let tried = |server: &str, what: &str| {
        reach(&daemon, server, json!({ "what": what, "target": socket }))
    };
    for server in names {
        // Python and Node make such pairs for their children.
        assert!(tried(server, "unix-pair").starts_with("done"), "{server}");
        let free = ["allowed", "limits"].contains(&server);
        assert_eq!(tried(server, "unix").starts_with("done"), free, "{server}");
        let datagrams = tried(server, "datagram-pair");
        let refused = datagrams.starts_with("refused: Permission denied");
        assert_eq!(refused, !free, "{server}: {datagrams}");
    }
    daemon.stop();
}

#[test]
fn no_server_operates_the_daemon() {
    let daemon = daemon(json!({ "mcpServers": {
        "open": walled(Value::Null),
        "sockets": walled(json!({ "network": "none", "unix_sockets": true })),
    } }))
    .start();
    daemon.until_ready(&["open", "sockets"]);
    let ggen = format!(
        "{} --socket {}",
        binary("ggen").display(),
        daemon.sandbox.socket().display()
    );
    let said = daemon.sandbox.path("tmp/said");
    let verbs = [
        "mcp server stop".to_owned(),
        "mcp server reload".to_owned(),
        "mcp server restart --server open".to_owned(),
        "mcp test explain-code".to_owned(),
        format!("mcp server upgrade --binary {}", binary("ggend").display()),
    ];
    for server in ["open", "sockets"] {
        for verb in &verbs {
            let line = format!("{ggen} {verb}");
            let answer = reach(&daemon, server, json!({ "what": "run", "target": line }));
            assert!(answer.contains("GGEN-E6002"), "{server} {verb}: {answer}");
            // Reading is not operating.
            let line = format!("{ggen} mcp server status --json");
            let answer = reach(&daemon, server, json!({ "what": "run", "target": line }));
            assert!(answer.starts_with("done 0 "), "{answer}");
        }
    }
    // Out of its process group and session, and an orphan.
    let orphan = format!(
        "(setsid {ggen} mcp server stop > {said} 2>&1 &); sleep 0.1; while ! grep -q GGEN {said}; do sleep 0.1; done; cat {said}",
        said = said.display()
    );
    let answer = reach(&daemon, "open", json!({ "what": "run", "target": orphan }));
    assert!(answer.contains("GGEN-E6002"), "{answer}");
    fs::remove_file(&said).unwrap();
    assert!(
        daemon
            .status()
            .upstreams
            .iter()
            .all(|row| row.restarts == 0)
    );
    // Whoever is not below the daemon operates it as before, by the same user.
    assert_eq!(daemon.ggen(&["mcp", "server", "reload"]).code, 0);
    daemon.stop();
}

/// A file in `/etc/ggen`, until it is dropped.
struct Planted {
    file: std::path::PathBuf,
    made: bool,
}

impl Planted {
    fn new() -> Self {
        let folder = std::path::Path::new("/etc/ggen");
        let made = !folder.exists();
        fs::create_dir_all(folder).unwrap();
        let file = folder.join(format!("ggend-test-{}.secret", std::process::id()));
        fs::write(&file, "1234567").unwrap();
        Self { file, made }
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
        if self.made {
            let _ = fs::remove_dir("/etc/ggen");
        }
    }
}

#[test]
fn a_confined_server_does_not_read_the_configuration_of_the_others() {
    if !root_or_skipped("a file in /etc/ggen") {
        return;
    }
    let planted = Planted::new();
    let servers = json!({
        "walled": walled(json!({ "read": [] })),
        "named": walled(json!({ "read": [planted.file] })),
    });
    let daemon = daemon(json!({ "mcpServers": servers })).start();
    daemon.until_ready(&["walled", "named"]);
    let read = |server: &str, target: &std::path::Path| {
        reach(&daemon, server, json!({ "what": "read", "target": target }))
    };
    assert!(read("walled", &planted.file).starts_with("refused: Permission denied"));
    assert_eq!(read("named", &planted.file), "done 7");
    // The rest of /etc as before.
    for file in ["/etc/passwd", "/etc/nsswitch.conf"] {
        let answer = read("walled", std::path::Path::new(file));
        assert!(answer.starts_with("done"), "{file}: {answer}");
    }
    daemon.stop();
}
