//! What a child process gets to see: the environment of workers and of servers, and the part of the
//! configuration that a role may know.

use crate::{
    config::{Auth, Config, Mtls, Tracing, Upstream, UpstreamTransport},
    ipc::{
        launch::Launch,
        messages::{Environment, Role},
    },
};
use std::ffi::OsString;

/// What our own processes keep. Variables that change how a library works (`S2N_QUIC_UNSTABLE_…`)
/// do not reach them.
const WORKER: [&str; 6] = ["PATH", "HOME", "LANG", "TZ", "RUST_LOG", "RUST_BACKTRACE"];
/// What a server gets of the daemon's environment, beside `LC_*` and `XDG_*`.
const SERVER: [&str; 8] = [
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR",
];

/// The environment of a worker or a shim.
pub(crate) fn of_worker() -> impl Iterator<Item = (&'static str, OsString)> {
    WORKER
        .into_iter()
        .filter_map(|name| Some((name, std::env::var_os(name)?)))
}

/// What a shim is to run; `None` for a remote server.
pub(crate) fn launch(upstream: &Upstream) -> Option<Launch> {
    let UpstreamTransport::Stdio {
        command,
        args,
        env,
        cwd,
        sandbox,
    } = &upstream.transport
    else {
        return None;
    };
    let inherited = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    // Somebody else's home is no place for a server that runs as a user of its own; the shim knows
    // that one's.
    let moves = sandbox
        .as_ref()
        .is_some_and(|sandbox| sandbox.user.is_some());
    let ours = |name: &str| moves && ["HOME", "USER", "LOGNAME"].contains(&name);
    let env = server_environment(inherited.filter(|(name, _)| !ours(name)), env);
    Some(Launch {
        command: command.clone(),
        args: args.clone(),
        env,
        cwd: cwd.clone(),
        sandbox: sandbox.clone(),
        group: None,
    })
}

fn server_environment(
    inherited: impl Iterator<Item = (String, String)>,
    own: &Environment,
) -> Environment {
    let passes =
        |name: &str| SERVER.contains(&name) || name.starts_with("LC_") || name.starts_with("XDG_");
    let mut all: Environment = inherited.filter(|(name, _)| passes(name)).collect();
    all.extend(
        own.iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    all
}

/// The configuration without what a role has no use for: commands and their environment stay with
/// the supervisor, URLs and headers of remote servers with the gateway.
pub(crate) fn config_for(role: Role, config: &Config) -> Config {
    let mut config = config.clone();
    // Edge workers get what they need of it as digests and keys, never as it is written; whether
    // clients are asked for certificates is no secret.
    let mtls = Mtls {
        ca_cert: None,
        crl: None,
        ..config.auth.mtls
    };
    if role != Role::Gateway {
        config.tracing = Tracing::default();
    }
    config.auth = if role.knows_secrets() {
        Auth {
            mtls,
            ..Auth::default()
        }
    } else {
        Auth::default()
    };
    for upstream in config.mcp_servers.values_mut() {
        match &mut upstream.transport {
            UpstreamTransport::Stdio {
                command,
                args,
                env,
                cwd,
                sandbox,
            } => {
                (*args, *cwd, *sandbox) = (Vec::new(), None, None);
                env.clear();
                if role != Role::Gateway {
                    command.clear();
                }
            }
            UpstreamTransport::Http { url, headers, .. } if role != Role::Gateway => {
                url.clear();
                headers.clear();
            }
            UpstreamTransport::Http { .. } => {}
        }
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_sees_a_clean_environment_and_its_own_entries() {
        let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let inherited = [
            ("PATH", "/bin"),
            ("LC_ALL", "C"),
            ("AWS_SECRET", "x"),
            ("NOTIFY_SOCKET", "/n"),
            ("TZ", "UTC"),
        ]
        .map(pair);
        let own = [("TZ", "CET"), ("TOKEN", "t")]
            .map(pair)
            .into_iter()
            .collect();
        let all = server_environment(inherited.into_iter(), &own);
        assert_eq!(
            all,
            [
                ("PATH", "/bin"),
                ("LC_ALL", "C"),
                ("TZ", "CET"),
                ("TOKEN", "t")
            ]
            .map(pair)
            .into_iter()
            .collect()
        );
    }

    #[test]
    fn an_edge_knows_whether_certificates_are_wanted_and_nothing_else_of_auth() {
        let text = r#"{"auth":{"api_key":"s1-is-long-enough","jwt":{"secret":"s2"},"mtls":{"enabled":true,"ca_cert":"s3","allowed_names":["n"]}}}"#;
        let config: Config = serde_json::from_str(text).unwrap();
        let edge = config_for(Role::Http, &config).auth;
        assert!(
            edge.mtls.enabled && edge.mtls.required && edge.mtls.allowed_names == ["n"],
            "{edge:?}"
        );
        let text = serde_json::to_string(&edge).unwrap();
        assert!(
            ["s1", "s2", "s3"]
                .iter()
                .all(|secret| !text.contains(secret)),
            "{text}"
        );
        assert!(!config_for(Role::Gateway, &config).auth.mtls.enabled);
    }

    #[test]
    fn an_edge_knows_no_secret_of_an_upstream() {
        let text = r#"{"mcpServers":{"a":{"command":"c","args":["s1"],"env":{"K":"s2"}},"b":{"url":"http://s3","headers":{"H":"s4"}}}}"#;
        let config: Config = serde_json::from_str(text).unwrap();
        let edge = serde_json::to_string(&config_for(Role::Http, &config)).unwrap();
        let gateway = serde_json::to_string(&config_for(Role::Gateway, &config)).unwrap();
        let spans =
            r#"{"tracing":{"otlp":{"enabled":true,"endpoint":"http://s5","headers":"k=s6"}}}"#;
        let config: Config = serde_json::from_str(spans).unwrap();
        assert_eq!(config_for(Role::Http, &config).tracing, Tracing::default());
        let collector = serde_json::to_string(&config_for(Role::Gateway, &config)).unwrap();
        assert!(
            collector.contains("s5") && !collector.contains("s6"),
            "{collector}"
        );
        assert!(
            ["s1", "s2", "s3", "s4"]
                .iter()
                .all(|secret| !edge.contains(secret)),
            "{edge}"
        );
        assert!(
            gateway.contains("s3")
                && gateway.contains("s4")
                && !gateway.contains("s1")
                && !gateway.contains("s2"),
            "{gateway}"
        );
    }
}
