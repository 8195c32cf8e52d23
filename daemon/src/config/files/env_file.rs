//! `envFile` of an entry: a file of `NAME=value` lines, as VS Code and docker read it. May not:
//! expand variables; a value is what the file says.

use std::{io::Read, os::unix::fs::MetadataExt, path::Path};

/// Larger files are refused.
const MAX: u64 = 1 << 20;

/// What a file says, and what is wrong with its mode.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct EnvFile {
    /// Names and values in the order of the file.
    pub variables: Vec<(String, String)>,
    /// Every user of the host may read it.
    pub is_readable_by_all: bool,
}

/// Reads the file.
///
/// # Errors
/// In words: it cannot be read, others may write it, or a line is no `NAME=value`.
pub(crate) fn read(path: &Path) -> Result<EnvFile, String> {
    let facts = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !facts.is_file() {
        return Err("not a regular file".to_owned());
    }
    if facts.mode() & 0o002 != 0 {
        return Err("every user of this host may write it".to_owned());
    }
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX + 1).read_to_string(&mut text))
        .map_err(|error| error.to_string())?;
    if text.len() as u64 > MAX {
        return Err(format!("larger than {} MB", MAX >> 20));
    }
    Ok(EnvFile {
        variables: parse(&text)?,
        is_readable_by_all: facts.mode() & 0o004 != 0,
    })
}

fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let pair = line
            .split_once('=')
            .map(|(name, value)| (name.trim(), value.trim()));
        let Some((name, value)) = pair.filter(|(name, _)| {
            !name.is_empty()
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
        }) else {
            // The line is not shown: it may hold a secret.
            return Err(format!("line {} is not NAME=value", index + 1));
        };
        found.push((name.to_owned(), unquoted(value)));
    }
    Ok(found)
}

/// A value without its quotes. In double quotes `\n` is a line break; without quotes a comment may
/// follow behind a space.
fn unquoted(value: &str) -> String {
    let inside = |quote: char| {
        let rest = value.strip_prefix(quote)?;
        let end = rest.rfind(quote)?;
        let behind = rest[end + 1..].trim_start();
        (behind.is_empty() || behind.starts_with('#')).then(|| &rest[..end])
    };
    if let Some(text) = inside('\'') {
        return text.to_owned();
    }
    if let Some(text) = inside('"') {
        return text
            .replace("\\n", "\n")
            .replace("\\\"", "\"")
            .replace("\\\\", "\\");
    }
    value
        .split(" #")
        .next()
        .unwrap_or_default()
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn lines_are_read_as_other_programs_do() {
        let text = "# c\n\nA=1\nexport B='x #y'\nC=\"a\\nb\" # note\nD=v # note\nE=\nF=a=b#c\n";
        let found = parse(text).unwrap_or_default();
        let found: Vec<(&str, &str)> = found
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                ("A", "1"),
                ("B", "x #y"),
                ("C", "a\nb"),
                ("D", "v"),
                ("E", ""),
                ("F", "a=b#c")
            ]
        );
        assert_eq!(
            parse("A=1\nsecret words\n"),
            Err("line 2 is not NAME=value".to_owned())
        );
    }
}
