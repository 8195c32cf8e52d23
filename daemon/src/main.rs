//! `ggend`: picks the role and hands over.
fn main() {}
