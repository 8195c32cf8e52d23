//! Somebody who may see every server but the last one, and looks for it all the time, whatever
//! happens to servers and relay meanwhile.

use crate::world::{World, trace};
use ggen_mcp::access::policy::{Effect, Glob, Rule};
use ggen_mcp::access::rules::Rules;
use ggen_mcp::api::{Input, StreamKey};
use ggen_mcp::edge::{Reply, Request, Verb};
use ggen_mcp::trace::span::Ratio;

/// The guest's own link.
pub const EDGE: u32 = u32::MAX;
/// The link of those who try somebody else's session.
pub const THIEF: u32 = u32::MAX - 1;
const GUEST: &str = "guest";
const MODERN: &str = "2026-07-28";

impl World {
    fn hidden(&self) -> String {
        self.servers.last().expect("a server").name.clone()
    }

    /// What hides the last server from the guest.
    pub fn hide(&mut self) {
        let rule = |effect, servers: Option<Vec<Glob>>| Rule {
            effect,
            subjects: vec![Glob::new(GUEST)],
            servers,
            tools: None,
            prompts: None,
            resources: None,
        };
        let policy = vec![
            rule(Effect::Allow, None),
            rule(Effect::Deny, Some(vec![Glob::new(&self.hidden())])),
        ];
        let spans =
            [None, Some(Ratio::new(0.5)), Some(Ratio::new(1.0))][self.rng.below(3) as usize];
        self.input(Input::Rules(Box::new(Rules {
            policy,
            spans,
            ..Rules::default()
        })));
    }

    /// A look.
    pub fn look(&mut self) {
        let hidden = self.hidden();
        let (view, method, member, name) = match self.rng.below(8) {
            0 => ("/tools", "", "", String::new()),
            1 => ("", "server/discover", "", String::new()),
            2 => ("", "tools/list", "", String::new()),
            3 => ("", "resources/list", "", String::new()),
            4 => ("", "tools/call", "name", format!("{hidden}__echo")),
            5 => (
                "",
                "resources/read",
                "uri",
                format!("{hidden}+test://{hidden}/listed"),
            ),
            6 => ("", "prompts/get", "name", format!("{hidden}__greet")),
            _ => (hidden.as_str(), "tools/list", "", String::new()),
        };
        let member = if member.is_empty() {
            String::new()
        } else {
            format!("\"{member}\":\"{name}\",")
        };
        let meta = format!(
            r#""_meta":{{"io.modelcontextprotocol/protocolVersion":"{MODERN}","io.modelcontextprotocol/clientCapabilities":{{}}}}"#
        );
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{member}{meta}}}}}"#
        );
        let headers = [
            ("mcp-protocol-version", MODERN),
            ("mcp-method", method),
            ("mcp-name", &name),
        ];
        let headers = headers.iter().filter(|(_, value)| !value.is_empty());
        let (get, asks) = (view == "/tools", !name.is_empty() || view == hidden);
        let request = Request {
            verb: if get { Verb::Get } else { Verb::Post },
            accept_json: true,
            accept_sse: false,
            view: view.into(),
            principal: GUEST.into(),
            headers: headers
                .map(|(key, value)| ((*key).into(), value.as_bytes().into()))
                .collect(),
            body: if get {
                bytes::Bytes::new()
            } else {
                body.into()
            },
        };
        // An even number asks for what is hidden by its name.
        self.looks = (self.looks + 2) & !1 | u32::from(!asks);
        let key = StreamKey {
            edge: EDGE,
            stream: self.looks,
        };
        trace(|| format!("the guest looks at {view:?} {method} {name}"));
        self.input(Input::Open(key, request));
    }

    /// Somebody has come by the id of a session, or by what is stored of it.
    pub fn steal(&mut self) {
        let victims: Vec<_> = (0..self.clients.len())
            .filter(|client| self.clients[*client].session.is_some())
            .collect();
        if victims.is_empty() {
            return;
        }
        let victim = self.rng.pick(&victims);
        let session = self.clients[victim].session.clone().unwrap_or_default();
        let view = self.clients[victim]
            .view
            .map_or_else(String::new, |up| self.servers[up].name.clone());
        // With what is stored not even its owner gets in.
        let (session, who) = match self.rng.below(3) {
            0 => (
                format!("#{}", ggen_mcp::persisted::digest(&session)),
                format!("c{victim}"),
            ),
            1 => (
                ggen_mcp::persisted::digest(&session).into(),
                format!("c{victim}"),
            ),
            _ => (session, "thief".to_owned()),
        };
        let verb = self.rng.pick(&[Verb::Post, Verb::Get, Verb::Delete]);
        let post = verb == Verb::Post;
        let request = Request {
            verb,
            accept_json: post,
            accept_sse: true,
            view: view.into(),
            principal: who.as_str().into(),
            headers: vec![("mcp-session-id".into(), session.into_bytes().into())],
            body: if post {
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#.into()
            } else {
                bytes::Bytes::new()
            },
        };
        self.next_stream += 1;
        let (key, before) = (
            StreamKey {
                edge: THIEF,
                stream: self.next_stream,
            },
            self.stats.thefts,
        );
        self.input(Input::Open(key, request));
        assert_eq!(
            self.stats.thefts,
            before + 1,
            "a stolen session is refused at once"
        );
    }

    /// What the guest got.
    pub fn seen(&mut self, key: StreamKey, reply: &Reply) {
        let Reply::Full { body, .. } = reply else {
            panic!("the guest takes JSON and got {reply:?}")
        };
        let (text, hidden) = (String::from_utf8_lossy(body), self.hidden());
        self.found += 1;
        if key.stream.is_multiple_of(2) {
            let unknown = [
                "GGEN-E3012",
                "GGEN-E3018",
                "GGEN-E3019",
                "GGEN-E3024",
                "GGEN-E3017",
            ];
            assert!(
                unknown.iter().any(|code| text.contains(code)),
                "something hidden answered: {text}"
            );
            return;
        }
        for leak in [
            // Another server may call a tool of its own so.
            format!("\"{hidden}__"),
            format!("{hidden}+"),
            format!("[{hidden}]"),
            format!("test://{hidden}/"),
        ] {
            assert!(!text.contains(&leak), "{leak} leaked: {text}");
        }
    }
}
