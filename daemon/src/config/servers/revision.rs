//! Which revision of the protocol an entry says that its server speaks: `era` and
//! `protocol_version`.

use super::entry::Fields;
use crate::config::{EraChoice, problem::Severity, schema};
use ggen_wire::Code;

/// The revision without a handshake.
pub(crate) const MODERN: &str = "2026-07-28";
/// What `protocol_version` may say, newest first.
pub(crate) const REVISIONS: [&str; 5] = [
    MODERN,
    "2025-11-25",
    "2025-06-18",
    "2025-03-26",
    "2024-11-05",
];

/// `era`
pub(super) fn era(fields: &mut Fields<'_>) -> EraChoice {
    match fields.plain("era") {
        None | Some(("auto", _)) => EraChoice::Auto,
        Some(("legacy", _)) => EraChoice::Legacy,
        Some(("modern", _)) => EraChoice::Modern,
        Some((other, at)) => {
            let meant = schema::did_you_mean(other, ["auto", "legacy", "modern"]);
            let what = format!("expected \"auto\", \"legacy\" or \"modern\", found {other:?}");
            fields
                .problem(Severity::Entry, Code::ConfigValue, "era", at, what)
                .suggestion = meant;
            EraChoice::Auto
        }
    }
}

/// `protocol_version`, which must not contradict `era`.
pub(super) fn protocol_version(fields: &mut Fields<'_>, era: EraChoice) -> Option<String> {
    const KEY: &str = "protocol_version";
    let (text, at) = fields.plain(KEY)?;
    if !REVISIONS.contains(&text) {
        let known = REVISIONS.map(|known| format!("{known:?}")).join(", ");
        let meant = schema::did_you_mean(text, REVISIONS);
        let what = format!("expected one of {known}, found {text:?}");
        fields
            .problem(Severity::Entry, Code::ConfigValue, KEY, at, what)
            .suggestion = meant;
        return None;
    }
    let contradicts = match era {
        EraChoice::Auto => false,
        EraChoice::Legacy => text == MODERN,
        EraChoice::Modern => text != MODERN,
    };
    if contradicts {
        let what = "contradicts `era`";
        fields.problem(Severity::Entry, Code::ConfigValue, KEY, at, what);
        return None;
    }
    Some(text.to_owned())
}
