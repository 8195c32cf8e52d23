//! PROMISES.md and SECURITY.md name tests that exist, and nothing stands in the former without
//! being held or called not yet held.

use std::{fs, path::Path};

#[test]
fn every_promise_names_a_test_that_exists_or_is_called_not_yet_held() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read_to_string(root.join("PROMISES.md")).unwrap();
    let mut seen = 0;
    for line in text.lines().filter(|line| {
        line.starts_with("| ") && !line.starts_with("| promise") && !line.starts_with("| quantity")
    }) {
        let last = line.trim_end_matches('|').rsplit(" | ").next().unwrap();
        assert!(
            last.contains('`')
                || last.to_lowercase().contains("not yet held")
                || last.contains("the same"),
            "nothing holds: {line}"
        );
        seen += tests_in(root, last);
    }
    assert!(seen > 30, "only {seen} tests are named");
}

#[test]
fn every_claim_about_security_names_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let model = text
        .split("## Threat model")
        .nth(1)
        .unwrap()
        .split("**Not protected")
        .next()
        .unwrap();
    let rows: Vec<_> = model
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| who"))
        .collect();
    assert!(rows.len() > 15, "{rows:?}");
    for row in rows {
        assert!(row.contains(".rs::"), "nothing holds: {row}");
    }
    assert!(tests_in(root, &text) > 30);
}

/// Looks for every test that a text names; how many there are.
fn tests_in(root: &Path, text: &str) -> usize {
    let named: Vec<_> = text
        .split('`')
        .filter_map(|word| word.split_once(".rs::"))
        .collect();
    for (file, name) in &named {
        let path = root.join(format!("{file}.rs"));
        let source =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(
            source.contains(&format!("fn {name}(")),
            "{file}.rs has no test {name}"
        );
    }
    named.len()
}
