//! The pages under `docs/` say what the code does: every key with its default, every metric that a
//! daemon shows.

use ggend::config::{Config, leaves};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, fs, path::Path};

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// First cell, without its backticks, to the second of every row of every table.
fn rows(page: &str) -> BTreeMap<String, String> {
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        Some((
            cells.next()?.trim_end_matches('`').to_owned(),
            cells.next()?.trim_matches('`').to_owned(),
        ))
    };
    page.lines().filter_map(row).collect()
}

fn with(path: &str, value: Value) -> Value {
    path.rsplit('.').fold(value, |inner, key| {
        Value::Object(Map::from_iter([(key.to_owned(), inner)]))
    })
}

#[test]
fn every_key_is_explained_with_its_default() {
    let page = page("configuration.md");
    let rows = rows(&page);
    for leaf in leaves() {
        let default = rows
            .get(leaf)
            .unwrap_or_else(|| panic!("docs/configuration.md has no row for {leaf}"));
        if default != "–" {
            let value = serde_json::from_str(default)
                .unwrap_or_else(|error| panic!("{leaf}: {default}: {error}"));
            let config: Config = serde_json::from_value(with(leaf, value)).unwrap();
            assert_eq!(
                config,
                Config::default(),
                "docs/configuration.md: {leaf} is not {default} by default"
            );
        }
    }
    for name in rows.keys().filter(|name| name.contains('.')) {
        assert!(
            leaves().contains(name),
            "docs/configuration.md explains {name}, which no configuration has"
        );
    }
}

#[test]
fn every_key_of_an_entry_is_explained() {
    let rows = rows(&page("configuration.md"));
    for entry in [
        json!({"command": "c", "args": [], "env": {}, "cwd": "/", "max_restarts": 1}),
        json!({"type": "http", "url": "http://127.0.0.1:1/mcp", "headers": {}}),
    ] {
        let config: Config = serde_json::from_value(json!({"mcpServers": {"one": entry}})).unwrap();
        let shown = serde_json::to_value(&config.mcp_servers["one"]).unwrap();
        for key in shown
            .as_object()
            .unwrap()
            .keys()
            .chain(entry.as_object().unwrap().keys())
        {
            assert!(
                rows.contains_key(key),
                "docs/configuration.md has no row for {key} of an entry"
            );
        }
    }
}

/// What a value may be, in words, as the schema says it.
fn takes(schema: &Value) -> String {
    let quoted = |value: &Value| format!("`{value}`");
    if let Some(alternatives) = schema["anyOf"].as_array() {
        if alternatives.iter().any(|one| {
            one["pattern"]
                .as_str()
                .is_some_and(|pattern| pattern.contains("kKmMgG"))
        }) {
            return format!(
                "a size in bytes, {}, or text such as `\"64k\"`",
                range(&alternatives[0])
            );
        }
        return alternatives
            .iter()
            .map(takes)
            .collect::<Vec<_>>()
            .join(" or ");
    }
    if let Some(words) = schema["enum"].as_array() {
        return words
            .iter()
            .filter(|word| !word.is_null())
            .map(quoted)
            .collect::<Vec<_>>()
            .join(", ");
    }
    if !schema["const"].is_null() {
        return quoted(&schema["const"]);
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        kinds => kinds
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .filter(|kind| *kind != "null")
            .collect(),
    };
    let word = |kind: &str| match kind {
        "string" if !schema["examples"].is_null() => {
            "an address, such as `127.0.0.1`, `::1`, `localhost`".to_owned()
        }
        "string" => "text".to_owned(),
        "boolean" => "`true` or `false`".to_owned(),
        "integer" => format!("a whole number, {}", range(schema)),
        "number" => format!("a number, {}", range(schema)),
        "array" if schema["items"]["type"] == "object" => "a list of objects".to_owned(),
        "array" => "a list".to_owned(),
        _ => "an object".to_owned(),
    };
    kinds.into_iter().map(word).collect::<Vec<_>>().join(" or ")
}

fn range(schema: &Value) -> String {
    match (schema["minimum"].as_u64(), schema["maximum"].as_u64()) {
        (Some(least), Some(most)) => format!("{least} to {most}"),
        (Some(least), None) => format!("{least} or more"),
        _ => "any".to_owned(),
    }
}

/// The rows below an object of the schema; objects with members of their own are gone into.
fn schema_rows(schema: &Value, path: &str, row: &mut impl FnMut(&str, &Value)) {
    for (key, member) in schema["properties"].as_object().into_iter().flatten() {
        let here = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        match member["properties"].as_object() {
            Some(_) => schema_rows(member, &here, row),
            None => row(&here, member),
        }
    }
}

