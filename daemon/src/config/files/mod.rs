//! Configuration files as texts: reading, positions, changes, writing, permissions. May not: know
//! what the keys mean.

pub(super) mod edit;
pub(super) mod env_file;
pub(super) mod jsonc;
pub(super) mod permissions;
pub(super) mod position;
pub(super) mod read;
pub(super) mod trust;
pub(super) mod write;
