//! PROMISES.md names tests that exist, and nothing stands there without being held or called not yet held.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path};

#[test]
fn every_promise_names_a_test_that_exists_or_is_called_not_yet_held() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read_to_string(root.join("PROMISES.md")).unwrap();
    let mut seen = 0;
    for line in text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| promise") && !line.starts_with("| quantity")) {
        let last = line.trim_end_matches('|').rsplit(" | ").next().unwrap();
        assert!(last.contains('`') || last.to_lowercase().contains("not yet held") || last.contains("the same"), "nothing holds: {line}");
        for (file, name) in last.split('`').filter_map(|word| word.split_once(".rs::")) {
            let path = root.join(format!("{file}.rs"));
            let source = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(source.contains(&format!("fn {name}(")), "{file}.rs has no test {name}");
            seen += 1;
        }
    }
    assert!(seen > 30, "only {seen} tests are named");
}
