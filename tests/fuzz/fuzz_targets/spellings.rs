//! A rule that denies one resource holds for every spelling of it, and for no other resource: the
//! fuzzer chooses a plain path and how it is spelt. Globs match as their definition says.
#![no_main]

use ggen_mcp::access::policy::{Effect, Glob, Object, Policy, Rule, Server};
use ggen_mcp::edge::Principal;
use ggen_mcp::protocol::list_kind::ListKind;
use libfuzzer_sys::fuzz_target;

fn rule(effect: Effect, resources: Option<&str>) -> Rule {
    let globs = |text: &str| vec![Glob::new(text)];
    // Of one server, by its own URIs.
    let servers = resources.map(|_| globs("s"));
    Rule { effect, subjects: globs("*"), servers, tools: None, prompts: None, resources: resources.map(globs) }
}

fn allows(denied: &str, uri: &str) -> bool {
    let rules = vec![rule(Effect::Allow, None), rule(Effect::Deny, Some(denied))];
    let principal = Principal { id: "a".into(), labels: [].into() };
    let server = Server { name: "s", key: "s" };
    let exposed = format!("s+{uri}");
    let object = Object { server, kind: ListKind::Resources, exposed: &exposed, original: uri, core: false };
    Policy::new(rules).access(&principal).is_some_and(|access| access.allows(&object))
}

/// The definition of a glob, by trying everything.
fn reference(pattern: &[char], text: &[char]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        (['*', rest @ ..], _) => (0..=text.len()).any(|at| reference(rest, &text[at..])),
        (['?', rest @ ..], [_, others @ ..]) => reference(rest, others),
        ([want, rest @ ..], [have, others @ ..]) => want == have && reference(rest, others),
        _ => false,
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((length, rest)) = data.split_first() else { return };
    let (path, how) = rest.split_at(rest.len().min(usize::from(*length % 32)));
    let path: String = path.iter().map(|byte| char::from(b"abcdefghij/klmno"[usize::from(byte % 16)])).collect();
    let path = path.split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
    let plain = format!("test://host/{path}");
    let mut how = how.iter().copied().chain(std::iter::repeat(0));
    let mut spelt = String::new();
    for (at, character) in plain.chars().enumerate() {
        match (how.next().unwrap_or(0) % 8, character) {
            // A scheme has no escapes.
            (1, _) if at >= 7 => spelt.push_str(&format!("%{:02x}", u32::from(character))),
            (2, _) if at >= 7 => spelt.push_str(&format!("%25{:02X}", u32::from(character))),
            (3, '/') if at > 8 => spelt.push_str("//"),
            (4, '/') => spelt.push('\\'),
            (5, _) if at < 11 => spelt.push(character.to_ascii_uppercase()),
            (6, _) => spelt.extend(['\t', character]),
            _ => spelt.push(character),
        }
    }
    assert!(!allows(&plain, &spelt), "{plain} is denied, and not as {spelt:?}");
    assert!(allows(&plain, &format!("{plain}z")), "{plain}");
    let text: Vec<char> = plain.chars().skip(12).take(12).collect();
    let pattern: Vec<char> = how.by_ref().take(8).map(|byte| [ '*', '?', 'a', 'b', 'c', 'd', '/', 'e' ][usize::from(byte % 8)]).collect();
    let (whole, glob): (String, String) = (text.iter().collect(), pattern.iter().collect());
    assert_eq!(Glob::new(&glob).matches(&whole), reference(&pattern, &text), "{glob} {whole}");
});
