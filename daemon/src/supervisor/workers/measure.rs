//! What metrics show of workers: memory, processor time and descriptors of their processes, and how
//! each slot stands.

use super::{Slot, Stage, Workers};
use crate::{
    platform::{self, Usage},
    supervisor::metrics::{Measured, ProcessFacts, WorkerFacts},
};
use std::time::Duration;

impl Workers {
    /// Measures every process. Returns what was found of those that serve.
    pub(crate) fn measure(&mut self) -> Vec<Measured> {
        let mut all = Vec::new();
        for proc in self.procs.values_mut() {
            let found = platform::process(proc.pid);
            if let Some(found) = &found {
                proc.usage = Usage {
                    rss_bytes: found.rss_bytes,
                    cpu_ms: found.cpu_ms,
                    ..Usage::default()
                };
            }
            if proc.is_current() {
                all.push(Measured {
                    name: proc.name.clone(),
                    cpu_ms: found.map(|found| found.cpu_ms),
                    // Workers hide from everybody but root, us included; they count theirs
                    // themselves.
                    files: proc.beat.files.or_else(|| platform::open_files(proc.pid)),
                });
            }
        }
        all
    }

    /// How each slot stands.
    pub(crate) fn facts(&self, now: Duration) -> Vec<WorkerFacts<'_>> {
        let process = |slot: &Slot| {
            let id = slot.current?;
            let proc = self.procs.get(&id)?;
            Some(ProcessFacts {
                id,
                is_ready: proc.stage == Stage::Ready,
                beat_age: now.saturating_sub(proc.silence.since()),
                lag_us: proc.beat.lag_us,
                rss_bytes: proc.usage.rss_bytes,
            })
        };
        self.slots
            .iter()
            .map(|slot| WorkerFacts {
                name: &slot.name,
                role: slot.role,
                process: process(slot),
            })
            .collect()
    }
}
