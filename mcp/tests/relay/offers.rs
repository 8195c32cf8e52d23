//! Remote servers that do not simply answer the handshake: which era and which revision they are
//! offered, when they are left alone, and which error stands at the end.

use ggen_mcp::api::{
    EraSetting, HttpRequest, Input, Isolation, Output, Report, Settings, Transport, UpId, UpInput,
    UpstreamSettings,
};
use ggen_mcp::gateway::Gateway;
use ggen_mcp::protocol::method::Legacy;
use ggen_wire::Code;
use ggen_wire::status::UpstreamState;
use serde_json::{Value, json};

const UP: UpId = UpId(0);
const SECOND: u64 = 1_000_000;

/// A relay with one remote server, each of whose answers is given by the test.
struct World {
    gateway: Gateway,
    now: u64,
    sent: Vec<HttpRequest>,
    aborted: Vec<u64>,
    reports: Vec<Report>,
}

impl World {
    fn new(era: EraSetting, pinned: Option<Legacy>) -> Self {
        let upstream = UpstreamSettings {
            name: "s".to_owned(),
            transport: Transport::Http,
            era,
            pinned,
            isolation: Isolation::Shared,
            stateful: false,
            pool: 4,
            startup: 120 * SECOND,
            timeout: 5 * SECOND,
            enabled: true,
            revision: 0,
        };
        let settings = Settings {
            upstreams: vec![upstream],
            incarnation: 1,
            ..Settings::default()
        };
        let mut world = Self {
            gateway: Gateway::new(settings, Box::new(|bytes: &mut [u8]| bytes.fill(0))),
            now: SECOND,
            sent: Vec::new(),
            aborted: Vec::new(),
            reports: Vec::new(),
        };
        world.input(Input::Tick);
        world
    }

    fn auto() -> Self {
        Self::new(EraSetting::Auto, None)
    }

