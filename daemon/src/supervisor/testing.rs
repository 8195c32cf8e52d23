//! What tests of several rooms need.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::config::{AuthFiles, Loaded};
use std::collections::{BTreeMap, BTreeSet};

/// A configuration in force that says only this.
pub(crate) fn loaded(text: &str) -> Loaded {
    Loaded {
        config: serde_json::from_str(text).unwrap(),
        warnings: Vec::new(),
        blocked: BTreeMap::new(),
        provenance: BTreeMap::new(),
        written: BTreeMap::new(),
        asks_strangers: false,
        stopped: BTreeSet::new(),
        auth_files: AuthFiles::default(),
        file: None,
        files: Vec::new(),
    }
}

/// Whether this host has `::1`; if not, says that a test is skipped.
pub(crate) fn has_ipv6() -> bool {
    let found = std::net::TcpListener::bind("[::1]:0").is_ok();
    if !found {
        eprintln!("skipped: this host has no ::1");
    }
    found
}
