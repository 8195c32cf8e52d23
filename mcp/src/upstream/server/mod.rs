//! One upstream server: its life, what it said of itself, its lists and its connections. Values
//! only.

mod conn;

use crate::api::{Lease, Micros, Report, SHARED, Transport, UpId, UpstreamSettings};
use crate::protocol::method::Legacy;
use crate::protocol::{json, name};
use crate::upstream::list::{List, ListKind};
pub use conn::{Conn, ConnState, Lent, User};
use ggen_wire::Code;
use ggen_wire::status::UpstreamState;
use std::collections::BTreeMap;
use std::sync::Arc;

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
pub struct ServerInfo {
    /// `capabilities`
    pub capabilities: String,
    /// `serverInfo`
    pub server: Option<String>,
    /// `instructions` (a JSON string)
    pub instructions: Option<String>,
}

impl ServerInfo {
    /// Whether a capability is there.
    #[must_use]
    pub fn has(&self, capability: &str) -> bool {
        json::pick(&self.capabilities, [capability])
            .is_some_and(|[found]| found.is_some_and(|raw| raw != "null"))
    }

    /// Adds a capability that it did not declare.
    pub(crate) fn add(&mut self, capability: &str) {
        let rest = self.capabilities.trim_start().trim_start_matches('{');
        let comma = if rest.trim_start().starts_with('}') {
            ""
        } else {
            ","
        };
        self.capabilities = format!("{{\"{capability}\":{{}}{comma}{rest}");
    }

    /// Whether a member of a capability is true.
    #[must_use]
    pub fn flag(&self, capability: &str, member: &str) -> bool {
        json::pick(&self.capabilities, [capability])
            .and_then(|[found]| json::pick(found?, [member]))
            .is_some_and(|[flag]| flag == Some("true"))
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
    /// The newest legacy revision that a modern server speaks, too.
    pub speaks_legacy: Option<Legacy>,
    /// What it said of itself, kept while it is down.
    pub info: ServerInfo,
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
    /// The revision that `initialize` names next; `None`: the newest one. What has worked stays.
    pub offer: Option<Legacy>,
    /// Why `initialize` was refused while the probe had no answer yet.
    pub initialize_refused: Option<(Code, String)>,
    /// A remote server has asked not to be disturbed until then.
    pub busy_until: Option<Micros>,
    /// `server/discover` is all that this life of a stdio server was sent.
    pub probing: bool,
    /// It is sent `initialize` without being probed: it has served as a legacy server, in this life
    /// of the relay or an earlier one, or has ended at the probe. Forgotten when that fails, and when
    /// the server turns out to be another one.
    pub skips_probe: bool,
    /// It ended at a question for a list that it does not declare: it is not asked again.
    pub ends_at_question: bool,
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
            speaks_legacy: None,
            info: ServerInfo::default(),
            lists: <[List; 4]>::default(),
            conns: vec![Conn::empty()],
            next_lease: SHARED,
            no_leases: None,
            bytes: 0,
            held: false,
            asked_again: false,
            offer: None,
            initialize_refused: None,
            busy_until: None,
            probing: false,
            skips_probe: false,
            ends_at_question: false,
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

    /// The era that is spoken on one of its connections.
    #[must_use]
    pub fn era_at(&self, conn: usize) -> Option<UpEra> {
        let own = self.conns.get(conn).and_then(|conn| conn.era);
        own.or(self.era)
    }

    /// Whether it is an HTTP server that has sessions, in that era if it is not its own.
    #[must_use]
    pub fn has_sessions(&self, era: Option<UpEra>) -> bool {
        self.is_http() && matches!(era.or(self.era), Some(UpEra::Legacy(_)))
    }

    /// Whether that is the modern one.
    #[must_use]
    pub fn is_modern_at(&self, conn: usize) -> bool {
        self.era_at(conn) == Some(UpEra::Modern)
    }

    /// Whether it remembers something from call to call, so that clients do not share it.
    #[must_use]
    pub const fn has_state(&self) -> bool {
        self.settings.stateful
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
        let server = self.info.server.as_deref().and_then(|raw| {
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
        let ready = self.conns[0].phase == ConnState::Ready && !self.is_http();
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
            "{{\"protocol\":\"{}\",\"legacy\":\"{}\",\"capabilities\":{},\"server\":{},\"instructions\":{}}}",
            self.era.map_or("", UpEra::version),
            self.speaks_legacy.map_or("", Legacy::as_str),
            if self.info.capabilities.is_empty() {
                "{}"
            } else {
                &self.info.capabilities
            },
            optional(&self.info.server),
            optional(&self.info.instructions),
        )
    }

    /// Whether it takes calls: it is ready, or degraded only because one of its lists fails.
    #[must_use]
    pub fn serves(&self) -> bool {
        let list_fails = matches!(self.trouble, Some((Code::UpstreamListFailed, _)));
        self.state == UpstreamState::Ready || list_fails
    }

    /// Takes what an earlier life reported. False: it is not usable, a handshake is needed.
    pub fn adopt(&mut self, handoff: &str) -> bool {
        let Some(
            [
                Some(protocol),
                legacy,
                Some(capabilities),
                server,
                instructions,
            ],
        ) = json::pick(
            handoff,
            [
                "protocol",
                "legacy",
                "capabilities",
                "server",
                "instructions",
            ],
        )
        else {
            return false;
        };
        self.era = match json::string(protocol).as_deref() {
            Some(crate::protocol::method::MODERN) => Some(UpEra::Modern),
            Some(version) => Legacy::parse(version).map(UpEra::Legacy),
            None => None,
        };
        self.speaks_legacy = legacy
            .and_then(json::string)
            .and_then(|legacy| Legacy::parse(&legacy));
        let text = |raw: Option<&str>| raw.filter(|raw| *raw != "null").map(str::to_owned);
        self.info = ServerInfo {
            capabilities: capabilities.to_owned(),
            server: text(server),
            instructions: text(instructions),
        };
        self.era.is_some()
    }
}
