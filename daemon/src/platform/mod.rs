//! System calls: descriptors, processes, control groups, sandboxes, /proc. Thin and safe wrappers;
//! `unsafe` is allowed here and nowhere else. May not: use any other module of ours.

mod cgroup;
mod descriptors;
mod launchd;
mod peer;
mod proc;
mod process;
mod sandbox;
mod sockets;
mod succession;

pub use cgroup::*;
pub use descriptors::*;
pub use peer::*;
pub use proc::*;
pub use process::*;
pub use sandbox::*;
pub use sockets::*;
pub use succession::*;
