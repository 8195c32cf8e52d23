//! Every verb against recorded replies: the human and the JSON form, exit codes, what is asked of
//! the daemon.

use crate::support::{Fake, Play, Ran, Sandbox, message, reply, script};

#[test]
fn status_says_where_and_how() {
    let fake = Fake::recorded("");
    let ran = fake.ggen("mcp server status");
    assert_eq!(ran.code, 0);
    ran.golden("status.txt");
    // The user's guide finds these by grep.
    for label in [
        "Status",
        "PID: 12345",
        "Uptime: 2h 34m",
        "Address: 127.0.0.1:3000",
        "Port: 3000",
        "Started: 2026-03-01",
    ] {
        assert_eq!(
            ran.stdout
                .lines()
                .filter(|line| line.contains(label))
                .count(),
            1,
            "{label}"
        );
    }
    fake.ggen("--json mcp server status").golden("status.json");
    let verbose = fake.ggen("mcp server status --verbose");
    verbose.golden("status-verbose.txt");
    assert!(verbose.stdout.contains("Slow operations: 2"));
    let quiet = fake.ggen("mcp server status --quiet");
    assert_eq!((quiet.stdout.as_str(), quiet.code), ("", 0));
}

#[test]
fn a_degraded_daemon_is_exit_code_1_with_its_issues() {
    let fake = Fake::recorded("-degraded");
    let ran = fake.ggen("mcp server status");
    assert_eq!(ran.code, 1);
    ran.golden("status-degraded.txt");
    assert!(
        fake.ggen("mcp server status --verbose")
            .stdout
            .contains("Slow operations: none")
    );
}

#[test]
fn a_stopped_daemon_is_exit_code_3_and_how_to_start_it() {
    let sandbox = Sandbox::new();
    let ran = sandbox.ggen("mcp server status");
    ran.fails(3, "");
    ran.golden("status-stopped.txt");
    let json = sandbox.ggen("mcp server status --format json");
    json.fails(3, "");
    json.golden("status-stopped.json");
}

#[test]
fn metrics_are_json_on_a_pipe() {
    let ran = Fake::recorded("").ggen("mcp server status --metrics");
    ran.golden("metrics.json");
    let value: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(value["metrics"][0]["samples"][0]["value"], 42);
}

#[test]
fn list_counts_and_filters() {
    let fake = Fake::recorded("");
    fake.ggen("mcp list").golden("list.txt");
    fake.ggen("mcp list --json").golden("list.json");
    assert_eq!(
        fake.ggen("mcp list --quiet --type core").stdout,
        "server-status\nrecent-logs\n"
    );
    assert_eq!(
        fake.ggen("mcp list -q --search ISSUES").stdout,
        "github__search_issues\n"
    );
    assert_eq!(fake.ggen("mcp list -q --server old").stdout, "old__fetch\n");
    assert_eq!(
        fake.ggen("mcp list --status ready").stdout,
        "Listing 0 MCP tools\n"
    );
    assert!(
        fake.ggen("mcp list --status")
            .stdout
            .contains("  • recent-logs (core) [available]\n")
    );
    assert!(
        fake.ggen("mcp list --verbose")
            .stdout
            .contains("  • github__search_issues (github) Finds issues.\n")
    );
}

/// Answers with so many tools of each of so many servers.
fn many(servers: usize, each: usize) -> Fake {
    Fake::new(move |request| {
        if !request.method.ends_with("ListTools") {
            return Play::Send(message(&reply(request, "")));
        }
        let tools: Vec<_> = (0..servers * each)
            .map(|number| {
                let (server, name) = (format!("s{}", number % servers), format!("t{number}"));
                let status = if number % servers == 1 {
                    "crash-loop"
                } else {
                    "available"
                };
                serde_json::json!({
                    "name": format!("{server}__{name}"), "server": server, "original": name,
                    "description": "", "status": status,
                })
            })
            .collect();
        let answer =
            serde_json::json!({ "parameters": { "version": "@VERSION@", "tools": tools } });
        Play::Send(message(&answer.to_string()))
    })
}

