//! Notifications that the relay writes itself.

use crate::protocol::inbound::key;
use crate::protocol::json;
use crate::protocol::list_kind::ListKind;
use bytes::Bytes;

/// The notification of a changed list.
pub(crate) fn list_changed(kind: ListKind) -> Bytes {
    format!(
        "{{\"jsonrpc\":\"2.0\",\"method\":\"{}\"}}",
        list_changed_method(kind)
    )
    .into()
}

/// That a resource is another one now.
pub(crate) fn updated(uri: &str) -> Bytes {
    format!(
        "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/resources/updated\",\"params\":{{\"uri\":{}}}}}",
        json::quote(uri)
    )
    .into()
}

/// The method that tells of a changed list.
pub(crate) const fn list_changed_method(kind: ListKind) -> &'static str {
    match kind {
        ListKind::Tools => "notifications/tools/list_changed",
        ListKind::Prompts => "notifications/prompts/list_changed",
        ListKind::Resources | ListKind::Templates => "notifications/resources/list_changed",
    }
}

/// A message with the id of a subscription in it.
pub(crate) fn tagged(method: &str, members: &str, subscription: &str) -> Bytes {
    let comma = if members.is_empty() { "" } else { "," };
    let meta = format!("\"_meta\":{{\"{}\":{subscription}}}", key::SUBSCRIPTION);
    format!("{{\"jsonrpc\":\"2.0\",\"method\":\"{method}\",\"params\":{{{meta}{comma}{members}}}}}")
        .into()
}

/// `notifications/cancelled` for one of our requests.
pub(crate) fn cancelled(number: u64) -> Bytes {
    format!("{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{{\"requestId\":{number}}}}}").into()
}
