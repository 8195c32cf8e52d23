//! What a handshake comes to that was not simply answered: another era or an older revision is
//! offered, the server is left alone for a while, or it has failed.

use crate::api::{EraSetting, Micros, Output, UpId};
use crate::in_flight::record::Purpose;
use crate::protocol::json;
use crate::protocol::method::Legacy;
use crate::upstream::Connecting;
use ggen_wire::Code;

/// The time of a handshake is divided among so many revisions that are offered.
pub(crate) const OFFERS: Micros = 4;
/// After a refusal of `initialize`, an answer to the probe is waited for so long.
const LAST_CHANCE: Micros = 5_000_000;
/// A server that asks to be left alone is for so long, at least and at most.
const BUSY: (Micros, Micros) = (1_000_000, 300_000_000);

/// Why a handshake ended without an answer.
pub(crate) struct Ended {
    /// The HTTP status; 0: there was none.
    pub(crate) status: u16,
    /// `Retry-After`
    pub(crate) retry_after: Option<Micros>,
    /// What went wrong.
    pub(crate) why: (Code, String),
}

impl Ended {
    /// Whether it says nothing about eras and revisions: credentials are missing, the address is
    /// another one, or the server wants to be left alone.
    const fn is_about_something_else(&self) -> bool {
        matches!(self.status, 300..=399 | 401 | 403 | 407 | 429)
            || self.status == 503 && self.retry_after.is_some()
    }

    /// Whether the server could not be reached, or closed the connection without an answer.
    fn is_unreachable(&self) -> bool {
        self.status == 0 && self.why.0 == Code::UpstreamUnreachable
    }
}

/// The legacy revisions that the data of an error names as supported; `None`: it names no revision.
pub(crate) fn named_revisions(data: Option<&str>) -> Option<Vec<Legacy>> {
    let [supported] = json::pick(data?, ["supported"])?;
    let list = json::elements(supported?)?;
    let names = list.into_iter().filter_map(json::string);
    let mut names = names.peekable();
    names.peek()?;
    Some(names.filter_map(|name| Legacy::parse(&name)).collect())
}

