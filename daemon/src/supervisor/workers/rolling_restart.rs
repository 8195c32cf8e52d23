//! Replacing workers one after another without closing a listener. Pure: what there is of a slot
//! comes in as a [`View`], and what is to be done goes out as [`Effect`]s.

use crate::{
    ipc::messages::Role,
    supervisor::{event::ProcId, reply::Reply},
};
use std::{collections::VecDeque, time::Duration};

/// What the old process may take to finish when two cannot serve at once.
const SHORT: Duration = Duration::from_secs(5);

/// What is known of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// Its role.
    pub(crate) role: Role,
    /// The process that serves.
    pub(crate) current: Option<ProcId>,
    /// A gateway process lives that is not the present one.
    pub(crate) old_gateway_lives: bool,
    /// Several processes can read from the QUIC port at once.
    pub(crate) shares_quic_port: bool,
}

/// What has happened.
#[derive(Debug)]
pub(crate) enum Input {
    /// These slots are to get new processes; `outcome` is what the watcher is told at the end.
    Begin {
        /// The slots, in the order in which they are replaced.
        names: Vec<String>,
        /// What has been done then.
        outcome: String,
        /// Who waits.
        watcher: Option<Reply>,
    },
    /// A process of that slot is ready.
    Ready(String),
    /// A new process of that slot died before it was ready.
    Failed {
        /// The slot.
        name: String,
        /// Why.
        reason: String,
    },
    /// A slot will not be started again before a reload.
    GivenUp {
        /// The slot.
        name: String,
        /// Why.
        reason: String,
    },
    /// A gateway process has ended.
    GatewayGone {
        /// Another one still drains.
        old_gateway_lives: bool,
    },
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Start a process in a slot. `successor`: beside the one that serves.
    Start {
        /// The slot.
        name: String,
        /// The process that serves goes on until the new one is ready.
        successor: bool,
    },
    /// Take the process out of the slot, start another one, and drain the first.
    Replace {
        /// The slot.
        name: String,
        /// How long the old process may take.
        within: Duration,
    },
    /// Drain a process; its slot is started again when it has ended.
    Drain {
        /// The process.
        id: ProcId,
        /// How long it may take.
        within: Duration,
    },
    /// All have been replaced.
    Done {
        /// What has been done.
        outcome: String,
        /// Who waits for it.
        watchers: Vec<Reply>,
    },
    /// One could not be replaced. The others go on as they are.
    Failed {
        /// What has happened, for people.
        message: String,
        /// Who waits for it.
        watchers: Vec<Reply>,
    },
}

/// A rolling restart, if one is under way.
#[derive(Debug, Default)]
pub(crate) struct RollingRestart {
    /// Slots that wait for their turn; the first one is being replaced.
    queue: VecDeque<String>,
    watchers: Vec<Reply>,
    outcome: String,
    /// It goes on when no old gateway process drains any more.
    waits: bool,
}

impl RollingRestart {
    /// Whether nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// Takes up what has happened. `view`: what is known of a slot; `None`: there is no such slot.
    pub(crate) fn input(
        &mut self,
        input: Input,
        view: impl Fn(&str) -> Option<View>,
    ) -> Vec<Effect> {
        match input {
            Input::Begin {
                names,
                outcome,
                watcher,
            } => {
                self.watchers.extend(watcher);
                self.outcome = outcome;
                let idle = self.queue.is_empty();
                self.enqueue(names);
                if idle { self.next(view) } else { Vec::new() }
            }
            Input::Ready(name) if self.queue.front() == Some(&name) => {
                self.queue.pop_front();
                self.next(view)
            }
            Input::Failed { name, reason } => self.fail(&name, &reason),
            Input::GivenUp { name, reason } if self.queue.front() == Some(&name) => {
                self.fail(&name, &reason)
            }
            Input::GatewayGone {
                old_gateway_lives: false,
            } if self.waits => {
                self.waits = false;
                self.next(view)
            }
            Input::Ready(_) | Input::GivenUp { .. } | Input::GatewayGone { .. } => Vec::new(),
        }
    }

    fn enqueue(&mut self, names: Vec<String>) {
        let in_turn = self.queue.front().cloned();
        for name in names {
            // The slot in turn was started with what was in force before: it gets another turn.
            if !self.queue.contains(&name) || in_turn.as_ref() == Some(&name) {
                self.queue.push_back(name);
            }
        }
    }

    /// Replaces the next slot.
    fn next(&mut self, view: impl Fn(&str) -> Option<View>) -> Vec<Effect> {
        while let Some(name) = self.queue.front().cloned() {
            let Some(slot) = view(&name) else {
                self.queue.pop_front();
                continue;
            };
            return self.replace(name, slot);
        }
        vec![Effect::Done {
            outcome: std::mem::take(&mut self.outcome),
            watchers: std::mem::take(&mut self.watchers),
        }]
    }

