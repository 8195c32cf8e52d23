//! Tests that cannot run here say so and are skipped. They write to standard error itself, past the
//! capture of the test runner, so that the reason is always seen.

use std::io::{self, Write};

/// Set in the environment by who runs the tests as root: a test that lacks root then fails.
const REQUIRE_ROOT: &str = "GGEND_TESTS_REQUIRE_ROOT";

/// Says that a test, or the rest of it, is skipped.
pub fn skipped(reason: &str) {
    let test = std::thread::current();
    let _ = writeln!(
        io::stderr(),
        "skipped: {reason}: {}",
        test.name().unwrap_or("a test")
    );
}

/// Whether we are root. If not, says that the test is skipped, and what it needs root for.
///
/// # Panics
/// When we are not root, and the environment has `GGEND_TESTS_REQUIRE_ROOT`.
#[must_use]
#[track_caller]
pub fn root_or_skipped(why: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        assert!(
            std::env::var_os(REQUIRE_ROOT).is_none(),
            "needs root ({why}), and {REQUIRE_ROOT} is set"
        );
        skipped(&format!("needs root ({why})"));
    }
    root
}
