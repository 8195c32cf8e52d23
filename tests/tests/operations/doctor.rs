//! `ggen mcp doctor` and `ggen mcp test-connection` against real states: each is provoked, must be
//! named with its code and the command that helps, and where that that can be run here,
//! following it must fix it.

use ggen_wire::status::UpstreamState;
use ggend_tests::{pki::Pki, sandbox::binary, *};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, UdpSocket},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime},
};
use tempfile::TempDir;

/// The whole run's bound, with room for a busy machine.
const BOUND: Duration = Duration::from_secs(20);

const NOBODY: u32 = 65_534;

/// A home in which no daemon runs.
struct Down {
    // Removed with everything in it when dropped.
    _directory: TempDir,
    root: PathBuf,
}

impl Down {
    fn new(config: &Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        for name in ["home", "run"] {
            fs::create_dir(root.join(name)).unwrap();
        }
        fs::write(root.join("mcp.json"), config.to_string()).unwrap();
        Self {
            _directory: directory,
            root,
        }
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .current_dir(&self.root)
            .stdin(Stdio::null());
        command
            .env("PATH", path())
            .env("HOME", self.root.join("home"))
            .env("GGEN_RUNTIME_DIR", self.root.join("run"));
        command.env("GGEN_STATE_DIR", self.root.join("state"));
        command
    }

    fn ggen(&self, line: &str) -> Ran {
        let config = self.root.join("mcp.json");
        ran(self
            .command(&binary("ggen"))
            .arg("--config")
            .arg(config)
            .args(line.split(' ')))
    }

    /// The same as an ordinary user, because root starts no server. `None`: this user cannot run our
    /// programs.
    fn ggen_of_a_user(&self, line: &str) -> Option<Ran> {
        if !nix::unistd::geteuid().is_root() {
            return Some(self.ggen(line));
        }
        for name in ["", "home", "run", "mcp.json"] {
            std::os::unix::fs::chown(self.root.join(name), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let as_nobody = || {
            let mut command = self.command(&binary("ggen"));
            command.uid(NOBODY).gid(NOBODY);
            command
        };
        if as_nobody().arg("--version").output().is_err() {
            skipped("the programs cannot be run by another user than root");
            return None;
        }
        let mut command = as_nobody();
        command.arg("--config").arg(self.root.join("mcp.json"));
        command.args(line.split(' '));
        Some(ran(&mut command))
    }

    #[track_caller]
    fn assert_nothing_is_left(&self) {
        let home = self.root.join("home");
        let gone = within(Duration::from_secs(10), || {
            process::of_sandbox(&home, None).is_empty().then_some(())
        });
        assert!(
            gone.is_some(),
            "left behind: {:#?}",
            process::of_sandbox(&home, None)
        );
    }
}

/// Our binaries first, so that a command can be typed as it is printed.
fn path() -> String {
    format!(
        "{}:{}",
        binary("ggen").parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    )
}

fn ran(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let ran = Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    };
    assert!(
        !ran.stdout.contains('\u{1b}') && !ran.stderr.contains('\u{1b}'),
        "escape codes on a pipe: {}{}",
        ran.stdout,
        ran.stderr
    );
    ran
}

/// The issue with this code: its lines.
#[track_caller]
fn issue<'a>(ran: &'a Ran, code: &str) -> &'a str {
    let found = ran.stdout.split("\n\n").find(|part| {
        part.lines()
            .next()
            .is_some_and(|line| line.contains(&format!("{code}: ")))
    });
    found.unwrap_or_else(|| panic!("no {code} in\n{}{}", ran.stdout, ran.stderr))
}

/// The command that is printed for a code.
#[track_caller]
fn help_for<'a>(ran: &'a Ran, code: &str) -> &'a str {
    issue(ran, code)
        .lines()
        .find_map(|line| line.trim().strip_prefix("help: "))
        .expect("a command that helps")
}

fn without_ports(servers: Value) -> Value {
    json!({ "transports": { "http": { "port": 0 } }, "metrics": { "port": 0 }, "mcpServers": servers })
}

