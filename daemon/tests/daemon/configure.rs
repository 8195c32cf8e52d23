//! `ggend config` as a program: writers that run at once and are killed, what a pipe gets, exit
//! codes.

use ggend_tests::SetOnDrop;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

struct Sandbox(tempfile::TempDir);

impl Sandbox {
    fn with(text: &str) -> Self {
        let sandbox = Self(tempfile::tempdir().unwrap());
        fs::write(sandbox.file(), text).unwrap();
        sandbox
    }

    fn file(&self) -> PathBuf {
        self.0.path().join(".mcp.json")
    }

    fn read(&self) -> Value {
        serde_json::from_slice(&fs::read(self.file()).unwrap()).expect("the file is JSON")
    }

    fn ggend(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ggend"));
        command
            .args(arguments)
            .current_dir(self.0.path())
            .env_clear()
            .env("HOME", self.0.path())
            .env("GGEN_RUNTIME_DIR", self.0.path());
        command.env("GGEN_STATE_DIR", self.0.path().join("state"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let output = self.ggend(arguments).output().unwrap();
        assert!(
            !output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b),
            "escape codes on a pipe"
        );
        output
    }

    fn set(&self, assignments: &[String]) -> Child {
        let mut words = vec!["config", "set"];
        words.extend(assignments.iter().map(String::as_str));
        self.ggend(&words).spawn().unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Kills after a time that differs from one to the next, from at once to after the end.
fn kill_after(child: &mut Child, time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    child.kill().unwrap();
}

#[test]
fn a_hundred_writers_killed_at_any_moment_leave_one_of_the_written_versions() {
    // Long enough that a write takes more than one call.
    let filler = "x".repeat(200_000);
    let sandbox = Sandbox::with(&format!(
        "{{\n  \"description\": \"{filler}\",\n  \"server\": {{ \"drain_timeout_ms\": 1, \"connection_pool\": 1 }}\n}}\n"
    ));
    let ended = AtomicBool::new(false);
    let looked = AtomicUsize::new(0);
    let seen = std::thread::scope(|scope| {
        let end = SetOnDrop(&ended);
        let reader = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !ended.load(Ordering::SeqCst) {
                let value = sandbox.read();
                assert_eq!(
                    value["description"].as_str().map(str::len),
                    Some(filler.len())
                );
                // Both keys are of the same write, or the write was torn.
                assert_eq!(
                    value["server"]["drain_timeout_ms"],
                    value["server"]["connection_pool"]
                );
                seen.insert(value["server"]["connection_pool"].as_u64().unwrap());
                looked.fetch_add(1, Ordering::SeqCst);
            }
            seen
        });
        // How long a whole one takes here decides when the others are killed.
        let began = Instant::now();
        let first = [
            "server.drain_timeout_ms=2".to_owned(),
            "server.connection_pool=2".to_owned(),
        ];
        assert!(
            sandbox
                .set(&first)
                .wait_with_output()
                .unwrap()
                .status
                .success()
        );
        let whole = began.elapsed();
        let mut killed = 0;
        for number in (3..103_u32).step_by(4) {
            let mut children: Vec<Child> = (number..number + 4)
                .map(|number| {
                    sandbox.set(&[
                        format!("server.drain_timeout_ms={number}"),
                        format!("server.connection_pool={number}"),
                    ])
                })
                .collect();
            for (index, child) in (0_u32..).zip(&mut children) {
                // Steps of a prime number wander over the whole time.
                kill_after(child, whole * ((number + index) * 37 % 100) / 60);
                let status = child.wait().unwrap();
                assert!(status.success() || status.signal() == Some(9), "{status}");
                killed += usize::from(status.signal() == Some(9));
            }
        }
        drop(end);
        let seen = reader.join().unwrap();
        assert!(killed > 10, "only {killed} were killed in time");
        seen
    });
    assert!(
        seen.iter().all(|number| (1..103).contains(number)),
        "{seen:?}"
    );
    assert!(
        seen.len() > 3 && looked.load(Ordering::SeqCst) > 100,
        "{} versions, {looked:?} looks",
        seen.len()
    );
    // What a killed one may have left does not hinder the next, and goes with it.
    let last = [
        "server.drain_timeout_ms=500".to_owned(),
        "server.connection_pool=500".to_owned(),
    ];
    assert!(
        sandbox
            .set(&last)
            .wait_with_output()
            .unwrap()
            .status
            .success()
    );
    assert_eq!(sandbox.read()["server"]["connection_pool"], 500);
    let left: Vec<_> = fs::read_dir(sandbox.0.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, [".mcp.json"]);
}

#[test]
fn writers_at_once_lose_nothing_of_each_other() {
    let sandbox = Sandbox::with("{}");
    let children: Vec<Child> = (0..20)
        .map(|number| sandbox.set(&[format!("mcpServers.s{number}.command=c{number}")]))
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    let value = sandbox.read();
    for number in 0..20 {
        assert_eq!(
            value["mcpServers"][format!("s{number}")]["command"],
            format!("c{number}")
        );
    }
}

#[test]
fn the_guides_commands_find_their_lines() {
    let sandbox = Sandbox::with("{\"mcpServers\": {\"one\": {\"command\": \"true\"}}}");
    for command in [
        "transports.http.port=3001",
        "transports.http.timeout_ms=30000",
        "transports.http.compression=true",
        "server.workers=4",
    ] {
        let output = sandbox.run(&["config", "set", command]);
        let (key, value) = command.split_once('=').unwrap();
        let expected = format!(
            "Updated ./.mcp.json\n  {key} = {value}\nIt applies at the next start: ggen mcp server start\n"
        );
        assert_eq!(
            (text(&output.stdout), text(&output.stderr)),
            (expected, String::new())
        );
    }
    let shown = text(&sandbox.run(&["config", "show"]).stdout);
    let value: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(value["transports"]["http"]["port"], 3001);
    for section in ["ssl", "websocket", "quic"] {
        assert!(
            shown.lines().any(|line| line.contains(section)),
            "{section}"
        );
    }
    let refused = sandbox.run(&["config", "set", "transports.http.host=0.0.0.0"]);
    assert_eq!(
        (refused.status.code(), text(&refused.stdout)),
        (Some(78), String::new())
    );
    assert!(text(&refused.stderr).starts_with("error[GGEN-E1103]: "));
    let refused: Value =
        serde_json::from_slice(&sandbox.run(&["config", "--json", "set", "a.b=1"]).stdout).unwrap();
    assert_eq!(
        (&refused["error"]["code"], &refused["error"]["more"]),
        (&Value::from("GGEN-E1002"), &Value::Array(Vec::new()))
    );
    assert_eq!(
        sandbox.run(&["config", "set", "nothing"]).status.code(),
        Some(2)
    );
    let schema: Value = serde_json::from_slice(&sandbox.run(&["config", "schema"]).stdout).unwrap();
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    assert_eq!(
        text(&sandbox.run(&["config", "get", "server.workers"]).stdout),
        "4\n"
    );
}

#[test]
fn a_check_tells_the_daemons_own_port_from_anothers() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let sandbox = Sandbox::with(&format!(
        "{{\"transports\": {{\"http\": {{\"port\": {port}}}}}, \"metrics\": {{\"enabled\": false}}}}"
    ));
    assert!(
        text(&sandbox.run(&["check"]).stdout)
            .contains("    ! Port in use by another program  [GGEN-E1101]\n")
    );
    // A daemon that answers one question.
    let socket =
        std::os::unix::net::UnixListener::bind(sandbox.0.path().join("ggend.sock")).unwrap();
    let daemon = std::thread::spawn(move || {
        use std::io::{BufRead, Write};
        let (mut stream, _) = socket.accept().unwrap();
        let mut call = Vec::new();
        std::io::BufReader::new(stream.try_clone().unwrap())
            .read_until(0, &mut call)
            .unwrap();
        assert!(text(&call).contains("io.ggend.Control.GetStatus"));
        let status = include_str!("../../../ctl/tests/replies/GetStatus.json")
            .replace("3000", &port.to_string());
        stream.write_all(status.trim().as_bytes()).unwrap();
        stream.write_all(&[0]).unwrap();
    });
    let shown = text(&sandbox.run(&["check", "--verbose"]).stdout);
    daemon.join().unwrap();
    assert!(
        shown.contains("    ✓ Port in use by the running ggend (pid 12345)\n"),
        "{shown}"
    );
    assert!(shown.contains(".mcp.json:1:34\n"), "{shown}");
}
