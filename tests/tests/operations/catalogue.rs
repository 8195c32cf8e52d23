//! `ggen mcp list` and `schemas` against a real daemon.

use ggend_tests::*;
use serde_json::{Value, json};

#[test]
fn the_list_is_fresh_complete_and_written_in_every_format() {
    let daemon = daemon(
        json!({ "mcpServers": { "fx": fixture(&[]), "down": { "command": "/nonexistent" } } }),
    )
    .start();
    daemon.until_ready(&["fx"]);
    let plain = daemon.ggen(&["mcp", "list", "--server", "fx", "--quiet"]);
    let fresh = daemon.ggen(&["mcp", "list", "--server", "fx", "--quiet", "--refresh"]);
    assert_eq!(
        (fresh.code, &fresh.stdout),
        (0, &plain.stdout),
        "a server that is down holds nobody up: {fresh:?}"
    );
    let count = plain.stdout.lines().count();
    assert!(count > 20);
    let csv = daemon
        .ggen(&["mcp", "list", "--server", "fx", "--format", "csv"])
        .stdout;
    assert_eq!(
        (csv.lines().count(), csv.lines().next()),
        (
            count + 1,
            Some("name,type,server,status,original,description")
        )
    );
    let schemas: Value = serde_json::from_str(
        &daemon
            .ggen(&["mcp", "schemas", "--server", "fx", "--json"])
            .stdout,
    )
    .unwrap();
    let schemas = schemas["schemas"].as_array().unwrap().clone();
    assert!(
        schemas.len() == count
            && schemas
                .iter()
                .all(|schema| schema["inputSchema"].is_object())
    );
    daemon.stop();
}
