//! `ggend probe doctor`: examines, runs the fixes that were asked for, writes the bundle, and makes
//! the text that is printed. May not: judge what was found (`checks`, `report`).

use super::{
    Doctor, complain,
    context::Context,
    doctor,
    fix::{self, Done, Fixer},
    report::{self, Paint, Report},
};
use crate::{check::Format, config::LoadOptions};
use serde_json::Value;
use std::{
    io::{IsTerminal, Write},
    path::Path,
};

/// The command line is wrong.
const USAGE: u8 = 2;
/// `EX_CANTCREAT` of sysexits.h.
const CANNOT_CREATE: u8 = 73;

/// Gives what is to be printed, and the exit code.
pub(super) fn run(
    options: &Doctor,
    load: &LoadOptions,
    socket: Option<&Path>,
    paint: &Paint,
) -> (String, u8) {
    let as_json = options.json || options.format == Format::Json;
    if options.fix && !options.yes && (as_json || !std::io::stdin().is_terminal()) {
        complain(
            "--fix asks before each command, and there is nobody to answer\nhelp: ggen mcp doctor --fix --yes",
        );
        return (String::new(), USAGE);
    }
    let examine = || {
        doctor::examine(Context::gather(
            load.clone(),
            socket,
            options.client.clone(),
        ))
    };
    let (mut context, outcomes) = examine();
    let mut report = Report::new(&context, outcomes);
    let mut fixes = Fixes::NotAskedFor;
    if options.fix {
        let fixer = Fixer {
            config: load.config_path.clone(),
            socket: socket.map(Path::to_owned),
            yes: options.yes,
        };
        fixes = run_fixes(&fixer, &report, options, paint, as_json);
        if matches!(fixes, Fixes::Run(_)) {
            let (again, outcomes) = examine();
            context = again;
            report = Report::new(&context, outcomes);
        }
    }
    let mut human = fixes.introduction().to_owned() + &report.human(paint, options.verbose);
    let mut json = report.json();
    if let Some(fixed) = fixes.json() {
        json["fixed"] = fixed;
    }
    let mut exit = report.exit();
    let mut print_json = as_json;
    if let Some(file) = options.bundle.as_deref() {
        match write_bundle(file, &context, &report, &mut json) {
            Ok(note) => human += &note,
            Err(()) => {
                exit = CANNOT_CREATE;
                // What was found is printed for people, whatever was asked for.
                print_json = false;
            }
        }
    }
    if print_json {
        (ggen_wire::escape::pretty_json(&json) + "\n", exit)
    } else {
        (human, exit)
    }
}

/// What became of `--fix`.
enum Fixes {
    NotAskedFor,
    /// No issue has a command that is safe to run.
    NoneIsSafe,
    /// The commands that were offered, with what came of each.
    Run(Vec<Done>),
}

impl Fixes {
    /// What stands before the report.
    const fn introduction(&self) -> &'static str {
        match self {
            Self::NotAskedFor => "",
            Self::NoneIsSafe => {
                "None of this can be fixed by a command that is safe to run unasked.\n\n"
            }
            Self::Run(_) => "\n",
        }
    }

    /// The field `fixed` of the JSON report, if fixes were asked for.
    fn json(&self) -> Option<Value> {
        match self {
            Self::NotAskedFor => None,
            Self::NoneIsSafe => Some(Value::Array(Vec::new())),
            Self::Run(done) => Some(done.iter().map(Done::json).collect()),
        }
    }
}

/// Shows the report, then offers its commands one by one and runs them. For JSON, nothing is shown.
fn run_fixes(
    fixer: &Fixer,
    report: &Report<'_>,
    options: &Doctor,
    paint: &Paint,
    as_json: bool,
) -> Fixes {
    let commands = fix::commands(report.issues());
    if commands.is_empty() {
        return Fixes::NoneIsSafe;
    }
    let answers = &mut std::io::stdin().lock();
    Fixes::Run(if as_json {
        fixer.apply(commands, &mut std::io::sink(), answers)
    } else {
        let human = report.human(paint, options.verbose);
        drop(writeln!(std::io::stdout(), "{human}"));
        fixer.apply(commands, &mut std::io::stdout(), answers)
    })
}

/// Writes the bundle; gives the line for people, and adds the file names to the JSON report. An
/// error was printed.
fn write_bundle(
    file: &Path,
    context: &Context,
    report: &Report<'_>,
    json: &mut Value,
) -> Result<String, ()> {
    let plain = report.human(&Paint(false), true);
    match report::bundle::write(file, context, &plain, json) {
        Ok(parts) => {
            let note = format!(
                "\nBundle: {} files. Secrets are hidden; look through it before you give it away.\n",
                parts.len()
            );
            json["bundle"] = parts.into();
            Ok(note)
        }
        Err(error) => {
            complain(&format!(
                "no bundle was written: {}: {error}",
                file.display()
            ));
            Err(())
        }
    }
}
