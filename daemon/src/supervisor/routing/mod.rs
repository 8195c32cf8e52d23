//! Results on their way from room to room: what one room returns is passed here to the rooms that
//! it concerns. Nothing is decided here.

mod calls;
mod handover;
mod reload;
mod start_messages;
mod upstreams;
mod workers;
