//! The trace context of a client's request: W3C Trace Context level 1
//! (<https://www.w3.org/TR/trace-context-1/>) and W3C Baggage (<https://www.w3.org/TR/baggage/>),
//! in HTTP headers and in `_meta` (MCP 2026-07-28, basic, "OpenTelemetry trace context"). What is
//! valid is passed on as it came, what is not is dropped; only a relay that makes spans
//! ([`crate::trace::span`]) puts its own in the place of the parent. Pure.

pub mod span;
pub(crate) mod spans;

use crate::protocol::splice::Splice;
use crate::protocol::{json, splice};
use crate::trace::span::SpanId;
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
/// Longest `baggage` in bytes, and most members of it; the recommendation wants at least these to
/// be passed on.
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

/// Flags that mean the same to whoever is further down: sampled, and (level 2) that the trace's id
/// is random.
const KEPT_FLAGS: u8 = 0b11;
const SAMPLED: u8 = 0b01;

/// A valid `traceparent`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parent {
    text: Box<str>,
    trace: TraceId,
    span: SpanId,
    flags: u8,
}

impl Parent {
    fn new(trace: TraceId, span: SpanId, flags: u8) -> Self {
        Self {
            text: format!("00-{trace}-{span}-{flags:02x}").into(),
            trace,
            span,
            flags,
        }
    }

    const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED == SAMPLED
    }
}

/// What a request says of the span that it was sent from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The trace.
    pub trace: TraceId,
    /// The span.
    pub span: SpanId,
    /// Whether it is recorded.
    pub sampled: bool,
    /// `tracestate`
    pub state: Option<Box<str>>,
    /// The span of whoever sent the HTTP request, if that is another one.
    pub link: Option<(TraceId, SpanId)>,
}

/// What one carrier brought, as far as it is valid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Carried {
    parent: Option<Parent>,
    state: Option<Box<str>>,
    baggage: Option<Box<str>>,
}

impl Carried {
    fn new(parent: Option<&str>, state: Option<&str>, baggage: Option<&str>) -> Self {
        let parent = parent.and_then(parse_parent);
        // Without a valid parent the state belongs to nothing (level 1, 3.3).
        let state = state
            .filter(|text| parent.is_some() && is_state(text))
            .map(Into::into);
        Self {
            parent,
            state,
            baggage: baggage.filter(|text| is_baggage(text)).map(Into::into),
        }
    }

    fn values(&self) -> [(&'static str, Option<&str>); 3] {
        [
            (PARENT, self.parent.as_ref().map(|parent| &*parent.text)),
            (STATE, self.state.as_deref()),
            (BAGGAGE, self.baggage.as_deref()),
        ]
    }

    /// What `other` has and this carrier lacks. Parent and state go together.
    fn lacks<'a>(&self, other: &'a Self) -> impl Iterator<Item = (&'static str, &'a str)> {
        let lacked = [
            self.parent.is_none(),
            self.parent.is_none(),
            self.baggage.is_none(),
        ];
        other
            .values()
            .into_iter()
            .zip(lacked)
            .filter_map(|((name, value), lacked)| Some((name, value.filter(|_| lacked)?)))
    }
}

/// The trace context of a request. Headers and `_meta` are carriers of their own: each keeps what
/// it brought, and gets what only the other one has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    headers: Carried,
    meta: Carried,
    /// Members of `_meta` that are not valid, or give way to ours.
    unfit: Vec<&'static str>,
}

impl Trace {
    /// Reads a request's headers and its `_meta`; `None` if neither says anything of a trace.
    #[must_use]
    pub fn read(headers: &[Header], meta: Option<&str>) -> Option<Self> {
        let headers = if headers.iter().any(|(name, _)| NAMES.contains(&&**name)) {
            // Two parents are none; the others may be split over several fields.
            let parent = joined(headers, PARENT);
            Carried::new(
                parent.as_deref().map(str::trim),
                joined(headers, STATE).as_deref(),
                joined(headers, BAGGAGE).as_deref(),
            )
        } else {
            Carried::default()
        };
        // Names may be written with escapes.
        let named =
            |text: &str| text.contains("trace") || text.contains(BAGGAGE) || text.contains('\\');
        let (meta, unfit) = meta
            .filter(|meta| named(meta))
            .map(in_meta)
            .unwrap_or_default();
        (headers != Carried::default() || meta != Carried::default() || !unfit.is_empty())
            .then_some(Self {
                headers,
                meta,
                unfit,
            })
    }

