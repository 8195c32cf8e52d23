//! PROMISES.md and SECURITY.md name tests that exist, and nothing stands in the former without
//! being held or called not yet held.

use std::{collections::BTreeMap, fs, path::Path};

/// The rows of a part of PROMISES.md: the number of a promise, and the rest of its row.
fn numbered(part: &str) -> BTreeMap<&str, &str> {
    let row = |line| {
        let (number, rest) = str::strip_prefix(line, "| ")?.split_once(" | ")?;
        let digits = number.chars().all(|c| c.is_ascii_digit() || c == '.');
        digits.then_some((number, rest))
    };
    part.lines().filter_map(row).collect()
}

#[test]
fn every_promise_names_a_test_that_exists_or_is_called_not_yet_held() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read_to_string(root.join("PROMISES.md")).unwrap();
    let (promises, held) = text.split_once("## What holds each promise").unwrap();
    let (promised, holders) = (numbered(promises), numbered(held));
    assert!(promised.len() > 80, "only {} promises", promised.len());
    for (number, promise) in &promised {
        let holder = holders.get(number).copied().unwrap_or_default();
        assert!(
            holder.contains('`') || holder.to_lowercase().contains("not yet held"),
            "nothing holds {number}: {promise}"
        );
    }
    for number in holders.keys() {
        assert!(
            promised.contains_key(number),
            "there is no promise {number}"
        );
    }
    let (_, numbers) = promises.split_once("## Numbers").unwrap();
    for line in numbers
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| quantity"))
    {
        let command = line.trim_end_matches('|').rsplit(" | ").next().unwrap();
        assert!(
            command.contains('`') || command.contains("the same"),
            "nothing measures: {line}"
        );
    }
    assert!(tests_in(root, &text) > 100);
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
        .filter(|line| line.starts_with("| "))
        .filter(|line| {
            !["| who", "| asset", "| report"]
                .iter()
                .any(|head| line.starts_with(head))
        })
        .collect();
    assert!(rows.len() > 15, "{rows:?}");
    for row in &rows {
        assert!(row.contains(".rs::"), "nothing holds: {row}");
    }
    assert!(tests_in(root, &text) > 30);
    // What a server may try on each of these has a row.
    for asset in [
        "the daemon",
        "other servers",
        "the administrator's terminal",
        "root",
    ] {
        let named = |row: &&&str| {
            row.starts_with(&format!("| {asset}")) && row.contains("| a stdio server |")
        };
        assert!(rows.iter().any(|row| named(&row)), "{asset}");
    }
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
