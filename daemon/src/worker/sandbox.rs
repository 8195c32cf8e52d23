//! The walls around a worker: put up once, when it has its sockets, its channel and its log, and
//! before it accepts a byte. What each role needs is the table below; everything else is taken away
//! for good. May not: look at a configuration file, wait for anybody.

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
        // A reload may bring the first remote server, and walls cannot be moved.
        Role::Gateway => true,
        // For the keys of token issuers. When the first issuer appears, the supervisor replaces the
        // workers.
        Role::Http | Role::Websocket | Role::Quic | Role::Admin => secrets.auth.has_issuer(),
    }
}

/// What stands, for `status` and doctor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// `full`, `off`, or `partial` with what is missing.
    pub(crate) text: String,
    /// What could not be had.
    pub(crate) missing: Vec<String>,
}

/// Why a worker may not serve: its walls are required, and do not stand.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox cannot be had: {0}")]
pub(crate) struct Open(String);

/// Puts the walls up around this process.
///
/// # Errors
/// When something is missing and `server.sandbox` is `required`, or the configured user cannot be
/// had.
pub(crate) fn put_up(start: &Start, secrets: &Secrets) -> Result<Standing, Open> {
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
        if identity.is_some() {
            platform::drop_privileges(identity)
                .map_err(|error| Open(format!("the user cannot be changed: {error}")))?;
        }
        return Ok(Standing {
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
    // Built before anything is dropped: who is nobody may not look everywhere.
    let reach = Prepared::reach(&Reach {
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
    });
    let dropped = platform::drop_privileges(identity);
    if let (Err(error), Some(RunAs { asked: true, .. })) = (&dropped, start.run_as) {
        return Err(Open(format!("the user cannot be changed: {error}")));
    }
    note("privileges", dropped);
    note("hidden memory", platform::hide_memory());
    // Belt and braces, which a service manager may refuse to have changed: no core is written of
    // hidden memory, and no file can be opened to grow.
    platform::write_no_cores()
        .and_then(|()| platform::write_no_files())
        .unwrap_or_default();
    note("Landlock", reach.and_then(close));
    note(
        "seccomp",
        Prepared::calls(Calls::Worker {
            files: out,
            connect: out,
        })
        .and_then(close),
    );
    let text = if missing.is_empty() {
        "full".to_owned()
    } else {
        format!("partial, without {}", missing.join(", "))
    };
    if mode == SandboxMode::Required && !missing.is_empty() {
        return Err(Open(missing.join(", ")));
    }
    Ok(Standing { text, missing })
}

fn close(wall: Prepared) -> io::Result<()> {
    let stands = wall.stands();
    wall.close()?;
    match stands {
        // What older versions of Landlock do not see of ports and signals, the filter sees.
        Stands::Whole | Stands::Partly => Ok(()),
        Stands::Not => Err(io::Error::other("this kernel has none")),
    }
}

/// `ggend worker --try-walls ROLE [MODE]`: puts up the walls of a role around this process and
/// tries to get through. One line for each try: its name and what came of it.
pub(crate) fn try_them(role: Role, mode: SandboxMode, out: &mut impl io::Write) -> io::Result<()> {
    let mut config = crate::config::Config::default();
    config.server.sandbox = mode;
    let start = Start::to_try(role, config);
    let began = std::time::Instant::now();
    let standing = put_up(&start, &Secrets::default());
    writeln!(out, "took {}", began.elapsed().as_micros())?;
    writeln!(
        out,
        "walls {}",
        standing.map_or_else(|error| error.to_string(), |standing| standing.text)
    )?;
    for name in platform::ATTEMPTS
        .iter()
        .filter(|name| **name != "exec")
        .chain(["exec"].iter())
    {
        writeln!(out, "begin {name}")?;
        match platform::attempt(name) {
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
