//! The running daemon becomes another binary: what is served, and who serves it, goes on; what
//! cannot take over changes nothing.

use ggen_wire::status::Phase;
use ggend_tests::{
    traffic::{Outcome, Traffic},
    *,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::{
    fs,
    io::BufRead,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Instant,
};

const ERAS: [Era; 2] = [Era::Legacy, Era::Modern];

fn house() -> Daemon {
    let servers =
        json!({ "old": fixture(&["--era", "legacy"]), "new": fixture(&["--era", "modern"]) });
    let daemon = daemon(json!({ "server": { "workers": 2 }, "mcpServers": servers })).start();
    daemon.until_ready(&["old", "new"]);
    daemon
}

/// A place for binaries outside of the sandbox, whose home has to stay empty.
fn shelf() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("ggend-upgrade-")
        .tempdir()
        .unwrap()
}

/// The same program at another place.
fn copy(shelf: &Path, name: &str) -> PathBuf {
    let path = shelf.join(name);
    fs::copy(sandbox::binary("ggend"), &path).unwrap();
    path
}

/// The same with another version.
fn version(shelf: &Path, name: &str, version: &str) -> PathBuf {
    let now = ggen_wire::VERSION.as_bytes();
    assert_eq!(now.len(), version.len(), "nothing may move");
    let mut bytes = fs::read(sandbox::binary("ggend")).unwrap();
    let (mut at, first) = (0, now.iter().position(|byte| *byte == b'.').unwrap());
    loop {
        // Searched by the standard library, which is optimized.
        let skipped = (&bytes[at..]).skip_until(b'.').unwrap();
        if skipped == 0 {
            return write(shelf, name, &bytes);
        }
        at += skipped;
        let begin = (at - 1).saturating_sub(first);
        if bytes[begin..].starts_with(now) {
            bytes[begin..begin + now.len()].copy_from_slice(version.as_bytes());
        }
    }
}

