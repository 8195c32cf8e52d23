//! Checks the upstream servers: their state while the daemon runs; by starting them while it does
//! not; remote ones layer by layer.

use super::service;
use crate::{
    config::{self, Location, Upstream, UpstreamTransport},
    platform,
    probe::{
        client::{
            control,
            http::Target,
            mcp,
            stdio::{self, Trial, Verdict},
        },
        context::{Context, PATIENCE},
        report::finding::Finding,
    },
    supervisor::processes::environment,
};
use ggen_wire::text;
use ggen_wire::{
    Code,
    control::{Body, Call, LogQuery},
    status::{self, UpstreamState},
};
use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long a server may take from its start to its list of tools.
const LAUNCH: Duration = Duration::from_secs(6);
/// What has to be left of the run's time for a launch and its end.
const LEFT: Duration = Duration::from_secs(3);
/// How long a name or a connection of a remote server may take.
const LAYER: Duration = Duration::from_secs(3);
/// A start that takes longer than this is told.
const LONG_START: u64 = 60_000;

pub(super) fn states(context: &Context) -> Vec<Finding> {
    let Some(status) = context.status() else {
        return vec![Finding::note("not tried: no daemon answers")];
    };
    let each = status
        .upstreams
        .iter()
        .filter(|upstream| upstream.transport != "http");
    let found: Vec<Finding> = each
        .map(|upstream| state(context, status, upstream))
        .collect();
    if found.is_empty() {
        vec![Finding::note("no stdio servers are configured")]
    } else {
        found
    }
}

fn state(context: &Context, status: &status::Status, upstream: &status::Upstream) -> Finding {
    match trouble(context, status, upstream) {
        Ok(what) => unserved(context, upstream, what),
        Err(finding) => finding,
    }
}

/// What is wrong with an upstream, in a few words; `Err`: the finding, where that is known at once.
fn trouble(
    context: &Context,
    status: &status::Status,
    upstream: &status::Upstream,
) -> Result<&'static str, Finding> {
    let name = &upstream.name;
    Ok(match upstream.state {
        UpstreamState::Ready if upstream.pid.and_then(platform::is_stopped) == Some(true) => {
            let pid = upstream.pid.unwrap_or_default();
            let what = format!("upstream {name} is stopped");
            let seen = format!("pid {pid} has been stopped by a signal or a debugger");
            return Err(Finding::error(Code::UpstreamSilent, what)
                .seen(seen)
                .help(format!("kill -CONT {pid}")));
        }
        UpstreamState::Ready => {
            let era = upstream.era.as_deref().unwrap_or("unknown era");
            return Err(Finding::note(format!(
                "{name}: ready, {era}, {} tools, {} restarts",
                upstream.tools, upstream.restarts
            )));
        }
        UpstreamState::Starting
            if upstream.starting_ms.unwrap_or(status.uptime_ms) < LONG_START =>
        {
            let line = upstream.last_line.as_deref().unwrap_or_default();
            let note = Finding::note(format!("{name}: {}", upstream.state_text()));
            return Err(note.seen(config::redacted_text(line)));
        }
        UpstreamState::Starting => "does not get through its start",
        UpstreamState::CrashLoop => "is in a crash loop",
        UpstreamState::Degraded if upstream.code == Some(Code::UpstreamListFailed) => {
            "does not give all its lists"
        }
        UpstreamState::Degraded => "is down",
        UpstreamState::Stopped if upstream.code.is_none() => {
            return Err(Finding::note(format!(
                "{name}: stopped on request; ggen mcp server start --server {name}"
            )));
        }
        UpstreamState::Stopped => "is stopped",
        UpstreamState::Disabled => {
            let told = context
                .config
                .as_ref()
                .is_ok_and(|loaded| loaded.blocked.contains_key(name));
            if told
                || upstream
                    .code
                    .is_none_or(|code| code == Code::UpstreamDisabled)
            {
                return Err(Finding::note(format!("{name}: disabled")));
            }
            "is not served"
        }
    })
}

/// The finding about an upstream that does not serve.
fn unserved(context: &Context, upstream: &status::Upstream, what: &str) -> Finding {
    let name = &upstream.name;
    let code = match (upstream.state, upstream.code) {
        (_, Some(code @ Code::CommandNotFound)) => code,
        (UpstreamState::CrashLoop, _) => Code::UpstreamCrashLoop,
        (UpstreamState::Starting, _) => Code::UpstreamStarting,
        (_, code) => code.unwrap_or(Code::UpstreamExited),
    };
    let mut seen = vec![format!(
        "{}, {} restarts",
        upstream.state_text(),
        upstream.restarts
    )];
    seen.extend(upstream.last_exit.clone());
    seen.extend(
        last_words(context, name)
            .filter(|words| !seen.iter().any(|text| text.contains(words)))
            .map(|words| format!("stderr: {words}")),
    );
    let help = match (code, command_problem(context, name)) {
        (Code::CommandNotFound, Some(help)) => help,
        (Code::CommandNotFound, None) => "ggen mcp config validate".to_owned(),
        _ if upstream.state == UpstreamState::Stopped => {
            format!("ggen mcp server restart --server {name}")
        }
        _ => format!("ggen mcp server logs --upstream {name} --tail 20"),
    };
    let found = if upstream.state == UpstreamState::Starting {
        Finding::warning
    } else {
        Finding::error
    };
    found(code, format!("upstream {name} {what}"))
        .seen(seen.join("; "))
        .help(help)
}

