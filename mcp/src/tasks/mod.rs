//! The tasks that clients have at servers: whose they are, how they stand, and what is known of them.
//! Records only; requests about tasks are passed on by [`crate::task_bridge`].

pub(crate) mod list;
pub(crate) mod passthrough;
pub(crate) mod registry;
pub(crate) mod support;
pub(crate) mod updates;
pub(crate) mod watch;
