//! Everything near the kernel: descriptors over sockets, processes, /proc. Thin and safe wrappers;
//! `unsafe` may appear here and nowhere else. May use nothing of ours.

mod cgroup;
mod descriptors;
mod launchd;
mod proc;
mod process;
mod sandbox;
mod succession;
mod udp;

pub use cgroup::*;
pub use descriptors::*;
pub use proc::*;
pub use process::*;
pub use sandbox::*;
pub use succession::*;
pub use udp::*;
