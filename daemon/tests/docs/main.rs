//! What the documents say is so: pages, promises, and the rooms of ARCHITECTURE.md.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails where it stands"
)]

mod architecture;
mod imports;
mod links;
mod mcp_rooms;
mod pages;
mod promises;
mod retired_names;
mod rooms;
mod supervisor_rooms;
