//! `ggen mcp config …`: becomes `ggend config` or `ggend check`, which use the daemon's own code
//! and need no running daemon.

use crate::{
    args::{Config, Format},
    context::Context,
    daemon,
    failed::Failed,
};
use std::{ffi::OsString, path::PathBuf};

/// Becomes `ggend`; returns only when that fails.
pub(crate) fn run(context: &Context, verb: Config) -> Failed {
    let global = &context.global;
    if let Config::Validate { file } = verb {
        let mut line = Line::default();
        line.option("--socket", global.socket.clone());
        line.word("check");
        line.0
            .extend(file.or_else(|| global.config.clone()).map(Into::into));
        line.flag("--json", context.out.json);
        line.flag("--verbose", context.out.verbose);
        context.say_program(&line.0);
        return daemon::become_daemon(&line.0);
    }
    let mut line = Line::of_config(context);
    match verb {
        Config::Init {
            examples,
            file,
            force,
        } => {
            line.word("init");
            line.flag("--examples", examples);
            line.option("--file", file);
            line.flag("--force", force);
        }
        Config::Show { effective } => {
            line.word("show");
            line.flag("--effective", effective);
        }
        Config::Get { key } => line.operands("get", [key]),
        Config::Set { assignments } => line.operands("set", assignments),
        Config::Unset { keys } => line.operands("unset", keys),
        Config::Path => line.word("path"),
        Config::Validate { .. } | Config::Schema => line.word("schema"),
    }
    context.say_program(&line.0);
    daemon::become_daemon(&line.0)
}

/// The arguments of `ggend`.
#[derive(Default)]
pub(super) struct Line(pub(super) Vec<OsString>);

impl Line {
    /// `ggend config`, with the flags of every command.
    pub(super) fn of_config(context: &Context) -> Self {
        let global = &context.global;
        let mut line = Self::default();
        line.option("--socket", global.socket.clone());
        line.option("--config", global.config.clone());
        line.word("config");
        line.flag("--json", context.out.json);
        // Without a format, `show` writes JSON to a file or pipe.
        line.flag(
            "--format=human",
            !context.out.json && global.format == Some(Format::Human),
        );
        line.flag("--quiet", context.out.quiet);
        line
    }

    /// What was typed last, of which nothing may be taken for a flag.
    pub(super) fn rest(&mut self, operands: impl IntoIterator<Item = String>) {
        self.0.push("--".into());
        self.0.extend(operands.into_iter().map(Into::into));
    }

    pub(super) fn word(&mut self, word: &str) {
        self.0.push(word.into());
    }

    pub(super) fn flag(&mut self, name: &str, given: bool) {
        self.0.extend(given.then(|| name.into()));
    }

    pub(super) fn option(&mut self, name: &str, value: Option<PathBuf>) {
        if let Some(value) = value {
            self.0.extend([name.into(), value.into()]);
        }
    }

    /// A verb with what was typed behind it, of which none may be taken for a flag.
    fn operands(&mut self, verb: &str, operands: impl IntoIterator<Item = String>) {
        self.0.extend([verb.into(), "--".into()]);
        self.0.extend(operands.into_iter().map(Into::into));
    }
}
