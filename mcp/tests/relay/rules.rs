//! The protocol's rules as tables: era ladder, headers, error codes and status, not-found codes,
//! pagination, sessions, names.

use crate::support::{MODERN, Relay, Server, code, modern};
use ggen_mcp::edge::{Reply, Verb};

type Headers<'a> = &'a [(&'a str, &'a str)];

const PLAIN: Server = |_, _| None;
const VERSION: (&str, &str) = ("mcp-protocol-version", MODERN);

fn pair() -> Relay {
    Relay::new(&[("old", false, PLAIN), ("new", true, PLAIN)])
}

#[test]
fn the_era_ladder() {
    let mut relay = pair();
    let session = relay.session("", "2025-11-25");
    let claim = |version: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"_meta":{{"io.modelcontextprotocol/protocolVersion":"{version}","io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
        )
    };
    let bare = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let list = ("mcp-method", "tools/list");
    let in_session = ("mcp-session-id", session.as_str());
    #[rustfmt::skip]
    let table: &[(&str, Headers<'_>, &str, u16, i64)] = &[
        ("a claim is modern", &[VERSION, list], &claim(MODERN), 200, 0),
        ("a claim is modern although a session is named", &[VERSION, list, in_session], &claim(MODERN), 200, 0),
        ("a claim is modern although the session is unknown", &[VERSION, list, ("mcp-session-id", "nobody")], &claim(MODERN), 200, 0),
        ("a claimed initialize does not exist", &[VERSION, ("mcp-method", "initialize")], &modern("1", "initialize", ""), 404, -32601),
        ("a claim of a legacy revision", &[("mcp-protocol-version", "2025-11-25"), list], &claim("2025-11-25"), 400, -32022),
        ("a claim of an unknown revision", &[("mcp-protocol-version", "2099-01-01"), list], &claim("2099-01-01"), 400, -32022),
        ("unknown in the body, known in the header", &[VERSION, list], &claim("2099-01-01"), 400, -32020),
        ("no header for a claim", &[list], &claim(MODERN), 400, -32020),
        ("a modern header without a claim", &[VERSION, list], bare, 400, -32602),
        ("a modern header, no claim, but a session", &[VERSION, list, in_session], bare, 400, -32602),
        ("a session", &[in_session], bare, 200, 0),
        ("a session with its revision", &[in_session, ("mcp-protocol-version", "2025-11-25")], bare, 200, 0),
        ("a session with an unknown revision", &[in_session, ("mcp-protocol-version", "1999-01-01")], bare, 400, -32022),
        ("an unknown session", &[("mcp-session-id", "nobody")], bare, 404, -32600),
        ("nothing at all", &[], bare, 200, 0),
        ("what needs a session without one", &[], r#"{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"x"}}"#, 400, -32600),
        ("a notification with a modern header", &[VERSION], r#"{"jsonrpc":"2.0","method":"notifications/x"}"#, 202, 0),
        ("a response with a modern header", &[VERSION], r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, 400, -32600),
        ("a response in a session", &[in_session], r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, 202, 0),
        ("initialize as a notification", &[], r#"{"jsonrpc":"2.0","method":"initialize"}"#, 400, -32600),
        ("no capabilities", &[VERSION, list], &format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"_meta":{{"io.modelcontextprotocol/protocolVersion":"{MODERN}"}}}}}}"#), 400, -32602),
        ("an unknown log level", &[VERSION, list], &claim(MODERN).replace("\"_meta\":{", "\"_meta\":{\"io.modelcontextprotocol/logLevel\":\"loud\","), 200, -32602),
    ];
    for (what, headers, body, status, rpc) in table {
        let (got, answer) = relay.post("", headers, body);
        assert_eq!((got, code(&answer)), (*status, *rpc), "{what}: {answer}");
        if body.contains("\"id\":1,\"method\"")
            && *status < 500
            && !what.contains("an unknown session with")
        {
            assert!(
                answer.contains("\"id\":1"),
                "{what}: the id is missing in {answer}"
            );
        }
    }
}

#[test]
fn initialize_is_always_answered_with_a_legacy_revision() {
    let mut relay = pair();
    for (asked, given) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        (MODERN, "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
    ] {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":"\u0061","method":"initialize","params":{{"protocolVersion":"{asked}","capabilities":{{}}}}}}"#
        );
        let (_, replies) = relay.send(Verb::Post, "", &[], body);
        let [
            Reply::Full {
                status: 200,
                session: Some(session),
                body,
                ..
            },
        ] = &replies[..]
        else {
            panic!("{replies:?}")
        };
        assert!(
            session.bytes().all(|byte| (0x21..=0x7e).contains(&byte)),
            "{session}"
        );
        let body = String::from_utf8_lossy(body);
        assert!(
            body.contains(&format!("\"protocolVersion\":\"{given}\""))
                && body.contains(r#""id":"\u0061""#),
            "{asked}: {body}"
        );
    }
}

#[test]
fn headers_mirror_the_body() {
    let mut relay = Relay::new(&[("new", true, |_, message| {
        (message["method"] == "tools/list").then(|| {
                r#""result":{"tools":[{"name":"t","inputSchema":{"type":"object","properties":{"n":{"type":"integer","x-mcp-header":"N"},"s":{"type":"string","x-mcp-header":"S"}}}},{"name":"grün","inputSchema":{}}]}"#.to_owned()
            })
    })]);
    let call = |name: &str, arguments: &str| {
        modern(
            "1",
            "tools/call",
            &format!(r#""name":"{name}","arguments":{arguments}"#),
        )
    };
    let method = ("mcp-method", "tools/call");
    let name = ("mcp-name", "t");
    #[rustfmt::skip]
    let table: &[(&str, Headers<'_>, &str, bool)] = &[
        ("all right", &[VERSION, method, name], &call("t", "{}"), true),
        ("white space around", &[VERSION, ("mcp-method", " tools/call\t"), name], &call("t", "{}"), true),
        ("no method", &[VERSION, name], &call("t", "{}"), false),
        ("another method", &[VERSION, ("mcp-method", "tools/list"), name], &call("t", "{}"), false),
        ("another case", &[VERSION, ("mcp-method", "Tools/Call"), name], &call("t", "{}"), false),
        ("method twice", &[VERSION, method, method, name], &call("t", "{}"), false),
        ("no name", &[VERSION, method], &call("t", "{}"), false),
        ("another name", &[VERSION, method, ("mcp-name", "u")], &call("t", "{}"), false),
        ("name twice", &[VERSION, method, name, name], &call("t", "{}"), false),
        ("base64", &[VERSION, method, ("mcp-name", "=?base64?Z3LDvG4=?=")], &call("grün", "{}"), true),
        ("raw UTF-8", &[VERSION, method, ("mcp-name", "grün")], &call("grün", "{}"), false),
        ("bad base64", &[VERSION, method, ("mcp-name", "=?base64?!!?=")], &call("grün", "{}"), false),
        ("base64 of no UTF-8", &[VERSION, method, ("mcp-name", "=?base64?/w==?=")], &call("grün", "{}"), false),
        ("version twice", &[VERSION, VERSION, method, name], &call("t", "{}"), false),
        ("integer", &[VERSION, method, name, ("mcp-param-n", "42")], &call("t", r#"{"n":42}"#), true),
        ("integer in another form", &[VERSION, method, name, ("mcp-param-n", "42.0")], &call("t", r#"{"n":42}"#), true),
        ("integer missing", &[VERSION, method, name], &call("t", r#"{"n":42}"#), false),
        ("integer differs", &[VERSION, method, name, ("mcp-param-n", "43")], &call("t", r#"{"n":42}"#), false),
        ("null", &[VERSION, method, name], &call("t", r#"{"n":null}"#), true),
        ("null but a header", &[VERSION, method, name, ("mcp-param-n", "1")], &call("t", r#"{"n":null}"#), false),
        ("string", &[VERSION, method, name, ("mcp-param-s", "x y")], &call("t", r#"{"s":"x y"}"#), true),
        ("string escaped in the body", &[VERSION, method, name, ("mcp-param-s", "x")], &call("t", r#"{"s":"\u0078"}"#), true),
        ("string in another case", &[VERSION, method, name, ("mcp-param-s", "X")], &call("t", r#"{"s":"x"}"#), false),
        ("an unknown parameter", &[VERSION, method, name, ("mcp-param-zzz", "1")], &call("t", "{}"), true),
    ];
    for (what, headers, body, fine) in table {
        let (status, answer) = relay.post("new", headers, body);
        let wanted = if *fine { (200, 0) } else { (400, -32020) };
        assert_eq!((status, code(&answer)), wanted, "{what}: {answer}");
    }
}

#[test]
fn what_is_no_message_is_refused_without_an_id() {
    let mut relay = pair();
    let session = relay.session("", "2025-03-26");
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"a":{}1{}}}}}"#,
        "[".repeat(200),
        "]".repeat(200)
    );
    for (body, rpc) in [
        ("", -32700),
        ("{", -32700),
        ("nul", -32700),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping"} x"#, -32700),
        ("null", -32600),
        ("\"text\"", -32600),
        ("{}", -32600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":5}"#, -32600),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#,
            -32600,
        ),
        (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, -32600),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}"#,
            -32600,
        ),
        (r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#, -32600),
        (deep.as_str(), -32600),
        ("[", -32700),
        ("[]", -32600),
    ] {
        let (status, answer) = relay.post("", &[("mcp-session-id", &session)], body);
        assert_eq!((status, code(&answer)), (400, rpc), "{body}: {answer}");
        assert!(!answer.contains("\"id\""), "{body}: {answer}");
    }
    let (status, answer) = relay.post("nowhere", &[], "{}");
    assert_eq!((status, code(&answer)), (404, -32600), "{answer}");
}

#[test]
fn methods_exist_by_era() {
    let mut relay = pair();
    let session = relay.session("", "2025-11-25");
    for (method, legacy, is_modern) in [
        ("ping", true, false),
        ("logging/setLevel", true, false),
        ("resources/subscribe", true, false),
        ("resources/unsubscribe", true, false),
        ("initialize", true, false),
        ("server/discover", false, true),
        ("no/such", false, false),
        ("tools/list", true, true),
        ("tools/call", true, true),
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":"x","method":"{method}","params":{{}}}}"#);
        let (status, answer) = relay.post("", &[("mcp-session-id", &session)], &body);
        assert_eq!(
            (status, code(&answer) == -32601),
            (200, !legacy),
            "legacy {method}: {answer}"
        );
        assert!(answer.contains(r#""id":"x""#), "{answer}");
        let (status, answer) = relay.post(
            "",
            &[VERSION, ("mcp-method", method)],
            &modern("\"x\"", method, ""),
        );
        assert_eq!(
            (status == 404, code(&answer) == -32601),
            (!is_modern, !is_modern),
            "modern {method}: {answer}"
        );
        assert!(answer.contains(r#""id":"x""#), "{answer}");
    }
}

#[test]
fn what_is_not_there_has_the_code_of_the_era() {
    let mut relay = pair();
    let session = relay.session("", "2025-11-25");
    for (method, members, name, legacy, is_modern) in [
        ("tools/call", r#""name":"nope""#, "nope", -32602, -32602),
        ("prompts/get", r#""name":"nope""#, "nope", -32602, -32602),
        (
            "resources/read",
            r#""uri":"nope:x""#,
            "nope:x",
            -32002,
            -32602,
        ),
    ] {
        let body =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{members}}}}}"#);
        let (status, answer) = relay.post("", &[("mcp-session-id", &session)], &body);
        assert_eq!((status, code(&answer)), (200, legacy), "{answer}");
        let (status, answer) = relay.post(
            "",
            &[VERSION, ("mcp-method", method), ("mcp-name", name)],
            &modern("1", method, members),
        );
        assert_eq!((status, code(&answer)), (200, is_modern), "{answer}");
        assert!(
            !method.starts_with("res") || answer.contains(r#""uri":"nope:x""#),
            "{answer}"
        );
    }
}

#[test]
fn not_found_codes_of_servers_are_translated() {
    const MISSING: Server = |_, message| {
        (message["method"] == "resources/read").then(|| {
            match message["params"]["_meta"].is_object() {
                true => r#""error":{"code":-32602,"message":"none","data":{"uri":"test://none"}}"#
                    .to_owned(),
                false => r#""error":{"code":-32002,"message":"none"}"#.to_owned(),
            }
        })
    };
    let mut relay = Relay::new(&[("old", false, MISSING), ("new", true, MISSING)]);
    let member = r#""uri":"test://none""#;
    for view in ["old", "new"] {
        let session = relay.session(view, "2025-11-25");
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{{{member}}}}}"#
        );
        let (_, answer) = relay.post(view, &[("mcp-session-id", &session)], &body);
        assert_eq!(code(&answer), -32002, "legacy client, {view}: {answer}");
        let headers = [
            VERSION,
            ("mcp-method", "resources/read"),
            ("mcp-name", "test://none"),
        ];
        let (status, answer) = relay.post(view, &headers, &modern("1", "resources/read", member));
        assert_eq!(
            (status, code(&answer)),
            (200, -32602),
            "modern client, {view}: {answer}"
        );
        assert!(answer.contains(r#""uri":"test://none""#), "{answer}");
    }
}

#[test]
fn lists_are_paged_by_their_own_cursors() {
    const MANY: Server = |_, message| {
        (message["method"] == "tools/list").then(|| {
            // A server of many pages whose first cursor is the empty string; then one goes in a
            // circle.
            let page: u32 = message["params"]["cursor"]
                .as_str()
                .map_or(0, |cursor| cursor.parse().map_or(1, |page: u32| page));
            let tools: Vec<_> = (0..50)
                .map(|n| format!(r#"{{"name":"t{}","inputSchema":{{}}}}"#, page * 50 + n))
                .collect();
            let next = if page == 0 {
                String::new()
            } else {
                (page + 1).min(29).to_string()
            };
            format!(
                r#""result":{{"tools":[{}],"nextCursor":"{next}"}}"#,
                tools.join(",")
            )
        })
    };
    let mut relay = Relay::new(&[("old", false, MANY)]);
    let session = relay.session("old", "2025-11-25");
    let mut page = |params: &str| {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{params}}}"#);
        relay.post("old", &[("mcp-session-id", &session)], &body).1
    };
    let (mut names, mut params) = (Vec::new(), "{}".to_owned());
    loop {
        let answer: serde_json::Value = serde_json::from_str(&page(&params)).expect("JSON");
        names.extend(
            answer["result"]["tools"]
                .as_array()
                .expect("tools")
                .iter()
                .map(|tool| tool["name"].as_str().unwrap().to_owned()),
        );
        match answer["result"]["nextCursor"].as_str() {
            Some(cursor) => params = format!(r#"{{"cursor":"{cursor}"}}"#),
            None => break,
        }
    }
    assert_eq!(
        names.len(),
        names
            .iter()
            .collect::<std::collections::BTreeSet<_>>()
            .len()
    );
    assert!(names.len() >= 1450, "{}", names.len());
    for params in [
        r#"{"cursor":""}"#,
        r#"{"cursor":"x"}"#,
        r#"{"cursor":5}"#,
        r#"{"cursor":"MS4w"}"#,
    ] {
        let answer = page(params);
        assert_eq!(code(&answer), -32602, "{params}: {answer}");
    }
    assert_eq!(code(&page(r#"{"cursor":null}"#)), 0);
}

#[test]
fn sessions_begin_and_end() {
    let mut relay = pair();
    let session = relay.session("", "2025-11-25");
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let of = |id: &str| [("mcp-session-id".to_owned(), id.to_owned())];
    let with = |headers: &[(String, String)]| {
        headers
            .iter()
            .map(|(a, b)| (a.clone(), b.clone()))
            .collect::<Vec<_>>()
    };
    let mut status = |verb, view: &str, headers: &[(String, String)], body: &str| {
        let headers = with(headers);
        let headers: Vec<_> = headers
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .collect();
        match relay.send(verb, view, &headers, body.to_owned()).1.first() {
            Some(Reply::Full { status, .. }) => *status,
            Some(Reply::Start { .. }) => 200,
            other => panic!("{other:?}"),
        }
    };
    let own = of(&session);
    let modern = [
        ("mcp-session-id".to_owned(), session.clone()),
        ("mcp-protocol-version".to_owned(), MODERN.to_owned()),
    ];
    assert_eq!(status(Verb::Post, "", &own, ping), 200);
    assert_eq!(
        status(Verb::Post, "old", &own, ping),
        404,
        "a session belongs to its view"
    );
    assert_eq!(status(Verb::Get, "", &own, ""), 200);
    assert_eq!(status(Verb::Get, "", &[], ""), 405);
    assert_eq!(status(Verb::Get, "", &modern, ""), 405);
    assert_eq!(status(Verb::Get, "", &of("nobody"), ""), 404);
    assert_eq!(status(Verb::Delete, "", &[], ""), 400);
    assert_eq!(status(Verb::Delete, "", &modern, ""), 405);
    assert_eq!(status(Verb::Delete, "", &of("nobody"), ""), 404);
    assert_eq!(status(Verb::Delete, "", &own, ""), 204);
    assert_eq!(status(Verb::Delete, "", &own, ""), 404);
    assert_eq!(status(Verb::Post, "", &own, ping), 404);
    assert_eq!(status(Verb::Get, "", &own, ""), 404);
}

#[test]
fn batches_belong_to_one_revision() {
    let mut relay = pair();
    let batch = r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","method":"notifications/x"},{"jsonrpc":"2.0","id":"1","method":"no/such"}]"#;
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let session = relay.session("", version);
        let (status, answer) = relay.post("", &[("mcp-session-id", &session)], batch);
        if version == "2025-03-26" {
            assert_eq!(status, 200);
            let answers: Vec<serde_json::Value> = serde_json::from_str(&answer).expect("an array");
            assert_eq!(answers.len(), 2, "{answer}");
            assert_eq!(
                (&answers[0]["id"], &answers[1]["id"]),
                (&1.into(), &"1".into())
            );
            assert_eq!(answers[1]["error"]["code"], -32601);
            let only = r#"[{"jsonrpc":"2.0","method":"notifications/x"}]"#;
            assert_eq!(
                relay.post("", &[("mcp-session-id", &session)], only),
                (202, String::new())
            );
            let begin = r#"[{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-03-26"}}]"#;
            assert!(
                relay
                    .post("", &[("mcp-session-id", &session)], begin)
                    .1
                    .contains("-32600")
            );
        } else {
            assert_eq!(
                (status, code(&answer)),
                (400, -32600),
                "{version}: {answer}"
            );
        }
    }
    assert_eq!(relay.post("", &[], batch).0, 400);
}

#[test]
fn names_route_by_table() {
    const ODD: Server = |_, message| {
        (message["method"] == "tools/list").then(|| {
            let long = "x".repeat(100);
            format!(r#""result":{{"tools":[{{"name":"a__b"}},{{"name":"a.b"}},{{"name":"a/b"}},{{"name":"{long}"}},{{"name":"same"}},{{"name":"same"}}]}}"#)
        })
    };
    let mut relay = Relay::new(&[("My Server!", false, ODD), ("my", false, ODD)]);
    let session = relay.session("", "2025-11-25");
    let (_, answer) = relay.post(
        "",
        &[("mcp-session-id", &session)],
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#,
    );
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    let names: Vec<_> = answer["result"]["tools"]
        .as_array()
        .expect("tools")
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    let own: Vec<_> = names.iter().filter(|name| name.starts_with("my")).collect();
    // The second of two tools with the same name is left out.
    assert_eq!(own.len(), 10, "{names:?}");
    let legal = |name: &str| {
        name.len() <= 64
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    assert!(names.iter().all(|name| legal(name)), "{names:?}");
    assert_eq!(
        names
            .iter()
            .collect::<std::collections::BTreeSet<_>>()
            .len(),
        names.len()
    );
    for (at, name) in own.iter().enumerate() {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{name}"}}}}"#
        );
        relay.post("", &[("mcp-session-id", &session)], &body);
        let (up, line) = relay.written.last().expect("a line");
        let original = ["a__b", "a.b", "a/b", &"x".repeat(100), "same"][at % 5].to_owned();
        assert_eq!(
            (
                *up as usize,
                line.contains(&format!("\"name\":\"{original}\""))
            ),
            (at / 5, true),
            "{name}: {line}"
        );
    }
}

#[test]
fn what_waits_for_a_server_is_bounded() {
    let mut relay = Relay::new(&[("slow", false, |_, _| Some(String::new()))]);
    let headers = [VERSION, ("mcp-method", "tools/list")];
    let body = modern("\"w\"", "tools/list", "");
    let limit = ggen_mcp::api::Limits::default().calls;
    for _ in 0..limit {
        assert!(
            relay
                .send(Verb::Post, "", &headers, body.clone())
                .1
                .is_empty()
        );
        relay.replies.clear();
    }
    let (status, answer) = relay.post("", &headers, &body);
    assert_eq!((status, code(&answer)), (503, -32603), "{answer}");
    assert!(
        answer.contains(r#""id":"w""#) && answer.contains("GGEN-E3017"),
        "{answer}"
    );
    assert_eq!(relay.gateway.leftovers().waiting, limit);
}