fn write(shelf: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = shelf.join(name);
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn upgrade(daemon: &Daemon, to: &Path) -> sandbox::Ran {
    daemon.ggen(&["mcp", "server", "upgrade", "--binary", to.to_str().unwrap()])
}

fn executable(daemon: &Daemon) -> PathBuf {
    fs::read_link(format!("/proc/{}/exe", daemon.pid)).unwrap()
}

fn upstream_pids(daemon: &Daemon) -> Vec<Option<u32>> {
    daemon
        .status()
        .upstreams
        .iter()
        .map(|upstream| upstream.pid)
        .collect()
}

fn worker_pids(daemon: &Daemon) -> Vec<Option<u32>> {
    daemon
        .status()
        .workers
        .iter()
        .map(|worker| worker.pid)
        .collect()
}

/// The descriptors that whoever the supervisor executes would inherit; what started this test may
/// have left some.
fn inheritable(daemon: &Daemon) -> Vec<String> {
    const CLOEXEC: u64 = 0o2_000_000;
    let stays = |path: &Path| {
        let text = fs::read_to_string(path).ok()?;
        let flags = text
            .lines()
            .find_map(|line| line.strip_prefix("flags:"))?
            .trim()
            .to_owned();
        (u64::from_str_radix(&flags, 8).unwrap() & CLOEXEC == 0).then_some(())
    };
    let entries = fs::read_dir(format!("/proc/{}/fdinfo", daemon.pid))
        .unwrap()
        .flatten();
    let mut found: Vec<_> = entries
        .filter(|entry| stays(&entry.path()).is_some())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    found.sort();
    found
}

#[test]
fn an_upgrade_under_load_loses_no_request_no_session_and_no_server() {
    let (daemon, shelf) = (house(), shelf());
    let binaries = [
        version(shelf.path(), "first", "0.1.8"),
        version(shelf.path(), "second", "0.1.9"),
    ];
    let inherited = inheritable(&daemon);
    let (upstreams, began) = (upstream_pids(&daemon), daemon.status().started_ms);
    let mut sessions: Vec<_> = ["old", "new"]
        .iter()
        .map(|server| Client::new(daemon.http, server, Era::Legacy))
        .collect();
    let mut streams: Vec<_> = sessions
        .iter_mut()
        .map(|client| client.listen(None).unwrap())
        .collect();
    let traffic: Vec<_> = ["old", "new"]
        .iter()
        .map(|server| Traffic::start(daemon.http, server, &ERAS, 2))
        .collect();
    traffic
        .iter()
        .for_each(|traffic| traffic.until_answered(50));
    let mut scrape = until("a scrape", || daemon.scrape());
    for (binary, version) in binaries.iter().zip(["0.1.8", "0.1.9"]) {
        let workers: Vec<_> = daemon
            .status()
            .workers
            .into_iter()
            .filter_map(|worker| Some((worker.name, worker.pid?)))
            .collect();
        let at = Instant::now();
        let mut waiting = Client::new(daemon.http, "old", Era::Legacy);
        let mut in_flight = waiting
            .start(
                "tools/call",
                json!({ "name": "slow", "arguments": { "ms": 2000 } }),
            )
            .unwrap();
        let ran = upgrade(&daemon, binary);
        assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
        println!(
            "{} after {:?}",
            ran.stdout.lines().nth(4).unwrap_or_default(),
            at.elapsed()
        );
        assert_eq!(
            in_flight.until("").value["result"]["content"][0]["text"],
            "Slept 2000 ms"
        );
        let status = daemon.status();
        assert_eq!(
            (status.pid, status.version.as_str(), status.started_ms),
            (daemon.pid, version, began)
        );
        assert_eq!(executable(&daemon), fs::canonicalize(binary).unwrap());
        assert_eq!(
            upstream_pids(&daemon),
            upstreams,
            "no server was started anew"
        );
        for (name, old) in workers {
            daemon.until_replaced(&name, old);
        }
        assert_eq!(
            status
                .upstreams
                .iter()
                .map(|upstream| upstream.restarts)
                .sum::<u64>(),
            0
        );
        let now = until("a scrape", || daemon.scrape());
        assert_eq!(now.backwards(&scrape), Vec::<String>::new());
        scrape = now;
        traffic
            .iter()
            .for_each(|traffic| traffic.until_answered(50));
        assert_eq!(inheritable(&daemon), inherited);
        // The sessions, and what the servers say by themselves there.
        for (client, stream) in sessions.iter_mut().zip(&mut streams) {
            client.reconnect();
            assert_eq!(
                client
                    .tool("echo", json!({ "message": "still here" }))
                    .text(),
                "still here"
            );
            *stream = client.listen(None).unwrap();
            assert_eq!(stream.head.status, 200);
            client.tool("test_trigger_tool_change", json!({}));
            stream.until("notifications/tools/list_changed");
        }
    }
    for traffic in traffic {
        let ledger = traffic.finish();
        println!(
            "{:#?}, 99 % within {:?}",
            ledger.counts(),
            ledger.quantile(0.99)
        );
        assert_eq!(
            ledger.count(|outcome| *outcome != Outcome::Answered),
            0,
            "{:#?}",
            ledger.counts()
        );
    }
    // The log goes on, too.
    let upgraded = control::logs(&daemon.sandbox.socket(), "this binary has taken over");
    assert_eq!(upgraded.len(), 2);
    drop(streams);
    daemon.stop();
}

#[test]
fn whoever_dies_after_an_upgrade_is_replaced_as_before() {
    let (daemon, shelf) = (house(), shelf());
    let binary = copy(shelf.path(), "next");
    let upstreams = upstream_pids(&daemon);
    let mut session = Client::new(daemon.http, "old", Era::Legacy);
    assert_eq!(upgrade(&daemon, &binary).code, 0);
    for name in ["http-0", "gateway-0", "http-1"] {
        let pid = daemon.worker_pid(name).unwrap();
        process::signal(pid, Signal::SIGKILL);
        daemon.until_replaced(name, pid);
    }
    daemon.until_ready(&["old", "new"]);
    session.reconnect();
    assert_eq!(
        session
            .tool("echo", json!({ "message": "still here" }))
            .text(),
        "still here"
    );
    assert_eq!(upstream_pids(&daemon), upstreams);
    // A server that dies is known to be ours: it is reaped and started anew.
    let old = daemon.upstream("old").pid.unwrap();
    process::signal(old, Signal::SIGKILL);
    daemon.until_upstream("old", |upstream| upstream.pid.is_some_and(|pid| pid != old));
    daemon.until_ready(&["old"]);
    // And so is a new binary's supervisor that is killed: nothing stays behind.
    daemon.kill();
}

#[test]
fn what_was_said_to_the_running_daemon_holds_after_an_upgrade() {
    let (mut daemon, shelf) = (house(), shelf());
    let binary = copy(shelf.path(), "next");
    for arguments in [
        &["stop", "--server", "new"][..],
        &["log-level", "auth=trace"],
        &["log-level", "tools=debug", "--for", "1h"],
    ] {
        assert_eq!(
            daemon.ggen(&[&["mcp", "server"], arguments].concat()).code,
            0
        );
    }
    let servers = json!({ "old": fixture(&["--era", "legacy"]), "new": fixture(&["--era", "modern"]), "more": fixture(&[]) });
    daemon
        .sandbox
        .write_config(&json!({ "server": { "workers": 2 }, "mcpServers": servers }));
    // An upgrade puts no other configuration in force than the one that is.
    let ran = upgrade(&daemon, &binary);
    assert!(
        ran.code != 0 && ran.stderr.contains("GGEN-E6013") && ran.stderr.contains("server reload"),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
    assert_eq!(daemon.ggen(&["mcp", "server", "reload"]).code, 0);
    daemon.until_ready(&["old", "more"]);
    let before = daemon.status();
    assert_eq!(upgrade(&daemon, &binary).code, 0);
    let after = daemon.status();
    assert_eq!(
        (after.generation, after.log_levels.len()),
        (before.generation, before.log_levels.len())
    );
    assert_eq!(after.transports, before.transports);
    let states = |status: &ggen_wire::status::Status| {
        status
            .upstreams
            .iter()
            .map(|it| (it.name.clone(), it.pid, it.state))
            .collect::<Vec<_>>()
    };
    assert_eq!(states(&after), states(&before));
    let ran = daemon.ggen(&["mcp", "server", "reload"]);
    assert!(
        ran.code == 0 && ran.stdout.contains("no change"),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
    assert_eq!(
        daemon
            .ggen(&["mcp", "server", "start", "--server", "new"])
            .code,
        0
    );
    daemon.until_ready(&["new"]);
    daemon.stop();
}

#[test]
fn a_binary_that_cannot_take_over_changes_nothing() {
    let (daemon, shelf) = (house(), shelf());
    let script = |name: &str, text: &str| {
        write(
            shelf.path(),
            name,
            format!("#!/bin/sh\n{text}\n").as_bytes(),
        )
    };
    let silent = script("silent", "exit 0");
    let damaged = write(shelf.path(), "damaged", b"\x7fELF is not what this is");
    let plain = script("plain", "exit 0");
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o644)).unwrap();
    let open = script("open", "echo 0.1.9");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let proves = format!("'{}' \"$@\" || exit 1", sandbox::binary("ggend").display());
    let cases = [
        (
            script(
                "refuses",
                "echo mcp.json:1:1: mcpServers is not served >&2; exit 78",
            ),
            "mcp.json:1:1: mcpServers is not served",
        ),
        (script("hangs", "sleep 600"), "did not prove in time"),
        (script("leaves", "sleep 600 & exit 3"), "exit status 3"),
        (script("floods", "yes >&2 & yes"), "upgrade-check"),
        (silent, "does not prove that it has read the state"),
        // It ends well, says something, and is no daemon.
        (
            std::path::PathBuf::from("/bin/echo"),
            "does not prove that it has read the state",
        ),
        (damaged, "cannot be executed"),
        (plain, "not an executable file"),
        (open, "can be written by others"),
        (shelf.path().join("nowhere"), "No such file"),
        // It proves everything, and cannot be executed when it comes to it.
        (
            script("fails", &format!("{proves}; chmod a-x \"$0\"")),
            "could not be executed",
        ),
        // It is another one when it comes to it.
        (
            script("turns", &format!("{proves}; echo exit >> \"$0\"")),
            "not the file any more that was checked",
        ),
    ];
    let mut session = Client::new(daemon.http, "old", Era::Legacy);
    let mut stream = session.listen(None).unwrap();
    let traffic = Traffic::start(daemon.http, "old", &ERAS, 2);
    traffic.until_answered(50);
    let inherited = inheritable(&daemon);
    let before = (
        upstream_pids(&daemon),
        worker_pids(&daemon),
        executable(&daemon),
    );
    for (binary, why) in &cases {
        let ran = upgrade(&daemon, binary);
        assert!(
            ran.code != 0 && ran.stderr.contains("GGEN-E6013") && ran.stderr.contains(why),
            "{why}: {}{}",
            ran.stdout,
            ran.stderr
        );
        assert_eq!(
            (
                upstream_pids(&daemon),
                worker_pids(&daemon),
                executable(&daemon)
            ),
            before,
            "{why}"
        );
        traffic.until_answered(20);
    }
    assert_eq!(inheritable(&daemon), inherited);
    let ledger = traffic.finish();
    assert_eq!(
        ledger.count(|outcome| *outcome != Outcome::Answered),
        0,
        "{:#?}",
        ledger.counts()
    );
    session.tool("test_trigger_tool_change", json!({}));
    stream.until("notifications/tools/list_changed");
    // What paused for it goes on: a server that dies is replaced, a session is stored, and the next
    // binary takes over.
    let old = daemon.upstream("old").pid.unwrap();
    process::signal(old, Signal::SIGKILL);
    daemon.until_upstream("old", |upstream| upstream.pid.is_some_and(|pid| pid != old));
    daemon.until_ready(&["old"]);
    let mut late = Client::new(daemon.http, "old", Era::Legacy);
    let ran = upgrade(&daemon, &sandbox::binary("ggend"));
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    late.reconnect();
    assert_eq!(
        late.tool("echo", json!({ "message": "still here" })).text(),
        "still here"
    );
    drop(stream);
    daemon.stop();
}

#[test]
fn signals_in_the_middle_of_an_upgrade_are_no_accident() {
    let (daemon, shelf) = (house(), shelf());
    let binaries = [copy(shelf.path(), "first"), copy(shelf.path(), "second")];
    let ended = std::sync::atomic::AtomicBool::new(false);
    let upstreams = upstream_pids(&daemon);
    std::thread::scope(|scope| {
        let _end = SetOnDrop(&ended);
        scope.spawn(|| {
            while !ended.load(std::sync::atomic::Ordering::Relaxed) {
                process::signal(daemon.pid, Signal::SIGUSR1);
                std::thread::yield_now();
            }
        });
        for binary in binaries.iter().cycle().take(6) {
            let ran = upgrade(&daemon, binary);
            process::signal(daemon.pid, Signal::SIGHUP);
            // A reload that is under way is the one thing that may be in its way.
            assert!(
                ran.code == 0 || ran.stderr.contains("reload"),
                "{}{}",
                ran.stdout,
                ran.stderr
            );
        }
    });
    assert_eq!(upstream_pids(&daemon), upstreams);
    // Nobody who ended in the middle of it is still counted.
    until("only the workers of the last binary are left", || {
        let workers = daemon.status().workers;
        let mut names: Vec<&str> = workers.iter().map(|worker| worker.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        (names.len() == workers.len() && workers.iter().all(|one| one.phase == Phase::Running))
            .then_some(())
    });
    let value: Value = Client::new(daemon.http, "new", Era::Modern)
        .tool("echo", json!({ "message": "x" }))
        .result()
        .clone();
    assert_eq!(value["content"][0]["text"], "x");
    daemon.stop();
}

#[test]
fn no_other_program_and_no_place_of_others_comes_into_an_upgrade() {
    let (daemon, shelf) = (house(), shelf());
    // A shell takes the word behind it for a script in its working directory. This one would prove
    // everything.
    let mark = shelf.path().join("mark");
    let script = format!(
        "echo ran > {}; exec {} \"$@\"",
        mark.display(),
        sandbox::binary("ggend").display()
    );
    for name in ["upgrade-check", "--config"] {
        fs::write(daemon.sandbox.path("work").join(name), &script).unwrap();
    }
    let ran = upgrade(&daemon, Path::new("/bin/sh"));
    assert!(ran.stderr.contains("GGEN-E6013"), "{}", ran.stderr);
    assert!(!mark.exists(), "a script of the working directory ran");
    for name in ["upgrade-check", "--config"] {
        fs::remove_file(daemon.sandbox.path("work").join(name)).unwrap();
    }
    // A folder that others may write, above the binary and above a link to it.
    let open = shelf.path().join("open");
    fs::create_dir(&open).unwrap();
    let inside = copy(&open, "ggend");
    let outside = copy(shelf.path(), "ggend");
    std::os::unix::fs::symlink(&outside, open.join("link")).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    for path in [&inside, &open.join("link")] {
        let ran = upgrade(&daemon, path);
        assert!(
            ran.stderr.contains("GGEN-E6013") && ran.stderr.contains("could be replaced by others"),
            "{}",
            ran.stderr
        );
    }
    let before = executable(&daemon);
    assert_eq!(before, sandbox::binary("ggend").canonicalize().unwrap());
    let ran = upgrade(&daemon, &outside);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    assert_eq!(executable(&daemon), outside.canonicalize().unwrap());
    let comm = fs::read_to_string(format!("/proc/{}/comm", daemon.pid)).unwrap();
    assert_eq!(comm.trim(), "ggend");
    daemon.stop();
}