impl Connecting<'_> {
    /// The revision that `initialize` names.
    pub(crate) fn offered(&self, up: UpId) -> Legacy {
        let upstream = self.ups.get(up);
        upstream
            .settings
            .pinned
            .or(upstream.offer)
            .unwrap_or(Legacy::LATEST)
    }

    /// The revision to offer after the present one; of those that the server names, if it does.
    pub(crate) fn older_offer(&self, up: UpId, named: Option<&[Legacy]>) -> Option<Legacy> {
        if self.ups.get(up).settings.pinned.is_some() {
            return None;
        }
        let offered = self.offered(up);
        Legacy::ALL
            .into_iter()
            .filter(|older| *older < offered)
            .find(|older| named.is_none_or(|named| named.contains(older)))
    }

    /// Has a request looked at sooner than when its time is over.
    pub(crate) fn due_sooner(&mut self, number: u64, after: Micros) {
        let due = self.cx.now.saturating_add(after);
        if let Some(call) = self.calls.get_mut(&number) {
            call.deadline = call.deadline.min(due);
        }
    }

    /// Whether an `initialize` has no answer yet.
    pub(crate) fn is_initializing(&self, up: UpId, conn: usize) -> bool {
        self.handshakes(up, conn, |purpose| matches!(purpose, Purpose::Initialize))
            .next()
            .is_some()
    }

    fn handshakes(
        &self,
        up: UpId,
        conn: usize,
        wanted: impl Fn(&Purpose) -> bool,
    ) -> impl Iterator<Item = u64> {
        let of = move |(number, call): (&u64, &crate::in_flight::record::Call)| {
            (call.up == up && call.conn == conn && wanted(&call.purpose)).then_some(*number)
        };
        self.calls.iter().filter_map(of)
    }

    /// One part of a handshake was answered: nobody waits for the others any more.
    pub(crate) fn forget_handshake(&mut self, up: UpId, conn: usize) {
        let is_part =
            |purpose: &Purpose| matches!(purpose, Purpose::Discover | Purpose::Initialize);
        let mut parts: Vec<_> = self.handshakes(up, conn, is_part).collect();
        parts.sort_unstable();
        for number in parts {
            self.calls.remove(&number);
            if self.ups.get(up).is_http() {
                self.cx.emit(Output::Abort(up, number));
            }
        }
    }

    /// A part of a handshake has had no answer for a while. True: something else is tried beside
    /// it, and whichever answer comes first counts.
    pub(crate) fn handshake_silent(&mut self, up: UpId, number: u64) -> bool {
        let (limit, now) = (self.handshake_limit(up), self.cx.now);
        let Some(call) = self.calls.get(&number) else {
            return false;
        };
        let (conn, upstream) = (call.conn, self.ups.get(up));
        match call.purpose {
            Purpose::Discover if self.is_initializing(up, 0) => {
                // The answer to the other one decides.
                self.calls.remove(&number);
                if self.ups.get(up).is_http() {
                    self.cx.emit(Output::Abort(up, number));
                }
                true
            }
            Purpose::Discover
                if upstream.settings.era != EraSetting::Modern
                    && upstream.initialize_refused.is_none() =>
            {
                if let Some(call) = self.calls.get_mut(&number) {
                    call.deadline = now.saturating_add(limit);
                }
                self.initialize_upstream(up, 0);
                true
            }
            Purpose::Initialize if conn == 0 && upstream.is_http() => {
                let until = call.began.saturating_add(limit);
                let Some(older) = self.older_offer(up, None).filter(|_| now < until) else {
                    return false;
                };
                if let Some(call) = self.calls.get_mut(&number) {
                    call.deadline = until;
                }
                self.ups.get_mut(up).offer = Some(older);
                self.initialize_upstream(up, 0);
                true
            }
            _ => false,
        }
    }

    /// Remembers how long a server wants to be left alone.
    fn leave_alone(&mut self, up: UpId, retry_after: Option<Micros>) {
        if let Some(wait) = retry_after {
            let until = self.cx.now + wait.clamp(BUSY.0, BUSY.1);
            self.ups.get_mut(up).busy_until = Some(until);
        }
    }

    /// The exchange of the probe ended without an answer that could be read.
    pub(crate) fn probe_ended(&mut self, up: UpId, ended: Ended) {
        // Who closes the connection at the probe does it again; then `initialize` is tried, too.
        let is_gone = ended.is_unreachable() && self.ups.get(up).failures == 0;
        let is_final = is_gone || ended.is_about_something_else();
        let (code, why) = ended.why;
        if is_final && !self.is_initializing(up, 0) {
            self.leave_alone(up, ended.retry_after);
            return self.handshake_failed(up, 0, code, why);
        }
        self.fall_back(up, code, why);
    }

    /// After a probe without success: `initialize`, unless the configuration says modern, or it was
    /// tried already.
    pub(crate) fn fall_back(&mut self, up: UpId, code: Code, why: String) {
        if self.is_initializing(up, 0) {
            return;
        }
        if let Some((code, why)) = self.ups.get_mut(up).initialize_refused.take() {
            return self.handshake_failed(up, 0, code, why);
        }
        if self.ups.get(up).settings.era == EraSetting::Modern {
            self.handshake_failed(up, 0, code, why);
        } else {
            self.initialize_upstream(up, 0);
        }
    }

    /// The exchange of an `initialize` ended without an answer that could be read.
    pub(crate) fn initialize_ended(&mut self, up: UpId, conn: usize, ended: Ended) {
        // An address where nothing takes a POST takes none with another revision.
        let is_nowhere = matches!(ended.status, 404 | 405 | 410);
        if ended.is_unreachable() || is_nowhere || ended.is_about_something_else() {
            self.leave_alone(up, ended.retry_after);
            return self.initialize_failed(up, conn, ended.why);
        }
        self.initialize_refused(up, conn, ended.why, None);
    }

    /// `initialize` was refused: an older revision is offered, if there is one. `named`: the
    /// revisions that the server says it speaks.
    pub(crate) fn initialize_refused(
        &mut self,
        up: UpId,
        conn: usize,
        why: (Code, String),
        named: Option<Vec<Legacy>>,
    ) {
        let older = self.older_offer(up, named.as_deref());
        match older.filter(|_| conn == 0) {
            Some(older) => {
                self.ups.get_mut(up).offer = Some(older);
                self.initialize_upstream(up, 0);
            }
            None => self.initialize_failed(up, conn, why),
        }
    }

    /// A refusal decides nothing while another part of the handshake has no answer.
    fn initialize_failed(&mut self, up: UpId, conn: usize, (code, why): (Code, String)) {
        if self.is_initializing(up, conn) {
            return;
        }
        let probes = |purpose: &Purpose| matches!(purpose, Purpose::Discover);
        let probe = self.handshakes(up, conn, probes).next();
        match probe {
            Some(number) => {
                self.ups.get_mut(up).initialize_refused = Some((code, why));
                self.due_sooner(number, LAST_CHANCE);
            }
            None => self.handshake_failed(up, conn, code, why),
        }
    }
}
