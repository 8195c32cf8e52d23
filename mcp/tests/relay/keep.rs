//! What outlives a life of the relay: sessions and catalogues, as they are told to whoever stores
//! them and as the next life goes on with them.

use crate::support::{Relay, Server};
use ggen_mcp::api::{Input, Limits, Output, Settings, StreamKey, UpId, UpInput};
use ggen_mcp::edge::{Reply, Verb};
use ggen_mcp::persisted::{Keep, KeptSession, digest};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const OLD: Server =
    |_, message| (message["method"] == "resources/subscribe").then(|| "\"result\":{}".to_owned());
/// Its list is another one.
const OTHER: Server = |_, message| {
    (message["method"] == "tools/list")
        .then(|| r#""result":{"tools":[{"name":"u","inputSchema":{"type":"object"}}]}"#.to_owned())
};
/// It never says anything.
const SILENT: Server = |_, _| Some(String::new());
const MINUTE: u64 = 60_000_000;

fn settings(life: u64) -> Settings {
    Settings {
        incarnation: life,
        keeps: true,
        epoch: 1000 * life,
        ..Settings::default()
    }
}

/// A life of the relay, and whoever stores what it says.
struct Life {
    relay: Relay,
    kept: BTreeMap<Box<str>, String>,
    catalogue: BTreeMap<u32, String>,
}

impl Life {
    fn first(server: Server) -> Self {
        let mut life = Self {
            relay: Relay::idle(&[("s", false, server)], settings(1)),
            kept: BTreeMap::new(),
            catalogue: BTreeMap::new(),
        };
        life.relay.begin();
        life.store();
        life
    }

    /// The next life, with what was stored in this one.
    fn next(mut self, number: u64, server: Server, idle: u64) -> Self {
        self.store();
        let relay = Relay::idle(&[("s", false, server)], settings(number));
        let mut next = Self {
            relay,
            kept: self.kept.clone(),
            catalogue: self.catalogue.clone(),
        };
        next.relay.input(Input::Recall(
            self.catalogue
                .into_iter()
                .map(|(up, text)| (UpId(up), text))
                .collect(),
        ));
        let sessions = self.kept.into_iter().map(|(digest, record)| KeptSession {
            digest,
            record,
            idle,
        });
        next.relay.input(Input::Restore(sessions.collect()));
        next
    }

    /// Stores what was said, and confirms it.
    fn store(&mut self) {
        while !self.relay.outputs.is_empty() {
            for output in std::mem::take(&mut self.relay.outputs) {
                let Output::Keep(keep) = output else { continue };
                match keep {
                    Keep::Session {
                        digest,
                        record,
                        ticket,
                    } => {
                        self.kept.insert(digest, record);
                        if let Some(ticket) = ticket {
                            self.relay.input(Input::Kept(ticket));
                        }
                    }
                    Keep::Ended(digest) => drop(self.kept.remove(&digest)),
                    Keep::Used(_) => {}
                    Keep::Catalogue(UpId(up), text) if text.is_empty() => {
                        drop(self.catalogue.remove(&up))
                    }
                    Keep::Catalogue(UpId(up), text) => drop(self.catalogue.insert(up, text)),
                }
            }
        }
    }

    fn session(&mut self, verb: Verb) -> String {
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {"experimental": {"x": 1.0}}, "clientInfo": {"name": "c", "version": "1"}});
        let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
            .to_string();
        let (key, replies) = self.relay.send(verb, "", &[], body);
        assert!(replies.is_empty(), "told before it is stored: {replies:?}");
        self.store();
        match &self.relay.of(key)[..] {
            [
                Reply::Full {
                    status: 200,
                    session: Some(session),
                    ..
                },
            ] => session.to_string(),
            other => panic!("initialize got {other:?}"),
        }
    }

    fn request(&mut self, session: &str, method: &str, params: Value) -> (u16, String) {
        let body =
            json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}).to_string();
        self.relay.post("", &[("mcp-session-id", session)], &body)
    }

    fn stream(&mut self, session: &str, last: Option<&str>) -> StreamKey {
        let mut headers = vec![("mcp-session-id", session)];
        headers.extend(last.map(|last| ("last-event-id", last)));
        self.relay.send(Verb::Get, "", &headers, "").0
    }

    /// Methods and ids of what came on a stream.
    fn heard(&self, key: StreamKey) -> Vec<(String, String)> {
        let event = |reply| match reply {
            Reply::Event { id, data, .. } => {
                let message: Value = serde_json::from_slice(&data).expect("JSON");
                Some((
                    message["method"].as_str().unwrap_or_default().to_owned(),
                    id.unwrap_or_default().into(),
                ))
            }
            _ => None,
        };
        self.relay.of(key).into_iter().filter_map(event).collect()
    }

    fn later(&mut self, micros: u64) {
        self.relay.now += micros;
        self.relay.input(Input::Tick);
        self.store();
    }
}

