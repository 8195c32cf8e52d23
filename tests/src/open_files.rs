//! How many files a test may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises this process's soft limit of open files to the hard one; what it starts from then on has
/// the same. For tests with many connections: a usual soft limit is 1,024.
///
/// # Panics
/// When that is less than the test needs.
#[track_caller]
pub fn raise_open_files(needed: u64) {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    }
    assert!(
        needed <= hard,
        "needs {needed} open files, and the hard limit is {hard}: ulimit -Hn"
    );
}
