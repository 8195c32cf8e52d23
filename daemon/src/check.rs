//! `ggend check [FILE]`: loads and checks a configuration as the daemon would, tries commands and
//! ports, prints the result. May not: start anything, write anything, ask a running daemon anything
//! but which ports are its own.

mod addresses;
mod running;

use crate::config::{
    self, Config, LoadOptions, Loaded, Location, Problem, Severity, Upstream, UpstreamTransport,
    find_command,
};
use addresses::{Listener, PortState};
use ggen_wire::Code;
use running::Running;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    fmt::Write as _,
    io::{IsTerminal, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Exit code for a configuration that is refused: EX_CONFIG of sysexits.h(3).
const EX_CONFIG: u8 = 78;

/// Arguments of `ggend check`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Options {
    /// The file to check; without it, the files that the daemon would read.
    pub file: Option<PathBuf>,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// The same as `--format json`.
    #[arg(long)]
    pub json: bool,
    /// Judge as for the service: `./.mcp.json` is not read, unsafe file modes are errors.
    #[arg(long)]
    pub service: bool,
    /// Also which files are read, where listeners and servers come from, and how servers are run.
    #[arg(long)]
    pub verbose: bool,
}

/// How the result is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Human,
    /// One JSON object.
    Json,
}

/// Checks and prints; exits 0 if the configuration is valid (warnings allowed), else 78.
#[must_use]
pub fn run(options: &Options, socket: &Path) -> ExitCode {
    let mut load = LoadOptions::from_process(!options.service).to_run();
    load.config_path.clone_from(&options.file);
    let mut report = Report::of(&load);
    report.ask(socket);
    report.verbose = options.verbose;
    let mut out = std::io::stdout().lock();
    let text = if options.json || options.format == Format::Json {
        ggen_wire::escape::pretty_json(&report.json()) + "\n"
    } else {
        report.human(out.is_terminal() && std::env::var_os("NO_COLOR").is_none())
    };
    // Whoever closes the pipe early has read enough; the exit code still tells.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    if report.errors() == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EX_CONFIG)
    }
}

/// The result of a check.
pub struct Report {
    shown_file: String,
    loaded: Option<Loaded>,
    problems: Vec<Problem>,
    listeners: Vec<Listener>,
    commands: HashMap<String, PathBuf>,
    verbose: bool,
}

impl Report {
    /// Loads, then tries ports and commands.
    #[must_use]
    pub fn of(options: &LoadOptions) -> Self {
        let mut report = match config::load(options) {
            Ok(loaded) => Self::new(options, loaded.warnings.clone(), Some(loaded)),
            Err(problems) => Self::new(options, problems, None),
        };
        let Some(loaded) = &report.loaded else {
            return report;
        };
        report.listeners = addresses::try_all(&loaded.config);
        for (name, upstream) in in_order(&loaded.config).filter(|(_, upstream)| upstream.enabled) {
            let source = loaded
                .provenance
                .get(&format!("mcpServers.{name}"))
                .cloned()
                .unwrap_or_default();
            match find_command(
                name,
                upstream,
                &options.env,
                &options.cwd,
                Location { source, at: None },
            ) {
                Some(Ok(path)) => drop(report.commands.insert(name.to_owned(), path)),
                Some(Err(problem)) => report.problems.push(problem),
                None => {}
            }
        }
        report
    }

    fn new(options: &LoadOptions, problems: Vec<Problem>, loaded: Option<Loaded>) -> Self {
        let named = options.named_file();
        let first = loaded.as_ref().and_then(|loaded| loaded.file.clone());
        let shown_file = match (named, first) {
            (Some(named), _) => named.display().to_string(),
            (None, Some(file)) => match file.strip_prefix(&options.cwd) {
                Ok(below) => format!("./{}", below.display()),
                Err(_) => file.display().to_string(),
            },
            (None, None) if loaded.is_some() => "none found, built-in defaults".to_owned(),
            (None, None) => "./.mcp.json".to_owned(),
        };
        Self {
            shown_file,
            loaded,
            problems,
            listeners: Vec::new(),
            commands: HashMap::new(),
            verbose: false,
        }
    }

