//! Runs declarative AI experts: loads them, drives the loop through a deterministic state machine, streams events and
//! writes a checkpoint at every step, so that a job continues from any of them.
//!
//! A program makes [`Options`] from experts and settings, and a [`RunInput`] from an
//! expert's key and a query; [`run`] does the rest, and [`resume`] continues it later, also after a crash. The example
//! replays the recorded session that comes with perstack, so it needs neither key nor network:
//!
//! ```
//! use std::path::Path;
//! use std::sync::Arc;
//!
//! use perstack::config::{self, Overrides};
//! use perstack::event::Event;
//! use perstack::message::Message;
//! use perstack::runtime::{CassetteMode, Options, RunInput};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! # let here = Path::new(env!("CARGO_MANIFEST_DIR"));
//! # let storage = std::env::temp_dir().join(format!("perstack-doc-{}", std::process::id()));
//! // The experts of a perstack.toml, with its settings.
//! let project = config::load(&here.join("perstack.toml.example"))?;
//! let nothing = Overrides::default();
//! let options = Options {
//!     settings: config::settle(&nothing, &nothing, Some(&project), &nothing)?,
//!     storage: storage.clone(),
//!     // Every event, as it happens.
//!     sink: Arc::new(|event: &Event, _: &[Message]| println!("{}", event.body.type_name())),
//!     // Without this line, the provider whose key is in `environment` is asked.
//!     cassette: CassetteMode::Replay { file: here.join("examples/researcher.cassette"), tools: false, effects: true, part: None },
//!     ..Options::new(project.experts, here.to_owned())
//! };
//! let input = RunInput::new("researcher".parse()?, "Which owls in examples/library hunt at night?");
//! let checkpoint = perstack::run(input, &options).await?;
//! assert!(checkpoint.text().is_some_and(|answer| answer.contains("owl")));
//! # std::fs::remove_dir_all(storage)?;
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! An error has its remedy apart from its text, as a program may show it elsewhere, or know a better one; [`hint()`] finds
//! it, also behind an error of the program's own:
//!
//! ```
//! use perstack::runtime::{Options, RunInput};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let options = Options::new(Default::default(), std::env::temp_dir());
//! let error = perstack::run(RunInput::new("librarian".parse()?, ""), &options).await.expect_err("nothing is asked");
//! assert_eq!(error.to_string(), "the query is empty");
//! assert_eq!(perstack::hint(&error).as_deref(), Some("give the expert something to do"));
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! Names of the TypeScript runtime, and what takes their place:
//!
//! | `@perstack/runtime` | here |
//! | --- | --- |
//! | `run(runInput, options)` | [`run`]; [`resume`] for `setting.checkpoint`; [`runtime::run`] and [`runtime::resume`] return the whole [`Outcome`](runtime::Outcome) |
//! | `setting.jobId`, `setting.runId` | [`RunInput::job_id`](runtime::RunInput::job_id), [`RunInput::run_id`](runtime::RunInput::run_id) |
//! | `setting.providerConfig`, `setting.model` | [`Options::with_provider`](runtime::Options::with_provider) |
//! | `setting.experts` | [`ExpertMap`](expert_map::ExpertMap) |
//! | `eventListener` | [`Options::sink`](runtime::Options::sink), an [`EventSink`](event::EventSink) |
//! | `storeCheckpoint`, `storeEvent` | [`Options::storage`](runtime::Options::storage); read back by [`runtime::history`] |
//! | `runtimeVersion` | [`VERSION`] |
//! | `runtimeStateMachine` | [`machine::RunMachine`] |
//! | `collectToolDefinitionsForExpert` | [`runtime::discover_tools`] |
//! | `getLockfileExpertToolDefinitions` | [`runtime::list`] with [`Options::lockfile`](runtime::Options::lockfile) |

// Nouns: each imports only those above it.
pub mod hint;
pub mod future;
pub mod json_text;
pub mod hex;
pub mod allowance;
pub mod id;
pub mod count;
pub mod usage;
pub mod cost;
pub mod budget;
pub mod content;
pub mod message;
pub mod tool;
pub mod token_estimate;
pub mod sandbox;
pub mod snapshot;
pub mod permission;
pub mod output_schema;
pub mod model_name;
pub mod expert;
pub mod expert_map;
pub mod environment;
pub mod address;
pub mod domain_list;
pub mod proxy;
pub mod setting;
pub mod model;
pub mod generation;
pub mod fallback;
pub mod checkpoint;
pub mod access_count;
pub mod fact;
mod written_json;
pub mod workspace_source;
pub mod job;
pub mod event;
pub mod redact;
pub mod test_results;

// Pure logic.
pub mod machine;

// Capabilities: they know the nouns, not each other.
pub mod config;
pub mod provider;
pub mod skill;
pub mod store;
pub mod workspace;

// Drivers.
pub mod replay;
pub mod runtime;

// Tests alone.
#[cfg(test)]
mod contracts;

pub use runtime::{VERSION, hint};

use checkpoint::Checkpoint;
use runtime::{Options, ResumeInput, RunError, RunInput};

/// Runs a job and returns the checkpoint that it ended with; see [`runtime::run`].
///
/// # Errors
/// [`RunError`] when the job cannot start or cannot be stored. A job that stops by error, at its step limit or for an
/// answer returns its checkpoint.
pub async fn run(input: RunInput, options: &Options) -> Result<Checkpoint, RunError> {
    Ok(runtime::run(input, options).await?.checkpoint)
}

/// Continues a job and returns the checkpoint that it ended with; see [`runtime::resume`].
///
/// # Errors
/// As [`run`].
pub async fn resume(input: ResumeInput, options: &Options) -> Result<Checkpoint, RunError> {
    Ok(runtime::resume(input, options).await?.checkpoint)
}
