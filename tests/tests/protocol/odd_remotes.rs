//! Remote servers that answer oddly: what works with them directly works through ggend, and what
//! does not work is said with their own words.

use ggen_wire::status::UpstreamState;
use ggend_tests::*;
use serde_json::{Value, json};

/// A daemon with one remote server for each line of arguments.
struct World {
    daemon: Daemon,
    // They end with their handles.
    _servers: Vec<RemoteFixture>,
}

fn world(servers: &[(&str, &[&str], Value)]) -> World {
    let (mut running, mut entries) = (Vec::new(), json!({}));
    for (name, arguments, more) in servers {
        let server = RemoteFixture::start(arguments);
        let mut entry = server.entry();
        for (key, value) in more.as_object().into_iter().flatten() {
            entry[key] = value.clone();
        }
        entries[*name] = entry;
        running.push(server);
    }
    World {
        daemon: daemon(json!({ "mcpServers": entries })).start(),
        _servers: running,
    }
}

/// Each is ready in that era and revision, gives all tools, and answers calls of both eras.
#[track_caller]
fn all_work(servers: &[(&str, &[&str], Value, &str)]) {
    let plain: Vec<_> = servers
        .iter()
        .map(|(name, arguments, more, _)| (*name, *arguments, more.clone()))
        .collect();
    let world = world(&plain);
    let names: Vec<_> = servers.iter().map(|(name, ..)| *name).collect();
    world.daemon.until_ready(&names);
    for (name, _, _, protocol) in servers {
        let row = world.daemon.until_upstream(name, |row| row.tools > 10);
        assert_eq!(row.protocol.as_deref(), Some(*protocol), "{name}");
        for era in [Era::Legacy, Era::Modern] {
            let mut client = Client::new(world.daemon.http, name, era);
            let said = client.tool("echo", json!({ "message": name }));
            assert_eq!(said.text(), *name, "{name} {era:?}");
            let refused = client.request("tools/call", json!({ "name": "no-such-tool" }));
            assert!(refused.response().raw.contains("no-such-tool"), "{name}");
        }
    }
    world.daemon.stop();
}

const OLD: &str = "2025-11-25";
const NEW: &str = "2026-07-28";

#[test]
fn probes_that_are_refused_are_followed_by_initialize() {
    let legacy = |odd: &'static str| ["--era", "legacy", "--odd", odd];
    let refusals = [
        "server/discover=404",
        "server/discover=400-text",
        "server/discover=500",
        "server/discover=502-html",
        "server/discover=405-json",
        "server/discover=400-rpc",
        "server/discover=400-foreign",
        "server/discover=200-html",
        "server/discover=-32601",
        "server/discover=silent",
        "server/discover=close",
    ]
    .map(legacy);
    let servers: Vec<_> = refusals
        .iter()
        .map(|arguments| {
            let name = arguments[3].split_once('=').unwrap().1;
            (name, &arguments[..], json!({}), OLD)
        })
        .collect();
    all_work(&servers);
}

#[test]
fn older_revisions_are_offered_and_one_can_be_pinned() {
    let newer = |newer: &'static str| {
        [
            "--era",
            "legacy",
            "--newest",
            "2025-03-26",
            "--newer",
            newer,
        ]
    };
    let (error, status, page, pinned) = (
        newer("-32602"),
        newer("400"),
        newer("500-html"),
        newer("silent"),
    );
    all_work(&[
        ("error", &error, json!({}), "2025-03-26"),
        ("status", &status, json!({}), "2025-03-26"),
        ("page", &page, json!({}), "2025-03-26"),
        (
            "pinned",
            &pinned,
            json!({ "protocol_version": "2025-03-26" }),
            "2025-03-26",
        ),
        (
            "modern",
            &[],
            json!({ "protocol_version": "2026-07-28" }),
            NEW,
        ),
        (
            "legacy",
            &[],
            json!({ "protocol_version": "2025-06-18" }),
            "2025-06-18",
        ),
    ]);
}

#[test]
fn bodies_are_what_they_are_and_not_what_they_are_called() {
    let (legacy, modern) = (["--era", "legacy"], ["--era", "modern"]);
    let labels: [(&str, &[&str]); 9] = [
        ("text", &["--label-json", "text/plain"]),
        ("none", &["--label-json", "none"]),
        (
            "charset",
            &["--label-json", "Application/JSON; charset=UTF-8"],
        ),
        ("events", &["--label-json", "text/event-stream"]),
        (
            "sse-json",
            &["--always-sse", "--label-events", "application/json"],
        ),
        ("sse-none", &["--always-sse", "--label-events", "none"]),
        (
            "sse-charset",
            &[
                "--always-sse",
                "--label-events",
                "TEXT/event-stream;charset=utf-8",
            ],
        ),
        ("foreign", &["--always-sse", "--foreign-events"]),
        ("id-only", &["--foreign-events"]),
    ];
    for (era, protocol) in [(legacy, OLD), (modern, NEW)] {
        let arguments = labels.map(|(name, label)| (name, [&era, label].concat()));
        let servers: Vec<_> = arguments
            .iter()
            .map(|(name, arguments)| (*name, &arguments[..], json!({}), protocol))
            .collect();
        all_work(&servers);
    }
}

