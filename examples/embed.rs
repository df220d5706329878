//! Runs an expert from a program of one's own: `cargo run --example embed`.
//!
//! It replays the recorded session that comes with perstack, so it needs neither key nor network. Without the
//! `cassette` line it asks the provider whose key is in the environment.

#![expect(clippy::print_stdout, reason = "a program that shows what happens")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use perstack::config::{self, Overrides};
use perstack::event::Event;
use perstack::message::Message;
use perstack::runtime::{CassetteMode, Options, RunInput};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let project = config::load(&here.join("perstack.toml.example"))?;
    let nothing = Overrides::default();
    let storage = std::env::temp_dir().join(format!("perstack-embed-{}", std::process::id()));
    let options = Options {
        settings: config::settle(&nothing, &nothing, Some(&project), &nothing)?,
        storage: storage.clone(),
        sink: Arc::new(|event: &Event, _: &[Message]| println!("{}", event.body.type_name())),
        cassette: CassetteMode::Replay {
            file: here.join("examples/researcher.cassette"),
            tools: false,
            effects: true,
            part: None,
        },
        ..Options::new(project.experts, here.to_owned())
    };
    let input = RunInput::new("researcher".parse()?, "Which owls in examples/library hunt at night?");
    let checkpoint = perstack::run(input, &options).await?;
    println!("\n{}", checkpoint.text().unwrap_or_default());
    std::fs::remove_dir_all(storage)?;
    Ok(())
}
