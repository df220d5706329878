//! Runs an expert from a program of one's own: `cargo run --example embed`.
//!
//! It replays the recorded session that comes with perstack, so it needs neither key nor network. Without the
//! `cassette` line it asks the provider whose key is in the environment.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use perstack::config;
use perstack::config::lockfile::LockUse;
use perstack::environment::Environment;
use perstack::event::{Event, EventSink};
use perstack::message::Message;
use perstack::runtime::{self, Cassette, InDoubt, Options, RunInput};
use tokio_util::sync::CancellationToken;

/// Prints the name of every event as it happens.
struct Names;

impl EventSink for Names {
    fn emit(&self, event: &Event, _history: &[Message]) {
        println!("{}", event.body.type_name());
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let project = config::load(&here.join("perstack.toml.example"))?;
    let nothing = config::Overrides::default();
    let storage = std::env::temp_dir().join(format!("perstack-embed-{}", std::process::id()));
    let options = Options {
        settings: config::settle(&nothing, &nothing, Some(&project), &nothing)?,
        experts: project.experts,
        base_skill_command: project.base_skill_command,
        environment: Environment::default(),
        workspace: here.to_owned(),
        storage: storage.clone(),
        proxy: None,
        sink: Arc::new(Names),
        cancel: CancellationToken::new(),
        in_doubt: InDoubt::Report,
        cassette: Cassette::Replay { file: here.join("examples/researcher.cassette"), tools: false },
        lock: LockUse::Auto,
        lockfile: None,
    };
    let input = RunInput {
        expert: "researcher".parse()?,
        query: "Which owls in examples/library hunt at night?".to_owned(),
        job_id: None,
    };
    let outcome = runtime::run(input, &options).await?;
    println!("\n{}", outcome.checkpoint.text().unwrap_or_default());
    std::fs::remove_dir_all(storage)?;
    Ok(())
}