#[test]
fn envelopes_over_http_are_straightened() {
    let faults = ["text-ids", "float-ids", "null-members", "batches"];
    for (era, protocol) in [("legacy", OLD), ("modern", NEW)] {
        let arguments = faults.map(|fault| ["--era", era, "--fault", fault]);
        let servers: Vec<_> = arguments
            .iter()
            .map(|arguments| (arguments[3], &arguments[..], json!({}), protocol))
            .collect();
        all_work(&servers);
    }
}

#[test]
fn receipts_streams_and_ends_of_sessions_may_be_anything() {
    let legacy = |odd: &'static str| ["--era", "legacy", "--odd", odd];
    let arguments = [
        "notifications=200",
        "notifications=204",
        "notifications=200-text",
        "notifications=200-json",
        "notifications=500",
        "response=200",
        "GET=405",
        "GET=404",
        "GET=400-text",
        "GET=500",
        "GET=200-json",
        "GET=200-html",
        "GET=200",
        "GET=close",
        "DELETE=404",
        "DELETE=405",
        "DELETE=500",
    ]
    .map(legacy);
    let servers: Vec<_> = arguments
        .iter()
        .map(|arguments| (arguments[3], &arguments[..], json!({}), OLD))
        .collect();
    let names: Vec<String> = servers
        .iter()
        .map(|(name, ..)| name.replace(['=', '/'], "-").to_lowercase())
        .collect();
    let servers: Vec<_> = servers
        .iter()
        .zip(&names)
        .map(|((_, arguments, more, protocol), name)| {
            (name.as_str(), *arguments, more.clone(), *protocol)
        })
        .collect();
    all_work(&servers);
}

#[test]
fn what_cannot_be_greeted_is_explained_in_the_servers_words() {
    let odd = |odd: &'static str| ["--odd", odd];
    let both = |what: &'static str| {
        let (probe, greeting) = (
            format!("server/discover={what}"),
            format!("initialize={what}"),
        );
        ["--odd".to_owned(), probe, "--odd".to_owned(), greeting]
    };
    let cases = [
        ("html", both("502-html"), "HTTP 502, text/html: An odd page"),
        (
            "text",
            both("400-text"),
            "HTTP 400, text/plain: an odd\\u{1b}[31m text",
        ),
        (
            "json",
            both("404-json"),
            "HTTP 404, application/json: an odd detail",
        ),
        (
            "rpc",
            both("400-rpc"),
            "initialize was answered with an error: an odd error",
        ),
        (
            "foreign",
            both("400-foreign"),
            "initialize was answered with an error: an odd error",
        ),
        (
            "page",
            both("200-html"),
            "HTTP 200, text/html: An odd page; this is no MCP endpoint",
        ),
        (
            "moved",
            both("307"),
            "HTTP 307: redirect to https://elsewhere.example/mcp/; no redirect is followed",
        ),
        (
            "closed",
            both("close"),
            "connection closed before message completed",
        ),
    ];
    let auth = [
        (
            "unauthorized",
            odd("server/discover=401"),
            "HTTP 401: the server wants other credentials; check its headers in the configuration; it says Bearer realm=\"odd\", error=\"invalid_token\", error_description=\"The token has expired\"",
        ),
        (
            "forbidden",
            odd("server/discover=403-text"),
            "HTTP 403: the server wants other credentials; check its headers in the configuration: an odd",
        ),
        (
            "modern",
            odd("server/discover=-32022:2031-01-01"),
            "server/discover was refused: this server is odd (it speaks 2031-01-01)",
        ),
        (
            "mismatch",
            odd("server/discover=-32020"),
            "server/discover was refused: this server is odd",
        ),
    ];
    let cases: Vec<(&str, Vec<&str>, &str)> = cases
        .iter()
        .map(|(name, arguments, text)| {
            (*name, arguments.iter().map(String::as_str).collect(), *text)
        })
        .chain(
            auth.iter()
                .map(|(name, arguments, text)| (*name, arguments.to_vec(), *text)),
        )
        .collect();
    let servers: Vec<_> = cases
        .iter()
        .map(|(name, arguments, _)| (*name, &arguments[..], json!({})))
        .collect();
    let world = world(&servers);
    for (name, _, text) in &cases {
        let row = world.daemon.until_upstream(name, |row| {
            row.state == UpstreamState::Degraded
                && row
                    .last_exit
                    .as_deref()
                    .is_some_and(|why| why.contains(text))
        });
        assert!(
            !row.last_exit.unwrap_or_default().contains("hidden"),
            "{name}"
        );
        // Who calls it is told as much.
        let mut client = Client::unconnected(world.daemon.http, name, Era::Modern);
        let refused = client.tool("echo", json!({ "message": "x" }));
        let raw = &refused.response().raw;
        let quoted = json!(text).to_string();
        assert!(raw.contains(quoted.trim_matches('"')), "{name}: {raw}");
    }
    world.daemon.stop();
}

