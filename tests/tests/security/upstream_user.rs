//! `server.upstream_user`: servers with a user of their own do nothing to the daemon, whether it is
//! root or only has the three capabilities for it; and their life is as that of others.

use ggen_wire::{Code, status::UpstreamState};
use ggend_tests::{sandbox::binary, *};
use nix::{sys::signal::Signal, unistd::User};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
    time::Duration,
};

/// A service without rights but those that the drop-in gives.
const SERVICE: [&str; 8] = [
    "/usr/bin/setpriv",
    "--reuid=daemon",
    "--regid=daemon",
    "--clear-groups",
    "--no-new-privs",
    "--inh-caps=+setuid,+setgid,+kill",
    "--ambient-caps=+setuid,+setgid,+kill",
    "--bounding-set=-all,+setuid,+setgid,+kill",
];

/// The programs at a place that every user reaches, which nobody else may write.
fn programs() -> tempfile::TempDir {
    let place = tempfile::Builder::new()
        .prefix("ggend-test-")
        .tempdir_in("/tmp")
        .unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["ggend-fixture", "ggen"] {
        fs::copy(binary(name), place.path().join(name)).unwrap();
    }
    place
}

fn house(programs: &Path, service: bool) -> Daemon {
    let mut plan = daemon(Value::Null);
    if service {
        plan = plan.by(&SERVICE);
    }
    let idle = plan.idle();
    let entry =
        json!({ "command": programs.join("ggend-fixture"), "args": ["--reach"], "cwd": "/" });
    let config = json!({
        "server": { "upstream_user": "games" },
        "mcpServers": { "one": entry, "two": entry },
    });
    if service {
        let user = User::from_name("daemon").unwrap().unwrap();
        let root = idle.sandbox.path("home").parent().unwrap().to_owned();
        let inside = fs::read_dir(&root).unwrap().map(|it| it.unwrap().path());
        for path in inside.chain([root.clone()]) {
            chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
        }
    }
    // As the daemon makes it itself.
    let run = idle.sandbox.path("run");
    fs::set_permissions(run, fs::Permissions::from_mode(0o750)).unwrap();
    let daemon = idle.begin(&config);
    daemon.until_ready(&["one", "two"]);
    daemon
}

/// What the shell says, run by a server.
fn run(daemon: &Daemon, line: &str) -> String {
    Client::new(daemon.http, "one", Era::Modern)
        .tool("reach", json!({ "what": "run", "target": line }))
        .text()
        .to_owned()
}