#[test]
fn a_session_is_told_of_when_it_is_stored_or_when_that_takes_too_long() {
    let mut life = Life::first(OLD);
    let session = life.session(Verb::Post);
    assert_eq!(
        life.kept.keys().map(|digest| &**digest).collect::<Vec<_>>(),
        [&*digest(&session)]
    );
    assert!(
        !life.kept.values().any(|record| record.contains(&session)),
        "the id itself is not stored"
    );
    let params = r#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}"#;
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{params}}}"#);
    let (key, _) = life.relay.send(Verb::Post, "", &[], body.clone());
    life.relay.now += 249_000;
    life.relay.input(Input::Tick);
    assert!(life.relay.of(key).is_empty() && life.relay.gateway.next_due().is_some());
    life.relay.now += 2_000;
    life.relay.input(Input::Tick);
    assert!(matches!(
        &life.relay.of(key)[..],
        [Reply::Full {
            status: 200,
            session: Some(_),
            ..
        }]
    ));
    // Nobody stores anything any more, and the worker is about to stop: there is no use in a
    // session that the next one does not know.
    let (key, _) = life.relay.send(Verb::Post, "", &[], body);
    life.relay.input(Input::Drain);
    assert_eq!(
        life.relay.gateway.counts().in_flight,
        1,
        "the worker waits for it"
    );
    life.relay.now += 251_000;
    life.relay.input(Input::Tick);
    assert!(matches!(
        &life.relay.of(key)[..],
        [Reply::Full {
            status: 503,
            session: None,
            retry_after: Some(1),
            ..
        }]
    ));
    assert_eq!(
        life.relay.gateway.leftovers(),
        ggen_mcp::gateway::Leftovers::default()
    );
}

#[test]
fn a_session_goes_on_with_what_its_client_had_said() {
    let mut life = Life::first(OLD);
    let session = life.session(Verb::Post);
    assert_eq!(
        life.request(
            &session,
            "resources/subscribe",
            json!({"uri": "s+test://r"})
        )
        .0,
        200
    );
    assert_eq!(
        life.request(&session, "logging/setLevel", json!({"level": "warning"}))
            .0,
        200
    );
    let before = life.stream(&session, None);
    life.relay.up(0, UpInput::Line(r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"test://r"}}"#.into()));
    let heard = life.heard(before);
    assert_eq!(heard.len(), 1);
    let mut life = life.next(2, OLD, 0);
    life.relay.now += 1;
    life.relay.input(Input::Tick);
    life.relay.up(
        0,
        UpInput::Connected {
            incarnation: 2,
            handoff: None,
        },
    );
    let subscribed = life
        .relay
        .written
        .iter()
        .filter(|(_, line)| line.contains("\"resources/subscribe\""))
        .count();
    assert_eq!(
        subscribed, 1,
        "the server hears of the subscription: {:?}",
        life.relay.written
    );
    let stream = life.stream(&session, Some(&heard[0].1));
    for _ in 0..2 {
        life.relay
            .up(0, UpInput::Line(r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"test://r"}}"#.into()));
    }
    let after = life.heard(stream);
    assert_eq!(
        after
            .iter()
            .map(|(method, _)| method.as_str())
            .collect::<Vec<_>>(),
        ["notifications/resources/updated"; 2]
    );
    let number = |id: &str| {
        id.split_once('-')
            .expect("an id")
            .1
            .parse::<u64>()
            .expect("a number")
    };
    assert!(
        number(&heard[0].1) < number(&after[0].1) && number(&after[0].1) < number(&after[1].1),
        "{heard:?} {after:?}"
    );
    assert_eq!(
        life.request(
            &session,
            "tools/call",
            json!({"name": "s__t", "arguments": {}})
        )
        .0,
        200
    );
    let level = life
        .relay
        .written
        .iter()
        .find(|(_, line)| line.contains("\"logging/setLevel\""))
        .expect("the level goes on");
    assert!(level.1.contains("\"warning\""));
    // Once more, and then it is ended for good.
    let mut life = life.next(3, OLD, 0);
    life.relay.begin();
    assert_eq!(life.request(&session, "ping", json!({})).0, 200);
    life.relay
        .send(Verb::Delete, "", &[("mcp-session-id", &session)], "");
    life.store();
    assert!(life.kept.is_empty());
    assert_eq!(
        life.next(4, OLD, 0).request(&session, "ping", json!({})).0,
        404
    );
}

