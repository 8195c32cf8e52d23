//! The trace context of a request, in HTTP headers and in `_meta` (MCP 2026-07-28, basic,
//! "OpenTelemetry trace context"). Valid members are passed on as they came, others are dropped.
//! Only a relay that makes spans ([`crate::trace::span`]) puts its own in the place of the parent.

use crate::protocol::splice::Splice;
use crate::protocol::{json, splice};
use crate::trace::TraceId;
use crate::trace::span::SpanId;
use crate::trace::syntax::{
    BAGGAGE, KEPT_FLAGS, NAMES, PARENT, Parent, SAMPLED, STATE, is_baggage, is_state, parse_parent,
};

/// A header as the edge passes it on: its name in lower case, its value as it came.
pub(super) type Header = (Box<str>, Box<[u8]>);

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
