//! `logging`: format and destinations of log lines. Definitions only.

use super::Size;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Destinations and format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// `journald` where the daemon's stderr is the journal's (`JOURNAL_STREAM`), `console`
    /// elsewhere.
    #[default]
    Auto,
    /// On stderr, for people.
    Console,
    /// On stderr, one JSON object a line.
    Json,
    /// In the journal, with fields.
    Journald,
}

/// `logging.file`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogFile {
    /// Where; none: no file is written.
    pub path: Option<PathBuf>,
    /// When a new file is begun, whatever the size.
    pub rotation: Rotation,
    /// A new file is begun before this is exceeded.
    pub max_size: Size,
    /// Earlier files that are kept, as `path.1` (the newest), `path.2`, …; 0 to 1000.
    pub keep: u16,
}

/// `logging.file.rotation`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rotation {
    /// By size only; a file that was moved away (logrotate) is begun anew.
    Never,
    /// With each hour, UTC.
    Hourly,
    /// With each day, UTC.
    #[default]
    Daily,
}

impl Default for LogFile {
    fn default() -> Self {
        Self {
            path: None,
            rotation: Rotation::default(),
            max_size: Size(100 << 20),
            keep: 7,
        }
    }
}