fn is_there(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn attack(daemon: &Daemon, programs: &Path) {
    let games = User::from_name("games").unwrap().unwrap().uid;
    assert_eq!(run(daemon, "id -u").trim(), format!("done 0 {games}"));
    let status = run(daemon, "grep -E '^Cap(Prm|Eff|Amb|Inh)' /proc/self/status");
    assert_eq!(status.matches("0000000000000000").count(), 4, "{status}");
    let gateway = daemon.worker_pid("gateway-0").unwrap();
    let ours = [
        daemon.pid,
        gateway,
        parent(daemon.upstream("one").pid.unwrap()),
    ];
    for pid in ours {
        for attempt in [
            format!("kill -9 {pid}"),
            format!("head -c 1 /proc/{pid}/mem"),
            format!("cat /proc/{pid}/environ"),
            format!("ls /proc/{pid}/fd"),
            format!("dd if=/dev/null of=/proc/{pid}/oom_score_adj"),
        ] {
            let answer = run(daemon, &format!("LC_ALL=C {attempt} 2>&1"));
            let refused = answer.contains("Permission denied") || answer.contains("not permitted");
            assert!(
                refused && !answer.starts_with("done 0"),
                "{attempt}: {answer}"
            );
        }
    }
    for name in ["state", "run"] {
        let path = daemon.sandbox.path(name);
        let answer = run(daemon, &format!("LC_ALL=C ls {} 2>&1", path.display()));
        assert!(answer.contains("Permission denied"), "{name}: {answer}");
    }
    let stop = format!(
        "{} --socket {} mcp server stop 2>&1",
        programs.join("ggen").display(),
        daemon.sandbox.socket().display()
    );
    let answer = run(daemon, &stop);
    assert!(!answer.starts_with("done 0"), "{answer}");
    assert_eq!(daemon.worker_pid("gateway-0"), Some(gateway));
    assert_eq!(daemon.upstream("one").restarts, 0);
}

fn parent(pid: u32) -> u32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    fields.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn servers(daemon: &Daemon) -> Vec<u32> {
    ["one", "two"]
        .map(|name| daemon.upstream(name).pid.unwrap())
        .to_vec()
}

fn until_gone(pids: &[u32]) {
    let gone = within(Duration::from_secs(20), || {
        pids.iter().all(|pid| !is_there(*pid)).then_some(())
    });
    assert!(gone.is_some(), "left: {pids:?}");
}

/// Crash, kill of the shim, upgrade, death of the supervisor, stop.
fn life(mut daemon: Daemon) {
    // A child that has left the group and the session goes with its server.
    let answer = run(&daemon, "setsid sleep 1000 > /dev/null 2>&1 & echo $!");
    let child: u32 = answer.trim_start_matches("done 0 ").trim().parse().unwrap();
    let one = daemon.upstream("one").pid.unwrap();
    process::signal(one, Signal::SIGKILL);
    daemon.until_upstream("one", |row| {
        row.restarts == 1 && row.state == UpstreamState::Ready
    });
    until_gone(&[one, child]);
    let one = daemon.upstream("one").pid.unwrap();
    process::signal(parent(one), Signal::SIGKILL);
    daemon.until_upstream("one", |row| {
        row.pid != Some(one) && row.state == UpstreamState::Ready
    });
    until_gone(&[one]);
    let before = servers(&daemon);
    let upgraded = daemon.ggen(&["mcp", "server", "upgrade"]);
    assert_eq!(upgraded.code, 0, "{}{}", upgraded.stdout, upgraded.stderr);
    daemon.until_ready(&["one", "two"]);
    assert_eq!(servers(&daemon), before);
    assert!(run(&daemon, "true").starts_with("done 0"));
    daemon.start_again(Signal::SIGKILL);
    until_gone(&before);
    daemon.until_ready(&["one", "two"]);
    let before = servers(&daemon);
    daemon.stop();
    until_gone(&before);
}

#[test]
fn servers_of_another_user_do_nothing_to_a_daemon_that_is_root() {
    if !root_or_skipped("servers become another user") {
        return;
    }
    let programs = programs();
    let daemon = house(programs.path(), false);
    attack(&daemon, programs.path());
    life(daemon);
}

#[test]
fn servers_of_another_user_do_nothing_to_a_daemon_with_three_capabilities() {
    if !root_or_skipped("gives capabilities") {
        return;
    }
    if !Path::new(SERVICE[0]).exists() {
        return skipped("needs setpriv");
    }
    let programs = programs();
    let daemon = house(programs.path(), true);
    let own = User::from_name("daemon").unwrap().unwrap().uid.as_raw();
    let status = |pid: u32| fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status(daemon.pid).contains(&format!("Uid:\t{own}")));
    // Workers have none of them.
    for worker in daemon.status().workers {
        let status = status(worker.pid.unwrap());
        for set in ["CapPrm", "CapEff", "CapAmb"] {
            assert!(
                status.contains(&format!("{set}:\t0000000000000000")),
                "{status}"
            );
        }
    }
    attack(&daemon, programs.path());
    life(daemon);
}

#[test]
fn without_the_right_to_it_a_server_does_not_run_as_somebody_else() {
    let entry = fixture(&[]);
    let mut config =
        json!({ "server": { "upstream_user": "root" }, "mcpServers": { "one": entry } });
    if nix::unistd::geteuid().is_root() {
        config["server"]["upstream_user"] = "nobody-of-that-name".into();
    }
    let daemon = daemon(config).start();
    let row = daemon.until_upstream("one", |row| row.code.is_some());
    assert_eq!(row.code, Some(Code::SandboxUnavailable));
    daemon.stop();
}
