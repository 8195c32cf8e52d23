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
    for text in ["", "[]", "{\"a\": 1,,}", "{", "1", "{/}"] {
        assert_eq!(
            edit::set(text, &path("a"), "1"),
            Err(EditError::NotJson),
            "{text}"
        );
    }
}

#[test]
fn comments_and_trailing_commas_stay() {
    let text = "{\n  // first\n  \"a\": 1, // one, \"x\"\n  /* two */ \"b\": { \"c\": [1, ], }, // end\n}\n";
    set(text, "a", "2", &text.replace("\"a\": 1", "\"a\": 2"));
    set(text, "b.c", "3", &text.replace("[1, ]", "3"));
    set(
        text,
        "d.e",
        "4",
        &text.replace("// end\n", "// end\n  \"d\": {\n    \"e\": 4\n  },\n"),
    );
    set(
        text,
        "b.d",
        "5",
        &text.replace("[1, ], }", "[1, ], \"d\": 5, }"),
    );
    unset(text, "a", &text.replace("  \"a\": 1, // one", "   // one"));
    let plain = "{\n  \"a\": 1 // one, too\n}\n";
    let two = "{\n  \"a\": 1, // one, too\n  \"b\": 2\n}\n";
    set(plain, "b", "2", two);
    unset(two, "b", plain);
    unset(
        "{ \"a\": 1 /* , */, \"b\": 2 }",
        "a",
        "{ /* , */ \"b\": 2 }",
    );
}

/// A layout that people write: comments and spaces at any place, perhaps a trailing comma.
fn layout() -> impl Strategy<Value = String> {
    let note = || {
        prop::sample::select(vec![
            "",
            " ",
            "\n",
            "\n  ",
            " // ü, }\n",
            " /* \"a\": 1, */ ",
            "\r\n\t",
        ])
    };
    // A comment between a key and its value would go with them.
    let between = prop::sample::select(vec!["", " ", "\n\t"]);
    let member = (
        note(),
        between,
        note(),
        prop::sample::select(vec!["1", "[1, 2]", "{\"x\": 1}", "\"//\""]),
    );
    (
        prop::collection::vec(member, 0..5),
        any::<bool>(),
        note(),
        note(),
    )
        .prop_map(|(members, trailing, end, after)| {
            let count = members.len();
            let parts: Vec<String> = members
                .into_iter()
                .enumerate()
                .map(|(index, (before, between, behind, value))| {
                    let comma = if index + 1 < count || trailing {
                        ","
                    } else {
                        ""
                    };
                    format!("{before}\"k{index}\":{between}{value}{behind}{comma}")
                })
                .collect();
            format!("{{{}{end}}}{after}", parts.concat())
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// What is set and taken out again changes nothing else: every comment stays, and so does every
    /// other value.
    #[test]
    fn any_layout_keeps_what_was_not_asked_for(text in layout(), index in 0..6_usize, new: bool) {
        let meaning = |text: &str| -> Value {
            serde_json::from_str(&crate::config::files::jsonc::plain(text)).unwrap()
        };
        let notes = |text: &str| text.matches("// ü, }").count() + text.matches("/* \"a\": 1, */").count();
        let path = [if new { "new".to_owned() } else { format!("k{index}") }];
        let before = meaning(&text);
        let set = edit::set(&text, &path, "{\"v\": 7}").unwrap();
        let mut expected = before.clone();
        expected[&path[0]] = json!({"v": 7});
        prop_assert_eq!(meaning(&set), expected, "{}", set);
        prop_assert_eq!(notes(&set), notes(&text), "{}", set);
        let gone = edit::unset(&set, &path).unwrap().unwrap();
        let mut expected = before;
        expected.as_object_mut().unwrap().remove(&path[0]);
        prop_assert_eq!(meaning(&gone), expected, "{}", gone);
        prop_assert_eq!(notes(&gone), notes(&text), "{}", gone);
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
