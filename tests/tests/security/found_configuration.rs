//! A configuration that lies about runs nothing: `./.mcp.json` and `~/.ggen/mcp/config.json` that
//! another user may have written, given to the daemon, `ggen mcp server start` and doctor. And
//! doctor as root starts no server at all.

use ggend_tests::{Daemon, daemon, root_or_skipped, sandbox::binary};
use serde_json::{Value, json};
use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

const NOBODY: u32 = 65_534;

/// A place with a folder for the working directory, and what a server in it would leave.
struct Trap {
    host: Daemon,
    folder: PathBuf,
    mark: PathBuf,
}

impl Trap {
    fn new() -> Self {
        let host = daemon(Value::Null).idle();
        let (folder, mark) = (host.sandbox.path("trap"), host.sandbox.path("tmp/mark"));
        fs::create_dir(&folder).unwrap();
        Self { host, folder, mark }
    }

    fn config(&self) -> String {
        let script = format!("echo ran > {}; exec cat", self.mark.display());
        json!({ "mcpServers": { "evil": { "command": "sh", "args": ["-c", script] } } }).to_string()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = self.host.sandbox.command(program);
        command
            .current_dir(&self.folder)
            .env("GGEN_DAEMON", binary("ggend"));
        command
    }

    /// Tries all that would run the programs of the configuration.
    #[track_caller]
    fn runs_nothing(&self, place: &Path) {
        for (program, line, codes) in [
            ("ggend", &[][..], &[78][..]),
            ("ggend", &["check"], &[78]),
            ("ggen", &["mcp", "server", "start"], &[78]),
            ("ggen", &["mcp", "doctor"], &[1, 2]),
        ] {
            let output = self.command(program).args(line).output().unwrap();
            let said = format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            assert!(
                output
                    .status
                    .code()
                    .is_some_and(|code| codes.contains(&code)),
                "{program} {line:?}: {:?}: {said}",
                output.status
            );
            assert!(said.contains("GGEN-E1012"), "{program} {line:?}: {said}");
            let help = format!("ggend --config {}", place.display());
            assert!(said.contains(&help), "{program} {line:?}: {said}");
            assert!(!self.mark.exists(), "{program} {line:?} ran the server");
        }
    }
}

#[test]
fn what_others_may_have_written_is_not_run() {
    let trap = Trap::new();
    let file = trap.folder.join(".mcp.json");
    fs::write(&file, trap.config()).unwrap();
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    // Everybody may write the file; the folder; the folder as /tmp.
    mode(&file, 0o666);
    trap.runs_nothing(&file);
    mode(&file, 0o600);
    for open in [0o777, 0o1777] {
        mode(&trap.folder, open);
        trap.runs_nothing(&file);
    }
    mode(&trap.folder, 0o755);
    // A link out of a folder of ours into one that others may write.
    let shared = trap.host.sandbox.path("shared");
    fs::create_dir(&shared).unwrap();
    fs::rename(&file, shared.join("x.json")).unwrap();
    mode(&shared, 0o777);
    symlink(shared.join("x.json"), &file).unwrap();
    trap.runs_nothing(&file);
    fs::remove_file(&file).unwrap();
    // The home directory's.
    let home = trap.host.sandbox.path("home/.ggen/mcp");
    fs::create_dir_all(&home).unwrap();
    fs::write(home.join("config.json"), trap.config()).unwrap();
    mode(&home, 0o777);
    trap.runs_nothing(&home.join("config.json"));
}

#[test]
fn root_does_not_run_what_belongs_to_somebody_else() {
    if !root_or_skipped("files of two users") {
        return;
    }
    let trap = Trap::new();
    let file = trap.folder.join(".mcp.json");
    fs::write(&file, trap.config()).unwrap();
    let give = |path: &Path, owner| chown(path, Some(owner), Some(owner)).unwrap();
    give(&file, NOBODY);
    trap.runs_nothing(&file);
    give(&file, 0);
    give(&trap.folder, NOBODY);
    trap.runs_nothing(&file);
    // Whoever owns a folder above may put another one in its place.
    let below = trap.folder.join("below");
    fs::create_dir(&below).unwrap();
    fs::rename(&file, below.join(".mcp.json")).unwrap();
    let trap = Trap {
        folder: below.clone(),
        ..trap
    };
    trap.runs_nothing(&below.join(".mcp.json"));
}

#[test]
fn doctor_as_root_starts_no_server_while_the_daemon_is_down() {
    if !root_or_skipped("doctor is run as root") {
        return;
    }
    let trap = Trap::new();
    let named = trap.host.sandbox.path("named.json");
    fs::write(&named, trap.config()).unwrap();
    let mut command = trap.command("ggen");
    let output = command
        .arg("--config")
        .arg(&named)
        .args(["mcp", "doctor"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("stdio servers were not tried"), "{said}");
    assert!(said.contains("ggen mcp doctor"), "{said}");
    let ran = ggend_tests::within(Duration::from_millis(300), || {
        trap.mark.exists().then_some(())
    });
    assert!(ran.is_none(), "the server ran as root");
}

#[test]
fn root_is_not_led_elsewhere_by_a_runtime_directory_of_somebody_else() {
    if !root_or_skipped("directories of two users") {
        return;
    }
    let host = daemon(Value::Null).idle();
    let (run, target) = (host.sandbox.path("run"), host.sandbox.path("tmp/target"));
    for name in ["ggend.log", "ggend.lock"] {
        symlink(&target, run.join(name)).unwrap();
    }
    chown(&run, Some(NOBODY), Some(NOBODY)).unwrap();
    for (program, line, code) in [
        ("ggend", &[][..], 77),
        ("ggen", &["mcp", "server", "start"], 4),
    ] {
        let mut command = host.sandbox.command(program);
        let output = command
            .env("GGEN_DAEMON", binary("ggend"))
            .args(line)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{program}: {said}");
        assert!(said.contains("belongs to"), "{program}: {said}");
        assert!(!target.exists(), "{program} followed a link");
    }
}

#[test]
fn root_works_on_the_key_store_as_its_owner() {
    if !root_or_skipped("a state directory of another user") {
        return;
    }
    let host = daemon(Value::Null).idle();
    let (state, target) = (host.sandbox.path("state"), host.sandbox.path("tmp/target"));
    // Nobody has to reach it.
    for folder in ["", "state"] {
        let _ = fs::create_dir(host.sandbox.path(folder));
        fs::set_permissions(host.sandbox.path(folder), Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(&state, Permissions::from_mode(0o700)).unwrap();
    chown(&state, Some(NOBODY), Some(NOBODY)).unwrap();
    // Beside the database SQLite opens files of these names.
    fs::write(&target, "precious").unwrap();
    let generate = || {
        let mut command = host.sandbox.command("ggend");
        command.args(["auth", "generate-api-key"]).output().unwrap()
    };
    let made = generate();
    assert!(made.status.success(), "{made:?}");
    let store = state.join("auth.sqlite");
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(&store).unwrap());
    assert_eq!(owner, NOBODY);
    fs::remove_file(&store).unwrap();
    symlink(&target, &store).unwrap();
    assert!(!generate().status.success());
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
}
