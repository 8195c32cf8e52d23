//! The sandbox of a worker. It is applied once, when the worker has its sockets, its channel and its
//! log, and before it accepts a byte. What a role needs is listed here; everything else is taken away
//! for good. May not: read a configuration file, wait for anybody.

use crate::{
    config::SandboxMode,
    ipc::{
        messages::{Role, RunAs, Start},
        secrets::Secrets,
    },
    platform::{self, Calls, Prepared, Reach, Stands},
};
use std::{io, path::PathBuf};

/// What resolving names and checking certificates reads. The whole of /etc, because a rule holds
/// for a file and not for its name: editors and DHCP clients put new files in the places of `hosts`
/// and `resolv.conf`, and a worker would go on without them.
const NAMES: [&str; 12] = [
    "/etc",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/var/lib/ca-certificates",
    "/nix/store",
];

/// Whether a worker calls out: resolves names, reads the host's certificates, connects. One that
/// does not has no file and no socket call at all.
fn calls_out(role: Role, secrets: &Secrets) -> bool {
    match role {
        // A reload may bring the first remote server, and a sandbox cannot be widened.
        Role::Gateway => true,
        // For the keys of token issuers. When the first issuer appears, the supervisor replaces the
        // workers.
        Role::Http | Role::Websocket | Role::Quic | Role::Admin => secrets.auth.has_issuer(),
    }
}

/// How much of the sandbox is in force, for `status` and doctor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Enforced {
    /// `full`, `off`, or `partial` with what is missing.
    pub(crate) text: String,
    /// What the system does not have.
    pub(crate) missing: Vec<String>,
}

/// Why a worker may not serve: its sandbox is required, and incomplete.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox cannot be had: {0}")]
pub(crate) struct Incomplete(String);

/// Applies the sandbox to this process.
///
/// # Errors
/// When something is missing and `server.sandbox` is `required`, or the configured user cannot be
/// had.
pub(crate) fn apply(start: &Start, secrets: &Secrets) -> Result<Enforced, Incomplete> {
    if start.role.is_edge() {
        // Each connection takes one descriptor; the usual soft limit is there for programs with
        // select(2).
        if let Err(error) = platform::raise_open_files() {
            tracing::warn!(target: "transport", %error, "the limit of open files stays as it is");
        }
    }
    let mode = start.config.server.sandbox;
    let mut missing = Vec::new();
    let identity = start.run_as.map(RunAs::identity);
    if mode == SandboxMode::Off {
        // The service manager may have given us some for the servers' user.
        if identity.is_some() || platform::own_uid() != 0 {
            platform::drop_privileges(identity)
                .map_err(|error| Incomplete(format!("the user cannot be changed: {error}")))?;
        }
        return Ok(Enforced {
            text: "off".to_owned(),
            missing,
        });
    }
    let mut note = |what: &str, done: io::Result<()>| {
        if let Err(error) = done {
            missing.push(format!("{what} ({error})"));
        }
    };
    let out = calls_out(start.role, secrets);
    // Built before anything is dropped: the other user may not look everywhere.
    let reach = reach(out);
    let dropped = platform::drop_privileges(identity);
    if let (Err(error), Some(RunAs { asked: true, .. })) = (&dropped, start.run_as) {
        return Err(Incomplete(format!("the user cannot be changed: {error}")));
    }
    note("privileges", dropped);
    note("hidden memory", platform::hide_memory());
    // In addition, where the service manager allows it: no core of hidden memory is written, and no
    // file can be opened to grow.
    platform::write_no_cores()
        .and_then(|()| platform::write_no_files())
        .unwrap_or_default();
    note("Landlock", reach.and_then(close));
    let calls = Calls::Worker {
        files: out,
        connect: out,
    };
    note("seccomp", Prepared::calls(calls).and_then(close));
    let text = if missing.is_empty() {
        "full".to_owned()
    } else {
        format!("partial, without {}", missing.join(", "))
    };
    if mode == SandboxMode::Required && !missing.is_empty() {
        return Err(Incomplete(missing.join(", ")));
    }
    Ok(Enforced { text, missing })
}

/// What the worker may open: what resolving names takes if it calls out, otherwise nothing.
fn reach(out: bool) -> io::Result<Prepared> {
    Prepared::reach(&Reach {
        read: if out {
            NAMES.map(PathBuf::from).into()
        } else {
            Vec::new()
        },
        files: true,
        no_bind: true,
        no_connect: !out,
        no_others: true,
        ..Reach::default()
    })
}

fn close(layer: Prepared) -> io::Result<()> {
    let stands = layer.stands();
    layer.close()?;
    match stands {
        // What older versions of Landlock do not see of ports and signals, the filter sees.
        Stands::Whole | Stands::Partly => Ok(()),
        Stands::Not => Err(io::Error::other("this kernel has none")),
    }
}

/// `ggend worker --try-sandbox ROLE [MODE]`: applies the sandbox of a role to this process and tries
/// what it must refuse. One line for each attempt: its name and its outcome.
pub(crate) fn try_out(role: Role, mode: SandboxMode, out: &mut impl io::Write) -> io::Result<()> {
    let mut config = crate::config::Config::default();
    config.server.sandbox = mode;
    let start = Start::to_try(role, config);
    let began = std::time::Instant::now();
    let enforced = apply(&start, &Secrets::default());
    writeln!(out, "took {}", began.elapsed().as_micros())?;
    writeln!(
        out,
        "sandbox {}",
        enforced.map_or_else(|error| error.to_string(), |enforced| enforced.text)
    )?;
    for (name, attempt) in platform::ATTEMPTS {
        writeln!(out, "begin {name}")?;
        match attempt() {
            Ok(()) => writeln!(out, "done {name}")?,
            Err(error) => writeln!(out, "refused {name} {}", error.raw_os_error().unwrap_or(0))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_calls_out_only_for_the_keys_of_an_issuer() {
        let mut secrets = Secrets::default();
        assert!(!calls_out(Role::Http, &secrets) && calls_out(Role::Gateway, &secrets));
        secrets.auth.jwt = Some(crate::auth::JwtSettings::default());
        assert!(!calls_out(Role::Http, &secrets));
        secrets.auth.jwt = Some(crate::auth::JwtSettings {
            jwks_url: Some("https://issuer/keys".to_owned()),
            ..Default::default()
        });
        assert!(calls_out(Role::Http, &secrets) && calls_out(Role::Websocket, &secrets));
    }
}
