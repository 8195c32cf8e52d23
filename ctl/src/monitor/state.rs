//! What the screen shows, and what each key does. May not: use a terminal, talk to the daemon.

use super::{
    metrics::{Rates, between},
    source::{Sample, Update},
};
use ggen_wire::status::Upstream;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// Points of the row of rates.
const HISTORY: usize = 240;

/// Orders of the upstreams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sort {
    /// As configured.
    #[default]
    Configured,
    /// By name.
    Name,
    /// Those that are not well first.
    State,
    /// Most restarts first.
    Restarts,
    /// Most memory first.
    Memory,
}

impl Sort {
    const fn next(self) -> Self {
        match self {
            Self::Configured => Self::Name,
            Self::Name => Self::State,
            Self::State => Self::Restarts,
            Self::Restarts => Self::Memory,
            Self::Memory => Self::Configured,
        }
    }

    /// As it is shown.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::Name => "name",
            Self::State => "state",
            Self::Restarts => "restarts",
            Self::Memory => "memory",
        }
    }
}

/// What keys are for just now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Commands.
    #[default]
    Command,
    /// Typing the filter.
    Filter,
    /// Whether that upstream is to be restarted.
    Confirm(String),
}

/// What a key asks for beyond the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Nothing.
    None,
    /// The end.
    Quit,
    /// A restart of that upstream.
    Restart(String),
}

/// Everything that is shown.
#[derive(Default)]
pub(crate) struct State {
    /// The newest sample.
    pub(crate) sample: Option<Box<Sample>>,
    /// Its rates.
    pub(crate) rates: Rates,
    /// Requests a second, newest last.
    pub(crate) history: Vec<u64>,
    /// Why nobody answers, while nobody does.
    pub(crate) lost: Option<String>,
    /// What became of the last restart.
    pub(crate) notice: Option<String>,
    /// Nothing moves.
    pub(crate) paused: bool,
    /// Order of the upstreams.
    pub(crate) sort: Sort,
    /// Only upstreams, workers and lines that contain this.
    pub(crate) filter: String,
    /// What keys are for.
    pub(crate) mode: Mode,
    /// The row of the upstream that is chosen.
    pub(crate) chosen: usize,
}

