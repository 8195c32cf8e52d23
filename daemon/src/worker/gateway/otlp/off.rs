//! Stands in for the exporter where the cargo feature `otlp` is off: there are no spans, because
//! the configuration cannot ask for them.

use super::{metrics::Observer, upstreams::streamable_http::Clients};
use crate::ipc::messages::Start;
use ggen_mcp::api::Micros;
use ggen_mcp::trace::span::Span;
use prometheus::IntCounterVec;
use std::sync::Arc;

/// Nothing.
pub(super) struct Otlp;

impl Otlp {
    pub(super) const fn new(_: &IntCounterVec) -> Self {
        Self
    }

    #[allow(clippy::unused_self, reason = "the form of what it stands for")]
    pub(super) const fn set(&mut self, _: &Start, _: &Arc<Clients>) {}

    #[allow(clippy::unused_self, reason = "the form of what it stands for")]
    pub(super) const fn take(&mut self, _: &Span, _: Micros, _: &Observer, _: &[Arc<str>]) {}

    #[allow(clippy::unused_self, reason = "the form of what it stands for")]
    pub(super) async fn finish(&mut self) {}
}
