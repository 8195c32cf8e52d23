//! Any rules, principal and name: globs end, a deny is never undone, what may be used has a server
//! that may be seen; and headers of a modern request are judged whatever they hold.
#![no_main]

use ggen_mcp::edge::{Principal, Request, Verb};
use ggen_mcp::protocol::header;
use ggen_mcp::protocol::list_kind::ListKind;
use ggen_mcp::access::policy::{Effect, Glob, Object, Policy, Rule, Server};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let effect = if next() == "deny" { Effect::Deny } else { Effect::Allow };
    let (subject, target, id, server, exposed, original) = (next(), next(), next(), next(), next(), next());
    let globs = |text: &str| text.split(',').map(Glob::new).collect::<Vec<_>>();
    let principal = Principal { id: id.into(), labels: [Box::from(original)].into() };
    let rule = |effect| Rule {
        effect,
        subjects: globs(subject),
        servers: text.contains('@').then(|| globs(server)),
        tools: Some(globs(target)),
        prompts: None,
        resources: text.contains('+').then(|| globs(target)),
    };
    for kind in ListKind::ALL {
        let object = Object { server: Server { name: server, key: server }, kind, exposed, original, core: false };
        let Some(access) = Policy::new(vec![rule(effect)]).access(&principal) else { continue };
        // Whom no rule names may do what their label does not forbid.
        let named = globs(subject).iter().any(|glob| glob.matches(id) || glob.matches(original));
        if named && access.allows(&object) {
            let both = Policy::new(vec![rule(Effect::Allow), rule(Effect::Deny)]).access(&principal);
            assert!(!both.expect("named twice").allows(&object), "a deny was undone");
        }
    }
    let value = |value: &str| value.as_bytes().into();
    let headers = vec![
        ("mcp-protocol-version".into(), value(exposed)),
        ("mcp-method".into(), value(original)),
        ("mcp-name".into(), value(target)),
    ];
    let body = bytes::Bytes::copy_from_slice(data);
    let request = Request { verb: Verb::Post, accept_json: true, accept_sse: true, view: server.into(), principal, headers, body };
    let _ = header::check(&request, id, Some(text));
});
