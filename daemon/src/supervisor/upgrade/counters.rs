//! What has been counted, logged and numbered: none of it begins anew because the binary does.

use super::state::Rooms;
use crate::{
    log::Ring,
    supervisor::{metrics, workers::LinkNumber},
};
use ggen_wire::{
    control::LogQuery,
    log::{Level, LogLine},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Serialize, Deserialize)]
pub(crate) struct SavedCounters {
    #[serde(flatten)]
    pub(crate) metrics: metrics::Carried,
    pub(crate) levels: Vec<(String, Level, Option<Duration>)>,
    lines: Vec<LogLine>,
    /// Why the last reload was refused.
    pub(crate) refused: Option<String>,
    last_link: u32,
    pub(crate) last_question: u64,
}

impl SavedCounters {
    pub(super) fn pack(rooms: &Rooms<'_>) -> Self {
        Self {
            metrics: rooms.metrics.carried(),
            levels: rooms.control.logging.saved(),
            lines: rooms.ring.query(&LogQuery::default(), 0),
            refused: rooms.refused.map(str::to_owned),
            last_link: rooms.workers.last_link().0,
            last_question: rooms.control.questions.last(),
        }
    }

    /// The log goes on before anything is logged.
    pub(crate) fn restore_log(&mut self, ring: &Ring) {
        ring.restore(std::mem::take(&mut self.lines));
    }

    /// The number that was given last to a link.
    pub(crate) const fn last_link(&self) -> LinkNumber {
        LinkNumber(self.last_link)
    }
}
