//! The sandboxes of workers: what each kind is refused, how it looks from outside, that the work
//! goes on, what happens on kernels that know less, and what it costs.

use ggen_wire::status::UpstreamState;
use ggend_tests::{sandbox::binary, *};
use nix::{libc, sys::signal::Signal};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    process::{Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Every kind of worker.
const ROLES: [&str; 5] = ["gateway", "http", "websocket", "quic", "admin"];

/// Whatever a worker is refused is refused with one of these.
const REFUSALS: [i32; 3] = [libc::EPERM, libc::EACCES, libc::ENOSYS];

/// What came of each try in a process of that role: `None`, nothing kept it from it; otherwise the
/// error's number.
fn tries(role: &str, mode: &str) -> (String, BTreeMap<String, Option<i32>>) {
    let output = Command::new(binary("ggend"))
        .args(["worker", "--try-sandbox", role, mode])
        .stderr(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let sandbox = text
        .lines()
        .find_map(|line| line.strip_prefix("sandbox "))
        .unwrap()
        .to_owned();
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            // What replaces the process says nothing any more.
            ["begin" | "done", name] => found.insert(name.to_owned(), None),
            ["refused", name, number] => {
                found.insert(name.to_owned(), Some(number.parse().unwrap()))
            }
            _ => None,
        };
    }
    (sandbox, found)
}

#[test]
fn every_kind_of_worker_is_refused_what_it_does_not_need() {
    for role in ROLES {
        let (sandbox, open) = tries(role, "off");
        assert_eq!(sandbox, "off");
        // Without a sandbox anybody may do these, root or not: that the tries are good for anything.
        for name in [
            "exec",
            "fork",
            "open-read",
            "open-write",
            "unix-socket",
            "tcp-socket",
            "bind",
            "listen",
            "connect",
            "memfd",
            "wx-memory",
        ] {
            assert_eq!(open[name], None, "{role}: {name} fails by itself");
        }
        let (sandbox, closed) = tries(role, "auto");
        assert_eq!(sandbox, "full", "{role}");
        let needs: &[&str] = if role == "gateway" {
            &["tcp-socket", "connect"]
        } else {
            &[]
        };
        assert!(
            closed.len() > 30 && closed.keys().eq(open.keys()),
            "{role}: {closed:?}"
        );
        for (name, outcome) in &closed {
            let refused = outcome.is_some_and(|number| REFUSALS.contains(&number));
            assert_eq!(
                refused,
                !needs.contains(&name.as_str()),
                "{role}: {name}: {outcome:?}"
            );
        }
        let could = open.values().filter(|outcome| outcome.is_none()).count();
        println!(
            "{role}: {} of {} tries refused; {could} would have come through without one",
            closed.len() - needs.len(),
            closed.len()
        );
    }
}

fn status_of(pid: u32) -> BTreeMap<String, String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

#[test]
fn running_workers_have_no_rights_left_and_say_so() {
    let daemon = daemon(json!({ "mcpServers": { "f": fixture(&[]) } })).start();
    daemon.until_ready(&["f"]);
    let workers = daemon.status().workers;
    for role in ROLES {
        assert!(
            workers.iter().any(|worker| worker.role == role),
            "no {role} worker"
        );
    }
    for worker in &workers {
        assert_eq!(worker.sandbox.as_deref(), Some("full"), "{}", worker.name);
        let found = status_of(worker.pid.unwrap());
        let named = |name: &str| found[name].as_str();
        assert_eq!(
            (named("NoNewPrivs"), named("Seccomp")),
            ("1", "2"),
            "{}",
            worker.name
        );
        for set in ["CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"] {
            // Who is not root cannot empty the bounding set, and has no way to use it.
            assert!(
                named(set) == "0000000000000000"
                    || (set == "CapBnd" && !nix::unistd::geteuid().is_root()),
                "{}: {set}",
                worker.name
            );
        }
        if nix::unistd::geteuid().is_root() {
            assert!(
                !named("Uid").split_ascii_whitespace().any(|uid| uid == "0"),
                "{} is still root",
                worker.name
            );
            // Nobody else's: the sign of PR_SET_DUMPABLE 0.
            use std::os::unix::fs::MetadataExt;
            assert_eq!(
                fs::metadata(format!("/proc/{}/environ", worker.pid.unwrap()))
                    .unwrap()
                    .uid(),
                0
            );
        }
        println!(
            "{}: uid {}, NoNewPrivs {}, Seccomp {} with {} filters, CapEff {}",
            worker.name,
            named("Uid").split_ascii_whitespace().next().unwrap(),
            named("NoNewPrivs"),
            named("Seccomp"),
            found.get("Seccomp_filters").map_or("?", String::as_str),
            named("CapEff")
        );
    }
    // The beats of walled workers still tell their descriptors, and doctor has nothing to say
    // against them.
    until("beats tell open files", || {
        daemon
            .status()
            .workers
            .iter()
            .all(|worker| {
                worker
                    .open_files
                    .is_some_and(|(open, most)| 3 < open && open < most)
            })
            .then_some(())
    });
    let doctor = daemon.ggen(&["mcp", "doctor", "--verbose"]);
    assert!(
        doctor.code == 0 && doctor.stdout.contains("the sandbox stands"),
        "{}{}",
        doctor.stdout,
        doctor.stderr
    );
    daemon.stop();
}