    /// Finds out which of the ports in use are those of the daemon that listens at a control
    /// socket.
    pub fn ask(&mut self, socket: &Path) {
        let in_use = |listener: &&mut Listener| matches!(listener.state, PortState::InUse { .. });
        let mut in_use: Vec<&mut Listener> = self.listeners.iter_mut().filter(in_use).collect();
        if in_use.is_empty() {
            return;
        }
        let running = Running::ask(socket);
        for listener in &mut in_use {
            let ours = running
                .as_ref()
                .and_then(|running| running.holds(listener.address));
            listener.state = ours.map_or(PortState::InUse { asked: true }, PortState::Ours);
        }
    }

    /// How many errors there are, those of single entries included.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.problems
            .iter()
            .filter(|problem| problem.is_error())
            .count()
    }

    fn warnings(&self) -> usize {
        self.problems.len() - self.errors()
    }

    /// The layout of `ggen mcp config validate`.
    #[must_use]
    pub fn human(&self, colour: bool) -> String {
        let paint = Paint(colour);
        let mut out = format!(
            "Validating MCP configuration: {}\n\nValidation Results:\n",
            self.shown_file
        );
        if let Some(loaded) = &self.loaded {
            let _ = writeln!(out, "  Config version: {}", loaded.config.version);
            for file in loaded.files.iter().filter(|_| self.verbose) {
                let _ = writeln!(out, "  File: {}", file.display());
            }
            self.human_listeners(&mut out, &paint);
            let mut of_server: HashMap<&str, Vec<&Problem>> = HashMap::new();
            for problem in &self.problems {
                if let Some(name) = &problem.server {
                    of_server.entry(name).or_default().push(problem);
                }
            }
            for (name, upstream) in in_order(&loaded.config) {
                let problems = of_server.get(name).map_or(&[][..], Vec::as_slice);
                self.human_server(&mut out, &paint, name, upstream, problems);
            }
        }
        let seen = |problem: &&Problem| problem.server.is_none() || self.loaded.is_none();
        for problem in self.problems.iter().filter(seen) {
            human_problem(&mut out, &paint, "  ", problem, true);
        }
        let (errors, warnings) = (self.errors(), self.warnings());
        let _ = match (errors, warnings) {
            (0, 0) => writeln!(out, "\nConfiguration is valid!"),
            (0, _) => writeln!(
                out,
                "\nConfiguration is valid! {}",
                count(warnings, "warning")
            ),
            _ => writeln!(
                out,
                "\nConfiguration has errors: {}, {}",
                count(errors, "error"),
                count(warnings, "warning")
            ),
        };
        out
    }

    fn human_listeners(&self, out: &mut String, paint: &Paint) {
        for listener in &self.listeners {
            let _ = writeln!(out, "  {}: {}", listener.name, listener.address);
            let section = if listener.name == "HTTP" {
                "transports.http"
            } else {
                "metrics"
            };
            for key in ["host", "port"].into_iter().filter(|_| self.verbose) {
                let path = format!("{section}.{key}");
                let source = self
                    .loaded
                    .as_ref()
                    .and_then(|loaded| loaded.provenance.get(&path))
                    .map_or("", String::as_str);
                let _ = writeln!(out, "    - {path} from {source}");
            }
            out.push_str(&listener.state.line(listener.address, paint));
        }
    }

    fn human_server(
        &self,
        out: &mut String,
        paint: &Paint,
        name: &str,
        upstream: &Upstream,
        problems: &[&Problem],
    ) {
        let _ = writeln!(out, "  Server: {name}");
        for problem in problems {
            human_problem(out, paint, "    ", problem, false);
        }
        if let Some(path) = self.commands.get(name) {
            let _ = writeln!(
                out,
                "    {} Command found ({})",
                paint.good(),
                path.display()
            );
        }
        if let (UpstreamTransport::Http { url, .. }, true) = (&upstream.transport, upstream.enabled)
        {
            let _ = writeln!(
                out,
                "    {} URL ({})",
                paint.good(),
                config::redacted_text(url)
            );
        }
        if self.verbose {
            self.details(out, name, upstream);
        }
        let failed = problems.iter().any(|problem| problem.is_error());
        let _ = match (upstream.enabled, failed) {
            (true, false) => writeln!(out, "    {} Enabled", paint.good()),
            (false, false) => writeln!(out, "    - Disabled"),
            (_, true) => Ok(()),
        };
    }

    /// Where an entry stands, and how it is run, without secrets.
    fn details(&self, out: &mut String, name: &str, upstream: &Upstream) {
        if let Some(source) = self
            .loaded
            .as_ref()
            .and_then(|loaded| loaded.provenance.get(&format!("mcpServers.{name}")))
        {
            let _ = writeln!(out, "    - from {source}");
        }
        if let UpstreamTransport::Stdio {
            command,
            args,
            env,
            cwd,
            ..
        } = &upstream.transport
        {
            let line: Vec<String> = std::iter::once(config::redacted_text(command))
                .chain(config::redacted_arguments(args))
                .collect();
            let _ = writeln!(out, "    - runs {}", line.join(" "));
            if let Some(cwd) = cwd {
                let _ = writeln!(out, "    - in {}", cwd.display());
            }
            if !env.is_empty() {
                let names: Vec<&str> = env.keys().map(String::as_str).collect();
                let _ = writeln!(out, "    - with {}", names.join(", "));
            }
        }
        let _ = writeln!(out, "    - time-out of a call: {} ms", upstream.timeout);
    }

    /// The same as JSON; secrets do not occur in it.
    #[must_use]
    pub fn json(&self) -> Value {
        let config = self.loaded.as_ref().map(|loaded| &loaded.config);
        let servers: Vec<Value> = config
            .into_iter()
            .flat_map(in_order)
            .map(|(name, upstream)| {
                let command = self.commands.get(name).map(|path| path.display().to_string());
                json!({"name": name, "enabled": upstream.enabled, "is_self": upstream.is_self, "command_path": command})
            })
            .collect();
        let listeners: Vec<Value> = self
            .listeners
            .iter()
            .map(|listener| {
                let state = listener.state.as_str();
                json!({"name": listener.name.to_lowercase(), "address": listener.address.to_string(), "state": state})
            })
            .collect();
        json!({
            "file": self.shown_file,
            "files": self.loaded.as_ref().map(|loaded| &loaded.files),
            "valid": self.errors() == 0,
            "errors": self.errors(),
            "warnings": self.warnings(),
            "config_version": config.map(|config| &config.version),
            "listeners": listeners,
            "servers": servers,
            "problems": self.problems,
        })
    }
}

