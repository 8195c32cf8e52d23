//! `ggend`: picks the role and hands over.

use std::process::ExitCode;

fn main() -> ExitCode {
    ggend::run()
}