/// `docs/reference/configuration.md` is what the schema says; `UPDATE_DOCS=1` writes it anew.
#[test]
fn the_reference_of_the_configuration_is_what_the_schema_says() {
    let schema = ggend::config::json_schema();
    let cell = |text: &str| text.replace('|', "\\|");
    let default = |member: &Value| {
        if member["default"].is_null() {
            String::new()
        } else {
            format!("`{}`", cell(&member["default"].to_string()))
        }
    };
    let mut text = "# Configuration keys\n\nWhat each key takes, its default and the variable that sets it. What the keys are for, and what else holds for them: \
        [configuration.md](../configuration.md).\nThe same as a JSON Schema: `ggen mcp config schema`. Values of variables are written as in the file; texts \
        without quotes.\n\nThis file is written by a test from the schema (`UPDATE_DOCS=1 cargo test --workspace --test docs`); change \
        `daemon/src/config/schema/describe/`.\n\n| key | takes | default | variable | meaning |\n|---|---|---|---|---|\n"
        .to_owned();
    let known: Vec<&String> = leaves().iter().collect();
    schema_rows(&schema, "", &mut |path, member| {
        if known.iter().any(|leaf| *leaf == path) {
            let (takes, default, meaning) = (
                cell(&takes(member)),
                default(member),
                cell(member["description"].as_str().unwrap_or_default()),
            );
            let variable = ggend::config::variable(path);
            text.push_str(&format!(
                "| `{path}` | {takes} | {default} | `{variable}` | {meaning} |\n"
            ));
        }
    });
    text.push_str("\n## Keys of an entry of `mcpServers`\n\n| key | takes | default | meaning |\n|---|---|---|---|\n");
    let sandbox = schema["$defs"]["server"]["properties"]["sandbox"]["anyOf"][1].clone();
    let mut row = |path: &str, member: &Value| {
        let (takes, meaning) = (
            cell(&takes(member)),
            cell(member["description"].as_str().unwrap_or_default()),
        );
        text.push_str(&format!(
            "| `{path}` | {takes} | {} | {meaning} |\n",
            default(member)
        ));
    };
    schema_rows(&schema["$defs"]["server"], "", &mut row);
    schema_rows(&sandbox, "sandbox", &mut row);
    for leaf in leaves() {
        assert!(text.contains(&format!("| `{leaf}` |")), "no row for {leaf}");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/configuration.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &text).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == text,
        "docs/reference/configuration.md is not what the schema says; UPDATE_DOCS=1 cargo test --workspace --test docs"
    );
}

/// Ends the daemon when the test ends, however it ends.
struct Daemon(std::process::Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A stdio server that knows the handshake of an early revision and nothing else.
const SERVER: &str = r#"while read -r line; do
  case $line in
    *'"initialize"'*) result='{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"sh","version":"1"}}' ;;
    *'"tools/list"'*) result='{"tools":[{"name":"one","inputSchema":{"type":"object"}}]}' ;;
    *) result='{"content":[]}' ;;
  esac
  id=$(printf '%s' "$line" | sed -n 's/.*"id":\([^,}]*\).*/\1/p')
  [ -z "$id" ] || printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$result"
done"#;

/// The name of a sample, and the names of its labels in order, but for the bound of a bucket.
fn labels_of(line: &str) -> Option<(&str, Vec<&str>)> {
    let line = line.strip_prefix("ggend_").map(|_| line)?;
    let (name, rest) = line
        .split_once('{')
        .unwrap_or_else(|| (line.split(' ').next().unwrap_or_default(), ""));
    let mut labels: Vec<&str> = rest
        .split("\",")
        .chain(std::iter::once(""))
        .filter_map(|part| Some(part.split_once("=\"")?.0))
        .filter(|label| *label != "le")
        .collect();
    labels.sort_unstable();
    Some((name, labels))
}

fn get(address: &str, request: &str) -> Option<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    stream
        .set_read_timeout(Some(std::time::Duration::from_secs(10)))
        .ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn call(address: &str, tool: &str) -> Option<String> {
    let meta = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{{}},"_meta":{meta}}}}}"#
    );
    let headers = "Content-Type: application/json\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nConnection: close";
    let length = body.len();
    get(
        address,
        &format!(
            "POST /mcp HTTP/1.1\r\nHost: localhost\r\n{headers}\r\nMcp-Name: {tool}\r\nContent-Length: {length}\r\n\r\n{body}"
        ),
    )
}

fn wait_for<T>(what: &str, check: impl FnMut() -> Option<T>) -> T {
    wait_until(check).unwrap_or_else(|| panic!("{what} did not come"))
}

