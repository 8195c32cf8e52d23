//! systemd's credentials (<https://systemd.io/CREDENTIALS/>): files in a folder that only this
//! service can read, for `${credential:NAME}`.

use std::{collections::BTreeMap, fs, path::Path};

/// Before a credential's name among the variables; no variable of a process can be called so.
pub(crate) const PREFIX: &str = "credential:";
/// `LoadCredential=ggen:FOLDER` puts this before the names of the folder's files.
const FOLDER: &str = "ggen_";
/// Largest one; systemd's own limit for all of them together.
const MAX: u64 = 1 << 20;

/// Every credential as a variable, without the line break at its end. What cannot be read, or is no
/// text, is left out: it will be missed by name.
pub(crate) fn read(folder: &Path) -> BTreeMap<String, String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return BTreeMap::new();
    };
    let one = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let about = fs::metadata(entry.path()).ok()?;
        let text = if about.is_file() && about.len() <= MAX {
            fs::read_to_string(entry.path()).ok()?
        } else {
            return None;
        };
        let text = text.strip_suffix('\n').unwrap_or(&text).to_owned();
        Some((
            format!("{PREFIX}{}", name.strip_prefix(FOLDER).unwrap_or(&name)),
            text,
        ))
    };
    entries.flatten().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::layers::variables::expand;

    #[test]
    fn a_credential_is_found_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ggen_github.token"), "s3cret\n").unwrap();
        fs::write(folder.path().join("tls"), "key").unwrap();
        let env = read(folder.path());
        assert_eq!(
            expand("Bearer ${credential:github.token} ${credential:tls}", &env).unwrap(),
            "Bearer s3cret key"
        );
        assert_eq!(expand("${credential:none:-no}", &env).unwrap(), "no");
        let missing = expand("${credential:none}", &env).unwrap_err();
        assert_eq!(
            missing.what,
            "credential none is not there and ${credential:none} has no default"
        );
    }
}
