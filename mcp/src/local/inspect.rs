//! The views that are no MCP: `/tools` and `/health` for people and probes, `/catalogue`,
//! `/refresh` and `/tool/<name>` for the control command.

use crate::access::policy::Access;
use crate::api::{Output, Question, StreamKey};
use crate::client::pending::Pending;
use crate::client::request::Flow;
use crate::client::waiting::Attempt;
use crate::edge::Request;
use crate::local::Serving;
use crate::protocol::refusal::{Refusal, rpc};
use crate::upstream::list::ListKind;
use crate::upstream::view::View;
use bytes::Bytes;
use ggen_wire::{Code, status};

impl Serving<'_> {
    pub(crate) fn inspect(
        &mut self,
        key: StreamKey,
        request: &Request,
        attempt: &Attempt,
    ) -> Result<Flow, (Option<Box<str>>, Refusal)> {
        let access = self.access.of(key, &request.principal);
        match &*request.view {
            "/tools" => {
                attempt
                    .admit(self.cx, self.access, key, request)
                    .map_err(|refusal| (None, refusal))?;
                let table = self
                    .ups
                    .seen(access.as_deref(), None, View::All, ListKind::Tools);
                let items: Vec<_> = table
                    .entries
                    .iter()
                    .map(|entry| String::from_utf8_lossy(&entry.text))
                    .collect();
                let body = format!("{{\"tools\":[{}]}}", items.join(","));
                self.cx.full(key, 200, body.into());
            }
            "/health" => {
                let number = self.cx.next_id();
                self.clients
                    .wait_for_supervisor(number, Pending::Health(key, access));
                self.cx.emit(Output::Ask(number, Question::Status));
            }
            "/refresh" if key.edge == 0 => {
                self.clients.refresh(key);
                for up in self.ups.ids() {
                    self.connecting().fetch(up, ListKind::Tools);
                }
                self.connecting().refreshed();
            }
            "/catalogue" if key.edge == 0 => {
                let body = serde_json::to_vec(&self.connecting().catalogue()).unwrap_or_default();
                self.cx.full(key, 200, body.into());
            }
            path => {
                let text = self
                    .item_of(access.as_deref(), path)
                    .map_err(|refusal| (None, refusal))?;
                self.cx.full(key, 200, text);
            }
        }
        Ok(Flow::Done)
    }

    /// The tool that a path `/tool/<name>` names.
    fn item_of(&self, access: Option<&Access>, path: &str) -> Result<Bytes, Refusal> {
        let Some(name) = path.strip_prefix("/tool/") else {
            return Err(Refusal::new(
                404,
                rpc::INVALID_REQUEST,
                Code::PathUnknown,
                path,
            ));
        };
        self.ups
            .entry(access, None, View::All, ListKind::Tools, name)
            .map(|entry| entry.text.clone())
            .ok_or_else(|| {
                let name = path.trim_start_matches("/tool/");
                Refusal::new(404, rpc::INVALID_PARAMS, Code::ToolNotFound, name)
            })
    }

    /// `/health`: what a probe and a person want to know, out of the supervisor's status.
    pub(crate) fn health_answered(
        &mut self,
        key: StreamKey,
        access: Option<&Access>,
        answer: Result<Bytes, String>,
    ) {
        let tools = self
            .ups
            .seen(access, None, View::All, ListKind::Tools)
            .entries
            .len();
        let visible = |name: &str| {
            access.is_none()
                || self
                    .ups
                    .configured()
                    .any(|up| up.settings.name == name && self.ups.may_see(access, up))
        };
        let body = answer.ok().and_then(|body| serde_json::from_slice::<status::Status>(&body).ok()).map(|status| {
            let word = if status.issues.is_empty() { "ok" } else { "degraded" };
            let upstreams: Vec<_> = status
                .upstreams
                .iter()
                .filter(|up| visible(&up.name))
                .map(|up| serde_json::json!({"name": up.name, "state": up.state, "era": up.era, "tools": up.tools, "code": up.code, "last_exit": up.last_exit}))
                .collect();
            let word_of = |phase: status::Phase| if phase == status::Phase::Running { "serving" } else { phase.as_str() };
            let transports: Vec<_> = status
                .transports
                .iter()
                .map(|one| serde_json::json!({"name": one.name, "address": one.address, "state": word_of(one.phase), "detail": one.detail}))
                .collect();
            serde_json::json!({
                "status": word, "version": status.version, "uptime_ms": status.uptime_ms,
                "tools": if access.is_some() { tools } else { status.tools as usize },
                "transports": transports, "upstreams": upstreams, "issues": if access.is_some() { Vec::new() } else { status.issues },
            })
        });
        match body {
            Some(body) => self.cx.full(key, 200, body.to_string().into()),
            None => self.cx.full(
                key,
                503,
                Bytes::from_static(b"{\"status\":\"unavailable\"}"),
            ),
        }
    }
}
