//! Who may make which call at the control socket. The group of the socket reads, its owner and root
//! change things, except for what the daemon itself has started: servers and all below them.

use crate::{
    platform::{self, Descent, Peer},
    supervisor::reply::failure,
};
use ggen_wire::{
    Code,
    control::{Call, Failure},
};

/// Refuses a call that the caller may not make. Calls that change things are logged either way.
///
/// # Errors
/// What the caller is told.
pub(crate) fn check(call: &Call, peer: &Peer) -> Result<(), Failure> {
    if !changes_things(call) {
        return Ok(());
    }
    let may = may_operate(peer.uid, platform::own_uid());
    let allowed = may && peer.descent == Descent::Elsewhere;
    let outcome = if allowed { "allowed" } else { "refused" };
    let verb = call.name();
    tracing::info!(target: "auth", uid = peer.uid, pid = peer.pid, verb, outcome, "control call");
    if allowed {
        return Ok(());
    }
    let message = match peer.descent {
        Descent::Ours if may => format!(
            "{verb} is not for MCP servers and what they start (pid {})",
            peer.pid
        ),
        Descent::Unknown if may => format!(
            "{verb} is not for MCP servers and what they start, and whether pid {} is one cannot be seen",
            peer.pid
        ),
        _ => format!(
            "{verb} needs root or the daemon's own user; user {} may only read",
            peer.uid
        ),
    };
    let help = format!("sudo {}", call.command());
    Err(failure(Code::PermissionDenied, &message, &help))
}

fn changes_things(call: &Call) -> bool {
    matches!(
        call,
        Call::CallTool { .. }
            | Call::Start { .. }
            | Call::Stop { .. }
            | Call::Restart { .. }
            | Call::Reload { .. }
            | Call::Upgrade { .. }
            | Call::SetLogLevel { .. }
    )
}

/// Root and the daemon's own user may change things; who else can reach the socket (its group) may
/// read.
const fn may_operate(uid: u32, own: u32) -> bool {
    uid == 0 || uid == own
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn the_group_reads_and_only_the_owner_and_root_change_things() {
        assert!(
            may_operate(0, 1000)
                && may_operate(1000, 1000)
                && !may_operate(1001, 1000)
                && !may_operate(1001, 0)
        );
        let changing = [
            Call::Stop {
                force: true,
                target: None,
            },
            Call::Start {
                target: String::new(),
            },
            Call::Restart { target: None },
            Call::RELOAD,
            Call::Upgrade { binary: None },
            Call::SetLogLevel {
                category: None,
                level: None,
                for_ms: None,
            },
            Call::CallTool {
                name: String::new(),
                arguments: Value::Null,
            },
        ];
        let reading = [
            Call::GetStatus {},
            Call::ListTools {},
            Call::GetMetrics {},
            Call::GetConfig {},
            Call::Wait { timeout_ms: 1 },
        ];
        assert!(changing.iter().all(changes_things) && !reading.iter().any(changes_things));
        // What the daemon has started may read, and no more.
        let uid = platform::own_uid();
        for (descent, allowed) in [
            (Descent::Elsewhere, true),
            (Descent::Ours, false),
            (Descent::Unknown, false),
        ] {
            let peer = Peer {
                uid,
                pid: 7,
                descent,
            };
            assert!(
                changing
                    .iter()
                    .all(|call| check(call, &peer).is_ok() == allowed)
            );
            assert!(reading.iter().all(|call| check(call, &peer).is_ok()));
        }
    }
}
