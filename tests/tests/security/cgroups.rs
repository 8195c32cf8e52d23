//! A control group for each server, in a part of this host's own hierarchy that the test delegates
//! to a daemon of its own: who is where, what is ended by it, what it limits, and that nothing of
//! it is left. The memory controller of the first version is left alone; its limit is tried where
//! the unified hierarchy has it, and in `tests/systemd`.

use ggen_wire::{
    Code,
    control::{Body, Call},
    status::UpstreamState,
};
use ggend_tests::{process, sandbox::binary, *};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

/// A part of the host's hierarchy that belongs to one test.
struct Ground {
    name: String,
    /// In the unified hierarchy.
    main: PathBuf,
    /// Where the controllers of the first version are: `pids`, `cpu`.
    others: Vec<(String, PathBuf)>,
}

/// Where hierarchies are mounted for writing: the options of their file system, and the folder.
fn mounts(kind: &str) -> Vec<(String, PathBuf)> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mount = |line: &str| {
        let (own, system) = line.split_once(" - ")?;
        let (own, system): (Vec<_>, Vec<_>) =
            (own.split(' ').collect(), system.split(' ').collect());
        (system[0] == kind && own[5].starts_with("rw"))
            .then(|| (system[2].to_owned(), PathBuf::from(own[4])))
    };
    text.lines().filter_map(mount).collect()
}

impl Ground {
    /// `None`: the host has none for us, which is said.
    fn make() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !root_or_skipped("delegates control groups") {
            return None;
        }
        let Some((_, unified)) = mounts("cgroup2").into_iter().next() else {
            skipped("needs the unified hierarchy of control groups, mounted for writing");
            return None;
        };
        let name = format!(
            "ggend-test-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let main = unified.join(&name);
        if let Err(error) = fs::create_dir(&main) {
            skipped(&format!(
                "needs a control group {}: {error}",
                main.display()
            ));
            return None;
        }
        rustix::fs::setxattr(&main, "user.delegate", b"1", rustix::fs::XattrFlags::CREATE).unwrap();
        let mut ground = Self {
            name,
            main,
            others: Vec::new(),
        };
        for (options, folder) in mounts("cgroup") {
            let folder = folder.join(&ground.name);
            let wanted = ["pids", "cpu"]
                .into_iter()
                .find(|name| options.split(',').any(|option| option == *name));
            if let Some(controller) = wanted
                && fs::create_dir(&folder).is_ok()
            {
                ground.others.push((controller.to_owned(), folder));
            }
        }
        Some(ground)
    }

