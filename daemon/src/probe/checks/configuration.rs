//! Checks the configuration: valid, safe, not overridden by accident, and the one in force.

use crate::{
    config::{self, Loaded, Problem, Severity},
    probe::{
        client::control,
        context::{Context, PATIENCE},
        report::finding::Finding,
    },
};
use ggen_wire::{
    Code,
    control::{Body, Call},
};
use serde_json::Value;
use std::time::{Duration, SystemTime};

/// Prefix of our variables, and the one that names the file.
const PREFIX: &str = "GGEN_MCP_";
const FILE_VARIABLE: &str = "GGEN_MCP_CONFIG";
/// Changed keys that are named.
const NAMED: usize = 5;

fn problems(context: &Context) -> &[Problem] {
    match &context.config {
        Ok(loaded) => &loaded.warnings,
        Err(problems) => problems,
    }
}

fn finding(problem: &Problem) -> Finding {
    let what = problem.text();
    let found = if problem.is_error() {
        Finding::error(problem.code, what)
    } else {
        Finding::warning(problem.code, what)
    };
    found
        .seen(problem.place.to_string())
        .help(problem.commands().swap_remove(0))
}

fn of_variable(problem: &Problem) -> bool {
    problem.place.source.starts_with(PREFIX)
}

pub(super) fn valid(context: &Context) -> Vec<Finding> {
    if context.hidden {
        return vec![Finding::note(
            "the daemon's configuration file is closed to this user; the daemon took it",
        )];
    }
    let counts = |problem: &&Problem| {
        // Sections of other MCP clients are no fault of this host.
        let harmless = problem.severity == Severity::Warning
            && problem.server.is_none()
            && matches!(problem.code, Code::ConfigUnknownKey | Code::ConfigUnserved);
        problem.code != Code::ConfigMode && !of_variable(problem) && !harmless
    };
    let mut found: Vec<Finding> = problems(context)
        .iter()
        .filter(counts)
        .map(finding)
        .collect();
    if found.is_empty() {
        found.push(Finding::note(match &context.config {
            Ok(loaded) => format!("{} servers, no fault", loaded.config.mcp_servers.len()),
            Err(_) => "no fault beside those of modes or variables".to_owned(),
        }));
    }
    found
}

pub(super) fn modes(context: &Context) -> Vec<Finding> {
    let found: Vec<Finding> = problems(context)
        .iter()
        .filter(|problem| problem.code == Code::ConfigMode)
        .map(finding)
        .collect();
    if found.is_empty() {
        vec![Finding::note(
            "nobody else may write the configuration or read secrets in it",
        )]
    } else {
        found
    }
}

pub(super) fn variables(context: &Context) -> Vec<Finding> {
    let mut found: Vec<Finding> = problems(context)
        .iter()
        .filter(|problem| of_variable(problem))
        .map(finding)
        .collect();
    let mut bare = context.load.clone();
    bare.env
        .retain(|name, _| !name.starts_with(PREFIX) || name == FILE_VARIABLE);
    let (Ok(with), Ok(without)) = (&context.config, config::load(&bare)) else {
        return found;
    };
    let value = |config: &config::Config, leaf: &str| {
        serde_json::to_value(config).ok().and_then(|value| {
            value
                .pointer(&format!("/{}", leaf.replace('.', "/")))
                .cloned()
        })
    };
    for leaf in config::leaves() {
        let name = config::variable(leaf);
        if context.load.env.get(&name).is_none_or(String::is_empty) {
            continue;
        }
        let source = without
            .provenance
            .get(leaf)
            .filter(|source| *source != "default");
        let (variable, file) = (value(&with.config, leaf), value(&without.config, leaf));
        match (source, variable, file) {
            (Some(source), Some(variable), Some(file)) if variable != file => found.push(
                Finding::warning(
                    Code::ConfigOverridden,
                    format!("{name} overrides {leaf} of the configuration file"),
                )
                .seen(format!("{name} says {variable}, {source} says {file}"))
                .help(format!("unset {name}")),
            ),
            _ => found.push(Finding::note(format!("{name} sets {leaf}"))),
        }
    }
    if found.is_empty() {
        found.push(Finding::note("no variable overrides the file"));
    }
    found
}

