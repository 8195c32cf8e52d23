//! What rules mean, one by one and for any rules at all.

use super::*;
use proptest::prelude::*;

fn globs(list: &[&str]) -> Vec<Glob> {
    list.iter().map(|text| Glob::new(text)).collect()
}

fn rule(effect: Effect, subjects: &[&str]) -> Rule {
    Rule {
        effect,
        subjects: globs(subjects),
        servers: None,
        tools: None,
        prompts: None,
        resources: None,
    }
}

fn allow(subjects: &[&str]) -> Rule {
    rule(Effect::Allow, subjects)
}

fn deny(subjects: &[&str]) -> Rule {
    rule(Effect::Deny, subjects)
}

fn who(id: &str, labels: &[&str]) -> Principal {
    Principal {
        id: id.into(),
        labels: labels.iter().map(|label| Box::from(*label)).collect(),
    }
}

fn tool<'a>(server: &'a str, exposed: &'a str, original: &'a str) -> Object<'a> {
    Object {
        server: Server {
            name: server,
            key: server,
        },
        kind: ListKind::Tools,
        exposed,
        original,
        core: false,
    }
}

fn core(name: &str) -> Object<'_> {
    Object {
        core: true,
        ..tool(CORE, name, name)
    }
}

fn resource<'a>(exposed: &'a str, original: &'a str) -> Object<'a> {
    Object {
        kind: ListKind::Resources,
        ..tool("s", exposed, original)
    }
}

fn may(rules: &[Rule], principal: &Principal, object: &Object<'_>) -> bool {
    Policy::new(rules.to_vec())
        .access(principal)
        .is_none_or(|access| access.allows(object))
}

const GET: (&str, &str, &str) = ("github", "github__get", "get");

fn get() -> Object<'static> {
    tool(GET.0, GET.1, GET.2)
}

#[test]
fn nobody_is_restricted_who_is_not_named() {
    let mut policy = Policy::new(vec![allow(&["client:ci"])]);
    assert!(policy.access(&who("anonymous", &[])).is_none());
    assert!(
        policy.access(&who("key:1", &["client:ci"])).is_none(),
        "a rule that allows everything restricts nobody"
    );
    assert!(
        Policy::default()
            .access(&who("key:1", &["client:ci"]))
            .is_none()
    );
}

#[test]
fn who_is_named_may_do_nothing_else() {
    let rules = [Rule {
        tools: Some(globs(&["github__get"])),
        ..allow(&["client:ci", "cert:*.example"])
    }];
    for named in [
        who("key:1", &["client:ci"]),
        who("cert:a.example", &[]),
        who("x", &["cert:b.example"]),
    ] {
        assert!(may(&rules, &named, &get()));
        assert!(!may(
            &rules,
            &named,
            &tool("github", "github__delete", "delete")
        ));
        assert!(!may(&rules, &named, &resource("github+x:/a", "x:/a")));
        assert!(!may(&rules, &named, &core("doctor")));
    }
    assert!(may(
        &rules,
        &who("cert:example", &["client:cix"]),
        &tool("github", "github__delete", "delete")
    ));
}

#[test]
fn tools_are_meant_by_exposed_name_or_with_their_server() {
    let ci = who("c", &[]);
    let with = |servers: Option<&[&str]>, tools: &[&str]| {
        [Rule {
            servers: servers.map(globs),
            tools: Some(globs(tools)),
            ..allow(&["c"])
        }]
    };
    assert!(may(&with(None, &["github__*"]), &ci, &get()));
    assert!(may(&with(None, &["github/get"]), &ci, &get()));
    assert!(may(&with(None, &["*/get"]), &ci, &get()));
    assert!(may(&with(Some(&["git*"]), &["get"]), &ci, &get()));
    // A server cannot take part in a rule by giving its tool the exposed name of another server's.
    assert!(!may(
        &with(None, &["github__get"]),
        &ci,
        &tool("evil", "evil__github__get", "github__get")
    ));
    assert!(!may(
        &with(None, &["github/get"]),
        &ci,
        &tool("evil", "evil__github_get_abcdefgh", "github/get")
    ));
    assert!(!may(&with(None, &["get"]), &ci, &get()));
    assert!(!may(&with(Some(&[]), &["*"]), &ci, &get()));
    assert!(!may(&with(None, &[]), &ci, &get()));
}

#[test]
fn deny_wins_and_hides_whole_servers() {
    let rules = [
        allow(&["*"]),
        Rule {
            servers: Some(globs(&["secret"])),
            ..deny(&["*"])
        },
    ];
    let access = Policy::new(rules.to_vec())
        .access(&who("a", &[]))
        .expect("restricted");
    assert!(
        access.allows(&get())
            && access.is_whole(Server {
                name: "github",
                key: "github"
            })
    );
    assert!(!access.allows(&tool("secret", "secret__a", "a")));
    assert!(!access.sees(Server {
        name: "secret",
        key: "secret"
    }));
    assert!(access.sees(Server {
        name: "github",
        key: "github"
    }));
}