    /// The trace that the request belongs to.
    #[must_use]
    pub fn id(&self) -> Option<TraceId> {
        self.parent().map(|parent| parent.trace)
    }

    /// The same, if its beginner has it recorded: then somebody who follows the id finds something.
    #[must_use]
    pub fn sampled(&self) -> Option<TraceId> {
        self.parent()
            .filter(|parent| parent.is_sampled())
            .map(|parent| parent.trace)
    }

    fn parent(&self) -> Option<&Parent> {
        self.meta.parent.as_ref().or(self.headers.parent.as_ref())
    }

    /// The span that the request was sent from: what the client says of its call goes before what
    /// is said of the exchange.
    #[must_use]
    pub fn origin(&self) -> Option<Origin> {
        let parent = self.parent()?;
        let state = if self.meta.parent.is_some() {
            &self.meta.state
        } else {
            &self.headers.state
        };
        let other = self
            .headers
            .parent
            .as_ref()
            .map(|other| (other.trace, other.span));
        Some(Origin {
            trace: parent.trace,
            span: parent.span,
            sampled: parent.is_sampled(),
            state: state.clone(),
            link: other.filter(|other| *other != (parent.trace, parent.span)),
        })
    }

    /// The same request sent from a span of ours in its trace: both carriers name that span, state
    /// and baggage go along.
    #[must_use]
    pub fn below(self, span: SpanId) -> Self {
        match self
            .parent()
            .map(|parent| (parent.trace, parent.flags & KEPT_FLAGS))
        {
            Some((trace, flags)) => self.sent_from(Parent::new(trace, span, flags)),
            None => self,
        }
    }

    /// The same request as the first one of a trace of ours.
    #[must_use]
    pub fn begun(self, trace: TraceId, span: SpanId, sampled: bool) -> Self {
        self.sent_from(Parent::new(trace, span, if sampled { SAMPLED } else { 0 }))
    }

    fn sent_from(mut self, parent: Parent) -> Self {
        let state = if self.meta.parent.is_some() {
            self.meta.state.take()
        } else {
            self.headers.state.take()
        };
        if self.meta.parent.take().is_some() {
            // Not that of ours: what stands in `_meta` gives way.
            self.unfit.retain(|name| *name == BAGGAGE);
            self.unfit.extend([PARENT, STATE]);
        }
        (self.meta.state, self.headers.state, self.headers.parent) = (None, state, Some(parent));
        self
    }

    /// The headers for an HTTP server.
    pub fn headers(&self) -> impl Iterator<Item = (String, String)> {
        let own = self
            .headers
            .values()
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        own.chain(self.headers.lacks(&self.meta))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
    }