#[test]
fn the_gateway_still_resolves_names_and_speaks_tls_from_inside() {
    let remote = RemoteFixture::start(&[]);
    let by_name = remote.url.replace("127.0.0.1", "localhost");
    // A server that shows a certificate which nobody vouches for: the gateway has to read the
    // host's authorities to find that out.
    let other =
        daemon(json!({ "transports": { "http": { "ssl": { "enabled": true, "port": 0 } } } }))
            .start();
    let secure = other.listener("https").unwrap();
    let entries = json!({
        "named": { "type": "http", "url": by_name },
        "secure": { "type": "http", "url": format!("https://localhost:{}/mcp", secure.port()) },
    });
    let daemon = daemon(json!({ "mcpServers": entries })).start();
    daemon.until_ready(&["named"]);
    assert_eq!(
        Client::new(daemon.http, "named", Era::Modern)
            .tool("echo", json!({ "message": "hello" }))
            .text(),
        "hello"
    );
    let seen = daemon.until_upstream("secure", |upstream| upstream.last_exit.is_some());
    let why = seen.last_exit.unwrap();
    assert!(
        why.to_lowercase().contains("certificate") && !why.contains("no certificates of the host"),
        "{why}"
    );
    assert_eq!(
        daemon
            .status()
            .workers
            .iter()
            .filter(|worker| worker.sandbox.as_deref() != Some("full"))
            .count(),
        0
    );
    daemon.stop();
    other.stop();
}

#[test]
fn a_kernel_that_knows_less_is_told_of_and_required_means_required() {
    let without = ["ggend-fixture", "without", "--landlock", "--seccomp"];
    let started = daemon(json!({ "mcpServers": { "f": fixture(&[]) } }))
        .by(&without)
        .start();
    started.until_ready(&["f"]);
    assert_eq!(
        Client::new(started.http, "f", Era::Modern)
            .tool("echo", json!({ "message": "on" }))
            .text(),
        "on"
    );
    for worker in started.status().workers {
        let standing = worker.sandbox.unwrap();
        assert!(
            standing.starts_with("partial, without Landlock") && standing.contains("seccomp"),
            "{standing}"
        );
    }
    assert!(started.log().contains("GGEN-E7005"), "{}", started.log());
    let doctor = started.ggen(&["mcp", "doctor"]);
    assert!(
        doctor.stdout.contains("GGEN-E7005") && doctor.stdout.contains("/sys/kernel/security/lsm"),
        "{}",
        doctor.stdout
    );
    // A reload that asks for what there is not changes nothing.
    let mut started = started;
    started.sandbox.write_config(
        &json!({ "server": { "sandbox": "required" }, "mcpServers": { "f": fixture(&[]) } }),
    );
    let reload = started.ggen(&["mcp", "server", "reload"]);
    assert!(
        reload.code != 0 && reload.stderr.contains("GGEN-E7005"),
        "{} {}{}",
        reload.code,
        reload.stdout,
        reload.stderr
    );
    started.until_ready(&["f"]);
    started.stop();

    let mut refused = daemon(json!({ "server": { "sandbox": "required" } }))
        .by(&without)
        .spawn();
    assert_eq!(refused.wait().code(), Some(78));
    assert!(refused.log().contains("GGEN-E7005"), "{}", refused.log());
    // With all there is to have, it is no matter.
    daemon(json!({ "server": { "sandbox": "required" } }))
        .start()
        .stop();
}

#[test]
fn workers_become_the_user_that_is_asked_for() {
    if !nix::unistd::geteuid().is_root() {
        let mut refused = daemon(json!({ "server": { "user": "root" } })).spawn();
        assert_eq!(refused.wait().code(), Some(78));
        let _ = root_or_skipped("becomes another user; that it is refused was tried");
        return;
    }
    let started = daemon(json!({ "server": { "user": "daemon", "group": "nogroup" } })).start();
    let daemon_user = nix::unistd::User::from_name("daemon").unwrap().unwrap();
    let group = nix::unistd::Group::from_name("nogroup")
        .unwrap()
        .unwrap()
        .gid
        .to_string();
    for worker in started.status().workers {
        let found = status_of(worker.pid.unwrap());
        assert_eq!(
            found["Uid"].split_ascii_whitespace().next(),
            Some(daemon_user.uid.to_string().as_str()),
            "{}",
            worker.name
        );
        assert!(
            found["Gid"].starts_with(&group) && found["Groups"].is_empty(),
            "{}",
            worker.name
        );
    }
    started.stop();
    let mut refused = daemon(json!({ "server": { "user": "nobody-of-that-name" } })).spawn();
    assert_eq!(refused.wait().code(), Some(78));
    assert!(
        refused.log().contains("there is no such user"),
        "{}",
        refused.log()
    );
}

