//! Configuration: the layers, their provenance, the check. Nobody else opens a configuration file.

mod model;

pub use model::*;
