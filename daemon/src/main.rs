//! `ggend`: starts the role that the command line names.

use std::process::ExitCode;

fn main() -> ExitCode {
    ggend::run()
}
