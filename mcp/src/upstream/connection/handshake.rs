//! Greeting an upstream: which era it speaks, and what it says of itself. `server/discover` first,
//! then `initialize` on the same connection (MCP 2026-07-28, stdio and Streamable HTTP, "Backward
//! Compatibility").

use crate::api::{Micros, Output, UpId};
use crate::context::FollowUp;
use crate::in_flight::record::Purpose;
use crate::protocol::inbound::key;
use crate::protocol::json;
use crate::protocol::json::{Envelope, Kind};
use crate::protocol::method::{Legacy, MODERN};
use crate::upstream::{ConnState, Connecting, ServerInfo, UpEra};
use bytes::Bytes;
use ggen_wire::Code;

impl Connecting<'_> {
    /// Sends `server/discover`, or `initialize` where the configuration says legacy or the server is
    /// known to be.
    pub(crate) fn begin_handshake(&mut self, up: UpId) {
        let now = self.cx.now;
        self.ups.get_mut(up).retry_at = None;
        self.ups.get_mut(up).asked_again = false;
        self.ups.get_mut(up).conns[0].phase = ConnState::Handshake(now);
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
        let is_modern = upstream.settings.era == crate::api::EraSetting::Modern;
        // A server that is modern for certain is not asked anything else: it has all the time.
        let limit = if upstream.is_http() || is_modern {
            self.handshake_limit(up)
        } else {
            self.cx.limits.probe
        };
        if !self.ups.get(up).is_http() && !is_modern {
            self.set_probing(up, true);
        }
        self.outbound_request(up, 0, Purpose::Discover, "server/discover", "", limit);
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
        let caps = member.caps.write();
        if let Some(number) = stream {
            self.calls.remove(&number);
            self.cx.emit(Output::Abort(up, number));
        }
        let members = format!(
            "\"protocolVersion\":\"{}\",\"capabilities\":{},\"clientInfo\":{}",
            Legacy::LATEST.as_str(),
            caps,
            client_info()
        );
        self.outbound_request(
            up,
            conn,
            Purpose::Initialize,
            "initialize",
            &members,
            self.handshake_limit(up),
        );
    }

    /// The answer to `server/discover`. Whatever is no word of a modern server means: try
    /// `initialize`.
    pub(crate) fn discovered(&mut self, up: UpId, envelope: &Envelope<'_>) {
        let asked_both = self.calls.values().any(|call| {
            call.up == up && call.conn == 0 && matches!(call.purpose, Purpose::Initialize)
        });
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
                    self.calls.retain(|_, call| {
                        call.up != up
                            || call.conn != 0
                            || !matches!(call.purpose, Purpose::Initialize)
                    });
                    return self.greeted(up, 0, UpEra::Modern, capabilities, server, instructions);
                }
            }
            Kind::Error(_, error) => {
                let [code, message, data] =
                    json::pick(error, ["code", "message", "data"]).unwrap_or_default();
                let supported = data
                    .and_then(|data| json::pick(data, ["supported"]))
                    .and_then(|[list]| json::elements(list?));
                let ours = supported.is_some_and(|list| {
                    list.iter()
                        .any(|version| json::string(version).as_deref() == Some(MODERN))
                });
                // It refuses our revision and says that it has it: perhaps it was not ready to be
                // asked (versioning, "Version Negotiation").
                if code == Some("-32022")
                    && ours
                    && !asked_both
                    && !std::mem::replace(&mut self.ups.get_mut(up).asked_again, true)
                {
                    return self.discover_upstream(up);
                }
                if matches!(code, Some("-32020" | "-32021")) && !asked_both {
                    let message = message
                        .and_then(json::string)
                        .unwrap_or_default()
                        .into_owned();
                    return self.handshake_failed(up, 0, Code::UpstreamRefused, message);
                }
            }
            _ => {}
        }
        if !asked_both {
            self.fall_back(up, "the server does not speak 2026-07-28");
        }
    }

    /// After a probe without success: `initialize`, unless the configuration says modern.
    pub(crate) fn fall_back(&mut self, up: UpId, why: &str) {
        if self.ups.get(up).settings.era == crate::api::EraSetting::Modern {
            self.handshake_failed(up, 0, Code::UpstreamRefused, why.to_owned());
        } else {
            self.initialize_upstream(up, 0);
        }
    }

    /// The answer to `initialize`.
    pub(crate) fn initialized(&mut self, up: UpId, conn: usize, envelope: &Envelope<'_>) {
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
                    return self.handshake_failed(
                        up,
                        conn,
                        Code::UpstreamRefused,
                        format!("it answers initialize with revision '{version}'"),
                    );
                };
                // What is silent at the probe may still answer it later; that answer belongs to
                // nobody then.
                self.calls.retain(|_, call| {
                    call.up != up || call.conn != conn || !matches!(call.purpose, Purpose::Discover)
                });
                let initialized = Bytes::from_static(
                    b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}",
                );
                self.ups.get_mut(up).conns[conn].phase = ConnState::Ready;
                if conn == 0 {
                    self.ups.get_mut(up).era = Some(UpEra::Legacy(legacy));
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
                let message =
                    json::pick(error, ["message"]).and_then(|[message]| json::string(message?));
                let message = format!(
                    "initialize was answered with an error: {}",
                    message.unwrap_or_default()
                );
                self.handshake_failed(up, conn, Code::UpstreamRefused, message);
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
        if conn == 0 {
            self.ups.get_mut(up).skips_probe = false;
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