    fn replace(&mut self, name: String, slot: View) -> Vec<Effect> {
        match (slot.role, slot.current) {
            // The present gateway has no server's pipes yet while an older one drains, and calls
            // that wait for them there would be lost.
            (Role::Gateway, _) if slot.old_gateway_lives => {
                self.waits = true;
                Vec::new()
            }
            // Two gateways would read from the same pipes: the old one gets only a short time, and
            // the new one gets the children after it.
            (Role::Gateway, _) => vec![Effect::Replace {
                name,
                within: SHORT,
            }],
            // There is one socket: the end of the old process makes room for the next one.
            (Role::Quic, Some(id)) if !slot.shares_quic_port => {
                vec![Effect::Drain { id, within: SHORT }]
            }
            (_, current) => vec![Effect::Start {
                name,
                successor: current.is_some(),
            }],
        }
    }

    fn fail(&mut self, name: &str, reason: &str) -> Vec<Effect> {
        self.queue.clear();
        self.waits = false;
        vec![Effect::Failed {
            message: format!(
                "the new {name} died before it was ready ({reason}); workers that were not replaced yet go on"
            ),
            watchers: std::mem::take(&mut self.watchers),
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(names: &[&str]) -> Input {
        Input::Begin {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            outcome: "restarted".to_owned(),
            watcher: None,
        }
    }

    fn view(name: &str) -> Option<View> {
        let role = match name.split('-').next()? {
            "gateway" => Role::Gateway,
            "http" => Role::Http,
            "quic" => Role::Quic,
            _ => return None,
        };
        Some(View {
            role,
            current: Some(ProcId(7)),
            old_gateway_lives: false,
            shares_quic_port: true,
        })
    }

    fn shown(effects: &[Effect]) -> Vec<String> {
        let show = |effect: &Effect| match effect {
            Effect::Start { name, successor } => format!("start {name} {successor}"),
            Effect::Replace { name, .. } => format!("replace {name}"),
            Effect::Drain { id, .. } => format!("drain {id}"),
            Effect::Done { outcome, .. } => format!("done {outcome}"),
            Effect::Failed { message, .. } => format!("failed {message}"),
        };
        effects.iter().map(show).collect()
    }

    #[test]
    fn one_slot_is_replaced_after_the_other() {
        let mut rolling = RollingRestart::default();
        let effects = rolling.input(begin(&["gateway-0", "gone-0", "http-0"]), view);
        assert_eq!(shown(&effects), ["replace gateway-0"]);
        assert!(
            rolling
                .input(Input::Ready("http-0".to_owned()), view)
                .is_empty()
        );
        let effects = rolling.input(Input::Ready("gateway-0".to_owned()), view);
        assert_eq!(shown(&effects), ["start http-0 true"]);
        let effects = rolling.input(Input::Ready("http-0".to_owned()), view);
        assert_eq!(shown(&effects), ["done restarted"]);
        assert!(rolling.is_idle());
    }

    #[test]
    fn a_death_before_ready_ends_it_and_the_next_one_begins_anew() {
        let mut rolling = RollingRestart::default();
        rolling.input(begin(&["http-0", "http-1"]), view);
        let (name, reason) = ("http-0".to_owned(), "exit status 1".to_owned());
        let effects = rolling.input(Input::Failed { name, reason }, view);
        assert!(
            matches!(&effects[..], [Effect::Failed { message, .. }] if message.starts_with("the new http-0 died"))
        );
        assert!(rolling.is_idle());
        let effects = rolling.input(begin(&["http-1"]), view);
        assert_eq!(shown(&effects), ["start http-1 true"]);
    }

    #[test]
    fn the_slot_in_turn_gets_another_turn_when_it_is_asked_for_again() {
        let mut rolling = RollingRestart::default();
        rolling.input(begin(&["http-0", "http-1"]), view);
        assert!(rolling.input(begin(&["http-0", "http-1"]), view).is_empty());
        let turns = ["http-0", "http-1", "http-0"];
        let mut effects = Vec::new();
        for name in turns {
            effects = rolling.input(Input::Ready(name.to_owned()), view);
        }
        assert_eq!(shown(&effects), ["done restarted"]);
    }

    #[test]
    fn a_gateway_waits_until_no_older_one_drains() {
        let mut rolling = RollingRestart::default();
        let busy = |name: &str| {
            view(name).map(|view| View {
                old_gateway_lives: true,
                ..view
            })
        };
        assert!(rolling.input(begin(&["gateway-0"]), busy).is_empty());
        let gone = |old_gateway_lives| Input::GatewayGone { old_gateway_lives };
        assert!(rolling.input(gone(true), busy).is_empty());
        let effects = rolling.input(gone(false), view);
        assert_eq!(shown(&effects), ["replace gateway-0"]);
    }

    #[test]
    fn where_the_quic_port_is_not_shared_the_old_process_goes_first() {
        let mut rolling = RollingRestart::default();
        let single = |name: &str| {
            view(name).map(|view| View {
                shares_quic_port: false,
                ..view
            })
        };
        let effects = rolling.input(begin(&["quic-0"]), single);
        assert_eq!(shown(&effects), ["drain 7"]);
    }
}
