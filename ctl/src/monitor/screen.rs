//! Draws the state with ratatui. May not: change the state.

use super::state::{Mode, State};
use ggen_wire::text;
use ggen_wire::{
    log::Level,
    status::{Phase, Status, UpstreamState},
};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Paragraph, Row, Sparkline, Table, TableState},
};

/// The whole screen.
pub(crate) fn draw(frame: &mut Frame<'_>, state: &State) {
    let workers = state
        .sample
        .as_ref()
        .map_or(0, |sample| {
            u16::try_from(sample.status.workers.len()).unwrap_or(u16::MAX)
        })
        .clamp(1, 8);
    let rows = [
        Constraint::Length(1),
        Constraint::Length(5),
        Constraint::Length(workers + 3),
        Constraint::Min(5),
        Constraint::Length(8),
        Constraint::Length(1),
    ];
    let [head, rates, worker_rows, upstreams, errors, foot] =
        Layout::vertical(rows).areas(frame.area());
    frame.render_widget(Paragraph::new(heading(state)), head);
    draw_rates(frame, rates, state);
    if let Some(sample) = &state.sample {
        draw_workers(frame, worker_rows, state, &sample.status);
        draw_upstreams(frame, upstreams, state);
    }
    draw_errors(frame, errors, state);
    frame.render_widget(Paragraph::new(footer(state)), foot);
}

fn heading(state: &State) -> Line<'static> {
    if let Some(lost) = &state.lost {
        return Line::styled(
            lost.clone(),
            Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
        );
    }
    let Some(sample) = &state.sample else {
        return Line::from("Waiting for the daemon…");
    };
    let status = &sample.status;
    let address = crate::verbs::front_addresses(status).unwrap_or_else(|| "no address".to_owned());
    let paused = if state.paused { "  PAUSED" } else { "" };
    Line::from(vec![
        Span::styled(format!("ggend {} ", status.version), Modifier::BOLD),
        Span::styled(status.phase.as_str().to_owned(), phase(status.phase)),
        Span::raw(format!(
            "  {address}  pid {}  up {}  generation {}",
            status.pid,
            text::uptime(status.uptime_ms),
            status.generation
        )),
        Span::styled(paused, Style::new().fg(Color::Yellow)),
    ])
}

fn draw_rates(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let [left, right] =
        Layout::horizontal([Constraint::Length(54), Constraint::Min(10)]).areas(area);
    let rates = &state.rates;
    let latency = rates.latency_ms.map_or_else(
        || "latency   -".to_owned(),
        |[median, slow, slowest]| {
            format!("latency   p50 {median:.1} ms  p95 {slow:.1} ms  p99 {slowest:.1} ms")
        },
    );
    let (connections, sessions, in_flight) = state.sample.as_ref().map_or((0, 0, 0), |sample| {
        let connections: u64 = sample
            .status
            .workers
            .iter()
            .map(|worker| worker.connections)
            .sum();
        (connections, sample.status.sessions, sample.status.in_flight)
    });
    let lines = vec![
        Line::from(format!(
            "requests  {:.1}/s  errors {:.1}/s  calls {:.1}/s",
            rates.requests, rates.errors, rates.calls
        )),
        Line::from(latency),
        Line::from(format!(
            "open      {connections} connections  {sessions} sessions  {in_flight} in flight"
        )),
    ];
    frame.render_widget(
        Paragraph::new(lines).block(Block::bordered().title(" Rates ")),
        left,
    );
    let room = usize::from(right.width.saturating_sub(2));
    let from = state.history.len().saturating_sub(room);
    let most = state.history[from..].iter().max().copied().unwrap_or(0);
    let title = format!(" Requests a second (highest {most}) ");
    let line = Sparkline::default()
        .data(&state.history[from..])
        .style(Style::new().fg(Color::Cyan))
        .block(Block::bordered().title(title));
    frame.render_widget(line, right);
}

fn draw_workers(frame: &mut Frame<'_>, area: Rect, state: &State, status: &Status) {
    let rows = status
        .workers
        .iter()
        .filter(|row| state.passes(&[&row.name, row.phase.as_str()]))
        .map(|row| {
            let cells = [
                row.name.clone(),
                row.pid
                    .map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
                row.phase.as_str().to_owned(),
                row.generation.to_string(),
                row.restarts.to_string(),
                row.connections.to_string(),
                text::size(row.rss_bytes),
            ];
            Row::new(cells).style(phase(row.phase))
        });
    let widths = [14, 9, 10, 5, 9, 12, 10].map(Constraint::Length);
    let heading = Row::new([
        "NAME",
        "PID",
        "STATE",
        "GEN",
        "RESTARTS",
        "CONNECTIONS",
        "MEMORY",
    ])
    .style(Modifier::DIM);
    frame.render_widget(
        Table::new(rows, widths)
            .header(heading)
            .block(Block::bordered().title(" Workers ")),
        area,
    );
}

