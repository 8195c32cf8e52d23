//! `ggen mcp doctor` and `ggen mcp test-connection`: become `ggend probe`, which uses the daemon's
//! own code and needs no running daemon.

use crate::{
    args::{Doctor, TestConnection},
    context::Context,
    daemon,
    failed::Failed,
};
use ggen_wire::VERSION;
use std::ffi::OsString;

/// Becomes `ggend probe doctor`; returns only when that fails.
pub(crate) fn doctor(context: &Context, options: &Doctor) -> Failed {
    let mut arguments = begin(context, "doctor");
    arguments.extend(["--client".into(), VERSION.into()]);
    arguments.extend(context.out.verbose.then(|| "--verbose".into()));
    arguments.extend(context.out.json.then(|| "--json".into()));
    arguments.extend(options.fix.then(|| "--fix".into()));
    arguments.extend(options.yes.then(|| "--yes".into()));
    arguments.extend(
        options
            .bundle
            .iter()
            .flat_map(|file| ["--bundle".into(), file.into()]),
    );
    daemon::become_daemon(&arguments)
}

/// Becomes `ggend probe connection`; returns only when that fails.
pub(crate) fn connection(context: &Context, test: &TestConnection) -> Failed {
    let mut arguments = begin(context, "connection");
    arguments.extend(["--transport".into(), test.transport.as_str().into()]);
    arguments.extend(
        test.tool
            .iter()
            .flat_map(|tool| ["--tool".into(), tool.into()]),
    );
    let files = [
        ("--api-key-file", &test.api_key_file),
        ("--client-cert", &test.client_cert),
        ("--client-key", &test.client_key),
    ];
    for (flag, file) in files {
        arguments.extend(file.iter().flat_map(|file| [flag.into(), file.into()]));
    }
    let ms = context
        .global
        .timeout
        .map(|time| time.as_millis().clamp(1, 3_600_000));
    arguments.extend(
        ms.into_iter()
            .flat_map(|ms| ["--timeout-ms".into(), ms.to_string().into()]),
    );
    arguments.extend(context.out.json.then(|| "--json".into()));
    arguments.extend(test.url.iter().flat_map(|url| ["--".into(), url.into()]));
    daemon::become_daemon(&arguments)
}

fn begin(context: &Context, verb: &str) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = Vec::new();
    arguments.extend(
        context
            .global
            .config
            .iter()
            .flat_map(|file| ["--config".into(), file.into()]),
    );
    // Only a socket that was named: otherwise ggend finds it by the same rule.
    arguments.extend(
        context
            .global
            .socket
            .iter()
            .flat_map(|path| ["--socket".into(), path.into()]),
    );
    arguments.extend(["probe".into(), verb.into()]);
    arguments
}
