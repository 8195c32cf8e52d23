//! Everything that one binary tells the next, as JSON. Who changes it, or a message between the
//! supervisor and its children (`ipc/`), in a way that the version before does not write or does
//! not understand, raises [`FORMAT`]: such a binary does not take over in place.

use super::{
    children::SavedChildren,
    counters::SavedCounters,
    fd_table::{FdTable, ReceivedFds},
    sockets::SavedSockets,
};
use crate::{
    auth::Snapshot,
    ipc::{messages::RunAs, seal::SealKey, secrets::Secrets},
    log::Ring,
    supervisor::{
        control::Control,
        event::{Owner, PausedChannel},
        listeners::{Listeners, QuicPort},
        metrics::Metrics,
        processes::reaper::Children,
        secrets::WorkerSecrets,
        service_manager::ServiceManager,
        sessions::{Carried, SessionStore},
        upstreams::Upstreams,
        workers::Workers,
    },
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::{OwnedFd, RawFd},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

/// The form of the state and of the messages between our processes.
pub(crate) const FORMAT: u32 = 1;
/// Largest state, in bytes: as much as sessions and catalogues may have, and the rest.
pub(crate) const MAX: u64 = 512 << 20;

/// What is read first.
#[derive(Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) format: u32,
    /// The version that wrote it.
    pub(crate) version: String,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct State {
    format: u32,
    pub(crate) version: String,
    pub(crate) descriptors: Vec<RawFd>,
    /// Since the daemon's start. All times below are counted from there.
    pub(crate) uptime: Duration,
    pub(crate) started_ms: u64,
    pub(crate) generation: u32,
    /// The files of the configuration in force, as they are read; nobody can change them in
    /// between.
    pub(crate) files: Vec<(PathBuf, String)>,
    pub(crate) stopped: BTreeSet<String>,
    pub(crate) announced: bool,
    /// Whether we have put ourselves into the control group that we are in.
    #[serde(default)]
    pub(crate) moved: bool,
    pub(crate) seal: SealKey,
    pub(crate) reset_key: [u8; 32],
    pub(crate) secrets: Secrets,
    pub(crate) keys: Snapshot,
    pub(crate) run_as: Option<RunAs>,
    #[serde(rename = "memory")]
    pub(crate) sessions: Option<Carried>,
    #[serde(rename = "ports")]
    pub(crate) sockets: SavedSockets,
    #[serde(rename = "family")]
    pub(crate) children: SavedChildren,
    #[serde(rename = "books")]
    pub(crate) counters: SavedCounters,
    /// The connection of who asked for it, and whether lines of progress are wanted there.
    pub(crate) caller: Option<(usize, bool)>,
}

/// Why a state is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    /// It cannot be read at all.
    #[error("the state of the running daemon cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is not what we write.
    #[error("the state of the running daemon is not understood: {0}")]
    Json(#[from] serde_json::Error),
    /// It is in another form.
    #[error(
        "ggend {version} hands over in form {format}, and this binary takes form {FORMAT}: restart the daemon instead"
    )]
    Format {
        /// The version that wrote it.
        version: String,
        /// Which.
        format: u32,
    },
}

/// What is saved.
pub(crate) struct Rooms<'a> {
    pub(crate) uptime: Duration,
    pub(crate) started_ms: u64,
    pub(crate) generation: u32,
    pub(crate) stopped: &'a BTreeSet<String>,
    pub(crate) announced: bool,
    pub(crate) run_as: Option<RunAs>,
    pub(crate) refused: Option<&'a str>,
    pub(crate) ring: &'a Ring,
    pub(crate) control: &'a Control,
    pub(crate) children: &'a Children,
    pub(crate) listeners: &'a Listeners,
    pub(crate) service_manager: &'a ServiceManager,
    pub(crate) secrets: &'a WorkerSecrets,
    pub(crate) sessions: &'a SessionStore,
    pub(crate) workers: &'a Workers,
    pub(crate) upstreams: &'a Upstreams,
    pub(crate) metrics: &'a Metrics,
}

impl Rooms<'_> {
    /// The QUIC ports that are saved: the present one first, then those that workers read.
    pub(super) fn quic_ports(&self) -> Vec<Arc<QuicPort>> {
        self.listeners.quic_ports(self.workers.quic_ports())
    }
}

impl State {
    /// Everything as it is now. `files`: the texts of the configuration in force. `paused`: the
    /// channels that nobody reads. `caller`: see [`State::caller`].
    pub(crate) fn pack(
        rooms: &Rooms<'_>,
        files: Vec<(PathBuf, String)>,
        paused: &BTreeMap<Owner, PausedChannel>,
        caller: Option<(&OwnedFd, bool)>,
    ) -> Self {
        let mut fds = FdTable::default();
        let sockets = SavedSockets::pack(rooms, &mut fds);
        let children = SavedChildren::pack(rooms, paused, &mut fds);
        let caller = caller.map(|(caller, more)| (fds.put(caller), more));
        Self {
            format: FORMAT,
            version: ggen_wire::VERSION.to_owned(),
            descriptors: fds.numbers().to_vec(),
            uptime: rooms.uptime,
            started_ms: rooms.started_ms,
            generation: rooms.generation,
            files,
            stopped: rooms.stopped.clone(),
            announced: rooms.announced,
            moved: rooms.upstreams.has_moved(),
            seal: rooms.secrets.seal().clone(),
            reset_key: rooms.listeners.reset_key(),
            secrets: rooms.secrets.known().clone(),
            keys: rooms.secrets.known_keys().clone(),
            run_as: rooms.run_as,
            sessions: Some(rooms.sessions.carried()),
            sockets,
            children,
            counters: SavedCounters::pack(rooms),
            caller,
        }
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`Unreadable`]
    pub(crate) fn read(text: &[u8]) -> Result<Self, Unreadable> {
        let Head { format, version } = serde_json::from_slice(text)?;
        if format != FORMAT {
            return Err(Unreadable::Format { version, format });
        }
        Ok(serde_json::from_slice(text)?)
    }
}

/// A state that has arrived, with its descriptors.
pub(crate) struct Arrived {
    pub(crate) state: State,
    pub(crate) fds: ReceivedFds,
}

/// Takes what the binary before us has left, if there was one.
///
/// # Errors
/// [`Unreadable`]
pub(crate) fn arrived() -> Result<Option<Arrived>, Unreadable> {
    let Some(estate) = crate::platform::Estate::take() else {
        return Ok(None);
    };
    let state = State::read(&crate::platform::unsealed(&estate.text, MAX)?)?;
    let fds = ReceivedFds::new(estate.descriptors(&state.descriptors)?);
    Ok(Some(Arrived { state, fds }))
}