fn wait_until<T>(mut check: impl FnMut() -> Option<T>) -> Option<T> {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        if let Some(found) = check() {
            return Some(found);
        }
        if std::time::Instant::now() >= until {
            return None;
        }
        #[allow(
            clippy::disallowed_methods,
            reason = "a pause between two looks; the condition decides"
        )]
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn every_reason_and_limit_of_the_relay_is_in_the_page_of_metrics() {
    use ggen_mcp::api::{DropReason, Hidden, Limit};
    let page = page("metrics.md");
    let row = |metric: &str| {
        let start = format!("| `{metric}` |");
        page.lines()
            .find(|line| line.starts_with(&start))
            .unwrap_or_else(|| panic!("{metric} has no row"))
    };
    let has = |metric: &str, name: &str| {
        assert!(
            row(metric).contains(&format!("`{name}`")),
            "{metric}: {name} is not explained"
        );
    };
    DropReason::ALL
        .iter()
        .for_each(|one| has("ggend_dropped_total", one.as_str()));
    Limit::ALL
        .iter()
        .for_each(|one| has("ggend_rate_limited_total", one.as_str()));
    Hidden::ALL
        .iter()
        .for_each(|one| has("ggend_denied_total", one.as_str()));
}

#[test]
fn every_metric_that_a_daemon_shows_is_explained() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("run/ggend.sock");
    let servers = json!({"mcpServers": {"sh": {"command": "sh", "args": ["-c", SERVER], "era": "legacy"}, "none": {"command": "no-such-program"}}});
    fs::write(place.path().join("servers.json"), servers.to_string()).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ggend"));
    command
        .current_dir(place.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", place.path());
    command
        .env("GGEN_MCP_METRICS_PORT", "0")
        .args(["--port", "0", "--config", "servers.json", "--socket"])
        .arg(&socket);
    let _daemon = Daemon(
        command
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap(),
    );

    let address = |transport: &str| {
        wait_for("a status", || {
            let mut stream = std::os::unix::net::UnixStream::connect(&socket).ok()?;
            std::io::Write::write_all(
                &mut stream,
                b"{\"method\":\"io.ggend.Control.GetStatus\"}\0",
            )
            .ok()?;
            let mut answer = Vec::new();
            std::io::BufRead::read_until(&mut std::io::BufReader::new(stream), 0, &mut answer)
                .ok()?;
            let answer: Value = serde_json::from_slice(answer.strip_suffix(&[0])?).ok()?;
            let listeners = answer
                .pointer("/parameters/status/listeners")
                .or_else(|| answer.pointer("/parameters/listeners"))?
                .clone();
            let found = listeners
                .as_array()?
                .iter()
                .find(|listener| listener["transport"] == transport)?;
            found["address"].as_str().map(str::to_owned)
        })
    };
    let (http, admin) = (address("http"), address("admin"));
    wait_for("an answer of the server", || {
        call(&http, "sh__one").filter(|answer| answer.contains("\"content\":[]"))
    });
    call(&http, "explain-code").unwrap();
    let page = page("metrics.md");
    let rows = rows(&page);
    let rare = [
        "ggend_tls_handshakes_failed_total",
        "ggend_websocket_closes_total",
        "ggend_denied_total",
        "ggend_rate_limited_total",
        "ggend_tls_handshakes_failed_total",
        "ggend_dropped_total",
        "ggend_worker_exits_total",
        "ggend_worker_restarts_total",
    ];
    let families = |text: &str| -> Vec<String> {
        text.lines()
            .filter_map(|line| {
                line.strip_prefix("# TYPE ")?
                    .split(' ')
                    .next()
                    .map(str::to_owned)
            })
            .collect()
    };
    // Figures come with the next beat of each worker, the gateway worker's and the http worker's at
    // times of their own.
    let mut missing = Vec::new();
    let shown = wait_until(|| {
        let text = get(
            &admin,
            "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        )?;
        let shown = families(&text);
        missing = rows
            .keys()
            .filter(|name| !shown.contains(name) && !rare.contains(&name.as_str()))
            .cloned()
            .collect();
        missing.is_empty().then_some(shown)
    });
    let shown = shown.unwrap_or_else(|| {
        panic!("docs/metrics.md explains {missing:?}, which the daemon does not show")
    });
    assert!(shown.len() > 20, "{shown:?}");
    for family in &shown {
        assert!(
            rows.contains_key(family.as_str()),
            "docs/metrics.md has no row for {family}"
        );
    }
    let text = get(
        &admin,
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    )
    .unwrap();
    for (name, labels) in text.lines().filter_map(labels_of) {
        let endings = ["_bucket", "_sum", "_count"]
            .iter()
            .filter_map(|ending| name.strip_suffix(ending));
        let said = endings
            .chain([name])
            .find_map(|name| rows.get(name))
            .unwrap_or_else(|| panic!("docs/metrics.md has no row for {name}"));
        // An empty cell leaves the next one in its place.
        let said = said.as_str();
        let mut said: Vec<&str> = if said.starts_with('|') {
            Vec::new()
        } else {
            said.split(", ").collect()
        };
        said.sort_unstable();
        assert_eq!(said, labels, "docs/metrics.md: labels of {name}");
    }
}

#[test]
fn every_check_of_the_doctor_is_explained() {
    let rows = rows(&page("troubleshooting.md"));
    for check in ggend::probe::ALL {
        assert!(
            rows.contains_key(check.name),
            "docs/troubleshooting.md does not explain the check {}",
            check.name
        );
    }
}
