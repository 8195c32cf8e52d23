//! Messages of one era written for the other, and for older revisions. Texts only; may use
//! `protocol` and nothing else of the crate.

pub(crate) mod message;
pub(crate) mod older_revisions;
pub(crate) mod question;
