//! Detects an upstream entry that would call the gateway itself: an endless loop, and common,
//! because people add `ggen` to the same file that their client reads.

use crate::config::model::{Config, Host, UpstreamTransport};
use std::net::IpAddr;

/// The gateway's own address.
pub(crate) struct Own<'a> {
    host: Host,
    port: u16,
    names: &'a [String],
}

/// Programs that bridge stdio to the URL in their arguments.
const BRIDGES: [&str; 4] = ["mcp-remote", "mcp-proxy", "supergateway", "mcp-client"];

impl<'a> Own<'a> {
    /// Of a configuration whose `transports.http` is final.
    pub(crate) fn of(config: &'a Config) -> Self {
        let http = &config.transports.http;
        Self {
            host: http.host,
            port: if http.enabled { http.port } else { 0 },
            names: &http.allowed_hosts,
        }
    }

    /// Whether the transport leads back here.
    pub(crate) fn is_called_by(&self, transport: &UpstreamTransport) -> bool {
        match transport {
            UpstreamTransport::Http { url, .. } => self.is_own_url(url),
            UpstreamTransport::Stdio { command, args, .. } => {
                let program = basename(command);
                let relay = program == "ggen"
                    && args
                        .iter()
                        .position(|argument| argument == "mcp")
                        .is_some_and(|mcp| args[mcp..].iter().any(|argument| argument == "stdio"));
                let words = || std::iter::once(program).chain(args.iter().map(String::as_str));
                let bridge = || {
                    words().any(|word| {
                        BRIDGES
                            .iter()
                            .any(|bridge| basename(word).starts_with(bridge))
                    })
                };
                program == "ggend"
                    || relay
                    || (bridge() && args.iter().any(|argument| self.is_own_url(argument)))
            }
        }
    }

    fn is_own_url(&self, url: &str) -> bool {
        let Ok(uri) = url.parse::<http::Uri>() else {
            return false;
        };
        let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else {
            return false;
        };
        let port = uri
            .port_u16()
            .unwrap_or(if scheme == "https" { 443 } else { 80 });
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_ascii_lowercase();
        let ours = match host.parse::<IpAddr>() {
            Ok(address) => {
                address.is_loopback()
                    || address.is_unspecified()
                    || Host::Address(address) == self.host
            }
            Err(_) => {
                host == "localhost"
                    || host.ends_with(".localhost")
                    || self
                        .names
                        .iter()
                        .any(|name| name.eq_ignore_ascii_case(&host))
            }
        };
        let path = uri.path();
        ours && self.port != 0 && port == self.port && (path == "/mcp" || path.starts_with("/mcp/"))
    }
}

fn basename(command: &str) -> &str {
    command.rsplit('/').next().unwrap_or(command)
}