/// The newest line that an upstream wrote on its standard error.
fn last_words(context: &Context, name: &str) -> Option<String> {
    let query = LogQuery {
        upstream: Some(name.to_owned()),
        category: Some("upstream".to_owned()),
        tail: Some(1),
        ..LogQuery::default()
    };
    match control::ask(&context.socket, &Call::GetLogs(query), PATIENCE) {
        Ok(Body::Lines(lines)) => lines
            .last()
            .map(|line| text::line(&line.message))
            .filter(|line| !line.is_empty()),
        _ => None,
    }
}

fn command_problem(context: &Context, name: &str) -> Option<String> {
    let upstream = context.config.as_ref().ok()?.config.mcp_servers.get(name)?;
    let found = config::find_command(
        name,
        upstream,
        &context.load.env,
        &context.load.cwd,
        Location::default(),
    )?;
    found.err().map(|problem| problem.commands().swap_remove(0))
}

fn configured(context: &Context) -> Vec<(&str, &Upstream)> {
    let Ok(loaded) = &context.config else {
        return Vec::new();
    };
    let config = &loaded.config;
    let known = config
        .order
        .iter()
        .filter_map(|name| Some((name.as_str(), config.mcp_servers.get(name)?)));
    known
        .filter(|(_, upstream)| upstream.enabled && !upstream.is_self)
        .collect()
}