#[track_caller]
fn assert_healthy(daemon: &Daemon) {
    let is_healthy = |ran: &Ran| ran.code == 0 && ran.stdout.ends_with("\nIssues: None found\n");
    let mut ran = daemon.ggen(&["mcp", "doctor"]);
    // On a busy machine an answer may come later than doctor waits for it, which it rightly says.
    for _ in 0..5 {
        if is_healthy(&ran) || !ran.stdout.contains("GGEN-E6007") {
            break;
        }
        ran = daemon.ggen(&["mcp", "doctor"]);
    }
    assert!(is_healthy(&ran), "{}{}", ran.stdout, ran.stderr);
}

/// Types a printed command into a shell in the daemon's sandbox.
#[track_caller]
fn follow(daemon: &Daemon, help: &str) {
    let mut command = daemon.sandbox.command("ggen");
    let environment: Vec<_> = command
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect();
    let mut shell = Command::new("sh");
    shell
        .env_clear()
        .envs(environment)
        .env("PATH", path())
        .current_dir(command.get_current_dir().unwrap_or(Path::new("/")));
    command = shell;
    let ran = ran(command.args(["-c", help]).stdin(Stdio::null()));
    assert_eq!(ran.code, 0, "{help}: {}{}", ran.stdout, ran.stderr);
}

#[test]
fn a_healthy_daemon_has_the_guides_layout_and_no_issues() {
    let daemon = daemon(without_ports(
        json!({ "one": fixture(&[]), "two": fixture(&["--era", "legacy"]) }),
    ))
    .start();
    daemon.until_ready(&["one", "two"]);
    let ran = daemon.ggen(&["mcp", "doctor"]);
    let line = |label: &str| {
        ran.stdout
            .lines()
            .find(|line| line.starts_with(label))
            .unwrap_or_default()
            .to_owned()
    };
    let (uptime, tools) = (line("  Uptime: "), line("  Tools: "));
    assert!(
        uptime.ends_with('s') && tools.ends_with(" available") && tools != "  Tools: 0 available",
        "{uptime} {tools}"
    );
    let golden = format!(
        "MCP Connection Diagnostics\n\
         ==========================\n\n\
         Server Status: Running\n  PID: {}\n{uptime}\n  Address: {}\n\n\
         Configuration: Valid\n  Config file: {}\n  Version: 1.0\n\n\
         Connectivity: OK\n  HTTP: Connected\n  WebSocket: Connected\n{tools}\n\n\
         Issues: None found\n",
        daemon.pid,
        daemon.http,
        daemon.sandbox.config().display(),
    );
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str(), ran.code),
        (golden.as_str(), "", 0)
    );

    let verbose = daemon.ggen(&["mcp", "doctor", "--verbose"]);
    let checks = verbose
        .stdout
        .lines()
        .filter(|line| line.starts_with("  ✓ "))
        .count();
    assert!(
        checks >= 20 && !verbose.stdout.contains('✗') && !verbose.stdout.contains("  ! "),
        "{}",
        verbose.stdout
    );

    let json = daemon.ggen(&["mcp", "doctor", "--format", "json"]);
    let value: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(
        (&value["issues"], &value["server"]["pid"], json.code),
        (&json!([]), &json!(daemon.pid), 0)
    );
    let keys: Vec<_> = value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        keys,
        [
            "checks",
            "configuration",
            "connectivity",
            "errors",
            "issues",
            "server",
            "warnings"
        ]
    );
    daemon.stop();
}

#[test]
fn the_servers_of_a_daemon_that_is_down_are_tried_for_real_and_nothing_is_left() {
    let down = Down::new(&without_ports(json!({
        "well": fixture(&["--fault", "fork"]),
        "gone": { "command": "no-such-program" },
        "dies": fixture(&["--fault", "exit-at-start"]),
        "hangs": fixture(&["--fault", "hang-on-init"]),
        "stubborn": fixture(&["--fault", "ignore-term"]),
    })));
    let began = Instant::now();
    let Some(ran) = down.ggen_of_a_user("mcp doctor --verbose") else {
        return;
    };
    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
    assert_eq!(ran.code, 2, "{}{}", ran.stdout, ran.stderr);
    assert!(
        ran.stdout.contains("Server Status: Stopped\n  Socket: ")
            && ran.stdout.contains("Connectivity: Failed"),
        "{}",
        ran.stdout
    );
    assert_eq!(help_for(&ran, "GGEN-E6001"), "ggen mcp server start");
    assert!(
        issue(&ran, "GGEN-E2103").contains("Command not found: no-such-program"),
        "{}",
        ran.stdout
    );
    assert_eq!(
        help_for(&ran, "GGEN-E2103"),
        "ggen mcp config set mcpServers.gone.command=/full/path/to/no-such-program"
    );
    let dead = issue(&ran, "GGEN-E2102");
    assert!(
        dead.contains("upstream dies ")
            && dead.contains("exit status 3")
            && dead.contains("stderr: fixture: exiting at start"),
        "{dead}"
    );
    assert_eq!(
        help_for(&ran, "GGEN-E2102"),
        "ggen mcp server start && ggen mcp server logs --upstream dies --tail 20"
    );
    let silent = issue(&ran, "GGEN-E2104");
    assert!(
        silent.contains("upstream hangs ") && silent.trim_start().starts_with('!'),
        "{silent}"
    );
    let served = |name: &str| {
        ran.stdout.lines().any(|line| {
            line.trim().starts_with(&format!("{name}: ")) && line.contains(" tools (started ")
        })
    };
    assert!(served("well") && served("stubborn"), "{}", ran.stdout);
    down.assert_nothing_is_left();
}

