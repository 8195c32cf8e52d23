//! One upstream server as the relay knows it: its life, what it said of itself, its lists, and the
//! connections to it.

pub(crate) mod catalogue;
pub(crate) mod handshake;
pub(crate) mod header_mismatch;
pub(crate) mod http;
pub(crate) mod lifecycle;
pub mod list;
pub(crate) mod lists;
pub(crate) mod outbound;
pub(crate) mod receive;
pub(crate) mod reconfigure;
pub mod view;
pub(crate) mod visibility;

use crate::api::{Lease, Micros, Report, SHARED, Transport, UpId, UpstreamSettings};
use crate::protocol::method::{Legacy, LogLevel};
use crate::protocol::{json, name};
use crate::upstream::list::{List, ListKind};
use ggen_wire::{Code, status::UpstreamState};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// What a client can be asked for; legacy servers are told once, at `initialize`, so that
/// connections are kept apart by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "these are the protocol's own flags"
)]
pub struct Caps {
    /// `elicitation` (forms).
    pub form: bool,
    /// `elicitation.url`
    pub url: bool,
    /// `sampling`
    pub sampling: bool,
    /// `sampling.tools`
    pub sampling_tools: bool,
    /// `sampling.context`
    pub sampling_context: bool,
    /// `roots`
    pub roots: bool,
}

impl Caps {
    /// Reads a `capabilities` object.
    #[must_use]
    pub fn read(capabilities: &str) -> Self {
        let [elicitation, sampling, roots] =
            json::pick(capabilities, ["elicitation", "sampling", "roots"]).unwrap_or_default();
        let [form, url] = elicitation
            .and_then(|raw| json::pick(raw, ["form", "url"]))
            .unwrap_or_default();
        let [tools, context] = sampling
            .and_then(|raw| json::pick(raw, ["tools", "context"]))
            .unwrap_or_default();
        Self {
            form: elicitation.is_some() && (form.is_some() || url.is_none()),
            url: url.is_some(),
            sampling: sampling.is_some(),
            sampling_tools: tools.is_some(),
            sampling_context: context.is_some(),
            roots: roots.is_some(),
        }
    }

    /// As the `capabilities` of a legacy `initialize`.
    #[must_use]
    pub fn write(self) -> String {
        let mut parts = Vec::new();
        match (self.form, self.url) {
            (true, true) => parts.push("\"elicitation\":{\"form\":{},\"url\":{}}"),
            (true, false) => parts.push("\"elicitation\":{}"),
            (false, true) => parts.push("\"elicitation\":{\"url\":{}}"),
            (false, false) => {}
        }
        match (self.sampling, self.sampling_tools, self.sampling_context) {
            (true, true, true) => parts.push("\"sampling\":{\"tools\":{},\"context\":{}}"),
            (true, true, false) => parts.push("\"sampling\":{\"tools\":{}}"),
            (true, false, true) => parts.push("\"sampling\":{\"context\":{}}"),
            (true, false, false) => parts.push("\"sampling\":{}"),
            _ => {}
        }
        if self.roots {
            parts.push("\"roots\":{}");
        }
        format!("{{{}}}", parts.join(","))
    }

    /// Whether the client may be sent this request.
    #[must_use]
    pub fn allow(self, method: &str, params: Option<&str>) -> bool {
        let member = |name| params.and_then(|params| json::pick(params, [name])?[0]);
        match method {
            "elicitation/create" if member("mode") == Some("\"url\"") => self.url,
            "elicitation/create" => self.form,
            "sampling/createMessage" => {
                self.sampling && (self.sampling_tools || member("tools").is_none())
            }
            "roots/list" => self.roots,
            _ => false,
        }
    }

