//! The grammars of `traceparent`, `tracestate` and `baggage`: W3C Trace Context level 1
//! (<https://www.w3.org/TR/trace-context-1/>) and W3C Baggage (<https://www.w3.org/TR/baggage/>).
//! Text in, a verdict out.

use crate::trace::TraceId;
use crate::trace::span::SpanId;

pub(super) const PARENT: &str = "traceparent";
pub(super) const STATE: &str = "tracestate";
pub(super) const BAGGAGE: &str = "baggage";
pub(super) const NAMES: [&str; 3] = [PARENT, STATE, BAGGAGE];
/// Longest `traceparent` in bytes: version 00 has 55; later ones may append.
const LONGEST_PARENT: usize = 128;
/// Longest `tracestate` in bytes; the recommendation wants at least 512 to be passed on.
const LONGEST_STATE: usize = 2048;
/// Most members of a `tracestate` (3.3.1).
pub(super) const STATES: usize = 32;
/// Longest `baggage` in bytes, and most members of it; the recommendation wants at least these to
/// be passed on.
const LONGEST_BAGGAGE: usize = 8192;
pub(super) const BAGGAGES: usize = 180;

/// Flags that mean the same to whoever is further down: sampled, and (level 2) that the trace's id
/// is random.
pub(super) const KEPT_FLAGS: u8 = 0b11;
pub(super) const SAMPLED: u8 = 0b01;

/// A valid `traceparent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parent {
    pub(super) text: Box<str>,
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    pub(super) flags: u8,
}

impl Parent {
    pub(super) fn new(trace: TraceId, span: SpanId, flags: u8) -> Self {
        Self {
            text: format!("00-{trace}-{span}-{flags:02x}").into(),
            trace,
            span,
            flags,
        }
    }

    pub(super) const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED == SAMPLED
    }
}

/// `version-traceid-parentid-flags` (level 1, 3.2).
pub(super) fn parse_parent(text: &str) -> Option<Parent> {
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
pub(super) fn is_state(text: &str) -> bool {
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
pub(super) fn is_baggage(text: &str) -> bool {
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