impl State {
    /// Takes an update; while paused, only the outcome of a restart.
    pub(crate) fn apply(&mut self, update: Update) {
        match update {
            Update::Restarted(outcome) => self.notice = Some(outcome),
            _ if self.paused => {}
            Update::Lost(failed) => self.lost = Some(failed.message),
            Update::Sample(sample) => {
                self.lost = None;
                if let Some(old) = &self.sample {
                    self.rates = between(
                        &old.families,
                        &sample.families,
                        sample.at.saturating_duration_since(old.at),
                    );
                    #[allow(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "a height"
                    )]
                    self.history.push(self.rates.requests.round() as u64);
                    let over = self.history.len().saturating_sub(HISTORY);
                    self.history.drain(..over);
                }
                self.sample = Some(sample);
            }
        }
    }

    /// Whether a row with these texts passes the filter.
    pub(crate) fn passes(&self, texts: &[&str]) -> bool {
        let wanted = self.filter.to_lowercase();
        wanted.is_empty()
            || texts
                .iter()
                .any(|text| text.to_lowercase().contains(&wanted))
    }

    /// The upstreams as they are shown.
    pub(crate) fn upstreams(&self) -> Vec<&Upstream> {
        let all = self
            .sample
            .iter()
            .flat_map(|sample| &sample.status.upstreams);
        let mut rows: Vec<&Upstream> = all
            .filter(|row| self.passes(&[&row.name, row.state.as_str()]))
            .collect();
        match self.sort {
            Sort::Configured => {}
            Sort::Name => rows.sort_by(|a, b| a.name.cmp(&b.name)),
            Sort::State => {
                rows.sort_by_key(|row| row.state == ggen_wire::status::UpstreamState::Ready)
            }
            Sort::Restarts => rows.sort_by_key(|row| std::cmp::Reverse(row.restarts)),
            Sort::Memory => rows.sort_by_key(|row| std::cmp::Reverse(row.rss_bytes)),
        }
        rows
    }

    /// Does what a key asks for.
    pub(crate) fn key(&mut self, key: KeyEvent) -> Wish {
        if key.kind == KeyEventKind::Release {
            return Wish::None;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Wish::Quit;
        }
        match std::mem::take(&mut self.mode) {
            Mode::Command => return self.command(key.code),
            Mode::Filter => self.type_filter(key.code),
            Mode::Confirm(name) => {
                if matches!(key.code, KeyCode::Char('y' | 'Y')) {
                    self.notice = Some(format!("{name} is being restarted…"));
                    return Wish::Restart(name);
                }
                self.notice = Some(format!("{name} was not restarted"));
            }
        }
        Wish::None
    }

    fn command(&mut self, key: KeyCode) -> Wish {
        let rows = self.upstreams().len();
        match key {
            KeyCode::Char('q') | KeyCode::Esc => return Wish::Quit,
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Down | KeyCode::Char('j') => {
                self.chosen = (self.chosen + 1).min(rows.saturating_sub(1))
            }
            KeyCode::Up | KeyCode::Char('k') => {
                self.chosen = self.chosen.min(rows).saturating_sub(1)
            }
            KeyCode::Char('r') => {
                let name = self
                    .upstreams()
                    .get(self.chosen.min(rows.saturating_sub(1)))
                    .map(|row| row.name.clone());
                self.mode = name.map_or(Mode::Command, Mode::Confirm);
            }
            _ => {}
        }
        Wish::None
    }

    fn type_filter(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => return,
            KeyCode::Esc => return self.filter.clear(),
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(character) if self.filter.len() < 64 => self.filter.push(character),
            _ => {}
        }
        self.mode = Mode::Filter;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggen_wire::status::{Status, UpstreamState};
    use std::time::Instant;

    fn state() -> State {
        let row = |name: &str, state, restarts| Upstream {
            name: name.to_owned(),
            state,
            restarts,
            ..Upstream::default()
        };
        let upstreams = vec![
            row("web", UpstreamState::Ready, 0),
            row("files", UpstreamState::Degraded, 3),
        ];
        let status = Status {
            upstreams,
            ..Status::default()
        };
        let mut state = State::default();
        state.apply(Update::Sample(Box::new(Sample {
            at: Instant::now(),
            status,
            families: Vec::new(),
            errors: Vec::new(),
        })));
        state
    }

    fn press(state: &mut State, keys: &str) -> Wish {
        let code = |key| {
            if key == '\n' {
                KeyCode::Enter
            } else {
                KeyCode::Char(key)
            }
        };
        keys.chars()
            .map(|key| state.key(KeyEvent::from(code(key))))
            .last()
            .unwrap()
    }

    fn names(state: &State) -> Vec<&str> {
        state
            .upstreams()
            .iter()
            .map(|row| row.name.as_str())
            .collect()
    }

    #[test]
    fn keys_sort_filter_and_pause() {
        let mut state = state();
        assert_eq!(names(&state), ["web", "files"]);
        press(&mut state, "s");
        assert_eq!(names(&state), ["files", "web"]);
        press(&mut state, "/we\n");
        assert_eq!((names(&state), &state.mode), (vec!["web"], &Mode::Command));
        press(&mut state, "p");
        state.apply(Update::Lost(crate::failed::Failed::plain(
            crate::failed::Exit::NotRunning,
            "gone",
            "",
        )));
        assert!(state.paused && state.lost.is_none());
        assert_eq!(press(&mut state, "q"), Wish::Quit);
    }

    #[test]
    fn a_restart_is_confirmed_first() {
        let mut state = state();
        assert_eq!(press(&mut state, "jrn"), Wish::None);
        assert_eq!(press(&mut state, "rq"), Wish::None);
        assert_eq!(press(&mut state, "ry"), Wish::Restart("files".to_owned()));
    }
}
