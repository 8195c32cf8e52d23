//! Greeting an upstream: which era it speaks, and what it says of itself. `server/discover` first,
//! then `initialize` on the same connection (MCP 2026-07-28, stdio and Streamable HTTP, "Backward
//! Compatibility").

use crate::api::{Micros, Output, UpId};
use crate::context::FollowUp;
use crate::in_flight::record::Purpose;
use crate::protocol::inbound::key;
use crate::protocol::json::{Envelope, Kind};
use crate::protocol::method::{Legacy, MODERN};
use crate::protocol::{excerpt, json};
use crate::upstream::connection::offers::{OFFERS, named_revisions};
use crate::upstream::{ConnState, Connecting, ServerInfo, UpEra};
use bytes::Bytes;
use ggen_wire::Code;

impl Connecting<'_> {
    /// Sends `server/discover`, or `initialize` where the configuration says legacy or the server is
    /// known to be.
    pub(crate) fn begin_handshake(&mut self, up: UpId) {
        let now = self.cx.now;
        let upstream = self.ups.get_mut(up);
        upstream.retry_at = None;
        upstream.asked_again = false;
        upstream.initialize_refused = None;
        upstream.conns[0].phase = ConnState::Handshake(now);
        let upstream = self.ups.get(up);
        let is_auto = upstream.settings.era == crate::api::EraSetting::Auto;
        if upstream.settings.era == crate::api::EraSetting::Legacy
            || is_auto && upstream.skips_probe
        {
            return self.initialize_upstream(up, 0);
        }
        self.discover_upstream(up);
    }

    /// How long a server may take for its handshake.
    pub(crate) fn handshake_limit(&self, up: UpId) -> Micros {
        if self.ups.get(up).is_http() {
            self.cx.limits.handshake
        } else {
            self.ups.get(up).settings.startup
        }
    }

    fn discover_upstream(&mut self, up: UpId) {
        let upstream = self.ups.get(up);
        let (is_modern, is_http) = (
            upstream.settings.era == crate::api::EraSetting::Modern,
            upstream.is_http(),
        );
        if !is_http && !is_modern {
            self.set_probing(up, true);
        }
        let limit = self.handshake_limit(up);
        let number = self.outbound_request(up, 0, Purpose::Discover, "server/discover", "", limit);
        // A server that is modern for certain is not asked anything else: it has all the time.
        if !is_modern {
            let silence = if is_http {
                self.cx.limits.remote_probe
            } else {
                self.cx.limits.probe
            };
            self.due_sooner(number, silence);
        }
    }

    /// Says whether the probe is all that a stdio server was sent: servers of older SDKs end at it,
    /// which is no failure.
    fn set_probing(&mut self, up: UpId, outstanding: bool) {
        let upstream = self.ups.get_mut(up);
        if upstream.probing != outstanding {
            upstream.probing = outstanding;
            let incarnation = upstream.incarnation;
            self.cx.emit(Output::Probe {
                up,
                incarnation,
                outstanding,
            });
        }
    }

    /// A stdio server has ended. One that has not answered the probe is not probed again, until it
    /// ends without an answer to `initialize`, too.
    pub(crate) fn ended(&mut self, up: UpId) {
        let unanswered = self.calls.values().any(|call| {
            call.up == up && call.conn == 0 && matches!(call.purpose, Purpose::Discover)
        });
        let upstream = self.ups.get_mut(up);
        upstream.probing = false;
        if upstream.lists.iter().any(|list| list.is_undeclared) {
            upstream.ends_at_question = true;
        }
        if unanswered {
            upstream.skips_probe = true;
        } else if upstream.conns[0].phase != ConnState::Ready {
            upstream.skips_probe = false;
        }
    }

    pub(crate) fn initialize_upstream(&mut self, up: UpId, conn: usize) {
        if conn == 0 {
            self.set_probing(up, false);
        }
        let now = self.cx.now;
        let member = &mut self.ups.get_mut(up).conns[conn];
        member.phase = ConnState::Handshake(now);
        // The new session knows nothing of what was asked of the one before.
        (member.session, member.log_level, member.awaits_stream) = (None, None, None);
        // A stream of the session before tells nothing any more.
        let stream = member.stream.take();
        (member.has_streamed, member.stream_failures) = (false, 0);
        let caps = member.declared.write();
        let own = member.era;
        if let Some(number) = stream {
            self.calls.remove(&number);
            self.cx.emit(Output::Abort(up, number));
        }
        let members = format!(
            "\"protocolVersion\":\"{}\",\"capabilities\":{},\"clientInfo\":{}",
            match own {
                Some(UpEra::Legacy(revision)) => revision,
                _ => self.offered(up),
            }
            .as_str(),
            caps,
            client_info()
        );
        let limit = self.handshake_limit(up);
        let number =
            self.outbound_request(up, conn, Purpose::Initialize, "initialize", &members, limit);
        if conn == 0 && self.ups.get(up).is_http() && self.older_offer(up, None).is_some() {
            self.due_sooner(number, limit / OFFERS);
        }
    }

    /// The answer to `server/discover`. Whatever is no word of a modern server means: try
    /// `initialize`.
    pub(crate) fn discovered(&mut self, up: UpId, envelope: &Envelope<'_>) {
        let asked_both = self.is_initializing(up, 0);
        match envelope.kind {
            Kind::Result(_, result) => {
                let [versions, capabilities, instructions, meta] = json::pick(
                    result,
                    ["supportedVersions", "capabilities", "instructions", "_meta"],
                )
                .unwrap_or_default();
                let versions = versions.and_then(json::elements).unwrap_or_default();
                if versions
                    .iter()
                    .any(|version| json::string(version).as_deref() == Some(MODERN))
                {
                    let server = meta
                        .and_then(|meta| json::pick(meta, [key::SERVER]))
                        .and_then(|[server]| server);
                    self.forget_handshake(up, 0);
                    let legacy = versions.iter().filter_map(|one| json::string(one));
                    let legacy = legacy.filter_map(|one| Legacy::parse(&one)).max();
                    self.ups.get_mut(up).speaks_legacy = legacy;
                    return self.greeted(up, 0, UpEra::Modern, capabilities, server, instructions);
                }
            }
            Kind::Error(_, error) if !asked_both && self.is_word_of_modern(up, error) => return,
            _ => {}
        }
        self.fall_back(
            up,
            Code::UpstreamRefused,
            "the server does not speak 2026-07-28".to_owned(),
        );
    }

    /// What an error in answer to `server/discover` says that only a modern server does. True: the
    /// handshake goes on, or is over.
    fn is_word_of_modern(&mut self, up: UpId, error: &str) -> bool {
        let [code, message, data] =
            json::pick(error, ["code", "message", "data"]).unwrap_or_default();
        let supported = data
            .and_then(|data| json::pick(data, ["supported"]))
            .and_then(|[list]| json::elements(list?));
        let supported: Vec<_> = supported
            .into_iter()
            .flatten()
            .filter_map(json::string)
            .collect();
        // It refuses our revision and says that it has it: perhaps it was not ready to be asked
        // (versioning, "Version Negotiation").
        if code == Some("-32022")
            && supported.iter().any(|version| version == MODERN)
            && !std::mem::replace(&mut self.ups.get_mut(up).asked_again, true)
        {
            self.discover_upstream(up);
            return true;
        }
        // One that names legacy revisions speaks them, too.
        let legacy = supported.iter().any(|one| Legacy::parse(one).is_some());
        let is_modern =
            matches!(code, Some("-32020" | "-32021")) || code == Some("-32022") && !legacy;
        if is_modern {
            let message = message.and_then(json::string).unwrap_or_default();
            let mut why = format!("server/discover was refused: {message}");
            if !supported.is_empty() {
                why.push_str(&format!(" (it speaks {})", supported.join(", ")));
            }
            self.handshake_failed(up, 0, Code::UpstreamRefused, excerpt::one_line(&why));
        }
        is_modern
    }

    /// The answer to `initialize`.
    pub(crate) fn initialized(
        &mut self,
        up: UpId,
        conn: usize,
        session: Option<String>,
        envelope: &Envelope<'_>,
    ) {
        match envelope.kind {
            Kind::Result(_, result) => {
                let [version, capabilities, server, instructions] = json::pick(
                    result,
                    [
                        "protocolVersion",
                        "capabilities",
                        "serverInfo",
                        "instructions",
                    ],
                )
                .unwrap_or_default();
                let version = version.and_then(json::string).unwrap_or_default();
                let Some(legacy) = Legacy::parse(&version) else {
                    let why = format!("it answers initialize with revision '{version}'");
                    let why = (Code::UpstreamRefused, excerpt::one_line(&why));
                    return self.initialize_refused(up, conn, why, None);
                };
                // What is silent at the probe may still answer it later; that answer belongs to
                // nobody then.
                self.forget_handshake(up, conn);
                self.ups.get_mut(up).conns[conn].session = session;
                let initialized = Bytes::from_static(
                    b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}",
                );
                self.ups.get_mut(up).conns[conn].phase = ConnState::Ready;
                let upstream = self.ups.get_mut(up);
                if conn == 0 {
                    upstream.era = Some(UpEra::Legacy(legacy));
                } else if upstream.conns[conn].era.is_some() {
                    upstream.conns[conn].era = Some(UpEra::Legacy(legacy));
                }
                self.send_untracked(up, conn, initialized, Vec::new());
                self.greeted(
                    up,
                    conn,
                    UpEra::Legacy(legacy),
                    capabilities,
                    server,
                    instructions,
                );
            }
            Kind::Error(_, error) => {
                let [message, data] = json::pick(error, ["message", "data"]).unwrap_or_default();
                let message = format!(
                    "initialize was answered with an error: {}",
                    message.and_then(json::string).unwrap_or_default()
                );
                let why = (Code::UpstreamRefused, excerpt::one_line(&message));
                self.initialize_refused(up, conn, why, named_revisions(data));
            }
            _ => {}
        }
    }

    fn greeted(
        &mut self,
        up: UpId,
        conn: usize,
        era: UpEra,
        capabilities: Option<&str>,
        server: Option<&str>,
        instructions: Option<&str>,
    ) {
        if conn == 0 {
            let own = |raw: Option<&str>| {
                raw.filter(|raw| *raw != "null")
                    .map(|raw| raw.replace(['\n', '\r'], " "))
            };
            let hello = ServerInfo {
                capabilities: own(capabilities).unwrap_or_else(|| "{}".to_owned()),
                server: own(server),
                instructions: own(instructions),
            };
            let upstream = self.ups.get_mut(up);
            // Another program or version may know the modern era: it is probed at its next start.
            let is_known = upstream.info.server.is_none() || upstream.info.server == hello.server;
            upstream.skips_probe = era != UpEra::Modern && (is_known || !upstream.skips_probe);
            upstream.era = Some(era);
            upstream.info = hello;
        }
        self.ready(up, conn);
    }

    /// The handshake on a connection led to nothing: its calls fail, and a process is replaced.
    pub(crate) fn handshake_failed(&mut self, up: UpId, conn: usize, code: Code, detail: String) {
        let upstream = self.ups.get_mut(up);
        if conn == 0 {
            upstream.skips_probe = false;
            upstream.offer = None;
        } else if upstream.conns[conn].era.is_some() {
            // It says that it speaks the legacy era, and does not: its clients are bridged.
            upstream.speaks_legacy = None;
        }
        self.cx.follow_up(FollowUp::HandshakeFailed {
            up,
            conn,
            code,
            detail,
        });
    }
}

/// What the relay says of itself to servers.
pub(crate) fn client_info() -> String {
    format!(
        "{{\"name\":\"ggend\",\"version\":\"{}\"}}",
        ggen_wire::VERSION
    )
}
