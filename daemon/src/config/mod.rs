//! Configuration: the layers, their provenance, the check. Nobody else opens a configuration file.

mod model;
mod standin;

pub use model::*;
pub use standin::{Flag, LoadOptions, Loaded, Problem, load, redacted};
