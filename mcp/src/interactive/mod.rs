//! What servers ask of clients during a call, in both eras.

pub(crate) mod input_required_loop;
pub(crate) mod pending_input;
pub(crate) mod question;
pub mod request_state;
pub(crate) mod retry;
pub(crate) mod server_requests;
