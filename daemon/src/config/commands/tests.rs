//! What the verbs say and what they leave behind, each on a temporary host.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed"
)]

use super::{Answer, Refusal, change, init, places, show};
use crate::config::tests::Host;
use serde_json::Value;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

fn set(host: &Host, list: &[&str]) -> Result<Answer, Refusal> {
    change::set(&host.options, &strings(list), &|| true)
}

fn unset(host: &Host, list: &[&str]) -> Result<Answer, Refusal> {
    change::unset(&host.options, &strings(list), &|| false)
}

fn file(host: &Host) -> String {
    std::fs::read_to_string(host.options.cwd.join(".mcp.json")).unwrap()
}

fn get(host: &Host, key: &str) -> String {
    show::get(&host.options, key).unwrap().text
}

fn refused(host: &Host, list: &[&str], said: &str) {
    let before = std::fs::read(host.options.cwd.join(".mcp.json")).ok();
    let text = set(host, list).expect_err(said).human(false);
    assert_eq!(text, said);
    assert_eq!(
        std::fs::read(host.options.cwd.join(".mcp.json")).ok(),
        before,
        "the file was touched"
    );
}

#[test]
fn the_first_set_makes_the_file() {
    let host = Host::new();
    let answer = set(&host, &["transports.http.port=3001"]).unwrap();
    assert_eq!(
        answer.text,
        "Created ./.mcp.json\n  transports.http.port = 3001\nReload to apply: ggen mcp server reload\n"
    );
    assert_eq!(
        file(&host),
        "{\n  \"version\": \"1.0\",\n  \"transports\": {\n    \"http\": {\n      \"port\": 3001\n    }\n  }\n}\n"
    );
    assert_eq!(
        std::fs::metadata(host.options.cwd.join(".mcp.json"))
            .unwrap()
            .mode()
            & 0o777,
        0o600
    );
    let answer = set(&host, &["transports.http.port=3001"]).unwrap();
    assert_eq!(
        answer.text,
        "Unchanged ./.mcp.json\n  transports.http.port = 3001 (as before)\n"
    );
    assert_eq!(answer.json["reload_needed"], false);
    let left: Vec<_> = std::fs::read_dir(&host.options.cwd)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, [".mcp.json"], "nothing else is left behind");
}

#[test]
fn several_keys_change_and_the_rest_stays_as_it_is() {
    let host = Host::with(
        "{\"mcpServers\":\n  {\"a.b\": {\"command\":\"x\",   \"args\":[ ]}},\n \"server\" : {\"workers\": 3 }}",
    );
    let path = host.options.cwd.join(".mcp.json");
    host.mode(&path, 0o640);
    let keys = [
        "server.workers=4",
        "mcpServers.a.b.command=npx",
        "mcpServers.\"a.b\".env.API_TOKEN=12",
        "logging.level=debug",
    ];
    let answer = set(&host, &keys).unwrap();
    assert_eq!(
        answer.text,
        "Updated ./.mcp.json\n  server.workers = 4 (was 3)\n  mcpServers[\"a.b\"].command = \"npx\" (was \"x\")\n  mcpServers[\"a.b\"].env.API_TOKEN = \"***\"\n  \
         logging.level = \"debug\"\nReload to apply: ggen mcp server reload\n"
    );
    assert_eq!(
        file(&host),
        "{\"mcpServers\":\n  {\"a.b\": {\"command\":\"npx\",   \"args\":[ ], \"env\": { \"API_TOKEN\": \"12\" }}},\n \"server\" : {\"workers\": 4 },\n \"logging\": {\n   \"level\": \"debug\"\n }}"
    );
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
        0o640
    );
}

