//! `ggen`: parses, asks the daemon, renders.
fn main() {}
