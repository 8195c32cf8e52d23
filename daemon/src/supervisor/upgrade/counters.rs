//! What has been counted, said and promised: none of it begins anew because the binary does.

use crate::{
    log::Ring,
    metrics::Family,
    supervisor::{
        Supervisor,
        event::ProcId,
        metrics::{Name, ledger::Ledger},
    },
};
use ggen_wire::{
    control::LogQuery,
    log::{Level, LogLine},
    status::SlowCall,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Serialize, Deserialize)]
pub(crate) struct SavedCounters {
    ledger: (Vec<Family>, Vec<(ProcId, Vec<Family>)>),
    restarts: Vec<(Name, u64)>,
    exits: Vec<((Name, Name), u64)>,
    upstream_exits: Vec<((String, Name), u64)>,
    cpu_ms: Vec<((Name, String), (u64, u64))>,
    levels: Vec<(String, Level, Option<Duration>)>,
    lines: Vec<LogLine>,
    slow: Vec<SlowCall>,
    refused: Option<String>,
    last_link: u32,
    last_question: u64,
}

fn pairs<K: Clone, V: Clone>(map: &std::collections::BTreeMap<K, V>) -> Vec<(K, V)> {
    map.iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

impl SavedCounters {
    pub(super) fn pack(supervisor: &Supervisor) -> Self {
        let counters = &supervisor.counters;
        Self {
            ledger: supervisor.ledger.pages(),
            restarts: pairs(&counters.restarts),
            exits: pairs(&counters.exits),
            upstream_exits: pairs(&counters.upstream_exits),
            cpu_ms: pairs(&counters.cpu_ms),
            levels: supervisor.levels.all(),
            lines: supervisor.hub.ring.query(&LogQuery::default(), 0),
            slow: supervisor.slow.clone(),
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
        supervisor.ledger = Ledger::of(self.ledger);
        // What the supervisor counts itself begins at 0 again.
        supervisor.ledger.retire(0);
        let counters = &mut supervisor.counters;
        counters.restarts = self.restarts.into_iter().collect();
        counters.exits = self.exits.into_iter().collect();
        counters.upstream_exits = self.upstream_exits.into_iter().collect();
        counters.cpu_ms = self.cpu_ms.into_iter().collect();
        for (category, level, until) in self.levels {
            // A category that is none any more has no level.
            supervisor
                .levels
                .set(Some(&category), Some(level), until)
                .unwrap_or_default();
        }
        supervisor.slow = self.slow;
        supervisor.refused = self.refused;
        supervisor.last_link = self.last_link;
        supervisor.questions.last = self.last_question;
    }
}
