//! Writing a configuration file: one writer at a time, and a reader (or a crash at any moment) sees
//! the old content or the new one, never a part.
//!
//! Writers take turns by a lock on the file's folder (flock(2)): it needs no file of its own, and
//! ends with the process that holds it. The new content is written beside the file, made durable,
//! and renamed over it. May not: know what is in the file.

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    unistd::{Gid, Uid, fchown},
};
use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// A writer holds the lock for milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Mode of a new file: it may come to hold secrets.
const NEW_MODE: u32 = 0o600;

/// The right to replace a file, until it is dropped.
pub(crate) struct Turn {
    /// The file itself; of a symbolic link, what it leads to.
    file: PathBuf,
    folder: PathBuf,
    held: Flock<File>,
}

impl Turn {
    /// Waits for other writers, at most 10 s. The folder is made if it does not exist.
    ///
    /// # Errors
    /// The folder cannot be made or opened; `TimedOut` if another writer does not come to its end.
    pub(crate) fn take(path: &Path) -> io::Result<Self> {
        // A link must stay a link: its target is replaced.
        let file = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let folder = file
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."))
            .to_owned();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        let mut open = File::open(&folder)?;
        let until = Instant::now() + PATIENCE;
        loop {
            match Flock::lock(open, FlockArg::LockExclusiveNonblock) {
                Ok(held) => return Ok(Self { file, folder, held }),
                Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) if Instant::now() < until => {
                    open = back
                }
                Err((_, Errno::EWOULDBLOCK)) => {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "another program holds a lock on the folder",
                    ));
                }
                Err((_, error)) => return Err(error.into()),
            }
            #[allow(
                clippy::disallowed_methods,
                reason = "a command, without an event loop that this could block"
            )]
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The file that is replaced.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Replaces the content; an existing file keeps its mode and owner.
    ///
    /// # Errors
    /// The file is as it was, except that after a failure of the last step (making the rename
    /// durable) it has the new content.
    pub(crate) fn write(&self, content: &str) -> io::Result<()> {
        let before = match std::fs::metadata(&self.file) {
            Ok(facts) => Some(facts),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if before.is_some() {
            // Renaming needs no right to write the file itself; whoever took that right away meant
            // it.
            OpenOptions::new().write(true).open(&self.file)?;
        }
        // The name is the same each time: what a killed writer left goes with the next write.
        // Nobody else uses it, as the lock is held.
        let name = self.file.file_name().unwrap_or_default().to_string_lossy();
        let fresh = self
            .folder
            .join(format!(".{}.ggen-new", name.trim_start_matches('.')));
        match std::fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let written = self
            .write_fresh(&fresh, content, before.as_ref())
            .and_then(|()| std::fs::rename(&fresh, &self.file));
        if let Err(error) = written {
            // The first error is the one that matters.
            let _ = std::fs::remove_file(&fresh);
            return Err(error);
        }
        self.held.sync_all()
    }

    /// Writes a copy of the content beside the file, with its mode and owner.
    ///
    /// # Errors
    /// It could not be written.
    pub(crate) fn write_beside(&self, path: &Path, content: &str) -> io::Result<()> {
        let before = std::fs::metadata(&self.file)?;
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.write_fresh(path, content, Some(&before))
    }

    fn write_fresh(
        &self,
        fresh: &Path,
        content: &str,
        before: Option<&std::fs::Metadata>,
    ) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(NEW_MODE)
            .open(fresh)?;
        if let Some(before) = before {
            let now = file.metadata()?;
            if (now.uid(), now.gid()) != (before.uid(), before.gid()) {
                fchown(
                    &file,
                    Some(Uid::from_raw(before.uid())),
                    Some(Gid::from_raw(before.gid())),
                )?;
            }
            // After the owner: changing that clears bits of the mode.
            file.set_permissions(std::fs::Permissions::from_mode(before.mode() & 0o7777))?;
        }
        file.write_all(content.as_bytes())?;
        file.sync_all()
    }
}
