//! All output. A terminal gets colour, a pipe gets the same text without escape codes; `--format
//! json` gets one JSON value.

use crate::failed::{Exit, Failed};
use ggen_wire::{Code, escape};
use serde::Serialize;
use std::io::{self, BufWriter, IsTerminal, Stderr, Stdout, Write};

/// What a piece of text says, and so its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Nothing special.
    Plain,
    /// A heading.
    Strong,
    /// Well.
    Good,
    /// To be looked at.
    Warn,
    /// Wrong.
    Bad,
    /// Of less interest.
    Faint,
}

impl Tone {
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Strong => "\x1b[1m",
            Self::Good => "\x1b[32m",
            Self::Warn => "\x1b[33m",
            Self::Bad => "\x1b[31m",
            Self::Faint => "\x1b[2m",
        }
    }

    /// `✓`, `!` or `✗`, and nothing for the rest.
    pub(crate) const fn mark(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Warn => "!",
            Self::Bad => "✗",
            _ => "",
        }
    }
}

/// Standard output and how to write on it.
pub(crate) struct Out {
    /// `--format json`
    pub(crate) json: bool,
    /// `--quiet`
    pub(crate) quiet: bool,
    /// `--verbose`
    pub(crate) verbose: bool,
    /// A person may be watching.
    pub(crate) terminal: bool,
    colour: bool,
    stdout: BufWriter<Stdout>,
}

impl Out {
    /// Looks at the terminal and at `NO_COLOR` (<https://no-color.org>).
    pub(crate) fn new(json: bool, quiet: bool, verbose: bool) -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        Self {
            json,
            quiet,
            verbose,
            terminal,
            colour: terminal && !json && colours(),
            stdout: BufWriter::new(stdout),
        }
    }

    /// Text in a tone.
    pub(crate) fn tone(&self, tone: Tone, text: &str) -> String {
        paint(self.colour, tone, text)
    }

    /// A line of the human form; nothing in the JSON form.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        if self.json {
            Ok(())
        } else {
            writeln!(self.stdout, "{text}")
        }
    }

    /// A line of the human form that `--quiet` leaves out, shown at once.
    pub(crate) fn say(&mut self, text: &str) -> io::Result<()> {
        if self.quiet {
            return Ok(());
        }
        self.line(text)?;
        self.flush()
    }

    /// The one value of the JSON form, indented; nothing in the human form.
    pub(crate) fn value(&mut self, value: &impl Serialize) -> io::Result<()> {
        if self.json { self.raw(value) } else { Ok(()) }
    }

    /// A JSON value, whatever the form.
    pub(crate) fn raw(&mut self, value: &impl Serialize) -> io::Result<()> {
        escape::write_pretty_json(&mut self.stdout, value)?;
        self.stdout.write_all(b"\n")
    }

    /// Text as it is, whatever the form.
    pub(crate) fn text(&mut self, text: &str) -> io::Result<()> {
        self.stdout.write_all(text.as_bytes())
    }

    /// A JSON value on one line, for streams.
    pub(crate) fn record(&mut self, value: &impl Serialize) -> io::Result<()> {
        escape::write_json(&mut self.stdout, value)?;
        self.stdout.write_all(b"\n")
    }

    /// A table with a heading, indented by two. A row's tone colours its first cell that has one.
    pub(crate) fn table(
        &mut self,
        headings: &[&str],
        rows: &[Vec<(Tone, String)>],
    ) -> io::Result<()> {
        let width = |text: &str| text.chars().count();
        let widths: Vec<usize> = (0..headings.len())
            .map(|column| {
                rows.iter()
                    .filter_map(|row| row.get(column))
                    .map(|cell| width(&cell.1))
                    .max()
                    .unwrap_or(0)
                    .max(width(headings[column]))
            })
            .collect();
        // A line end inside a cell would look like another row.
        let heading: Vec<_> = headings
            .iter()
            .map(|text| (Tone::Faint, (*text).to_owned()))
            .collect();
        for row in std::iter::once(&heading).chain(rows) {
            let mut text = String::from(" ");
            for (column, (tone, cell)) in row.iter().enumerate() {
                text.push(' ');
                text.push_str(&self.tone(*tone, &cell.replace('\n', " ")));
                if column + 1 < row.len() {
                    text.push_str(&" ".repeat(widths[column] - width(cell) + 1));
                }
            }
            self.line(text.trim_end())?;
        }
        Ok(())
    }

    /// Hands everything over.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.stdout.flush()
    }

    /// Prints a failure, in the JSON form on standard output, else on standard error.
    pub(crate) fn failed(&mut self, failed: &Failed) -> Exit {
        if failed.silent {
            return failed.exit;
        }
        // Whatever stands in the buffer comes first; when nothing can be written there is nobody to
        // tell.
        let _ = self.flush();
        if self.json {
            let _ = self.raw(&error_value(failed));
            let _ = self.flush();
        } else {
            let colour = stderr_colours();
            let mut text = format!(
                "{}: {}\n",
                paint(colour, Tone::Bad, &failed.label()),
                failed.message
            );
            if !failed.help.is_empty() {
                text.push_str(&format!(
                    "{}: {}\n",
                    paint(colour, Tone::Strong, "help"),
                    failed.help
                ));
            }
            let _ = io::stderr().write_all(text.as_bytes());
        }
        failed.exit
    }
}

/// `{"error": {"code", "message", "help"}}`
pub(crate) fn error_value(failed: &Failed) -> serde_json::Value {
    serde_json::json!({ "error": { "code": failed.code, "message": failed.message, "help": failed.help } })
}

/// A line on standard error.
pub(crate) fn note(text: &str) {
    // Nobody to tell when it cannot be written.
    let _ = writeln!(io::stderr(), "{text}");
}

/// A warning with its code, one line on standard error.
pub(crate) fn warning(code: Code, text: &str) {
    note(&format!(
        "{}: {text}",
        paint(stderr_colours(), Tone::Warn, &format!("warning[{code}]"))
    ));
}

/// A growing row of dots on standard error while something takes long; only a terminal sees it.
pub(crate) struct Dots {
    stderr: Stderr,
    shown: bool,
    active: bool,
}

impl Dots {
    /// None yet.
    pub(crate) fn new(out: &Out) -> Self {
        let stderr = io::stderr();
        let active = stderr.is_terminal() && !out.quiet && !out.json;
        Self {
            stderr,
            shown: false,
            active,
        }
    }

    /// One more.
    pub(crate) fn step(&mut self) {
        if self.active {
            let _ = self
                .stderr
                .write_all(if self.shown { b"." } else { b"  ." });
            self.shown = true;
        }
    }
}

impl Drop for Dots {
    fn drop(&mut self) {
        if self.shown {
            let _ = self.stderr.write_all(b"\n");
        }
    }
}

fn paint(colour: bool, tone: Tone, text: &str) -> String {
    if colour && tone != Tone::Plain && !text.is_empty() {
        format!("{}{text}\x1b[0m", tone.code())
    } else {
        text.to_owned()
    }
}

fn colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|value| value != "dumb")
}

fn stderr_colours() -> bool {
    io::stderr().is_terminal() && colours()
}