    fn daemon(&self, config: Value) -> daemon::Plan {
        let mut arguments = vec!["ggend-fixture".to_owned(), "within".to_owned()];
        for folder in [&self.main]
            .into_iter()
            .chain(self.others.iter().map(|(_, folder)| folder))
        {
            arguments.extend(["--group".to_owned(), folder.display().to_string()]);
        }
        daemon(config).by(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The groups of servers.
    fn groups(&self) -> Vec<String> {
        let mut found = folders(&self.main.join("upstreams"));
        found.sort();
        found
    }

    fn inside(&self, group: &str) -> Vec<u32> {
        let text =
            fs::read_to_string(self.main.join(group).join("cgroup.procs")).unwrap_or_default();
        text.lines().map(|pid| pid.parse().unwrap()).collect()
    }

    /// The folder of a server's group that has this controller.
    fn controlled(&self, controller: &str) -> Option<PathBuf> {
        let unified = fs::read_to_string(self.main.join("cgroup.controllers")).unwrap();
        let other = self
            .others
            .iter()
            .find(|(name, _)| name == controller)
            .map(|(_, folder)| folder);
        let folder = if unified.split_whitespace().any(|name| name == controller) {
            Some(&self.main)
        } else {
            other
        };
        folder.map(|folder| folder.join("upstreams"))
    }

    /// Nothing is left in it.
    #[track_caller]
    fn check_empty(&self) {
        for folder in [&self.main]
            .into_iter()
            .chain(self.others.iter().map(|(_, folder)| folder))
        {
            assert_eq!(
                folders(folder),
                Vec::<String>::new(),
                "{}",
                folder.display()
            );
        }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // Whoever a failed test has left; a test that went well has left nobody.
        fs::write(self.main.join("cgroup.kill"), "1").unwrap_or_default();
        for folder in [&self.main]
            .into_iter()
            .chain(self.others.iter().map(|(_, folder)| folder))
        {
            let gone = within(DEADLINE, || {
                (remove(folder) || !folder.exists()).then_some(())
            });
            assert!(
                gone.is_some() || std::thread::panicking(),
                "{} cannot be removed",
                folder.display()
            );
        }
    }
}

fn folders(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

fn remove(folder: &Path) -> bool {
    folders(folder)
        .iter()
        .for_each(|inner| _ = remove(&folder.join(inner)));
    fs::remove_dir(folder).is_ok()
}

/// The group that a process is in, in the unified hierarchy.
fn group_of(pid: u32) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    text.lines()
        .find_map(|line| line.strip_prefix("0::"))
        .unwrap()
        .to_owned()
}

fn reaching(sandbox: Value) -> Value {
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

fn restart(daemon: &Daemon, server: &str) {
    let answer = control::ask(
        &daemon.sandbox.socket(),
        &Call::Restart {
            target: Some(server.to_owned()),
        },
    );
    assert!(matches!(answer, Some(Ok(Body::Done(_)))), "{answer:?}");
}

#[test]
fn each_server_has_a_group_of_its_own_and_none_is_left() {
    let Some(ground) = Ground::make() else { return };
    let servers = json!({ "plain": fixture(&[]), "fork me": fixture(&["--fault", "fork"]), "asks": fixture(&["--era", "legacy"]) });
    let mut daemon = ground.daemon(json!({ "mcpServers": servers })).start();
    daemon.until_ready(&["plain", "fork me", "asks"]);
    assert_eq!(ground.groups(), ["asks-1", "fork_me-1", "plain-1"]);

    // Each process is where it belongs: ours in one group, a server's family in its own.
    let place = format!("/{}", ground.name);
    assert_eq!(group_of(daemon.pid), format!("{place}/supervisor"));
    for worker in daemon.status().workers {
        assert_eq!(
            group_of(worker.pid.unwrap()),
            format!("{place}/supervisor"),
            "{}",
            worker.name
        );
    }
    for (server, group, count) in [
        ("plain", "plain-1", 1),
        ("fork me", "fork_me-1", 3),
        ("asks", "asks-1", 1),
    ] {
        let pid = daemon.upstream(server).pid.unwrap();
        assert_eq!(group_of(pid), format!("{place}/upstreams/{group}"));
        until("the whole family is there", || {
            (ground.inside(&format!("upstreams/{group}")).len() == count).then_some(())
        });
    }
    let status = daemon.status().cgroups.unwrap();
    assert_eq!(status.place, Some(place.clone()), "{status:?}");
    until("the processes are counted", || {
        (daemon
            .scrape()?
            .sum("ggend_upstream_processes", "upstream=\"fork me\"")
            == 3.0)
            .then_some(())
    });
    let spent = || {
        daemon
            .scrape()
            .unwrap()
            .sum("ggend_upstream_cpu_seconds_total", "upstream=\"fork me\"")
    };
    until("the processor time is counted", || {
        (spent() > 0.0).then_some(())
    });
    let doctor = daemon.ggen(&["mcp", "doctor", "--json"]).stdout;
    assert!(doctor.contains(&format!("below {place}")), "{doctor}");

    // A child for one client's calls has its own, too.
    let mut client = Client::askable(daemon.http, "asks", json!({ "elicitation": {} }));
    let child = client.tool("counter", json!({})).result()["structuredContent"]["pid"]
        .as_u64()
        .unwrap();
    assert!(
        group_of(u32::try_from(child).unwrap())
            .starts_with(&format!("{place}/upstreams/asks-call-"))
    );

    // Another life, another group; what is not configured any more has none.
    let before = spent();
    restart(&daemon, "fork me");
    daemon.until_upstream("fork me", |row| {
        row.restarts == 1 && row.state == UpstreamState::Ready
    });
    until("the next life is in a group of its own", || {
        (!ground.groups().contains(&"fork_me-1".to_owned())).then_some(())
    });
    assert!(ground.groups().contains(&"fork_me-2".to_owned()));
    assert!(
        spent() >= before,
        "the time that a life has used is forgotten"
    );
    daemon
        .sandbox
        .write_config(&json!({ "mcpServers": { "plain": fixture(&[]) } }));
    assert_eq!(daemon.ggen(&["mcp", "server", "reload"]).code, 0);
    until("the groups of servers that are gone are gone", || {
        (ground.groups() == ["plain-1"]).then_some(())
    });
    let log = daemon.stop();
    assert!(
        log.contains("each server has a control group of its own below"),
        "{log}"
    );
    ground.check_empty();
}

#[test]
fn nobody_is_left_when_a_shim_is_killed_and_a_next_daemon_ends_what_it_finds() {
    let Some(ground) = Ground::make() else { return };
    let mut daemon = ground
        .daemon(json!({ "mcpServers": { "fork": fixture(&["--fault", "fork"]) } }))
        .start();
    daemon.until_ready(&["fork"]);
    let shim = |daemon: &Daemon| {
        let pid = daemon.upstream("fork").pid.unwrap();
        daemon
            .sandbox
            .processes(Some(daemon.pid))
            .into_iter()
            .find(|process| process.pid == pid)
            .unwrap()
            .parent
    };
    until("the whole family is there", || {
        (ground.inside("upstreams/fork-1").len() == 3).then_some(())
    });
    process::signal(shim(&daemon), Signal::SIGKILL);
    daemon.until_upstream("fork", |row| {
        row.restarts == 1 && row.state == UpstreamState::Ready
    });
    until("the first life's group is gone", || {
        (ground.groups() == ["fork-2"]).then_some(())
    });

    // Both who would have ended it are killed: only the group still tells whose these processes
    // are.
    until("the whole family is there", || {
        (ground.inside("upstreams/fork-2").len() == 3).then_some(())
    });
    let shim = shim(&daemon);
    process::signal(shim, Signal::SIGSTOP);
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    process::signal(shim, Signal::SIGKILL);
    let left = until("what was forked is left, and nothing else", || {
        let left = ground.inside("upstreams/fork-2");
        (left.len() == 2 && ground.inside("supervisor").is_empty()).then_some(left)
    });
    daemon.restart();
    daemon.until_ready(&["fork"]);
    until("it is gone", || {
        left.iter()
            .all(|pid| !process::is_alive(*pid))
            .then_some(())
    });
    until("and its group", || {
        (ground.groups() == ["fork-1"]).then_some(())
    });
    daemon.stop();
    ground.check_empty();
}

#[test]
fn an_upgrade_in_place_keeps_every_group_and_a_second_daemon_takes_none() {
    let Some(ground) = Ground::make() else { return };
    let servers =
        json!({ "mcpServers": { "one": fixture(&[]), "two": fixture(&["--fault", "fork"]) } });
    let daemon = ground.daemon(servers.clone()).start();
    daemon.until_ready(&["one", "two"]);
    let (pids, groups) = (
        ["one", "two"].map(|name| daemon.upstream(name).pid),
        ground.groups(),
    );
    let other = ground.daemon(servers).start();
    let reason = other.status().cgroups.unwrap().reason.unwrap();
    assert!(reason.ends_with("is in use by another ggend"), "{reason}");
    other.until_ready(&["one", "two"]);
    other.stop();

    let ran = daemon.ggen(&[
        "mcp",
        "server",
        "upgrade",
        "--binary",
        binary("ggend").to_str().unwrap(),
    ]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    daemon.until_ready(&["one", "two"]);
    assert_eq!(
        (
            ["one", "two"].map(|name| daemon.upstream(name).pid),
            ground.groups()
        ),
        (pids, groups)
    );
    // Some of them are those of before, on their way out.
    let workers: Vec<_> = daemon
        .status()
        .workers
        .iter()
        .filter_map(|worker| fs::read_to_string(format!("/proc/{}/cgroup", worker.pid?)).ok())
        .collect();
    assert!(!workers.is_empty());
    for groups in workers {
        assert!(
            groups
                .lines()
                .any(|line| line == format!("0::/{}/supervisor", ground.name)),
            "{groups}"
        );
    }
    restart(&daemon, "two");
    daemon.until_upstream("two", |row| {
        row.restarts == 1 && row.state == UpstreamState::Ready
    });
    until("the new binary ends groups of the old one", || {
        (ground.groups() == ["one-1", "two-2"]).then_some(())
    });
    daemon.stop();
    ground.check_empty();
}

#[test]
fn a_server_cannot_touch_control_groups_and_everything_else_as_before() {
    let Some(ground) = Ground::make() else { return };
    let daemon = ground
        .daemon(json!({ "mcpServers": { "tries": reaching(Value::Null) } }))
        .start();
    daemon.until_ready(&["tries"]);
    for target in [
        "upstreams/tries-1/cgroup.procs",
        "upstreams/tries-1/cgroup.max.depth",
        "supervisor/cgroup.procs",
        "cgroup.procs",
    ] {
        let target = ground.main.join(target);
        for path in [
            target.clone(),
            PathBuf::from(format!("/proc/self/root{}", target.display())),
        ] {
            let said = reach(&daemon, "tries", json!({ "what": "write", "target": path }));
            assert!(
                said.starts_with("refused: Permission denied"),
                "{}: {said}",
                path.display()
            );
        }
        assert!(
            reach(
                &daemon,
                "tries",
                json!({ "what": "read", "target": target })
            )
            .starts_with("done")
        );
    }
    // Files are written, and moved between folders, wherever it could before.
    let (one, two) = (daemon.sandbox.path("one"), daemon.sandbox.path("two"));
    fs::create_dir(&one).unwrap();
    fs::create_dir(&two).unwrap();
    assert_eq!(
        reach(
            &daemon,
            "tries",
            json!({ "what": "write", "target": one.join("file") })
        ),
        "done "
    );
    assert_eq!(
        reach(
            &daemon,
            "tries",
            json!({ "what": "move", "target": one.join("file"), "to": two.join("file") })
        ),
        "done "
    );
    assert_eq!(
        reach(
            &daemon,
            "tries",
            json!({ "what": "write", "target": "/dev/null" })
        ),
        "done "
    );
    daemon.stop();
    ground.check_empty();
}

#[test]
fn limits_of_a_family_hold_for_all_of_it_and_cost_only_it() {
    let Some(ground) = Ground::make() else { return };
    let family = |limits: Value| reaching(json!({ "limits": { "family": limits } }));
    let mut servers = json!({ "good": reaching(Value::Null) });
    for (name, controller, limits) in [
        ("few", "pids", json!({ "processes": 12 })),
        ("slow", "cpu", json!({ "cpu_percent": 30 })),
        ("small", "memory", json!({ "memory": "64MB" })),
    ] {
        servers[name] = family(limits);
        if ground.controlled(controller).is_none() {
            println!(
                "not held here, and so refused: {name}, for want of the {controller} controller"
            );
        }
    }
    let daemon = ground.daemon(json!({ "mcpServers": servers })).start();
    daemon.until_ready(&["good"]);
    let refused = |name: &str, controller: &str| {
        let row = daemon.until_upstream(name, |row| row.code.is_some());
        assert_eq!(
            (row.code, row.state),
            (Some(Code::SandboxUnavailable), UpstreamState::Stopped),
            "{row:?}"
        );
        assert!(
            row.last_exit
                .unwrap()
                .contains(&format!("there is no {controller} controller for us"))
        );
    };
    match ground.controlled("pids") {
        None => refused("few", "pids"),
        Some(_) => {
            daemon.until_ready(&["few"]);
            let said = reach(&daemon, "few", json!({ "what": "processes", "count": 40 }));
            assert!(
                said.starts_with("refused: Resource temporarily unavailable"),
                "{said}"
            );
            assert!(
                reach(&daemon, "good", json!({ "what": "processes", "count": 40 }))
                    .starts_with("done")
            );
        }
    }
    match ground.controlled("cpu") {
        None => refused("slow", "cpu"),
        Some(folder) => {
            daemon.until_ready(&["slow"]);
            let folder = folder.join("slow-1");
            let read = |name: &str| {
                fs::read_to_string(folder.join(name))
                    .unwrap_or_default()
                    .trim()
                    .to_owned()
            };
            let held = [read("cpu.max"), read("cpu.cfs_quota_us")];
            assert!(
                held == ["30000 100000", ""] || held == ["", "30000"],
                "{held:?}"
            );
        }
    }
    match ground.controlled("memory") {
        None => refused("small", "memory"),
        Some(_) => {
            daemon.until_ready(&["small"]);
            let reply = Client::new(daemon.http, "small", Era::Modern)
                .tool("reach", json!({ "what": "memory", "count": 400 << 20 }));
            assert!(
                reply.response().raw.contains("GGEN-E2115"),
                "{}",
                reply.response().raw
            );
            let back = daemon.until_upstream("small", |row| {
                row.restarts == 1 && row.state == UpstreamState::Ready
            });
            assert!(
                back.last_exit
                    .unwrap()
                    .contains("sandbox.limits.family.memory was reached")
            );
        }
    }
    daemon.stop();
    ground.check_empty();
}

#[test]
fn what_no_group_can_hold_refuses_the_server_and_no_other() {
    let limited = reaching(json!({ "limits": { "family": { "processes": 20 } } }));
    let servers = json!({ "mcpServers": { "limited": limited, "good": fixture(&[]) } });
    let refused = |daemon: &Daemon, why: &str| {
        daemon.until_ready(&["good"]);
        let row = daemon.until_upstream("limited", |row| row.code.is_some());
        assert_eq!(
            (row.code, row.state),
            (Some(Code::SandboxUnavailable), UpstreamState::Stopped),
            "{row:?}"
        );
        assert!(row.last_exit.as_ref().unwrap().contains(why), "{row:?}");
    };
    // Wherever this test runs, nobody has delegated anything to this one.
    let without = daemon(servers.clone()).start();
    refused(&without, "limits.family takes a control group: ");
    assert_eq!(without.status().cgroups.unwrap().place, None);
    assert!(
        without
            .ggen(&["mcp", "doctor", "--json"])
            .stdout
            .contains("absent: ")
    );
    without.stop();

    // Without Landlock the server could lift its limits.
    let Some(ground) = Ground::make() else { return };
    if ground.controlled("pids").is_none() {
        skipped("needs the pids controller");
        return;
    }
    let fixture = binary("ggend-fixture").display().to_string();
    let mut within = vec!["ggend-fixture".to_owned(), "within".to_owned()];
    for folder in [&ground.main]
        .into_iter()
        .chain(ground.others.iter().map(|(_, folder)| folder))
    {
        within.extend(["--group".to_owned(), folder.display().to_string()]);
    }
    within.extend([fixture, "without".to_owned(), "--landlock".to_owned()]);
    let older = daemon(servers)
        .by(&within.iter().map(String::as_str).collect::<Vec<_>>())
        .start();
    refused(&older, "Landlock cannot keep a server from lifting them");
    older.stop();
    ground.check_empty();
}
