//! Notes of the relay become log events. Decides nothing but their fields.

use super::Observer;
use ggen_mcp::api::Note;
use ggen_wire::log::Level;

impl Observer {
    /// Logs.
    pub(crate) fn log(&self, note: &Note) {
        let upstream = note.up.and_then(|up| self.name(up));
        let (upstream, code) = (upstream.as_deref(), note.code.map(ggen_wire::Code::as_str));
        let about = note.about.as_deref();
        let (principal, request) = (
            about.map(|about| &*about.principal),
            about.map(|about| &*about.request),
        );
        let trace_id = about
            .and_then(|about| about.trace)
            .map(|trace| trace.to_string());
        let (method, tool) = (
            about.map(|about| about.method),
            about.and_then(|about| about.tool.as_deref()),
        );
        macro_rules! emit {
            ($($category:literal),*) => {
                match note.category {
                    $($category => emit!(@ $category),)*
                    _ => emit!(@ "mcp_server"),
                }
            };
            (@ $category:literal) => {
                match note.level {
                    Level::Error => tracing::error!(target: $category, upstream, tool, method, principal, request, trace_id, code, "{}", note.text),
                    Level::Warn => tracing::warn!(target: $category, upstream, tool, method, principal, request, trace_id, code, "{}", note.text),
                    Level::Info => tracing::info!(target: $category, upstream, tool, method, principal, request, trace_id, code, "{}", note.text),
                    Level::Debug => tracing::debug!(target: $category, upstream, tool, method, principal, request, trace_id, code, "{}", note.text),
                    Level::Trace => tracing::trace!(target: $category, upstream, tool, method, principal, request, trace_id, code, "{}", note.text),
                }
            };
        }
        emit!("tools", "protocol", "transport");
    }
}
