//! Policy, rates and audit of a real daemon, with the one principal that there is without
//! credentials.

use ggen_wire::control::{Body, Call};
use ggend_tests::*;
use serde_json::{Value, json};

fn config(policy: Value, rate: Value) -> Value {
    json!({
        "transports": { "http": { "port": 0 } },
        "logging": { "audit": true },
        "policy": { "rules": policy },
        "rate_limit": rate,
        "mcpServers": { "fx": fixture(&[]), "secret": fixture(&[]) },
    })
}

fn reload(daemon: &mut Daemon, config: &Value) {
    daemon.sandbox.write_config(config);
    let done = control::ask(&daemon.sandbox.socket(), &Call::RELOAD).expect("an answer");
    assert!(matches!(done, Ok(Body::Done(_))), "{done:?}");
}

#[test]
fn what_is_denied_is_not_there_until_a_reload_allows_it() {
    let rules = json!([
        { "effect": "allow", "subjects": ["anonymous"] },
        { "effect": "deny", "subjects": ["*"], "servers": ["secret"] },
    ]);
    let mut daemon = daemon(config(rules, json!({})))
        .variable("GGEN_MCP_TRANSPORTS_HTTP_PORT", "")
        .start();
    daemon.until_ready(&["fx", "secret"]);
    for era in [Era::Legacy, Era::Modern] {
        let mut client = Client::new(daemon.http, "", era);
        let names = client.names("tools/list");
        assert!(
            names.iter().any(|name| name.starts_with("fx__"))
                && names.iter().all(|name| name.starts_with("fx__")),
            "{names:?}"
        );
        let hidden = names[0].replace("fx__", "secret__");
        let mut refused = |name: &str| {
            let reply = client.tool(name, json!({}));
            let mut message = reply.response().value.clone();
            message["id"] = Value::Null;
            assert_eq!(reply.error().1, "GGEN-E3012", "{message}");
            message.to_string().replace(name, "N")
        };
        assert_eq!(refused(&hidden), refused("secret__nothing-of-the-kind"));
    }
    for path in ["/tools", "/health"] {
        let answer = Connection::once(daemon.http, "GET", path, &[], b"").unwrap();
        assert!(
            !String::from_utf8_lossy(&answer.body).contains("secret"),
            "{path}"
        );
    }
    let mut session = Client::new(daemon.http, "", Era::Legacy);
    let before = session.names("tools/list").len();
    reload(&mut daemon, &config(json!([]), json!({})));
    assert!(
        session.names("tools/list").len() > before,
        "the session goes on, with the longer list"
    );
    until("the record of a refused call", || {
        let lines = control::logs(&daemon.sandbox.socket(), "call");
        lines.into_iter().find(|line| {
            line.category == "auth" && format!("{:?}", line.fields).contains("secret__")
        })
    });
    daemon.stop();
}

#[test]
fn over_the_rate_there_is_429_until_a_reload_allows_more() {
    let rate = json!({ "requests_per_second": 1, "burst": 5 });
    let mut daemon = daemon(config(json!([]), rate))
        .variable("GGEN_MCP_TRANSPORTS_HTTP_PORT", "")
        .start();
    daemon.until_ready(&["fx"]);
    let tools = |daemon: &Daemon| Connection::once(daemon.http, "GET", "/tools", &[], b"").unwrap();
    let refused = until("a refusal", || {
        Some(tools(&daemon)).filter(|answer| answer.head.status == 429)
    });
    assert_eq!(refused.head.header("retry-after"), Some("1"));
    let body: Value = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!(
        (
            body["error"]["message"].as_str(),
            &body["error"]["data"]["code"]
        ),
        (Some("Rate limit exceeded"), &json!("GGEN-E4060"))
    );
    until("the count", || {
        daemon
            .scrape()
            .filter(|scrape| scrape.sum("ggend_rate_limited_total", "principal_rate") >= 1.0)
    });
    reload(&mut daemon, &config(json!([]), json!({})));
    assert!((0..20).all(|_| tools(&daemon).head.status == 200));
    daemon.stop();
}
