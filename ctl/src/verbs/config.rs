//! `ggen mcp config …`: hands over to `ggend check`, which shares the daemon's own code and works without a running daemon.

use crate::{
    args::Config,
    context::Context,
    daemon,
    failed::{Exit, Failed},
};
use serde_json::{Value, json};
use std::{
    ffi::OsString,
    process::{Command, Stdio},
};

/// `validate` becomes `ggend check`; `path` reads from its report which files count.
pub(crate) fn run(context: &mut Context, verb: Config) -> Result<Exit, Failed> {
    let mut arguments: Vec<OsString> = vec!["check".into()];
    match verb {
        Config::Validate { file } => {
            arguments.extend(file.or_else(|| context.global.config.clone()).map(Into::into));
            arguments.extend(context.out.json.then(|| "--json".into()));
            context.say_program(&arguments);
            Err(daemon::become_daemon(&arguments))
        }
        Config::Path => {
            arguments.extend(context.global.config.clone().map(Into::into));
            arguments.push("--json".into());
            context.say_program(&arguments);
            path(context, &arguments)
        }
    }
}

fn path(context: &mut Context, arguments: &[OsString]) -> Result<Exit, Failed> {
    let ggend = daemon::find()?;
    let failed = |why: String| Failed::plain(Exit::Unavailable, format!("{} check: {why}", ggend.display()), "ggen mcp config validate");
    let mut command = Command::new(&ggend);
    command.args(arguments).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().map_err(|error| failed(error.to_string()))?;
    let report: Value = serde_json::from_slice(&output.stdout).map_err(|error| failed(format!("its report is not valid: {error}")))?;
    let read: Vec<&str> = report["files"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    // A file with a mistake was not read, but is the one that counts.
    let named = report["file"].as_str().filter(|_| report["valid"] == Value::Bool(false) && read.is_empty());
    let files: Vec<&str> = read.into_iter().chain(named).collect();
    context.out.value(&json!({ "files": files }))?;
    for file in &files {
        context.out.line(file)?;
    }
    if files.is_empty() {
        context.out.line("none: the built-in defaults apply")?;
    }
    Ok(Exit::Ok)
}
