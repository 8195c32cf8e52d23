//! Responses of upstreams: which room each of them concerns, by the purpose of the request.

use crate::api::UpId;
use crate::gateway::Gateway;
use crate::in_flight::record::{Call, ClientCall, Purpose};
use crate::observation::{CallOutcome, DropReason};
use crate::protocol::era::EraPair;
use crate::protocol::json::{Envelope, Kind};
use crate::protocol::method::Method;
use crate::protocol::refusal::{Refusal, rpc};
use crate::protocol::{json, refusal};
use ggen_wire::Code;

impl Gateway {
    /// A response of an upstream.
    pub(crate) fn response(&mut self, up: UpId, conn: usize, envelope: &Envelope<'_>) {
        let id = match envelope.kind {
            Kind::Result(id, _) | Kind::Error(Some(id), _) => id.parse::<u64>().ok(),
            _ => None,
        };
        // An answer counts on the connection that the request went out on, and on no other one.
        let number =
            id.filter(|number| self.calls.get(number).is_some_and(|call| call.conn == conn));
        if let (Some(number), Kind::Error(_, error)) = (number, &envelope.kind)
            && self.connecting().is_mismatch(up, number, error)
        {
            return;
        }
        if number.is_some_and(|number| self.bridging().goes_on(up, number, &envelope.kind)) {
            return;
        }
        let Some((number, call)) = number.and_then(|number| self.calling().take_call(up, number))
        else {
            if let Some(late) = id {
                self.calling().late_answer(up, conn, late);
            }
            return self.cx.dropped(Some(up), DropReason::LateResponse);
        };
        match call.purpose {
            Purpose::Client(_) => self.client_response(number, call, envelope),
            Purpose::Discover => self.connecting().discovered(up, envelope),
            Purpose::Initialize => {
                self.connecting()
                    .initialized(up, call.conn, call.session, envelope)
            }
            Purpose::List(kind) if call.conn > 0 => {
                self.connecting().child_listed((up, conn), kind, envelope)
            }
            Purpose::List(kind) => self.connecting().listed(up, kind, envelope),
            Purpose::Listen => self.connecting().listen_ended(up, number),
            Purpose::Watch(name) => self.tasks.watch_over(&name),
            Purpose::TaskResult(name, task) => self.bridging().tell_result(&name, &task, envelope),
            Purpose::Stream | Purpose::Untracked => {}
        }
    }

    fn client_response(&mut self, own: u64, call: Call, envelope: &Envelope<'_>) {
        let Purpose::Client(client) = &call.purpose else {
            return;
        };
        let modern_up = self.ups.get(call.up).is_modern_at(call.conn);
        let eras = EraPair::of(client.modern, modern_up);
        let bridged = if client.modern {
            self.bridging().bridge(&call, client, envelope)
        } else {
            crate::task_bridge::modern_to_legacy::end_of_polled_task(client, envelope)
        };
        let bridged = bridged
            .as_deref()
            .and_then(|text| Envelope::parse(text).ok());
        let envelope = bridged.as_ref().unwrap_or(envelope);
        match envelope.kind {
            Kind::Result(number, result) => {
                if eras == EraPair::LEGACY_TO_MODERN && is_input_required(result) {
                    return self.questioning().round(call, result);
                }
                self.client_result(own, &call, client, (number, result), (envelope.text, eras));
            }
            Kind::Error(Some(_), _) if client.modern && client.lacked.is_some() => {
                self.calling().lacked(&call, client)
            }
            Kind::Error(Some(number), error) => {
                self.calling().refused(&call, client);
                match (eras, refusal::code_of(error)) {
                    (EraPair::MODERN_TO_LEGACY, Some(rpc::URL_ELICITATION)) => {
                        self.questioning().ask_addresses(&call, client, error)
                    }
                    (EraPair::LEGACY_TO_MODERN, Some(rpc::MISSING_CAPABILITY)) => {
                        self.questioning().lacks_capability(&call, client, error)
                    }
                    _ => {
                        let (text, error) = (envelope.text, (number, error));
                        self.calling()
                            .client_error(&call, client, text, error, eras)
                    }
                }
            }
            _ => {}
        }
    }

    /// A result that is its client's.
    fn client_result(
        &mut self,
        own: u64,
        call: &Call,
        client: &ClientCall,
        (number, result): (&str, &str),
        (text, eras): (&str, EraPair),
    ) {
        let mut calling = self.calling();
        if !calling.note_tasks(Some(own), call, client, result, eras) {
            let refusal = Refusal::new(200, rpc::INVALID_PARAMS, Code::TaskNotFound, "");
            return calling.give_up(call, client, &refusal, CallOutcome::Error);
        }
        if client.method == Method::TaskList {
            let rooms = (&*calling.clients, &*calling.ups);
            let list = calling
                .tasks
                .listed(rooms, calling.cx.now, (call, client), result);
            let body = json::one_line(refusal::result_message(&client.id, &list));
            return calling.deliver(call, client, 200, body, CallOutcome::Ok);
        }
        calling.deliver_result(call, client, text, (number, result), eras);
    }
}

fn is_input_required(result: &str) -> bool {
    result.contains("\"input_required\"")
        && json::pick(result, ["resultType"])
            .is_some_and(|[kind]| kind == Some("\"input_required\""))
}
