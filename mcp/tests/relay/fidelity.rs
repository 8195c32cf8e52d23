//! What does not have to change is not touched: between a client and a server of one era, every
//! byte but the id, the progress token and (in the view of all) the name is as it came, in both
//! directions.

use crate::support::{MODERN, Relay, Server, code, modern};
use ggen_mcp::api::UpInput;
use ggen_mcp::edge::{Reply, Verb};
use serde_json::{Value, json};

/// Parameters and results with all that a typed model would lose.
const ODD: [&str; 8] = [
    r#"{"z":1.0,"a":1e400,"m":-0.0,"big":18446744073709551616,"tiny":1E-7}"#,
    r#"{"dup":1,"dup":2,"":null,"nested":{"dup":true,"dup":false}}"#,
    r#"{"esc":"\u0041\/\ud83d\ude00\u0000","raw":"/A😀","slash\/key":[ ]}"#,
    r#"{ "white" :  [ 1 ,	2 ] , "unknown": {"x-future":true}, "null":null }"#,
    r#"{"uri":"not a uri","type":"resource_link?","resultType2":"x","_other":{"progressToken":7}}"#,
    r#"{"deep":[[[[[[[[[[{"k":"v"}]]]]]]]]]],"empty":{},"arr":[]}"#,
    r#"{"text":"line\nbreak\r","quote":"\"","back":"\\"}"#,
    r#"{"lone":"\ud800","id":5,"jsonrpc":"1.0","method":"x"}"#,
];

const IDS: [&str; 7] = [
    "1",
    "\"1\"",
    "1.0",
    "1e2",
    "-7",
    "\"\\u0041\"",
    "123456789012345678901234567890",
];

const ECHO: Server = |text, message| {
    (message["method"] == "tools/call").then(|| {
        let at = text.find("\"arguments\":").unwrap() + 12;
        let depth = |(depth, done): (i32, Option<usize>), (at, c): (usize, char)| match (c, done) {
            (_, Some(_)) => (depth, done),
            ('{', _) => (depth + 1, None),
            ('}', _) if depth == 1 => (0, Some(at)),
            ('}', _) => (depth - 1, None),
            _ => (depth, None),
        };
        let end = text[at..].char_indices().fold((0, None), depth).1.unwrap();
        format!(
            r#""result":{{"content":[],"structuredContent":{},"x":1.0}}"#,
            &text[at..=at + end]
        )
    })
};

/// The text with its `"id":…` replaced, as both sides number for themselves.
fn renumbered(text: &str, from: &str, to: &str) -> String {
    text.replacen(&format!("\"id\":{from}"), &format!("\"id\":{to}"), 1)
}

fn number(line: &str) -> String {
    ggen_mcp::protocol::json::pick(line, ["id"]).expect("JSON")[0]
        .expect("an id")
        .to_owned()
}

#[test]
fn legacy_to_legacy() {
    let mut relay = Relay::new(&[("old", false, ECHO)]);
    let session = relay.session("old", "2025-11-25");
    for odd in ODD {
        for id in IDS {
            let body = format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"t","arguments":{odd},"task":{{"ttl":1}}}},"extra":0.10}}"#
            );
            let (status, answer) = relay.post("old", &[("mcp-session-id", &session)], &body);
            let sent = relay.last_written().to_owned();
            assert_eq!(sent, renumbered(&body, id, &number(&sent)));
            let wanted = format!(
                r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[],"structuredContent":{odd},"x":1.0}}}}"#
            );
            assert_eq!((status, answer), (200, wanted));
        }
    }
}

#[test]
fn modern_to_modern() {
    let mut relay = Relay::new(&[("new", true, ECHO)]);
    let headers = [
        ("mcp-protocol-version", MODERN),
        ("mcp-method", "tools/call"),
        ("mcp-name", "t"),
    ];
    for odd in ODD {
        for id in IDS {
            let body = modern(
                id,
                "tools/call",
                &format!(r#""name":"t","arguments":{odd},"future":[1.0]"#),
            );
            let (status, answer) = relay.post("new", &headers, &body);
            let sent = relay.last_written().to_owned();
            assert_eq!(sent, renumbered(&body, id, &number(&sent)));
            // The server left out what every result has to say (2026-07-28); all the rest is as it
            // came.
            let wanted = format!(
                r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","content":[],"structuredContent":{odd},"x":1.0}}}}"#
            );
            assert_eq!((status, answer), (200, wanted));
        }
    }
}

#[test]
fn the_view_of_all_changes_the_name_only() {
    let mut relay = Relay::new(&[("old", false, ECHO)]);
    let session = relay.session("", "2025-11-25");
    for odd in ODD {
        let body = format!(
            r#"{{"method":"tools/call","params":{{"arguments":{odd},"name":"old__t"}},"id":1,"jsonrpc":"2.0"}}"#
        );
        let (_, answer) = relay.post("", &[("mcp-session-id", &session)], &body);
        let sent = relay.last_written().to_owned();
        assert_eq!(
            sent,
            renumbered(&body, "1", &number(&sent)).replace("old__t", "t")
        );
        assert_eq!(
            answer,
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"result":{{"content":[],"structuredContent":{odd},"x":1.0}}}}"#
            )
        );
    }
}

#[test]
fn values_survive_a_change_of_era() {
    let mut relay = Relay::new(&[("old", false, ECHO), ("new", true, ECHO)]);
    let session = relay.session("new", "2025-11-25");
    let headers = [
        ("mcp-protocol-version", MODERN),
        ("mcp-method", "tools/call"),
        ("mcp-name", "t"),
    ];
    for odd in ODD {
        let member = format!(r#""name":"t","arguments":{odd}"#);
        let body =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{{member}}}}}"#);
        let (_, answer) = relay.post("new", &[("mcp-session-id", &session)], &body);
        assert!(
            relay.last_written().contains(odd) && answer.contains(odd),
            "{answer}"
        );
        let (_, answer) = relay.post("old", &headers, &modern("1", "tools/call", &member));
        assert!(
            relay.last_written().contains(odd) && answer.contains(odd),
            "{answer}"
        );
    }
}

