//! `ggen mcp server start`: starts the daemon, by systemd where its unit is installed, and returns
//! when it serves or with the reason why it does not.

use crate::{
    args::Start,
    client::{Client, ClientOptions},
    context::Context,
    daemon::{self, Detached},
    failed::{Exit, Failed, exit_of},
    render::{Dots, Tone, note},
};
use ggen_wire::text;
use ggen_wire::{
    Code,
    control::{Body, Call},
    status::{Phase, Status, UpstreamState},
};
use serde_json::json;
use std::{
    ffi::OsString,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

const UNIT: &str = "ggend.service";

/// Starts, or says that it runs already.
pub(crate) fn run(context: &mut Context, start: &Start) -> Result<Exit, Failed> {
    if start.foreground {
        let arguments = arguments(context, start, true);
        context.say_program(&arguments);
        return Err(daemon::become_daemon(&arguments));
    }
    match context
        .client()
        .and_then(|mut client| Ok((client.status()?, client)))
    {
        Ok((status, client)) => return running(context, start, &status, client),
        Err(failed) if failed.is_not_running() => {}
        Err(failed) => return Err(failed),
    }
    context.out.say("Starting MCP server...")?;
    let status = if by_systemd(context, start) {
        start_unit(context)?
    } else {
        start_detached(context, start)?
    };
    report(context, "MCP server started successfully", &status, true)
}

fn arguments(context: &Context, start: &Start, foreground: bool) -> Vec<OsString> {
    let global = &context.global;
    let mut arguments: Vec<OsString> = Vec::new();
    let flags = [
        ("--foreground", foreground),
        ("--verbose", global.verbose),
        ("--debug", global.debug),
    ];
    arguments.extend(
        flags
            .into_iter()
            .filter(|(_, given)| *given)
            .map(|(flag, _)| flag.into()),
    );
    if let Some(file) = &global.config {
        arguments.extend(["--config".into(), file.into()]);
    }
    if let Some(port) = start.port {
        arguments.extend(["--port".into(), port.to_string().into()]);
    }
    if let Some(socket) = &global.socket {
        arguments.extend(["--socket".into(), socket.into()]);
    }
    arguments
}

fn running(
    context: &mut Context,
    start: &Start,
    status: &Status,
    mut client: Client,
) -> Result<Exit, Failed> {
    let Some(name) = &start.server else {
        return report(context, "MCP server is already running", status, false);
    };
    let upstream = status
        .upstreams
        .iter()
        .find(|upstream| upstream.name == *name);
    let up = match upstream {
        Some(upstream) => matches!(
            upstream.state,
            UpstreamState::Ready | UpstreamState::Starting
        ),
        // HTTPS has no workers of its own.
        None => match status
            .transports
            .iter()
            .find(|transport| transport.name == *name)
        {
            Some(transport) => transport.phase == Phase::Running,
            None => status
                .workers
                .iter()
                .any(|worker| worker.role == *name && worker.phase == Phase::Running),
        },
    };
    if up {
        return report(
            context,
            &format!("{name} is already running"),
            status,
            false,
        );
    }
    context.out.say(&format!("Starting {name}..."))?;
    match client.call(&Call::Start {
        target: name.clone(),
    })? {
        Body::Done(outcome) => {
            context.out.value(&json!({ "outcome": outcome }))?;
            context.out.say(&format!("{name} started successfully"))?;
            Ok(Exit::Ok)
        }
        other => Err(client.unexpected(&other)),
    }
}

fn report(
    context: &mut Context,
    sentence: &str,
    status: &Status,
    started: bool,
) -> Result<Exit, Failed> {
    let out = &mut context.out;
    let listener = crate::verbs::front(status);
    out.value(
        &json!({ "started": started, "phase": status.phase, "pid": status.pid,
        "address": listener.map(|one| &one.address), "port": listener.map(|one| one.port) }),
    )?;
    out.say(sentence)?;
    out.say(&format!("  PID: {}", status.pid))?;
    if let Some(listener) = listener {
        if !started {
            let addresses = crate::verbs::front_addresses(status).unwrap_or_default();
            out.say(&format!("  Address: {addresses}"))?;
        }
        out.say(&format!("  Port: {}", listener.port))?;
    }
    for issue in &status.issues {
        out.say(&format!(
            "  {} {}: {}",
            out.tone(Tone::Warn, Tone::Warn.mark()),
            issue.code,
            issue.message
        ))?;
    }
    Ok(Exit::Ok)
}

// The unit takes no flags and knows nothing of another socket: whoever names one wants a daemon of
// their own.
fn by_systemd(context: &Context, start: &Start) -> bool {
    let own = [
        "GGEN_SOCKET",
        "GGEN_RUNTIME_DIR",
        "GGEN_DAEMON",
        "GGEN_MCP_CONFIG",
    ]
    .iter()
    .any(|name| std::env::var_os(name).is_some());
    let global = &context.global;
    let flags =
        start.port.is_some() || global.config.is_some() || global.socket.is_some() || global.debug;
    let units = [
        "/etc/systemd/system",
        "/usr/local/lib/systemd/system",
        "/usr/lib/systemd/system",
        "/lib/systemd/system",
    ];
    let installed = units
        .iter()
        .any(|directory| Path::new(directory).join(UNIT).exists());
    let usable =
        installed && nix::unistd::geteuid().is_root() && Path::new("/run/systemd/system").is_dir();
    if usable && flags && !own && !global.quiet {
        note(&format!(
            "note: not started as {UNIT}, which takes no --port, --config, --socket or --debug"
        ));
    }
    usable && !flags && !own
}

fn start_unit(context: &mut Context) -> Result<Status, Failed> {
    // Returns when the daemon has said READY=1, or failed.
    let output = Command::new("systemctl")
        .args(["start", UNIT])
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|error| {
        Failed::plain(
            Exit::Unavailable,
            format!("systemctl cannot be run: {error}"),
            "",
        )
    })?;
    if output.status.success() {
        return context.client()?.status();
    }
    let journal = Command::new("journalctl")
        .args(["-u", UNIT, "-n", "20", "-o", "cat", "--no-pager"])
        .stdin(Stdio::null())
        .output();
    let text = journal.map_or_else(|_| Vec::new(), |journal| journal.stdout);
    let lines: Vec<String> = String::from_utf8_lossy(&text)
        .lines()
        .map(text::plain)
        .collect();
    let help = format!("journalctl -u {UNIT} -n 50");
    Err(daemon::reason(&lines).unwrap_or_else(|| {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Failed::plain(
            Exit::Unavailable,
            format!("systemctl start {UNIT} failed: {said}"),
            help,
        )
    }))
}

