//! Whatever stands in the file: no panic, and a place for every problem.

use super::Host;
use crate::{
    check::Report,
    config::{HIDDEN, Secret, leaves, redacted, redacted_text},
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn key() -> impl Strategy<Value = String> {
    let known: Vec<String> = leaves()
        .iter()
        .flat_map(|leaf| leaf.split('.').map(str::to_owned))
        .chain(
            [
                "mcpServers",
                "mcp_servers",
                "auth",
                "ssl",
                "command",
                "args",
                "env",
                "url",
                "headers",
                "type",
                "cwd",
                "a",
                "timeout",
                "metadata",
            ]
            .map(str::to_owned),
        )
        .collect();
    prop_oneof![4 => prop::sample::select(known), 1 => "\\PC{0,8}"]
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|number| json!(number)),
        any::<f64>().prop_map(|number| json!(number)),
        (0_u32..70_000).prop_map(|number| json!(number)),
        "\\PC{0,12}".prop_map(Value::String),
        prop::sample::select(vec![
            "${A}",
            "${A:-${B}}",
            "${",
            "~",
            "http://127.0.0.1:3000/mcp",
            "8KB",
            "stdio",
            "http",
            "0.0.0.0"
        ])
        .prop_map(|text| json!(text)),
    ];
    leaf.prop_recursive(5, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec((key(), inner), 0..6)
                .prop_map(|members| Value::Object(Map::from_iter(members))),
        ]
    })
}

/// A whole file: most often a value under a known path, so that it gets far.
fn any_file() -> impl Strategy<Value = Value> {
    let shaped = (
        prop::sample::select(leaves().to_vec()),
        any_json(),
        any_json(),
    )
        .prop_map(|(leaf, value, entries)| {
            let mut file = leaf.rsplit('.').fold(value, |inner, key| {
                Value::Object(Map::from_iter([(key.to_owned(), inner)]))
            });
            file["mcpServers"] = json!({ "a": entries, "b": {"command": "x"} });
            file
        });
    prop_oneof![any_json(), shaped]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_json_is_judged(file in any_file(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&file) } else { serde_json::to_string(&file) }.unwrap();
        let host = Host::with(&text);
        match host.load() {
            Ok(loaded) => {
                let _ = redacted(&loaded.config);
                let sent = serde_json::to_string(&loaded.config).unwrap();
                let mut expected = loaded.config;
                // Secrets are hidden when they are written.
                let auth = &mut expected.auth;
                for secret in [&mut auth.api_key, &mut auth.jwt.secret, &mut expected.tracing.otlp.headers] {
                    *secret = secret.take().map(|_| Secret::new(HIDDEN.to_owned()));
                }
                prop_assert_eq!(serde_json::from_str::<crate::config::Config>(&sent).unwrap(), expected);
            }
            Err(problems) => {
                // What is missing stands nowhere; that it has its default is said in the place's
                // stead.
                let placed = problems.iter().all(|problem| problem.place.at.is_some() || problem.place.source == "default");
                prop_assert!(placed, "{}", host.lines(&problems));
            }
        }
    }

    #[test]
    fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let host = Host::new();
        host.write("cwd/.mcp.json", bytes);
        let _ = Report::of(&host.options).human(false);
    }

    #[test]
    fn any_cut_file_is_a_syntax_error_with_a_place(cut in 1_usize..150) {
        let text = "{\n \"version\": \"1.0\", \"server\": {\"workers\": 2},\n \"description\": \"äöü \\\" \\\\\", \"mcpServers\": {\"a\": {\"command\": \"x\", \"args\": [\"1\", \"2\"]}}}";
        let cut: String = text.chars().take(cut.min(text.chars().count() - 1)).collect();
        let host = Host::with(&cut);
        let problems = host.load().unwrap_err();
        prop_assert_eq!(problems.len(), 1);
        prop_assert!(problems[0].place.at.is_some());
    }

    #[test]
    fn any_text_can_be_redacted(text in "\\PC{0,60}", parts in prop::collection::vec(prop::sample::select(vec!["://", "@", ":", "=", "?", "&", "#", " ", "token", "ä", "{", "[", "\"", "Bearer"]), 0..12)) {
        let _ = redacted_text(&text);
        let _ = redacted_text(&parts.concat());
    }
}
