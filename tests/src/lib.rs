//! The harness: a real daemon in a sandbox home, real clients, and a check that nothing is left behind.