#[test]
fn errors_and_progress_are_not_retyped() {
    const SILENT: Server = |_, message| (message["method"] == "tools/call").then(String::new);
    let mut relay = Relay::new(&[("old", false, SILENT)]);
    let session = relay.session("old", "2025-11-25");
    let body = r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"t","_meta":{"progressToken":"\u0070","x":1.0}}}"#;
    let (key, replies) = relay.send(Verb::Post, "old", &[("mcp-session-id", &session)], body);
    assert!(replies.is_empty());
    let ours = number(relay.last_written());
    assert_eq!(
        relay.last_written(),
        renumbered(body, "\"a\"", &ours).replace(r#""\u0070""#, &ours)
    );
    for progress in ["1", "1.0", "1e1"] {
        let line = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progress":{progress},"total":1e400,"progressToken":{ours},"y":0}}}}"#
        );
        relay.up(0, UpInput::Line(line.clone().into()));
        let Some(Reply::Event { data, .. }) = relay.of(key).pop() else {
            panic!("no event")
        };
        assert_eq!(
            data,
            line.replace(
                &format!("\"progressToken\":{ours}"),
                r#""progressToken":"\u0070""#
            )
        );
    }
    let error = format!(
        r#"{{"jsonrpc":"2.0","id":{ours},"error":{{"code":-32001,"message":"\u0041","data":{{"n":1.0,"n":2}},"more":[ ]}},"x":1}}"#
    );
    relay.up(0, UpInput::Line(error.clone().into()));
    let replies = relay.of(key);
    let [.., Reply::Event { data, .. }, Reply::End] = &replies[..] else {
        panic!("{replies:?}")
    };
    assert_eq!(data, &renumbered(&error, &ours, "\"a\""));
}

#[test]
fn members_of_another_type_are_refused() {
    let mut relay = Relay::new(&[("s", false, |_, _| None)]);
    let session = relay.session("s", "2025-11-25");
    for (token, is_right) in [
        ("1", true),
        ("\"a\"", true),
        ("-3", true),
        ("null", false),
        ("1.5", false),
        ("{}", false),
        ("[1]", false),
        ("true", false),
    ] {
        let call = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"t","_meta":{{"progressToken":{token}}}}}}}"#
        );
        let (_, body) = relay.post("s", &[("mcp-session-id", &session)], &call);
        assert_eq!(code(&body) == 0, is_right, "{token}: {body}");
        let meta = format!(
            r#""_meta":{{"progressToken":{token},"io.modelcontextprotocol/protocolVersion":"{MODERN}","io.modelcontextprotocol/clientCapabilities":{{}}}}"#
        );
        let call = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"t",{meta}}}}}"#
        );
        let headers = [
            ("mcp-protocol-version", MODERN),
            ("mcp-method", "tools/call"),
            ("mcp-name", "t"),
        ];
        let (_, body) = relay.post("s", &headers, &call);
        assert_eq!(
            code(&body),
            if is_right { 0 } else { -32602 },
            "{token}: {body}"
        );
    }
    for filter in [
        json!({"toolsListChanged": "yes"}),
        json!({"resourceSubscriptions": "test://r"}),
        json!({"resourceSubscriptions": [7]}),
        json!({"taskIds": {}}),
    ] {
        let params = json!({ "notifications": filter });
        let (_, body) = relay.ask("s", None, "subscriptions/listen", &params, &json!({}));
        assert_eq!(body["error"]["code"], -32602, "{filter}: {body}");
    }
}

#[test]
fn a_revision_that_only_a_header_names_is_refused_with_all_that_there_are() {
    let mut relay = Relay::new(&[("s", false, |_, _| None)]);
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let (status, body) = relay.post("s", &[("mcp-protocol-version", "1999-01-01")], list);
    let body: Value = serde_json::from_str(&body).unwrap();
    let supported = body["error"]["data"]["supported"].as_array().unwrap().len();
    assert_eq!((status, supported), (400, 5), "{body}");
}

#[test]
fn what_a_legacy_server_leaves_out_is_added_for_modern_clients() {
    let mut relay = Relay::new(&[("s", false, |_, message| {
        let member = match (
            message["method"].as_str()?,
            message["params"]["name"].as_str(),
        ) {
            ("tools/call", Some("zero")) => r#""error":{"code":0,"message":"broke"}"#,
            ("tools/call", _) => r#""result":{"content":[],"_meta":{"own":1}}"#,
            ("resources/read", _) => r#""error":{"code":-32602,"message":"no such"}"#,
            _ => return None,
        };
        Some(member.to_owned())
    })]);
    let call = |relay: &mut Relay, name: &str| {
        relay
            .ask(
                "s",
                Some(name),
                "tools/call",
                &json!({ "name": name }),
                &json!({}),
            )
            .1
    };
    let named = &call(&mut relay, "t")["result"]["_meta"];
    assert_eq!(named["own"], 1);
    assert_eq!(named["io.modelcontextprotocol/serverInfo"]["name"], "s");
    assert_eq!(call(&mut relay, "zero")["error"]["code"], -32603);
    let read = json!({ "uri": "test://none" });
    let (_, body) = relay.ask(
        "s",
        Some("test://none"),
        "resources/read",
        &read,
        &json!({}),
    );
    assert_eq!(body["error"]["data"]["uri"], "test://none", "{body}");
}