#[test]
fn values_are_read_as_their_key_wants_them() {
    let host = Host::new();
    let keys = [
        "transports.http.host=\"127.0.0.2\"",
        "version=1.0",
        "description=12",
        "transports.http.allowed_hosts=a,b",
        "server.buffer_size=64KB",
        "mcpServers.x={\"url\": \"https://h.example/mcp\", \"headers\": {}}",
        "mcpServers.y.command=true",
        "mcpServers.y.enabled=false",
        "mcpServers.y.args=[\"1\"]",
    ];
    set(&host, &keys).unwrap();
    let written: Value = serde_json::from_str(&file(&host)).unwrap();
    assert_eq!(written["transports"]["http"]["host"], "127.0.0.2");
    assert_eq!(
        (written["version"].as_str(), written["description"].as_str()),
        (Some("1.0"), Some("12"))
    );
    assert_eq!(written["transports"]["http"]["allowed_hosts"][1], "b");
    assert_eq!(written["server"]["buffer_size"], "64KB");
    assert_eq!(
        (
            &written["mcpServers"]["y"]["command"],
            &written["mcpServers"]["y"]["enabled"]
        ),
        (&Value::from("true"), &Value::from(false))
    );
    assert!(
        file(&host).contains("{\"url\": \"https://h.example/mcp\", \"headers\": {}}"),
        "an object keeps its order"
    );
}

#[test]
fn what_would_not_be_valid_is_refused_whole() {
    let host = Host::with("{\"server\": {\"workers\": 2}}\n");
    refused(
        &host,
        &["server.workers=4", "transports.http.host=0.0.0.0"],
        "error[GGEN-E1103]: transports.http.host: 0.0.0.0 is reachable from other hosts, and there is no key that anybody could be known by\n\
         help: ggen mcp auth generate-api-key\n\
         help: ggen mcp config set transports.http.host=127.0.0.1\n",
    );
    refused(
        &host,
        &["transports.http.prot=3001"],
        "error[GGEN-E1002]: transports.http.prot: unknown key; did you mean `port`?\nhelp: ggen mcp config set transports.http.port=3001\n",
    );
    refused(
        &host,
        &["server.workers=0"],
        "error[GGEN-E1004]: server.workers must be from 1 to 64, is 0\nhelp: ggen mcp config set server.workers=2\n",
    );
    refused(
        &host,
        &["transports.http.compression=maybe"],
        "error[GGEN-E1003]: transports.http.compression: expected true or false, found the text \"maybe\"\nhelp: ggen mcp config set transports.http.compression=false\n",
    );
    refused(
        &host,
        &["mcpServers.x.timeout=60000"],
        "error[GGEN-E1004]: mcpServers.x needs `command` (a program) or `url` (a remote server)\nhelp: ggen mcp explain GGEN-E1004\n",
    );
    refused(
        &host,
        &["server.workers.x=1"],
        "error[GGEN-E1003]: server.workers is not an object, so nothing can stand below it\nhelp: ggen mcp config unset server.workers\n",
    );
    assert_eq!(
        set(&host, &["server.workers"]).unwrap_err().exit,
        super::USAGE
    );
    assert_eq!(
        set(&host, &["server.workers=1", "server.workers=2"])
            .unwrap_err()
            .exit,
        super::USAGE
    );
}

#[test]
fn mistakes_are_corrected_one_after_another() {
    let host = Host::with("{\"server\": {\"workers\": 0, \"pool\": 1}}");
    let answer = set(&host, &["server.workers=4"]).unwrap();
    assert_eq!(answer.exit, super::BAD, "{}", answer.text);
    assert!(
        answer.text.contains("✗ server.pool: unknown key"),
        "{}",
        answer.text
    );
    assert_eq!(unset(&host, &["server.pool"]).unwrap().exit, 0);
    assert_eq!(file(&host), "{\"server\": {\"workers\": 4}}");
    let broken = Host::with("{\n  \"server\": {\n}");
    let refusal = set(&broken, &["server.workers=4"]).unwrap_err();
    assert_eq!(
        (refusal.exit, refusal.code.unwrap().as_str()),
        (78, "GGEN-E1001")
    );
}

#[test]
fn the_command_that_is_shown_fixes_it() {
    let host = Host::with("{\"mcpServers\": {\"a b\": {\"command\": \"ggend\"}}}");
    let help = host.loaded().warnings[0].commands();
    assert_eq!(help, ["ggen mcp config unset 'mcpServers[\"a b\"]'"]);
    unset(&host, &["mcpServers[\"a b\"]"]).unwrap();
    assert_eq!(file(&host), "{\"mcpServers\": {}}");
}