    /// The capability that such a request needs, as `requiredCapabilities` of an error.
    #[must_use]
    pub fn needed(method: &str, params: Option<&str>) -> &'static str {
        let member = |name| params.and_then(|params| json::pick(params, [name])?[0]);
        match method {
            "elicitation/create" if member("mode") == Some("\"url\"") => {
                "{\"elicitation\":{\"url\":{}}}"
            }
            "elicitation/create" => "{\"elicitation\":{}}",
            "sampling/createMessage" if member("tools").is_some() => {
                "{\"sampling\":{\"tools\":{}}}"
            }
            "sampling/createMessage" => "{\"sampling\":{}}",
            _ => "{\"roots\":{}}",
        }
    }

    /// What a client of a legacy revision can be asked for: without what that revision does not
    /// know.
    #[must_use]
    pub fn of_revision(mut self, version: Legacy) -> Self {
        if version < Legacy::L2025_11_25 {
            self.url = false;
            self.sampling_tools = false;
        }
        self.form &= version >= Legacy::L2025_06_18;
        self
    }
}

/// Which era a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpEra {
    /// With a handshake, at that revision.
    Legacy(Legacy),
    /// 2026-07-28.
    Modern,
}

impl UpEra {
    /// `legacy` or `modern`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Legacy(_) => "legacy",
            Self::Modern => "modern",
        }
    }

    /// The revision.
    #[must_use]
    pub const fn version(self) -> &'static str {
        match self {
            Self::Legacy(version) => version.as_str(),
            Self::Modern => crate::protocol::method::MODERN,
        }
    }
}

/// What a server said of itself in `initialize` or `server/discover`; members as they stand.
#[derive(Clone, Debug, Default)]
pub struct Hello {
    /// `capabilities`
    pub capabilities: String,
    /// `serverInfo`
    pub server: Option<String>,
    /// `instructions` (a JSON string)
    pub instructions: Option<String>,
}

impl Hello {
    /// Whether a capability is there.
    #[must_use]
    pub fn has(&self, capability: &str) -> bool {
        json::pick(&self.capabilities, [capability])
            .is_some_and(|[found]| found.is_some_and(|raw| raw != "null"))
    }

    /// Whether a member of a capability is true.
    #[must_use]
    pub fn flag(&self, capability: &str, member: &str) -> bool {
        json::pick(&self.capabilities, [capability])
            .and_then(|[found]| json::pick(found?, [member]))
            .is_some_and(|[flag]| flag == Some("true"))
    }
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing there.
    Down,
    /// `server/discover` or `initialize` is under way, since then.
    Greeting(Micros),
    /// Serving.
    Ready,
}

/// Whose a leased child of a stdio server is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lent {
    /// It is no leased child.
    #[default]
    No,
    /// No child at all: the calls that wait for one stand in its queue.
    Lobby,
    /// One client's at a time.
    Pooled,
    /// One session's.
    Session,
    /// One call's.
    Once,
}

/// One connection: a pair of pipes, or an HTTP session (or, with a modern HTTP server, just its
/// URL).
#[derive(Debug)]
pub struct Conn {
    /// What its clients can be asked for; part of its handshake with a legacy server.
    pub caps: Caps,
    /// Which child of a stdio server it is; [`SHARED`] as well for an HTTP session, and for a place
    /// where none is.
    pub lease: Lease,
    /// Whose it is, if it is leased.
    pub lent: Lent,
    /// The legacy session that used it last.
    pub user: Option<Arc<str>>,
    /// It has had a call.
    pub spent: bool,
    /// Calls that were given up and may still be answered, until when at most.
    pub late: Vec<(u64, Micros)>,
    /// How far it is.
    pub phase: Phase,
    /// `Mcp-Session-Id` of a legacy HTTP server.
    pub session: Option<String>,
    /// Client calls that wait for it to become ready.
    pub queue: Vec<u64>,
    /// Client calls in flight.
    pub calls: HashSet<u64>,
    /// Until when a call that was given up may still write log messages, which nothing tells from
    /// those of other calls on a pipe.
    pub unsure: Micros,
    /// The level last set with `logging/setLevel`.
    pub log_level: Option<LogLevel>,
    /// The exchange of its GET stream.
    pub stream: Option<u64>,
    /// Until when calls wait for the GET stream of a new session: what the server asks there before
    /// it is open is lost.
    pub awaits_stream: Option<Micros>,
    /// When to open the GET stream again.
    pub stream_at: Option<Micros>,
    /// The last event id seen on the GET stream.
    pub last_event: Option<String>,
    /// When it was last used.
    pub used: Micros,
}

