//! `tasks/list` of 2025-11-25: a client gets its own tasks only, one connection to a server after the
//! other.

use crate::access::policy::Access;
use crate::api::{Micros, UpId};
use crate::client::Clients;
use crate::client::task_name::TaskName;
use crate::in_flight::record::{Call, ClientCall};
use crate::protocol::splice::Splice;
use crate::protocol::{json, name, splice};
use crate::tasks::registry::Tasks;
use crate::upstream::Upstreams;
use crate::upstream::view::View;
use std::collections::BTreeSet;

impl Tasks {
    /// The connections behind which a client has tasks that can be listed, in order.
    pub(crate) fn places_of(
        &self,
        ups: &Upstreams,
        now: Micros,
        owner: &str,
        view: View,
        access: Option<&Access>,
    ) -> BTreeSet<(UpId, usize)> {
        let seen = self.of_owner(owner, now).filter(|(name, task)| {
            (view == View::All || view == View::One(name.up))
                && ups.get(name.up).has_in_tasks("list")
                && ups.may_have_task(access, name.up, task.tool())
        });
        seen.filter_map(|(name, task)| Some((name.up, task.place(ups.get(name.up))?)))
            .collect()
    }

    /// The page of a list as its client gets it: its own tasks only.
    pub(crate) fn listed(
        &self,
        (clients, ups): (&Clients, &Upstreams),
        now: Micros,
        (call, client): (&Call, &ClientCall),
        result: &str,
    ) -> String {
        let owner = clients.task_owner(client.session.as_ref(), &client.principal);
        let [tasks, next] = json::pick(result, ["tasks", "nextCursor"]).unwrap_or_default();
        let view = if client.exposes {
            View::All
        } else {
            View::One(call.up)
        };
        let access = client
            .session
            .as_ref()
            .and_then(|id| clients.session(id))
            .and_then(|session| session.access.clone());
        let own = tasks
            .and_then(json::elements)
            .unwrap_or_default()
            .into_iter()
            .filter_map(|task| {
                let raw = json::pick(task, ["taskId"])?[0]?;
                let id = json::string(raw)?;
                let name = TaskName {
                    up: call.up,
                    id: (*id).into(),
                    owner: owner.clone(),
                };
                let owned = self
                    .get(&name, now)
                    .filter(|owned| owned.place(ups.get(call.up)) == Some(call.conn))?;
                ups.may_have_task(access.as_deref(), call.up, owned.tool())
                    .then_some(())?;
                let mut splice = Splice::new(task);
                if client.exposes {
                    splice.replace(
                        raw,
                        json::quote(&name::exposed_task(&ups.get(call.up).key, &id)),
                    );
                }
                Some(splice.finish_text())
            });
        let own = format!("[{}]", own.collect::<Vec<_>>().join(","));
        let place = (call.up, call.conn);
        let next = match next.and_then(json::string) {
            Some(theirs) => Some(write_place(place, &theirs)),
            None => self
                .places_of(ups, now, &owner, view, access.as_deref())
                .range(place..)
                .find(|next| **next != place)
                .map(|next| write_place(*next, "")),
        };
        let next = next.map(|next| json::quote(&next));
        let mut added = vec![("tasks", own.as_str())];
        added.extend(next.as_deref().map(|next| ("nextCursor", next)));
        splice::rebuild(
            result,
            |member| !matches!(member, "tasks" | "nextCursor"),
            &added,
        )
    }
}

/// A cursor of ours: the connection whose page comes next, and the server's own cursor there, if
/// any.
pub(crate) fn write_place((up, at): (UpId, usize), theirs: &str) -> String {
    format!("{}.{at}~{theirs}", up.0)
}

pub(crate) fn read_place(cursor: &str) -> Option<((UpId, usize), &str)> {
    let (place, theirs) = cursor.split_once('~')?;
    let (up, at) = place.split_once('.')?;
    Some(((UpId(up.parse().ok()?), at.parse().ok()?), theirs))
}
