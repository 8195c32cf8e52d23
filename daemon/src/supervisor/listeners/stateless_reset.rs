//! The key of stateless resets (RFC 9000 §10.3). It is kept in the state directory, so that clients
//! of a daemon that died hear of it from the next one, in one round trip instead of at their idle
//! time-out. Who has it can end connections whose ids they see, and nothing else.

use crate::{auth::hex, config::state, tls::make};
use std::{
    fs,
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

/// In the state directory.
const FILE: &str = "quic-reset.key";
/// Permission bits of others.
const OTHERS: u32 = 0o077;

/// The key.
pub(crate) type ResetKey = [u8; 32];

/// The key that is kept there, else a new one, which is kept if that is possible. Reads or writes a
/// few bytes; for the start.
pub(crate) fn key(directory: &Path) -> ResetKey {
    let path = directory.join(FILE);
    if let Ok(Some(kept)) = read(&path) {
        return kept;
    }
    let mut fresh = [0; 32];
    // Without it the resets of a successor would not be believed, and that is all.
    getrandom::fill(&mut fresh).unwrap_or_default();
    let text = hex::encode(&fresh) + "\n";
    let kept = state::make(directory)
        .and_then(|()| make::write(&path, &text, 0o600, true))
        .and_then(|()| state::keep_owner(&path));
    if let Err(error) = kept {
        tracing::debug!(target: "transport", path = %path.display(), %error, "the key of stateless resets is not kept");
    }
    fresh
}

/// `None`: what is there is no key of ours, or others may know it.
fn read(path: &Path) -> io::Result<Option<ResetKey>> {
    let mut file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(path)?;
    let facts = file.metadata()?;
    if !facts.is_file() || facts.mode() & OTHERS != 0 {
        return Ok(None);
    }
    let mut text = String::new();
    file.by_ref().take(100).read_to_string(&mut text)?;
    Ok(hex::decode(text.trim_end()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_is_the_same_at_the_next_start_and_nobody_else_may_read_it() {
        let outer = tempfile::tempdir().unwrap();
        let directory = outer.path().join("state");
        let first = key(&directory);
        assert_eq!(key(&directory), first);
        let path = directory.join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        // What others may know, what is damaged and what is not there makes way for a new one.
        fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        let second = key(&directory);
        assert!(second != first && key(&directory) == second);
        fs::write(&path, "nonsense\n").unwrap();
        let third = key(&directory);
        assert!(third != second && key(&directory) == third);
        // Where nothing can be kept, there is one all the same.
        let file = outer.path().join("file");
        fs::write(&file, "").unwrap();
        assert_ne!(key(&file.join("state")), [0; 32]);
    }
}
