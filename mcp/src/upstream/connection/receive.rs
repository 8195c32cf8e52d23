//! A message from an upstream: what it is, and whether the upstream sends more than anybody asked
//! for.

use crate::api::{Micros, Output, UpId};
use crate::in_flight::record::Purpose;
use crate::observation::DropReason;
use crate::upstream::Connecting;
use ggen_wire::Code;
use ggen_wire::log::Level;

/// Messages that nobody asked for: so many at once, and so many a second; what sends more is not
/// read for a while.
const PATIENCE: (f64, f64) = (2000.0, 1000.0);
/// How long it is not read then.
const PAUSE: Micros = 100_000;
/// Complaints about one upstream are this far apart.
const COMPLAINT: Micros = 10_000_000;

impl Connecting<'_> {
    /// Something that is no message; `call`: the HTTP exchange that it came on.
    pub(crate) fn garbage(&mut self, up: UpId, conn: usize, call: Option<u64>, data: &[u8]) {
        // What stands in the answer to a notification is of no interest.
        let is_receipt = |number| {
            let call = self.calls.get(&number);
            call.is_some_and(|call| matches!(call.purpose, Purpose::Untracked))
        };
        if call.is_some_and(is_receipt) {
            return;
        }
        self.cx.dropped(Some(up), DropReason::Garbage);
        self.lose_patience(up, conn);
        let now = self.cx.now;
        let upstream = self.ups.get_mut(up);
        if upstream
            .complained
            .is_none_or(|last| now >= last + COMPLAINT)
        {
            upstream.complained = Some(now);
            let head: String = String::from_utf8_lossy(&data[..data.len().min(120)])
                .chars()
                .filter(|c| !c.is_control())
                .collect();
            let upstream = self.ups.get(up);
            let what = if upstream.is_http() {
                "sent something that is not MCP"
            } else {
                "printed something that is not MCP on stdout"
            };
            let text = format!("{} {what}: {head}", upstream.settings.name);
            self.cx.note(
                Level::Warn,
                "protocol",
                Some(up),
                Some(Code::UpstreamGarbage),
                text,
            );
        }
    }

    pub(crate) fn lose_patience(&mut self, up: UpId, conn: usize) {
        let now = self.cx.now;
        let upstream = self.ups.get_mut(up);
        #[allow(clippy::cast_precision_loss, reason = "a rate needs no precision")]
        let elapsed = now.saturating_sub(upstream.refilled) as f64 / 1e6;
        upstream.patience = (upstream.patience + elapsed * PATIENCE.1).min(PATIENCE.0) - 1.0;
        upstream.refilled = now;
        if upstream.patience < 0.0 && !upstream.is_http() {
            self.cx.dropped(Some(up), DropReason::FloodPause);
            let lease = self.ups.get(up).conns[conn].lease;
            self.cx.emit(Output::Pause(up, lease, PAUSE));
        }
    }
}