    fn input(&mut self, input: Input) {
        let mut out = Vec::new();
        self.gateway.input(self.now, input, &mut out);
        for output in out {
            match output {
                Output::Http(_, request) => self.sent.push(request),
                Output::Abort(_, exchange) => self.aborted.push(exchange),
                Output::Report(_, report) => self.reports.push(report),
                _ => {}
            }
        }
    }

    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds * 4 {
            self.now += SECOND / 4;
            self.input(Input::Tick);
        }
    }

    fn body(request: &HttpRequest) -> Value {
        serde_json::from_slice(&request.body).unwrap_or_default()
    }

    /// What the server was asked so far: methods, for `initialize` the revision.
    fn asked(&self) -> Vec<String> {
        let each = self.sent.iter().map(Self::body);
        each.map(|body| match body["method"].as_str().unwrap_or_default() {
            "initialize" => body["params"]["protocolVersion"]
                .as_str()
                .unwrap()
                .to_owned(),
            method => method.to_owned(),
        })
        .collect()
    }

    /// The exchange in which this was asked last.
    fn exchange(&self, asked: &str) -> u64 {
        let at = self.asked().iter().rposition(|one| one == asked);
        self.sent[at.unwrap_or_else(|| panic!("no {asked} in {:?}", self.asked()))].exchange
    }

    fn up(&mut self, event: UpInput) {
        self.input(Input::Up(UP, event));
    }

    fn head(&mut self, exchange: u64, status: u16, retry_after: Option<u64>) {
        self.up(UpInput::Head {
            exchange,
            status,
            session: Some("id".to_owned()),
            retry_after,
            sse: false,
        });
    }

    fn end(&mut self, exchange: u64, error: Option<(Code, &str)>) {
        let error = error.map(|(code, text)| (code, text.to_owned()));
        self.up(UpInput::End { exchange, error });
    }

    /// The last request of that kind gets a status, and no message.
    fn status(&mut self, asked: &str, status: u16) {
        let exchange = self.exchange(asked);
        self.head(exchange, status, None);
        let code = if status >= 500 {
            Code::UpstreamUnreachable
        } else {
            Code::UpstreamRefused
        };
        self.end(exchange, Some((code, &format!("HTTP {status}: words"))));
    }

    fn says(&mut self, asked: &str, status: u16, member: &str, value: &Value) {
        let exchange = self.exchange(asked);
        self.head(exchange, status, None);
        let data = json!({"jsonrpc": "2.0", "id": exchange, member: value}).to_string();
        self.up(UpInput::Message {
            exchange,
            event_id: None,
            retry_ms: None,
            data: data.into(),
        });
        self.end(exchange, None);
    }

    fn refuses(&mut self, asked: &str, code: i64, supported: &[&str]) {
        let error = json!({"code": code, "message": "no\u{1b}", "data": {"supported": supported}});
        self.says(asked, 400, "error", &error);
    }

    fn welcomes(&mut self, asked: &str, version: &str) {
        let result = json!({"protocolVersion": version, "capabilities": {}, "serverInfo": {"name": "n", "version": "1"}});
        self.says(asked, 200, "result", &result);
    }

    fn last_report(&self) -> &Report {
        self.reports.last().unwrap()
    }

    fn assert_era(&mut self, era: &str, protocol: &str) {
        // It declares no lists, and has none.
        for list in ["tools/list", "prompts/list", "resources/list"] {
            let error = json!({"code": -32601, "message": "no such method"});
            self.says(list, 200, "error", &error);
        }
        let report = self.last_report();
        assert_eq!(
            (report.era.as_deref(), report.protocol.as_deref()),
            (Some(era), Some(protocol)),
            "{report:?}"
        );
    }

    fn assert_failed(&self, code: Code, detail: &str) {
        let report = self.last_report();
        assert_eq!(report.state, UpstreamState::Degraded, "{report:?}");
        assert_eq!(report.code, Some(code), "{report:?}");
        let text = report.detail.as_deref().unwrap_or_default();
        assert!(text.contains(detail), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}

const PROBE: &str = "server/discover";

#[test]
fn a_probe_that_is_refused_in_any_way_is_followed_by_initialize_once() {
    for status in [400, 404, 405, 406, 415, 422, 500, 501, 502, 503] {
        let mut world = World::auto();
        world.status(PROBE, status);
        assert_eq!(world.asked(), [PROBE, "2025-11-25"], "{status}");
        world.welcomes("2025-11-25", "2025-11-25");
        world.assert_era("legacy", "2025-11-25");
    }
    for code in [-32601, -32600, -32602, -32000, -32603] {
        let mut world = World::auto();
        world.refuses(PROBE, code, &[]);
        assert_eq!(world.asked(), [PROBE, "2025-11-25"], "{code}");
    }
}

#[test]
fn silence_at_the_probe_is_followed_by_initialize_and_the_first_answer_counts() {
    let mut world = World::auto();
    world.pass(4);
    assert_eq!(world.asked(), [PROBE]);
    world.pass(2);
    assert_eq!(world.asked(), [PROBE, "2025-11-25"]);
    let mut other = World::auto();
    other.pass(6);
    world.welcomes("2025-11-25", "2025-11-25");
    world.assert_era("legacy", "2025-11-25");
    assert_eq!(world.aborted, [world.exchange(PROBE)]);
    // A refusal of `initialize` decides nothing while the probe has no answer.
    other.refuses("2025-11-25", -32601, &["2026-07-28"]);
    let result =
        json!({"supportedVersions": ["2026-07-28"], "capabilities": {}, "resultType": "complete"});
    other.says(PROBE, 200, "result", &result);
    other.assert_era("modern", "2026-07-28");
}

#[test]
fn when_both_are_refused_the_reason_is_that_of_initialize() {
    let mut world = World::auto();
    world.pass(6);
    world.refuses("2025-11-25", -32602, &["2031-01-01"]);
    assert_eq!(world.asked(), [PROBE, "2025-11-25"]);
    world.status(PROBE, 500);
    world.assert_failed(
        Code::UpstreamRefused,
        "initialize was answered with an error: no",
    );
    let mut silent = World::auto();
    silent.pass(6);
    silent.refuses("2025-11-25", -32602, &["2031-01-01"]);
    silent.pass(6);
    silent.assert_failed(
        Code::UpstreamRefused,
        "initialize was answered with an error: no",
    );
}

#[test]
fn credentials_and_redirects_are_no_question_of_eras() {
    for status in [401, 403, 407, 301, 307, 308] {
        let mut world = World::auto();
        world.status(PROBE, status);
        assert_eq!(world.asked(), [PROBE], "{status}");
        world.assert_failed(Code::UpstreamRefused, &format!("HTTP {status}: words"));
        let mut world = World::new(EraSetting::Legacy, None);
        world.status("2025-11-25", status);
        assert_eq!(world.asked(), ["2025-11-25"], "{status}");
        world.assert_failed(Code::UpstreamRefused, &format!("HTTP {status}: words"));
    }
}

#[test]
fn a_server_that_asks_to_be_left_alone_is_and_not_for_ever() {
    for (status, retry_after, waits) in [
        (429, Some(7 * SECOND), 7),
        (503, Some(7 * SECOND), 7),
        (429, Some(100_000 * SECOND), 300),
    ] {
        for asked in [PROBE, "2025-11-25"] {
            let mut world = if asked == PROBE {
                World::auto()
            } else {
                World::new(EraSetting::Legacy, None)
            };
            let exchange = world.exchange(asked);
            world.head(exchange, status, retry_after);
            world.end(exchange, Some((Code::UpstreamRefused, "HTTP 429: words")));
            world.assert_failed(Code::UpstreamRefused, "429");
            world.pass(waits - 1);
            assert_eq!(world.asked(), [asked], "{status}");
            world.pass(2);
            assert_eq!(world.asked(), [asked, asked], "{status}");
        }
    }
    let mut world = World::auto();
    world.status(PROBE, 429);
    world.pass(2);
    assert_eq!(world.asked(), [PROBE, PROBE]);
}

#[test]
fn errors_of_the_modern_era_mean_modern() {
    for code in [-32020, -32021, -32022] {
        let mut world = World::auto();
        world.refuses(PROBE, code, &[]);
        assert_eq!(world.asked(), [PROBE], "{code}");
        world.assert_failed(Code::UpstreamRefused, "server/discover was refused: no");
    }
    let mut world = World::auto();
    world.refuses(PROBE, -32022, &["2030-01-01"]);
    world.assert_failed(Code::UpstreamRefused, "it speaks 2030-01-01");
    // It has ours: perhaps it was not ready. It has legacy ones, too.
    let mut world = World::auto();
    world.refuses(PROBE, -32022, &["2026-07-28"]);
    assert_eq!(world.asked(), [PROBE, PROBE]);
    let mut world = World::auto();
    world.refuses(PROBE, -32022, &["2030-01-01", "2025-06-18"]);
    assert_eq!(world.asked(), [PROBE, "2025-11-25"]);
}

#[test]
fn an_older_revision_is_offered_when_the_newest_is_refused() {
    let all = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
    for refusal in ["error", "400", "500", "unknown"] {
        let mut world = World::new(EraSetting::Legacy, None);
        for (at, version) in all.iter().enumerate() {
            assert_eq!(world.asked(), all[..=at], "{refusal}");
            match refusal {
                "error" => world.refuses(version, -32602, &[]),
                "400" => world.status(version, 400),
                "500" => world.status(version, 500),
                _ => world.welcomes(version, "2023-01-01"),
            }
        }
        assert_eq!(world.last_report().state, UpstreamState::Degraded);
        // Then from the beginning.
        world.pass(3);
        assert_eq!(world.asked()[4], "2025-11-25", "{refusal}");
    }
    let mut world = World::new(EraSetting::Legacy, None);
    world.status("2025-11-25", 400);
    world.welcomes("2025-06-18", "2025-06-18");
    world.assert_era("legacy", "2025-06-18");
}

#[test]
fn of_the_revisions_that_a_server_names_the_newest_is_offered() {
    let mut world = World::new(EraSetting::Legacy, None);
    world.refuses(
        "2025-11-25",
        -32602,
        &["2024-11-05", "2025-03-26", "2031-01-01"],
    );
    assert_eq!(world.asked(), ["2025-11-25", "2025-03-26"]);
    let mut world = World::new(EraSetting::Legacy, None);
    world.refuses("2025-11-25", -32602, &["2031-01-01"]);
    assert_eq!(world.asked(), ["2025-11-25"]);
    world.assert_failed(
        Code::UpstreamRefused,
        "initialize was answered with an error",
    );
}

#[test]
fn an_older_revision_is_offered_beside_one_that_is_not_answered() {
    let mut world = World::new(EraSetting::Legacy, None);
    world.pass(8);
    assert_eq!(world.asked(), ["2025-11-25", "2025-06-18"]);
    let (newest, older) = (world.exchange("2025-11-25"), world.exchange("2025-06-18"));
    assert!(world.aborted.is_empty());
    // The session is that of the answer that counts.
    world.head(newest, 200, None);
    world.welcomes("2025-06-18", "2025-06-18");
    world.assert_era("legacy", "2025-06-18");
    assert_eq!(world.aborted, [newest]);
    assert!(older > newest);
    // Silence in every revision is one failure.
    let mut silent = World::new(EraSetting::Legacy, None);
    silent.pass(29);
    assert_eq!(
        silent.asked(),
        ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"]
    );
    silent.pass(1);
    silent.assert_failed(Code::UpstreamSilent, "no answer to initialize within 30 s");
    assert_eq!(silent.aborted.len(), 4);
}

#[test]
fn a_pinned_revision_is_the_only_one_that_is_offered() {
    let mut world = World::new(EraSetting::Legacy, Some(Legacy::L2025_03_26));
    world.pass(20);
    assert_eq!(world.asked(), ["2025-03-26"]);
    world.status("2025-03-26", 400);
    assert_eq!(world.asked(), ["2025-03-26"]);
    world.assert_failed(Code::UpstreamRefused, "HTTP 400: words");
}

#[test]
fn a_server_that_closes_the_connection_at_the_probe_is_greeted_the_second_time() {
    let mut world = World::auto();
    let gone = Some((Code::UpstreamUnreachable, "http://h: connection refused"));
    world.end(world.exchange(PROBE), gone);
    assert_eq!(world.asked(), [PROBE]);
    world.assert_failed(Code::UpstreamUnreachable, "connection refused");
    world.pass(2);
    world.end(world.exchange(PROBE), gone);
    assert_eq!(world.asked(), [PROBE, PROBE, "2025-11-25"]);
    world.end(world.exchange("2025-11-25"), gone);
    // Down is down: one answer, not four.
    world.pass(1);
    world.assert_failed(Code::UpstreamUnreachable, "connection refused");
}