impl Conn {
    /// A connection that is not there yet.
    #[must_use]
    pub fn new(caps: Caps) -> Self {
        Self {
            caps,
            lease: SHARED,
            lent: Lent::No,
            user: None,
            spent: false,
            late: Vec::new(),
            phase: Phase::Down,
            session: None,
            queue: Vec::new(),
            calls: HashSet::new(),
            unsure: 0,
            log_level: None,
            stream: None,
            awaits_stream: None,
            stream_at: None,
            last_event: None,
            used: 0,
        }
    }

    /// Whether it is a leased child.
    #[must_use]
    pub const fn is_leased(&self) -> bool {
        self.lease != SHARED
    }
}

/// An upstream.
#[derive(Debug)]
pub struct Upstream {
    /// Its place.
    pub id: UpId,
    /// What was configured.
    pub settings: UpstreamSettings,
    /// Its key in exposed names.
    pub key: String,
    /// Where it stands.
    pub state: UpstreamState,
    /// What is wrong with it.
    pub trouble: Option<(Code, String)>,
    /// The life of a stdio server.
    pub incarnation: u64,
    /// Its era, once known.
    pub era: Option<UpEra>,
    /// What it said of itself, kept while it is down.
    pub hello: Hello,
    /// Its lists, by [`ListKind`].
    pub lists: [List; 4],
    /// Connections; the first one always exists and is the one for lists, notifications and
    /// subscriptions.
    pub conns: Vec<Conn>,
    /// The number of the newest leased child.
    pub next_lease: Lease,
    /// Until when no more children are started, and why.
    pub no_leases: Option<(Micros, Code, String)>,
    /// Bytes of client requests in flight.
    pub bytes: usize,
    /// New calls wait: it is about to be restarted, and finishes what is in flight.
    pub held: bool,
    /// `server/discover` was refused with -32022 and is being asked once more.
    pub asked_again: bool,
    /// Since when it is expected to become ready; `None` when it has settled (ready, or known not
    /// to be).
    pub unsettled: Option<Micros>,
    /// A remote server: when to try again, and how often that was in vain.
    pub retry_at: Option<Micros>,
    /// Failures in a row.
    pub failures: u32,
    /// When lists are to be fetched again, after a change was announced.
    pub refresh_at: [Option<Micros>; 4],
    /// Original URIs that clients are subscribed to, with their number.
    pub subscriptions: BTreeMap<Arc<str>, usize>,
    /// The `subscriptions/listen` in force, and one that is to replace it.
    pub listen: (Option<u64>, Option<u64>),
    /// When to listen again, after a listen that ended.
    pub listen_at: Option<Micros>,
    /// Since when it is down.
    pub down_since: Option<Micros>,
    /// When garbage of it was last logged.
    pub complained: Option<Micros>,
    /// What it may still send without being asked, refilled over time (see [`crate::gateway`]).
    pub patience: f64,
    /// When `patience` was last refilled.
    pub refilled: Micros,
    /// What was last reported.
    pub reported: Option<Report>,
    /// What it gave is known from an earlier life, and has not been confirmed in this one.
    pub recalled: bool,
    /// Of what was last said to be stored of it; 0: nothing.
    pub stored: u64,
}

impl Upstream {
    /// An upstream that is not there yet.
    #[must_use]
    pub fn new(id: UpId, settings: UpstreamSettings) -> Self {
        Self {
            id,
            key: name::key(&settings.name),
            state: if settings.enabled {
                UpstreamState::Starting
            } else {
                UpstreamState::Disabled
            },
            unsettled: settings.enabled.then_some(0),
            settings,
            trouble: None,
            incarnation: 0,
            era: None,
            hello: Hello::default(),
            lists: <[List; 4]>::default(),
            conns: vec![Conn::new(Caps::default())],
            next_lease: SHARED,
            no_leases: None,
            bytes: 0,
            held: false,
            asked_again: false,
            retry_at: None,
            failures: 0,
            refresh_at: [None; 4],
            subscriptions: BTreeMap::new(),
            listen: (None, None),
            listen_at: None,
            down_since: None,
            complained: None,
            patience: 0.0,
            refilled: 0,
            reported: None,
            recalled: false,
            stored: 0,
        }
    }