fn start_detached(context: &mut Context, start: &Start) -> Result<Status, Failed> {
    let timeout = context.timeout(Duration::from_secs(30));
    let arguments = arguments(context, start, false);
    context.say_program(&arguments);
    let mut detached = daemon::detach(context, &arguments)?;
    let began = Instant::now();
    let mut other = false;
    let mut dots = Dots::new(&context.out);
    let mut next_dot = Duration::from_millis(500);
    let outcome = loop {
        if !other && let Ok(Some(status)) = detached.child.try_wait() {
            let failed = exited(&detached, status);
            // Somebody else's start was quicker: theirs is the daemon to wait for.
            other = failed.code.as_deref() == Some(Code::AlreadyRunning.as_str());
            if !other {
                break Err(failed);
            }
        }
        if let Some(status) = ready(context, timeout.saturating_sub(began.elapsed()))? {
            break Ok(status);
        }
        if began.elapsed() >= timeout {
            break Err(late(&detached, timeout));
        }
        if began.elapsed() >= next_dot {
            dots.step();
            next_dot += Duration::from_millis(500);
        }
        crate::verbs::pause(Duration::from_millis(3));
    };
    drop(dots);
    if context.out.verbose || context.global.debug {
        for line in daemon::written_since(&detached.log, detached.from) {
            note(&line);
        }
    }
    outcome
}

// The daemon's status once it serves; a socket that is not there yet, or closes again, is no
// answer.
fn ready(context: &Context, timeout: Duration) -> Result<Option<Status>, Failed> {
    let client_options = ClientOptions {
        debug: false,
        quiet: true,
        ..context.client_options()
    };
    let timeout = timeout.max(Duration::from_millis(50));
    let answer = Client::connect(&context.socket, timeout, client_options)
        .and_then(|mut client| client.status());
    match answer {
        Ok(status) => Ok((status.phase != Phase::Starting).then_some(status)),
        Err(failed) if failed.exit == Exit::NoPermission => Err(failed),
        Err(_) => Ok(None),
    }
}

fn exited(detached: &Detached, status: ExitStatus) -> Failed {
    let said = daemon::reason(&daemon::written_since(&detached.log, detached.from));
    let mut failed = said.unwrap_or_else(|| {
        let message = format!(
            "ggend ended ({status}) and wrote nothing to {}",
            detached.log.display()
        );
        Failed::plain(Exit::Bad, message, "ggen mcp server start --foreground")
    });
    // sysexits(3): what the daemon ended with says more than the text.
    failed.exit = match status.code() {
        Some(78) => Exit::Config,
        Some(77) => Exit::NoPermission,
        Some(69) => Exit::Unavailable,
        _ => failed
            .code
            .as_ref()
            .and_then(|code| code.parse().ok())
            .map_or(Exit::Bad, exit_of),
    };
    if failed.help.is_empty() {
        failed.help = "ggen mcp server logs --tail 20".to_owned();
    }
    failed
}

fn late(detached: &Detached, timeout: Duration) -> Failed {
    let pid = detached.child.id();
    let time = text::duration_ms(timeout.as_millis() as u64);
    let lines = daemon::written_since(&detached.log, detached.from);
    let said = daemon::reason(&lines).map_or_else(
        || "it has written nothing".to_owned(),
        |reason| format!("it last wrote: {}", reason.message),
    );
    let message = format!(
        "Connection timeout: ggend (pid {pid}) is running but does not serve after {time}; {said}"
    );
    Failed::new(
        Code::ControlProtocol,
        message,
        "ggen mcp server wait && ggen mcp server logs --tail 20",
    )
}
