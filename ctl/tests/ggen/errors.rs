//! Whatever can be wrong with a daemon is one clear line, with its code, the next command and the
//! right exit code.

use crate::support::{Fake, Play, Ran, Sandbox, skipped};
use std::{
    os::unix::{fs::PermissionsExt, net::UnixListener, process::CommandExt},
    time::{Duration, Instant},
};

#[test]
fn no_socket() {
    let message = "Connection refused: the daemon is not running (no socket at {dir}/ggend.sock)";
    Sandbox::new().ggen("mcp list").fails(
        3,
        &format!("error[GGEN-E6001]: {message}\nhelp: ggen mcp server start"),
    );
    let json = Sandbox::new().ggen("mcp list --json");
    let value: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(
        value["error"],
        serde_json::json!({ "code": "GGEN-E6001", "message": message, "help": "ggen mcp server start" })
    );
    assert_eq!((json.code, json.stderr.as_str()), (3, ""));
}

#[test]
fn a_dead_socket() {
    let sandbox = Sandbox::new();
    drop(UnixListener::bind(sandbox.socket()).unwrap());
    sandbox.ggen("mcp list").fails(
        3,
        "error[GGEN-E6001]: Connection refused: the daemon is not running (nothing listens at {dir}/ggend.sock, the socket is a leftover)\n\
         help: ggen mcp server start",
    );
    assert_eq!(sandbox.ggen("mcp server status").code, 3);
}

#[test]
fn not_a_socket() {
    let sandbox = Sandbox::new();
    std::fs::write(sandbox.socket(), "").unwrap();
    sandbox.ggen("mcp list").fails(
        69,
        "error[GGEN-E6005]: {dir}/ggend.sock is not a socket\nhelp: ls -l {dir}/ggend.sock",
    );
}

#[test]
fn a_path_that_no_socket_can_have() {
    let ran = Sandbox::new().ggen(&format!("mcp list --socket /tmp/{}", "x".repeat(120)));
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr
            .starts_with("error: the socket's path has 125 bytes, more than the system allows"),
        "{}",
        ran.stderr
    );
}