#[test]
fn built_in_tools_have_to_be_meant() {
    let not = Rule {
        servers: Some(globs(&["secret"])),
        ..deny(&["*"])
    };
    assert!(!may(
        &[allow(&["*"]), not.clone()],
        &who("a", &[]),
        &core("show-config")
    ));
    for extra in [
        Rule {
            servers: Some(globs(&["core"])),
            ..allow(&["a"])
        },
        Rule {
            tools: Some(globs(&["show-*"])),
            ..allow(&["a"])
        },
        Rule {
            servers: Some(globs(&["c*"])),
            tools: Some(globs(&["*"])),
            ..allow(&["a"])
        },
    ] {
        assert!(may(
            &[allow(&["*"]), not.clone(), extra],
            &who("a", &[]),
            &core("show-config")
        ));
    }
}

#[test]
fn a_denied_resource_is_denied_in_every_spelling() {
    let of = |effect, list: &[&str], servers: Option<&[&str]>| Rule {
        resources: Some(globs(list)),
        servers: servers.map(globs),
        ..rule(effect, &["*"])
    };
    let a = who("a", &[]);
    let denied = |uri: &str, rules: &[Rule]| {
        let mut all = vec![allow(&["*"])];
        all.extend(rules.iter().cloned());
        !may(&all, &a, &resource(&format!("s+{uri}"), uri))
    };
    let spellings = [
        "file:///secret",
        "file:///%73ecret",
        "file:///%2573ecret",
        "file:////secret",
        "file:///%2Fsecret",
        "FILE:///secret",
        "file:\\\\\\secret",
        "file:///secret/",
        "file:///secret?/x",
        "file:///secret#/x",
        "file://localhost/secret",
        "file:/secret",
        "file:///sec\nret",
        "file:///%25252525252573ecret",
        "file:///%ff/../secret",
        "file:///\u{ff53}ecret",
        "file:///%ef%bd%93ecret",
        "file:///secret?%ff",
        "file:///%73ecret?%ff",
        "file:///%c0%afsecret",
        "file:///%u0073ecret",
    ];
    for rule in [
        of(Effect::Deny, &["s+file:///secret"], None),
        of(Effect::Deny, &["file:///secret"], Some(&["s"])),
        of(Effect::Deny, &["s+FILE:///%73ecret"], None),
        of(Effect::Deny, &["s+file:///sec*t*"], None),
    ] {
        for uri in spellings {
            assert!(denied(uri, std::slice::from_ref(&rule)), "{rule:?} {uri}");
        }
        assert!(!denied("file:///public", std::slice::from_ref(&rule)));
    }
    let accent = [of(Effect::Deny, &["s+file:///caf\u{e9}"], None)];
    for uri in [
        "file:///cafe\u{301}",
        "file:///caf%C3%A9",
        "file:///cafe%cc%81",
    ] {
        assert!(denied(uri, &accent), "{uri}");
    }
    let hosts = [of(Effect::Deny, &["s+http://host/*"], None)];
    for uri in ["http://host/a", "HTTP://HOST/a", "http://u@host:80/a"] {
        assert!(denied(uri, &hosts), "{uri}");
    }
    // What is allowed is no way to something else.
    let docs = [of(Effect::Allow, &["s+file:///docs*"], None)];
    for (uri, allowed) in [
        ("file:///docs/a%20b?x=1#y", true),
        ("file:///docs%2F..%2Fsecret", false),
        ("file:///docs/%252e%252e/secret", false),
    ] {
        assert_eq!(
            may(&docs, &a, &resource(&format!("s+{uri}"), uri)),
            allowed,
            "{uri}"
        );
    }
}

#[test]
fn resources_do_not_wind_out_of_their_glob() {
    let a = who("a", &[]);
    let rules = [Rule {
        resources: Some(globs(&["s+file:///docs/*"])),
        ..allow(&["a"])
    }];
    assert!(may(
        &rules,
        &a,
        &resource("s+file:///docs/a.txt", "file:///docs/a.txt")
    ));
    for uri in [
        "file:///docs/../etc/passwd",
        "file:///docs/%2e%2E/etc",
        "file:///docs/x/..",
        "file:///docs/..%2fetc",
        "file:///docs/..\\etc",
    ] {
        assert!(
            !may(&rules, &a, &resource(&format!("s+{uri}"), uri)),
            "{uri}"
        );
    }
    let rules = [
        allow(&["a"]),
        Rule {
            resources: Some(globs(&["s+file:///private/*"])),
            ..deny(&["a"])
        },
    ];
    assert!(may(
        &rules,
        &a,
        &resource("s+file:///docs/a...b", "file:///docs/a...b")
    ));
    assert!(!may(
        &rules,
        &a,
        &resource("s+file:///docs/../private/a", "file:///docs/../private/a")
    ));
}

