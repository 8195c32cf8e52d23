//! Changes of text: nothing but the value changes, whatever the layout.

use crate::config::files::edit::{self, EditError};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn path(text: &str) -> Vec<String> {
    text.split('.').map(str::to_owned).collect()
}

#[track_caller]
fn set(text: &str, key: &str, value: &str, expected: &str) {
    assert_eq!(edit::set(text, &path(key), value).unwrap(), expected);
}

#[track_caller]
fn unset(text: &str, key: &str, expected: &str) {
    assert_eq!(edit::unset(text, &path(key)).unwrap().unwrap(), expected);
}

#[test]
fn a_value_is_replaced_in_its_place() {
    set(
        "{ \"b\" : 1 ,\n\t\"a\":{\"c\" :[1, 2]}}\n",
        "a.c",
        "true",
        "{ \"b\" : 1 ,\n\t\"a\":{\"c\" :true}}\n",
    );
    set(
        "{\"a\": \"}\\\"\", \"b\": 1}",
        "b",
        "2",
        "{\"a\": \"}\\\"\", \"b\": 2}",
    );
    set("\u{feff}{\"a\": 1}", "a", "2", "\u{feff}{\"a\": 2}");
    set(r#"{"\u0061": 1}"#, "a", "2", r#"{"\u0061": 2}"#);
}

#[test]
fn a_new_member_looks_like_its_neighbours() {
    set("{}", "a.b", "1", r#"{"a": { "b": 1 }}"#);
    set("{}\n", "a.b", "1", "{\n  \"a\": {\n    \"b\": 1\n  }\n}\n");
    set(
        "{\n\t\"a\": 1\n}",
        "b.c",
        "2",
        "{\n\t\"a\": 1,\n\t\"b\": {\n\t\t\"c\": 2\n\t}\n}",
    );
    set(
        "{\r\n    \"a\": {}\r\n}",
        "a.b",
        "2",
        "{\r\n    \"a\": {\r\n        \"b\": 2\r\n    }\r\n}",
    );
    set(
        "{\n  \"a\": { \"b\": 1 }\n}",
        "a.c",
        "2",
        "{\n  \"a\": { \"b\": 1, \"c\": 2 }\n}",
    );
    set(
        "{\n  \"a\": {\n  }\n}",
        "a.c",
        "2",
        "{\n  \"a\": {\n    \"c\": 2\n  }\n}",
    );
}

#[test]
fn a_member_goes_with_its_comma() {
    let lines = "{\n  \"a\": 1,\n  \"b\": 2,\n  \"c\": 3\n}\n";
    unset(lines, "a", "{\n  \"b\": 2,\n  \"c\": 3\n}\n");
    unset(lines, "b", "{\n  \"a\": 1,\n  \"c\": 3\n}\n");
    unset(lines, "c", "{\n  \"a\": 1,\n  \"b\": 2\n}\n");
    unset("{\"a\": {\n \"b\": 1\n}}", "a.b", "{\"a\": {}}");
    assert_eq!(edit::unset(lines, &path("d")), Ok(None));
    assert_eq!(edit::unset(lines, &path("a.b")), Ok(None));
}

#[test]
fn what_cannot_be_changed_is_said() {
    assert_eq!(
        edit::set("{\"a\": 1}", &path("a.b.c"), "1"),
        Err(EditError::NotAnObject(1))
    );
    for text in ["", "[]", "{\"a\": 1,}", "{", "1"] {
        assert_eq!(
            edit::set(text, &path("a"), "1"),
            Err(EditError::NotJson),
            "{text}"
        );
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        ".{0,6}".prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-d\"\\\\]", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn object() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-d\"\\\\]", value(), 0..4)
        .prop_map(|members| Value::Object(members.into_iter().collect()))
}

/// What the change means, without any text.
fn model(whole: &mut Value, path: &[String], new: Value) -> bool {
    let Some((key, below)) = path.split_first() else {
        *whole = new;
        return true;
    };
    let Value::Object(members) = whole else {
        return false;
    };
    if below.is_empty() {
        members.insert(key.clone(), new);
        return true;
    }
    model(
        members
            .entry(key.clone())
            .or_insert_with(|| Value::Object(Map::new())),
        below,
        new,
    )
}

proptest! {
    #[test]
    fn the_text_means_what_was_asked_for(whole in object(), path in prop::collection::vec("[a-d\"\\\\]", 1..4), new in value(), pretty: bool) {
        let text = if pretty { format!("{whole:#}") } else { whole.to_string() };
        let mut expected = whole.clone();
        let possible = model(&mut expected, &path, new.clone());
        match edit::set(&text, &path, &new.to_string()) {
            Ok(changed) => {
                prop_assert!(possible);
                prop_assert_eq!(serde_json::from_str::<Value>(&changed).unwrap(), expected);
                let new = new.to_string();
                prop_assert_eq!(edit::raw(&changed, &path), Some(new.as_str()));
                let gone = edit::unset(&changed, &path).unwrap().unwrap();
                let gone: Value = serde_json::from_str(&gone).unwrap();
                prop_assert!(path.iter().try_fold(&gone, |inside, key| inside.get(key)).is_none());
            }
            Err(error) => prop_assert!(!possible && matches!(error, EditError::NotAnObject(_)), "{}", error),
        }
    }
}

#[test]
fn one_line_files_stay_in_one_line() {
    let changed = edit::set(&json!({"b": 1}).to_string(), &path("a.c"), "[1]").unwrap();
    assert_eq!(changed, r#"{"b":1, "a": { "c": [1] }}"#);
}