#[test]
fn a_restored_session_is_its_principals_and_is_found_by_its_id_alone() {
    let mut life = Life::first(OLD);
    life.relay.principal = "key:a".into();
    let session = life.session(Verb::Post);
    let mut life = life.next(2, OLD, 0);
    life.relay.begin();
    let stored = digest(&session);
    for (who, id) in [
        ("key:b", session.clone()),
        ("key:a", stored.to_string()),
        ("key:a", format!("#{stored}")),
        ("key:a", String::new()),
    ] {
        life.relay.principal = who.into();
        assert_eq!(life.request(&id, "ping", json!({})).0, 404, "{who} {id}");
    }
    life.relay.principal = "key:a".into();
    assert_eq!(life.request(&session, "ping", json!({})).0, 200);
    // In another view it is unknown.
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    assert_eq!(
        life.relay
            .post("s", &[("mcp-session-id", &session)], ping)
            .0,
        404
    );
}

#[test]
fn what_is_over_or_makes_no_sense_is_not_restored() {
    let mut life = Life::first(OLD);
    let session = life.session(Verb::Post);
    life.kept.insert("nonsense".into(), "{}".to_owned());
    let gone = life
        .kept
        .values()
        .next()
        .expect("a record")
        .replace("\"view\":\"\"", "\"view\":\"gone\"");
    life.kept.insert("of a server that is gone".into(), gone);
    // Fifty-nine minutes, and two more: an hour is what a session lasts.
    let mut life = life.next(2, OLD, 59 * MINUTE);
    life.store();
    assert_eq!(life.kept.len(), 1);
    life.relay.begin();
    life.later(2 * MINUTE);
    assert_eq!(life.kept.len(), 0);
    assert_eq!(life.request(&session, "ping", json!({})).0, 404);
    let mut life = Life::first(OLD);
    let session = life.session(Verb::Post);
    let mut life = life.next(2, OLD, 59 * MINUTE);
    assert_eq!(life.request(&session, "ping", json!({})).0, 200);
    life.later(59 * MINUTE);
    assert_eq!(
        life.request(&session, "ping", json!({})).0,
        200,
        "using it makes it young again"
    );
    let mut late = life.next(3, OLD, 60 * MINUTE);
    assert_eq!(late.request(&session, "ping", json!({})).0, 404);
}

#[test]
fn no_more_sessions_are_restored_than_may_be_open() {
    let mut life = Life::first(OLD);
    let sessions: Vec<_> = (0..5).map(|_| life.session(Verb::Post)).collect();
    let settings = Settings {
        limits: Limits {
            sessions: 3,
            ..Limits::default()
        },
        ..settings(2)
    };
    let mut relay = Relay::idle(&[("s", false, OLD)], settings);
    let kept = sessions.iter().map(|id| KeptSession {
        digest: digest(id),
        record: life.kept[&digest(id)].clone(),
        idle: 0,
    });
    relay.input(Input::Restore(kept.collect()));
    let ended = relay
        .outputs
        .iter()
        .filter(|output| matches!(output, Output::Keep(Keep::Ended(_))))
        .count();
    assert_eq!((relay.gateway.counts().sessions, ended), (3, 2));
}

#[test]
fn a_session_of_a_socket_ends_when_its_socket_does_not_come_back() {
    let mut life = Life::first(OLD);
    let session = life.session(Verb::Message);
    let mut life = life.next(2, OLD, 0);
    life.relay.begin();
    let (_, replies) = life
        .relay
        .send(Verb::Attach, "", &[("mcp-session-id", &session)], "");
    assert!(matches!(&replies[..], [Reply::Start { .. }]), "{replies:?}");
    life.later(5 * MINUTE);
    assert_eq!(life.kept.len(), 1);
    let mut life = life.next(3, OLD, 0);
    life.relay.begin();
    life.later(2 * MINUTE);
    assert_eq!(life.kept.len(), 0);
}

