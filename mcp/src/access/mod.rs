//! What a principal may do and how much of it: policy, admission, rate limits, audit.

pub(crate) mod admission;
pub(crate) mod audit;
pub mod policy;
pub mod rate_limit;
pub mod rules;
pub(crate) mod visibility;
