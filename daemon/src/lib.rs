//! The daemon in all its roles: supervisor, workers and shim.
