//! Upstream → client: the answer to a call, or the reason why there is none.

use crate::api::{Observation, Output, UpId};
use crate::call::Calling;
use crate::in_flight::record::{Call, ClientCall, Purpose};
use crate::observation::CallOutcome;
use crate::protocol::era::EraPair;
use crate::protocol::method::Method;
use crate::protocol::refusal::{Refusal, rpc};
use crate::protocol::{json, refusal};
use crate::translation::message;
use crate::translation::message::Incoming;
use bytes::Bytes;
use ggen_wire::Code;

impl Calling<'_> {
    /// Takes a call of this upstream off the books.
    pub(crate) fn take_call(&mut self, up: UpId, number: u64) -> Option<(u64, Call)> {
        if self.calls.get(&number)?.up != up {
            return None;
        }
        let call = self.calls.remove(&number)?;
        self.settle(number, &call);
        Some((number, call))
    }

    /// What has to be forgotten with a call.
    pub(crate) fn settle(&mut self, number: u64, call: &Call) {
        let now = self.cx.now;
        let upstream = self.ups.get_mut(call.up);
        let Purpose::Client(client) = &call.purpose else {
            return;
        };
        upstream.bytes = upstream.bytes.saturating_sub(call.bytes);
        if let Some(conn) = upstream.conns.get_mut(call.conn) {
            conn.calls.remove(&number);
            conn.queue.retain(|queued| *queued != number);
            if conn.is_leased() {
                conn.used = now;
                self.leases.touch(call.up);
            }
        }
        if let Some(session) = client
            .session
            .as_ref()
            .and_then(|id| self.clients.session_mut(id))
        {
            session.calls.remove(&client.id);
        }
        self.access.leave_places(&client.held);
        if client.asked > 0 {
            self.inherit_questions(number, call);
        }
    }

    /// A result that is complete.
    pub(crate) fn deliver_result(
        &mut self,
        call: &Call,
        client: &ClientCall,
        text: &str,
        (number, result): (&str, &str),
        eras: EraPair,
    ) {
        let failed = client.method == Method::ToolsCall
            && result.contains("\"isError\"")
            && json::pick(result, ["isError"]).is_some_and(|[flag]| flag == Some("true"));
        if failed && client.modern && client.lacked.is_some() {
            return self.lacked(call, client);
        }
        let upstream = self.ups.get(call.up);
        let body = message::result(
            &Incoming {
                text,
                number,
                id: &client.id,
                eras,
                method: client.method,
                server: upstream.info.server.as_deref(),
                exposes: client.exposes.then_some(upstream.key.as_str()),
                version: client.revision,
            },
            result,
        );
        self.deliver(
            call,
            client,
            200,
            body,
            if failed {
                CallOutcome::ToolError
            } else {
                CallOutcome::Ok
            },
        );
    }

    /// The server has refused a call: what the call was to begin is not there.
    pub(crate) fn refused(&mut self, call: &Call, client: &ClientCall) {
        self.unsubscribed(call, client);
        if client.method == Method::TaskResult
            && let Some(name) = &client.known
        {
            self.tasks.over(self.leases, name);
        }
    }

    /// An error of the server, for the client.
    pub(crate) fn client_error(
        &mut self,
        call: &Call,
        client: &ClientCall,
        text: &str,
        (number, error): (&str, &str),
        eras: EraPair,
    ) {
        let [code, message, data] =
            json::pick(error, ["code", "message", "data"]).unwrap_or_default();
        let number_code = code
            .and_then(|raw| raw.parse::<i64>().ok())
            .unwrap_or(rpc::INTERNAL);
        let uri = data
            .and_then(|data| json::pick(data, ["uri"]))
            .and_then(|[uri]| uri);
        let mapped = message::error_code(client.method, number_code, uri.is_some(), eras);
        let status = if client.modern {
            refusal::modern_status(mapped)
        } else {
            200
        };
        // A modern client is told which resource there is not (2026-07-28, Resources, "Errors").
        let lacks_uri = eras == EraPair::MODERN_TO_LEGACY
            && client.method == Method::ResourcesRead
            && mapped == rpc::INVALID_PARAMS
            && uri.is_none();
        let body = if mapped == number_code && !lacks_uri {
            let mut splice = crate::protocol::splice::Splice::new(text);
            splice.replace(number, client.id.to_string());
            splice.finish()
        } else {
            let mut error = format!(
                "{{\"code\":{mapped},\"message\":{}",
                message.unwrap_or("\"\"")
            );
            match (data, uri, &client.uri) {
                (_, None, Some(asked)) if mapped == rpc::INVALID_PARAMS => {
                    error.push_str(&format!(",\"data\":{{\"uri\":{}}}", json::quote(asked)))
                }
                (Some(data), ..) => error.push_str(&format!(",\"data\":{data}")),
                _ => {}
            }
            error.push('}');
            json::one_line(refusal::error_message(Some(&client.id), &error))
        };
        self.deliver(call, client, status, body, CallOutcome::Error);
    }

    /// A call failed for want of a capability that its modern client did not declare.
    pub(crate) fn lacked(&mut self, call: &Call, client: &ClientCall) {
        let needed = client.lacked.unwrap_or("{}");
        let names: Vec<_> = json::members(needed)
            .unwrap_or_default()
            .into_iter()
            .map(|(name, _)| name.into_owned())
            .collect();
        let detail = format!(
            "{} asked for {}",
            self.ups.get(call.up).settings.name,
            names.join(", ")
        );
        let refusal = Refusal::new(
            400,
            rpc::MISSING_CAPABILITY,
            Code::InputUnsupported,
            &detail,
        )
        .with("requiredCapabilities", needed);
        self.give_up(call, client, &refusal, CallOutcome::Error);
    }

    /// Answers a client's call with an error of ours.
    pub(crate) fn give_up(
        &mut self,
        call: &Call,
        client: &ClientCall,
        refusal: &Refusal,
        outcome: CallOutcome,
    ) {
        self.unsubscribed(call, client);
        call.note_failure(self.cx, client, refusal);
        let status = if client.modern { refusal.status } else { 200 };
        self.deliver(
            call,
            client,
            status,
            refusal.body(Some(&client.id)),
            outcome,
        );
    }

    /// A subscription that the server refused is none.
    fn unsubscribed(&mut self, call: &Call, client: &ClientCall) {
        let (Method::Subscribe, Some(uri), Some(session)) =
            (client.method, &client.uri, &client.session)
        else {
            return;
        };
        if self
            .clients
            .session_mut(session)
            .is_some_and(|session| session.subscriptions.remove(uri))
        {
            let original = if client.exposes {
                crate::protocol::name::original_uri(uri).map(|(_, original)| original)
            } else {
                Some(uri.to_string())
            };
            self.ups
                .remove_subscriber(call.up, &original.unwrap_or_default().into());
            self.clients
                .keep_session(self.cx, self.spans, |up| self.ups.name(up), session, None);
        }
    }

    /// Sends the answer and counts it.
    pub(crate) fn deliver(
        &mut self,
        call: &Call,
        client: &ClientCall,
        status: u16,
        body: Bytes,
        outcome: CallOutcome,
    ) {
        self.cx.emit(Output::Observe(Observation::Call {
            up: call.up,
            tool: client.tool.clone(),
            outcome,
            duration: self.cx.now.saturating_sub(call.began),
        }));
        client.audit(self.cx, call.up, outcome, body.len());
        self.spans
            .end_call(self.cx, client.sent.as_deref(), outcome, &body);
        if let Some(id) = client.pending_input() {
            return self.pending_over(id, client, status, body, outcome.of_request());
        }
        self.observe_answer(
            client.method,
            client.modern,
            outcome.of_request(),
            client.arrived,
            client.sampled(),
        );
        self.spans
            .end(self.cx, client.span.clone(), outcome.of_request(), &body);
        self.clients.answer(self.cx, client.key, status, body);
    }
}