    /// Whether it is an HTTP server.
    #[must_use]
    pub fn is_http(&self) -> bool {
        self.settings.transport == Transport::Http
    }

    /// One of its lists.
    #[must_use]
    pub const fn list(&self, kind: ListKind) -> &List {
        &self.lists[kind as usize]
    }

    /// Calls in flight or waiting, over all connections.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.conns
            .iter()
            .map(|conn| conn.calls.len() + conn.queue.len())
            .sum()
    }

    /// How it stands, for the supervisor.
    #[must_use]
    pub fn report(&self) -> Report {
        let count = |kind: ListKind| u32::try_from(self.list(kind).items.len()).unwrap_or(u32::MAX);
        let server = self.hello.server.as_deref().and_then(|raw| {
            let [name, version] = json::pick(raw, ["name", "version"])?;
            Some(
                format!(
                    "{} {}",
                    json::string(name?)?,
                    version.and_then(json::string).unwrap_or_default()
                )
                .trim_end()
                .to_owned(),
            )
        });
        let ready = self.conns[0].phase == Phase::Ready && !self.is_http();
        Report {
            incarnation: self.incarnation,
            state: self.state,
            era: self.era.map(|era| era.name().to_owned()),
            protocol: self.era.map(|era| era.version().to_owned()),
            server,
            tools: count(ListKind::Tools),
            prompts: count(ListKind::Prompts),
            resources: count(ListKind::Resources),
            code: self.trouble.as_ref().map(|(code, _)| *code),
            detail: self.trouble.as_ref().map(|(_, detail)| detail.clone()),
            handoff: ready.then(|| self.handoff()),
        }
    }

    /// What the next life of the gateway worker needs to go on without a handshake.
    pub(crate) fn handoff(&self) -> String {
        let optional = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
        format!(
            "{{\"protocol\":\"{}\",\"capabilities\":{},\"server\":{},\"instructions\":{}}}",
            self.era.map_or("", UpEra::version),
            if self.hello.capabilities.is_empty() {
                "{}"
            } else {
                &self.hello.capabilities
            },
            optional(&self.hello.server),
            optional(&self.hello.instructions),
        )
    }

    /// Takes what an earlier life reported. False: it is not usable, a handshake is needed.
    pub fn adopt(&mut self, handoff: &str) -> bool {
        let Some([Some(protocol), Some(capabilities), server, instructions]) = json::pick(
            handoff,
            ["protocol", "capabilities", "server", "instructions"],
        ) else {
            return false;
        };
        self.era = match json::string(protocol).as_deref() {
            Some(crate::protocol::method::MODERN) => Some(UpEra::Modern),
            Some(version) => Legacy::parse(version).map(UpEra::Legacy),
            None => None,
        };
        let text = |raw: Option<&str>| raw.filter(|raw| *raw != "null").map(str::to_owned);
        self.hello = Hello {
            capabilities: capabilities.to_owned(),
            server: text(server),
            instructions: text(instructions),
        };
        self.era.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_and_written() {
        for text in [
            "{}",
            r#"{"elicitation":{}}"#,
            r#"{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{}},"roots":{}}"#,
        ] {
            assert_eq!(Caps::read(text).write(), text);
        }
        let form = Caps::read(r#"{"elicitation":{},"sampling":{}}"#);
        assert!(
            form.allow("elicitation/create", Some(r#"{"mode":"form"}"#))
                && form.allow("elicitation/create", None)
        );
        assert!(!form.allow("elicitation/create", Some(r#"{"mode":"url"}"#)));
        assert!(
            form.allow("sampling/createMessage", Some("{}"))
                && !form.allow("sampling/createMessage", Some(r#"{"tools":[]}"#))
        );
        assert!(!Caps::read("{}").allow("roots/list", None));
    }
}
