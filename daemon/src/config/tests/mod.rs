//! Tests of the configuration: each on a temporary home, working directory and system folder.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed"
)]

mod anything;
mod corpus;
mod described;
mod edits;
mod entries;
mod layers;
mod report;
mod secrets;
mod wrong;

use super::*;
use std::{collections::BTreeMap, os::unix::fs::PermissionsExt, path::PathBuf};
use tempfile::TempDir;

/// A host of its own.
pub(super) struct Host {
    pub(super) dir: TempDir,
    pub(super) options: LoadOptions,
}

impl Host {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        for below in ["cwd", "home/.ggen/mcp", "etc"] {
            std::fs::create_dir_all(dir.path().join(below)).unwrap();
        }
        let options = LoadOptions {
            cwd: dir.path().join("cwd"),
            home: Some(dir.path().join("home")),
            etc: dir.path().join("etc"),
            user_mode: true,
            ..LoadOptions::default()
        };
        Self { dir, options }
    }

    /// With a `./.mcp.json`.
    pub(super) fn with(text: &str) -> Self {
        let host = Self::new();
        host.write("cwd/.mcp.json", text);
        host
    }

    pub(super) fn write(&self, path: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(path);
        std::fs::write(&path, text).unwrap();
        self.mode(&path, 0o600);
        path
    }

    pub(super) fn mode(&self, path: &PathBuf, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(super) fn env(mut self, variables: &[(&str, &str)]) -> Self {
        self.options.env = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect::<BTreeMap<_, _>>();
        self
    }

    pub(super) fn load(&self) -> Result<Loaded, Vec<Problem>> {
        load(&self.options)
    }

    pub(super) fn loaded(&self) -> Loaded {
        self.load()
            .unwrap_or_else(|problems| panic!("{}", self.lines(&problems)))
    }

    /// The problems as they are shown, the temporary directory cut off, errors or not.
    fn problems(&self) -> String {
        match self.load() {
            Ok(loaded) => self.lines(&loaded.warnings),
            Err(problems) => self.lines(&problems),
        }
    }

    fn lines(&self, problems: &[Problem]) -> String {
        let text = problems
            .iter()
            .map(|problem| format!("{:?} {problem}\n", problem.severity))
            .collect::<String>();
        text.replace(&format!("{}/", self.dir.path().display()), "/")
            .replace("/cwd/.mcp.json:", "")
    }
}