#[test]
fn paths_of_certificates_are_shown_and_secrets_are_not() {
    let host = Host::with("{}");
    let answer = set(
        &host,
        &[
            "transports.http.ssl.cert=/etc/ssl/one.pem",
            "transports.http.ssl.key=/etc/ssl/one.key",
            "tracing.otlp.headers=Authorization=hidden-in-a-header",
        ],
    );
    let text = match answer {
        Ok(answer) => answer.text,
        Err(refusal) => panic!("{refusal:?}"),
    };
    for shown in [
        "transports.http.ssl.cert = \"/etc/ssl/one.pem\"",
        "transports.http.ssl.key = \"/etc/ssl/one.key\"",
        "tracing.otlp.headers = \"***\"",
    ] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    let whole = set(
        &host,
        &["transports.http.ssl={\"cert\": \"/a\", \"token\": \"planted\"}"],
    );
    let said = whole.map_or_else(|refusal| format!("{refusal:?}"), |answer| answer.text);
    assert!(!said.contains("planted"), "{said}");
}

#[test]
fn what_covers_a_value_is_named() {
    let host = Host::with("{}").env(&[("GGEN_MCP_SERVER_WORKERS", "8")]);
    assert!(
        set(&host, &["server.workers=4"])
            .unwrap()
            .text
            .contains("  ! GGEN_MCP_SERVER_WORKERS covers it\n")
    );
    let host = Host::with("{\"server\": {\"workers\": 4}}");
    host.write(
        "etc/mcp.json",
        "{\"server\": {\"workers\": 6, \"connection_pool\": 7}}",
    );
    assert!(
        unset(&host, &["server.workers"])
            .unwrap()
            .text
            .contains("etc/mcp.json:1:24 still sets it\n")
    );
    let answer = unset(&host, &["server.connection_pool"]).unwrap();
    assert!(
        answer
            .text
            .contains("etc/mcp.json\n  server.connection_pool taken out (was 7)\n"),
        "{}",
        answer.text
    );
    assert!(
        unset(&host, &["server.connection_pool"])
            .unwrap()
            .text
            .contains("is not set in this file")
    );
}

#[test]
fn links_stay_links_and_rights_are_respected() {
    let host = Host::new();
    let real = host.write("etc/real.json", "{}");
    std::os::unix::fs::symlink(&real, host.options.cwd.join(".mcp.json")).unwrap();
    set(&host, &["server.workers=4"]).unwrap();
    assert!(
        host.options
            .cwd
            .join(".mcp.json")
            .symlink_metadata()
            .unwrap()
            .is_symlink()
    );
    assert!(
        std::fs::read_to_string(&real)
            .unwrap()
            .contains("\"workers\": 4")
    );
    if !nix::unistd::geteuid().is_root() {
        host.mode(&real, 0o400);
        assert_eq!(
            set(&host, &["server.workers=5"]).unwrap_err().exit,
            super::NO_PERMISSION
        );
    }
}

#[test]
fn init_is_valid_and_replaces_nothing_unasked() {
    let host = Host::new();
    let answer = init::init(&host.options, None, false, false).unwrap();
    assert_eq!(
        answer.text,
        "Created ./.mcp.json\nCheck it: ggen mcp config validate\n"
    );
    assert_eq!(host.loaded().warnings, []);
    let refusal = init::init(&host.options, None, true, false).unwrap_err();
    assert_eq!(
        refusal.human(false),
        "error: ./.mcp.json exists already\nhelp: ggen mcp config init --file ./.mcp.json --force   (replaces what is in it)\nhelp: ggen mcp config set KEY=VALUE   (changes it)\n"
    );
    init::init(&host.options, None, true, true).unwrap();
    let loaded = host.loaded();
    assert_eq!(
        (loaded.warnings.len(), loaded.config.mcp_servers.len()),
        (0, 2)
    );
    assert_eq!(
        loaded.config.transports,
        crate::config::Config::default().transports,
        "what it names are the defaults"
    );
    init::init(
        &host.options,
        Some("new/folder/a.json".as_ref()),
        false,
        false,
    )
    .unwrap();
}

