//! Secrets of the configuration: the type that hides them, the files that hold them, and the
//! redaction of everything that is shown. May not: log, merge layers.

pub(super) mod auth_files;
pub(super) mod collector_headers;
pub(super) mod credentials;
pub(super) mod redact;
pub(super) mod secret;
