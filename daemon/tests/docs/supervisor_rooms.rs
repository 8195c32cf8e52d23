//! The supervisor's rooms: who imports whom, and which files work on all of it.

use super::imports::Tree;

const SUPERVISOR: Tree = Tree::new("daemon/src/supervisor", &["crate", "supervisor"]);

/// The files that carry results from room to room. No other one works on the whole supervisor.
const ROUTING: [&str; 8] = [
    "mod.rs",
    "boot/start.rs",
    "stop.rs",
    "routing/calls.rs",
    "routing/handover.rs",
    "routing/reload.rs",
    "routing/upstreams.rs",
    "routing/workers.rs",
];

#[test]
fn rooms_import_each_other_in_no_circle() {
    SUPERVISOR.assert_no_circle_of_rooms(&["boot", "routing"]);
}

#[test]
fn within_a_room_no_loop_of_imports_goes_over_more_than_three_files() {
    SUPERVISOR.assert_no_long_loop_of_files();
}

#[test]
fn only_the_routing_files_work_on_the_whole_supervisor() {
    SUPERVISOR.assert_only_routing_works_on("Supervisor", &ROUTING);
}

#[test]
fn the_supervisor_has_few_fields_and_methods() {
    let (fields, methods) = SUPERVISOR.fields_and_methods("Supervisor", "mod.rs", &ROUTING);
    assert!((5..=15).contains(&fields), "{fields} fields");
    assert!((20..=80).contains(&methods), "{methods} methods");
}
