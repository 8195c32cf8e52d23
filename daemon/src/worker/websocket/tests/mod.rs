//! Tests of the websocket worker.