pub(super) fn launch(context: &Context) -> Vec<Finding> {
    if !context.is_down() {
        return vec![Finding::note(
            "not tried: the daemon's own servers are looked at",
        )];
    }
    let stdio = |(_, upstream): &(&str, &Upstream)| {
        matches!(upstream.transport, UpstreamTransport::Stdio { .. })
    };
    let waiting: VecDeque<(usize, (&str, &Upstream))> = configured(context)
        .into_iter()
        .filter(stdio)
        .enumerate()
        .collect();
    let at_once = context
        .config
        .as_ref()
        .map_or(1, |loaded| loaded.config.server.starts_at_once())
        .min(waiting.len());
    let untried = (platform::own_uid() == 0 && !waiting.is_empty())
        .then(|| service::untried_as_root(waiting.len()));
    let (waiting, found) = (Mutex::new(waiting), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let next = waiting
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .pop_front();
                    let Some((at, (name, upstream))) = next else {
                        return;
                    };
                    let finding = try_one(context, name, upstream);
                    found
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((at, finding));
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_by_key(|(at, _)| *at);
    if found.is_empty() {
        vec![Finding::note("no stdio servers are configured")]
    } else {
        let found = found.into_iter().map(|(_, finding)| finding);
        untried.into_iter().chain(found).collect()
    }
}

fn try_one(context: &Context, name: &str, upstream: &Upstream) -> Finding {
    let place = Location::default();
    if let Some(Err(problem)) =
        config::find_command(name, upstream, &context.load.env, &context.load.cwd, place)
    {
        return Finding::error(problem.code, format!("upstream {name} cannot be started"))
            .seen(&problem.what)
            .help(problem.commands().swap_remove(0));
    }
    if platform::own_uid() == 0 {
        return Finding::note(format!("{name}: not tried as root"));
    }
    let limit = context
        .deadline
        .saturating_duration_since(Instant::now())
        .saturating_sub(LEFT)
        .min(LAUNCH);
    let (Some(launch), false) = (
        environment::launch(upstream),
        limit < Duration::from_millis(500),
    ) else {
        return Finding::note(format!("{name}: not tried, no time was left"));
    };
    judge(name, &stdio::attempt(launch, upstream.era, limit), limit)
}

fn judge(name: &str, trial: &Trial, limit: Duration) -> Finding {
    let mut seen: Vec<String> = trial
        .steps
        .iter()
        .map(|(step, took)| format!("{step} {}", text::took(*took)))
        .collect();
    let stderr = trial
        .stderr
        .last()
        .map(|line| format!("stderr: {}", config::redacted_text(line)));
    let (code, what) = match &trial.verdict {
        Verdict::Serves(tools) => {
            let noise = trial
                .garbage
                .as_ref()
                .map_or("", |_| ", prints what is no MCP on standard output");
            let steps = seen.join(", ");
            return Finding::note(format!("{name}: {tools} tools ({steps}){noise}"));
        }
        Verdict::Silent => return silent(name, trial, seen, stderr, limit),
        Verdict::Untried(reason) => {
            let what = format!("upstream {name} could not be tried");
            return Finding::warning(Code::CheckUnfinished, what)
                .seen(reason)
                .help("uptime");
        }
        Verdict::Missing(reason) => {
            seen = vec![reason.clone()];
            (Code::CommandNotFound, "cannot be started")
        }
        Verdict::Exited(reason) => {
            seen.push(format!("it ended with {reason}"));
            seen.extend(stderr);
            (Code::UpstreamExited, "ends instead of answering")
        }
        Verdict::Refused(reason) => {
            seen.push(reason.clone());
            seen.extend(stderr);
            (Code::UpstreamRefused, "refuses the handshake")
        }
    };
    Finding::error(code, format!("upstream {name} {what}"))
        .seen(seen.join("; "))
        .help(logs(name))
}

/// A server that runs and does not answer. A first start may download or compile; whether that is so
/// cannot be seen from here.
fn silent(
    name: &str,
    trial: &Trial,
    mut seen: Vec<String>,
    stderr: Option<String>,
    limit: Duration,
) -> Finding {
    let garbage = trial
        .garbage
        .as_ref()
        .map(|line| format!("stdout: {}", config::redacted_text(line)));
    let code = if garbage.is_some() {
        Code::UpstreamGarbage
    } else {
        Code::UpstreamSilent
    };
    seen.push(format!("no answer within {}", text::took(limit)));
    seen.extend(garbage.into_iter().chain(stderr));
    Finding::warning(code, format!("upstream {name} runs and does not answer"))
        .seen(seen.join("; "))
        .help(logs(name))
}

fn logs(name: &str) -> String {
    format!("ggen mcp server start && ggen mcp server logs --upstream {name} --tail 20")
}

pub(super) fn remote(context: &Context) -> Vec<Finding> {
    let all = configured(context);
    let remote = all
        .iter()
        .filter_map(|(name, upstream)| match &upstream.transport {
            UpstreamTransport::Http { url, .. } => Some((*name, url.as_str())),
            UpstreamTransport::Stdio { .. } => None,
        });
    let remote: Vec<(&str, &str)> = remote.collect();
    if remote.is_empty() {
        return vec![Finding::note("no remote servers are configured")];
    }
    std::thread::scope(|scope| {
        let running: Vec<_> = remote
            .iter()
            .map(|(name, url)| scope.spawn(|| url_of(context, name, url)))
            .collect();
        running
            .into_iter()
            .filter_map(|thread| thread.join().ok())
            .collect()
    })
}

fn url_of(context: &Context, name: &str, url: &str) -> Finding {
    let shown = config::redacted_text(url);
    let Some(target) = Target::parse(url) else {
        return Finding::error(
            Code::UpstreamUnreachable,
            format!("upstream {name} has no usable URL"),
        )
        .seen(&shown)
        .help("ggen mcp config validate");
    };
    let began = Instant::now();
    let reached = mcp::resolve(&target, LAYER).and_then(|addresses| {
        let resolved = began.elapsed();
        mcp::connect(&target, &addresses, context.within(LAYER))
            .map(|(address, _)| (address, resolved))
    });
    let reported = context.status().and_then(|status| {
        status
            .upstreams
            .iter()
            .find(|upstream| upstream.name == name)
    });
    match reached {
        Err(fault) => {
            let help = if fault.layer == "DNS" {
                format!("getent hosts {}", target.host)
            } else {
                format!("curl -v {shown}")
            };
            let what = format!("upstream {name} cannot be reached");
            Finding::error(Code::UpstreamUnreachable, what)
                .seen(format!("{}: {} ({})", fault.layer, fault.what, fault.seen))
                .help(help)
        }
        Ok((address, resolved)) => reported.and_then(reached_and_down).unwrap_or_else(|| {
            let connected = began.elapsed().saturating_sub(resolved);
            Finding::note(format!(
                "{name}: {address}, DNS {}, TCP connect {}",
                text::took(resolved),
                text::took(connected)
            ))
        }),
    }
}

/// The daemon says that a server is down which can be reached.
fn reached_and_down(upstream: &status::Upstream) -> Option<Finding> {
    if !matches!(
        upstream.state,
        UpstreamState::Degraded | UpstreamState::CrashLoop
    ) {
        return None;
    }
    let name = &upstream.name;
    let code = upstream.code.unwrap_or(Code::UpstreamUnreachable);
    let seen = upstream
        .last_exit
        .clone()
        .unwrap_or_else(|| upstream.state.as_str().to_owned());
    let finding = Finding::error(
        code,
        format!("upstream {name} is reached and does not serve"),
    );
    Some(
        finding
            .seen(seen)
            .help(format!("ggen mcp server logs --upstream {name} --tail 20")),
    )
}
