//! What servers ask of clients during a call, in both eras. A legacy client is asked on the stream
//! of its call; a modern one gets the questions as the call's result and comes back with answers.

pub(crate) mod input_required_loop;
pub(crate) mod retry;
pub(crate) mod server_requests;
