//! The session that a request names.

use crate::client::session_store;
use crate::edge::Request;
use crate::gateway::Gateway;
use crate::protocol::inbound;
use crate::protocol::method::{Legacy, SUPPORTED};
use crate::protocol::refusal::{Refusal, rpc};
use crate::upstream::view::View;
use ggen_wire::Code;
use std::sync::Arc;

impl Gateway {
    /// The session that a request names, if it is this principal's and of this view.
    pub(crate) fn session_of(
        &mut self,
        request: &Request,
        view: View,
        id: &str,
    ) -> Result<(Arc<str>, Legacy), Refusal> {
        if request
            .header("mcp-protocol-version")
            .is_some_and(|version| !SUPPORTED.contains(&version))
        {
            return Err(inbound::unsupported(
                request.header("mcp-protocol-version").unwrap_or_default(),
            ));
        }
        let now = self.cx.now;
        self.clients.recognise(&self.cx, id);
        let (key, session) = match self
            .clients
            .sessions
            .get_key_value(id)
            .filter(|_| !id.starts_with(session_store::STRANGER))
        {
            Some((key, session))
                if session.principal.id == request.principal.id && session.view == view =>
            {
                (key.clone(), session.version)
            }
            _ => {
                return Err(Refusal::new(
                    404,
                    rpc::INVALID_REQUEST,
                    Code::SessionUnknown,
                    "send initialize to begin a new one",
                ));
            }
        };
        if let Some(session) = self.clients.sessions.get_mut(id) {
            session.touch(now);
            if session.principal != request.principal {
                session.principal = request.principal.clone();
                session.access = self.access.of_principal(&request.principal);
            }
        }
        Ok((key, session))
    }
}
