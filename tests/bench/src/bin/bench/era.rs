//! What a client of either era sends for one call.

use clap::ValueEnum;
use serde::Serialize;
use std::{fmt, io::Write};

/// Which revisions client and server speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Era {
    /// Sessions: 2025-11-25.
    Legacy,
    /// Stateless: 2026-07-28.
    Modern,
}

impl Era {
    /// As the echo server takes it, which is also the server's name in ggend's configuration.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Modern => "modern",
        }
    }

    /// The headers of each call, in full lines.
    pub(crate) fn headers(self, session: Option<&str>) -> String {
        let common =
            "content-type: application/json\r\naccept: application/json, text/event-stream\r\n";
        match (self, session) {
            (Self::Legacy, Some(session)) => {
                format!("{common}mcp-protocol-version: 2025-11-25\r\nmcp-session-id: {session}\r\n")
            }
            (Self::Legacy, None) => common.to_owned(),
            (Self::Modern, _) => {
                format!(
                    "{common}mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: {self}__echo\r\n"
                )
            }
        }
    }

    /// Writes the body of a call of the server's one tool, under the name that it has in the view
    /// of all servers.
    pub(crate) fn call(self, id: u64, message: fmt::Arguments<'_>, out: &mut Vec<u8>) {
        let meta = match self {
            Self::Legacy => "",
            Self::Modern => {
                r#","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}"#
            }
        };
        // Writing to memory does not fail.
        write!(
            out,
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{self}__echo","arguments":{{"message":"{message}"}}{meta}}}}}"#
        )
        .unwrap_or_default();
    }
}

impl fmt::Display for Era {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
