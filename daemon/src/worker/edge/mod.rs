//! What every edge transport shares: the way to the gateway worker, the care for client connections,
//! and who may ask. Knows no MCP; never opens a file, never spawns a process.

pub(crate) mod auth;
pub(crate) mod budget;
mod gateway;
pub(crate) mod listeners;
pub(crate) mod peer;
pub(crate) mod percent;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod websocket;

#[cfg(test)]
pub(crate) use gateway::MAX_WAITING;
pub(crate) use gateway::{Broken, Exchange, ExchangeOptions, Gateway, Guest, Input, Refused};
