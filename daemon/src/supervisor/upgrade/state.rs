//! Everything that one binary tells the next, as JSON. Who changes it, or a message between the
//! supervisor and its children (`ipc/`), in a way that the version before does not write or does
//! not understand, raises [`FORMAT`]: such a binary does not take over in place.

use crate::{
    auth::Snapshot,
    ipc::{messages::RunAs, seal::SealKey, secrets::Secrets},
    supervisor::{
        Supervisor,
        channels::{Owner, PausedChannel},
        sessions::Carried,
        upgrade::{
            children::SavedChildren,
            counters::SavedCounters,
            fd_table::{FdTable, ReceivedFds},
            sockets::SavedSockets,
        },
    },
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::RawFd,
    path::PathBuf,
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
    pub(crate) memory: Option<Carried>,
    pub(crate) ports: SavedSockets,
    pub(crate) family: SavedChildren,
    pub(crate) books: SavedCounters,
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

impl State {
    /// Everything as it is now. `rests`: the channels that are paused.
    pub(super) fn pack(
        supervisor: &mut Supervisor,
        files: Vec<(PathBuf, String)>,
        rests: &BTreeMap<Owner, PausedChannel>,
        caller: Option<(&std::os::fd::OwnedFd, bool)>,
    ) -> Self {
        let mut fds = FdTable::default();
        let ports = SavedSockets::pack(supervisor, &mut fds);
        let family = SavedChildren::pack(supervisor, rests, &mut fds);
        let caller = caller.map(|(caller, more)| (fds.put(caller), more));
        Self {
            format: FORMAT,
            version: ggen_wire::VERSION.to_owned(),
            descriptors: fds.numbers().to_vec(),
            uptime: supervisor.now(),
            started_ms: supervisor.started_ms,
            generation: supervisor.generation,
            files,
            stopped: supervisor.stopped.clone(),
            announced: supervisor.announced,
            moved: supervisor.cgroups.has_moved(),
            seal: supervisor.seal.clone(),
            reset_key: supervisor.listeners.reset_key(),
            secrets: supervisor.secrets.clone(),
            keys: supervisor.keys.known.clone(),
            run_as: supervisor.run_as,
            memory: Some(supervisor.sessions.carried()),
            ports,
            family,
            books: SavedCounters::pack(supervisor),
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
