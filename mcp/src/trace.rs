//! The trace context of a client's request: W3C Trace Context level 1 (<https://www.w3.org/TR/trace-context-1/>) and W3C Baggage
//! (<https://www.w3.org/TR/baggage/>), in HTTP headers and in `_meta` (MCP 2026-07-28, basic, "OpenTelemetry trace context"). The relay takes no part in
//! a trace and makes no spans: what is valid is passed on as it came, what is not is dropped. Pure.

use crate::json;
use crate::splice::{self, Splice};
use std::fmt;

const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";
const BAGGAGE: &str = "baggage";
const NAMES: [&str; 3] = [PARENT, STATE, BAGGAGE];
/// Longest `traceparent` in bytes: version 00 has 55; later ones may append.
const LONGEST_PARENT: usize = 128;
/// Longest `tracestate` in bytes; the recommendation wants at least 512 to be passed on.
const LONGEST_STATE: usize = 2048;
/// Most members of a `tracestate` (3.3.1).
const STATES: usize = 32;
/// Longest `baggage` in bytes, and most members of it; the recommendation wants at least these to be passed on.
const LONGEST_BAGGAGE: usize = 8192;
const BAGGAGES: usize = 180;

/// A header as the edge passes it on: its name in lower case, its value as it came.
type Header = (Box<str>, Box<[u8]>);

/// The identity of a trace; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(pub u128);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What one carrier brought, as far as it is valid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Carried {
    parent: Option<(Box<str>, TraceId, bool)>,
    state: Option<Box<str>>,
    baggage: Option<Box<str>>,
}

impl Carried {
    fn new(parent: Option<&str>, state: Option<&str>, baggage: Option<&str>) -> Self {
        let parent = parent.and_then(|text| parse_parent(text).map(|(id, sampled)| (text.into(), id, sampled)));
        // Without a valid parent the state belongs to nothing (level 1, 3.3).
        let state = state.filter(|text| parent.is_some() && is_state(text)).map(Into::into);
        Self { parent, state, baggage: baggage.filter(|text| is_baggage(text)).map(Into::into) }
    }

    fn values(&self) -> [(&'static str, Option<&str>); 3] {
        [(PARENT, self.parent.as_ref().map(|(text, ..)| &**text)), (STATE, self.state.as_deref()), (BAGGAGE, self.baggage.as_deref())]
    }

    /// What `other` has and this carrier lacks. Parent and state go together.
    fn lacks<'a>(&self, other: &'a Self) -> impl Iterator<Item = (&'static str, &'a str)> {
        let lacked = [self.parent.is_none(), self.parent.is_none(), self.baggage.is_none()];
        other.values().into_iter().zip(lacked).filter_map(|((name, value), lacked)| Some((name, value.filter(|_| lacked)?)))
    }
}

/// The trace context of a request. Headers and `_meta` are carriers of their own: each keeps what it brought, and gets what only the other one has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    headers: Carried,
    meta: Carried,
    /// Members of `_meta` that are not valid.
    unfit: Vec<&'static str>,
}

impl Trace {
    /// Reads a request's headers and its `_meta`; `None` if neither says anything of a trace.
    #[must_use]
    pub fn read(headers: &[Header], meta: Option<&str>) -> Option<Self> {
        let headers = if headers.iter().any(|(name, _)| NAMES.contains(&&**name)) {
            // Two parents are none; the others may be split over several fields.
            let parent = joined(headers, PARENT);
            Carried::new(parent.as_deref().map(str::trim), joined(headers, STATE).as_deref(), joined(headers, BAGGAGE).as_deref())
        } else {
            Carried::default()
        };
        // Names may be written with escapes.
        let named = |text: &str| text.contains("trace") || text.contains(BAGGAGE) || text.contains('\\');
        let (meta, unfit) = meta.filter(|meta| named(meta)).map(in_meta).unwrap_or_default();
        (headers != Carried::default() || meta != Carried::default() || !unfit.is_empty()).then_some(Self { headers, meta, unfit })
    }

    /// The trace that the request belongs to.
    #[must_use]
    pub fn id(&self) -> Option<TraceId> {
        self.parent().map(|(_, id, _)| *id)
    }

    /// The same, if its beginner has it recorded: then somebody who follows the id finds something.
    #[must_use]
    pub fn sampled(&self) -> Option<TraceId> {
        self.parent().filter(|(.., sampled)| *sampled).map(|(_, id, _)| *id)
    }