#[test]
fn a_call_that_fails_is_explained_in_the_servers_words() {
    let cases = [
        ("502-html", "HTTP 502, text/html: An odd page"),
        ("404-json", "HTTP 404, application/json: an odd detail"),
        ("401", "HTTP 401: the server wants other credentials"),
        (
            "308",
            "HTTP 308: redirect to https://elsewhere.example/mcp/",
        ),
        ("400-foreign", "an odd error"),
        ("400-rpc", "an odd error"),
        ("close", "connection closed before message completed"),
    ];
    let mut arguments = Vec::new();
    for (what, text) in cases {
        for era in ["legacy", "modern"] {
            let odd = format!("tools/call={what}");
            let own = ["--era".to_owned(), era.to_owned(), "--odd".to_owned(), odd];
            arguments.push((format!("{what}-{era}"), own, text));
        }
    }
    let lines: Vec<Vec<&str>> = arguments
        .iter()
        .map(|(_, own, _)| own.iter().map(String::as_str).collect())
        .collect();
    let servers: Vec<_> = arguments
        .iter()
        .zip(&lines)
        .map(|((name, ..), line)| (name.as_str(), &line[..], json!({})))
        .collect();
    let world = world(&servers);
    for (name, _, text) in &arguments {
        world.daemon.until_ready(&[name]);
        for era in [Era::Legacy, Era::Modern] {
            let mut client = Client::new(world.daemon.http, name, era);
            let failed = client.tool("echo", json!({ "message": "x" }));
            let raw = &failed.response().raw;
            assert!(raw.contains(text), "{name} {era:?}: {raw}");
            assert!(!raw.contains("hidden"), "{raw}");
        }
    }
    world.daemon.stop();
}

#[test]
fn a_server_with_too_many_requests_is_waited_for() {
    let legacy = [
        "--era",
        "legacy",
        "--odd",
        "initialize=429-busy-once",
        "--odd",
        "tools/list=429-busy-once",
        "--odd",
        "tools/call=429-busy-once",
    ];
    let modern = [
        "--era",
        "modern",
        "--odd",
        "server/discover=503-busy-once",
        "--odd",
        "tools/list=429-busy-once",
        "--odd",
        "tools/call=429-busy-once",
    ];
    all_work(&[
        ("legacy", &legacy, json!({}), OLD),
        ("modern", &modern, json!({}), NEW),
    ]);
}

#[test]
fn what_may_be_sent_twice_is_when_its_connection_is_closed() {
    let closes = [
        "server/discover=close-once",
        "tools/list=close-once",
        "prompts/get=close-once",
        "resources/read=close-once",
        "tools/call=close-once",
    ];
    let arguments: Vec<_> = closes.iter().flat_map(|odd| ["--odd", odd]).collect();
    let world = world(&[("closes", &arguments, json!({}))]);
    world.daemon.until_ready(&["closes"]);
    world.daemon.until_upstream("closes", |row| row.tools > 10);
    assert_eq!(
        world.daemon.upstream("closes").protocol.as_deref(),
        Some(NEW)
    );
    let mut client = Client::new(world.daemon.http, "closes", Era::Modern);
    let prompt = client.request("prompts/get", json!({ "name": "test_simple_prompt" }));
    assert!(prompt.result()["messages"].is_array());
    let text = client.request("resources/read", json!({ "uri": "test://static-text" }));
    assert!(text.result()["contents"].is_array());
    // A call may have been carried out.
    let call = client.tool("echo", json!({ "message": "x" }));
    assert!(
        call.response().raw.contains("GGEN-E2109"),
        "{}",
        call.response().raw
    );
    assert_eq!(client.tool("echo", json!({ "message": "y" })).text(), "y");
    world.daemon.stop();
}
