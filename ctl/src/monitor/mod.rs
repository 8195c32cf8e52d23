//! The live view: `source` asks the daemon in the background, `figures` makes rates of two answers,
//! `state` is what keys do, `screen` draws.

pub(crate) mod metrics;
pub(crate) mod screen;
pub(crate) mod source;
pub(crate) mod state;