#[test]
fn the_first_issuer_of_tokens_lets_the_edges_call_out() {
    let plain = |auth: Value| json!({ "auth": auth, "mcpServers": { "f": fixture(&[]) } });
    let mut daemon = daemon(plain(json!({}))).start();
    daemon.until_ready(&["f"]);
    let before = daemon.worker_pid("http-0").unwrap();
    let gateway = daemon.worker_pid("gateway-0").unwrap();
    daemon.sandbox.write_config(&plain(
        json!({ "jwt": { "jwks_url": "http://127.0.0.1:1/keys", "audience": "a", "issuer": "i" } }),
    ));
    let reload = daemon.ggen(&["mcp", "server", "reload"]);
    assert_eq!(reload.code, 0, "{}", reload.stderr);
    daemon.until_replaced("http-0", before);
    // That it could ask: nobody answers there, which is another reason than that it may not.
    until("the keys are asked for", || {
        let lines = control::logs(
            &daemon.sandbox.socket(),
            "keys of a token issuer cannot be fetched",
        );
        lines
            .iter()
            .any(|line| line.source == "http-0" && line.message.contains("onnection refused"))
            .then_some(())
    });
    assert_eq!(daemon.worker_pid("gateway-0"), Some(gateway));
    daemon.stop();
}

/// Median time from SIGKILL of a worker to its successor's word that it serves, as the daemon's log
/// has it.
fn successors(mode: &str) -> Vec<Duration> {
    let daemon =
        daemon(json!({ "server": { "sandbox": mode, "workers": 24 }, "transports": { "websocket": { "enabled": false } } })).start();
    let mut taken: Vec<Duration> = (0..24)
        .map(|index| {
            let name = format!("http-{index}");
            let pid = daemon.worker_pid(&name).unwrap();
            let killed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            process::signal(pid, Signal::SIGKILL);
            let killed = u64::try_from(killed.as_micros()).unwrap();
            let its_own = |line: &ggen_wire::log::LogLine| {
                line.at_us > killed && line.fields.contains(&("worker".to_owned(), name.clone()))
            };
            until("a successor", || {
                let lines = control::logs(&daemon.sandbox.socket(), "worker ready");
                lines
                    .iter()
                    .find(|line| its_own(line))
                    .map(|line| Duration::from_micros(line.at_us - killed))
            })
        })
        .collect();
    taken.sort();
    daemon.stop();
    taken
}

/// Median time in which a worker's sandbox is closed, in microseconds.
fn put_up(role: &str, mode: &str) -> u64 {
    let took = |_| {
        let output = Command::new(binary("ggend"))
            .args(["worker", "--try-sandbox", role, mode])
            .stderr(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .find_map(|line| line.strip_prefix("took "))
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    let mut all: Vec<u64> = (0..21).map(took).collect();
    all.sort_unstable();
    all[10]
}

#[test]
fn a_sandbox_costs_little_at_the_start_of_a_worker() {
    for role in ["gateway", "http"] {
        println!(
            "sandbox of a {role} worker, debug build: closed in {} us (median of 21), {} us when off",
            put_up(role, "auto"),
            put_up(role, "off")
        );
    }
    let (off, auto) = (successors("off"), successors("auto"));
    let middle = |all: &[Duration]| all[all.len() / 2];
    println!(
        "SIGKILL to successor Ready, 24 times, debug build: median {:?} without a sandbox, {:?} with",
        middle(&off),
        middle(&auto)
    );
    assert!(
        middle(&auto) <= middle(&off) * 3 + Duration::from_millis(50),
        "{off:?} {auto:?}"
    );
}

#[test]
fn switched_off_it_is_off() {
    let daemon =
        daemon(json!({ "server": { "sandbox": "off" }, "mcpServers": { "f": fixture(&[]) } }))
            .start();
    daemon.until_upstream("f", |upstream| upstream.state == UpstreamState::Ready);
    for worker in daemon.status().workers {
        assert_eq!(worker.sandbox.as_deref(), Some("off"), "{}", worker.name);
        assert_eq!(
            status_of(worker.pid.unwrap())["Seccomp"],
            "0",
            "{}",
            worker.name
        );
    }
    daemon.stop();
}
