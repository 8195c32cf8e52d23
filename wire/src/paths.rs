//! Where the daemon's runtime files are: one rule for `ggend` and `ggen`. Pure: environment and
//! file system are arguments.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// File name of the control socket.
pub const SOCKET: &str = "ggend.sock";
/// The service's runtime directory.
pub const SYSTEM_DIR: &str = "/run/ggen";

/// What the rule may ask of the process.
pub struct Host<'a> {
    /// An environment variable; empty values count as unset.
    pub env: &'a dyn Fn(&str) -> Option<OsString>,
    /// Whether the effective user is root.
    pub root: bool,
}

impl Host<'_> {
    fn path(&self, variable: &str) -> Option<PathBuf> {
        (self.env)(variable)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    }

    /// The directory of the daemon's runtime files: `GGEN_RUNTIME_DIR`, `/run/ggen` for root,
    /// `$XDG_RUNTIME_DIR/ggen`, `~/.ggen/run`.
    #[must_use]
    pub fn runtime_dir(&self) -> PathBuf {
        if let Some(directory) = self.path("GGEN_RUNTIME_DIR") {
            return directory;
        }
        if self.root {
            return PathBuf::from(SYSTEM_DIR);
        }
        if let Some(directory) = self.path("XDG_RUNTIME_DIR") {
            return directory.join("ggen");
        }
        // Without a home there is no better place than the working directory, and the error message
        // will name it.
        self.path("HOME").unwrap_or_default().join(".ggen/run")
    }

    /// The socket that the daemon binds: `flag` (`--socket`), `GGEN_SOCKET`, or `ggend.sock` in
    /// [`Self::runtime_dir`].
    #[must_use]
    pub fn socket(&self, flag: Option<&Path>) -> PathBuf {
        flag.map(Path::to_path_buf)
            .or_else(|| self.path("GGEN_SOCKET"))
            .unwrap_or_else(|| self.runtime_dir().join(SOCKET))
    }

    /// The socket that a client connects to: as [`Self::socket`], but where nothing was named and
    /// the user's own does not exist, the service's if that exists.
    #[must_use]
    pub fn client_socket(&self, flag: Option<&Path>, exists: &dyn Fn(&Path) -> bool) -> PathBuf {
        let own = self.socket(flag);
        let named = flag.is_some()
            || self.path("GGEN_SOCKET").is_some()
            || self.path("GGEN_RUNTIME_DIR").is_some();
        let service = Path::new(SYSTEM_DIR).join(SOCKET);
        if !named && !exists(&own) && exists(&service) {
            service
        } else {
            own
        }
    }

    /// The file that a detached daemon's output goes to: beside its socket, `ggend.log`.
    #[must_use]
    pub fn detached_log(socket: &Path) -> PathBuf {
        socket.with_extension("log")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(
        root: bool,
        environment: &[(&str, &str)],
        flag: Option<&str>,
        present: &[&str],
    ) -> String {
        let env = |name: &str| {
            environment
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| OsString::from(value))
        };
        let host = Host { env: &env, root };
        let exists = |path: &Path| present.iter().any(|known| Path::new(known) == path);
        host.client_socket(flag.map(Path::new), &exists)
            .display()
            .to_string()
    }

    #[test]
    fn the_first_that_is_named_wins() {
        let all = [
            ("GGEN_SOCKET", "/s"),
            ("GGEN_RUNTIME_DIR", "/r"),
            ("XDG_RUNTIME_DIR", "/x"),
            ("HOME", "/h"),
        ];
        assert_eq!(socket(false, &all, Some("/f"), &[]), "/f");
        assert_eq!(socket(false, &all, None, &[]), "/s");
        assert_eq!(socket(false, &all[1..], None, &[]), "/r/ggend.sock");
        assert_eq!(socket(true, &all[1..], None, &[]), "/r/ggend.sock");
        assert_eq!(socket(true, &all[2..], None, &[]), "/run/ggen/ggend.sock");
        assert_eq!(socket(false, &all[2..], None, &[]), "/x/ggen/ggend.sock");
        assert_eq!(
            socket(false, &all[3..], None, &[]),
            "/h/.ggen/run/ggend.sock"
        );
        assert_eq!(
            socket(false, &[("GGEN_SOCKET", ""), ("HOME", "/h")], None, &[]),
            "/h/.ggen/run/ggend.sock"
        );
    }

    #[test]
    fn the_services_socket_is_taken_only_where_nothing_was_named_and_no_own_one_exists() {
        let service = "/run/ggen/ggend.sock";
        assert_eq!(socket(false, &[("HOME", "/h")], None, &[service]), service);
        assert_eq!(
            socket(
                false,
                &[("HOME", "/h")],
                None,
                &[service, "/h/.ggen/run/ggend.sock"]
            ),
            "/h/.ggen/run/ggend.sock"
        );
        assert_eq!(
            socket(false, &[("GGEN_RUNTIME_DIR", "/r")], None, &[service]),
            "/r/ggend.sock"
        );
    }
}
