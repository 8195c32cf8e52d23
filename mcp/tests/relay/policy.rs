//! What a principal may not call it does not see, in any way; and limits, with made-up principals.

use crate::support::{MODERN, Relay, Server, code, modern};
use ggen_mcp::access::policy::{Effect, Glob, Rule};
use ggen_mcp::access::rules::{Audit, Rate, Rules, ToolRule};
use ggen_mcp::api::{Input, Observation, Output, StreamKey};
use ggen_mcp::edge::{Principal, Reply, Verb};
use serde_json::Value;

const SERVE: Server = |_, message| {
    let uri = message["params"]["uri"].as_str().unwrap_or_default();
    Some(match message["method"].as_str()? {
        "tools/list" => r#""result":{"tools":[{"name":"get","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}},{"name":"delete","inputSchema":{"type":"object"}}]}"#.to_owned(),
        "prompts/list" => r#""result":{"prompts":[{"name":"p"},{"name":"hidden"}]}"#.to_owned(),
        "resources/list" => r#""result":{"resources":[{"uri":"file:///docs/a","name":"a"},{"uri":"file:///etc/b","name":"b"}]}"#.to_owned(),
        "resources/templates/list" => r#""result":{"resourceTemplates":[{"uriTemplate":"file:///etc/{x}","name":"t"}]}"#.to_owned(),
        "tools/call" | "prompts/get" | "completion/complete" | "vendor/x" => r#""result":{"content":[]}"#.to_owned(),
        "resources/read" => format!(r#""result":{{"contents":[{{"uri":"{uri}"}}]}}"#),
        "resources/subscribe" | "resources/unsubscribe" => r#""result":{}"#.to_owned(),
        _ => return None,
    })
};
/// Does not answer calls.
const SILENT: Server = |text, message| {
    if message["method"] == "tools/call" {
        Some(String::new())
    } else {
        SERVE(text, message)
    }
};

fn globs(list: &[&str]) -> Vec<Glob> {
    list.iter().map(|text| Glob::new(text)).collect()
}

fn rule(effect: Effect, subjects: &[&str]) -> Rule {
    Rule {
        effect,
        subjects: globs(subjects),
        servers: None,
        tools: None,
        prompts: None,
        resources: None,
    }
}

/// `client:ci` may get from `a`, with one prompt and the documents; nothing of `secret`.
fn policy() -> Vec<Rule> {
    vec![Rule {
        servers: Some(globs(&["a"])),
        tools: Some(globs(&["a__get"])),
        prompts: Some(globs(&["p"])),
        resources: Some(globs(&["a+file:///docs/*"])),
        ..rule(Effect::Allow, &["client:ci"])
    }]
}

fn ci() -> Principal {
    Principal {
        id: "key:1".into(),
        labels: [Box::from("client:ci")].into(),
    }
}

fn relay() -> Relay {
    let mut relay = Relay::new(&[("a", true, SERVE), ("secret", false, SERVE)]);
    relay.input(Input::Rules(Box::new(Rules {
        policy: policy(),
        ..Rules::default()
    })));
    relay.principal = ci();
    relay
}

fn ask(relay: &mut Relay, view: &str, method: &str, members: &str) -> (u16, String) {
    let value: Value = serde_json::from_str(&format!("{{{members}}}")).unwrap();
    let name = value["name"]
        .as_str()
        .or(value["uri"].as_str())
        .unwrap_or_default()
        .to_owned();
    let mut headers = vec![("mcp-protocol-version", MODERN), ("mcp-method", method)];
    if ["tools/call", "prompts/get", "resources/read"].contains(&method) {
        headers.push(("mcp-name", &name));
    }
    relay.post(view, &headers, &modern("7", method, members))
}

fn named(body: &str, member: &str, key: &str) -> Vec<String> {
    let body: Value = serde_json::from_str(body).unwrap();
    body["result"][member]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item[key].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn lists_hold_only_what_may_be_used() {
    let mut relay = relay();
    for (view, tools, docs) in [
        ("", "a__get", "a+file:///docs/a"),
        ("a", "get", "file:///docs/a"),
    ] {
        let (_, body) = ask(&mut relay, view, "tools/list", "");
        assert_eq!(named(&body, "tools", "name"), [tools]);
        assert!(body.contains(r#""cacheScope":"private""#));
        assert_eq!(
            named(
                &ask(&mut relay, view, "prompts/list", "").1,
                "prompts",
                "name"
            )
            .len(),
            1
        );
        assert_eq!(
            named(
                &ask(&mut relay, view, "resources/list", "").1,
                "resources",
                "uri"
            ),
            [docs]
        );
        assert!(
            named(
                &ask(&mut relay, view, "resources/templates/list", "").1,
                "resourceTemplates",
                "uriTemplate"
            )
            .is_empty()
        );
    }
    let (_, discovered) = ask(&mut relay, "", "server/discover", "");
    assert!(!discovered.contains("secret"), "{discovered}");
    let (_, reply) = relay.send(Verb::Get, "/tools", &[], "");
    let [Reply::Full { body, .. }] = &reply[..] else {
        panic!("{reply:?}")
    };
    assert!(
        !String::from_utf8_lossy(body).contains("secret")
            && !String::from_utf8_lossy(body).contains("delete")
    );
    relay.principal = "anonymous".into();
    assert_eq!(
        named(&ask(&mut relay, "", "tools/list", "").1, "tools", "name").len(),
        13
    );
}

#[test]
fn what_is_hidden_answers_like_what_does_not_exist() {
    let mut relay = relay();
    let hidden = [
        ("", "tools/call", "name", "a__delete"),
        ("", "tools/call", "name", "secret__get"),
        ("", "tools/call", "name", "show-config"),
        ("a", "tools/call", "name", "delete"),
        ("", "prompts/get", "name", "a__hidden"),
        ("", "prompts/get", "name", "secret__p"),
        ("a", "prompts/get", "name", "hidden"),
        ("", "resources/read", "uri", "a+file:///etc/b"),
        ("", "resources/read", "uri", "a+file:///docs/../etc/b"),
        ("", "resources/read", "uri", "secret+file:///docs/a"),
        ("a", "resources/read", "uri", "file:///etc/b"),
    ];
    for (view, method, member, name) in hidden {
        let none = "zz".repeat(name.len() / 2);
        let real = ask(&mut relay, view, method, &format!(r#""{member}":"{name}""#));
        let made_up = ask(&mut relay, view, method, &format!(r#""{member}":"{none}""#));
        assert_eq!(
            (real.0, real.1.replace(name, "N")),
            (made_up.0, made_up.1.replace(&none, "N")),
            "{method} {name}"
        );
        assert!(real.1.contains("not found"), "{}", real.1);
    }
    for of in [
        r#"{"type":"ref/prompt","name":"secret__p"}"#,
        r#"{"type":"ref/resource","uri":"a+file:///etc/{x}"}"#,
        r#"{"type":"ref\u002fresource","uri":"a+file:///etc/{x}"}"#,
    ] {
        let (_, body) = ask(
            &mut relay,
            "",
            "completion/complete",
            &format!(r#""ref":{of},"argument":{{"name":"x","value":""}}"#),
        );
        assert!(body.contains("not found"), "{body}");
    }
    for view in ["secret", "core", "none"] {
        let (status, body) = ask(&mut relay, view, "tools/list", "");
        assert_eq!(
            (
                status,
                body.replace(view, "V").contains("No such server: V")
            ),
            (404, true),
            "{body}"
        );
    }
    // A method that rules know nothing of needs the whole server.
    let (_, body) = ask(&mut relay, "a", "vendor/x", "");
    assert_eq!(code(&body), -32601, "{body}");
    assert!(relay.written.is_empty(), "{:?}", relay.written);
    let denied = relay
        .outputs
        .iter()
        .filter(|output| matches!(output, Output::Observe(Observation::Denied(_))))
        .count();
    assert!(denied >= hidden.len());
    assert_eq!(
        code(&ask(&mut relay, "", "tools/call", r#""name":"a__get""#).1),
        0
    );
    assert_eq!(
        code(
            &ask(
                &mut relay,
                "a",
                "resources/read",
                r#""uri":"file:///docs/new""#
            )
            .1
        ),
        0
    );
}

fn heard(relay: &Relay, key: StreamKey) -> Vec<String> {
    let events = relay.of(key).into_iter().filter_map(|reply| match reply {
        Reply::Event { data, .. } => Some(String::from_utf8(data.to_vec()).unwrap()),
        _ => None,
    });
    events.collect()
}

#[test]
fn changes_are_told_to_whom_they_concern_also_when_the_policy_changes() {
    let mut relay = relay();
    let session = relay.session("", "2025-11-25");
    let (stream, _) = relay.send(Verb::Get, "", &[("mcp-session-id", &session)], "");
    let filter = r#""notifications":{"toolsListChanged":true,"resourceSubscriptions":["a+file:///etc/b","a+file:///docs/a"]}"#;
    let headers = [
        ("mcp-protocol-version", MODERN),
        ("mcp-method", "subscriptions/listen"),
    ];
    let (listen, _) = relay.send(
        Verb::Post,
        "",
        &headers,
        modern("9", "subscriptions/listen", filter),
    );
    let acknowledged = &heard(&relay, listen)[0];
    assert!(
        acknowledged.contains("docs/a") && !acknowledged.contains("etc/b"),
        "{acknowledged}"
    );
    // Somebody else's server changes: nobody here hears of it.
    relay.input(Input::Reconfigure(Vec::new()));
    let count = |relay: &Relay| {
        heard(relay, stream)
            .iter()
            .filter(|event| event.contains("tools/list_changed"))
            .count()
    };
    assert_eq!(count(&relay), 1, "its own server went too");
    let before = heard(&relay, listen).len();
    let mut other = self::relay();
    let session = other.session("", "2025-11-25");
    let (stream, _) = other.send(Verb::Get, "", &[("mcp-session-id", &session)], "");
    let (listen, _) = other.send(
        Verb::Post,
        "",
        &headers,
        modern("9", "subscriptions/listen", filter),
    );
    let mut wider = policy();
    wider[0].tools = Some(globs(&["a__*"]));
    other.input(Input::Rules(Box::new(Rules {
        policy: wider.clone(),
        ..Rules::default()
    })));
    assert_eq!(
        heard(&other, stream).len(),
        1,
        "{:?}",
        heard(&other, stream)
    );
    assert_eq!(heard(&other, listen).len(), 2);
    other.input(Input::Rules(Box::new(Rules {
        policy: wider,
        ..Rules::default()
    })));
    assert_eq!(heard(&other, stream).len(), 1);
    assert!(before >= 1);
}

#[test]
fn over_the_rate_there_is_429_with_a_time() {
    let mut relay = relay();
    relay.input(Input::Rules(Box::new(Rules {
        rate: Rate {
            per_second: 1,
            burst: 3,
        },
        audit: Audit::Calls,
        ..Rules::default()
    })));
    let session = relay.session("", "2025-11-25");
    for _ in 0..2 {
        assert_eq!(ask(&mut relay, "", "tools/list", "").0, 200);
    }
    let legacy = r#"{"jsonrpc":"2.0","id":5,"method":"tools/list"}"#;
    for (headers, body) in [
        (
            vec![
                ("mcp-protocol-version", MODERN),
                ("mcp-method", "tools/list"),
            ],
            modern("5", "tools/list", ""),
        ),
        (
            vec![("mcp-session-id", session.as_str())],
            legacy.to_owned(),
        ),
    ] {
        let (_, replies) = relay.send(Verb::Post, "", &headers, body);
        let [
            Reply::Full {
                status: 429,
                retry_after: Some(1),
                body,
                ..
            },
        ] = &replies[..]
        else {
            panic!("{replies:?}")
        };
        let body: Value = serde_json::from_slice(body).unwrap();
        assert_eq!(
            (&body["id"], body["error"]["message"].as_str()),
            (&5.into(), Some("Rate limit exceeded"))
        );
        assert_eq!(body["error"]["data"]["code"], "GGEN-E4060");
    }
    relay.principal = "key:2".into();
    assert_eq!(
        ask(&mut relay, "", "tools/list", "").0,
        200,
        "others are not concerned"
    );
    relay.principal = ci();
    relay.now += 1_000_000;
    assert_eq!(ask(&mut relay, "", "tools/list", "").0, 200);
}

#[test]
fn places_are_bounded_per_principal_and_tool_and_free_again() {
    let mut relay = Relay::new(&[("a", true, SILENT)]);
    relay.principal = ci();
    let tools = [(
        "a__get".to_owned(),
        ToolRule {
            concurrent: 1,
            timeout: 1_000_000,
            ..ToolRule::default()
        },
    )]
    .into();
    relay.input(Input::Rules(Box::new(Rules {
        in_flight: 2,
        sessions: 1,
        tools,
        audit: Audit::Arguments,
        ..Rules::default()
    })));
    let call = |relay: &mut Relay, name: &str| {
        let headers = [
            ("mcp-protocol-version", MODERN),
            ("mcp-method", "tools/call"),
            ("mcp-name", name),
        ];
        relay.send(
            Verb::Post,
            "",
            &headers,
            modern(
                "1",
                "tools/call",
                &format!(r#""name":"{name}","arguments":{{"x":1}}"#),
            ),
        )
    };
    let status = |replies: &[Reply]| {
        replies.iter().find_map(|reply| {
            if let Reply::Full { status, .. } = reply {
                Some(*status)
            } else {
                None
            }
        })
    };
    assert!(call(&mut relay, "a__get").1.is_empty());
    assert_eq!(
        status(&call(&mut relay, "a__get").1),
        Some(429),
        "one call of this tool"
    );
    let (open, _) = call(&mut relay, "a__delete");
    assert_eq!(
        status(&call(&mut relay, "a__delete").1),
        Some(429),
        "two calls of this principal"
    );
    relay.input(Input::Gone(open));
    assert!(call(&mut relay, "a__delete").1.is_empty());
    relay.now += 1_000_001;
    relay.input(Input::Tick);
    assert!(
        call(&mut relay, "a__get").1.is_empty(),
        "the tool's own time was over"
    );
    relay.session("", "2025-11-25");
    let second = relay.send(
        Verb::Post,
        "",
        &[],
        r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{}}}"#,
    );
    // The first session, which nobody uses, ends for it.
    assert_eq!(status(&second.1), Some(200));
    assert_eq!(relay.gateway.counts().sessions, 1);
    relay.input(Input::EdgeLost(1));
    assert_eq!(relay.gateway.leftovers(), Default::default());
    let audited: Vec<_> = relay
        .outputs
        .iter()
        .filter_map(|output| {
            if let Output::Observe(Observation::Audit(audited)) = output {
                Some(audited)
            } else {
                None
            }
        })
        .collect();
    let outcomes: Vec<_> = audited
        .iter()
        .map(|audited| (audited.outcome.as_str(), &*audited.name))
        .collect();
    assert_eq!(
        outcomes,
        [
            ("refused", "a__get"),
            ("refused", "a__delete"),
            ("cancelled", "a__delete"),
            ("timeout", "a__get"),
            ("cancelled", "a__delete"),
            ("cancelled", "a__get")
        ]
    );
    assert!(audited.iter().all(|audited| &*audited.principal == "key:1"
        && audited.arguments.as_deref() == Some(r#"{"x":1}"#)));
}

#[test]
fn only_what_may_be_repeated_is_sent_again() {
    use ggen_mcp::api::UpInput;
    let mut relay = Relay::new(&[("a", true, SILENT)]);
    relay.input(Input::Rules(Box::new(Rules {
        tool: ToolRule {
            retries: 1,
            ..ToolRule::default()
        },
        ..Rules::default()
    })));
    let call = |relay: &mut Relay, name: &str| {
        let headers = [
            ("mcp-protocol-version", MODERN),
            ("mcp-method", "tools/call"),
            ("mcp-name", name),
        ];
        relay
            .send(
                Verb::Post,
                "",
                &headers,
                modern("1", "tools/call", &format!(r#""name":"{name}""#)),
            )
            .0
    };
    let (get, delete) = (call(&mut relay, "a__get"), call(&mut relay, "a__delete"));
    let lost = || UpInput::Lost {
        state: ggen_wire::status::UpstreamState::Starting,
        code: ggen_wire::Code::UpstreamExited,
        reason: "exit status 1".to_owned(),
        next_start: Some(0),
    };
    relay.up(0, lost());
    assert!(relay.of(get).is_empty(), "{:?}", relay.of(get));
    assert_eq!(relay.of(delete).len(), 1);
    relay.up(
        0,
        UpInput::Connected {
            incarnation: 2,
            handoff: None,
        },
    );
    let calls = relay
        .written
        .iter()
        .filter(|(_, text)| text.contains("tools/call") && text.contains(r#""get""#))
        .count();
    assert_eq!(calls, 2);
    relay.up(0, lost());
    assert_eq!(relay.of(get).len(), 1, "once only");
    relay.input(Input::EdgeLost(1));
    assert_eq!(relay.gateway.leftovers(), Default::default());
}

#[test]
fn a_completion_is_judged_by_what_the_server_looks_at() {
    let mut relay = relay();
    for of in [
        // A prompt that is allowed is no way to a resource that is not, nor the other way round.
        r#"{"type":"ref/resource","name":"a__p","uri":"a+file:///etc/{x}"}"#,
        r#"{"type":"ref/prompt","name":"a__p","uri":"a+file:///docs/a"}"#,
        r#"{"type":"ref/prompt","uri":"a+file:///docs/a"}"#,
        r#"{"type":"ref/other","name":"a__p"}"#,
        r#"{"name":"a__p"}"#,
    ] {
        let members = format!(r#""ref":{of},"argument":{{"name":"x","value":""}}"#);
        let (_, body) = ask(&mut relay, "", "completion/complete", &members);
        assert_eq!(code(&body), -32602, "{of}: {body}");
    }
    assert!(relay.written.is_empty(), "{:?}", relay.written);
    for of in [
        r#"{"type":"ref/prompt","name":"a__p"}"#,
        r#"{"type":"ref/resource","uri":"a+file:///docs/{x}"}"#,
    ] {
        let members = format!(r#""ref":{of},"argument":{{"name":"x","value":""}}"#);
        let (_, body) = ask(&mut relay, "", "completion/complete", &members);
        assert_eq!(code(&body), 0, "{of}: {body}");
    }
}

#[test]
fn who_is_restricted_reaches_listed_names_only() {
    let mut relay = Relay::new(&[("a", true, SERVE)]);
    let deny = |tools: &[&str], prompts: &[&str]| Rule {
        tools: Some(globs(tools)),
        prompts: Some(globs(prompts)),
        ..rule(Effect::Deny, &["*"])
    };
    let policy = vec![
        rule(Effect::Allow, &["*"]),
        deny(&["a__delete"], &["a__hidden"]),
    ];
    relay.input(Input::Rules(Box::new(Rules {
        policy,
        ..Rules::default()
    })));
    for name in ["delete", "Delete", "delete ", "DELETE", "de\u{200b}lete"] {
        let (_, body) = relay.ask(
            "a",
            None,
            "tools/list",
            &serde_json::json!({}),
            &serde_json::json!({}),
        );
        assert!(!body.to_string().contains("delete"));
        let session = relay.session("a", "2025-11-25");
        for (method, name) in [("tools/call", name), ("prompts/get", "Hidden")] {
            let body = serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"name": name}});
            let (_, answer) = relay.post("a", &[("mcp-session-id", &session)], &body.to_string());
            assert!(answer.contains("not found"), "{name}: {answer}");
        }
    }
    assert!(
        !relay
            .written
            .iter()
            .any(|(_, text)| text.contains("tools/call") || text.contains("prompts/get")),
        "{:?}",
        relay.written
    );
}

#[test]
fn limits_of_a_tool_hold_in_every_view() {
    let mut relay = Relay::new(&[("a", true, SILENT)]);
    let tool = |concurrent| ToolRule {
        concurrent,
        ..ToolRule::default()
    };
    relay.input(Input::Rules(Box::new(Rules {
        tools: [
            ("a__get".to_owned(), tool(1)),
            ("a__dynamic".to_owned(), tool(1)),
        ]
        .into(),
        ..Rules::default()
    })));
    for (one, other) in [
        (("", "a__get"), ("a", "get")),
        (("a", "dynamic"), ("a", "dynamic")),
    ] {
        let call = |relay: &mut Relay, (view, name): (&str, &str)| {
            let headers = [
                ("mcp-protocol-version", MODERN),
                ("mcp-method", "tools/call"),
                ("mcp-name", name),
            ];
            let members = format!(r#""name":"{name}""#);
            relay.send(
                Verb::Post,
                view,
                &headers,
                modern("1", "tools/call", &members),
            )
        };
        for (first, second) in [(one, other), (other, one)] {
            let (open, replies) = call(&mut relay, first);
            assert!(replies.is_empty(), "{replies:?}");
            let (_, replies) = call(&mut relay, second);
            let [Reply::Full { status: 429, .. }] = &replies[..] else {
                panic!("{second:?}: {replies:?}")
            };
            relay.input(Input::Gone(open));
        }
    }
    assert_eq!(relay.gateway.leftovers(), Default::default());
}
