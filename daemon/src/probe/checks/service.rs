//! Checks systemd's view of the unit, on hosts that have systemd.

use crate::{
    platform,
    probe::{context::Context, report::finding::Finding},
};
use ggen_wire::{Code, text};
use std::{
    collections::BTreeMap,
    io::Read,
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    time::Duration,
};

const UNIT: &str = "ggend.service";
/// The user that the package makes for it.
const SERVICE_USER: &str = "ggen";
/// How long systemctl may take.
const LIMIT: Duration = Duration::from_secs(3);
const PROPERTIES: &str =
    "LoadState,ActiveState,SubState,Result,NRestarts,UnitFileState,DropInPaths,NeedDaemonReload";

/// Servers run with the rights of the daemon's user. Tried by root they would get more.
pub(super) fn untried_as_root(servers: usize) -> Finding {
    let what = "stdio servers were not tried: started by root, they would have all rights";
    let help = if platform::user_exists(SERVICE_USER) {
        format!("sudo -u {SERVICE_USER} ggen mcp doctor")
    } else {
        "ggen mcp server start && ggen mcp doctor".to_owned()
    };
    Finding::warning(Code::CheckUnfinished, what)
        .seen(text::count(servers, "server"))
        .help(help)
}

pub(super) fn unit(context: &Context) -> Vec<Finding> {
    if !Path::new("/run/systemd/system").is_dir() {
        return vec![Finding::note("this host has no systemd")];
    }
    let mut found: Vec<Finding> = show(&[])
        .map(|facts| judge(context, &facts, "sudo systemctl", "journalctl -u"))
        .into_iter()
        .collect();
    if platform::own_uid() != 0 {
        found.extend(
            show(&["--user"])
                .map(|facts| judge(context, &facts, "systemctl --user", "journalctl --user -u")),
        );
    }
    if found.is_empty() {
        vec![Finding::note("systemctl gives no answer")]
    } else {
        found
    }
}

fn judge(
    context: &Context,
    facts: &BTreeMap<String, String>,
    systemctl: &str,
    journal: &str,
) -> Finding {
    let fact = |name: &str| facts.get(name).map_or("", String::as_str);
    if fact("LoadState") != "loaded" {
        return Finding::note(format!("{UNIT} is not installed ({})", fact("LoadState")));
    }
    let state = format!(
        "{UNIT}: {} ({}), result {}, {} restarts",
        fact("ActiveState"),
        fact("SubState"),
        fact("Result"),
        fact("NRestarts")
    );
    if fact("ActiveState") == "failed" {
        return Finding::error(Code::ServiceFailed, "systemd has given the service up")
            .seen(state)
            .help(format!("{journal} {UNIT} -n 50"));
    }
    if fact("NeedDaemonReload") == "yes" {
        return Finding::warning(
            Code::ConfigDrift,
            "the unit file was changed and systemd has not read it",
        )
        .seen(state)
        .help(format!("{systemctl} daemon-reload"));
    }
    if fact("SubState") == "auto-restart" && context.status().is_none() {
        return Finding::warning(
            Code::ServiceFailed,
            "systemd starts the service again and again",
        )
        .seen(state)
        .help(format!("{journal} {UNIT} -n 50"));
    }
    let drop_ins = fact("DropInPaths");
    Finding::note(if drop_ins.is_empty() {
        state
    } else {
        format!("{state}, drop-ins: {drop_ins}")
    })
}

fn show(scope: &[&str]) -> Option<BTreeMap<String, String>> {
    let mut command = Command::new("systemctl");
    command
        .args(scope)
        .args(["show", UNIT, "--no-pager", "--property", PROPERTIES]);
    let text = output(&mut command)?;
    Some(
        text.lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    )
}

/// What a program prints, if it ends well and in time.
fn output(command: &mut Command) -> Option<String> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut stdout = child.stdout.take()?;
    let (sender, receiver) = mpsc::sync_channel(1);
    let reading = move || {
        let mut text = String::new();
        let read = stdout.by_ref().take(1 << 20).read_to_string(&mut text);
        drop(sender.send(read.map(|_| text)));
    };
    let started = std::thread::Builder::new()
        .name("systemctl".to_owned())
        .spawn(reading);
    let text = started
        .ok()
        .and_then(|_| receiver.recv_timeout(LIMIT).ok())
        .and_then(Result::ok);
    if text.is_none() {
        child.kill().unwrap_or_default();
    }
    let ended = child.wait().ok()?;
    text.filter(|_| ended.success())
}
