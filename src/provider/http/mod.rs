//! HTTP to the servers of models: the transport, small exchanges, and how the bytes of an answer become frames.
//!
//! [`transport`] is the one file of `provider` that opens connections. What is sent, and what a frame means, is left to
//! [`crate::provider::wire`].

mod ca_certificates;
pub mod fetch;
pub mod frame;
pub mod transport;
