//! A log file that is rotated by time and size: `path`, `path.1` (the previous one), `path.2`, …
//! Blocks: used by the writing thread only.

use crate::config::{LogFile, Rotation};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

const SECOND: u64 = 1_000_000;
/// How often it is checked whether the file has been moved away (by logrotate(8)), in microseconds.
const CHECK_EVERY: u64 = SECOND;

/// The open file.
pub(super) struct LogWriter {
    path: PathBuf,
    settings: LogFile,
    file: File,
    size: u64,
    period: u64,
    checked_at: u64,
}

impl LogWriter {
    /// Opens the file for appending, mode 0640. `None` without a path.
    ///
    /// # Errors
    /// As `open(2)`.
    pub(super) fn open(settings: &LogFile) -> io::Result<Option<Self>> {
        let Some(path) = settings.path.clone() else {
            return Ok(None);
        };
        let (file, size, changed) = open(&path)?;
        let period = period(settings.rotation, changed);
        Ok(Some(Self {
            path,
            settings: settings.clone(),
            file,
            size,
            period,
            checked_at: 0,
        }))
    }

    /// Appends a line that was said at `at_us`, after a rotation if one is due.
    ///
    /// # Errors
    /// When it cannot be written; what went before stays.
    pub(super) fn write(&mut self, text: &str, at_us: u64) -> io::Result<()> {
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        let now = period(self.settings.rotation, at_us);
        let full = self.size > 0 && self.size.saturating_add(length) > self.settings.max_size.0;
        if full || (now > self.period && self.size > 0) {
            self.rotate()?;
        } else if at_us >= self.checked_at.saturating_add(CHECK_EVERY) {
            self.checked_at = at_us;
            self.follow()?;
        }
        self.period = self.period.max(now);
        self.file.write_all(text.as_bytes())?;
        self.size += length;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let kept = u32::from(self.settings.keep);
        let numbered = |number: u32| PathBuf::from(format!("{}.{number}", self.path.display()));
        for number in (1..kept).rev() {
            move_if_there(&numbered(number), &numbered(number + 1))?;
        }
        if kept == 0 {
            fs::remove_file(&self.path)?
        } else {
            move_if_there(&self.path, &numbered(1))?
        }
        (self.file, self.size, _) = open(&self.path)?;
        Ok(())
    }

    /// Goes on in a new file if somebody has moved this one away.
    fn follow(&mut self) -> io::Result<()> {
        let ours = self.file.metadata()?;
        match fs::metadata(&self.path) {
            Ok(named) if named.ino() == ours.ino() && named.dev() == ours.dev() => {
                self.size = ours.len()
            }
            _ => (self.file, self.size, _) = open(&self.path)?,
        }
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<(File, u64, u64)> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o640);
    if crate::platform::own_uid() == 0 && !is_roots_alone(path) {
        // Whoever the folder belongs to could lead root anywhere.
        options.custom_flags(nix::libc::O_NOFOLLOW);
    }
    let file = options.open(path).map_err(|error| {
        if error.raw_os_error() == Some(nix::libc::ELOOP) {
            let what = "it is a symbolic link, in a folder that others than root may write";
            return io::Error::other(format!("{}: {what}", path.display()));
        }
        error
    })?;
    let about = file.metadata()?;
    let changed = u64::try_from(about.mtime())
        .unwrap_or(0)
        .saturating_mul(SECOND);
    Ok((file, about.len(), changed))
}

/// Whether nobody but root can make names in the folder of a file.
fn is_roots_alone(path: &Path) -> bool {
    let folder = path.parent().and_then(|folder| folder.metadata().ok());
    folder.is_some_and(|found| found.uid() == 0 && found.mode() & 0o022 == 0)
}

fn move_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The number of the hour or day (UTC) in which a time lies.
const fn period(rotation: Rotation, at_us: u64) -> u64 {
    match rotation {
        Rotation::Never => 0,
        Rotation::Hourly => at_us / (3600 * SECOND),
        Rotation::Daily => at_us / (86_400 * SECOND),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Size;

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn a_file_is_rotated_by_size_and_by_time_and_the_oldest_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let settings = LogFile {
            path: Some(path.clone()),
            rotation: Rotation::Hourly,
            max_size: Size(10),
            keep: 2,
        };
        let mut writer = LogWriter::open(&settings).unwrap().unwrap();
        let start = period(Rotation::Daily, 2_000_000_000 * SECOND) * 86_400 * SECOND;
        for (text, at) in [
            ("one\n", 0),
            ("two\n", 1),
            ("three\n", 2),
            ("four\n", 3600 * SECOND),
            ("five\n", 3600 * SECOND + 1),
        ] {
            writer.write(text, start + at).unwrap();
        }
        let numbered = |number| PathBuf::from(format!("{}.{number}", path.display()));
        assert_eq!(
            [read(&path), read(&numbered(1)), read(&numbered(2))],
            ["four\nfive\n", "three\n", "one\ntwo\n"]
        );
        writer
            .write("more than ten bytes\n", start + 3600 * SECOND + 2)
            .unwrap();
        assert_eq!(
            (read(&numbered(2)).as_str(), numbered(3).exists()),
            ("three\n", false)
        );
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let settings = LogFile {
            path: Some(path.clone()),
            rotation: Rotation::Never,
            ..LogFile::default()
        };
        let mut writer = LogWriter::open(&settings).unwrap().unwrap();
        writer.write("a\n", CHECK_EVERY).unwrap();
        fs::rename(&path, directory.path().join("moved")).unwrap();
        writer.write("b\n", 3 * CHECK_EVERY).unwrap();
        assert_eq!(
            (
                read(&directory.path().join("moved")).as_str(),
                read(&path).as_str()
            ),
            ("a\n", "b\n")
        );
    }
}