fn in_order(config: &Config) -> impl Iterator<Item = (&str, &Upstream)> {
    config
        .order
        .iter()
        .filter_map(|name| Some((name.as_str(), config.mcp_servers.get(name)?)))
}

/// Under a server's heading the place comes last and only for what stands in the file.
fn human_problem(
    out: &mut String,
    paint: &Paint,
    indent: &str,
    problem: &Problem,
    with_path: bool,
) {
    let (mark, word) = if problem.severity == Severity::Warning {
        (paint.note(), "Warning: ")
    } else {
        (paint.bad(), "")
    };
    let key = problem
        .path
        .strip_prefix("mcpServers.")
        .and_then(|path| path.split_once('.'))
        .map_or("", |(_, key)| key);
    let obvious = problem.code == Code::CommandNotFound;
    let text = match (with_path, key.is_empty() || obvious) {
        (true, _) => problem.text(),
        (false, true) => Problem {
            path: String::new(),
            ..problem.clone()
        }
        .text(),
        (false, false) => Problem {
            path: key.to_owned(),
            ..problem.clone()
        }
        .text(),
    };
    let _ = writeln!(out, "{indent}{mark} {word}{text}  [{}]", problem.code);
    if !problem.place.source.is_empty() && problem.place.source != "default" {
        let _ = writeln!(out, "{indent}  at {}", problem.place);
    }
    for command in problem.commands() {
        let _ = writeln!(out, "{indent}  help: {command}");
    }
}

fn count(number: usize, what: &str) -> String {
    if number == 1 {
        format!("1 {what}")
    } else {
        format!("{number} {what}s")
    }
}

/// The marks, coloured on a terminal.
struct Paint(bool);

impl Paint {
    fn good(&self) -> &'static str {
        if self.0 { "\x1b[32m✓\x1b[0m" } else { "✓" }
    }

    fn bad(&self) -> &'static str {
        if self.0 { "\x1b[31m✗\x1b[0m" } else { "✗" }
    }

    fn note(&self) -> &'static str {
        if self.0 { "\x1b[33m!\x1b[0m" } else { "!" }
    }
}
