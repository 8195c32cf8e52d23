//! `ggen mcp server monitor`: a full screen on a terminal, one line for each sample elsewhere.

use crate::{
    args::Monitor,
    client::ClientOptions,
    context::Context,
    failed::{Exit, Failed},
    monitor::{
        screen,
        source::{Sample, Source, Update},
        state::{State, Wish},
    },
};
use ggen_wire::status::{Phase, UpstreamState};
use ggen_wire::text;
use ratatui::crossterm::event;
use serde_json::json;
use std::{io, io::IsTerminal, time::Duration};

/// How often keys are polled while nothing else happens.
const KEYS: Duration = Duration::from_millis(50);
/// The shortest time between two samples.
const SHORTEST: Duration = Duration::from_millis(100);

/// Looks once to say at once what is wrong, then goes on until `q`, a signal, or a reader that
/// leaves.
pub(crate) fn run(context: &mut Context, monitor: &Monitor) -> Result<Exit, Failed> {
    context.client()?.status()?;
    let screen =
        context.out.terminal && io::stdin().is_terminal() && !monitor.plain && !context.out.json;
    // Notes on standard error would tear the screen.
    let client_options = ClientOptions {
        debug: context.global.debug && !screen,
        quiet: true,
        ..context.client_options()
    };
    let source = Source::start(
        context.socket.clone(),
        client_options,
        monitor.interval.max(SHORTEST),
    );
    if screen {
        full(&source)
    } else {
        lines(context, monitor, &source)
    }
}

fn full(source: &Source) -> Result<Exit, Failed> {
    let mut terminal = ratatui::try_init()?;
    let outcome = watch(&mut terminal, source);
    ratatui::restore();
    outcome.map(|()| Exit::Ok).map_err(Into::into)
}

fn watch(terminal: &mut ratatui::DefaultTerminal, source: &Source) -> io::Result<()> {
    let mut state = State::default();
    loop {
        terminal.draw(|frame| screen::draw(frame, &state))?;
        let mut changed = false;
        while !changed {
            for update in source.updates.try_iter() {
                state.apply(update);
                changed = true;
            }
            if !event::poll(KEYS)? {
                continue;
            }
            changed = true;
            if let event::Event::Key(key) = event::read()? {
                match state.key(key) {
                    Wish::Quit => return Ok(()),
                    Wish::Restart(name) => source.restart(&name),
                    Wish::None => {}
                }
            }
        }
    }
}

fn lines(context: &mut Context, monitor: &Monitor, source: &Source) -> Result<Exit, Failed> {
    let mut state = State::default();
    let mut left = monitor.count;
    while left != Some(0) {
        // The thread ends only with us.
        let Ok(update) = source.updates.recv() else {
            break;
        };
        let lost = if let Update::Lost(failed) = &update {
            Some(failed.to_string())
        } else {
            None
        };
        state.apply(update);
        let out = &mut context.out;
        match (lost, &state.sample) {
            (Some(lost), _) if out.json => out.record(&json!({ "error": lost }))?,
            (Some(lost), _) => out.line(&lost)?,
            (None, Some(sample)) if out.json => out.record(&record(&state, sample))?,
            (None, Some(sample)) => out.line(&line(&state, sample))?,
            (None, None) => {}
        }
        out.flush()?;
        left = left.map(|left| left - 1);
    }
    Ok(Exit::Ok)
}

fn parts(sample: &Sample) -> (u64, [usize; 4]) {
    let status = &sample.status;
    let running = status
        .workers
        .iter()
        .filter(|worker| worker.phase == Phase::Running)
        .count();
    let served = status
        .upstreams
        .iter()
        .filter(|upstream| upstream.state != UpstreamState::Disabled);
    let ready = status
        .upstreams
        .iter()
        .filter(|upstream| upstream.state == UpstreamState::Ready)
        .count();
    (
        status.workers.iter().map(|worker| worker.connections).sum(),
        [running, status.workers.len(), ready, served.count()],
    )
}

fn line(state: &State, sample: &Sample) -> String {
    let (rates, status) = (&state.rates, &sample.status);
    let latency = rates.latency_ms.map_or_else(
        || "p95 -".to_owned(),
        |[_, slow, _]| format!("p95 {slow:.1} ms"),
    );
    let (connections, [running, workers, ready, upstreams]) = parts(sample);
    let time = text::time(status.started_ms.saturating_add(status.uptime_ms));
    let time = time.get(11..19).unwrap_or_default();
    format!(
        "{time} {} requests {:.1}/s errors {:.1}/s {latency} connections {connections} sessions {} in-flight {} workers {running}/{workers} \
         upstreams {ready}/{upstreams} issues {}",
        status.phase.as_str(),
        rates.requests,
        rates.errors,
        status.sessions,
        status.in_flight,
        status.issues.len()
    )
}

fn record(state: &State, sample: &Sample) -> serde_json::Value {
    let status = &sample.status;
    let (connections, [running, workers, ready, upstreams]) = parts(sample);
    json!({
        "at_ms": status.started_ms.saturating_add(status.uptime_ms), "phase": status.phase, "figures": state.rates,
        "connections": connections, "sessions": status.sessions, "in_flight": status.in_flight,
        "workers": { "running": running, "all": workers }, "upstreams": { "ready": ready, "all": upstreams }, "issues": status.issues.len(),
    })
}