#[test]
fn somebody_elses_socket() {
    const NOBODY: u32 = 65_534;
    let sandbox = Sandbox::new();
    let _listener = UnixListener::bind(sandbox.socket()).unwrap();
    std::fs::set_permissions(sandbox.socket(), PermissionsExt::from_mode(0o000)).unwrap();
    std::fs::set_permissions(sandbox.directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = sandbox.command("mcp server status");
    if nix::unistd::geteuid().is_root() {
        // Root may open every socket, so somebody else tries. Where the binary is closed to them
        // there is nothing to see.
        command.uid(NOBODY).gid(NOBODY);
        let reachable = std::process::Command::new(env!("CARGO_BIN_EXE_ggen"))
            .arg("--version")
            .uid(NOBODY)
            .gid(NOBODY)
            .output()
            .is_ok();
        if !reachable {
            skipped("needs a build folder that every user may read");
            return;
        }
    }
    let ran = Ran::of(&sandbox, &mut command);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(
        ran.stderr.starts_with(
            "error[GGEN-E6002]: Permission denied: {dir}/ggend.sock: it belongs to uid "
        ),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.ends_with("help: sudo ggen mcp server status\n"),
        "{}",
        ran.stderr
    );
}

const LOGS: &str = "\nhelp: ggen mcp server logs --tail 20";

#[test]
fn no_answer_at_all() {
    let fake = Fake::new(|_| Play::SendAndClose(Vec::new()));
    fake.ggen("mcp list").fails(
        69,
        &format!("error[GGEN-E6005]: the daemon closed the connection without an answer{LOGS}"),
    );
}

#[test]
fn a_half_written_reply() {
    let fake = Fake::new(|_| Play::SendAndClose(br#"{"parameters":{"vers"#.to_vec()));
    let message = "the daemon closed the connection in the middle of its answer, after 20 bytes";
    fake.ggen("mcp list")
        .fails(69, &format!("error[GGEN-E6005]: {message}{LOGS}"));
}

#[test]
fn garbage() {
    let fake = Fake::new(|_| Play::Send(b"HTTP/1.1 400 Bad Request\r\n\r\n\0".to_vec()));
    let ran = fake.ggen("mcp list");
    assert_eq!(ran.code, 69);
    assert!(
        ran.stderr.starts_with(
            "error[GGEN-E6005]: what answers at {dir}/ggend.sock does not speak ggend's protocol: "
        ),
        "{}",
        ran.stderr
    );
}

#[test]
fn an_endless_reply() {
    let fake = Fake::new(|_| Play::SendAndClose(vec![b'x'; 17 << 20]));
    fake.ggen("mcp list").fails(
        69,
        &format!("error[GGEN-E6005]: the answer is longer than 16777216 bytes{LOGS}"),
    );
}

#[test]
fn a_daemon_that_hangs() {
    let fake = Fake::new(|_| Play::Silence);
    let began = Instant::now();
    fake.ggen("mcp list --timeout 0.2").fails(
        69,
        "error[GGEN-E6005]: Connection timeout: the daemon did not answer within 200 ms ({dir}/ggend.sock)\n\
         help: ggen mcp server status --timeout 60",
    );
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn an_older_daemon_is_served_with_one_warning() {
    let fake = Fake::always(r#"{"parameters":{"version":"0.0.9","tools":[]}}"#);
    let ran = fake.ggen("mcp list");
    ran.fails(
        0,
        "warning[GGEN-E6003]: Versions differ: the running ggend 0.0.9 is older than ggen @VERSION@; \
         upgrade the daemon: ggen mcp server upgrade",
    );
    assert_eq!(ran.stdout, "Listing 0 MCP tools\n");
    fake.ggen("mcp list --quiet").fails(0, "");
}

#[test]
fn an_older_daemon_that_sends_less_is_still_shown() {
    let ran =
        Fake::always(r#"{"parameters":{"version":"0.0.9","status":{"pid":7,"phase":"running"}}}"#)
            .ggen("mcp server status");
    assert_eq!(ran.code, 0);
    assert!(ran.stdout.contains("PID: 7"), "{}", ran.stdout);
}

#[test]
fn an_older_daemon_that_lacks_the_method() {
    let fake = Fake::always(
        r#"{"error":"org.varlink.service.MethodNotFound","parameters":{"method":"io.ggend.Control.ListTools"}}"#,
    );
    fake.ggen("mcp list").fails(
        69,
        "error[GGEN-E6003]: the running ggend does not know io.ggend.Control.ListTools: it is older than ggen @VERSION@\n\
         help: ggen mcp server stop && ggen mcp server start",
    );
}

#[test]
fn a_newer_daemon_is_served_with_one_warning() {
    let fake =
        Fake::always(r#"{"parameters":{"version":"99.10.0","tools":[],"new":1},"newer":true}"#);
    fake.ggen("mcp list")
        .fails(0, "warning[GGEN-E6003]: Versions differ: the running ggend 99.10.0 is newer than ggen @VERSION@; update ggen");
}

#[test]
fn a_newer_daemon_whose_answer_is_not_understood() {
    let ran = Fake::always(r#"{"parameters":{"version":"99.0.0","catalogue":{}}}"#)
        .ggen("mcp list --quiet");
    assert_eq!(ran.code, 69);
    assert!(
        ran.stderr.starts_with(
            "error[GGEN-E6003]: ggend 99.0.0 answers in a form that ggen @VERSION@ does not know"
        ),
        "{}",
        ran.stderr
    );
}

#[test]
fn an_error_with_a_code_that_is_not_in_the_table_is_shown_as_it_is() {
    let reply = r#"{"error":"io.ggend.Control.Failed","parameters":{"version":"@VERSION@","code":"GGEN-E9999","message":"new trouble","help":"new help"}}"#;
    Fake::always(reply)
        .ggen("mcp list")
        .fails(1, "error[GGEN-E9999]: new trouble\nhelp: new help");
}

#[test]
fn an_answer_to_another_question() {
    let fake = Fake::always(r#"{"parameters":{"version":"@VERSION@","done":"x"}}"#);
    fake.ggen("mcp list")
        .fails(69, &format!("error[GGEN-E6005]: the daemon answered with an outcome, which does not belong to the call{LOGS}"));
}
