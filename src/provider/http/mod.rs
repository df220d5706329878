//! [`transport::Transport`] and the rest of HTTP: small exchanges beside it, bodies to be sent, and the framing of an
//! answer's bytes.
//!
//! Called by `generate` and by the sources of credentials. The content of requests and the meaning of frames are left
//! to [`crate::provider::wire`].

mod ca_certificates;
mod error;
pub mod fetch;
pub mod frame;
pub mod request_body;
pub mod transport;