#[test]
fn a_port_that_somebody_else_holds_is_named_with_its_holder() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let down = Down::new(
        &json!({ "transports": { "http": { "port": port, "ssl": { "enabled": false } } }, "metrics": { "port": 0 } }),
    );
    let ran = down.ggen("mcp doctor");
    let taken = issue(&ran, "GGEN-E1101");
    assert!(
        taken.contains(&format!(
            "port {port} (http) is taken by pid {} (",
            std::process::id()
        )),
        "{taken}"
    );
    assert!(
        help_for(&ran, "GGEN-E1101").starts_with("ggen mcp config set transports.http.port="),
        "{taken}"
    );
    drop(holder);
    assert!(!down.ggen("mcp doctor").stdout.contains("GGEN-E1101"));
}

#[test]
fn an_invalid_configuration_is_shown_with_its_place() {
    let down = Down::new(&json!({ "transports": { "http": { "prot": 1 } } }));
    let ran = down.ggen("mcp doctor");
    assert!(
        ran.stdout
            .contains("Configuration: Invalid\n  Config file: ")
            && ran.code == 2,
        "{}",
        ran.stdout
    );
    let unknown = issue(&ran, "GGEN-E1002");
    assert!(
        unknown.contains("did you mean `port`?") && unknown.contains("mcp.json:1:"),
        "{unknown}"
    );
    assert_eq!(
        help_for(&ran, "GGEN-E1002"),
        "ggen mcp config unset transports.http.prot"
    );
}

#[test]
fn modes_that_let_others_in_are_warnings_and_the_command_fixes_them() {
    let daemon = daemon(without_ports(json!({}))).start();
    assert_healthy(&daemon);
    fs::set_permissions(daemon.sandbox.config(), PermissionsExt::from_mode(0o666)).unwrap();
    fs::set_permissions(daemon.sandbox.socket(), PermissionsExt::from_mode(0o666)).unwrap();
    let ran = daemon.ggen(&["mcp", "doctor"]);
    assert_eq!(ran.code, 1, "{}", ran.stdout);
    assert_eq!(
        help_for(&ran, "GGEN-E1009"),
        format!("chmod o-w {}", daemon.sandbox.config().display())
    );
    assert_eq!(
        help_for(&ran, "GGEN-E6011"),
        format!("chmod 660 {}", daemon.sandbox.socket().display())
    );
    follow(&daemon, help_for(&ran, "GGEN-E1009"));
    follow(&daemon, help_for(&ran, "GGEN-E6011"));
    assert_healthy(&daemon);
    daemon.stop();
}

#[test]
fn a_file_that_is_newer_than_what_runs_is_named_by_its_keys() {
    let mut daemon = daemon(without_ports(json!({}))).start();
    daemon
        .sandbox
        .write_config(&without_ports(json!({ "late": fixture(&[]) })));
    let ran = daemon.ggen(&["mcp", "doctor"]);
    assert!(
        issue(&ran, "GGEN-E1010").contains("differs from what runs in mcpServers.late")
            && ran.code == 1,
        "{}",
        ran.stdout
    );
    follow(&daemon, help_for(&ran, "GGEN-E1010"));
    daemon.until_ready(&["late"]);
    assert_healthy(&daemon);
    daemon.stop();
}