#[test]
fn a_thousand_tools_are_a_number_for_each_server() {
    let fake = many(50, 20);
    let listed = fake.ggen("mcp list").stdout;
    let lines: Vec<_> = listed.lines().collect();
    assert_eq!(lines.len(), 53, "{listed}");
    assert_eq!(
        lines[..3],
        [
            "Listing 1000 MCP tools of 50 servers",
            "  • s0: 20 tools",
            "  • s1: 20 tools [crash-loop]"
        ]
    );
    assert_eq!(
        lines[51..],
        [
            "",
            "Those of one server: ggen mcp list --server NAME; all of them: ggen mcp list --all"
        ]
    );
    let all = fake.ggen("mcp list --all").stdout;
    assert_eq!(
        all.lines().filter(|line| line.starts_with("  • s")).count(),
        1000
    );
    assert!(
        all.contains("\n\ns1: 20 tools\n  • s1__t1 (s1) [crash-loop]\n"),
        "{all:.400}"
    );
    let one = fake.ggen("mcp list --server s2").stdout;
    assert!(
        one.starts_with("Listing 20 MCP tools (20 s2)\n  • s2__t2 (s2)\n"),
        "{one}"
    );
    assert_eq!(fake.ggen("mcp list --quiet").stdout.lines().count(), 1000);
    let json = fake.ggen("mcp list --json").stdout;
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["tools"].as_array().unwrap().len(), 1000);
}

#[test]
fn lists_go_into_spreadsheets_and_documents() {
    let fake = Fake::recorded("");
    fake.ggen("mcp list --format csv").golden("list.csv");
    fake.ggen("mcp list --format markdown").golden("list.md");
    fake.ggen("mcp server status --format csv").fails(
        2,
        "error: csv and markdown are formats of `ggen mcp list` only\nhelp: --format json",
    );
}

#[test]
fn refresh_asks_for_fresh_lists() {
    let fake = Fake::recorded("");
    assert!(
        fake.ggen("mcp list --refresh --quiet")
            .stdout
            .starts_with("server-status\n")
    );
    assert_eq!(fake.methods(), ["RefreshTools"]);
}

#[test]
fn schemas_are_those_of_all_tools() {
    let fake = Fake::recorded("");
    fake.ggen("mcp schemas --server github")
        .golden("schemas.txt");
    fake.ggen("mcp schemas --server github --json")
        .golden("schemas.json");
    fake.requests.lock().unwrap().clear();
    fake.ggen("mcp schemas");
    assert_eq!(
        fake.methods(),
        [
            "ListTools",
            "DescribeTool",
            "DescribeTool",
            "DescribeTool",
            "DescribeTool"
        ]
    );
}

#[test]
fn log_levels_are_the_daemons_to_change() {
    let fake = Fake::recorded("");
    assert_eq!(
        fake.ggen("mcp server log-level tools=debug --for 10m")
            .stdout,
        "tools logs at debug for 600 s\n"
    );
    fake.ggen("mcp server log-level default");
    let asked: Vec<serde_json::Value> = fake
        .requests
        .lock()
        .unwrap()
        .iter()
        .map(|request| request.parameters.clone().into())
        .collect();
    assert_eq!(
        asked,
        [
            serde_json::json!({ "category": "tools", "level": "debug", "for_ms": 600_000 }),
            serde_json::json!({ "category": null, "level": null, "for_ms": null })
        ]
    );
    assert_eq!(fake.ggen("mcp server log-level tools=loud").code, 2);
}

#[test]
fn one_tool_is_shown_with_its_schema() {
    let fake = Fake::recorded("");
    fake.ggen("mcp status github__search_issues --schema")
        .golden("tool.txt");
    fake.ggen("mcp status github__search_issues --json")
        .golden("tool.json");
    assert_eq!(
        fake.ggen("mcp status old__fetch").code,
        1,
        "a tool whose server is down is not well"
    );
    fake.ggen("mcp status nope").fails(
        1,
        "error[GGEN-E3012]: Tool not found: nope\nhelp: ggen mcp list --refresh",
    );
}

