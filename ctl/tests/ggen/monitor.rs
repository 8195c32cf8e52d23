//! `ggen mcp server monitor`: as lines on a pipe, and as a screen in a real terminal (tmux),
//! against a daemon that replays.

use crate::support::{Fake, Play, Sandbox, message, reply, skipped, until};
use std::{
    path::Path,
    process::{Command, Output},
};

/// A daemon whose counters grow by 20 requests with every sample.
fn busy() -> Fake {
    let mut looks = 0;
    Fake::new(move |request| {
        let text = match request.method.rsplit('.').next().unwrap() {
            "GetMetrics" => {
                looks += 1;
                reply(request, "").replace("} 4", &format!("}} {}4", looks * 2))
            }
            "GetLogs" => reply(request, "-errors"),
            _ => reply(request, ""),
        };
        Play::Send(message(&text))
    })
}

/// A terminal of its own.
struct Terminal<'a> {
    sandbox: &'a Sandbox,
}

impl Terminal<'_> {
    fn tmux(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("tmux");
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LANG", "C.UTF-8")
            .env("TERM", "xterm-256color");
        command
            .env("HOME", self.sandbox.directory.path())
            .env("GGEN_RUNTIME_DIR", self.sandbox.directory.path())
            .env("SHELL", "/bin/sh");
        command
            .arg("-u")
            .arg("-S")
            .arg(self.sandbox.path("tmux.sock"))
            .args(["-f", "/dev/null"])
            .args(arguments)
            .output()
            .unwrap()
    }

    fn screen(&self) -> String {
        String::from_utf8_lossy(&self.tmux(&["capture-pane", "-p"]).stdout).into_owned()
    }

    #[track_caller]
    fn shows(&self, wanted: &str) -> String {
        let mut last = String::new();
        let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until(wanted, || {
                last = self.screen();
                last.contains(wanted).then(|| last.clone())
            })
        }));
        looked.unwrap_or_else(|_| panic!("{wanted} is not on the screen:\n{last}"))
    }

    fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

#[test]
fn without_a_terminal_it_writes_a_line_for_every_sample() {
    let fake = busy();
    let ran = fake.ggen("mcp server monitor --interval 100ms --count 2");
    assert_eq!(
        (ran.code, ran.stdout.lines().count()),
        (0, 2),
        "{}",
        ran.stderr
    );
    let line = ran.stdout.lines().last().unwrap();
    assert!(line.starts_with("16:36:11 running requests "), "{line}");
    assert!(
        line.ends_with("connections 31 sessions 4 in-flight 1 workers 3/3 upstreams 1/1 issues 0"),
        "{line}"
    );
    assert!(
        !line.contains("requests 0.0/s") && !line.contains("p95 -"),
        "{line}"
    );
    let json = fake.ggen("mcp server monitor --interval 100ms --count 2 --json");
    let records: Vec<serde_json::Value> = json
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(
        records.len() == 2 && records[1]["figures"]["requests"].as_f64().unwrap() > 0.0,
        "{records:?}"
    );
    assert_eq!(Sandbox::new().ggen("mcp server monitor --plain").code, 3);
}

#[test]
fn on_a_terminal_it_is_a_screen_with_keys() {
    if Command::new("tmux").arg("-V").output().is_err() {
        skipped("needs tmux, for a terminal to drive the monitor in");
        return;
    }
    let fake = busy();
    let terminal = Terminal {
        sandbox: &fake.sandbox,
    };
    let ggen = format!(
        "{} mcp server monitor --interval 200ms; echo ended with $?; exec cat",
        env!("CARGO_BIN_EXE_ggen")
    );
    let started = terminal.tmux(&["new-session", "-d", "-x", "112", "-y", "34", &ggen]);
    assert!(
        started.status.success(),
        "{}",
        String::from_utf8_lossy(&started.stderr)
    );
    terminal.shows("github");
    let screen = until("two looks", || {
        Some(terminal.screen()).filter(|screen| !screen.contains("requests  0.0/s"))
    });
    for part in [
        "running  127.0.0.1:3000  pid 12345",
        "31 connections  4 sessions  1 in flight",
        "http-0",
        "gateway-0",
        "LAST EXIT",
        "github: boom [GGEN-E2102]",
    ] {
        assert!(screen.contains(part), "{part} is missing:\n{screen}");
    }
    capture(&screen);

    terminal.press(&["s"]);
    terminal.shows("sorted: name");
    terminal.press(&["/", "nobody", "Enter"]);
    terminal.shows("[nobody]");
    until("the filter works", || {
        (!terminal.screen().contains("github")).then_some(())
    });
    terminal.press(&[
        "/", "BSpace", "BSpace", "BSpace", "BSpace", "BSpace", "BSpace", "Enter",
    ]);
    terminal.shows("github");
    terminal.press(&["r"]);
    terminal.shows("Restart github? y/n");
    terminal.press(&["n"]);
    terminal.shows("github was not restarted");
    assert!(!fake.methods().contains(&"Restart".to_owned()));
    terminal.press(&["r", "y"]);
    until("the restart is asked for", || {
        fake.methods().contains(&"Restart".to_owned()).then_some(())
    });
    let asked = fake
        .requests
        .lock()
        .unwrap()
        .iter()
        .find(|request| request.method.ends_with("Restart"))
        .unwrap()
        .parameters
        .clone();
    assert_eq!(asked["target"], "github");
    terminal.press(&["p"]);
    terminal.shows("PAUSED");
    terminal.press(&["q"]);
    // The terminal is as it was before: what the shell writes is there, the screen is not.
    assert!(!terminal.shows("ended with 0").contains("Workers"));
}

/// With UPDATE_DOCS set, the page of the monitor shows this screen.
fn capture(screen: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/monitor.md");
    if std::env::var_os("UPDATE_DOCS").is_none() {
        return;
    }
    let page = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = page.split_once("```text\n").unwrap();
    let (_, tail) = rest.split_once("```\n").unwrap();
    let shown: String = screen
        .trim_end()
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect();
    std::fs::write(&path, format!("{head}```text\n{shown}```\n{tail}")).unwrap();
}