#[test]
fn lists_are_served_before_their_server_is_there_and_changes_are_told() {
    let mut life = Life::first(OLD);
    let session = life.session(Verb::Post);
    let before = life.request(&session, "tools/list", json!({})).1;
    assert!(before.contains("s__t"));
    let mut life = life.next(2, OLD, 0);
    life.relay.input(Input::Tick);
    let stream = life.stream(&session, None);
    assert_eq!(
        life.request(&session, "tools/list", json!({})).1,
        before,
        "at once"
    );
    assert!(
        life.request(&session, "resources/list", json!({}))
            .1
            .contains("test://r")
    );
    // A call waits for the server.
    let call = json!({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "s__t", "arguments": {}}}).to_string();
    let (key, replies) = life
        .relay
        .send(Verb::Post, "", &[("mcp-session-id", &session)], call);
    assert!(replies.is_empty());
    life.relay.up(
        0,
        UpInput::Connected {
            incarnation: 1,
            handoff: None,
        },
    );
    assert!(
        matches!(&life.relay.of(key)[..], [Reply::Full { status: 200, .. }]),
        "{:?} {:?}",
        life.relay.of(key),
        life.relay.written
    );
    assert_eq!(life.heard(stream), [], "nothing has changed");
    // Another server under the same entry: whoever saw the old list hears of the new one.
    let mut life = life.next(3, OTHER, 0);
    let stream = life.stream(&session, None);
    assert_eq!(life.request(&session, "tools/list", json!({})).1, before);
    life.relay.begin();
    assert_eq!(life.heard(stream).len(), 1);
    assert!(
        life.request(&session, "tools/list", json!({}))
            .1
            .contains("s__u")
    );
    life.store();
    assert!(life.catalogue[&0].contains("\"u\"") && !life.catalogue[&0].contains("\"t\""));
    // One that does not come back is forgotten after a while, here and in what is stored.
    let mut life = life.next(4, SILENT, 0);
    life.relay.input(Input::Tick);
    let (state, code) = (
        ggen_wire::status::UpstreamState::CrashLoop,
        ggen_wire::Code::UpstreamExited,
    );
    life.relay.up(
        0,
        UpInput::Lost {
            state,
            code,
            reason: "exit 1".to_owned(),
            next_start: None,
        },
    );
    assert!(
        life.request(&session, "tools/list", json!({}))
            .1
            .contains("s__u")
    );
    life.later(11 * MINUTE);
    assert!(
        !life
            .request(&session, "tools/list", json!({}))
            .1
            .contains("s__u")
    );
    assert!(life.catalogue.is_empty());
}

#[test]
fn what_is_stored_and_makes_no_sense_is_passed_over() {
    let mut relay = Relay::idle(&[("s", false, OLD)], settings(2));
    let texts = [
        "",
        "{",
        "{\"hello\":{}}",
        "{\"hello\":{\"protocol\":\"1999-01-01\",\"capabilities\":{}}}",
        "[]",
    ];
    relay.input(Input::Recall(
        texts
            .iter()
            .map(|text| (UpId(0), (*text).to_owned()))
            .chain([(UpId(7), "{}".to_owned())])
            .collect(),
    ));
    relay.begin();
    let session = {
        let mut life = Life {
            relay,
            kept: BTreeMap::new(),
            catalogue: BTreeMap::new(),
        };
        let session = life.session(Verb::Post);
        assert!(
            life.request(&session, "tools/list", json!({}))
                .1
                .contains("s__t")
        );
        session
    };
    assert_eq!(session.len(), 32);
}

#[test]
fn the_era_of_a_server_is_known_in_the_next_life() {
    let probed = |life: &mut Life| {
        life.relay.written.clear();
        life.relay.up(
            0,
            UpInput::Connected {
                incarnation: 2,
                handoff: None,
            },
        );
        let (_, first) = life.relay.written.first().expect("a request");
        first.contains("server/discover")
    };
    let mut life = Life::first(OLD).next(2, OLD, 0);
    life.relay.input(Input::Tick);
    assert!(!probed(&mut life), "it spoke the old era");
    // It refuses `initialize` now: what was known is forgotten.
    let refuses: Server = |_, message| {
        (message["method"] == "initialize")
            .then(|| r#""error":{"code":-32602,"message":"no"}"#.to_owned())
    };
    let mut life = life.next(3, refuses, 0);
    life.relay.input(Input::Tick);
    assert!(!probed(&mut life));
    assert!(
        probed(&mut life),
        "it could not be spoken to in the old era"
    );
}
