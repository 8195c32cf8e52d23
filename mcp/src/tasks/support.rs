//! What upstreams and their tools say of tasks.

use crate::client::request::ClientEra;
use crate::client::task_name::TaskName;
use crate::in_flight::record::Task;
use crate::protocol::json;
use crate::protocol::method::Legacy;
use crate::protocol::task::declares;
use crate::upstream::list::ListKind;
use crate::upstream::{UpEra, Upstream};

impl Upstream {
    /// Whether it is a legacy server whose tools may be called as tasks.
    pub(crate) fn has_call_tasks(&self) -> bool {
        let step = |at, name: &&str| json::pick(at, [*name]).and_then(|[found]| found);
        matches!(self.era, Some(UpEra::Legacy(version)) if version >= Legacy::L2025_11_25)
            && ["tasks", "requests", "tools", "call"]
                .iter()
                .try_fold(&*self.info.capabilities, step)
                .is_some()
    }
    /// Whether a task is one of this legacy server that a modern client has.
    pub(crate) fn bridges(&self, name: &TaskName) -> bool {
        matches!(self.era, Some(UpEra::Legacy(_))) && name.is_of_principal()
    }

    /// What a tool of a legacy server says of tasks, if that server has any: its `taskSupport` as
    /// it stands.
    fn task_support(&self, tool: &str) -> Option<&str> {
        let mut items = self.list(ListKind::Tools).items.iter();
        let item = items.find(|item| *item.key == *tool)?;
        let text = std::str::from_utf8(&item.text)
            .ok()
            .filter(|text| text.contains("\"taskSupport\"") && self.has_call_tasks())?;
        let [execution] = json::pick(text, ["execution"])?;
        json::pick(execution?, ["taskSupport"])?[0]
    }

    /// What a modern client of a tool of a legacy server gets: the tool's support for tasks, and
    /// whether the client takes them.
    pub(crate) fn task_wish(&self, era: &ClientEra<'_>, tool: &str) -> Option<Task> {
        let takes = match era {
            ClientEra::Modern(claim) => claim.capabilities.is_some_and(declares),
            ClientEra::Legacy(..) | ClientEra::Sessionless(_) => return None,
        };
        match self.task_support(tool)? {
            "\"required\"" | "\"optional\"" if takes => Some(Task::Offered),
            // Who takes none gets what the task comes to ([`crate::task_bridge::continuation`]).
            "\"required\"" => Some(Task::Asked),
            _ => None,
        }
    }
}
