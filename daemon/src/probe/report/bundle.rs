//! `ggen mcp doctor --bundle FILE`: what a bug report needs, in one tar archive. Everything in it
//! is redacted as where it is shown otherwise, and texts of other programs once more. May not:
//! write anything but that file.

use crate::{
    config,
    probe::{
        client::control,
        context::{Context, PATIENCE},
    },
};
use ggen_wire::{
    VERSION,
    control::{Body, Call, LogQuery},
};
use serde_json::Value;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::{Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

/// Log lines of the running daemon, at most.
const LINES: u32 = 2_000;
/// Bytes of the log file of a daemon that was started by hand, at most.
const TAIL: u64 = 512 << 10;
/// What the system says of itself: file name and command.
const SYSTEM: [(&str, &[&str]); 3] = [
    ("system/uname.txt", &["uname", "-a"]),
    (
        "system/unit.txt",
        &[
            "systemctl",
            "show",
            "ggend.service",
            "--no-pager",
            "--property=ActiveState,SubState,Result,NRestarts,FragmentPath,DropInPaths",
        ],
    ),
    (
        "system/launchd.txt",
        &["launchctl", "print", "system/io.ggend"],
    ),
];

/// Writes the archive; gives the names of what is in it. It is for the owner alone, and an earlier
/// file of that name is left as it is.
///
/// # Errors
/// Those of the file system, `AlreadyExists` among them.
pub(crate) fn write(
    file: &Path,
    context: &Context,
    human: &str,
    report: &Value,
) -> io::Result<Vec<String>> {
    let target = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?;
    let written = fill(target, &gather(context, human, report));
    if written.is_err() {
        // Half an archive is of no use to anybody.
        drop(fs::remove_file(file));
    }
    written
}

fn fill(target: File, parts: &[(String, Vec<u8>)]) -> io::Result<Vec<String>> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let mut archive = tar::Builder::new(target);
    for (name, bytes) in parts {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(now);
        archive.append_data(
            &mut header,
            format!("ggend-bundle/{name}"),
            bytes.as_slice(),
        )?;
    }
    archive.into_inner()?.flush()?;
    Ok(parts.iter().map(|(name, _)| name.clone()).collect())
}

fn gather(context: &Context, human: &str, report: &Value) -> Vec<(String, Vec<u8>)> {
    let mut parts = vec![
        ("doctor.txt".to_owned(), redacted(human)),
        ("doctor.json".to_owned(), pretty(report)),
        ("versions.txt".to_owned(), versions(context).into_bytes()),
    ];
    if let Ok(loaded) = &context.config {
        parts.push((
            "config.json".to_owned(),
            pretty(&config::redacted(&loaded.config)),
        ));
    }
    let ask = |call: &Call| control::ask(&context.socket, call, PATIENCE).ok();
    if let Some(status) = context.status() {
        parts.extend(
            serde_json::to_value(status)
                .ok()
                .map(|status| ("status.json".to_owned(), pretty(&status))),
        );
        if let Some(Body::Value(running)) = ask(&Call::GetConfig {}) {
            parts.push(("config-in-force.json".to_owned(), pretty(&running)));
        }
        if let Some(Body::Text(metrics)) = ask(&Call::GetMetrics {}) {
            parts.push(("metrics.txt".to_owned(), metrics.into_bytes()));
        }
        if let Some(Body::Lines(lines)) = ask(&Call::GetLogs(LogQuery {
            tail: Some(LINES),
            ..LogQuery::default()
        })) {
            let lines: String = lines
                .iter()
                .filter_map(|line| serde_json::to_string(line).ok())
                .map(|line| line + "\n")
                .collect();
            parts.push(("logs.jsonl".to_owned(), redacted(&lines)));
        }
    }
    if let Ok(text) = tail(&context.socket.with_extension("log")) {
        parts.push(("ggend.log".to_owned(), redacted(&text)));
    }
    parts.extend(
        fs::read("/etc/os-release")
            .ok()
            .map(|text| ("system/os-release.txt".to_owned(), text)),
    );
    parts.extend(
        SYSTEM
            .iter()
            .filter_map(|(name, command)| Some(((*name).to_owned(), said(command)?))),
    );
    parts
}

fn versions(context: &Context) -> String {
    let client = context.client.as_deref().unwrap_or("unknown");
    let running = context
        .status()
        .map_or("none", |status| status.version.as_str());
    format!("ggen {client}\nggend {VERSION}\nrunning {running}\n")
}

/// Line by line: what is redacted in one line must not depend on another.
fn redacted(text: &str) -> Vec<u8> {
    text.lines()
        .flat_map(|line| (config::redacted_text(line) + "\n").into_bytes())
        .collect()
}

fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What a program prints, if this host has it.
fn said(command: &[&str]) -> Option<Vec<u8>> {
    let (program, arguments) = command.split_first()?;
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    (!output.stdout.is_empty()).then_some(output.stdout)
}
