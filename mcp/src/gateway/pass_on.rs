//! Requests that are passed on to an upstream.

use crate::access;
use crate::call::{Route, Target};
use crate::client::request::{Flow, RequestContext};
use crate::gateway::Gateway;
use crate::interactive::retry::{Asks, KeptMessages};
use crate::observation::Hidden;
use crate::protocol::json::{Envelope, Kind};
use crate::protocol::refusal::Refusal;
use crate::protocol::{header, json};
use crate::upstream::UpEra;
use crate::upstream::view::View;

impl Gateway {
    /// `tools/call`, `prompts/get`, `resources/read`, `completion/complete`.
    pub(crate) fn relay_named(&mut self, ctx: &RequestContext<'_>) -> Result<Flow, Refusal> {
        match self.calling().route(ctx)? {
            None => Ok(Flow::Wait),
            Some(Route::Core(tool)) => {
                let flow = self.serving().call_builtin(ctx, tool)?;
                ctx.audit(&self.access, &mut self.cx, None);
                Ok(flow)
            }
            Some(Route::Up(target)) => {
                // Link 0 is the worker's own: the control command has no headers to mirror, and
                // neither has a socket.
                if !target.params.is_empty()
                    && ctx.is_modern()
                    && ctx.key.edge != 0
                    && !ctx.request.verb.is_socket()
                {
                    let arguments = ctx
                        .params
                        .and_then(|params| json::pick(params, ["arguments"]))
                        .and_then(|[raw]| raw);
                    header::check_params(ctx.request, &target.params, arguments)?;
                }
                match self.questioning().asking(ctx, &target)? {
                    Asks::Nothing => self.calling().relay(ctx, target, None),
                    Asks::New(asking) => self.calling().relay(ctx, target, Some(asking)),
                    Asks::Resumed(kept) => {
                        if let Some(kept) = kept {
                            self.deliver_kept(kept);
                        }
                        Ok(Flow::Done)
                    }
                }
            }
        }
    }

    /// What the protocol does not name goes to the server of a view of one, if it speaks the
    /// client's era.
    pub(crate) fn relay_other(&mut self, ctx: &RequestContext<'_>) -> Result<Flow, Refusal> {
        let View::One(up) = ctx.view else {
            return Err(ctx.unknown_method());
        };
        if !self.ups.may_all(ctx.access.as_deref(), up) {
            access::denied(&mut self.cx, Hidden::Method);
            return Err(ctx.unknown_method());
        }
        match self.ups.get(up).era {
            Some(era) if (era == UpEra::Modern) == ctx.is_modern() => {}
            None if ctx.may_wait(self.cx.now, self.cx.limits.call_wait)
                && self.ups.is_unsettled(ctx.view) =>
            {
                return Ok(Flow::Wait);
            }
            _ => return Err(ctx.unknown_method()),
        }
        let name = header::name_member(ctx.name)
            .and_then(|member| json::pick(ctx.params?, [member])?[0])
            .and_then(json::string);
        self.calling()
            .relay(ctx, Target::plain(up, name.unwrap_or_default()), None)
    }

    /// What a server said while the client of a call was away, now that it is back.
    fn deliver_kept(&mut self, kept: KeptMessages) {
        for message in kept.messages {
            if let Ok(envelope) = Envelope::parse(&String::from_utf8_lossy(&message))
                && let Kind::Notification(name) = &envelope.kind
            {
                let call = Some(kept.number);
                self.server_notification(kept.up, kept.conn, call, name, &envelope);
            }
        }
    }
}