    fn parent(&self) -> Option<&(Box<str>, TraceId, bool)> {
        self.meta.parent.as_ref().or(self.headers.parent.as_ref())
    }

    /// The headers for an HTTP server.
    pub fn headers(&self) -> impl Iterator<Item = (String, String)> {
        let own = self.headers.values().into_iter().filter_map(|(name, value)| Some((name, value?)));
        own.chain(self.headers.lacks(&self.meta)).map(|(name, value)| (name.to_owned(), value.to_owned()))
    }

    /// A request's text with the trace context in its `params._meta`: members that are not valid are gone, what only the headers said is there. Nothing
    /// else changes; `None` if nothing does, as for requests without `params`.
    #[must_use]
    pub fn in_params(&self, text: &str) -> Option<String> {
        let added: Vec<_> = self.meta.lacks(&self.headers).map(|(name, value)| (name, json::quote(value))).collect();
        let [params] = json::pick(text, ["params"])?;
        let params = params.filter(|params| params.starts_with('{'))?;
        let [meta] = json::pick(params, ["_meta"])?;
        let mut splice = Splice::new(text);
        let members = added.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect::<Vec<_>>().join(",");
        match meta {
            Some(meta) if !meta.starts_with('{') => return None,
            Some(meta) if !self.unfit.is_empty() => {
                let added: Vec<_> = added.iter().map(|(name, value)| (*name, value.as_str())).collect();
                splice.replace(meta, splice::rebuild(meta, |name| !self.unfit.contains(&name), &added));
            }
            _ if added.is_empty() => return None,
            Some(meta) => splice.insert(meta, &members),
            None => splice.insert(params, &format!("\"_meta\":{{{members}}}")),
        }
        Some(splice.finish_text())
    }
}

/// What `_meta` carries, and the names of what it carries in vain.
fn in_meta(meta: &str) -> (Carried, Vec<&'static str>) {
    // Of what came twice, nobody knows which one holds.
    let raw = NAMES.map(|name| json::pick(meta, [name]).map_or((true, None), |[value]| (value.is_some(), value)));
    let [parent, state, baggage] = raw.map(|(_, value)| value.and_then(json::string));
    let carried = Carried::new(parent.as_deref(), state.as_deref(), baggage.as_deref());
    let unfit = carried.values().into_iter().zip(raw).filter(|((_, value), (came, _))| *came && value.is_none());
    let unfit = unfit.map(|((name, _), _)| name).collect();
    (carried, unfit)
}

/// The values of a header that may be split over several fields, as one.
fn joined(headers: &[Header], name: &str) -> Option<String> {
    let values = headers.iter().filter(|(key, _)| &**key == name);
    let texts = values.map(|(_, value)| std::str::from_utf8(value)).collect::<Result<Vec<_>, _>>().ok()?;
    (!texts.is_empty()).then(|| texts.join(","))
}

