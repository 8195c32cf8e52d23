//! The relay's rooms: who imports whom, which files work on all of it, and whose fields are whose.

use super::imports::{Tree, code};
use super::rooms::sources;

const RELAY: Tree = Tree::new("mcp/src", &["crate"]);

/// The files that carry events and results from room to room. No other one has the gateway.
const ROUTING: [&str; 11] = [
    "gateway/batch.rs",
    "gateway/leftovers.rs",
    "gateway/mod.rs",
    "gateway/post.rs",
    "gateway/reconfigure.rs",
    "gateway/pass_on.rs",
    "gateway/responses.rs",
    "gateway/sessions.rs",
    "gateway/timeouts.rs",
    "gateway/upstream_events.rs",
    "gateway/upstream_http.rs",
];

/// The states, and the folders that may see their fields.
const STATES: [(&str, &str); 9] = [
    ("client/mod.rs", "Clients"),
    ("upstream/mod.rs", "Upstreams"),
    ("in_flight/mod.rs", "Calls"),
    ("lease/mod.rs", "Leases"),
    ("access/mod.rs", "AccessControl"),
    ("trace/spans.rs", "Spans"),
    ("tasks/registry.rs", "Tasks"),
    ("questions/open.rs", "OpenQuestions"),
    ("questions/pending_input.rs", "PendingInputs"),
];

#[test]
fn rooms_import_each_other_in_no_circle() {
    RELAY.assert_no_circle_of_rooms(&[]);
}

#[test]
fn within_a_room_no_loop_of_imports_goes_over_more_than_three_files() {
    RELAY.assert_no_long_loop_of_files();
}

#[test]
fn only_the_routing_files_have_the_gateway() {
    RELAY.assert_only_routing_works_on("Gateway", &ROUTING);
    let folder = RELAY.folder();
    for file in sources(&folder) {
        let routes = file.starts_with(folder.join("gateway"));
        let imports = code(&file).contains("gateway::Gateway");
        assert!(routes || !imports, "{} imports Gateway", file.display());
    }
}

#[test]
fn the_gateway_has_few_fields_and_methods() {
    let (fields, methods) = RELAY.fields_and_methods("Gateway", "gateway/mod.rs", &ROUTING);
    assert!((5..=15).contains(&fields), "{fields} fields");
    assert!((20..=80).contains(&methods), "{methods} methods");
}

#[test]
fn the_fields_of_a_state_are_private_to_its_room() {
    for (file, name) in STATES {
        let text = code(&RELAY.folder().join(file));
        let (_, fields) = text.split_once(&format!("struct {name} {{")).unwrap();
        let (fields, _) = fields.split_once("\n}").unwrap();
        let open = fields
            .lines()
            .map(str::trim_start)
            .find(|line| line.starts_with("pub") && !line.starts_with("pub(super)"));
        assert_eq!(open, None, "{name}");
    }
}