    /// A request's text with the trace context in its `params._meta`: members that are not valid
    /// are gone, what only the headers said is there. Nothing else changes; `None` if nothing does,
    /// as for requests without `params`.
    #[must_use]
    pub fn in_params(&self, text: &str) -> Option<String> {
        let added: Vec<_> = self
            .meta
            .lacks(&self.headers)
            .map(|(name, value)| (name, json::quote(value)))
            .collect();
        let [params] = json::pick(text, ["params"])?;
        let params = params.filter(|params| params.starts_with('{'))?;
        let [meta] = json::pick(params, ["_meta"])?;
        let mut splice = Splice::new(text);
        let members = added
            .iter()
            .map(|(name, value)| format!("\"{name}\":{value}"))
            .collect::<Vec<_>>()
            .join(",");
        match meta {
            Some(meta) if !meta.starts_with('{') => return None,
            Some(meta) if !self.unfit.is_empty() => {
                let added: Vec<_> = added
                    .iter()
                    .map(|(name, value)| (*name, value.as_str()))
                    .collect();
                splice.replace(
                    meta,
                    splice::rebuild(meta, |name| !self.unfit.contains(&name), &added),
                );
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
    let raw = NAMES.map(|name| {
        json::pick(meta, [name]).map_or((true, None), |[value]| (value.is_some(), value))
    });
    let [parent, state, baggage] = raw.map(|(_, value)| value.and_then(json::string));
    let carried = Carried::new(parent.as_deref(), state.as_deref(), baggage.as_deref());
    let unfit = carried
        .values()
        .into_iter()
        .zip(raw)
        .filter(|((_, value), (came, _))| *came && value.is_none());
    let unfit = unfit.map(|((name, _), _)| name).collect();
    (carried, unfit)
}

/// The values of a header that may be split over several fields, as one.
fn joined(headers: &[Header], name: &str) -> Option<String> {
    let values = headers.iter().filter(|(key, _)| &**key == name);
    let texts = values
        .map(|(_, value)| std::str::from_utf8(value))
        .collect::<Result<Vec<_>, _>>()
        .ok()?;
    (!texts.is_empty()).then(|| texts.join(","))
}

/// `version-traceid-parentid-flags` (level 1, 3.2).
fn parse_parent(text: &str) -> Option<Parent> {
    let known = text.get(..55).filter(|_| text.len() <= LONGEST_PARENT)?;
    let mut parts = known.split('-');
    let mut hex = |length: usize| {
        let part = parts.next().filter(|part| part.len() == length)?;
        let lower = part
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        u128::from_str_radix(part, 16).ok().filter(|_| lower)
    };
    let (version, trace, span, flags) = (
        hex(2)?,
        TraceId(hex(32)?),
        SpanId(u64::try_from(hex(16)?).ok()?),
        u8::try_from(hex(2)?).ok()?,
    );
    let rest = &text[55..];
    let whole = if version == 0 {
        rest.is_empty()
    } else {
        rest.is_empty() || rest.starts_with('-')
    };
    let visible = rest.bytes().all(|byte| byte.is_ascii_graphic());
    (version != 0xff && trace.0 != 0 && span.0 != 0 && whole && visible).then(|| Parent {
        text: text.into(),
        trace,
        span,
        flags,
    })
}

/// `key=value,…` (level 1, 3.3.1).
fn is_state(text: &str) -> bool {
    let mut seen: Vec<&str> = Vec::new();
    if text.is_empty() || text.len() > LONGEST_STATE {
        return false;
    }
    for member in text
        .split(',')
        .map(|member| member.trim_matches([' ', '\t']))
    {
        if member.is_empty() {
            continue;
        }
        let Some((key, value)) = member.split_once('=') else {
            return false;
        };
        let printable = value
            .bytes()
            .all(|byte| matches!(byte, 0x20..=0x7e) && byte != b'=');
        if !is_state_key(key)
            || value.is_empty()
            || value.len() > 256
            || !printable
            || seen.contains(&key)
        {
            return false;
        }
        seen.push(key);
    }
    (1..=STATES).contains(&seen.len())
}

fn is_state_key(key: &str) -> bool {
    let others = |part: &str| {
        part.bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/'))
    };
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
    let token = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    let octets = |part: &str| {
        part.bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\'))
    };
    let blank = [' ', '\t'];
    let pair = |part: &str| {
        part.split_once('=').is_some_and(|(key, value)| {
            token(key.trim_matches(blank)) && octets(value.trim_matches(blank))
        })
    };
    let member = |text: &str| {
        let mut parts = text.split(';');
        parts.next().is_some_and(pair)
            && parts.all(|property| pair(property) || token(property.trim_matches(blank)))
    };
    text.len() <= LONGEST_BAGGAGE
        && text.split(',').count() <= BAGGAGES
        && text.split(',').all(member)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test fails by panicking"
    )]

    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn parents_are_judged_as_level_1_says() {
        let ids = |text: &str| {
            parse_parent(text).map(|parent| (parent.trace, parent.span, parent.is_sampled()))
        };
        let (id, span) = (
            TraceId(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c),
            SpanId(0xb7ad_6b71_6920_3331),
        );
        assert_eq!(ids(GOOD), Some((id, span, true)));
        assert_eq!(
            (id.to_string().as_str(), span.to_string().as_str()),
            (&GOOD[3..35], &GOOD[36..52])
        );
        assert_eq!(ids(&GOOD.replace("-01", "-fe")), Some((id, span, false)));
        assert_eq!(
            ids(&format!("cc{}-what-the-future-holds", &GOOD[2..])),
            Some((id, span, true))
        );
        let zeros = |at: std::ops::Range<usize>| {
            format!(
                "{}{}{}",
                &GOOD[..at.start],
                "0".repeat(at.len()),
                &GOOD[at.end..]
            )
        };
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

    const OTHER: &str = "00-ffffffffffffffffffffffffffffffff-00f067aa0ba902b7-03";

    fn headers(fields: &[(&str, &str)]) -> Vec<Header> {
        fields
            .iter()
            .map(|(name, value)| ((*name).into(), value.as_bytes().into()))
            .collect()
    }

    #[test]
    fn a_span_of_ours_takes_the_place_of_the_parent_in_both_carriers_and_the_rest_goes_along() {
        let carried = headers(&[(PARENT, OTHER), (STATE, "b=2"), (BAGGAGE, "of=header")]);
        let meta =
            format!(r#"{{"x":1.0,"traceparent":"{GOOD}","tracestate":"a=1","baggage":"of=meta"}}"#);
        let trace = Trace::read(&carried, Some(&meta)).unwrap();
        let origin = trace.origin().unwrap();
        assert_eq!(
            (
                origin.trace.to_string().as_str(),
                origin.span.to_string().as_str(),
                origin.sampled
            ),
            (&GOOD[3..35], &GOOD[36..52], true)
        );
        assert_eq!(
            (origin.state.as_deref(), origin.link),
            (
                Some("a=1"),
                Some((TraceId(u128::MAX), SpanId(0x00f0_67aa_0ba9_02b7)))
            )
        );
        let below = trace.below(SpanId(0xabc));
        let ours = format!("00-{}-0000000000000abc-01", &GOOD[3..35]);
        let sent: Vec<_> = below.headers().collect();
        let expected = [
            (PARENT, ours.as_str()),
            (STATE, "a=1"),
            (BAGGAGE, "of=header"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(sent, expected);
        let text = format!(r#"{{"id":1,"params":{{"a":1.0,"_meta":{meta}}}}}"#);
        let expected = format!(
            r#"{{"id":1,"params":{{"a":1.0,"_meta":{{"x":1.0,"baggage":"of=meta","traceparent":"{ours}","tracestate":"a=1"}}}}}}"#
        );
        assert_eq!(below.in_params(&text).unwrap(), expected);
        // Once more, for a call that is made again.
        let again = below.below(SpanId(0xdef));
        assert_eq!(
            again.in_params(&text).unwrap(),
            expected.replace("abc-01", "def-01")
        );
    }

    #[test]
    fn only_a_header_is_a_parent_too_and_its_random_id_stays_one() {
        let trace = Trace::read(&headers(&[(PARENT, OTHER), (STATE, "b=2")]), None).unwrap();
        assert_eq!(trace.origin().unwrap().link, None);
        let text = trace
            .below(SpanId(7))
            .in_params(r#"{"params":{}}"#)
            .unwrap();
        assert_eq!(
            text,
            format!(
                r#"{{"params":{{"_meta":{{"traceparent":"00-{}-0000000000000007-03","tracestate":"b=2"}}}}}}"#,
                &OTHER[3..35]
            )
        );
    }

    #[test]
    fn a_trace_of_ours_says_whether_it_is_recorded() {
        for (sampled, flags) in [(true, "01"), (false, "00")] {
            let trace = Trace::default().begun(TraceId(5), SpanId(6), sampled);
            assert_eq!(
                (trace.id(), trace.sampled()),
                (Some(TraceId(5)), sampled.then_some(TraceId(5)))
            );
            let sent: Vec<_> = trace.headers().collect();
            assert_eq!(
                sent,
                [(
                    PARENT.to_owned(),
                    format!("00-{:032x}-{:016x}-{flags}", 5, 6)
                )]
            );
        }
        // Baggage without a parent stays.
        let trace = Trace::read(&headers(&[(BAGGAGE, "a=1")]), None)
            .unwrap()
            .begun(TraceId(5), SpanId(6), true);
        assert_eq!(
            trace.headers().map(|(name, _)| name).collect::<Vec<_>>(),
            [PARENT, BAGGAGE]
        );
    }

    #[test]
    fn states_and_baggage_are_judged_by_their_grammars() {
        let many = |count: usize| {
            (0..count)
                .map(|at| format!("k{at}=v"))
                .collect::<Vec<_>>()
                .join(",")
        };
        for good in [
            "congo=t61rcWkgMzE",
            "rojo=00f067aa0ba902b7,congo=t61 \t, fw529a3039@dt=\"x;y\\z\"",
            "a=1,,b=2",
            "0t@s=1",
            &many(32),
        ] {
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
        for good in [
            "userId=alice",
            "a=1;p;q=2 , b = %20 ",
            "serverNode=DF%2028,isProduction=false",
            "a=",
            &many(180),
        ] {
            assert!(is_baggage(good), "{good}");
        }
        for bad in [
            "",
            "a",
            "a=b c",
            "a=\"1\"",
            "a b=1",
            "a=1,",
            "a=é",
            "=1",
            "a=1;;",
            &many(181),
            &format!("a={}", "x".repeat(8200)),
        ] {
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
