//! The events that operators alert on, with their `MESSAGE_ID` in the journal (`journalctl
//! MESSAGE_ID=…`). An id is never changed and never reused; docs/operate.md lists them, and a test
//! compares the two.

use ggen_wire::{Code, log::LogLine};

/// What an id stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Lines with this code.
    Code(Code),
    /// Lines with this text in their field `event`.
    Event(&'static str),
}

/// The field that names an event which has no code.
pub const FIELD: &str = "event";

/// Every event with its id.
pub const EVENTS: &[(Of, &str)] = &[
    (
        Of::Code(Code::WorkerDied),
        "46ef336752c741898ee3ff7a541142d5",
    ),
    (
        Of::Code(Code::WorkerHung),
        "044e353fb44a4df5a7e730c9a6df6868",
    ),
    (
        Of::Code(Code::TransportDegraded),
        "d1bc785b811f448cb042dd5f95f432c6",
    ),
    (
        Of::Code(Code::GatewayLost),
        "3fc6178d55f44038a487a5d0bc35a187",
    ),
    (
        Of::Code(Code::UpstreamExited),
        "0283fb168a7448fa9f9ef939029fa1e4",
    ),
    (
        Of::Code(Code::UpstreamCrashLoop),
        "464b7c0daed9426a9ad0516480e6decf",
    ),
    (
        Of::Code(Code::UpstreamGarbage),
        "abb3993f715f4f339dcf4471e1880760",
    ),
    (
        Of::Code(Code::FilesLimit),
        "1950e43de58e41859ee613ee1c2670f8",
    ),
    (
        Of::Code(Code::DiskUnusable),
        "2d6e04a14bbc4dd79da7782a8819a0b3",
    ),
    (Of::Event("ready"), "f3e4580c8b6f4980acc30c24e8e67630"),
    (Of::Event("stopping"), "a6407dc76959407e8369547fcd181b16"),
    (Of::Event("stopped"), "828c8f5f05a94499b720015e4c060a17"),
    (Of::Event("reloaded"), "1c0fbe0d01d84c46b7c63670a66dd96f"),
    (Of::Event("refused"), "2e2b910eb92a495cb7a0d27c9dd061b6"),
];

/// The id of the event that a line reports.
#[must_use]
pub fn message_id(line: &LogLine) -> Option<&'static str> {
    let named = line
        .fields
        .iter()
        .find(|(name, _)| name == FIELD)
        .map(|(_, value)| value.as_str());
    let fits = |of: &Of| match of {
        Of::Code(code) => line.code == Some(*code),
        Of::Event(event) => named == Some(*event),
    };
    EVENTS.iter().find(|(of, _)| fits(of)).map(|(_, id)| *id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ids_are_unique_and_explained() {
        let ids: BTreeSet<&str> = EVENTS.iter().map(|(_, id)| *id).collect();
        assert_eq!(ids.len(), EVENTS.len());
        let page =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operate.md"))
                .unwrap();
        for (of, id) in EVENTS {
            let name = match of {
                Of::Code(code) => code.as_str(),
                Of::Event(event) => event,
            };
            assert!(
                id.len() == 32
                    && page
                        .lines()
                        .any(|line| line.contains(id) && line.contains(name)),
                "{name} {id} is not in docs/operate.md"
            );
        }
    }
}