pub(super) fn drift(context: &Context) -> Vec<Finding> {
    let (Some(status), Ok(loaded)) = (context.status(), &context.config) else {
        return vec![Finding::note(
            "nothing to compare: no daemon answers, or the file is not valid",
        )];
    };
    if !context.daemon_env
        || loaded.file.as_ref().map(|file| file.display().to_string()) != status.config_file
    {
        return vec![Finding::note(
            "not comparable: another file, or the daemon's environment is closed to this user",
        )];
    }
    let started = SystemTime::UNIX_EPOCH + Duration::from_millis(status.started_ms);
    let changed = |file: &std::path::PathBuf| {
        std::fs::metadata(file)
            .and_then(|facts| facts.modified())
            .is_ok_and(|at| at > started)
    };
    if !loaded.files.iter().any(changed) {
        return vec![Finding::note("the file is older than the daemon")];
    }
    let Ok(Body::Value(running)) = control::ask(&context.socket, &Call::GetConfig {}, PATIENCE)
    else {
        return vec![Finding::note(
            "not comparable: the daemon does not show its configuration",
        )];
    };
    let mut differing = differing(loaded, &running, status.pid);
    let Some(first) = loaded
        .files
        .iter()
        .find(|file| changed(file))
        .filter(|_| !differing.is_empty())
    else {
        return vec![Finding::note("what runs is what the file says")];
    };
    let more = if differing.len() > NAMED {
        format!(" and {} more", differing.len() - NAMED)
    } else {
        String::new()
    };
    differing.truncate(NAMED);
    vec![
        Finding::warning(
            Code::ConfigDrift,
            "the configuration file was changed and is not in force",
        )
        .seen(format!(
            "{} differs from what runs in {}{more}",
            first.display(),
            differing.join(", ")
        ))
        .help("ggen mcp server reload"),
    ]
}

/// The keys whose values are not those in force.
fn differing(loaded: &Loaded, running: &Value, pid: u32) -> Vec<String> {
    let mut found = Vec::new();
    differences("", &config::redacted(&loaded.config), running, &mut found);
    // The order of the entries is the loader's own record; entries themselves are compared by name.
    found.retain(|path| path != "__order");
    if has_port_flag(pid) {
        found.retain(|path| path != "transports.http.port");
    }
    found
}

fn has_port_flag(pid: u32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0)
        .any(|argument| argument == b"--port" || argument.starts_with(b"--port="))
}

/// Paths at which two values differ, entries of `mcpServers` by their name.
fn differences(path: &str, one: &Value, other: &Value, found: &mut Vec<String>) {
    match (one, other) {
        (Value::Object(left), Value::Object(right))
            if path.split('.').count() < 3 && !path.starts_with("mcpServers.") =>
        {
            let keys: std::collections::BTreeSet<&String> =
                left.keys().chain(right.keys()).collect();
            for key in keys {
                let below = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                differences(
                    &below,
                    left.get(key).unwrap_or(&Value::Null),
                    right.get(key).unwrap_or(&Value::Null),
                    found,
                );
            }
        }
        _ if one != other => found.push(path.to_owned()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_are_named_by_their_keys() {
        let one = json!({"transports": {"http": {"port": 1, "host": "h"}}, "mcpServers": {"a": {"args": ["x"]}, "b": {}}});
        let other = json!({"transports": {"http": {"port": 2, "host": "h"}}, "mcpServers": {"a": {"args": ["y"]}}});
        let mut found = Vec::new();
        differences("", &one, &other, &mut found);
        assert_eq!(
            found,
            ["mcpServers.a", "mcpServers.b", "transports.http.port"]
        );
    }
}
