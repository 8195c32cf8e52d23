//! One daemon per control socket: connecting first is the lock, a file lock keeps two that start at
//! once apart, and a stale socket is removed only by who holds that lock and could not connect.

use crate::{config, platform};
use nix::fcntl::{Flock, FlockArg, OFlag};
use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io,
    os::fd::OwnedFd,
    os::unix::{
        fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

/// The control socket, held by this process.
#[derive(Debug)]
pub(crate) struct Instance {
    /// Where it is.
    pub(crate) path: PathBuf,
    lock_path: PathBuf,
    pub(crate) lock: Option<Flock<File>>,
    /// The service manager's: it outlives us.
    pub(crate) lent: bool,
    /// The socket itself, beside the one that is served.
    pub(crate) socket: UnixListener,
}

/// Why this process cannot be the one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstanceError {
    /// Another daemon answers at the socket.
    #[error("another ggend serves {0}")]
    Running(PathBuf),
    /// The place is not usable.
    #[error("{0} cannot be used for the control socket")]
    Place(PathBuf, #[source] io::Error),
}

impl Instance {
    /// Where the control socket is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The socket, to be served.
    ///
    /// # Errors
    /// When it cannot be duplicated.
    pub(crate) fn listener(&self) -> io::Result<UnixListener> {
        self.socket.try_clone()
    }

    /// Takes the place and binds the socket: its directory 0700 (0750 for root), the socket 0660.
    ///
    /// # Errors
    /// [`InstanceError`]
    pub(crate) fn take(path: &Path, root: bool) -> Result<(Self, UnixListener), InstanceError> {
        let place = |error| InstanceError::Place(path.to_path_buf(), error);
        if UnixStream::connect(path).is_ok() {
            return Err(InstanceError::Running(path.to_path_buf()));
        }
        if let Some(directory) = path
            .parent()
            .filter(|directory| !directory.as_os_str().is_empty())
        {
            let mode = if root { 0o750 } else { 0o700 };
            DirBuilder::new()
                .recursive(true)
                .mode(mode)
                .create(directory)
                .map_err(place)?;
            // Its owner could lead us elsewhere by links.
            if let Some(why) = config::somebody_else(directory, platform::own_uid(), true) {
                return Err(place(io::Error::new(io::ErrorKind::PermissionDenied, why)));
            }
        }
        let lock_path = path.with_extension("lock");
        let Some(lock) = lock(&lock_path).map_err(place)? else {
            return Err(InstanceError::Running(path.to_path_buf()));
        };
        // Who held the lock a moment ago may be serving by now.
        if UnixStream::connect(path).is_ok() {
            return Err(InstanceError::Running(path.to_path_buf()));
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(place(error)),
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(place)?;
        fs::set_permissions(path, Permissions::from_mode(0o660)).map_err(place)?;
        listener.set_nonblocking(true).map_err(place)?;
        let socket = listener.try_clone().map_err(place)?;
        Ok((
            Self {
                path: path.to_path_buf(),
                lock_path,
                lock: Some(lock),
                lent: false,
                socket,
            },
            listener,
        ))
    }

    /// Takes the control socket that the service manager listens at (`ggend-control.socket`):
    /// connecting would only reach ourselves, so the lock file alone keeps others away. `path` is
    /// where it is looked for if the socket itself does not tell.
    ///
    /// # Errors
    /// [`InstanceError`]
    pub(crate) fn adopt(
        socket: OwnedFd,
        path: &Path,
    ) -> Result<(Self, UnixListener), InstanceError> {
        let listener = UnixListener::from(socket);
        let path = listener
            .local_addr()
            .ok()
            .and_then(|address| address.as_pathname().map(Path::to_path_buf))
            .unwrap_or_else(|| path.into());
        let place = |error| InstanceError::Place(path.clone(), error);
        listener.set_nonblocking(true).map_err(place)?;
        let lock_path = path.with_extension("lock");
        let Some(lock) = lock(&lock_path).map_err(place)? else {
            return Err(InstanceError::Running(path));
        };
        let socket = listener.try_clone().map_err(place)?;
        Ok((
            Self {
                path,
                lock_path,
                lock: Some(lock),
                lent: true,
                socket,
            },
            listener,
        ))
    }

    /// Goes on with what the binary before us has held, its lock included: a lock belongs to the
    /// open file, not to who opened it.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub(crate) fn resume(
        path: PathBuf,
        lent: bool,
        socket: UnixListener,
        lock: Option<File>,
    ) -> io::Result<(Self, UnixListener)> {
        socket.set_nonblocking(true)?;
        let listener = socket.try_clone()?;
        let lock_path = path.with_extension("lock");
        let lock = lock.and_then(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock).ok());
        Ok((
            Self {
                path,
                lock_path,
                lock,
                lent,
                socket,
            },
            listener,
        ))
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if !self.lent {
            fs::remove_file(&self.path).unwrap_or_default();
        }
        // Under the lock, so that nobody can hold a lock on the file that vanishes and believe that
        // it counts.
        fs::remove_file(&self.lock_path).unwrap_or_default();
        drop(self.lock.take());
    }
}

/// The lock, or `None` if another process holds it. A file that was removed between opening and
/// locking is not the lock.
fn lock(path: &Path) -> io::Result<Option<Flock<File>>> {
    loop {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(path)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => match (fs::metadata(path), lock.metadata()) {
                (Ok(named), Ok(held)) if named.ino() == held.ino() && named.dev() == held.dev() => {
                    return Ok(Some(lock));
                }
                _ => {}
            },
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => return Ok(None),
            Err((_, error)) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_holds_the_place_and_a_stale_socket_is_no_obstacle() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/ggend.sock");
        let (first, listener) = Instance::take(&path, false).unwrap();
        assert!(matches!(
            Instance::take(&path, false),
            Err(InstanceError::Running(_))
        ));
        assert_eq!(
            fs::metadata(path.parent().unwrap())
                .unwrap()
                .permissions()
                .mode()
                & 0o777,
            0o700
        );
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o660
        );
        drop((first, listener));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);

        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        assert!(Instance::take(&path, false).is_ok());
    }

    #[test]
    fn no_link_is_followed_and_no_directory_used_that_others_may_write() {
        let directory = tempfile::tempdir().unwrap();
        let run = directory.path().join("run");
        let path = run.join("ggend.sock");
        fs::create_dir(&run).unwrap();
        let target = directory.path().join("target");
        std::os::unix::fs::symlink(&target, run.join("ggend.lock")).unwrap();
        assert!(matches!(
            Instance::take(&path, false),
            Err(InstanceError::Place(..))
        ));
        assert!(!target.exists());
        fs::remove_file(run.join("ggend.lock")).unwrap();
        fs::set_permissions(&run, Permissions::from_mode(0o777)).unwrap();
        let refused = Instance::take(&path, false).unwrap_err();
        let why = std::error::Error::source(&refused).unwrap().to_string();
        assert!(why.contains("others may write"), "{why}");
    }
}
