//! `ggend config path`: where files are looked for, highest first, and which exist.

use super::{Answer, Refusal};
use crate::config::{LoadOptions, load::places};
use serde_json::{Value, json};
use std::{fmt::Write as _, io::ErrorKind, path::Path};

/// `config path`. What is in the files does not matter here.
pub(super) fn path(options: &LoadOptions) -> Result<Answer, Refusal> {
    let places = places(options);
    let mut text = "Configuration files, highest first:\n".to_owned();
    let width = places
        .iter()
        .map(|place| place.display().to_string().chars().count())
        .max()
        .unwrap_or_default();
    let mut list: Vec<Value> = Vec::new();
    for place in &places {
        let state = state(place);
        let _ = writeln!(text, "  {:width$}  {state}", place.display());
        list.push(json!({"path": place, "state": state}));
    }
    let files: Vec<&Value> = list
        .iter()
        .filter(|entry| entry["state"] == "read")
        .map(|entry| &entry["path"])
        .collect();
    if files.is_empty() {
        text.push_str("None is there: the built-in defaults apply.\n");
    }
    Ok(Answer {
        text,
        json: json!({"files": files, "looked_for": list}),
        exit: 0,
        bare: true,
    })
}

fn state(place: &Path) -> &'static str {
    match std::fs::File::open(place) {
        Ok(file) if file.metadata().is_ok_and(|facts| facts.is_file()) => "read",
        Ok(_) => "not a file",
        Err(error) if error.kind() == ErrorKind::PermissionDenied => "no permission",
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            "not there"
        }
        Err(_) => "cannot be read",
    }
}