#[test]
fn a_key_may_be_for_certain_tools_only() {
    let key = who("key:1", &["only-tool:github__get", "only-tool:jira/*"]);
    assert!(may(&[], &key, &get()) && may(&[], &key, &tool("jira", "jira__x", "x")));
    assert!(
        !may(&[], &key, &tool("github", "github__delete", "delete"))
            && !may(&[], &key, &resource("s+a:b", "a:b"))
    );
    assert!(!may(
        &[Rule {
            tools: Some(globs(&["github__get"])),
            ..deny(&["*"])
        }],
        &key,
        &get()
    ));
    let access = Policy::default().access(&key).expect("restricted");
    let sees = |name| access.sees(Server { name, key: name });
    assert!(sees("github") && sees("jira") && !sees("other"));
}

#[test]
fn what_is_remembered_is_bounded_and_shared() {
    let mut policy = Policy::new(vec![Rule {
        tools: Some(globs(&["x"])),
        ..allow(&["*"])
    }]);
    let ids: std::collections::HashSet<u64> = (0..3 * KEPT)
        .filter_map(|n| {
            policy
                .access(&who(&n.to_string(), &[]))
                .map(|access| access.id)
        })
        .collect();
    assert_eq!(ids.len(), 1);
    for n in 0..3 * KEPT {
        policy.access(&who("key", &[&format!("only-tool:{n}")]));
    }
    assert!(policy.principals.len() <= KEPT && policy.shared.len() <= KEPT);
}

fn any_glob() -> impl Strategy<Value = Glob> {
    prop_oneof![
        "[ab*]{1,3}",
        Just("*".to_owned()),
        "[ab]__[xy*]",
        "[ab]/[xy*]"
    ]
    .prop_map(|text| Glob::new(&text))
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let list = || proptest::option::of(proptest::collection::vec(any_glob(), 0..3));
    let subjects = proptest::collection::vec(any_glob(), 0..3);
    (any::<bool>(), subjects, list(), list(), list(), list()).prop_map(
        |(deny, subjects, servers, tools, prompts, resources)| Rule {
            effect: if deny { Effect::Deny } else { Effect::Allow },
            subjects,
            servers,
            tools,
            prompts,
            resources,
        },
    )
}

proptest! {
    #[test]
    fn order_never_matters_and_a_deny_only_takes(
        rules in proptest::collection::vec(any_rule(), 0..6),
        more in any_rule(),
        (id, server, original) in ("[ab]", "[ab]", "[xy]"),
        turn in 0usize..6,
        kind in 0usize..4,
    ) {
        let (principal, exposed) = (who(&id, &[]), format!("{server}__{original}"));
        let object = Object { kind: ListKind::ALL[kind], ..tool(&server, &exposed, &original) };
        let verdict = may(&rules, &principal, &object);
        let mut turned = rules.clone();
        turned.rotate_left(turn.min(rules.len()));
        prop_assert_eq!(may(&turned, &principal, &object), verdict);
        let mut stricter = rules.clone();
        stricter.push(Rule { effect: Effect::Deny, ..more.clone() });
        prop_assert!(verdict || !may(&stricter, &principal, &object) );
        let mut wider = rules.clone();
        wider.push(Rule { effect: Effect::Allow, ..more });
        let named = rules.iter().any(|rule| rule.names(&principal));
        prop_assert!(!named || !verdict || may(&wider, &principal, &object));
    }

    #[test]
    fn what_may_be_used_has_a_server_that_is_seen(
        rules in proptest::collection::vec(any_rule(), 0..5),
        only in proptest::collection::vec("[ab]__[xy*]|[ab]/[xy*]", 0..2),
        (id, server, original) in ("[ab]", "[ab]", "[xy]"),
    ) {
        let labels: Vec<String> = only.iter().map(|text| format!("only-tool:{text}")).collect();
        let principal = who(&id, &labels.iter().map(String::as_str).collect::<Vec<_>>());
        let Some(access) = Policy::new(rules).access(&principal) else { return Ok(()) };
        let exposed = format!("{server}__{original}");
        let object = tool(&server, &exposed, &original);
        prop_assert!(!access.allows(&object) || access.sees(object.server));
        prop_assert!(!access.is_whole(object.server) || access.allows(&object));
    }
}
