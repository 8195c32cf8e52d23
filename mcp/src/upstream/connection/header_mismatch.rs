//! A modern HTTP server that says that headers and body differ (-32020): its tools have changed
//! since they were read. They are read again, and the call is made once more with the headers that
//! they declare now (2026-07-28, Streamable HTTP, "Custom Headers"). The refused call was not
//! executed.

use crate::api::UpId;
use crate::in_flight::record::{Mismatch, Purpose};
use crate::protocol::method::Method;
use crate::protocol::refusal::rpc;
use crate::protocol::{header, json};
use crate::upstream::list::ListKind;
use crate::upstream::{ConnState, Connecting, UpEra};
use ggen_wire::log::Level;

impl Connecting<'_> {
    /// Whether an error of a server is about a call's headers, and the call is to be made again. It
    /// stays on the books then.
    pub(crate) fn is_mismatch(&mut self, up: UpId, number: u64, error: &str) -> bool {
        let upstream = self.ups.get(up);
        let modern = upstream.is_http()
            && upstream.era == Some(UpEra::Modern)
            && upstream.conns[0].phase == ConnState::Ready;
        let name = upstream.settings.name.clone();
        let Some(call) = self
            .calls
            .get_mut(&number)
            .filter(|call| call.up == up && modern && call.mismatch == Mismatch::No)
        else {
            return false;
        };
        let is_tool =
            matches!(&call.purpose, Purpose::Client(client) if client.method == Method::ToolsCall);
        let code = json::pick(error, ["code"]).and_then(|[code]| code?.parse::<i64>().ok());
        if !is_tool || code != Some(rpc::HEADER_MISMATCH) {
            return false;
        }
        call.mismatch = Mismatch::Reported;
        let text = format!(
            "{name}: the headers of a call do not match what its tools declare now: they are read again, and the call is made once more"
        );
        self.cx.note(Level::Info, "tools", Some(up), None, text);
        true
    }

    /// The refused exchange is over: its number is free for the next one.
    pub(crate) fn mismatch_ended(&mut self, up: UpId, number: u64) {
        if let Some(call) = self.calls.get_mut(&number) {
            call.mismatch = Mismatch::Reading;
            call.status = 0;
        }
        self.fetch(up, ListKind::Tools);
    }

    /// The tools have been read again, or could not be.
    pub(crate) fn headers_again(&mut self, up: UpId) {
        let reading = self
            .calls
            .iter()
            .filter(|(_, call)| call.up == up && call.mismatch == Mismatch::Reading);
        let mut numbers: Vec<_> = reading.map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        for number in numbers {
            let tools = &self.ups.get(up).list(ListKind::Tools).items;
            let Some(call) = self.calls.get_mut(&number) else {
                continue;
            };
            let text = String::from_utf8_lossy(&call.request.body);
            let [name, arguments] = json::pick(&text, ["params"])
                .and_then(|[params]| json::pick(params?, ["name", "arguments"]))
                .unwrap_or_default();
            let name = name.and_then(json::string).unwrap_or_default();
            let declared = tools
                .iter()
                .find(|tool| *tool.key == *name)
                .map(|tool| tool.params.clone())
                .unwrap_or_default();
            let mut headers = header::make(Method::ToolsCall.name(), Some(&name));
            headers.extend(header::make_params(&declared, arguments));
            call.request.headers = headers;
            call.mismatch = Mismatch::Again;
            self.send(number);
        }
    }
}
