//! What has been counted, said and promised: none of it begins anew because the binary does.

use crate::{
    log::Ring,
    supervisor::{
        Supervisor,
        metrics::{self, Metrics},
    },
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
    metrics: metrics::Carried,
    levels: Vec<(String, Level, Option<Duration>)>,
    lines: Vec<LogLine>,
    refused: Option<String>,
    last_link: u32,
    last_question: u64,
}

impl SavedCounters {
    pub(super) fn pack(supervisor: &Supervisor) -> Self {
        Self {
            metrics: supervisor.metrics.carried(),
            levels: supervisor.levels.all(),
            lines: supervisor.hub.ring.query(&LogQuery::default(), 0),
            refused: supervisor.refused.clone(),
            last_link: supervisor.last_link,
            last_question: supervisor.questions.last,
        }
    }

    /// The log goes on before anything is logged.
    pub(crate) fn restore_log(&mut self, ring: &Ring) {
        ring.restore(std::mem::take(&mut self.lines));
    }

    pub(super) fn unpack(self, supervisor: &mut Supervisor) {
        supervisor.metrics = Metrics::resume(self.metrics);
        for (category, level, until) in self.levels {
            // A category that is none any more has no level.
            supervisor
                .levels
                .set(Some(&category), Some(level), until)
                .unwrap_or_default();
        }
        supervisor.refused = self.refused;
        supervisor.last_link = self.last_link;
        supervisor.questions.last = self.last_question;
    }
}
