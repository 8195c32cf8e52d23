//! TLS and its files.
