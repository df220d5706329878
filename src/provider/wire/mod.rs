//! The wire protocols: pure codecs between a generation's request and the bytes of a model's server.
//!
//! Called by [`Provider::generate`](crate::provider::Provider::generate) through [`Protocol`](crate::provider::Protocol). Which vendor uses which
//! protocol is left to [`crate::provider::vendor`], sending to [`crate::provider::http`].

pub mod anthropic;
pub mod bedrock;
mod body_text;
pub mod chat;
pub mod google;
mod image_header;
mod media;
pub mod ollama;
pub mod openai;
#[cfg(test)]
mod recorded;
pub mod reported_error;
#[cfg(test)]
mod sample_requests;
pub mod schema;
mod settled_text;
mod text_message;
mod turn;
mod typed_event;
mod usage_counts;
mod whole_answer;
