//! Children of stdio servers that are leased to one client at a time.

pub(crate) mod allocation;
pub(crate) mod lifecycle;
