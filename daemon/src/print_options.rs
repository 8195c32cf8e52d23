//! How the commands of `ggend` print: for people or programs. Definitions only.

use clap::{Args, ValueEnum};

/// Arguments of `ggend auth` and `ggend config`, in front of the verb or behind it.
#[derive(Clone, Copy, Debug, Default, Args)]
#[group(skip)]
pub(crate) struct PrintOptions {
    /// How to print.
    #[arg(long, global = true, value_enum)]
    format: Option<Format>,
    /// The same as `--format json`.
    #[arg(long, global = true)]
    json: bool,
    /// Print values and errors only.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

/// Ways to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Human,
    /// For programs.
    Json,
}

impl PrintOptions {
    /// The format that was asked for, if any was.
    pub(crate) fn format(self) -> Option<Format> {
        if self.json {
            Some(Format::Json)
        } else {
            self.format
        }
    }

    /// Whether JSON was asked for.
    pub(crate) fn is_json(self) -> bool {
        self.format() == Some(Format::Json)
    }
}
