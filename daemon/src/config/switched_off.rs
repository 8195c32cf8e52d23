//! What an operator has stopped by name while the daemon runs. It is switched off over the
//! configuration until it or the daemon is started again. May not: read or write files.

use super::{Config, Loaded};
use std::collections::BTreeSet;

/// What can be stopped beside upstreams, by the names of `status` and of the command line.
pub const TRANSPORTS: [&str; 5] = ["http", "https", "websocket", "quic", "admin"];

impl Loaded {
    /// The same with exactly these switched off, as far as they are on.
    #[must_use]
    pub fn with_stopped(mut self, names: &BTreeSet<String>) -> Self {
        self.config = self.as_configured();
        self.stopped = names
            .iter()
            .filter(|name| is_on(&self.config, name))
            .cloned()
            .collect();
        self.stopped
            .iter()
            .for_each(|name| switch(&mut self.config, name, false));
        // The workers of HTTP serve HTTPS too: they go with the last of the two.
        let http = &mut self.config.transports.http;
        http.enabled &= http.ssl.enabled || !self.stopped.contains("http");
        self
    }

    /// The values as they are written.
    #[must_use]
    pub fn as_configured(&self) -> Config {
        let mut config = self.config.clone();
        self.stopped
            .iter()
            .for_each(|name| switch(&mut config, name, true));
        config
    }
}

/// Whether a transport or upstream of that name is switched on; a transport goes before an upstream
/// of the same name.
#[must_use]
pub fn is_on(config: &Config, name: &str) -> bool {
    let transports = &config.transports;
    match name {
        "http" => transports.http.enabled,
        "https" => transports.http.enabled && transports.http.ssl.enabled,
        "websocket" => transports.websocket.enabled,
        "quic" => transports.quic.enabled,
        "admin" => config.metrics.enabled,
        upstream => config
            .mcp_servers
            .get(upstream)
            .is_some_and(|upstream| upstream.enabled),
    }
}

fn switch(config: &mut Config, name: &str, on: bool) {
    let transports = &mut config.transports;
    match name {
        // Switched off with HTTPS only.
        "http" => transports.http.enabled |= on,
        "https" => transports.http.ssl.enabled = on,
        "websocket" => transports.websocket.enabled = on,
        "quic" => transports.quic.enabled = on,
        "admin" => config.metrics.enabled = on,
        upstream => {
            if let Some(upstream) = config.mcp_servers.get_mut(upstream) {
                upstream.enabled = on;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::config::{LoadOptions, load};

    #[test]
    fn what_is_stopped_is_off_and_comes_back_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mcp.json");
        let text = r#"{"transports":{"http":{"ssl":{"enabled":true}},"quic":{"enabled":true}},
            "mcpServers":{"a":{"command":"true"},"b":{"command":"true","enabled":false}}}"#;
        std::fs::write(&path, text).unwrap();
        let loaded = load(&LoadOptions {
            config_path: Some(path),
            ..LoadOptions::default()
        })
        .unwrap();
        let written = loaded.config.clone();
        let stop = |names: &[&str]| {
            loaded
                .clone()
                .with_stopped(&names.iter().map(|name| (*name).to_owned()).collect())
        };
        let stopped = stop(&["http", "quic", "a", "b", "nobody"]);
        assert_eq!(
            stopped
                .stopped
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>(),
            ["a", "http", "quic"]
        );
        assert!(
            !stopped.config.transports.quic.enabled && !stopped.config.mcp_servers["a"].enabled
        );
        assert!(
            stopped.config.transports.http.enabled,
            "HTTPS is still served"
        );
        assert!(!stop(&["http", "https"]).config.transports.http.enabled);
        assert!(stop(&["https"]).config.transports.http.enabled);
        assert_eq!(stopped.as_configured(), written);
        let all: BTreeSet<_> = TRANSPORTS.iter().map(|name| (*name).to_owned()).collect();
        let none = stopped.with_stopped(&all).with_stopped(&BTreeSet::new());
        assert!(none.config == written && none.stopped.is_empty());
    }
}