#[test]
fn test_calls_the_tool_for_real() {
    let fake = Fake::recorded("");
    let mut command = fake
        .sandbox
        .command("mcp test github__search_issues --args");
    let ran = Ran::of(&fake.sandbox, command.arg(r#"{"query": "a b"}"#));
    assert_eq!(ran.code, 0);
    ran.golden("test.txt");
    let parameters = fake.requests.lock().unwrap()[0].parameters.clone();
    assert_eq!(
        serde_json::Value::from(parameters),
        serde_json::json!({ "name": "github__search_issues", "arguments": { "query": "a b" } })
    );
    fake.ggen("mcp test x --json").golden("test.json");
    Fake::recorded("-refused").ggen("mcp test nope").fails(
        1,
        "error[GGEN-E3012]: Tool not found: nope\nhelp: ggen mcp list",
    );
}

#[test]
fn a_tool_that_reports_an_error_is_exit_code_1() {
    let fake = Fake::recorded("-failed");
    let ran = fake.ggen("mcp test x");
    ran.fails(1, "✗ the tool reports an error");
    assert_eq!(ran.stdout, "no such repository\n");
    assert_eq!(fake.ggen("mcp test x --json").code, 1);
}

#[test]
fn senseless_arguments_never_reach_the_daemon() {
    let sandbox = Sandbox::new();
    for (arguments, why) in [
        ("{", "--args is not valid JSON"),
        ("[1]", "--args must be a JSON object"),
    ] {
        let ran = sandbox.ggen(&format!("mcp test x --args {arguments}"));
        assert_eq!(ran.code, 2);
        assert!(ran.stderr.contains(why), "{}", ran.stderr);
    }
}

#[test]
fn logs_are_one_line_each() {
    let fake = Fake::recorded("");
    fake.ggen("mcp server logs --tail 2").golden("logs.txt");
    fake.ggen("mcp server logs --json").golden("logs.jsonl");
    fake.ggen("mcp server logs --tail 5 --grep WebSocket --level WARN --since 10m --category transport --upstream github --call 7");
    let asked = serde_json::Value::from(fake.requests.lock().unwrap()[2].parameters.clone());
    let expected = serde_json::json!({ "tail": 5, "follow": false, "level": "warn", "category": "transport", "upstream": "github", "call": "7",
        "grep": "WebSocket", "since_ms": 600_000 });
    assert_eq!(asked, expected);
}

#[test]
fn an_upstreams_words_cannot_steer_the_terminal() {
    let reply = r#"{"parameters":{"version":"@VERSION@","value":{"content":[{"type":"text","text":"a\u001b[2J\u001b]0;title\u0007b\r\nc"}]}}}"#;
    let fake = Fake::always(reply);
    assert_eq!(fake.ggen("mcp test x").stdout, "a0;titleb\nc\n");
    assert!(
        fake.ggen("mcp test x --json")
            .stdout
            .contains(r#""a\u001b[2J"#),
        "JSON keeps every character"
    );
}

#[test]
fn no_form_of_output_takes_what_acts() {
    let acting = r"a\u001b]0;x\u0007\u009b2J\u202eb\u2066\u200f\u2028\u007f\nc";
    let tools = r#"{"parameters":{"version":"@VERSION@","tools":[{"name":"ACT","server":"ACT","original":"ACT","description":"ACT","status":"ACT"}]}}"#;
    let lines = r#"{"parameters":{"version":"@VERSION@","lines":[{"seq":1,"at_us":1,"level":"info","category":"upstream","source":"ACT","message":"ACT","fields":[["ACT","ACT"]]}]}}"#;
    let value = r#"{"parameters":{"version":"@VERSION@","value":{"content":[{"type":"ACT","ACT":"ACT"}]}}}"#;
    let failed = r#"{"error":"io.ggend.Control.Failed","parameters":{"code":"GGEN-E2102","message":"ACT","help":"ACT"}}"#;
    for (reply, verbs) in [
        (
            tools,
            &[
                "mcp list",
                "mcp list --verbose",
                "mcp list --format csv",
                "mcp list --format markdown",
                "mcp list --json",
            ][..],
        ),
        (lines, &["mcp server logs", "mcp server logs --json"]),
        (value, &["mcp test x", "mcp test x --json"]),
        (failed, &["mcp list", "mcp list --json"]),
    ] {
        let fake = Fake::always(reply.replace("ACT", acting).leak());
        for verb in verbs {
            let ran = fake.ggen(verb);
            let said = format!("{}{}", ran.stdout, ran.stderr);
            assert!(said.contains('b'), "{verb}: {said}");
            let acts = |c: char| ggen_wire::escape::acts(c) && c != '\n';
            assert!(!said.contains(acts), "{verb}: {said:?}");
        }
    }
}

#[test]
fn followed_logs_come_until_the_daemon_ends_them() {
    let fake = Fake::recorded("-follow");
    let ran = fake.ggen("mcp server logs --follow");
    assert_eq!(ran.code, 0);
    ran.golden("logs-follow.txt");
    assert!(fake.requests.lock().unwrap()[0].more);
}

#[test]
fn logs_of_a_daemon_that_is_down_come_from_its_file() {
    let sandbox = Sandbox::new();
    std::fs::write(
        sandbox.path("ggend.log"),
        "one\n\u{1b}[31mTWO\u{1b}[0m\nthree\ntwo again\n",
    )
    .unwrap();
    let ran = sandbox.ggen("mcp server logs --grep two --tail 1");
    ran.fails(
        0,
        "note: the daemon is not running; this is what it last wrote to {dir}/ggend.log",
    );
    assert_eq!(ran.stdout, "two again\n");
    assert_eq!(
        sandbox.ggen("mcp server logs -q --grep two").stdout,
        "TWO\ntwo again\n"
    );
    let console = "T1 INFO  mcp_server supervisor: a\nT2 ERROR upstream   github: b\nT3 WARN  transport  http-1: c\nggend: d\n";
    std::fs::write(sandbox.path("ggend.log"), console).unwrap();
    let heads = |line: &str| {
        sandbox
            .ggen(line)
            .stdout
            .lines()
            .map(|line| line[..2].to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(heads("mcp server logs -q --level warn"), ["T2", "T3", "gg"]);
    assert_eq!(heads("mcp server logs -q --upstream github"), ["T2", "gg"]);
    assert_eq!(
        heads("mcp server logs -q --category transport"),
        ["T3", "gg"]
    );
}

#[test]
fn restart_and_reload_show_progress() {
    let fake = Fake::recorded("");
    fake.ggen("mcp server restart --server http")
        .golden("restart.txt");
    assert_eq!(
        fake.requests.lock().unwrap()[0].parameters["target"],
        "http"
    );
    fake.ggen("mcp server restart --json")
        .golden("restart.json");
    fake.ggen("mcp server reload").golden("reload.txt");
    let fake = Fake::recorded("-plan");
    fake.ggen("mcp server reload --plan")
        .golden("reload-plan.txt");
    assert_eq!(
        fake.requests.lock().unwrap()[0].parameters["plan_only"],
        true
    );
    Fake::recorded("-degraded")
        .ggen("mcp server reload")
        .golden("reload-degraded.txt");
    Fake::recorded("-invalid").ggen("mcp server reload").fails(
        78,
        "error[GGEN-E1001]: /home/me/.mcp.json:4:7: trailing comma; generation 1 stays in force\nhelp: ggen mcp config validate",
    );
}

#[test]
fn wait_ends_with_the_daemons_answer() {
    let ran = Fake::recorded("").ggen("mcp server wait");
    assert_eq!(
        (ran.stdout.as_str(), ran.code),
        ("MCP server is ready\n", 0)
    );
    let ran = Fake::recorded("-degraded").ggen("mcp server wait --timeout 5");
    assert_eq!(
        (ran.stdout.as_str(), ran.code),
        ("MCP server is degraded; still starting: github\n", 1)
    );
    let ran = Sandbox::new().ggen("mcp server wait --timeout 0.05");
    assert_eq!(ran.code, 3);
}

#[test]
fn explain_needs_no_daemon() {
    let sandbox = Sandbox::new();
    sandbox.ggen("mcp explain e1101").golden("explain.txt");
    sandbox
        .ggen("mcp explain GGEN-E1101 --json")
        .golden("explain.json");
    assert!(
        sandbox
            .ggen("mcp explain")
            .stdout
            .contains("GGEN-E6001  Connection refused")
    );
    assert_eq!(sandbox.ggen("mcp explain E0000").code, 2);
}

#[test]
fn the_stdio_relay_is_ggends() {
    let sandbox = Sandbox::new();
    let ggen = |line: &str| {
        Ran::of(
            &sandbox,
            sandbox
                .command(line)
                .env("GGEN_DAEMON", script("ggend-args")),
        )
    };
    assert_eq!(
        ggen("mcp server stdio --server github").stdout,
        "ggend --socket {dir}/ggend.sock stdio --server github\n"
    );
    let ran = ggen("mcp server stdio --debug");
    assert_eq!(
        ran.stdout,
        "ggend --socket {dir}/ggend.sock stdio --debug\n"
    );
}

#[test]
fn configuration_is_handed_over_to_ggend() {
    let sandbox = Sandbox::new();
    let ggen = |line: &str| {
        Ran::of(
            &sandbox,
            sandbox
                .command(line)
                .env("GGEN_DAEMON", script("ggend-args")),
        )
    };
    let ran = ggen("mcp config validate --file a.json --verbose");
    assert_eq!(
        (ran.stdout.as_str(), ran.code),
        ("ggend check a.json --verbose\n", 78)
    );
    assert_eq!(
        ggen("--config b.json mcp config validate --json").stdout,
        "ggend check b.json --json\n"
    );
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        ggen("mcp doctor --verbose --socket s --config c").stdout,
        format!("ggend --config c --socket s probe doctor --client {version} --verbose\n")
    );
    assert_eq!(
        ggen("mcp test-connection http://h:1/mcp --transport http --tool t --timeout 2 --json")
            .stdout,
        "ggend probe connection --transport http --tool t --timeout-ms 2000 --json -- http://h:1/mcp\n"
    );
    assert_eq!(
        ggen("mcp server start --foreground --port 3001 --debug").stdout,
        "ggend --foreground --debug --port 3001\n"
    );
}

#[test]
fn every_verb_of_config_becomes_one_of_ggends() {
    let sandbox = Sandbox::new();
    let ggen = |line: &str| {
        Ran::of(
            &sandbox,
            sandbox
                .command(line)
                .env("GGEN_DAEMON", script("ggend-args")),
        )
        .stdout
    };
    for (typed, handed) in [
        (
            "init --examples --file a.json --force",
            "init --examples --file a.json --force",
        ),
        ("show", "show"),
        ("show --effective --format json", "--json show --effective"),
        ("show --format human", "--format=human show"),
        ("get transports.http.port", "get -- transports.http.port"),
        ("set a.b=1 c=-x --quiet", "--quiet set -- a.b=1 c=-x"),
        ("unset a b", "unset -- a b"),
        ("path --json", "--json path"),
        ("schema", "schema"),
    ] {
        assert_eq!(
            ggen(&format!("mcp config {typed}")),
            format!("ggend config {handed}\n")
        );
    }
    assert_eq!(
        ggen("mcp config path --config b.json --socket s"),
        "ggend --socket s --config b.json config path\n"
    );
    assert_eq!(
        Ran::of(&sandbox, &mut sandbox.command("mcp config set")).code,
        2
    );
}

#[test]
fn the_command_line_is_checked_and_meant_well() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.ggen("--version").stdout, "ggen @VERSION@\n");
    let ran = sandbox.ggen("mcp server statsu");
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("'status'"), "{}", ran.stderr);
    assert_eq!(sandbox.ggen("mcp server status --timeout 0").code, 2);
    assert_eq!(sandbox.ggen("mcp server logs --level loud").code, 2);
    assert_eq!(sandbox.ggen("mcp server --help").code, 0);
    assert_eq!(sandbox.ggen("").code, 2);
}

#[test]
fn debug_shows_the_traffic_on_standard_error() {
    let ran = Fake::recorded("").ggen("mcp list --debug");
    assert!(
        ran.stderr
            .contains(r#"debug: → {"method":"io.ggend.Control.ListTools","parameters":{}}"#),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stdout
            .starts_with("Listing 4 MCP tools (2 core, 1 github, 1 old)\n")
    );
    let fake = Fake::recorded("");
    let mut command = fake.sandbox.command("mcp test x --debug --args");
    let ran = Ran::of(
        &fake.sandbox,
        command.arg(r#"{"api_key": "k1", "q": "plain"}"#),
    );
    assert!(
        ran.stderr.contains("plain")
            && ran.stderr.contains("[hidden]")
            && !ran.stderr.contains("k1"),
        "{}",
        ran.stderr
    );
    let ran = Ran::of(
        &fake.sandbox,
        fake.sandbox
            .command("mcp config validate --debug")
            .env("GGEN_DAEMON", script("ggend-args")),
    );
    assert!(
        ran.stderr.contains("debug: runs ") && ran.stderr.contains("ggend-args check"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_reader_that_leaves_ends_ggen_quietly() {
    let many = r#"{"parameters":{"version":"@VERSION@","text":"METRICS"}}"#
        .replace("METRICS", &"ggend_x 1\\n".repeat(20_000));
    let fake = Fake::new(move |_| Play::Send(message(&many)));
    let mut command = fake.sandbox.command("mcp server status --metrics");
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), output.stderr.len()),
        (Some(0), 0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