#[test]
fn a_variable_that_overrides_the_file_is_named() {
    let down = Down::new(&without_ports(json!({})));
    let ran = ran(down
        .command(&binary("ggen"))
        .args(["mcp", "doctor", "--config", "mcp.json"])
        .env("GGEN_MCP_SERVER_WORKERS", "3"));
    assert!(
        !ran.stdout.contains("GGEN-E1011"),
        "a key that the file does not have is not overridden: {}",
        ran.stdout
    );
    let command = &mut down.command(&binary("ggen"));
    let ran = self::ran(
        command
            .args(["mcp", "doctor", "--config", "mcp.json"])
            .env("GGEN_MCP_METRICS_PORT", "1"),
    );
    assert!(
        issue(&ran, "GGEN-E1011").contains("GGEN_MCP_METRICS_PORT says 1, "),
        "{}",
        ran.stdout
    );
    assert_eq!(help_for(&ran, "GGEN-E1011"), "unset GGEN_MCP_METRICS_PORT");
}

#[test]
fn an_upstream_in_a_crash_loop_is_shown_with_its_last_words() {
    let boom = json!({ "command": "sh", "args": ["-c", "echo boom >&2; exit 3"] });
    let daemon = daemon(without_ports(
        json!({ "boom": boom, "gone": { "command": "no-such-program" } }),
    ))
    .start();
    daemon.until_upstream("boom", |upstream| {
        upstream.state == UpstreamState::CrashLoop
    });
    daemon.until_upstream("gone", |upstream| {
        upstream.state == UpstreamState::CrashLoop
    });
    let ran = daemon.ggen(&["mcp", "doctor"]);
    let looping = issue(&ran, "GGEN-E2106");
    assert!(
        looping.contains("upstream boom is in a crash loop")
            && looping.contains("boom")
            && ran.code == 2,
        "{}",
        ran.stdout
    );
    assert_eq!(
        help_for(&ran, "GGEN-E2106"),
        "ggen mcp server logs --upstream boom --tail 20"
    );
    assert_eq!(
        help_for(&ran, "GGEN-E2103"),
        "ggen mcp config set mcpServers.gone.command=/full/path/to/no-such-program"
    );
    assert!(
        ran.stdout.contains("Server Status: Degraded") && ran.stdout.contains("Connectivity: OK"),
        "{}",
        ran.stdout
    );
    daemon.stop();
}

#[test]
fn a_stopped_worker_is_found_at_once_and_the_command_fixes_it() {
    let daemon = daemon(without_ports(json!({}))).start();
    let pid = daemon.worker_pid("admin-0").unwrap();
    process::signal(pid, Signal::SIGSTOP);
    let ran = daemon.ggen(&["mcp", "doctor"]);
    assert!(
        issue(&ran, "GGEN-E1202").contains("worker admin-0 is stopped") && ran.code == 2,
        "{}",
        ran.stdout
    );
    assert_eq!(help_for(&ran, "GGEN-E1202"), format!("kill -CONT {pid}"));
    // The supervisor may have been faster.
    process::signal(pid, Signal::SIGCONT);
    until("the worker is well", || {
        (daemon.ggen(&["mcp", "doctor"]).code == 0).then_some(())
    });
    daemon.stop();
}

#[test]
fn a_daemon_that_does_not_answer_is_told_apart_from_one_that_is_down() {
    let daemon = daemon(without_ports(json!({}))).start();
    daemon.signal(Signal::SIGSTOP);
    let began = Instant::now();
    let ran = daemon.ggen(&["mcp", "doctor"]);
    let took = began.elapsed();
    daemon.signal(Signal::SIGCONT);
    assert!(took < BOUND, "{took:?}");
    assert!(
        ran.stdout.contains("Server Status: Not answering") && ran.code == 2,
        "{}",
        ran.stdout
    );
    assert!(
        issue(&ran, "GGEN-E6005").contains("the process is stopped"),
        "{}",
        ran.stdout
    );
    assert_eq!(
        help_for(&ran, "GGEN-E6005"),
        format!("kill -CONT {}", daemon.pid)
    );
    daemon.stop();
}

