//! A fixture that serves over Streamable HTTP, as somebody else's server would: started by the
//! test, not by the daemon.

use crate::sandbox::binary;
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

/// A running fixture; it ends with its handle.
#[derive(Debug)]
pub struct RemoteFixture {
    child: Child,
    /// Its MCP endpoint.
    pub url: String,
}

impl RemoteFixture {
    /// Starts one and waits for its address.
    ///
    /// # Panics
    /// When it does not announce itself.
    #[must_use]
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(binary("ggend-fixture"));
        // The pipe on its stdin ends with this process, even a killed one.
        if !arguments.contains(&"--transport") {
            command.args(["--transport", "http"]);
        }
        command.arg("--exit-with-stdin").args(arguments);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line
            .trim()
            .strip_prefix("listening on ")
            .unwrap_or_else(|| panic!("no address: {line:?}"))
            .to_owned();
        Self { child, url }
    }

    /// Starts one that speaks HTTP+SSE of 2024-11-05.
    ///
    /// # Panics
    /// As [`RemoteFixture::start`].
    #[must_use]
    pub fn sse(arguments: &[&str]) -> Self {
        Self::start(&[&["--transport", "sse", "--era", "legacy"], arguments].concat())
    }

    /// The configuration entry for one that speaks HTTP+SSE.
    #[must_use]
    pub fn sse_entry(&self) -> Value {
        json!({ "type": "sse", "url": self.url })
    }

    /// The configuration entry for it.
    #[must_use]
    pub fn entry(&self) -> Value {
        json!({ "type": "http", "url": self.url })
    }
}

impl Drop for RemoteFixture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
