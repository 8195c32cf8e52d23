//! Log lines in the systemd journal, in its native protocol: one datagram of fields a line
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>). The `tracing-journald` layer is not used
//! because it knows only the events of its own process, and most lines come from workers and
//! servers. Never waits; the caller counts what the journal does not take at once.

use super::events;
use ggen_wire::{
    escape,
    log::{Level, LogLine},
};
use std::{
    io,
    os::unix::{fs::MetadataExt, net::UnixDatagram},
    path::PathBuf,
};

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";
/// Longest value; a line of many long fields stays below what a datagram carries.
const MAX_VALUE: usize = 16 << 10;

/// Fields of ours that have a name of their own there; others get the prefix `GGEN_`, so that none
/// can pass for a field of somebody else.
const NAMED: [(&str, &str); 10] = [
    ("upstream", "UPSTREAM"),
    ("tool", "TOOL"),
    ("principal", "PRINCIPAL"),
    ("request_id", "REQUEST_ID"),
    ("request", "REQUEST_ID"),
    ("trace_id", "TRACE_ID"),
    ("generation", "GENERATION"),
    ("worker", "WORKER"),
    ("code", "CODE"),
    ("session", "SESSION"),
];

/// The way to the journal.
pub(super) struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Journal {
    /// A socket of ours; the journal need not be there yet.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub(super) fn open() -> io::Result<Self> {
        Self::at(PathBuf::from(SOCKET))
    }

    fn at(path: PathBuf) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, path })
    }

    /// Hands a line over; `generation` is that of the configuration in force.
    ///
    /// # Errors
    /// When the journal is not there or has no room.
    pub(super) fn write(&self, line: &LogLine, generation: u32) -> io::Result<()> {
        self.socket
            .send_to(&encode(line, generation), &self.path)
            .map(drop)
    }
}

/// Whether this process's standard error is a stream to the journal: `JOURNAL_STREAM` names its
/// device and inode (systemd.exec(5)).
#[must_use]
pub(super) fn is_our_stderr() -> bool {
    let Some(named) = std::env::var("JOURNAL_STREAM").ok() else {
        return false;
    };
    std::fs::metadata("/proc/self/fd/2")
        .is_ok_and(|stderr| named == format!("{}:{}", stderr.dev(), stderr.ino()))
}

/// The line as the journal takes it.
fn encode(line: &LogLine, generation: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    let upstream = line.category == "upstream";
    let mut generation_known = false;
    put(&mut out, "MESSAGE", &line.message);
    put(&mut out, "PRIORITY", priority(line.level));
    if upstream {
        put(
            &mut out,
            "SYSLOG_IDENTIFIER",
            &format!("ggend-{}", line.source),
        );
        put(&mut out, "UPSTREAM", &line.source);
    } else {
        put(&mut out, "SYSLOG_IDENTIFIER", "ggend");
    }
    put(&mut out, "CATEGORY", &line.category);
    if !upstream {
        put(&mut out, "WORKER", &line.source);
    }
    let role = if upstream {
        "upstream"
    } else {
        line.source
            .rsplit_once('-')
            .map_or(line.source.as_str(), |(role, _)| role)
    };
    put(&mut out, "ROLE", role);
    if let Some(code) = line.code {
        put(&mut out, "CODE", code.as_str());
    }
    if let Some(id) = events::message_id(line) {
        put(&mut out, "MESSAGE_ID", id);
    }
    for (name, value) in &line.fields {
        let field = match NAMED.iter().find(|(ours, _)| ours == name) {
            // Said by the supervisor about a worker: whom it is about, beside who said it.
            Some((_, field)) => (*field).to_owned(),
            None => format!(
                "GGEN_{}",
                name.chars()
                    .map(|c| if c.is_ascii_alphanumeric() {
                        c.to_ascii_uppercase()
                    } else {
                        '_'
                    })
                    .collect::<String>()
            ),
        };
        generation_known |= field == "GENERATION";
        put(&mut out, &field, value);
    }
    if !generation_known {
        put(&mut out, "GENERATION", &generation.to_string());
    }
    out
}

/// `NAME=value`, or with the length before it if the value has line breaks.
fn put(out: &mut Vec<u8>, name: &str, value: &str) {
    // Line ends stay: each field may have several lines.
    let acts = |c: char| escape::acts(c) && c != '\n';
    let escaped: String;
    let value = if value.contains(acts) {
        let lines: Vec<_> = value.split('\n').map(escape::shown).collect();
        escaped = lines.join("\n");
        escaped.as_str()
    } else {
        value
    };
    let end = (0..=value.len().min(MAX_VALUE))
        .rev()
        .find(|at| value.is_char_boundary(*at))
        .unwrap_or(0);
    let value = &value[..end];
    out.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        out.push(b'\n');
        out.extend_from_slice(&u64::try_from(value.len()).unwrap_or(0).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value.as_bytes());
    out.push(b'\n');
}

/// syslog(3)
const fn priority(level: Level) -> &'static str {
    match level {
        Level::Error => "3",
        Level::Warn => "4",
        Level::Info => "6",
        Level::Debug | Level::Trace => "7",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggen_wire::Code;

    fn line(category: &str, source: &str, code: Option<Code>, fields: &[(&str, &str)]) -> LogLine {
        LogLine {
            seq: 0,
            at_us: 0,
            level: Level::Error,
            category: category.to_owned(),
            source: source.to_owned(),
            message: "went wrong".to_owned(),
            code,
            fields: fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn a_line_arrives_as_fields_of_the_native_protocol() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let journald = UnixDatagram::bind(&path).unwrap();
        let journal = Journal::at(path).unwrap();
        journal
            .write(
                &line(
                    "tools",
                    "gateway-0",
                    Some(Code::UpstreamTimeout),
                    &[("tool", "t\nx"), ("_pid", "1")],
                ),
                3,
            )
            .unwrap();
        let mut bytes = [0; 4096];
        let count = journald.recv(&mut bytes).unwrap();
        let expected = b"MESSAGE=went wrong\nPRIORITY=3\nSYSLOG_IDENTIFIER=ggend\nCATEGORY=tools\nWORKER=gateway-0\nROLE=gateway\n\
            CODE=GGEN-E2107\nTOOL\n\x03\0\0\0\0\0\0\0t\nx\nGGEN__PID=1\nGENERATION=3\n";
        assert_eq!(
            String::from_utf8_lossy(&bytes[..count]),
            String::from_utf8_lossy(expected)
        );
    }

    #[test]
    fn a_servers_own_words_have_its_name_as_identifier() {
        let text = String::from_utf8(encode(&line("upstream", "files", None, &[]), 1)).unwrap();
        assert!(
            text.contains("\nSYSLOG_IDENTIFIER=ggend-files\nUPSTREAM=files\n")
                && !text.contains("WORKER="),
            "{text}"
        );
    }
}