#[test]
fn places_are_all_named() {
    let host = Host::with("{}");
    let text = places::path(&host.options)
        .unwrap()
        .text
        .replace(&host.dir.path().display().to_string(), "");
    let words: Vec<Vec<&str>> = text
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        words,
        [
            vec!["/cwd/.mcp.json", "read"],
            vec!["/home/.ggen/mcp/config.json", "not", "there"],
            vec!["/etc/mcp.json", "not", "there"]
        ]
    );
}

const SHOWN: &str = r#"{
  "transports": { "http": { "port": 3001 }, "websocket": { "enabled": true, "path": "/ws" } },
  "mcpServers": {
    "z": { "command": "npx", "args": ["--token", "abc"], "env": { "A_KEY": "abc", "B_KEY": "${B_KEY:-abc}", "C_KEY": "${HOME}" } },
    "a": { "url": "https://u:abc@h.example/mcp", "headers": { "Authorization": "Bearer ${HOME}" }, "enabled": false }
  }
}
"#;

#[test]
fn what_is_shown_is_a_configuration_without_secrets() {
    let host = Host::with(SHOWN).env(&[("HOME", "/h")]);
    let json = show::show(&host.options, false, false).unwrap().text;
    assert!(!json.contains("abc"), "{json}");
    let value: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        value["_sources"]["transports.http.port"],
        "./.mcp.json:2:37"
    );
    assert_eq!(value["_sources"]["server.workers"], "default");
    assert_eq!(value["mcpServers"]["z"]["env"]["C_KEY"], "${HOME}");
    assert_eq!(
        value["mcpServers"]["a"]["headers"]["Authorization"],
        "Bearer ${HOME}"
    );
    assert_eq!(value["transports"]["websocket"]["path"], "/ws");
    assert!(
        json.find("\"z\":").unwrap() < json.find("\"a\":").unwrap(),
        "entries keep their order"
    );
    // The guide's greps.
    assert!(json.lines().any(|line| line.contains("websocket")));
    for (section, shown) in [("ssl", "\"port\": 3443"), ("quic", "\"port\": 4433")] {
        let line = json
            .lines()
            .position(|line| line.contains(section))
            .unwrap();
        assert!(
            json.lines()
                .skip(line)
                .take(11)
                .any(|line| line.contains(shown)),
            "{section}"
        );
    }
    // Saved, it can be used: warnings only.
    let saved = Host::with(&json).env(&[("HOME", "/h")]);
    assert_eq!(
        saved.loaded().config.transports,
        host.loaded().config.transports
    );
    let effective = show::show(&host.options, true, false).unwrap();
    assert!(!effective.text.contains("abc"), "{}", effective.text);
    assert_eq!(effective.json["mcpServers"]["z"]["timeout"], 60_000);
}

#[test]
fn the_table_has_a_source_in_each_line() {
    let host = Host::with(SHOWN).env(&[("HOME", "/h")]);
    let text = show::show(&host.options, false, true).unwrap().text;
    for line in [
        "MCP configuration: ./.mcp.json",
        "  port = 3001                                    ./.mcp.json:2:37",
        "  workers = 2                                    default",
        "  port = 4433                                    default",
        "mcpServers.z   (./.mcp.json:4:5)",
        "  args = [\"--token\",\"***\"]",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
    }
}

#[test]
fn single_values_are_printed_bare() {
    let host = Host::with(SHOWN).env(&[("HOME", "/h")]);
    assert_eq!(get(&host, "transports.http.port"), "3001\n");
    assert_eq!(get(&host, "transports.http.host"), "127.0.0.1\n");
    assert_eq!(get(&host, "mcpServers.z.env.A_KEY"), "***\n");
    assert_eq!(get(&host, "description"), "null\n");
    assert!(get(&host, "transports.http").contains("\"port\": 3001"));
    assert_eq!(
        show::get(&host.options, "mcpServers.z.timeout")
            .unwrap_err()
            .exit,
        super::BAD
    );
    let unknown = show::get(&host.options, "transports.http.prot")
        .unwrap_err()
        .human(false);
    assert_eq!(
        unknown,
        "error[GGEN-E1002]: transports.http.prot: unknown key; did you mean `transports.http.port`?\nhelp: ggen mcp config get transports.http.port\n"
    );
    assert_eq!(
        show::get(&host.options, "transports.http.port")
            .unwrap()
            .json["source"],
        "./.mcp.json:2:37"
    );
}