#[test]
fn a_socket_that_is_left_over_is_removed_by_the_command_that_is_printed() {
    let mut daemon = daemon(without_ports(json!({ "one": fixture(&[]) }))).start();
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    let config = daemon.sandbox.config().display().to_string();
    let ran = daemon.ggen(&["mcp", "doctor", "--config", &config]);
    assert!(
        issue(&ran, "GGEN-E6010").contains("has no listener"),
        "{}",
        ran.stdout
    );
    assert_eq!(
        (help_for(&ran, "GGEN-E6010"), help_for(&ran, "GGEN-E6001")),
        ("ggen mcp server start", "ggen mcp server start")
    );
    follow(
        &daemon,
        &format!("{} --config {config}", help_for(&ran, "GGEN-E6010")),
    );
    until("its server is ready", || {
        (daemon.upstream("one").state == UpstreamState::Ready).then_some(())
    });
    assert_healthy(&daemon);
    assert_eq!(daemon.ggen(&["mcp", "server", "stop"]).code, 0);
}

#[test]
fn safe_fixes_are_run_when_asked_for() {
    let mut daemon = daemon(without_ports(json!({ "one": fixture(&[]) }))).start();
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    until("everything has ended", || {
        daemon.sandbox.processes(None).is_empty().then_some(())
    });
    fs::set_permissions(daemon.sandbox.config(), PermissionsExt::from_mode(0o666)).unwrap();
    let config = daemon.sandbox.config().display().to_string();
    let doctor = |daemon: &Daemon, more: &[&str]| {
        daemon.ggen(&[&["mcp", "doctor", "--config", &config][..], more].concat())
    };

    // Nobody is there to be asked.
    let ran = doctor(&daemon, &["--fix"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("help: ggen mcp doctor --fix --yes"),
        "{}",
        ran.stderr
    );
    assert!(
        doctor(&daemon, &[]).stdout.contains("GGEN-E6010"),
        "nothing was run"
    );

    let ran = doctor(&daemon, &["--fix", "--yes"]);
    let commands: Vec<_> = ran
        .stdout
        .lines()
        .filter(|line| line.starts_with("$ "))
        .collect();
    assert_eq!(
        commands,
        [&format!("$ chmod o-w {config}"), "$ ggen mcp server start"],
        "{}",
        ran.stdout
    );
    assert!(
        ran.code == 0 && ran.stdout.ends_with("\nIssues: None found\n"),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
    until("its server is ready", || {
        (daemon.upstream("one").state == UpstreamState::Ready).then_some(())
    });

    daemon.sandbox.write_config(&without_ports(
        json!({ "one": fixture(&[]), "late": fixture(&[]) }),
    ));
    let ran = doctor(&daemon, &["--fix", "--yes", "--json"]);
    let value: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (&value["fixed"][0]["command"], &value["fixed"][0]["status"]),
        (&json!("ggen mcp server reload"), &json!("done")),
        "{value:#}"
    );
    daemon.until_ready(&["one", "late"]);
    let ran = doctor(&daemon, &["--fix", "--yes"]);
    assert!(
        ran.code == 0 && ran.stdout.starts_with("None of this can be fixed"),
        "{}",
        ran.stdout
    );
    assert_eq!(daemon.ggen(&["mcp", "server", "stop"]).code, 0);
}

#[test]
fn a_bundle_has_what_a_report_needs() {
    let mut daemon = daemon(without_ports(json!({ "one": fixture(&[]) }))).start();
    daemon.until_ready(&["one"]);
    let file = daemon.sandbox.path("work/report.tar");
    let path = file.display().to_string();
    let ran = daemon.ggen(&["mcp", "doctor", "--bundle", &path]);
    assert!(
        ran.code == 0 && ran.stdout.contains("\nBundle: "),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    // With the program that whoever reads it has.
    let tar = |arguments: &[&str]| {
        String::from_utf8(Command::new("tar").args(arguments).output().unwrap().stdout).unwrap()
    };
    let names = tar(&["-tf", &path]);
    for name in [
        "doctor.txt",
        "doctor.json",
        "versions.txt",
        "config.json",
        "config-in-force.json",
        "status.json",
        "metrics.txt",
        "logs.jsonl",
    ] {
        assert!(
            names
                .lines()
                .any(|line| line == format!("ggend-bundle/{name}")),
            "{name} in {names}"
        );
    }
    let status: Value =
        serde_json::from_str(&tar(&["-xOf", &path, "ggend-bundle/status.json"])).unwrap();
    assert_eq!(status["pid"], daemon.pid);
    let first = tar(&["-xOf", &path, "ggend-bundle/logs.jsonl"])
        .lines()
        .next()
        .map(str::to_owned)
        .unwrap();
    assert!(
        serde_json::from_str::<Value>(&first).unwrap()["message"].is_string(),
        "{first}"
    );
    // Nothing is written over.
    let before = fs::read(&file).unwrap();
    let ran = daemon.ggen(&["mcp", "doctor", "--bundle", &path]);
    assert!(
        ran.code == 73 && ran.stderr.contains("no bundle was written"),
        "{} {}{}",
        ran.code,
        ran.stdout,
        ran.stderr
    );
    assert!(fs::read(&file).unwrap() == before);
    // Also of a daemon that is down: what can be seen then.
    daemon.signal(Signal::SIGTERM);
    daemon.wait();
    let path = daemon.sandbox.path("work/down.tar").display().to_string();
    assert_eq!(daemon.ggen(&["mcp", "doctor", "--bundle", &path]).code, 2);
    assert!(tar(&["-tf", &path]).contains("doctor.json"));
    fs::remove_file(&path).unwrap();
    fs::remove_file(&file).unwrap();
}

#[test]
fn a_connection_is_tested_layer_by_layer() {
    let daemon = daemon(without_ports(json!({}))).start();
    let ran = daemon.ggen(&["mcp", "test-connection"]);
    assert!(
        ran.stdout.starts_with(&format!(
            "Testing MCP connection: http://{}/mcp\n\n  ✓ DNS: ",
            daemon.http
        )),
        "{}",
        ran.stdout
    );
    for layer in [
        "TCP connect",
        "HTTP",
        "MCP discover",
        "MCP initialize",
        "tools/list",
    ] {
        assert!(
            ran.stdout.contains(&format!("  ✓ {layer}: ")),
            "{layer}: {}",
            ran.stdout
        );
    }
    assert!(
        ran.stdout.contains("\nConnection OK (") && ran.code == 0,
        "{}",
        ran.stdout
    );
    assert_eq!(
        daemon.status().sessions,
        0,
        "a check leaves no session behind"
    );

    let ran = daemon.ggen(&["mcp", "test-connection", "--tool", "server-statu"]);
    assert!(
        ran.stdout
            .contains("Tool not found: server-statu  [GGEN-E3012]")
            && ran.code == 1,
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout.contains("the closest is ")
            && ran.stdout.ends_with("help: ggen mcp list --refresh\n"),
        "{}",
        ran.stdout
    );
    let json = daemon.ggen(&["mcp", "test-connection", "--json", "--transport", "quic"]);
    let value: Value = serde_json::from_str(&json.stdout).unwrap();
    let steps: Vec<_> = value["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["layer"].as_str().unwrap())
        .collect();
    assert_eq!((&value["ok"], json.code), (&json!(true), 0), "{value}");
    assert_eq!(
        steps,
        [
            "QUIC",
            "TLS over QUIC",
            "HTTP/3",
            "MCP over HTTP/3",
            "tools/list"
        ],
        "{value}"
    );
    let seen = |at: usize| value["steps"][at]["seen"].as_str().unwrap();
    assert!(
        seen(1).starts_with("TLSv1_3, self-signed") && seen(1).ends_with(", h3"),
        "{value}"
    );
    assert_eq!(
        (seen(2), seen(3)),
        ("status 200 from /health", "2026-07-28")
    );
    assert_eq!(
        daemon.status().sessions,
        0,
        "a check leaves no session behind"
    );
    let doctor = daemon.ggen(&["mcp", "doctor", "--verbose"]);
    assert!(
        doctor.stdout.contains(": h3, TLSv1_3, ")
            && doctor.stdout.contains(" days left, /health answers 200"),
        "{}",
        doctor.stdout
    );
    // Over TLS, the same as without.
    let secure = daemon.ggen(&["mcp", "test-connection", "--transport", "https"]);
    assert!(
        secure.stdout.contains("  ✓ MCP discover: ") && secure.code == 0,
        "{}",
        secure.stdout
    );
    daemon.stop();

    let legacy = RemoteFixture::start(&["--era", "legacy"]);
    let ran = Down::new(&json!({})).ggen(&format!(
        "mcp test-connection {} --transport http",
        legacy.url
    ));
    assert!(
        ran.stdout.contains("  - MCP discover: not spoken (")
            && ran.stdout.contains("  ✓ MCP initialize: "),
        "{}",
        ran.stdout
    );
    assert_eq!(ran.code, 0, "{}", ran.stdout);
}

#[test]
fn the_layer_that_fails_is_named_in_the_guides_words() {
    let down = Down::new(&json!({}));
    let failing = |url: &str, layer: &str, message: &str, code: &str| {
        let ran = down.ggen(&format!("mcp test-connection {url} --timeout 0.5"));
        let first = format!("  ✗ {layer}: {message}");
        assert!(
            ran.stdout
                .lines()
                .any(|line| line.starts_with(&first) && line.contains(&format!("[{code}]"))),
            "{url}: {}",
            ran.stdout
        );
        assert!(
            ran.stdout
                .contains(&format!("\nConnection failed at {layer}\n  help: "))
                && ran.code == 1,
            "{}",
            ran.stdout
        );
    };
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    failing(
        &format!("http://{free}/mcp"),
        "TCP connect",
        "Connection refused",
        "GGEN-E6006",
    );
    failing(
        "http://no-such-host.invalid/mcp",
        "DNS",
        "the name no-such-host.invalid does not resolve",
        "GGEN-E6008",
    );
    failing(
        "ftp://127.0.0.1/",
        "URL",
        "there is no URL to connect to",
        "GGEN-E1004",
    );

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    failing(
        &format!("http://{}/mcp", silent.local_addr().unwrap()),
        "HTTP",
        "Connection timeout",
        "GGEN-E6007",
    );

    let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = foreign.local_addr().unwrap();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = foreign.accept().unwrap();
        stream.write_all(b"SSH-2.0-something\r\n").unwrap();
        // Until the client has had enough.
        drop(stream.read_to_end(&mut Vec::new()));
    });
    failing(
        &format!("http://{address}/mcp"),
        "HTTP",
        "Invalid answer",
        "GGEN-E6009",
    );
    serving.join().unwrap();
}

/// A QUIC server that is not ours, with a certificate for that name until then, and that protocol.
struct Foreign {
    address: SocketAddr,
    // Serves until it is dropped.
    _runtime: tokio::runtime::Runtime,
}

impl Foreign {
    fn start(protocol: &[u8], name: &str, until: SystemTime) -> Self {
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = until.into();
        let key = rcgen::KeyPair::generate().unwrap();
        let own = params.self_signed(&key).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap();
        let mut tls = tls
            .with_no_client_auth()
            .with_single_cert(vec![own.der().clone()], key)
            .unwrap();
        tls.alpn_protocols = vec![protocol.to_vec()];
        let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(tls).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let address = runtime.block_on(async move {
            let config = quinn::ServerConfig::with_crypto(std::sync::Arc::new(crypto));
            let endpoint = quinn::Endpoint::server(config, ([127, 0, 0, 1], 0).into()).unwrap();
            let address = endpoint.local_addr().unwrap();
            tokio::spawn(async move {
                let mut open = Vec::new();
                while let Some(incoming) = endpoint.accept().await {
                    open.extend(incoming.await.ok());
                }
            });
            address
        });
        Self {
            address,
            _runtime: runtime,
        }
    }
}

#[test]
fn what_is_wrong_with_a_quic_port_is_told_apart() {
    let down = Down::new(&json!({}));
    let failing =
        |address: SocketAddr, timeout: &str, layer: &str, message: &str, code: &str, seen: &str| {
            let ran = down.ggen(&format!(
                "mcp test-connection https://localhost:{}/mcp --transport quic --timeout {timeout}",
                address.port()
            ));
            let first = format!("  ✗ {layer}: {message}");
            assert!(
                ran.stdout
                    .lines()
                    .any(|line| line.starts_with(&first) && line.contains(&format!("[{code}]"))),
                "{}",
                ran.stdout
            );
            assert!(
                ran.stdout.contains(seen) && ran.code == 1,
                "{seen}: {}",
                ran.stdout
            );
            assert!(
                ran.stdout
                    .contains(&format!("\nConnection failed at {layer}\n  help: ")),
                "{}",
                ran.stdout
            );
        };
    // Nobody; somebody who says nothing; somebody who says something else.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    failing(
        address,
        "0.5",
        "QUIC",
        "Connection timeout",
        "GGEN-E6007",
        "no answer to a QUIC packet",
    );
    let serving = std::thread::spawn(move || {
        // What is left of the silence is answered too; one byte is the end.
        let mut packet = [0; 1500];
        while let Ok((2.., client)) = socket.recv_from(&mut packet) {
            socket
                .send_to(b"something else", client)
                .unwrap_or_default();
        }
    });
    failing(
        address,
        "10",
        "QUIC",
        "Not QUIC",
        "GGEN-E6009",
        "another answer than QUIC's",
    );
    UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .send_to(&[0], address)
        .unwrap();
    serving.join().unwrap();
    failing(
        address,
        "10",
        "QUIC",
        "Connection refused",
        "GGEN-E6006",
        "refused",
    );

    let later = SystemTime::now() + Duration::from_secs(90 * 24 * 3600);
    let other = Foreign::start(b"hq-interop", "localhost", later);
    failing(
        other.address,
        "10",
        "TLS over QUIC",
        "Not HTTP/3",
        "GGEN-E6009",
        "h3 is not spoken",
    );
    let expired = Foreign::start(
        b"h3",
        "localhost",
        SystemTime::now() - Duration::from_secs(2 * 24 * 3600),
    );
    failing(
        expired.address,
        "10",
        "TLS over QUIC",
        "Certificate verify failed",
        "GGEN-E4030",
        "it has expired",
    );
    let named = Foreign::start(b"h3", "elsewhere.test", later);
    failing(
        named.address,
        "10",
        "TLS over QUIC",
        "Certificate verify failed",
        "GGEN-E4030",
        "not made for localhost, but for elsewhere.test",
    );
    // It shakes hands and answers nothing.
    let silent = Foreign::start(b"h3", "localhost", later);
    failing(
        silent.address,
        "2",
        "HTTP/3",
        "Connection timeout",
        "GGEN-E6007",
        "no answer within",
    );
}