fn draw_upstreams(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let shown = state.upstreams();
    let rows = shown.iter().map(|row| {
        let cells = [
            text::plain(&row.name),
            row.state_text(),
            row.pid
                .map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            row.era.clone().unwrap_or_else(|| "-".to_owned()),
            row.tools.to_string(),
            row.restarts.to_string(),
            text::size(row.rss_bytes),
            row.last_exit
                .as_deref()
                .map(text::plain)
                .unwrap_or_default(),
        ];
        Row::new(cells).style(upstream(row.state))
    });
    let lengths = [20, 11, 9, 8, 6, 9, 10].map(Constraint::Length);
    let widths = lengths.into_iter().chain([Constraint::Min(10)]);
    let heading = Row::new([
        "NAME",
        "STATE",
        "PID",
        "ERA",
        "TOOLS",
        "RESTARTS",
        "MEMORY",
        "LAST EXIT",
    ])
    .style(Modifier::DIM);
    let title = format!(" Upstreams (sorted: {}) ", state.sort.name());
    let table = Table::new(rows, widths)
        .header(heading)
        .row_highlight_style(Modifier::REVERSED)
        .block(Block::bordered().title(title));
    let chosen = (!shown.is_empty()).then(|| state.chosen.min(shown.len() - 1));
    frame.render_stateful_widget(
        table,
        area,
        &mut TableState::default().with_selected(chosen),
    );
}

fn draw_errors(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let all = state.sample.iter().flat_map(|sample| &sample.errors);
    let wanted: Vec<_> = all
        .filter(|line| state.passes(&[&line.source, &line.message, &line.category]))
        .collect();
    let room = usize::from(area.height.saturating_sub(2));
    let lines = wanted[wanted.len().saturating_sub(room)..]
        .iter()
        .map(|line| {
            let colour = if line.level == Level::Error {
                Color::Red
            } else {
                Color::Yellow
            };
            let code = line
                .code
                .map_or_else(String::new, |code| format!(" [{code}]"));
            let time = text::timestamp(line.at_us);
            let time = time.get(11..19).unwrap_or_default().to_owned();
            Line::from(vec![
                Span::styled(time, Modifier::DIM),
                Span::styled(
                    format!(" {}: {}{code}", line.source, text::plain(&line.message)),
                    Style::new().fg(colour),
                ),
            ])
        });
    frame.render_widget(
        Paragraph::new(lines.collect::<Vec<_>>()).block(Block::bordered().title(" Last errors ")),
        area,
    );
}

fn footer(state: &State) -> Line<'static> {
    let text = match &state.mode {
        Mode::Confirm(name) => {
            return Line::styled(
                format!("Restart {name}? y/n"),
                Style::new().fg(Color::Yellow),
            );
        }
        Mode::Filter => format!("filter: {}▏ (Enter keeps it, Esc clears it)", state.filter),
        Mode::Command => {
            let filter = if state.filter.is_empty() {
                String::new()
            } else {
                format!(" [{}]", state.filter)
            };
            format!("q quit  p pause  s sort  / filter{filter}  ↑↓ choose  r restart")
        }
    };
    let mut spans = vec![Span::raw(text)];
    if let Some(notice) = &state.notice {
        spans.push(Span::styled(
            format!("   {notice}"),
            Style::new().fg(Color::Cyan),
        ));
    }
    Line::from(spans)
}

const fn phase(phase: Phase) -> Style {
    match phase {
        Phase::Running => Style::new().fg(Color::Green),
        Phase::Starting | Phase::Degraded | Phase::Draining => Style::new().fg(Color::Yellow),
        Phase::Backoff | Phase::Failed | Phase::Stopped => Style::new().fg(Color::Red),
    }
}

const fn upstream(state: UpstreamState) -> Style {
    match state {
        UpstreamState::Ready => Style::new().fg(Color::Green),
        UpstreamState::Starting | UpstreamState::Degraded => Style::new().fg(Color::Yellow),
        UpstreamState::CrashLoop | UpstreamState::Stopped => Style::new().fg(Color::Red),
        UpstreamState::Disabled => Style::new().add_modifier(Modifier::DIM),
    }
}