/// `version-traceid-parentid-flags` (level 1, 3.2): the trace, and whether it is sampled.
fn parse_parent(text: &str) -> Option<(TraceId, bool)> {
    let known = text.get(..55).filter(|_| text.len() <= LONGEST_PARENT)?;
    let mut parts = known.split('-');
    let mut hex = |length: usize| {
        let part = parts.next().filter(|part| part.len() == length)?;
        let lower = part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        u128::from_str_radix(part, 16).ok().filter(|_| lower)
    };
    let (version, id, parent, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
    let rest = &text[55..];
    let whole = if version == 0 { rest.is_empty() } else { rest.is_empty() || rest.starts_with('-') };
    let visible = rest.bytes().all(|byte| byte.is_ascii_graphic());
    (version != 0xff && id != 0 && parent != 0 && whole && visible).then_some((TraceId(id), flags & 1 == 1))
}

/// `key=value,…` (level 1, 3.3.1).
fn is_state(text: &str) -> bool {
    let mut seen: Vec<&str> = Vec::new();
    if text.is_empty() || text.len() > LONGEST_STATE {
        return false;
    }
    for member in text.split(',').map(|member| member.trim_matches([' ', '\t'])) {
        if member.is_empty() {
            continue;
        }
        let Some((key, value)) = member.split_once('=') else { return false };
        let printable = value.bytes().all(|byte| matches!(byte, 0x20..=0x7e) && byte != b'=');
        if !is_state_key(key) || value.is_empty() || value.len() > 256 || !printable || seen.contains(&key) {
            return false;
        }
        seen.push(key);
    }
    (1..=STATES).contains(&seen.len())
}

fn is_state_key(key: &str) -> bool {
    let others = |part: &str| part.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/'));
    let lower = |part: &str| part.starts_with(|c: char| c.is_ascii_lowercase());
    let simple = |part: &str, longest: usize| part.len() <= longest && lower(part) && others(part);
    match key.split_once('@') {
        None => simple(key, 256),
        Some((tenant, system)) => {
            let digit = tenant.starts_with(|c: char| c.is_ascii_digit());
            tenant.len() <= 241 && (digit || lower(tenant)) && others(tenant) && simple(system, 14)
        }
    }
}

/// `key=value;property,…` (Baggage, 3.3.1).
fn is_baggage(text: &str) -> bool {
    let token =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
    let octets = |part: &str| part.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\'));
    let blank = [' ', '\t'];
    let pair =
        |part: &str| part.split_once('=').is_some_and(|(key, value)| token(key.trim_matches(blank)) && octets(value.trim_matches(blank)));
    let member = |text: &str| {
        let mut parts = text.split(';');
        parts.next().is_some_and(pair) && parts.all(|property| pair(property) || token(property.trim_matches(blank)))
    };
    text.len() <= LONGEST_BAGGAGE && text.split(',').count() <= BAGGAGES && text.split(',').all(member)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn parents_are_judged_as_level_1_says() {
        let id = TraceId(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!(parse_parent(GOOD), Some((id, true)));
        assert_eq!(id.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(parse_parent(&GOOD.replace("-01", "-fe")), Some((id, false)));
        assert_eq!(parse_parent(&format!("cc{}-what-the-future-holds", &GOOD[2..])), Some((id, true)));
        let zeros = |at: std::ops::Range<usize>| format!("{}{}{}", &GOOD[..at.start], "0".repeat(at.len()), &GOOD[at.end..]);
        let long = format!("cc{}-{}", &GOOD[2..], "x".repeat(80));
        for bad in [
            "",
            "00",
            &GOOD[..54],
            &GOOD.to_uppercase(),
            &format!("ff{}", &GOOD[2..]),
            &format!("{GOOD}-more"),
            &format!("cc{}.more", &GOOD[2..]),
            &long,
            &zeros(3..35),
            &zeros(36..52),
            &GOOD.replace('-', "_"),
            &GOOD.replace("0af", "+af"),
            &format!("{}é", &GOOD[..54]),
        ] {
            assert_eq!(parse_parent(bad), None, "{bad}");
        }
    }

    #[test]
    fn states_and_baggage_are_judged_by_their_grammars() {
        let many = |count: usize| (0..count).map(|at| format!("k{at}=v")).collect::<Vec<_>>().join(",");
        for good in ["congo=t61rcWkgMzE", "rojo=00f067aa0ba902b7,congo=t61 \t, fw529a3039@dt=\"x;y\\z\"", "a=1,,b=2", "0t@s=1", &many(32)] {
            assert!(is_state(good), "{good}");
        }
        for bad in [
            "",
            ",",
            "a",
            "a=",
            "A=1",
            "1=1",
            "a=1,a=2",
            "a=x=y",
            "a=\u{7f}",
            "a@b@c=1",
            "a@0=1",
            "é=1",
            &many(33),
            &format!("a={}", "x".repeat(257)),
        ] {
            assert!(!is_state(bad), "{bad}");
        }
        for good in ["userId=alice", "a=1;p;q=2 , b = %20 ", "serverNode=DF%2028,isProduction=false", "a=", &many(180)] {
            assert!(is_baggage(good), "{good}");
        }
        for bad in ["", "a", "a=b c", "a=\"1\"", "a b=1", "a=1,", "a=é", "=1", "a=1;;", &many(181), &format!("a={}", "x".repeat(8200))] {
            assert!(!is_baggage(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_passed_on_could_break_a_header_or_a_line(text in "\\PC{0,80}|[ -~]{0,300}|[\\x00-\\x7f]{0,60}") {
            if parse_parent(&text).is_some() || is_state(&text) || is_baggage(&text) {
                prop_assert!(text.bytes().all(|byte| matches!(byte, b'\t' | 0x20..=0x7e)));
            }
        }
    }
}