#[test]
fn a_certificate_that_clients_of_quic_refuse_is_a_finding() {
    let nobody = daemon(Value::Null).idle();
    let pki = Pki::new(&nobody.sandbox, "pki");
    let (cert, key) = pki.make(&nobody.sandbox, "--server", "elsewhere.test");
    let mut config = without_ports(json!({}));
    config["transports"]["http"]["ssl"] = json!({ "enabled": false, "cert": cert, "key": key });
    let daemon = nobody.begin(&config);
    let ran = daemon.ggen(&["mcp", "doctor"]);
    assert!(
        issue(&ran, "GGEN-E4030").contains("authority is not known") && ran.code == 1,
        "{}",
        ran.stdout
    );
    let ran = daemon.ggen(&["mcp", "test-connection", "--transport", "quic"]);
    assert!(
        ran.stdout
            .contains("  ✗ TLS over QUIC: Certificate verify failed")
            && ran.code == 1,
        "{}",
        ran.stdout
    );
    let mut command = daemon.sandbox.command("ggen");
    let ran = self::ran(
        command
            .args(["mcp", "test-connection", "--transport", "quic"])
            .env("SSL_CERT_FILE", pki.file("ca.pem")),
    );
    assert!(
        ran.stdout
            .contains("not made for localhost, but for elsewhere.test")
            && ran.code == 1,
        "{}",
        ran.stdout
    );
    daemon.stop();
}

#[test]
fn a_quic_port_that_wants_a_client_certificate_says_so() {
    let nobody = daemon(Value::Null).idle();
    let pki = Pki::new(&nobody.sandbox, "pki");
    let mut config = without_ports(json!({}));
    config["auth"] =
        json!({ "mtls": { "enabled": true, "ca_cert": pki.file("ca.pem"), "required": true } });
    let daemon = nobody.begin(&config);
    let ran = daemon.ggen(&["mcp", "test-connection", "--transport", "quic"]);
    assert!(
        ran.stdout.contains("  ✓ TLS over QUIC: ") && ran.code == 1,
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout.contains("  ✗ HTTP/3: Certificate verify failed")
            && ran.stdout.contains("wants a client certificate"),
        "{}",
        ran.stdout
    );
    let doctor = daemon.ggen(&["mcp", "doctor", "--verbose"]);
    assert!(
        doctor
            .stdout
            .contains("no answer without a client certificate")
            && !doctor.stdout.contains("TLS over QUIC"),
        "{}",
        doctor.stdout
    );
    daemon.stop();
}
