//! The JSON Schema says what the loader does.

use super::Host;
use crate::config::{
    leaves,
    schema::{
        self,
        describe::{Kind, described, json_schema},
    },
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn with(path: &str, value: Value) -> String {
    path.rsplit('.')
        .fold(value, |inner, key| json!({ key: inner }))
        .to_string()
}

fn accepted(path: &str, value: Value) -> bool {
    // Ports of both listeners must differ, which no schema says.
    Host::with(&with(path, value)).load().is_ok()
}

#[test]
fn every_leaf_is_described_once() {
    let paths: BTreeSet<&str> = described().map(|(path, ..)| *path).collect();
    assert_eq!(paths.len(), described().count());
    assert_eq!(paths, leaves().iter().map(String::as_str).collect());
    let schema = json_schema();
    for (path, _, meaning) in described() {
        let at = format!("/properties/{}", path.replace('.', "/properties/"));
        let leaf = schema
            .pointer(&at)
            .unwrap_or_else(|| panic!("{path} is not in the schema"));
        assert_eq!(leaf["description"], *meaning);
        let default = schema::template().pointer(&format!("/{}", path.replace('.', "/")));
        assert_eq!(
            leaf.get("default"),
            default.filter(|default| !default.is_null()),
            "{path}"
        );
    }
}

#[test]
fn ranges_and_choices_are_those_of_the_loader() {
    for (path, kind, _) in described() {
        match *kind {
            Kind::Number(least, most) | Kind::Size(least, most) => {
                assert!(
                    accepted(path, json!(least)) && accepted(path, json!(most)),
                    "{path}"
                );
                assert!(!accepted(path, json!(most + 1)), "{path}");
                assert!(least == 0 || !accepted(path, json!(least - 1)), "{path}");
            }
            Kind::Choice(choices) => {
                assert!(
                    choices.iter().all(|choice| accepted(path, json!(choice))),
                    "{path}"
                );
                assert!(!accepted(path, json!("other")), "{path}");
            }
            // Known, and refused with its reason.
            Kind::Flag
                if matches!(
                    *path,
                    "transports.websocket.compression" | "auth.mtls.enabled"
                ) =>
            {
                assert!(!accepted(path, json!(true)), "{path}");
            }
            Kind::Flag if *path == "tracing.otlp.enabled" => {
                assert_eq!(accepted(path, json!(true)), cfg!(feature = "otlp"))
            }
            Kind::Share => {
                assert!(
                    [json!(0), json!(0.25), json!(1)]
                        .into_iter()
                        .all(|share| accepted(path, share)),
                    "{path}"
                );
                assert!(
                    [json!(1.01), json!(-0.1), json!("1")]
                        .into_iter()
                        .all(|share| !accepted(path, share)),
                    "{path}"
                );
            }
            Kind::Flag => assert!(
                accepted(path, json!(true)) && !accepted(path, json!("true")),
                "{path}"
            ),
            Kind::Off => assert!(
                accepted(path, json!(false)) && !accepted(path, json!(true)),
                "{path}"
            ),
            Kind::FlagOr(word) => {
                assert!(
                    accepted(path, json!(true))
                        && accepted(path, json!(word))
                        && !accepted(path, json!("true")),
                    "{path}"
                );
            }
            Kind::Host => assert!(
                accepted(path, json!("::1")) && !accepted(path, json!("example.com")),
                "{path}"
            ),
            Kind::Texts | Kind::OneOrMany => assert!(
                accepted(path, json!([])) && !accepted(path, json!([1])),
                "{path}"
            ),
            Kind::Rules => assert!(
                accepted(path, json!([])) && !accepted(path, json!([{"effect": "allow"}])),
                "{path}"
            ),
            Kind::Text => assert!(!accepted(path, json!(1)), "{path}"),
        }
    }
}

#[test]
fn sections_and_those_of_other_programs_are_known() {
    let schema = json_schema();
    for path in [
        "auth",
        "transports.http.ssl",
        "transports.quic",
        "inputs",
        "$schema",
    ] {
        let at = format!("/properties/{}", path.replace('.', "/properties/"));
        assert!(schema.pointer(&at).is_some(), "{path}");
    }
    assert_eq!(
        schema["properties"]["transports"]["additionalProperties"],
        false
    );
}
